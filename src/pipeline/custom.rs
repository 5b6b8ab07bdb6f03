//! Providers that the user wrote: asked through the host, in chunks of their own size, under the same retry, cap and money
//! rules as a built-in one.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::call::Rules;
use super::direct::with_context;
use super::note::{Note, Noted};
use super::place::Heard;
use super::session::Session;
use super::spec::CustomProvider;
use super::totals::Money;
use super::work::{Done, Job, Pair, Sink};
use crate::domain::{Cell, CellKey, MicroUsd, Outcome, Price, RunStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::host::{HostCall, HostReply, Level};
use crate::http::rate::Tokens;
use crate::http::retry::{self, CallKind, Decision};
use crate::journal::Call;
use crate::providers::{Ask, Protocol, Provider};

/// A provider behind the host.
#[derive(Debug)]
pub(super) struct HostProvider {
    spec: CustomProvider,
    price: Price,
}

impl HostProvider {
    pub(super) fn new(spec: CustomProvider) -> Self {
        let price = Price { request: spec.micro_usd_per_question, ..Price::default() };
        Self { spec, price }
    }
}

impl Provider for HostProvider {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn title(&self) -> &str {
        &self.spec.name
    }

    fn model(&self) -> &str {
        &self.spec.name
    }

    fn surface(&self) -> &str {
        &self.spec.name
    }

    fn max_batch_size(&self) -> usize {
        self.spec.max_batch_size.max(1)
    }

    fn check(&self, ask: &Ask) -> Result<()> {
        if ask.question.trim().is_empty() {
            return Err(Error::new(ErrorKind::InvalidRequest, "the question is empty"));
        }
        Ok(())
    }

    fn price(&self) -> &Price {
        &self.price
    }

    fn worst_case(&self, _: &Ask) -> MicroUsd {
        MicroUsd(self.spec.micro_usd_per_question.unwrap_or(0))
    }

    fn expected(&self, ask: &Ask) -> MicroUsd {
        self.worst_case(ask)
    }

    fn protocol(&self) -> Protocol<'_> {
        Protocol::Host(&self.spec.name)
    }
}

pub(super) async fn run(session: Arc<Session>, pair: Arc<Pair>, jobs: impl Iterator<Item = Job> + Send, sink: Sink) {
    let size = pair.provider.max_batch_size();
    let mut jobs = jobs.peekable();
    let mut tasks = JoinSet::new();
    while jobs.peek().is_some() {
        let permit = tokio::select! {
            biased;
            () = session.stop.cancelled() => break,
            () = pair.account.halted.cancelled() => break,
            () = pair.stop.halted.cancelled() => break,
            permit = pair.account.limits.calls.acquire() => permit,
        };
        if session.budget.is_exhausted() {
            break;
        }
        while let Some(ended) = tasks.try_join_next() {
            session.ended(ended);
        }
        let chunk: Vec<Job> = jobs.by_ref().take(size).collect();
        let (session, pair, sink) = (session.clone(), pair.clone(), sink.clone());
        tasks.spawn(async move {
            let outcomes = ask(&session, &pair, &chunk).await;
            for (job, outcome) in chunk.into_iter().zip(outcomes) {
                if sink.send(Done { job, outcome, ticket: None }).await.is_err() {
                    session.stop.cancel(); // the saver is gone: nothing more may be bought
                }
            }
            drop(permit);
        });
    }
    while let Some(ended) = tasks.join_next().await {
        session.ended(ended);
    }
}

/// One outcome per job, in order. What the provider marked as worth another try is asked again by the one retry policy.
async fn ask(session: &Session, pair: &Pair, jobs: &[Job]) -> Vec<Result<Outcome>> {
    let provider = pair.provider.as_ref();
    let mut settled: Vec<Option<Result<Outcome>>> = jobs
        .iter()
        .map(|job| provider.check(&job.ask).err().map(|error| Ok(Outcome::failed(with_context(error, provider, &job.ask)))))
        .collect();
    let started = Instant::now();
    let started_at_ms = session.context.clock.now_ms();
    let mut attempt = 0;
    // What tries that are not the last one were, or may have been, charged.
    let mut spent: Vec<Money> = vec![(0, 0); jobs.len()];
    let keys: Vec<Option<CellKey>> = jobs.iter().map(|job| job.cell.as_ref().map(Cell::key)).collect();
    let note = |position: usize, spent: &[Money]| {
        let (key, job, spent) = (keys.get(position)?.as_ref()?, jobs.get(position)?, spent.get(position)?);
        noted(key, provider.worst_case(&job.ask), *spent)
    };
    loop {
        let open: Vec<usize> =
            settled.iter().enumerate().filter(|(_, outcome)| outcome.is_none()).map(|(position, _)| position).collect();
        if open.is_empty() {
            break;
        }
        attempt += 1;
        let asks: Vec<Ask> = open.iter().filter_map(|position| jobs.get(*position)).map(|job| job.ask.clone()).collect();
        let mut wait: Option<Duration> = None;
        let notes: Vec<Noted<'_>> = open.iter().filter_map(|position| note(*position, &spent)).collect();
        let outcomes = once(session, pair, &asks, &notes).await;
        if attempt == 1 && outcomes.iter().all(|outcome| failure(outcome).is_none()) {
            pair.account.retries.succeeded();
        }
        // A repetition is one call, however many questions it asks again: it is taken from the retry budget once.
        let mut allowed = None;
        for (position, outcome) in open.into_iter().zip(outcomes) {
            let again = failure(&outcome).and_then(|error| {
                let random = session.context.clock.random();
                match retry::decide(&error, CallKind::Paid, attempt, attempt - 1, &session.settings.retry, random) {
                    Decision::Retry { after } if !session.stop.is_cancelled() => {
                        allowed.get_or_insert_with(|| pair.account.retries.take(&error)).then_some(after)
                    }
                    _ => None,
                }
            });
            match (again, jobs.get(position), settled.get_mut(position)) {
                (Some(after), Some(job), _) => {
                    let worst = provider.worst_case(&job.ask);
                    wait = Some(wait.map_or(after, |longest| longest.max(after)));
                    if let (Some(spent), Ok(outcome)) = (spent.get_mut(position), &outcome) {
                        // A try whose charge is not known may have cost the most.
                        let unknown = if outcome.cost_micro_usd.is_none() { worst } else { MicroUsd::ZERO };
                        spent.0 += outcome.cost_micro_usd.unwrap_or_default().0;
                        spent.1 += outcome.maybe_charged_micro_usd.plus(unknown).0;
                    }
                    session.note_answered(note(position, &spent));
                }
                (None, Some(job), Some(place)) => {
                    let facts = (attempt, started.elapsed().as_millis() as u64);
                    let note = note(position, &spent);
                    let spent = spent.get(position).copied().unwrap_or_default();
                    // What was charged is stored, also when the cell would stay open otherwise.
                    let finished = finish(session, pair, &job.ask, outcome, facts, started_at_ms)
                        .or_else(|error| if spent == (0, 0) { Err(error) } else { Ok(Outcome::failed(error)) });
                    if finished.is_err() {
                        session.note_answered(note); // no reply follows that would say so
                    }
                    *place = Some(finished.map(|outcome| with_spent(outcome, spent)));
                }
                _ => {}
            }
        }
        if let Some(wait) = wait {
            session
                .host
                .log(Level::Warning, format!("{} attempt {attempt} failed, next in {:.1} s", pair.label(), wait.as_secs_f64()));
            tokio::select! {
                biased;
                () = tokio::time::sleep(wait) => {}
                () = session.stop.cancelled() => {}
                () = pair.account.halted.cancelled() => {}
            }
        }
    }
    settled.into_iter().map(|outcome| outcome.unwrap_or_else(|| Err(Error::internal("a question was not settled")))).collect()
}

/// What the journal is told before a question is asked; `None`: nothing can be charged for it.
fn noted(key: &CellKey, each: MicroUsd, spent: Money) -> Option<Noted<'_>> {
    let before = MicroUsd(spent.0 + spent.1);
    (each.plus(before) > MicroUsd::ZERO).then_some(Noted { key: Some(key), call: Call::Answer, each, before })
}

/// Why a question was not answered, by what it means for another try; `None`: it was.
fn failure(outcome: &Result<Outcome>) -> Option<Error> {
    let error = match outcome {
        Ok(outcome) => outcome.error.clone().filter(|_| outcome.status == RunStatus::Failed)?,
        Err(error) => error.clone(),
    };
    if error.kind != ErrorKind::Host {
        return Some(error);
    }
    // What the user's code raised is not known to have reached anybody: tried again like a failed connect. One that did not
    // return may still be at work: tried again once at most.
    let kind = if error.context.host_call.is_some() { ErrorKind::NotSent } else { ErrorKind::OutcomeUnknown };
    Some(Error { kind, ..error })
}

/// One call of the user's `ask` when the account may send: an outcome or an error per question. A call that brought no answer
/// at all speaks for the provider's state, one that brought some does not.
async fn once(session: &Session, pair: &Pair, asks: &[Ask], notes: &[Noted<'_>]) -> Vec<Result<Outcome>> {
    // The place under the cap is held by the task, over all its tries. The journal is told by the call itself.
    let rules = Rules { kind: CallKind::Paid, cap: None, note: Note::None, purse: None };
    let mut place = match session.place(&pair.account, rules, Tokens::default()).await {
        Ok(place) => place,
        Err(error) => return asks.iter().map(|_| Err(error.clone())).collect(),
    };
    let sent = Instant::now();
    place.sent();
    let outcomes = call(session, pair, asks, notes).await;
    let failures: Vec<Error> = outcomes.iter().filter_map(failure).collect();
    let refusal = failures.iter().find(|error| error.kind == ErrorKind::RateLimited);
    let error = refusal.or(failures.first().filter(|_| failures.len() == asks.len()));
    session.replied(&pair.account, rules, place, Heard::of(None, sent.elapsed()), error);
    outcomes
}

/// The call itself, with its money.
async fn call(session: &Session, pair: &Pair, asks: &[Ask], notes: &[Noted<'_>]) -> Vec<Result<Outcome>> {
    let provider = pair.provider.as_ref();
    let all = |error: &Error| asks.iter().map(|_| Err(error.clone())).collect();
    tokio::select! {
        biased;
        () = session.store_health.well() => {}
        () = session.stop.cancelled() => return all(&super::call::stopped()),
    }
    if let Some(error) = pair.stop.stopped() {
        return all(&error);
    }
    let worst: MicroUsd = asks.iter().map(|ask| provider.worst_case(ask)).sum();
    let reservation = match session.budget.reserve(worst).await {
        Ok(reservation) => reservation,
        Err(error) => return all(&error),
    };
    if let Err(error) = session.note_all(notes).await {
        session.fail(error.clone()); // without a journal nothing more may be bought
        return all(&error);
    }
    if session.leases.assured().await.is_err() {
        session.stop.cancel(); // the heartbeat tells why
        let error = Error::new(ErrorKind::Cancelled, "the run was stopped before this was asked");
        return asks.iter().map(|_| Err(error.clone())).collect();
    }
    let call = HostCall::Ask { provider: provider.name().to_owned(), asks: asks.to_vec() };
    let outcomes = match session.host.call(call).await {
        Ok(HostReply::Outcomes(outcomes)) if outcomes.len() == asks.len() => outcomes,
        Ok(HostReply::Outcomes(outcomes)) => {
            let words = format!(
                "Batch returned {} responses but expected {}: {}.ask must return one outcome per request, in order",
                outcomes.len(),
                asks.len(),
                provider.name()
            );
            let error = Error::new(ErrorKind::InvalidRequest, words);
            return asks.iter().map(|ask| Ok(Outcome::failed(with_context(error.clone(), provider, ask)))).collect();
        }
        Ok(_) => return asks.iter().map(|_| Err(Error::internal("ask was answered with something else"))).collect(),
        Err(error) => {
            // Raised: nothing is known to be charged. Did not return: it may be.
            let maybe = if error.context.host_call.is_some() { MicroUsd::ZERO } else { worst };
            let _ = reservation.settle(MicroUsd::ZERO, maybe);
            let outcome = |ask| Outcome {
                maybe_charged_micro_usd: if maybe == MicroUsd::ZERO { maybe } else { provider.worst_case(ask) },
                ..Outcome::failed(error.clone())
            };
            return asks.iter().map(|ask| Ok(outcome(ask))).collect();
        }
    };
    let outcomes: Vec<Outcome> = outcomes.into_iter().map(|outcome| priced(provider, outcome)).collect();
    let charge = |(ask, outcome): (&Ask, &Outcome)| outcome.cost_micro_usd.unwrap_or_else(|| provider.worst_case(ask));
    let charged = asks.iter().zip(&outcomes).map(charge).sum();
    let maybe = outcomes.iter().map(|outcome| outcome.maybe_charged_micro_usd).sum();
    if let Some(over) = reservation.settle(charged, maybe) {
        let dearest = asks.iter().zip(&outcomes).max_by_key(|pair| charge(*pair));
        session.over_reserved(&pair.stop, provider.model(), dearest.map_or("", |(ask, _)| &ask.key), over);
    }
    outcomes.into_iter().map(Ok).collect()
}

/// The outcome with the provider's price, where it has one and the outcome names no cost of its own.
fn priced(provider: &dyn Provider, mut outcome: Outcome) -> Outcome {
    if let (Some(price), RunStatus::Answered | RunStatus::Refused, Some(MicroUsd(0)) | None) =
        (provider.price().request, outcome.status, outcome.cost_micro_usd)
    {
        outcome.cost_micro_usd = Some(MicroUsd(price));
    }
    outcome
}

fn with_spent(mut outcome: Outcome, spent: Money) -> Outcome {
    outcome.carry(spent);
    outcome
}

fn finish(
    session: &Session,
    pair: &Pair,
    ask: &Ask,
    outcome: Result<Outcome>,
    (attempts, elapsed_ms): (u32, u64),
    started_at_ms: i64,
) -> Result<Outcome> {
    let mut outcome = outcome?;
    if let Some(error) = outcome.error.take() {
        let error = with_context(error, pair.provider.as_ref(), ask).with(|context| {
            context.attempts = attempts;
            context.elapsed_ms = elapsed_ms;
        });
        if error.kind.stops_provider() {
            session.stop_provider(&pair.account, &error);
            if (outcome.cost_micro_usd, outcome.maybe_charged_micro_usd) == (Some(MicroUsd::ZERO), MicroUsd::ZERO) {
                return Err(error);
            }
        }
        let cost = outcome.cost_micro_usd.unwrap_or_default().plus(outcome.maybe_charged_micro_usd);
        if error.kind == ErrorKind::RateLimited && cost == MicroUsd::ZERO {
            return Err(error); // nothing was asked: the cell stays open
        }
        outcome.error = Some(error);
    }
    outcome.attempts = attempts;
    outcome.started_at_ms = started_at_ms;
    outcome.finished_at_ms = session.context.clock.now_ms();
    Ok(outcome)
}
