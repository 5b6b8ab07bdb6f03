//! Phase 3 through the batch endpoint of the extraction model's provider: half the token price, answered within a day.
//!
//! Answers are collected by model (of the question), handed over as one submission of many requests, polled, fetched, and
//! settled answer by answer. A submission is noted and found again like a snapshot: intent, id, closed. What one answer asks and
//! what its replies make is `extract_answer`'s, the same as for direct calls.
//!
//! - A request that was not run (expired, cancelled, overloaded) is asked once more by a later submission of the same start;
//!   after that its extraction failed, and the next start asks it again.
//! - A submission that the provider refuses because too much is enqueued there waits for another one to end, or is halved when
//!   none is in flight.
//! - A reply that breaks the schema is repaired once, at once, by a direct call at the full price: it is one in hundreds, and
//!   nobody should wait a day for it.
//! - Memory is bounded: `extraction_batches_open` submissions of `extraction_batch_answers` answers or [`MOST_BYTES`]. What comes while
//!   all are full is left in the store and read from there when there is room; execution never waits for a provider's batch.

mod collect;
mod fetch;
mod reconcile;
mod settle;
mod submit;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::account::Account;
use super::budget::{OverReserved, Reservation};
use super::extract::{Bill, ModelCalls};
use super::extract_answer::Parsed;
use super::plan::{Bits, Matrix};
use super::session::Session;
use super::work::CarriedBy;
use super::{extract_answer, save};
use crate::domain::{Extraction, MicroUsd, QuestionRun};
use crate::error::{Error, Result};
use crate::extract::Extractor;
use crate::host::Level;
use crate::journal::{Call, Submission};
use crate::providers::{self, BatchModel};
use crate::store::Store;
use collect::Collected;

/// Bytes of one submission's requests, or of its answers, at most (a single answer may be larger).
const MOST_BYTES: usize = 16 << 20;
/// Answers taken from the queue at once.
const GROUP: usize = 64;
/// Stored answers a page, when they are read again.
const PAGE: usize = 200;
/// Times that requests of an answer which were not run are asked again in this start.
const LINE_RETRIES: u8 = 1;
/// Times that a lost submission, which the provider turned out not to have, is made again in this start.
const RETRIGGERS: u8 = 1;

/// The extraction model with what a batch of it needs.
#[derive(Debug)]
pub(super) struct Work {
    session: Arc<Session>,
    /// The model as it is routed.
    named: String,
    /// At the price of a batch.
    model: Arc<dyn BatchModel>,
    /// Direct calls of the same model, for repairs; its account and stop.
    calls: Arc<ModelCalls>,
    extractor: Arc<Extractor>,
    results: Results,
    /// The batch whose answers these are.
    batch_id: String,
    /// How many answers the last submission had that was refused for too much being enqueued; 0: none was.
    refused: AtomicUsize,
}

/// Where extractions go, and what earlier ones of their answers were charged.
#[derive(Clone)]
pub(super) struct Results {
    pub(super) sender: mpsc::Sender<Arc<Extraction>>,
    pub(super) carried: Arc<CarriedBy>,
}

impl std::fmt::Debug for Results {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Results")
    }
}

/// Where answers that found no room are read again.
pub(super) struct Source {
    pub(super) store: Arc<dyn Store>,
    pub(super) batch_id: String,
    pub(super) matrix: Arc<Matrix>,
}

/// An answer that waits for its replies.
#[derive(Debug)]
struct Waiting {
    run: Arc<QuestionRun>,
    /// What is still to be asked, and the most that each can be charged.
    asks: Vec<(Call, MicroUsd)>,
    /// What was answered.
    replies: Vec<Parsed>,
    /// What it cost so far in this start.
    bill: Bill,
    /// Bytes of its requests, or of its text where that is longer.
    bytes: usize,
    retries_left: u8,
    retriggers_left: u8,
}

impl Waiting {
    fn worst(&self) -> MicroUsd {
        self.asks.iter().map(|(_, worst)| *worst).sum()
    }
}

/// What a submission is paid from.
enum Money<'a> {
    /// Set aside by this start.
    Reserved(Reservation<'a>),
    /// Booked in full: an earlier start sent it.
    Booked(MicroUsd),
}

impl Money<'_> {
    /// The charge is known.
    fn settle(self, session: &Session, charged: MicroUsd, maybe: MicroUsd) -> Option<OverReserved> {
        match self {
            Self::Reserved(reservation) => reservation.settle(charged, maybe),
            Self::Booked(worst) => session.budget.correct_charge(charged.plus(maybe), worst),
        }
    }

    /// It may be on the bill, and is not known in this start.
    fn keep(self, worst: MicroUsd) {
        if let Self::Reserved(reservation) = self {
            let _ = reservation.settle(worst, MicroUsd::ZERO);
        }
    }

    /// It is certain that nothing was bought.
    fn give_back(self, session: &Session) {
        match self {
            Self::Reserved(reservation) => drop(reservation),
            Self::Booked(worst) => session.budget.correct(MicroUsd(-worst.0)),
        }
    }
}

impl Work {
    /// # Errors
    /// As [`providers::batch_model`].
    pub(super) fn new(
        session: &Arc<Session>,
        calls: Arc<ModelCalls>,
        extractor: Arc<Extractor>,
        results: Results,
        batch_id: &str,
    ) -> Result<Arc<Self>> {
        let named = session.settings.extraction_model.clone();
        let model = providers::batch_model(&named, &session.settings)?;
        let (session, batch_id, refused) = (session.clone(), batch_id.to_owned(), AtomicUsize::new(0));
        Ok(Arc::new(Self { session, named, model, calls, extractor, results, batch_id, refused }))
    }

    /// The same for another extraction model, which an earlier start asked.
    fn of_model(self: &Arc<Self>, named: &str) -> Result<Arc<Self>> {
        if named == self.named {
            return Ok(self.clone());
        }
        let settings = &self.session.settings;
        let model = providers::batch_model(named, settings)?;
        let calls = Arc::new(ModelCalls::new(&self.session, providers::structured_model(named, settings)?));
        Ok(Arc::new(Self {
            session: self.session.clone(),
            named: named.to_owned(),
            model,
            calls,
            extractor: self.extractor.clone(),
            results: self.results.clone(),
            batch_id: self.batch_id.clone(),
            refused: AtomicUsize::new(0),
        }))
    }

    fn account(&self) -> &Account {
        &self.calls.account
    }

    /// Nothing more is bought in this start. What is bought is still fetched.
    fn is_over(&self) -> bool {
        self.session.stop.is_cancelled() || self.session.budget.is_exhausted() || self.calls.are_stopped()
    }

    fn log(&self, level: Level, line: String) {
        self.session.host.log(level, format!("[extraction {}] {line}", self.model.model()));
    }

    /// What an answer waits for: nothing, when the rules alone tell everything.
    fn waiting(&self, run: Arc<QuestionRun>) -> Waiting {
        let requests = extract_answer::requests(&self.extractor, &run);
        let length = |run: &QuestionRun| run.outcome.text.as_ref().map_or(0, String::len);
        let sent: usize = requests.iter().map(|(_, request)| request.system.len() + request.user.len()).sum();
        let asks = requests.iter().map(|(call, request)| (*call, self.model.worst_case(request))).collect();
        Waiting {
            bytes: sent.max(length(&run)),
            run: lean(run),
            asks,
            replies: Vec::new(),
            bill: Bill::default(),
            retries_left: LINE_RETRIES,
            retriggers_left: RETRIGGERS,
        }
    }

    /// The extraction of an answer that asks nothing.
    async fn emit_by_rules(&self, run: &QuestionRun) {
        if let Some(made) = extract_answer::assemble(&self.session, &self.extractor, run, Ok(Vec::new()), Bill::default()) {
            self.emit(made).await;
        }
    }

    /// A failed saver reports itself.
    async fn emit(&self, extraction: Extraction) {
        let _ = self.results.sender.send(Arc::new(extraction)).await;
    }
}

/// Without the provider's raw reply, which no extraction reads: it may wait for hours.
fn lean(run: Arc<QuestionRun>) -> Arc<QuestionRun> {
    if run.outcome.raw.is_empty() {
        return run;
    }
    let mut run = Arc::unwrap_or_clone(run);
    run.outcome.raw = bytes::Bytes::new();
    Arc::new(run)
}

/// Extracts until the queue of answers ends and every submission has ended. `in_flight`: what earlier starts bought.
///
/// # Errors
/// Stored answers that found no room could not be read.
pub(super) async fn run(
    work: Arc<Work>,
    source: Source,
    mut answers: mpsc::Receiver<Arc<QuestionRun>>,
    in_flight: Vec<InFlight>,
) -> Result<()> {
    let mut stage = Stage {
        taken: Bits::new(source.matrix.len()),
        source,
        collected: BTreeMap::new(),
        resumed: Resumed::of(in_flight),
        tasks: JoinSet::new(),
        skipped: false,
        most: work.session.settings.extraction_batch_answers.max(1),
        crowded: false,
        work,
    };
    let mut group = Vec::new();
    let mut open = true;
    while open || !stage.tasks.is_empty() {
        tokio::select! {
            biased;
            Some(ended) = stage.tasks.join_next(), if !stage.tasks.is_empty() => {
                let again = stage.work.session.ended(ended).unwrap_or_default();
                stage.make_room();
                stage.ask_again(again);
            }
            count = answers.recv_many(&mut group, GROUP), if open => {
                for run in group.drain(..) {
                    stage.take(run).await;
                }
                open = count > 0;
                if !open {
                    stage.resume_rest();
                }
            }
        }
        stage.flush(open);
        if !open && stage.skipped {
            stage.read_skipped().await?;
        }
        tokio::task::yield_now().await; // rules take CPU: let the others in
    }
    Ok(())
}

struct Stage {
    work: Arc<Work>,
    source: Source,
    /// Cells that this start has an answer of, or had.
    taken: Bits,
    collected: BTreeMap<String, Collected>,
    resumed: Resumed,
    /// Each gives back what is to be asked again.
    tasks: JoinSet<Vec<Waiting>>,
    /// Answers found no room.
    skipped: bool,
    /// Answers of one submission at most.
    most: usize,
    /// The provider has as much enqueued as it takes: nothing more is handed over before another submission has ended.
    crowded: bool,
}

/// A submission that an earlier start left at the provider.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) submission: Submission,
    /// Its answers that are not extracted yet.
    pub(super) wanted: usize,
}

/// Submissions of earlier starts whose answers are still on their way here.
struct Resumed {
    submissions: Vec<Option<(InFlight, Vec<Arc<QuestionRun>>)>>,
    by_key: HashMap<String, usize>,
}

impl Resumed {
    fn of(submissions: Vec<InFlight>) -> Self {
        let mut by_key = HashMap::new();
        for (place, in_flight) in submissions.iter().enumerate() {
            by_key.extend(in_flight.submission.cells.iter().map(|key| (key.to_string(), place)));
        }
        Self { submissions: submissions.into_iter().map(|submission| Some((submission, Vec::new()))).collect(), by_key }
    }
}

impl Stage {
    async fn take(&mut self, run: Arc<QuestionRun>) {
        let number = self.source.matrix.number(&run.key);
        if number.is_none_or(|number| self.taken.get(number)) {
            return;
        }
        let resumed = self.resumed.by_key.get(&run.key.to_string()).copied();
        if let Some(place) = resumed.and_then(|place| self.resumed.submissions.get_mut(place)).and_then(Option::as_mut) {
            place.1.push(lean(run));
        } else if self.work.is_over() {
            return; // stays unextracted; the next start extracts it
        } else if !self.has_room(&run.key.model) {
            self.skipped = true;
            return;
        } else {
            let waiting = self.work.waiting(run);
            if waiting.asks.is_empty() {
                self.work.emit_by_rules(&waiting.run).await;
            } else {
                self.collected_of(&waiting).push(waiting);
            }
        }
        if let Some(number) = number {
            self.taken.set(number);
        }
    }

    fn collected_of(&mut self, waiting: &Waiting) -> &mut Collected {
        self.collected.entry(waiting.run.key.model.clone()).or_default()
    }

    /// False when all submissions are in flight and the next one is full.
    fn has_room(&self, model: &str) -> bool {
        let may_open = !self.crowded && self.tasks.len() < self.most_open();
        may_open || self.collected.get(model).is_none_or(|collected| !collected.is_full(self.most))
    }

    fn most_open(&self) -> usize {
        self.work.session.settings.extraction_batches_open.max(1)
    }

    /// After a submission has ended: was it refused because too much is enqueued? Others in flight make room when they end; where
    /// none is, what is enqueued is not ours and only a smaller submission may fit.
    fn make_room(&mut self) {
        let refused = self.work.refused.swap(0, Ordering::Relaxed);
        self.crowded = refused > 0 && !self.tasks.is_empty();
        if refused > 0 && !self.crowded {
            self.most = (refused / 2).clamp(1, self.most);
        }
    }

    fn ask_again(&mut self, again: Vec<Waiting>) {
        for waiting in again {
            self.collected_of(&waiting).push(waiting);
        }
    }

    /// Hands over what is full; what is not, too, when no more answers come.
    fn flush(&mut self, open: bool) {
        if self.work.is_over() {
            self.collected.clear();
            self.skipped = false;
            return;
        }
        let most_open = self.most_open();
        for collected in self.collected.values_mut() {
            while !self.crowded
                && (collected.is_full(self.most) || (!open && !self.skipped && !collected.is_empty()))
                && self.tasks.len() < most_open
            {
                let (room, only) = (self.work.session.budget.room(), self.tasks.is_empty());
                let batch = collected.next(self.most, room, only, self.work.model.as_ref());
                if batch.is_empty() {
                    break; // others settle first
                }
                let work = self.work.clone();
                self.tasks.spawn(async move { work.submit(batch).await });
            }
        }
        self.resume_whole();
    }

    /// Goes on with the submissions whose answers are all here.
    fn resume_whole(&mut self) {
        for place in 0..self.resumed.submissions.len() {
            let slot = self.resumed.submissions.get_mut(place);
            if let Some(slot) = slot.filter(|slot| slot.as_ref().is_some_and(|(left, runs)| runs.len() >= left.wanted))
                && let Some((left, runs)) = slot.take()
            {
                self.resume(left.submission, runs);
            }
        }
    }

    /// No more answers come: what is missing was extracted before, or the run was stopped.
    fn resume_rest(&mut self) {
        let stopped = self.work.session.stop.is_cancelled();
        for (left, runs) in std::mem::take(&mut self.resumed.submissions).into_iter().flatten() {
            if !stopped && !runs.is_empty() {
                self.resume(left.submission, runs);
            }
        }
    }

    fn resume(&mut self, submission: Submission, runs: Vec<Arc<QuestionRun>>) {
        let Some(requests) = &submission.extraction else { return };
        match self.work.of_model(&requests.model) {
            Ok(work) => drop(self.tasks.spawn(async move { work.resume(submission, runs).await })),
            Err(error) => {
                let error = Error {
                    message: format!("a batch of {} requests waits at the provider: {}", submission.cells.len(), error.message),
                    ..error
                };
                self.work.log(Level::Error, error.to_string());
                self.work.session.totals.error(error);
            }
        }
    }

    /// Reads what found no room, as far as there is room now. One pass: what was taken is passed over.
    async fn read_skipped(&mut self) -> Result<()> {
        let mut after: Option<String> = None;
        self.skipped = false;
        while !self.work.is_over() {
            let (store, batch_id) = (self.source.store.clone(), self.source.batch_id.clone());
            let page = || store.unextracted_runs(batch_id.clone(), after.clone(), PAGE);
            let page = save::hand_over(&self.work.session, "question_runs", page).await?;
            let Some(last) = page.last().map(|run| run.key.to_string()) else { break };
            if after.as_ref() == Some(&last) {
                break; // the backlog's reader tells it as an error
            }
            after = Some(last);
            for run in page {
                self.take(Arc::new(run)).await;
                self.flush(true);
            }
            if self.skipped {
                return Ok(()); // the rest when a submission has ended
            }
        }
        self.flush(false);
        Ok(())
    }
}
