//! What earlier starts of the batch left in the journal, on its way to where it belongs: replies and extractions to the store,
//! submissions to their pairs, charges to the budget. Buys nothing.

use std::collections::HashMap;
use std::sync::Arc;

use super::existing::Existing;
use super::extract_batch::InFlight as InFlightExtraction;
use super::plan::{Bits, Matrix};
use super::session::Session;
use super::snapshot::InFlight;
use super::spec::{Phase, RunSpec};
use super::work::{Done, Job, Sink};
use crate::config::ExtractionMode;
use crate::domain::{CellKey, Extraction, MicroUsd};
use crate::host::Level;
use crate::journal::{Asked, Call, Recovered};
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
            outcome.carry((-carried.0, -carried.1));
            let job = Job::of_cell(cell, self.spec.web_search, carried);
            let worst = self.providers.iter().find(|provider| provider.model() == run.key.model);
            let worst = worst.map_or(MicroUsd::ZERO, |provider| provider.worst_case(&job.ask));
            let charged = outcome.cost_micro_usd.unwrap_or(worst).plus(outcome.maybe_charged_micro_usd);
            self.session.budget.correct(charged);
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
            let jobs = submission.cells.iter().zip(wanted).enumerate().filter_map(|(place, (key, wanted))| {
                let number = self.matrix.number(key)?;
                let counted = self.existing.carried.get(&number).copied().unwrap_or_default();
                // Not what the row says: it has this submission's own charge, if its start died after the store had taken the row.
                let carried = submission.carried.get(place).copied().unwrap_or(counted);
                let job = Job::of_cell(self.matrix.cell(number)?, self.spec.web_search, carried);
                let job = Job { counted, ..job };
                let job = if submission.without_location.contains(&place) { job.without_location() } else { job };
                Some(Job { wanted, ..job })
            });
            let jobs: Vec<Job> = jobs.collect();
            if let Some(provider) = self.providers.get(pair.0) {
                let wanted = || jobs.iter().filter(|job| job.wanted);
                let worst: MicroUsd = wanted().map(|job| provider.worst_case(&job.ask)).sum();
                let booked: MicroUsd = wanted().map(Job::comes_again).sum();
                self.session.budget.correct(MicroUsd(worst.0 - booked.0));
            }
            match &submission.snapshot_id {
                Some(id) => {
                    self.session.claim_snapshot(id);
                    host.log(Level::Info, format!("Snapshot {id} of an interrupted start is fetched, not bought again"));
                }
                None => host.log(
                    Level::Warning,
                    format!(
                        "a submission of {} questions to {} was interrupted between its trigger and its snapshot id: it is looked for \
                         at the provider",
                        submission.cells.len(),
                        submission.model
                    ),
                ),
            }
            pairs.entry(pair).or_default().push(InFlight { submission, jobs });
        }
        (pairs, taken)
    }

    fn pair_of(&self, key: &CellKey) -> Option<(usize, usize)> {
        let number = self.matrix.number(key)?;
        let pair = number / self.matrix.cells_per_pair();
        Some((pair / self.matrix.locations.len(), pair % self.matrix.locations.len()))
    }
}

/// Calls of earlier starts that no reply followed: what they may have been charged is carried by their cell or its extraction.
/// Returns what belongs to no cell.
pub(super) fn unreplied(
    session: &Session,
    phase: Phase,
    matrix: &Matrix,
    existing: &mut Existing,
    recovered: &Recovered,
) -> MicroUsd {
    let mut of_the_batch = MicroUsd::ZERO;
    for asked in &recovered.asked {
        let number = asked.key.as_ref().and_then(|key| matrix.number(key));
        let carried = match (asked.call, number) {
            (Call::Names, _) => {
                of_the_batch = of_the_batch.plus(MicroUsd(asked.micro_usd));
                continue;
            }
            // Failed rows count as done here, and this may have asked one again: the journal keeps it for a start that executes.
            (Call::Answer, _) if phase == Phase::Extract => None,
            (Call::Answer, Some(number)) if !existing.done.get(number) => {
                Some(Arc::make_mut(&mut existing.carried).entry(number))
            }
            (Call::Competitors | Call::Evaluation, Some(number)) if existing.backlog.get(number) => {
                Some(Arc::make_mut(&mut existing.extraction_carried).entry(number))
            }
            _ => {
                session.journal.charged_nothing(Asked { micro_usd: 0, ..asked.clone() }); // a row has it already
                continue;
            }
        };
        if let Some(carried) = carried {
            carried.or_default().1 += asked.micro_usd;
        }
        session.totals.overhead(0, asked.micro_usd);
        session.budget.correct(MicroUsd(asked.micro_usd));
    }
    if !recovered.asked.is_empty() {
        let line = format!(
            "{} direct calls of an interrupted start have no reply: they are asked again, and what they may have cost is booked as \
             maybe charged",
            recovered.asked.len()
        );
        session.host.log(Level::Warning, line);
    }
    of_the_batch
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
            // One that failed is tried again; what it cost is carried.
            Some(number) if extraction.error.is_some() => {
                let known = existing.extraction_carried.get(&number).copied().unwrap_or_default();
                let all = (
                    extraction.cost_micro_usd.unwrap_or_default().0.max(known.0),
                    extraction.maybe_charged_micro_usd.0.max(known.1),
                );
                Arc::make_mut(&mut existing.extraction_carried).insert(number, all);
                session.totals.failed_extraction(all.0 - known.0, all.1 - known.1);
                session.budget.correct(MicroUsd(all.0 - known.0 + all.1 - known.1));
            }
            Some(number) => {
                existing.backlog.clear(number);
                existing.unextracted -= 1;
                let carried = existing.extraction_carried.get(&number).copied().unwrap_or_default();
                let mut extraction = Arc::unwrap_or_clone(extraction);
                extraction.carry((-carried.0, -carried.1));
                let charged = extraction.cost_micro_usd.unwrap_or_default().plus(extraction.maybe_charged_micro_usd);
                session.budget.correct(charged);
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

/// Submissions for extraction that earlier starts left at the provider, those of which answers are still not extracted. Called after
/// [`spilled`]: what came of a submission is noted together with its end, so an open one has nothing noted.
///
/// A start that extracts another way leaves them and their answers alone: they are paid for. One whose answers were all extracted
/// another way meanwhile is of no use to anybody: nobody waits for it, and what it is expected to cost is booked.
pub(super) async fn extraction_batches(
    session: &Session,
    spec: &RunSpec,
    matrix: &Matrix,
    existing: &mut Existing,
    recovered: &mut Recovered,
) -> Vec<InFlightExtraction> {
    if spec.phase == Phase::Execute {
        return Vec::new(); // they stay in the journal
    }
    let mut in_flight = Vec::new();
    for submission in std::mem::take(&mut recovered.extraction_batches) {
        let numbers = submission.cells.iter().filter_map(|key| matrix.number(key));
        let wanted: Vec<usize> = numbers.filter(|number| existing.backlog.get(*number)).collect();
        if wanted.is_empty() {
            let expected = submission.extraction.as_ref().map_or(0, |requests| requests.expected_micro_usd);
            session.budget.correct(MicroUsd(expected));
            let booked = session.book_overhead(Some(&submission.model), (0, expected)).await;
            if let Err(error) = booked.and(session.journal.closed(&submission.id).await) {
                session.fail(error);
            }
            continue;
        }
        if let Some(id) = &submission.snapshot_id {
            session.claim_snapshot(id);
        }
        let worst = submission.extraction.as_ref().map_or(0, |requests| requests.worst_micro_usd);
        session.budget.correct(MicroUsd(worst));
        let (count, id) = (wanted.len(), submission.snapshot_id.as_deref().unwrap_or("whose id was lost"));
        if spec.extraction == ExtractionMode::LlmBatch {
            session
                .host
                .log(Level::Info, format!("Batch {id} of an interrupted start is fetched, not bought again ({count} answers)"));
            in_flight.push(InFlightExtraction { submission, wanted: count });
            continue;
        }
        for number in wanted {
            existing.backlog.clear(number);
            existing.unextracted -= 1;
        }
        let line =
            format!("{count} answers wait for batch {id} at the provider, which is paid for: extraction=llm-batch fetches it");
        session.host.log(Level::Warning, line);
    }
    in_flight
}

/// The spec with the overhead that an earlier start noted and the store was not told.
pub(super) fn booked(spec: Arc<RunSpec>, recovered: &Recovered) -> Arc<RunSpec> {
    if recovered.overhead.is_empty() {
        return spec;
    }
    let mut spec = Arc::unwrap_or_clone(spec);
    for noted in &recovered.overhead {
        // A journal of version 1 has the batch's total and names no model: what the batch's row lacks is the first model run's.
        let (model, charged) = match &noted.model {
            Some(name) => (spec.models.iter_mut().find(|model| model.model == *name), noted.micro_usd),
            None => (spec.models.first_mut(), noted.micro_usd - spec.overhead_micro_usd),
        };
        if let Some(model) = model {
            // Both are totals that only grow, and only the lease's holder writes them: the larger is the newer.
            let more = (charged - model.overhead_micro_usd).max(0);
            let more_maybe = (noted.maybe_charged_micro_usd - model.overhead_maybe_charged_micro_usd).max(0);
            model.overhead_micro_usd += more;
            model.overhead_maybe_charged_micro_usd += more_maybe;
            spec.batch_overhead_micro_usd += more;
            spec.batch_overhead_maybe_charged_micro_usd += more_maybe;
        }
    }
    Arc::new(spec)
}
