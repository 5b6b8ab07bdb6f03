//! What came back for a cell.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{CellKey, MicroUsd};
use crate::error::Error;

/// How a cell ended. Every one is terminal; only `Answered` counts in a denominator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// There is an answer.
    Answered,
    /// The model declined.
    Refused,
    /// The provider worked and had no answer to show.
    NoAnswer,
    /// An error, kept in `error`.
    Failed,
}

impl RunStatus {
    /// The word stored and printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::NoAnswer => "no_answer",
            Self::Failed => "failed",
        }
    }
}

/// What the provider counted. `None` where the reply carried no count: unknown is not zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Usage {
    /// All input tokens, cached ones included, cache writes not.
    pub input_tokens: Option<u64>,
    /// Input tokens read from the provider's cache; part of `input_tokens`.
    pub cached_input_tokens: u64,
    /// Input tokens written to the provider's cache; not part of `input_tokens`.
    pub cache_write_tokens: u64,
    /// Output tokens, reasoning included.
    pub output_tokens: Option<u64>,
    /// Reasoning tokens; part of `output_tokens`.
    pub reasoning_tokens: u64,
    /// Charged web searches.
    pub searches: u64,
    /// Charged records (Bright Data).
    pub records: u64,
}

/// A source the provider named. Offsets count characters (Unicode scalar values) of the answer text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Citation {
    /// As the provider sent it.
    pub url: String,
    /// As the provider sent it; `None` when absent.
    pub title: Option<String>,
    /// `Some(true)`: cited in the answer; `Some(false)`: only retrieved; `None`: the provider does not say.
    pub cited: Option<bool>,
    /// The provider's position, from 1; `None` when absent.
    pub position: Option<u32>,
    /// First character of the cited span.
    pub start: Option<u32>,
    /// One past the last character of the cited span.
    pub end: Option<u32>,
    /// The sentence the source is cited for, when the provider quotes it.
    pub cited_text: Option<String>,
}

/// What asking one question gave: an answer, or a typed failure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// How it ended.
    pub status: RunStatus,
    /// The answer; `None` unless answered, or the refusal's words.
    #[serde(default)]
    pub text: Option<String>,
    /// Sources, in the provider's order.
    #[serde(default)]
    pub citations: Vec<Citation>,
    /// Counts.
    #[serde(default)]
    pub usage: Usage,
    /// The charge; `None`: unpriced (usage missing).
    #[serde(default)]
    pub cost_micro_usd: Option<MicroUsd>,
    /// Charges of lost attempts that cannot be confirmed, apart from `cost_micro_usd`.
    #[serde(default)]
    pub maybe_charged_micro_usd: MicroUsd,
    /// The model that answered, as the provider names it; `None` when it does not.
    #[serde(default)]
    pub served_model: Option<String>,
    /// The location the provider was given (`US`); `None`: none was asked for or the provider could not take it.
    #[serde(default)]
    pub location_applied: Option<String>,
    /// The provider's hint whether it searched. A hint, never proof.
    #[serde(default)]
    pub web_search_triggered: Option<bool>,
    /// Queries the model searched for.
    #[serde(default)]
    pub search_queries: Vec<String>,
    /// Why generation ended (`stop`, `max_output_tokens`, …); `None` when the provider does not say.
    #[serde(default)]
    pub finish_reason: Option<String>,
    /// What went wrong; set when `status` is `failed`, may explain `no_answer`.
    #[serde(default)]
    pub error: Option<Error>,
    /// The provider's body for this question as received (several, one a line, where a turn was continued).
    #[serde(default, skip_serializing_if = "Bytes::is_empty", with = "raw_text")]
    pub raw: Bytes,
    /// Attempts made.
    #[serde(default)]
    pub attempts: u32,
    /// First byte sent, milliseconds since 1970 UTC; 0 when nothing was sent.
    #[serde(default)]
    pub started_at_ms: i64,
    /// Last byte received, milliseconds since 1970 UTC.
    #[serde(default)]
    pub finished_at_ms: i64,
}

impl Outcome {
    /// An outcome with everything else empty.
    #[must_use]
    pub fn empty(status: RunStatus) -> Self {
        Self {
            status,
            text: None,
            citations: Vec::new(),
            usage: Usage::default(),
            cost_micro_usd: Some(MicroUsd::ZERO),
            maybe_charged_micro_usd: MicroUsd::ZERO,
            served_model: None,
            location_applied: None,
            web_search_triggered: None,
            search_queries: Vec::new(),
            finish_reason: None,
            error: None,
            raw: Bytes::new(),
            attempts: 0,
            started_at_ms: 0,
            finished_at_ms: 0,
        }
    }

    /// A failure that cost nothing.
    #[must_use]
    pub fn failed(error: Error) -> Self {
        let attempts = error.context.attempts;
        Self { error: Some(error), attempts, ..Self::empty(RunStatus::Failed) }
    }

    /// Adds what earlier runs of the cell were charged and may have been, in micro-dollars.
    pub fn carry(&mut self, spent: (i64, i64)) {
        carry(&mut self.cost_micro_usd, &mut self.maybe_charged_micro_usd, spent);
    }
}

/// Adds earlier money to a row. A row whose own charge is not known has no place for a known part: that is kept beside what may
/// have been charged, so that nothing is lost.
pub(super) fn carry(cost: &mut Option<MicroUsd>, maybe_charged: &mut MicroUsd, (charged, maybe): (i64, i64)) {
    *maybe_charged = maybe_charged.plus(MicroUsd(maybe));
    match cost {
        Some(cost) => *cost = cost.plus(MicroUsd(charged)),
        None => *maybe_charged = maybe_charged.plus(MicroUsd(charged)),
    }
}

/// The stored outcome of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuestionRun {
    /// The batch.
    pub batch_id: String,
    /// The model run (`geo_runs.run_id`).
    pub run_id: String,
    /// The org.
    pub org_id: String,
    /// The cell.
    pub key: CellKey,
    /// The text asked.
    pub question: String,
    /// What came back.
    pub outcome: Outcome,
}

/// What the store already has of a cell: enough to skip it and to keep the batch's totals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExistingKey {
    /// [`CellKey`] as text.
    pub key: String,
    /// How it ended.
    pub status: RunStatus,
    /// True when its extraction is stored.
    #[serde(default)]
    pub extracted: bool,
    /// Charge of the answer and of its extraction.
    #[serde(default)]
    pub cost_micro_usd: i64,
    /// Unconfirmed charges of both.
    #[serde(default)]
    pub maybe_charged_micro_usd: i64,
    /// The part of `cost_micro_usd` that was charged for its extraction, also when that failed.
    #[serde(default)]
    pub extraction_cost_micro_usd: i64,
    /// The part of `maybe_charged_micro_usd` that belongs to its extraction.
    #[serde(default)]
    pub extraction_maybe_charged_micro_usd: i64,
    /// Charges that are not known: of the answer, and of its extraction. 0 to 2.
    #[serde(default)]
    pub unpriced: u32,
    /// The part of `unpriced` that belongs to its extraction, also when that failed. 0 or 1.
    #[serde(default)]
    pub extraction_unpriced: u32,
    /// Stored citation rows.
    #[serde(default)]
    pub citations: u32,
    /// Stored competitor rows.
    #[serde(default)]
    pub competitors: u32,
    /// Kind of the error of a failed run, for the rule which failures a resume retries.
    #[serde(default)]
    pub error_kind: Option<crate::ErrorKind>,
}

mod raw_text {
    //! Raw bodies travel as text in JSON; bytes that are not UTF-8 are replaced there (the store gets the bytes).
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(raw: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&String::from_utf8_lossy(raw))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        String::deserialize(deserializer).map(Bytes::from)
    }
}
