//! Progress, the list of snapshots and the inputs of one: the free calls around a submission.
//!
//! The status words are an open set: ready is ready, a few words are the end, everything else is "pending".

use serde::Deserialize;

use crate::error::{ErrorKind, Result};
use crate::http::HttpResponse;
use crate::providers::wire::{Caller, Count, List, Maybe, Spare, Text, ms_of_iso, object, parse};
use crate::providers::{Listed, Progress};

/// What a status word means; `words` say why it failed.
pub(super) fn progress(status: &str, words: Option<&str>) -> Progress {
    let status = status.trim().to_ascii_lowercase();
    match status.as_str() {
        "ready" => Progress::Ready,
        "failed" | "error" | "canceled" | "cancelled" => {
            Progress::Failed(words.map_or(status.clone(), |words| format!("{status}: {words}")))
        }
        _ => Progress::Pending,
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct State<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    snapshot_id: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    error_message: Text<'a>,
    #[serde(borrow)]
    error: Text<'a>,
    #[serde(borrow)]
    message: Text<'a>,
    #[serde(borrow)]
    created: Text<'a>,
    #[serde(borrow)]
    created_at: Text<'a>,
}

impl State<'_> {
    fn progress(&self) -> Progress {
        let words = [&self.error_message, &self.error, &self.message].into_iter().find_map(Text::filled);
        progress(self.status.as_str(), words)
    }
}

/// Where a snapshot stands.
pub(super) fn decode_progress(caller: &Caller<'_>, reply: &HttpResponse) -> Result<Progress> {
    let spare = Spare::new();
    let state: Option<State<'_>> = object(&reply.body, &spare);
    state
        .map(|state| state.progress())
        .ok_or_else(|| caller.content(reply, ErrorKind::Protocol, None, "the progress reply is no JSON object"))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Page<'a> {
    #[serde(borrow)]
    snapshots: Option<List<Maybe<State<'a>>>>,
    #[serde(borrow)]
    data: Option<List<Maybe<State<'a>>>>,
}

/// The list: an array, or an object around one.
pub(super) fn decode_list(caller: &Caller<'_>, reply: &HttpResponse) -> Result<Vec<Listed>> {
    let (spare, other) = (Spare::new(), Spare::new());
    let states = match reply.body.trim_ascii().first() {
        Some(b'[') => parse::<List<Maybe<State<'_>>>>(&reply.body, &spare),
        _ => object::<Page<'_>>(&reply.body, &other).and_then(|page| page.snapshots.or(page.data)),
    };
    let refuse = || caller.content(reply, ErrorKind::Protocol, None, "the reply is no list of snapshots");
    let listed = |state: &State<'_>| {
        let id = state.snapshot_id.owned().or_else(|| state.id.owned())?;
        let created = state.created.filled().or(state.created_at.filled());
        Some(Listed { id, progress: state.progress(), created_at_ms: created.and_then(ms_of_iso) })
    };
    Ok(states.ok_or_else(refuse)?.into_iter().filter_map(|state| listed(state.0.as_ref()?)).collect())
}

/// One input of a snapshot, as the provider returns it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked<'a> {
    #[serde(borrow)]
    prompt: Text<'a>,
    #[serde(borrow)]
    country: Text<'a>,
    index: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Inputs<'a> {
    #[serde(borrow)]
    input: Option<List<Maybe<Asked<'a>>>>,
}

/// An input as it was asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Input {
    /// From 1; 0: not sent back.
    pub(super) index: u64,
    /// The question.
    pub(super) prompt: String,
    /// Upper case; empty: none.
    pub(super) country: String,
}

/// The inputs of a snapshot, in the order of their numbers where every one has its own, else as they came.
pub(super) fn decode_inputs(caller: &Caller<'_>, reply: &HttpResponse) -> Result<(Vec<Input>, bool)> {
    let (spare, other) = (Spare::new(), Spare::new());
    let asked = match reply.body.trim_ascii().first() {
        Some(b'[') => parse::<List<Maybe<Asked<'_>>>>(&reply.body, &spare),
        _ => object::<Inputs<'_>>(&reply.body, &other).and_then(|inputs| inputs.input),
    };
    let asked = asked.ok_or_else(|| caller.content(reply, ErrorKind::Protocol, None, "the reply is no list of inputs"))?;
    let mut inputs: Vec<Input> = asked
        .into_iter()
        .map(|input| {
            let none = Asked::default();
            let input = input.0.as_ref().unwrap_or(&none);
            let country = input.country.as_str().to_ascii_uppercase();
            Input { index: input.index.0.unwrap_or(0), prompt: input.prompt.as_str().to_owned(), country }
        })
        .collect();
    let mut numbers: Vec<u64> = inputs.iter().map(|input| input.index).collect();
    numbers.sort_unstable();
    let numbered = numbers.iter().copied().eq(1..=numbers.len() as u64);
    if numbered {
        inputs.sort_by_key(|input| input.index);
    }
    Ok((inputs, numbered))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_words_are_an_open_set() {
        for word in ["starting", "running", "collecting", "digesting", "scheduled", "building", "pondering", ""] {
            assert_eq!(progress(word, None), Progress::Pending, "{word}");
        }
        assert_eq!(progress("Ready", None), Progress::Ready);
        for word in ["failed", "error", "canceled", "cancelled"] {
            assert_eq!(progress(word, Some("why")), Progress::Failed(format!("{word}: why")));
        }
    }
}
