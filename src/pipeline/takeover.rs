//! What earlier starts of the batch left in the journal, on its way to where it belongs: replies and extractions to the store,
//! submissions to their pairs, charges to the budget. Buys nothing.

use std::collections::HashMap;
use std::sync::Arc;

use super::existing::Existing;
use super::plan::{Bits, Matrix};
use super::session::Session;
use super::snapshot::InFlight;
use super::spec::{Phase, RunSpec};
use super::work::{Done, Job, Sink};
use crate::domain::{CellKey, Extraction, MicroUsd};
use crate::error::{Error, ErrorKind};
use crate::host::Level;
use crate::journal::Recovered;
use crate::providers::Provider;

/// Submissions in flight by (model, location).
pub(super) type InFlightByPair = HashMap<(usize, usize), Vec<InFlight>>;

/// The state that a take-over reads.
pub(super) struct TakeOver<'a> {
    pub(super) session: &'a Session,
    pub(super) spec: &'a RunSpec,
    pub(super) matrix: &'a Matrix,
    pub(super) existing: &'a Existing,
    pub(super) providers: &'a [Arc<dyn Provider>],
}

impl TakeOver<'_> {
    /// What earlier starts left in the journal: replies go to the store, submissions to their pairs. Also returns the cells
    /// that must not be asked: stored, replied or in flight.
    pub(super) async fn in_flight(&self, recovered: Recovered, sink: &Sink) -> (InFlightByPair, Bits) {
        let host = &self.session.host;
        let mut pairs = InFlightByPair::new();
        let mut taken = self.existing.done.clone();
        let mut replies = 0;
        for run in recovered.replies {
            let Some(number) = self.matrix.number(&run.key).filter(|number| !self.existing.done.get(*number)) else {
                self.session.journal.acknowledged(std::iter::once(run.as_ref())); // the store has it
                continue;
            };
            let Some(cell) = self.matrix.cell(number) else { continue };
            replies += 1;
            taken.set(number);
            // The journal has the money of earlier runs inside the outcome; the saver will add it again.
            let carried = self.existing.carried.get(&number).copied().unwrap_or_default();
            let mut outcome = run.outcome.clone();
            outcome.cost_micro_usd = outcome.cost_micro_usd.map(|cost| MicroUsd(cost.0 - carried.0));
            outcome.maybe_charged_micro_usd = MicroUsd(outcome.maybe_charged_micro_usd.0 - carried.1);
            let charged = outcome.cost_micro_usd.unwrap_or_default().plus(outcome.maybe_charged_micro_usd);
            self.session.budget.correct(charged);
            let job = Job::of_cell(cell, self.spec.web_search, carried);
            let _ = sink.send(Done { job, outcome: Ok(outcome), ticket: None }).await;
        }
        if replies > 0 {
            host.log(Level::Info, format!("{replies} paid answers of an interrupted start are taken from the journal"));
        }
        // A cell belongs to the newest submission that asks it: the older one had its row fail.
        let mut submissions = recovered.submissions;
        submissions.sort_by_key(|submission| std::cmp::Reverse(submission.created_at_ms));
        for submission in submissions {
            let Some(pair) = submission.cells.first().and_then(|key| self.pair_of(key)) else { continue };
            let wanted: Vec<bool> = {
                let open = |key: &CellKey| self.matrix.number(key).is_some_and(|number| !taken.get(number));
                submission.cells.iter().map(open).collect()
            };
            if !wanted.contains(&true) {
                let _ = self.session.journal.closed(&submission.id).await; // every row is stored
                continue;
            }
            submission.cells.iter().filter_map(|key| self.matrix.number(key)).for_each(|number| taken.set(number));
            let jobs = submission.cells.iter().zip(wanted).filter_map(|(key, wanted)| {
                let number = self.matrix.number(key)?;
                let carried = self.existing.carried.get(&number).copied().unwrap_or_default();
                Some(Job { wanted, ..Job::of_cell(self.matrix.cell(number)?, self.spec.web_search, carried) })
            });
            let jobs: Vec<Job> = jobs.collect();
            if let Some(provider) = self.providers.get(pair.0) {
                let worst: MicroUsd = jobs.iter().filter(|job| job.wanted).map(|job| provider.worst_case(&job.ask)).sum();
                self.session.budget.correct(worst);
            }
            if let Some(id) = &submission.snapshot_id {
                host.log(Level::Info, format!("Snapshot {id} of an interrupted start is fetched, not bought again"));
                pairs.entry(pair).or_default().push(InFlight { submission, jobs });
            } else {
                let error = Error::new(
                    ErrorKind::OutcomeUnknown,
                    format!(
                        "a submission of {} questions to {} was interrupted between its trigger and its snapshot id: it may exist at \
                         the provider and may have been charged; it is held, not bought again",
                        submission.cells.len(),
                        submission.model
                    ),
                );
                host.log(Level::Error, &error.message);
                self.session.totals.error(error.with(|context| context.maybe_charged = true));
            }
        }
        (pairs, taken)
    }

    fn pair_of(&self, key: &CellKey) -> Option<(usize, usize)> {
        let number = self.matrix.number(key)?;
        let pair = number / self.matrix.cells_per_pair();
        Some((pair / self.matrix.locations.len(), pair % self.matrix.locations.len()))
    }
}

/// Extractions that the store did not take the last time, of answers that are still not extracted. Their cost includes what
/// the saver is going to add again.
pub(super) fn spilled(
    session: &Session,
    spec: &RunSpec,
    matrix: &Matrix,
    existing: &mut Existing,
    recovered: &mut Recovered,
) -> Vec<Arc<Extraction>> {
    let found = std::mem::take(&mut recovered.extractions);
    if spec.phase == Phase::Execute {
        return Vec::new(); // they stay in the journal
    }
    let mut spilled = Vec::new();
    for extraction in found {
        match matrix.number(&extraction.key).filter(|number| existing.backlog.get(*number)) {
            Some(number) => {
                existing.backlog.clear(number);
                existing.unextracted -= 1;
                let carried = existing.extraction_carried.get(&number).copied().unwrap_or_default();
                let mut extraction = Arc::unwrap_or_clone(extraction);
                extraction.cost_micro_usd = extraction.cost_micro_usd.map(|cost| MicroUsd(cost.0 - carried.0));
                extraction.maybe_charged_micro_usd = MicroUsd(extraction.maybe_charged_micro_usd.0 - carried.1);
                spilled.push(Arc::new(extraction));
            }
            None => session.journal.extractions_acknowledged(std::iter::once(extraction.as_ref())),
        }
    }
    if !spilled.is_empty() {
        let line = format!("{} paid extractions of an interrupted start are taken from the journal", spilled.len());
        session.host.log(Level::Info, line);
    }
    spilled
}

/// The spec with what an earlier start paid for names, when the store was not told.
pub(super) fn booked(spec: Arc<RunSpec>, recovered: &Recovered) -> Arc<RunSpec> {
    let known = recovered.overhead_micro_usd.filter(|known| *known > spec.overhead_micro_usd);
    known.map_or(spec.clone(), |overhead_micro_usd| Arc::new(RunSpec { overhead_micro_usd, ..spec.as_ref().clone() }))
}
