//! The three scrapers: dataset, URL, and which inputs each takes.

use super::super::render::Style;

/// A scraper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    ChatGpt,
    Perplexity,
    Gemini,
}

impl Engine {
    /// The scraper of a dataset.
    pub(crate) fn of_dataset(dataset: &str) -> Option<Self> {
        match dataset {
            "gd_m7aof0k82r803d5bjm" => Some(Self::ChatGpt),
            "gd_m7dhdot1vw9a7gc1n" => Some(Self::Perplexity),
            "gd_mbz66arm2mf9cu856y" => Some(Self::Gemini),
            _ => None,
        }
    }

    /// `chatgpt`, `perplexity`, `gemini`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ChatGpt => "chatgpt",
            Self::Perplexity => "perplexity",
            Self::Gemini => "gemini",
        }
    }

    /// What an input's URL must begin with.
    pub(crate) fn url(self) -> &'static str {
        match self {
            Self::ChatGpt => "https://chatgpt.com",
            Self::Perplexity => "https://www.perplexity.ai",
            Self::Gemini => "https://gemini.google.com",
        }
    }

    /// The inputs it takes; any other is refused.
    pub(crate) fn inputs(self) -> &'static [&'static str] {
        match self {
            Self::ChatGpt => &["url", "prompt", "country", "index", "web_search", "additional_prompt", "require_sources", "geolocation"],
            Self::Perplexity => &["url", "prompt", "country", "index", "export_markdown_file", "additional_prompt"],
            Self::Gemini => &["url", "prompt", "country", "index"],
        }
    }

    /// How its text shows sources.
    pub(crate) fn style(self) -> Style {
        match self {
            Self::ChatGpt => Style::ChatGpt,
            Self::Perplexity => Style::Perplexity,
            Self::Gemini => Style::Gemini,
        }
    }
}
