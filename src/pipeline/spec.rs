//! What a run is told: read once from JSON at the edge, unknown fields refused.

use serde::{Deserialize, Serialize};

use crate::config::{ExtractionMode, Settings};
use crate::domain::{Location, MicroUsd, ModelRun, Org, Question};

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
    /// What the model run was charged so far that belongs to no cell, in micro-dollars.
    #[serde(default)]
    pub overhead_micro_usd: i64,
    /// The same, for what may have been charged.
    #[serde(default)]
    pub overhead_maybe_charged_micro_usd: i64,
    /// The model run as the store has it; `None`: as a start makes it. One that is completed stays so; a start that extracts alone
    /// changes only the overhead in it.
    #[serde(default)]
    pub row: Option<Box<ModelRun>>,
    /// What its log lines call it: `OpenAI`, or `OpenAI gpt-4.1` where the batch has another model of that surface; `None`: the
    /// provider's title.
    #[serde(default)]
    pub label: Option<String>,
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
    /// The part of the overhead that stands in the batch's row (batches of version 0.1), in micro-dollars. Written back as it is.
    #[serde(default)]
    pub overhead_micro_usd: i64,
    /// All charges of the batch so far that belong to no cell: of its row and of all its model runs, also those that are not run now.
    /// Micro-dollars.
    #[serde(default)]
    pub batch_overhead_micro_usd: i64,
    /// The same, for what may have been charged.
    #[serde(default)]
    pub batch_overhead_maybe_charged_micro_usd: i64,
    /// Ask cells again that failed (never refusals or bad input).
    #[serde(default)]
    pub retry_failed: bool,
    /// This start's share of what `max_cost_micro_usd` leaves, as parts of a whole: other processes may run the other models of the
    /// batch at the same time, and together they must not exceed it.
    #[serde(default = "whole")]
    pub budget_share: (u32, u32),
    /// Most that the batch may cost over all its starts, in micro-dollars.
    #[serde(default)]
    pub max_cost_micro_usd: Option<i64>,
    /// Let models search the web where they leave the choice.
    #[serde(default = "yes")]
    pub web_search: bool,
    /// Who takes the leases: `host/boot/process/session`. `None`: no lease is taken, the model runs' rows name a random owner.
    #[serde(default)]
    pub owner: Option<String>,
    /// The batch has ended before: a start that finds nothing to do writes nothing.
    #[serde(default)]
    pub ended: bool,
    /// Providers that the user wrote.
    #[serde(default)]
    pub custom_providers: Vec<CustomProvider>,
    /// Everything else.
    #[serde(default)]
    pub settings: Settings,
}

impl RunSpec {
    /// What this start may bring the batch's cost to, when `spent` is booked: its share of what `max_cost` leaves. `None`: no cap.
    pub(super) fn cap(&self, spent: MicroUsd) -> Option<MicroUsd> {
        let (mine, all) = (i128::from(self.budget_share.0), i128::from(self.budget_share.1.max(1)));
        self.max_cost_micro_usd.map(|cap| {
            let left = i128::from(cap.saturating_sub(spent.0).max(0));
            let share = i64::try_from(left * mine.min(all) / all).unwrap_or(i64::MAX);
            if share == 0 { MicroUsd(cap.min(spent.0)) } else { spent.plus(MicroUsd(share)) }
        })
    }
}

fn whole() -> (u32, u32) {
    (1, 1)
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
    /// One line a pair with open cells, then names and extraction.
    pub lines: Vec<QuoteLine>,
    /// The same, summed up by the account that pays.
    pub accounts: Vec<AccountLine>,
    /// Cells to ask.
    pub cells: u64,
    /// Cells that are stored and not asked again.
    pub stored: u64,
    /// Sum of the expected costs, micro-dollars.
    pub expected_micro_usd: i64,
    /// Sum of the reservations, micro-dollars.
    pub worst_case_micro_usd: i64,
    /// What the batch was, or may have been, charged so far, micro-dollars.
    pub spent_micro_usd: i64,
    /// The cap over all starts, micro-dollars; `None`: no cap.
    pub max_cost_micro_usd: Option<i64>,
    /// Pairs of which the cap does not even cover the first call, in words.
    pub uncovered: Vec<String>,
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

/// What an account pays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AccountLine {
    /// `openai`, `anthropic`, `brightdata` or a custom provider's name.
    pub provider: String,
    /// Paid calls: triggers or requests.
    pub calls: u64,
    /// Expected cost, micro-dollars.
    pub expected_micro_usd: i64,
    /// Most it can cost, micro-dollars.
    pub worst_case_micro_usd: i64,
}
