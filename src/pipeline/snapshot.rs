//! Providers that take a submission of many questions: chunks, trigger, poll, download, per-row settlement.
//!
//! A trigger is sent at most once for what it buys: the intent is durable before it, the snapshot id after it. Where the reply is
//! lost, reconcile.rs looks for the snapshot at the provider; it is bought again only when it is certain not to exist.

mod fetch;
mod reconcile;
mod unseen;

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::iter::Peekable;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::call::{Failure, Rules};
use super::direct::with_context;
use super::model_stop::Purse;
use super::note::Note;
use super::session::Session;
use super::work::{Done, Job, Pair, Sink};
use crate::domain::{MicroUsd, Outcome};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Level;
use crate::http::limit::Permit;
use crate::http::retry::{self, CallKind};
use crate::journal::Submission;
use crate::providers::{Ask, Protocol, SnapshotProvider};
pub(super) use unseen::Unseen;

/// Times that rows which failed are asked again, in a smaller submission.
const ROW_RETRIES: u8 = 1;

/// Times that a lost submission, which the provider turned out not to have, is triggered again.
const RETRIGGERS: u8 = 1;

/// Questions for one submission.
#[derive(Debug)]
struct Chunk {
    jobs: Vec<Job>,
    retries_left: u8,
    retriggers_left: u8,
}

impl Chunk {
    fn new(jobs: Vec<Job>) -> Self {
        Self { jobs, retries_left: ROW_RETRIES, retriggers_left: RETRIGGERS }
    }
}

/// A submission that an earlier start left in flight, with its questions.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) submission: Submission,
    pub(super) jobs: Vec<Job>,
}

/// Runs the pair: fetches what is in flight, asks the rest in chunks.
pub(super) async fn run(
    session: Arc<Session>,
    pair: Arc<Pair>,
    mut in_flight: Vec<InFlight>,
    unseen: Option<Unseen>,
    jobs: impl Iterator<Item = Job> + Send,
    total: usize,
    sink: Sink,
) {
    let label = pair.label();
    session.host.log(Level::Info, format!("{label} Provider supports batching (max size: {})", pair.provider.max_batch_size()));
    let work = Arc::new(Work { session, pair, sink });
    let mut tasks: JoinSet<Vec<Chunk>> = JoinSet::new();
    let mut jobs: Box<dyn Iterator<Item = Job> + Send> = Box::new(jobs);
    if let Some(unseen) = unseen {
        let seen = work.adopt(unseen, jobs.collect()).await;
        in_flight.extend(seen.adopted);
        jobs = Box::new(seen.open.into_iter());
    }
    for InFlight { submission, jobs } in in_flight {
        let Some(permit) = work.place_of_bought().await else { break };
        let work = work.clone();
        tasks.spawn(async move { work.resume(submission, Chunk::new(jobs), permit).await });
    }
    let mut again: VecDeque<Chunk> = VecDeque::new();
    let mut jobs = jobs.peekable();
    let mut asked = 0;
    loop {
        while let Some(finished) = tasks.try_join_next() {
            again.extend(work.session.ended(finished).unwrap_or_default());
        }
        if again.is_empty() && jobs.peek().is_none() {
            match tasks.join_next().await {
                Some(finished) => again.extend(work.session.ended(finished).unwrap_or_default()),
                None => break,
            }
            continue;
        }
        let Some(permit) = work.place().await else { break };
        let chunk = match again.pop_front() {
            Some(chunk) => chunk,
            None => {
                let chunk = work.next_chunk(&mut jobs).await;
                let first = asked + 1;
                asked += chunk.jobs.len();
                work.log(format!("Processing batch {first}-{asked} of {total} questions"));
                chunk
            }
        };
        let work = work.clone();
        tasks.spawn(async move { work.submit(chunk, permit).await });
    }
    while let Some(ended) = tasks.join_next().await {
        work.session.ended(ended);
    }
}

/// A pair's work, shared by its submissions.
struct Work {
    session: Arc<Session>,
    pair: Arc<Pair>,
    sink: Sink,
}

impl Work {
    /// The protocol of the pair. Only pairs with a snapshot protocol come here.
    fn protocol(&self) -> Result<&dyn SnapshotProvider> {
        match self.pair.provider.protocol() {
            Protocol::Snapshot(snapshot) => Ok(snapshot),
            _ => Err(Error::internal(format!("{} takes no submissions", self.pair.provider.model()))),
        }
    }

    fn log(&self, line: String) {
        self.session.host.log(Level::Info, format!("{} {line}", self.pair.label()));
    }

    /// A place among the open submissions; `None` when nothing more may start.
    async fn place(&self) -> Option<Permit> {
        let permit = tokio::select! {
            biased;
            () = self.pair.stop.halted.cancelled() => return None,
            permit = self.place_of_bought() => permit?,
        };
        (!self.session.budget.is_exhausted()).then_some(permit)
    }

    /// A place for what is bought already: to fetch it costs nothing, whatever the model's price and the budget say.
    async fn place_of_bought(&self) -> Option<Permit> {
        tokio::select! {
            biased;
            () = self.session.stop.cancelled() => None,
            () = self.pair.account.halted.cancelled() => None,
            permit = self.pair.account.limits.calls.acquire() => Some(permit),
        }
    }

    /// The next questions. What the provider would refuse ends here, before it can cost the others their submission.
    async fn next_chunk(&self, jobs: &mut Peekable<impl Iterator<Item = Job> + Send>) -> Chunk {
        let provider = &self.pair.provider;
        let size = self.session.learned.batch_size(provider.model(), provider.max_batch_size());
        let mut chunk = Vec::with_capacity(size);
        while chunk.len() < size {
            let Some(job) = jobs.next() else { break };
            match provider.check(&job.ask) {
                Ok(()) => chunk.push(job),
                Err(error) => self.settle(job, Outcome::failed(error)).await,
            }
        }
        Chunk::new(chunk)
    }

    /// Goes on with a submission of an earlier start.
    async fn resume(&self, submission: Submission, chunk: Chunk, permit: Permit) -> Vec<Chunk> {
        if submission.snapshot_id.is_some() {
            return self.fetch(submission, chunk, true, permit).await;
        }
        self.resolve(submission, chunk, permit).await
    }

    /// Buys a submission and fetches it. Returns what is to be asked again.
    async fn submit(&self, mut chunk: Chunk, permit: Permit) -> Vec<Chunk> {
        if chunk.jobs.is_empty() {
            return Vec::new();
        }
        let id = self.session.context.clock.id();
        // The order is the submission's own: it tells ours from another batch's that asks the same questions at the same time.
        // (Not by a CRC: it is linear, so that another id would only flip bits of the same order.)
        chunk.jobs.sort_by_cached_key(|job| {
            let mut hasher = DefaultHasher::new();
            (&id, &job.ask.key).hash(&mut hasher);
            hasher.finish()
        });
        let mut submission = Submission {
            id,
            model: self.pair.provider.model().to_owned(),
            cells: chunk.jobs.iter().filter_map(|job| job.cell.as_ref()).map(crate::domain::Cell::key).collect(),
            created_at_ms: self.session.context.clock.now_ms(),
            snapshot_id: None,
            without_location: without_location(&chunk.jobs),
            carried: chunk.jobs.iter().map(|job| job.carried).collect(),
            extraction: None,
        };
        match self.trigger(&mut submission, &chunk.jobs).await {
            Ok(()) => self.fetch(submission, chunk, false, permit).await,
            Err(Triggered::Unknown(error)) => {
                self.warn(format!(
                    "{}: the submission of {} questions may exist, it is looked for",
                    error.message,
                    chunk.jobs.len()
                ));
                self.resolve(submission, chunk, permit).await
            }
            Err(Triggered::Open(error)) => self.leave_all_open(chunk, &error).await,
            Err(Triggered::Refused(error)) => self.refused(chunk, error).await,
        }
    }

    /// Intent (right before it is sent), trigger, snapshot id. Durable at each step; `submission` becomes what the journal has of it.
    async fn trigger(&self, submission: &mut Submission, jobs: &[Job]) -> Result<(), Triggered> {
        let session = &self.session;
        let asks: Vec<Ask> = jobs.iter().map(|job| job.ask.clone()).collect();
        let worst: MicroUsd = asks.iter().map(|ask| self.pair.provider.worst_case(ask)).sum();
        let reservation = session.budget.reserve(worst).await.map_err(Triggered::Open)?;
        let protocol = self.protocol().map_err(Triggered::Open)?;
        let request = protocol.trigger(&asks).map_err(Triggered::Refused)?;
        let count = jobs.len();
        self.log(format!("Making batched {} call for {count} queries", self.pair.provider.title()));
        let cap = Some(&self.pair.account.limits.triggers);
        let purse = Some(Purse { reservation: &reservation, each: worst, stop: &self.pair.stop });
        let rules = Rules { kind: CallKind::Trigger, cap, note: Note::Intent(submission), purse };
        let read = |reply: crate::http::HttpResponse| {
            if reply.is_success() { protocol.decode_trigger(&reply) } else { Err(protocol.error(&asks, &reply)) }
        };
        let called = session.call(&self.pair.account, rules, &request, read).await;
        submission.created_at_ms = called.as_ref().map_or_else(|failure| failure.facts, |called| called.facts).noted_at_ms;
        match called {
            Ok(called) => {
                // Booked in full now, corrected when the rows tell what was charged.
                let _ = reservation.settle(worst, MicroUsd::ZERO);
                if !session.claim_snapshot(&called.value) {
                    return Err(self.not_ours(submission, &called.value));
                }
                if let Err(error) = session.journal.submitted(&submission.id, &called.value).await {
                    // It is bought and its id is known here alone: nothing new starts, and this one is fetched while we can.
                    self.warn(format!("snapshot {} is bought and could not be noted in the journal", called.value));
                    self.journal_failed(error);
                }
                submission.snapshot_id = Some(called.value);
                Ok(())
            }
            Err(failure) => {
                if retry::may_have_bought(&failure.error) {
                    let _ = reservation.settle(worst, MicroUsd::ZERO); // it may be on the bill
                }
                Err(self.trigger_failed(failure))
            }
        }
    }

    /// The provider named a snapshot that is another submission's: what it bought for this one, if anything, is not known.
    fn not_ours(&self, submission: &Submission, id: &str) -> Triggered {
        let message = format!(
            "the provider answered a trigger of {} questions with snapshot {id}, which belongs to another submission: it is held, not \
             bought again; the next start looks for it",
            submission.cells.len()
        );
        let error = Error::internal(message).with(|context| context.maybe_charged = true);
        self.session.host.log(Level::Error, format!("{} {error}", self.pair.label()));
        self.session.totals.error(error.clone());
        Triggered::Open(error)
    }

    fn trigger_failed(&self, failure: Failure) -> Triggered {
        let error = failure.error;
        if error.kind == ErrorKind::Journal {
            return self.journal_failed(error);
        }
        if retry::may_have_bought(&error) {
            return Triggered::Unknown(error);
        }
        let open = error.kind.stops_provider()
            || matches!(error.kind, ErrorKind::Cancelled | ErrorKind::Budget | ErrorKind::RateLimited | ErrorKind::NotSent);
        if open { Triggered::Open(error) } else { Triggered::Refused(error) }
    }

    fn journal_failed(&self, error: Error) -> Triggered {
        self.session.totals.error(error.clone());
        self.session.host.log(Level::Error, error.to_string());
        self.session.stop.cancel(); // without a journal nothing more may be bought
        Triggered::Open(error)
    }

    /// The provider refused the submission: drop the inputs it names, else the location it does not take, else halve.
    async fn refused(&self, chunk: Chunk, error: Error) -> Vec<Chunk> {
        let count = chunk.jobs.len();
        let bad = &error.context.bad_inputs;
        let located = chunk.jobs.iter().any(|job| job.ask.location.is_some());
        if located && error.kind == ErrorKind::InvalidRequest && error.context.code.as_deref() == Some("country_not_available") {
            let jobs = chunk.jobs.into_iter().map(Job::without_location).collect();
            self.warn(format!("the provider does not take the country {}: asked without it", self.pair.location));
            return vec![Chunk { jobs, ..chunk }];
        }
        if error.kind == ErrorKind::InvalidRequest && !bad.is_empty() && bad.len() < count {
            let mut rest = Vec::new();
            for (position, job) in chunk.jobs.into_iter().enumerate() {
                if bad.contains(&position) {
                    self.settle(job, Outcome::failed(error.clone())).await;
                } else {
                    rest.push(job);
                }
            }
            self.warn(format!("the provider refused {} of {count} inputs; the others are sent again", bad.len()));
            return vec![Chunk { jobs: rest, ..chunk }];
        }
        if error.kind == ErrorKind::InvalidRequest && count > 1 {
            self.warn(format!("the provider refused {count} inputs without naming one: halving to find it ({})", error.message));
            let mut first = chunk.jobs;
            let second = first.split_off(count / 2);
            let (retries_left, retriggers_left) = (chunk.retries_left, chunk.retriggers_left);
            return [first, second].map(|jobs| Chunk { jobs, retries_left, retriggers_left }).into();
        }
        for job in chunk.jobs {
            self.settle(job, Outcome::failed(error.clone())).await;
        }
        Vec::new()
    }

    fn warn(&self, line: String) {
        self.session.host.log(Level::Warning, format!("{} {line}", self.pair.label()));
    }

    /// A terminal outcome without a submission behind it.
    async fn settle(&self, job: Job, outcome: Outcome) {
        let outcome =
            Outcome { error: outcome.error.map(|error| with_context(error, self.pair.provider.as_ref(), &job.ask)), ..outcome };
        self.send(Done { job, outcome: Ok(outcome), ticket: None }).await;
    }

    /// The cells stay open for the next start.
    async fn leave_all_open(&self, chunk: Chunk, error: &Error) -> Vec<Chunk> {
        for job in chunk.jobs {
            self.leave_open(job, error.clone()).await;
        }
        Vec::new()
    }

    /// The cell stays open for the next start.
    async fn leave_open(&self, job: Job, error: Error) {
        self.send(Done { job, outcome: Err(error), ticket: None }).await;
    }

    async fn send(&self, done: Done) {
        if self.sink.send(done).await.is_err() {
            self.session.stop.cancel(); // the saver is gone: nothing more may be bought
        }
    }
}

/// The places of the jobs that are asked from anywhere although their cells name a location.
fn without_location(jobs: &[Job]) -> Vec<usize> {
    jobs.iter().enumerate().filter(|(_, job)| job.lacks_location()).map(|(place, _)| place).collect()
}

/// Why there is no snapshot id.
enum Triggered {
    /// It may exist at the provider.
    Unknown(Error),
    /// Nothing terminal: the cells stay open.
    Open(Error),
    /// Certain that nothing was bought.
    Refused(Error),
}
