//! The Perplexity scraper. Rejects fields it does not know, so it is sent `url`, `prompt`, `country` and `index` only.
//!
//! Its `response_raw` is an event stream and never an answer.

use super::engine::Engine;

pub(super) const PERPLEXITY: Engine = Engine {
    surface: "perplexity",
    url: "https://www.perplexity.ai",
    takes_web_search: false,
    longest_question: None,
    dataset_variable: "PERPLEXITY_DATASET_ID",
    fields: &[
        "prompt",
        "answer_text",
        "answer_text_markdown",
        "sources",
        "citations",
        "web_search_query",
        "country",
        "index",
        "input",
        "timestamp",
        "error",
        "error_code",
    ],
};
