//! One trigger for one org, its model runs, and the totals a person reads at the end.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Status of a model run. `running` is true only while its lease lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelRunStatus {
    /// Not started, or interrupted.
    Queued,
    /// A process works on it.
    Running,
    /// Every cell is terminal and at least one is answered.
    Completed,
    /// Every cell is terminal and none is answered, or its provider was stopped.
    Failed,
}

/// One model's part of a batch: a row of `geo_runs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRun {
    /// Unique.
    pub run_id: String,
    /// The batch.
    pub batch_id: String,
    /// Number of model runs of the batch.
    pub batch_size: u32,
    /// The org.
    pub org_id: String,
    /// `chatgpt`, `perplexity`, `gemini`, `openai`, `anthropic` or a custom provider's name.
    pub surface: String,
    /// The model the user named.
    pub model: String,
    /// Where it stands.
    pub status: ModelRunStatus,
    /// Cells of this model run.
    pub query_count: u64,
    /// Terminal cells so far.
    #[serde(default)]
    pub current_query_index: u64,
    /// 0–100.
    #[serde(default)]
    pub progress_pct: f64,
    /// Answered cells so far.
    #[serde(default)]
    pub answered: u64,
    /// Failed cells so far.
    #[serde(default)]
    pub failed: u64,
    /// Milliseconds since 1970 UTC; `None` before the start.
    #[serde(default)]
    pub started_at_ms: Option<i64>,
    /// Milliseconds since 1970 UTC; `None` until completed or failed.
    #[serde(default)]
    pub finished_at_ms: Option<i64>,
    /// Why it failed or stopped.
    #[serde(default)]
    pub error_message: Option<String>,
    /// Who works on it; `None` when nobody does.
    #[serde(default)]
    pub lease_owner: Option<String>,
    /// Milliseconds since 1970 UTC; a `running` row past this time was interrupted.
    #[serde(default)]
    pub lease_expires_at_ms: Option<i64>,
    /// Fencing number: grows with every change of owner. 0: never leased.
    #[serde(default)]
    pub lease_fence: i64,
    /// Id of the journal folder that has the work in flight; `None` before the first start.
    #[serde(default)]
    pub journal_id: Option<String>,
    /// The host of that folder.
    #[serde(default)]
    pub journal_host: Option<String>,
    /// Charges of this model run that belong to no cell (name variations, duplicate submissions), over all starts, micro-dollars.
    #[serde(default)]
    pub overhead_micro_usd: i64,
    /// The same, for what may have been charged (submissions given up).
    #[serde(default)]
    pub overhead_maybe_charged_micro_usd: i64,
}

/// One trigger for one org.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// UUID.
    pub batch_id: String,
    /// The org.
    pub org_id: String,
    /// Get-or-create key; `None` when none was given.
    #[serde(default)]
    pub batch_key: Option<String>,
    /// Number of model runs.
    pub batch_size: u32,
    /// The plan as it was when the batch was made (models, locations, question ids, repeats, extraction).
    #[serde(default)]
    pub config: serde_json::Value,
    /// Charges that belong to no question run and stand in the batch's own row: of batches of version 0.1. Later ones keep them on
    /// their model runs. Micro-dollars.
    #[serde(default)]
    pub overhead_micro_usd: i64,
    /// Milliseconds since 1970 UTC.
    #[serde(default)]
    pub created_at_ms: i64,
    /// Milliseconds since 1970 UTC; `None` until every cell is terminal.
    #[serde(default)]
    pub finished_at_ms: Option<i64>,
}

/// Progress of one pair in one phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairProgress {
    /// The model.
    pub model: String,
    /// The location as text.
    pub location: String,
    /// Cells of the pair.
    pub total: u64,
    /// Terminal cells.
    pub executed: u64,
    /// Terminal cells that failed.
    pub failed: u64,
    /// Extractions stored.
    pub extracted: u64,
}

/// What a run gave. Totals are the batch's, over all its starts, except `requests_made` and `over_reserved_micro_usd`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// The batch.
    pub batch_id: String,
    /// The org.
    pub org_id: String,
    /// `complete`, `partial` or `running`.
    pub status: String,
    /// Cells of the batch.
    pub total: u64,
    /// Terminal question runs.
    pub processed: u64,
    /// Question runs with an answer.
    pub answered: u64,
    /// Question runs that failed.
    pub failed: u64,
    /// Stored org evaluations.
    pub evaluations: u64,
    /// Stored citation rows.
    pub citations: u64,
    /// Stored competitor rows.
    pub competitors: u64,
    /// Charges of answers, extractions and what belongs to no cell (name variations).
    pub total_cost_micro_usd: i64,
    /// The part of it that was charged for question runs and extractions that failed.
    pub charged_failures_micro_usd: i64,
    /// The part of it that this start was charged above its reservations. It stopped the models it was charged for.
    pub over_reserved_micro_usd: i64,
    /// The part of `maybe_charged_micro_usd` that submissions may have cost which are held: they stand in the journal, in no row.
    #[serde(default)]
    pub held_micro_usd: i64,
    /// Unconfirmed charges, apart.
    pub maybe_charged_micro_usd: i64,
    /// Question runs and extractions whose charge is not known. Against `max_cost` each counts as the most it can have been.
    pub unpriced: u64,
    /// HTTP requests this start made.
    pub requests_made: u64,
    /// True when the run was stopped on request before it was done.
    pub interrupted: bool,
    /// The first 100 errors.
    pub processing_errors: Vec<Error>,
    /// All errors, counted.
    pub processing_error_count: u64,
}
