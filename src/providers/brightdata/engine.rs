//! What differs between the scrapers, as data: where they live, what they take, which columns of their rows are read.

use serde::Serialize;

use super::{chatgpt, gemini, perplexity};
use crate::config::BrightDataSettings;
use crate::providers::{Ask, asking};

/// One scraper.
#[derive(Debug, PartialEq, Eq)]
pub struct Engine {
    /// `chatgpt`, `perplexity`, `gemini`; also the key of its price below `brightdata/` and of `without_country`.
    pub surface: &'static str,
    /// What `url` must hold.
    pub(super) url: &'static str,
    /// True when it takes the input `web_search`.
    pub(super) takes_web_search: bool,
    /// Longest question in characters; `None`: not documented.
    pub(super) longest_question: Option<usize>,
    /// The variable of its dataset id.
    pub(super) dataset_variable: &'static str,
    /// `custom_output_fields`: everything that is read and no HTML (2 to 3 MB a row). The error columns are named, because it
    /// is not documented that they survive the filter.
    pub(super) fields: &'static [&'static str],
}

/// ChatGPT.
pub static CHATGPT: Engine = chatgpt::CHATGPT;
/// Perplexity.
pub static PERPLEXITY: Engine = perplexity::PERPLEXITY;
/// Gemini.
pub static GEMINI: Engine = gemini::GEMINI;

/// One input of a trigger. `index` counts from 1, because a 0 is indistinguishable from "not set" in some rows.
#[derive(Debug, Serialize)]
pub(super) struct Input<'a> {
    url: &'a str,
    prompt: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<String>,
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    web_search: Option<bool>,
}

impl Engine {
    /// The dataset to trigger.
    pub(super) fn dataset<'a>(&self, settings: &'a BrightDataSettings) -> &'a str {
        match self.surface {
            "perplexity" => &settings.perplexity_dataset_id,
            "gemini" => &settings.gemini_dataset_id,
            _ => &settings.chatgpt_dataset_id,
        }
    }

    /// The country that goes out with a question; `None`: none is asked for or this engine must not be sent one.
    pub(super) fn country(&self, ask: &Ask, with_country: bool) -> Option<String> {
        ask.location.as_deref().filter(|_| with_country).and_then(asking::country)
    }

    /// The inputs of a trigger, in the order of the asks.
    pub(super) fn inputs<'a>(&'a self, asks: &'a [Ask], with_country: bool) -> Vec<Input<'a>> {
        let input = |(position, ask): (usize, &'a Ask)| Input {
            url: self.url,
            prompt: &ask.question,
            country: self.country(ask, with_country),
            index: position + 1,
            web_search: self.takes_web_search.then_some(ask.web_search),
        };
        asks.iter().enumerate().map(input).collect()
    }
}
