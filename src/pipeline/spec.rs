//! What a run is told: read once from JSON at the edge, unknown fields refused.

use serde::{Deserialize, Serialize};

use crate::config::{ExtractionMode, Settings};
use crate::domain::{Location, Org, Question};

/// Which phases to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Names, execution, extraction.
    Run,
    /// Execution alone.
    Execute,
    /// Extraction of what is stored, alone (names first).
    Extract,
}

/// A model of the batch.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// As the user named it.
    pub model: String,
    /// Its model run.
    pub run_id: String,
}

/// A provider that the user wrote.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomProvider {
    /// Its registered name; a model of this name is routed to it.
    pub name: String,
    /// Questions per call at most; 1 = no batching.
    pub max_batch_size: usize,
    /// Calls in flight at most.
    pub max_in_flight: usize,
    /// Micro-dollars per question; `None`: taken from the outcomes it returns.
    #[serde(default)]
    pub micro_usd_per_question: Option<i64>,
}

/// A run of a batch.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSpec {
    /// Which phases.
    pub phase: Phase,
    /// UUID of the batch.
    pub batch_id: String,
    /// Get-or-create key of the batch.
    #[serde(default)]
    pub batch_key: Option<String>,
    /// When the batch was created; `None`: now.
    #[serde(default)]
    pub created_at_ms: Option<i64>,
    /// The org.
    pub org: Org,
    /// The models to run now (each its model run).
    pub models: Vec<ModelSpec>,
    /// Model runs of the whole batch.
    pub batch_size: u32,
    /// Where to ask from; empty: anywhere.
    pub locations: Vec<Location>,
    /// What to ask.
    pub questions: Vec<Question>,
    /// Times each question is asked of each pair.
    pub repeats: u16,
    /// How to extract.
    pub extraction: ExtractionMode,
    /// What earlier starts paid for name variations, in micro-dollars.
    #[serde(default)]
    pub overhead_micro_usd: i64,
    /// Ask cells again that failed (never refusals or bad input).
    #[serde(default)]
    pub retry_failed: bool,
    /// Most that the batch may cost over all its starts, in micro-dollars.
    #[serde(default)]
    pub max_cost_micro_usd: Option<i64>,
    /// Let models search the web where they leave the choice.
    #[serde(default = "yes")]
    pub web_search: bool,
    /// Providers that the user wrote.
    #[serde(default)]
    pub custom_providers: Vec<CustomProvider>,
    /// Everything else.
    #[serde(default)]
    pub settings: Settings,
}

/// A plain list of questions for one model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskSpec {
    /// As the user named it.
    pub model: String,
    /// What to ask.
    pub questions: Vec<String>,
    /// Where from; `None`: no location is sent.
    #[serde(default)]
    pub location: Option<Location>,
    /// Let the model search the web.
    #[serde(default = "yes")]
    pub web_search: bool,
    /// Providers that the user wrote.
    #[serde(default)]
    pub custom_providers: Vec<CustomProvider>,
    /// Everything else.
    #[serde(default)]
    pub settings: Settings,
}

fn yes() -> bool {
    true
}

/// The plan of a run: what it would send and cost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Quote {
    /// One line a pair, then extraction and names.
    pub lines: Vec<QuoteLine>,
    /// Cells of the plan.
    pub cells: u64,
    /// Sum of the expected costs, micro-dollars.
    pub expected_micro_usd: i64,
    /// Sum of the reservations, micro-dollars.
    pub worst_case_micro_usd: i64,
    /// What cannot be known before the run.
    pub unknowns: Vec<String>,
}

/// A line of the quote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct QuoteLine {
    /// `chatgpt US`, `extraction`, `name variations`.
    pub what: String,
    /// The account that pays.
    pub provider: String,
    /// Questions asked.
    pub questions: u64,
    /// Paid calls: triggers or requests.
    pub calls: u64,
    /// Expected cost, micro-dollars.
    pub expected_micro_usd: i64,
    /// Most it can cost, micro-dollars.
    pub worst_case_micro_usd: i64,
}
