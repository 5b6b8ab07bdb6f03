//! Providers that take a submission of many questions: chunks, trigger, poll, download, per-row settlement.
//!
//! A trigger is sent at most once for what it buys: the intent is durable before it, the snapshot id after it, and where the
//! reply is lost nothing is bought again.

mod fetch;

use std::collections::VecDeque;
use std::iter::Peekable;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::call::{Failure, Rules};
use super::direct::with_context;
use super::session::Session;
use super::work::{Done, Job, Pair, Sink};
use crate::domain::{MicroUsd, Outcome};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Level;
use crate::http::limit::Permit;
use crate::http::retry::{self, CallKind};
use crate::journal::Submission;
use crate::providers::{Ask, Protocol, SnapshotProvider};

/// Times that rows which failed are asked again, in a smaller submission.
const ROW_RETRIES: u8 = 1;

/// Questions for one submission.
#[derive(Debug)]
struct Chunk {
    jobs: Vec<Job>,
    retries_left: u8,
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
    in_flight: Vec<InFlight>,
    jobs: impl Iterator<Item = Job> + Send,
    total: usize,
    sink: Sink,
) {
    let label = pair.label();
    session.host.log(Level::Info, format!("{label} Provider supports batching (max size: {})", pair.provider.max_batch_size()));
    let work = Arc::new(Work { session, pair, sink });
    let mut tasks: JoinSet<Vec<Chunk>> = JoinSet::new();
    for InFlight { submission, jobs } in in_flight {
        let Some(permit) = work.place().await else { break };
        let work = work.clone();
        tasks.spawn(async move { work.fetch(submission, Chunk { jobs, retries_left: ROW_RETRIES }, true, permit).await });
    }
    let mut again: VecDeque<Chunk> = VecDeque::new();
    let mut jobs = jobs.peekable();
    let mut asked = 0;
    loop {
        while let Some(finished) = tasks.try_join_next() {
            again.extend(finished.unwrap_or_default());
        }
        if again.is_empty() && jobs.peek().is_none() {
            match tasks.join_next().await {
                Some(finished) => again.extend(finished.unwrap_or_default()),
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
    while tasks.join_next().await.is_some() {}
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
            () = self.session.stop.cancelled() => return None,
            () = self.pair.account.halted.cancelled() => return None,
            permit = self.pair.account.limits.calls.acquire() => permit,
        };
        (!self.session.budget.is_exhausted()).then_some(permit)
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
        Chunk { jobs: chunk, retries_left: ROW_RETRIES }
    }

    /// Buys a submission and fetches it. Returns what is to be asked again.
    async fn submit(&self, chunk: Chunk, permit: Permit) -> Vec<Chunk> {
        if chunk.jobs.is_empty() {
            return Vec::new();
        }
        let submission = Submission {
            id: uuid::Uuid::new_v4().to_string(),
            model: self.pair.provider.model().to_owned(),
            cells: chunk.jobs.iter().filter_map(|job| job.cell.as_ref()).map(crate::domain::Cell::key).collect(),
            created_at_ms: self.session.context.clock.now_ms(),
            snapshot_id: None,
        };
        match self.trigger(&submission, &chunk.jobs).await {
            Ok(snapshot_id) => {
                let submission = Submission { snapshot_id: Some(snapshot_id), ..submission };
                self.fetch(submission, chunk, false, permit).await
            }
            Err(Triggered::Open(error)) => {
                for job in chunk.jobs {
                    self.leave_open(job, error.clone()).await;
                }
                Vec::new()
            }
            Err(Triggered::Refused(error)) => self.refused(chunk, error).await,
        }
    }

    /// Intent (right before it is sent), trigger, snapshot id. Durable at each step.
    async fn trigger(&self, submission: &Submission, jobs: &[Job]) -> Result<String, Triggered> {
        let session = &self.session;
        let asks: Vec<Ask> = jobs.iter().map(|job| job.ask.clone()).collect();
        let worst: MicroUsd = asks.iter().map(|ask| self.pair.provider.worst_case(ask)).sum();
        let reservation = session.budget.reserve(worst).await.map_err(Triggered::Open)?;
        let protocol = self.protocol().map_err(Triggered::Open)?;
        let request = protocol.trigger(&asks).map_err(Triggered::Refused)?;
        let count = jobs.len();
        self.log(format!("Making batched {} call for {count} queries", self.pair.provider.title()));
        let cap = Some(&self.pair.account.limits.triggers);
        let rules = Rules { kind: CallKind::Trigger, cap, intent: Some(submission) };
        let read = |reply: crate::http::HttpResponse| {
            if reply.is_success() { protocol.decode_trigger(&reply) } else { Err(protocol.error(&asks, &reply)) }
        };
        match session.call(&self.pair.account, rules, &request, read).await {
            Ok(called) => {
                // Booked in full now, corrected when the rows tell what was charged.
                reservation.settle(worst);
                if let Err(error) = session.journal.submitted(&submission.id, &called.value).await {
                    // It is bought and its id is known here alone: nothing new starts, and this one is fetched while we can.
                    self.warn(format!("snapshot {} is bought and could not be noted in the journal", called.value));
                    self.journal_failed(error);
                }
                Ok(called.value)
            }
            Err(failure) => {
                if retry::may_have_bought(&failure.error) {
                    reservation.settle(worst); // it may be on the bill
                }
                Err(self.trigger_failed(submission, failure))
            }
        }
    }

    fn trigger_failed(&self, submission: &Submission, failure: Failure) -> Triggered {
        let mut error = failure.error;
        if error.kind == ErrorKind::Journal {
            return self.journal_failed(error);
        }
        if retry::may_have_bought(&error) {
            error.message = format!(
                "{}: the submission of {} questions may exist at the provider and may have been charged; it is held, not bought again",
                error.message,
                submission.cells.len()
            );
            error.context.maybe_charged = true;
            self.session.totals.error(error.clone());
            self.session.host.log(Level::Error, format!("{} {error}", self.pair.label()));
            return Triggered::Open(error);
        }
        let open = error.kind.stops_provider() || error.kind == ErrorKind::Cancelled;
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
            let jobs = chunk.jobs.into_iter().map(without_location).collect();
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
            return [first, second].map(|jobs| Chunk { jobs, retries_left: chunk.retries_left }).into();
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

/// Why there is no snapshot id.
enum Triggered {
    /// Nothing terminal: the cells stay open.
    Open(Error),
    /// Certain that nothing was bought.
    Refused(Error),
}

fn without_location(job: Job) -> Job {
    Job { ask: Ask { location: None, ..job.ask }, ..job }
}
