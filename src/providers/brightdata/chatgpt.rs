//! The ChatGPT scraper. Takes `web_search` (a permission, not a guarantee); prompts of at most 4,096 characters.
//!
//! `require_sources` is never sent: it turns an answer without sources into an error row.

use super::engine::Engine;

pub(super) const CHATGPT: Engine = Engine {
    surface: "chatgpt",
    url: "https://chatgpt.com/",
    takes_web_search: true,
    longest_question: Some(4_096),
    dataset_variable: "BRIGHTDATA_DATASET_ID",
    fields: &[
        "prompt",
        "answer_text",
        "answer_text_markdown",
        "model",
        "web_search_triggered",
        "web_search_query",
        "citations",
        "links_attached",
        "search_sources",
        "country",
        "index",
        "input",
        "timestamp",
        "error",
        "error_code",
    ],
};
