//! One row of a download: what is read of it, and the outcome it means.
//!
//! A row is an error only if it carries one and no answer. `response_raw` is never an answer. Answered rows and rows without
//! an answer are charged one record; error rows nothing, unless `charge_error_rows`.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::citations::{self, Entry};
use super::text;
use crate::domain::{Outcome, Price, RunStatus, Usage};
use crate::error::{Error, ErrorKind};
use crate::providers::wire::{Caller, Count, Flag, List, Maybe, Text};
use crate::providers::{answer, estimates};

/// The columns that are read, of all three engines.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Row<'a> {
    #[serde(borrow)]
    pub(super) prompt: Text<'a>,
    #[serde(borrow)]
    pub(super) country: Text<'a>,
    pub(super) index: Count,
    #[serde(borrow)]
    pub(super) input: Maybe<Echo<'a>>,
    #[serde(borrow)]
    pub(super) timestamp: Text<'a>,
    #[serde(borrow)]
    answer_text: Text<'a>,
    #[serde(borrow)]
    answer_text_markdown: Text<'a>,
    #[serde(borrow)]
    answer_section_html: Text<'a>,
    #[serde(borrow)]
    answer_html: Text<'a>,
    #[serde(borrow)]
    model: Text<'a>,
    web_search_triggered: Flag,
    #[serde(borrow)]
    web_search_query: List<Text<'a>>,
    #[serde(borrow)]
    citations: List<Entry<'a>>,
    #[serde(borrow)]
    links_attached: List<Entry<'a>>,
    #[serde(borrow)]
    sources: List<Entry<'a>>,
    #[serde(borrow)]
    search_sources: List<Entry<'a>>,
    #[serde(borrow)]
    error: Text<'a>,
    #[serde(borrow)]
    error_code: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    message: Text<'a>,
    #[serde(borrow)]
    url: Text<'a>,
}

/// The input object that a row echoes; the only identity of an error row.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Echo<'a> {
    #[serde(borrow)]
    pub(super) prompt: Text<'a>,
    #[serde(borrow)]
    pub(super) country: Text<'a>,
    pub(super) index: Count,
}

impl Row<'_> {
    /// True when the object has a column of a row; else it is a notice such as `{"status":"building","message":…}`.
    pub(super) fn is_row(&self) -> bool {
        let answers = [&self.answer_text, &self.answer_text_markdown, &self.answer_section_html, &self.answer_html];
        let columns = [&self.prompt, &self.error, &self.error_code, &self.model, &self.timestamp, &self.url];
        answers.into_iter().chain(columns).any(|text| text.0.is_some()) || self.input.0.is_some() || self.index.0.is_some()
    }

    /// Status and words of a notice.
    pub(super) fn notice(&self) -> (Option<&str>, Option<&str>) {
        (self.status.filled(), self.message.filled())
    }

    /// True when nothing in the row tells which question it answers.
    pub(super) fn is_anonymous(&self) -> bool {
        let echo = self.input.0.as_ref();
        self.index.0.is_none()
            && self.prompt.filled().is_none()
            && echo.is_none_or(|echo| echo.index.0.is_none() && echo.prompt.filled().is_none())
    }

    fn has_error(&self) -> bool {
        self.error.filled().or(self.error_code.filled()).is_some()
    }

    /// The cleaned text, or why there is none.
    fn answer(&self, question: &str) -> Result<String, &'static str> {
        let mut why = "it is empty";
        let fragments =
            [&self.answer_section_html, &self.answer_html].into_iter().filter_map(|html| text::of_fragment(html.as_str()));
        let texts =
            [&self.answer_text_markdown, &self.answer_text].into_iter().map(|text| text::cleaned(text.as_str()).into_owned());
        for candidate in texts.chain(fragments) {
            match text::not_an_answer(&candidate, question) {
                None => return Ok(candidate),
                Some(_) if candidate.is_empty() => {}
                Some(reason) => why = reason,
            }
        }
        Err(why)
    }

    /// How good the row is, lower is better: an answer, no answer, an error. Of several rows for one question the best counts.
    pub(super) fn rank(&self, question: &str) -> u8 {
        match self.answer(question) {
            Ok(_) => 0,
            Err(_) if !self.has_error() => 1,
            Err(_) => 2,
        }
    }

    /// What the row means for `question`.
    pub(super) fn outcome(
        &self,
        question: &str,
        caller: &Caller<'_>,
        price: &Price,
        charge_error_rows: bool,
        raw: Bytes,
    ) -> Outcome {
        let text = self.answer(question);
        let failed = text.is_err() && self.has_error();
        let usage = Usage { records: u64::from(!failed || charge_error_rows), ..Usage::default() };
        let outcome = Outcome {
            cost_micro_usd: estimates::cost(price, &usage),
            served_model: self.model.owned(),
            web_search_triggered: self.web_search_triggered.0,
            search_queries: self.web_search_query.into_iter().filter_map(Text::owned).collect(),
            raw,
            usage,
            ..Outcome::empty(RunStatus::Answered)
        };
        match text {
            Ok(text) => {
                let citations = citations::joined(&self.citations, &self.links_attached, [&self.sources, &self.search_sources]);
                Outcome { text: Some(text), citations, ..outcome }
            }
            Err(_) if failed => Outcome { status: RunStatus::Failed, error: Some(self.failure(caller)), ..outcome },
            Err(why) => {
                let message = format!("{} delivered no usable answer: {why}", caller.title);
                Outcome { status: RunStatus::NoAnswer, error: Some(answer::empty_answer(caller, &message)), ..outcome }
            }
        }
    }

    fn failure(&self, caller: &Caller<'_>) -> Error {
        let words = self.error.filled().unwrap_or("no reason given");
        let code = self.error_code.filled().map(|code| caller.words(code));
        let told = code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
        let message = format!("{} has an error row for this question: {}{told}", caller.title, caller.words(words));
        let class = class_of(words).or_else(|| code.as_deref().map(class_of_code)).unwrap_or_else(|| "record_error".to_owned());
        Error::new(ErrorKind::Record, message).with(|context| {
            context.provider = Some(caller.provider.to_owned());
            context.code = Some(class);
            context.body = Some(caller.excerpt(words));
        })
    }
}

/// The class of an error row by its words. Codes come second: one and the same auth wall is recorded as `AUTH_WALL`,
/// `crawl_failed` and `blocked`.
fn class_of(words: &str) -> Option<String> {
    let words = words.to_lowercase();
    let has = |pieces: &[&str]| pieces.iter().any(|piece| has_word(&words, piece));
    let class = if has(&["auth wall", "auth-wall", "auth_wall", "authwall", "sign-up", "sign up", "log-in", "log in", "login"]) {
        "auth_wall"
    } else if words.contains("browser") && words.contains("disconnected") {
        "browser_disconnected"
    } else if words.contains("abort") {
        "aborted"
    } else if words.contains("waiting for selector") {
        "selector_timeout"
    } else if words.contains("timeout") || words.contains("timed out") {
        "timeout"
    } else if has(&["country"]) {
        "country"
    } else {
        return None;
    };
    Some(class.to_owned())
}

/// True when `piece` stands in `words` with no letter or digit beside it.
fn has_word(words: &str, piece: &str) -> bool {
    words.match_indices(piece).any(|(start, _)| {
        let before = words.get(..start).and_then(|text| text.chars().next_back());
        let after = words.get(start + piece.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}

/// The class of an error row by its code; a code we do not know is its own class.
fn class_of_code(code: &str) -> String {
    let code = code.to_ascii_lowercase();
    match code.as_str() {
        "auth_wall" => "auth_wall".to_owned(),
        "aborted_page" => "aborted".to_owned(),
        _ => code,
    }
}

/// Rows above this size are looked at for page HTML.
const LARGE_ROW: usize = 32 << 10;

/// The row's own bytes for the store. Whole pages of HTML (`*_html`) that came although they were not asked for are left out
/// of large rows; every other byte stays.
pub(super) fn raw(body: &Bytes, row: &RawValue) -> Bytes {
    let bytes = row.get().as_bytes();
    if bytes.len() > LARGE_ROW
        && let Some(slim) = without_html(row.get())
    {
        return slim.into();
    }
    // A row that lies in the body shares its memory, unless it would keep a much larger body alive.
    let (start, end) = (body.as_ptr() as usize, body.as_ptr() as usize + body.len());
    let inside = (start..end).contains(&(bytes.as_ptr() as usize));
    if inside && body.len() < SHARED_BODY { body.slice_ref(bytes) } else { Bytes::copy_from_slice(bytes) }
}

/// Largest body that its rows may keep alive.
const SHARED_BODY: usize = 2 << 20;

fn without_html(row: &str) -> Option<Vec<u8>> {
    // In the order of the row: a sorted map would be another document.
    let pairs: Pairs<'_> = serde_json::from_str(row).ok()?;
    let kept: Vec<_> = pairs.0.iter().filter(|(key, _)| !key.ends_with("_html")).collect();
    if kept.len() == pairs.0.len() {
        return None;
    }
    let mut slim = Vec::with_capacity(4096);
    slim.push(b'{');
    for (number, (key, value)) in kept.into_iter().enumerate() {
        if number > 0 {
            slim.push(b',');
        }
        serde_json::to_writer(&mut slim, key.as_ref()).ok()?;
        slim.push(b':');
        slim.extend_from_slice(value.get().as_bytes());
    }
    slim.push(b'}');
    Some(slim)
}

/// The members of an object in their order.
struct Pairs<'a>(Vec<(std::borrow::Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> serde::de::Visitor<'de> for Reader {
            type Value = Pairs<'de>;
            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some((key, value)) = object.next_entry::<Text<'de>, &'de RawValue>()? {
                    pairs.push((key.0.unwrap_or_default(), value));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}
