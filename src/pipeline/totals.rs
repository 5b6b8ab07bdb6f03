//! Counters of a run: per pair for progress, per batch for the summary. Constant memory whatever the matrix.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::{CellKey, ExistingKey, Extraction, MicroUsd, Outcome, PairProgress, RunStatus, Summary};
use crate::error::{Error, ErrorKind};

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
    /// Unknown charges of rows that are to be replaced: how many, and what stands for them.
    unpriced: HashMap<(Row, String), (u64, i64)>,
    /// Cells that failed and are asked again: they count as failed until they have ended anew.
    again: HashSet<String>,
    /// Of those, the ones that have not ended anew, by model.
    open_again: BTreeMap<String, u64>,
    /// Extractions of this start that failed, by model.
    unextracted: BTreeMap<String, u64>,
    changed: bool,
    budget_reached: bool,
    left_open: HashSet<(Option<String>, ErrorKind)>,
}

/// Which row of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Row {
    Answer,
    Extraction,
}

/// What a stored cell was charged for runs and extractions that failed.
fn charged_for_nothing(existing: &ExistingKey) -> i64 {
    let answer = existing.cost_micro_usd - existing.extraction_cost_micro_usd;
    let answer = if existing.status == RunStatus::Failed { answer } else { 0 };
    answer + if existing.extracted { 0 } else { existing.extraction_cost_micro_usd }
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

    /// A cell the store already has. `again`: it is asked again, and counts as it is until then.
    pub(super) fn existing(&self, key: &CellKey, existing: &ExistingKey, again: bool) {
        let mut state = self.lock();
        state.summary.total_cost_micro_usd += existing.cost_micro_usd;
        state.summary.maybe_charged_micro_usd += existing.maybe_charged_micro_usd;
        state.summary.unpriced += u64::from(existing.unpriced);
        state.summary.charged_failures_micro_usd += charged_for_nothing(existing);
        if again {
            state.again.insert(key.to_string());
            add(&mut state.open_again, &key.model);
        }
        state.terminal(&key.model, &key.location, existing.status);
        if existing.extracted {
            state.extracted(&key.model, &key.location, existing.citations.into(), existing.competitors.into());
        }
    }

    /// `unknown` charges of a stored row that is to be replaced: the row that replaces it carries `worst` for them, as what may
    /// have been charged.
    pub(super) fn replaces_unpriced(&self, row: Row, key: &CellKey, unknown: u32, worst: MicroUsd) {
        if unknown > 0 {
            self.lock().unpriced.insert((row, key.to_string()), (u64::from(unknown), worst.0));
        }
    }

    /// A question run reached the store. `carried`: money of an earlier run of the cell that `outcome` includes and that
    /// was counted when it was found.
    pub(super) fn stored(&self, key: &CellKey, outcome: &Outcome, carried: Money) {
        let mut state = self.lock();
        state.replaced(Row::Answer, key);
        state.ends_anew(key);
        state.booked(outcome.cost_micro_usd, outcome.maybe_charged_micro_usd, carried);
        // Only failed runs are asked again: what they were charged for counts by how the cell ends now.
        let cost = outcome.cost_micro_usd.unwrap_or_default().0;
        let failed = outcome.status == RunStatus::Failed;
        state.summary.charged_failures_micro_usd += if failed { cost } else { 0 } - carried.0;
        state.terminal(&key.model, &key.location, outcome.status);
    }

    /// An extraction reached the store (or its failure did). `carried`: as in [`Self::stored`].
    pub(super) fn extracted(&self, extraction: &Extraction, carried: Money) {
        let mut state = self.lock();
        state.replaced(Row::Extraction, &extraction.key);
        state.booked(extraction.cost_micro_usd, extraction.maybe_charged_micro_usd, carried);
        let cost = extraction.cost_micro_usd.unwrap_or_default().0;
        state.summary.charged_failures_micro_usd += if extraction.error.is_some() { cost } else { 0 } - carried.0;
        if extraction.error.is_none() {
            let (citations, competitors) = (extraction.citations.len() as u64, extraction.competitors.len() as u64);
            state.extracted(&extraction.key.model, &extraction.key.location, citations, competitors);
        } else {
            add(&mut state.unextracted, &extraction.key.model);
        }
    }

    /// A failed extraction that an earlier start paid for and did not store: the next one carries it.
    pub(super) fn failed_extraction(&self, micro_usd: i64, maybe_micro_usd: i64) {
        self.overhead(micro_usd, maybe_micro_usd);
        self.lock().summary.charged_failures_micro_usd += micro_usd;
    }

    /// Money that belongs to no cell.
    pub(super) fn overhead(&self, micro_usd: i64, maybe_micro_usd: i64) {
        let mut state = self.lock();
        state.summary.total_cost_micro_usd += micro_usd;
        state.summary.maybe_charged_micro_usd += maybe_micro_usd;
    }

    /// A submission is held: what it may have cost stands in the journal, in no row.
    pub(super) fn held(&self, maybe_micro_usd: i64) {
        let mut state = self.lock();
        state.summary.maybe_charged_micro_usd += maybe_micro_usd;
        state.summary.held_micro_usd += maybe_micro_usd;
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

    /// A call left its cell open: one error for the summary per provider and kind, however many cells there are.
    pub(super) fn left_open(&self, error: Error) {
        let known = !self.lock().left_open.insert((error.context.provider.clone(), error.kind));
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

    /// True when nothing of a model is to come any more: every cell has ended, none of them is asked again, and each answer was
    /// extracted or that failed. `extracting`: this start extracts.
    pub(super) fn has_ended(&self, model: &str, extracting: bool) -> bool {
        let counts = self.model(model);
        let state = self.lock();
        let extracted: u64 = state.pairs.values().filter(|pair| pair.model == model).map(|pair| pair.extracted).sum();
        let of = |counters: &BTreeMap<String, u64>| counters.get(model).copied().unwrap_or(0);
        let all_asked = counts.total > 0 && counts.terminal >= counts.total && of(&state.open_again) == 0;
        all_asked && (!extracting || extracted + of(&state.unextracted) >= counts.answered)
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
    /// The charge of a row, without what was counted when it was found.
    fn booked(&mut self, cost: Option<MicroUsd>, maybe_charged: MicroUsd, carried: Money) {
        self.summary.total_cost_micro_usd += cost.unwrap_or_default().0 - carried.0;
        self.summary.maybe_charged_micro_usd += maybe_charged.0 - carried.1;
        self.summary.unpriced += u64::from(cost.is_none());
    }

    fn replaced(&mut self, row: Row, key: &CellKey) {
        if self.unpriced.is_empty() {
            return;
        }
        if let Some((unknown, worst)) = self.unpriced.remove(&(row, key.to_string())) {
            self.summary.unpriced -= unknown;
            self.summary.maybe_charged_micro_usd += worst; // part of what is carried, and not counted when it was found
        }
    }

    /// A cell that is asked again has ended: what it counted as before is taken back.
    fn ends_anew(&mut self, key: &CellKey) {
        if self.again.is_empty() || !self.again.remove(&key.to_string()) {
            return;
        }
        if let Some(open) = self.open_again.get_mut(&key.model) {
            *open -= 1;
        }
        self.summary.processed -= 1;
        self.summary.failed -= 1;
        if let Some(pair) = self.pair(&key.model, &key.location) {
            pair.executed -= 1;
            pair.failed -= 1;
        }
    }

    fn terminal(&mut self, model: &str, location: &str, status: RunStatus) {
        self.changed = true;
        self.summary.processed += 1;
        match status {
            RunStatus::Answered => {
                self.summary.answered += 1;
                add(&mut self.answered, model);
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

/// One more of a model; its name is copied for the first one only.
fn add(counters: &mut BTreeMap<String, u64>, model: &str) {
    match counters.get_mut(model) {
        Some(count) => *count += 1,
        None => drop(counters.insert(model.to_owned(), 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::Totals;
    use crate::domain::{CellKey, ExistingKey, Outcome, RunStatus};
    use crate::error::{Error, ErrorKind};

    fn key(question: u8) -> CellKey {
        format!("q{question}|m|US|1").parse().expect("a cell key")
    }

    fn stored(question: u8, status: RunStatus) -> ExistingKey {
        let line = serde_json::json!({"key": key(question).to_string(), "status": status, "extracted": false});
        serde_json::from_value(line).expect("an existing key")
    }

    #[test]
    fn a_model_has_ended_when_nothing_of_it_is_to_come() {
        let totals = Totals::default();
        totals.plan("m", "US", 2);
        totals.plan("other", "US", 1);
        assert!(!totals.has_ended("m", true));
        totals.existing(&key(1), &stored(1, RunStatus::Failed), true);
        totals.existing(&key(2), &stored(2, RunStatus::Answered), false);
        assert_eq!(totals.model("m").terminal, 2, "what is asked again counts as it is until then");
        assert!(!totals.has_ended("m", false), "a failed cell is asked again");
        let failed = Outcome::failed(Error::new(ErrorKind::Record, "no"));
        totals.stored(&key(1), &failed, (0, 0));
        assert!(totals.has_ended("m", false), "nothing is extracted in this start");
        assert!(!totals.has_ended("m", true), "an answer waits for its extraction");
    }
}
