//! The Gemini scraper. Rejects fields it does not know, so it is sent `url`, `prompt`, `country` and `index` only.

use super::engine::Engine;

pub(super) const GEMINI: Engine = Engine {
    surface: "gemini",
    url: "https://gemini.google.com/",
    takes_web_search: false,
    longest_question: None,
    dataset_variable: "GEMINI_DATASET_ID",
    fields: &[
        "prompt",
        "answer_text",
        "answer_text_markdown",
        "model",
        "web_search_triggered",
        "citations",
        "links_attached",
        "country",
        "index",
        "input",
        "timestamp",
        "error",
        "error_code",
    ],
};
