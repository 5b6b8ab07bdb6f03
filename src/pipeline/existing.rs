//! What the store already has of a batch, read once in pages: one bit a cell, money where it must be carried, totals.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::plan::{Bits, Matrix};
use super::spec::{Phase, RunSpec};
use super::totals::{Money, Row, Totals};
use super::unpriced::WorstCases;
use crate::config::OnUnknown;
use crate::domain::{CellKey, ExistingKey, RunStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::store::Store;

/// Rows per page.
const PAGE: usize = 2_000;

/// What the store has of the batch: bits, money of cells to ask again, totals.
#[derive(Debug)]
pub(super) struct Existing {
    pub(super) done: Bits,
    pub(super) done_count: u64,
    pub(super) backlog: Bits,
    pub(super) unextracted: u64,
    /// What failed runs of cells to ask again were charged.
    pub(super) carried: Arc<HashMap<usize, Money>>,
    /// What failed extractions of stored answers were charged.
    pub(super) extraction_carried: Arc<HashMap<usize, Money>>,
    /// Charged, maybe charged, and the most of what is not known.
    pub(super) cost: i64,
}

impl Existing {
    /// Reads all pages, folding them into `totals`. A failed cell that stands in `journaled` is not done: what was paid for
    /// it the second time is still to come.
    pub(super) async fn read(
        store: &dyn Store,
        spec: &RunSpec,
        matrix: &Matrix,
        totals: &Totals,
        journaled: &HashSet<String>,
    ) -> Result<Self> {
        let mut existing = Self {
            done: Bits::new(matrix.len()),
            done_count: 0,
            backlog: Bits::new(matrix.len()),
            unextracted: 0,
            carried: Arc::default(),
            extraction_carried: Arc::default(),
            cost: 0,
        };
        let (mut carried, mut extraction_carried) = (HashMap::new(), HashMap::new());
        let mut worst_cases = WorstCases::new(spec);
        let mut after = None;
        loop {
            let page = store.existing_keys(spec.batch_id.clone(), after.clone(), PAGE).await?;
            let Some(last) = page.last() else { break };
            if after.as_ref() == Some(&last.key) {
                let message = "the callback existing_keys returned the same page twice: a page begins after the key it is given";
                return Err(Error::new(ErrorKind::Host, message));
            }
            after = Some(last.key.clone());
            for line in page {
                let key: CellKey = line.key.parse().map_err(|error: Error| {
                    Error::new(ErrorKind::Host, format!("the callback existing_keys returned nonsense: {}", error.message))
                })?;
                let number = matrix.number(&key);
                let mended = spec.retry_failed && may_succeed(&line, spec.settings.on_unknown);
                let fetched = line.status == RunStatus::Failed && journaled.contains(&line.key);
                let again = spec.phase != Phase::Extract && number.is_some() && (mended || fetched);
                let (answer, extraction) = worst_cases.of(&key, &line);
                let unknown = answer.plus(extraction);
                existing.cost += line.cost_micro_usd + line.maybe_charged_micro_usd + unknown.0;
                if let Some(number) = number {
                    if again {
                        totals.replaces_unpriced(Row::Answer, &key, line.unpriced, unknown);
                        carried.insert(number, (line.cost_micro_usd, line.maybe_charged_micro_usd + unknown.0));
                    } else {
                        existing.done.set(number);
                        existing.done_count += 1;
                        if line.status == RunStatus::Answered && !line.extracted {
                            existing.backlog.set(number);
                            existing.unextracted += 1;
                            totals.replaces_unpriced(Row::Extraction, &key, line.extraction_unpriced, extraction);
                            let maybe = line.extraction_maybe_charged_micro_usd + extraction.0;
                            let spent = (line.extraction_cost_micro_usd, maybe);
                            if spent != (0, 0) {
                                extraction_carried.insert(number, spent);
                            }
                        }
                    }
                }
                totals.existing(&key, &line, again);
            }
        }
        existing.carried = Arc::new(carried);
        existing.extraction_carried = Arc::new(extraction_carried);
        Ok(existing)
    }
}

/// Failures that a resume asks again: not refusals, not bad input.
fn may_succeed(existing: &ExistingKey, on_unknown: OnUnknown) -> bool {
    let hopeless = match existing.error_kind {
        Some(ErrorKind::InvalidRequest | ErrorKind::Unsupported | ErrorKind::Config) => true,
        // It was paid for: its questions are bought again only when the user says so.
        Some(ErrorKind::SnapshotGone) => on_unknown != OnUnknown::Retrigger,
        _ => false,
    };
    existing.status == RunStatus::Failed && !hopeless
}
