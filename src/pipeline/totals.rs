//! Counters of a run: per pair for progress, per batch for the summary. Constant memory whatever the matrix.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::{ExistingKey, Extraction, Outcome, PairProgress, RunStatus, Summary};
use crate::error::Error;

/// Charged and maybe charged, micro-dollars.
pub(super) type Money = (i64, i64);

/// Errors kept in the summary; all are counted.
const ERRORS_KEPT: usize = 100;

/// One counter block of a model.
#[derive(Debug, Clone, Default)]
pub(super) struct ModelCounts {
    pub(super) total: u64,
    pub(super) terminal: u64,
    pub(super) answered: u64,
    pub(super) failed: u64,
}

/// All counters.
#[derive(Debug, Default)]
pub(super) struct Totals {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    summary: Summary,
    /// Answered cells by model.
    answered: BTreeMap<String, u64>,
    /// By (model, location).
    pairs: BTreeMap<(String, String), PairProgress>,
    changed: bool,
    budget_reached: bool,
}

impl Totals {
    /// A pair of the plan with `total` cells.
    pub(super) fn plan(&self, model: &str, location: &str, total: u64) {
        let progress =
            PairProgress { model: model.to_owned(), location: location.to_owned(), total, executed: 0, failed: 0, extracted: 0 };
        let mut state = self.lock();
        state.summary.total += total;
        state.pairs.insert((model.to_owned(), location.to_owned()), progress);
        state.changed = true;
    }

    /// A cell the store already has. `again`: it will be asked again, so only its money counts.
    pub(super) fn existing(&self, model: &str, location: &str, existing: &ExistingKey, again: bool) {
        let mut state = self.lock();
        state.summary.total_cost_micro_usd += existing.cost_micro_usd;
        state.summary.maybe_charged_micro_usd += existing.maybe_charged_micro_usd;
        if again {
            return;
        }
        state.terminal(model, location, existing.status);
        if existing.extracted {
            state.extracted(model, location, existing.citations.into(), existing.competitors.into());
        }
    }

    /// A question run reached the store. `carried`: money of an earlier run of the cell that `outcome` includes and that
    /// was counted when it was found.
    pub(super) fn stored(&self, model: &str, location: &str, outcome: &Outcome, carried: Money) {
        let mut state = self.lock();
        state.summary.total_cost_micro_usd += outcome.cost_micro_usd.unwrap_or_default().0 - carried.0;
        state.summary.maybe_charged_micro_usd += outcome.maybe_charged_micro_usd.0 - carried.1;
        state.summary.unpriced += u64::from(outcome.cost_micro_usd.is_none());
        state.terminal(model, location, outcome.status);
    }

    /// An extraction reached the store (or its failure did). `carried`: as in [`Self::stored`].
    pub(super) fn extracted(&self, extraction: &Extraction, carried: Money) {
        let mut state = self.lock();
        state.summary.total_cost_micro_usd += extraction.cost_micro_usd.unwrap_or_default().0 - carried.0;
        state.summary.maybe_charged_micro_usd += extraction.maybe_charged_micro_usd.0 - carried.1;
        state.summary.unpriced += u64::from(extraction.cost_micro_usd.is_none());
        if extraction.error.is_none() {
            let (citations, competitors) = (extraction.citations.len() as u64, extraction.competitors.len() as u64);
            state.extracted(&extraction.key.model, &extraction.key.location, citations, competitors);
        }
    }

    /// Money that belongs to no cell.
    pub(super) fn overhead(&self, micro_usd: i64, maybe_micro_usd: i64) {
        let mut state = self.lock();
        state.summary.total_cost_micro_usd += micro_usd;
        state.summary.maybe_charged_micro_usd += maybe_micro_usd;
    }

    /// An error for the summary.
    pub(super) fn error(&self, error: Error) {
        let mut state = self.lock();
        state.summary.processing_error_count += 1;
        if state.summary.processing_errors.len() < ERRORS_KEPT {
            state.summary.processing_errors.push(error);
        }
    }

    /// The budget refused a call: one error for the summary, however many calls are refused.
    pub(super) fn budget_reached(&self, error: Error) {
        let known = std::mem::replace(&mut self.lock().budget_reached, true);
        if !known {
            self.error(error);
        }
    }

    /// Where every pair stands, if that changed since the last call.
    pub(super) fn changes(&self) -> Option<Vec<PairProgress>> {
        let mut state = self.lock();
        std::mem::take(&mut state.changed).then(|| state.pairs.values().cloned().collect())
    }

    /// A model over its pairs.
    pub(super) fn model(&self, model: &str) -> ModelCounts {
        let state = self.lock();
        let mut counts = ModelCounts::default();
        for pair in state.pairs.values().filter(|pair| pair.model == model) {
            counts.total += pair.total;
            counts.terminal += pair.executed;
            counts.failed += pair.failed;
        }
        counts.answered = state.answered.get(model).copied().unwrap_or(0);
        counts
    }

    /// The summary so far.
    pub(super) fn summary(&self) -> Summary {
        self.lock().summary.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn terminal(&mut self, model: &str, location: &str, status: RunStatus) {
        self.changed = true;
        self.summary.processed += 1;
        match status {
            RunStatus::Answered => {
                self.summary.answered += 1;
                match self.answered.get_mut(model) {
                    Some(answered) => *answered += 1,
                    None => drop(self.answered.insert(model.to_owned(), 1)),
                }
            }
            RunStatus::Failed => self.summary.failed += 1,
            RunStatus::Refused | RunStatus::NoAnswer => {}
        }
        if let Some(pair) = self.pair(model, location) {
            pair.executed += 1;
            pair.failed += u64::from(status == RunStatus::Failed);
        }
    }

    fn extracted(&mut self, model: &str, location: &str, citations: u64, competitors: u64) {
        self.changed = true;
        self.summary.evaluations += 1;
        self.summary.citations += citations;
        self.summary.competitors += competitors;
        if let Some(pair) = self.pair(model, location) {
            pair.extracted += 1;
        }
    }

    /// Few pairs: a scan is cheaper than two owned strings for a map look-up.
    fn pair(&mut self, model: &str, location: &str) -> Option<&mut PairProgress> {
        self.pairs.values_mut().find(|pair| pair.model == model && pair.location == location)
    }
}
