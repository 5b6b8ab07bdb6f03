//! Providers that take one request a question: many at once under the account's cap.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::budget::Reservation;
use super::call::{Facts, Rules};
use super::model_stop::Purse;
use super::note::{Note, Noted};
use super::session::Session;
use super::work::{Done, Job, Pair, Sink};
use crate::domain::{Cell, MicroUsd, Outcome};
use crate::error::{Error, ErrorKind, Result};
use crate::http::HttpResponse;
use crate::http::retry::CallKind;
use crate::journal::Call;
use crate::providers::{Ask, DirectProvider, Provider, Turn};

/// Tasks of a pair per call in flight: a task waiting out a backoff must not leave its place at the provider empty.
const TASKS_PER_CALL: usize = 2;

pub(super) async fn run(session: Arc<Session>, pair: Arc<Pair>, jobs: impl Iterator<Item = Job> + Send, sink: Sink) {
    let slots = Arc::new(Semaphore::new(pair.account.limits.calls.limit() * TASKS_PER_CALL));
    let mut tasks = JoinSet::new();
    for job in jobs {
        let slot = tokio::select! {
            biased;
            () = session.stop.cancelled() => break,
            () = pair.account.halted.cancelled() => break,
            () = pair.stop.halted.cancelled() => break,
            slot = slots.clone().acquire_owned() => slot.ok(),
        };
        if session.budget.is_exhausted() {
            break;
        }
        while let Some(ended) = tasks.try_join_next() {
            session.ended(ended);
        }
        tasks.spawn(one(session.clone(), pair.clone(), job, sink.clone(), slot));
    }
    while let Some(ended) = tasks.join_next().await {
        session.ended(ended);
    }
}

async fn one(session: Arc<Session>, pair: Arc<Pair>, job: Job, sink: Sink, slot: Option<OwnedSemaphorePermit>) {
    let outcome = ask(&session, &pair, &job).await;
    if sink.send(Done { job, outcome, ticket: None }).await.is_err() {
        session.stop.cancel(); // the saver is gone: nothing more may be bought
    }
    drop(slot);
}

/// Asks one question. `Err`: nothing terminal happened, the cell stays open.
async fn ask(session: &Session, pair: &Pair, job: &Job) -> Result<Outcome> {
    let (provider, ask) = (pair.provider.as_ref(), &job.ask);
    let crate::providers::Protocol::Direct(direct) = provider.protocol() else {
        return Err(Error::internal(format!("{} is no direct provider", provider.model())));
    };
    if let Err(error) = provider.check(ask) {
        return Ok(Outcome::failed(error));
    }
    let reservation = session.budget.reserve(provider.worst_case(ask)).await?;
    if let Some(queries) = &pair.queries {
        queries.begin(&session.host);
    }
    let (outcome, facts) = converse(session, pair, direct, job, &reservation).await;
    let maybe_charged = provider.expected(ask).times(facts.lost.into());
    match outcome {
        Ok(mut outcome) => {
            outcome.attempts = facts.attempts;
            outcome.started_at_ms = facts.started_at_ms;
            outcome.finished_at_ms = facts.finished_at_ms;
            outcome.maybe_charged_micro_usd = maybe_charged;
            let charged = outcome.cost_micro_usd.unwrap_or_else(|| provider.worst_case(ask));
            if let Some(over) = reservation.settle(charged, maybe_charged) {
                session.over_reserved(&pair.stop, provider.model(), &ask.key, over);
            }
            facts.settle_rate(&pair.account, &outcome.usage);
            if let Some(served) = &outcome.served_model {
                session.served(provider.model(), served);
            }
            Ok(outcome)
        }
        Err(error) => {
            let _ = reservation.settle(MicroUsd::ZERO, maybe_charged); // an estimate of ours says nothing about the price
            let open = error.kind.stops_provider()
                || matches!(
                    error.kind,
                    ErrorKind::Cancelled | ErrorKind::Budget | ErrorKind::RateLimited | ErrorKind::NotSent | ErrorKind::Journal
                );
            if open && maybe_charged == MicroUsd::ZERO {
                return Err(with_context(error, provider, ask));
            }
            let mut outcome = Outcome::failed(with_context(error, provider, ask));
            outcome.attempts = facts.attempts;
            outcome.started_at_ms = facts.started_at_ms;
            outcome.finished_at_ms = facts.finished_at_ms;
            outcome.maybe_charged_micro_usd = maybe_charged;
            Ok(outcome)
        }
    }
}

/// The exchange: one request, or several where the provider pauses its turn.
async fn converse(
    session: &Session,
    pair: &Pair,
    direct: &dyn DirectProvider,
    job: &Job,
    reservation: &Reservation<'_>,
) -> (Result<Outcome>, Facts) {
    let ask = &job.ask;
    let key = job.cell.as_ref().map(Cell::key);
    let each = pair.provider.expected(ask);
    let mut facts = Facts::default();
    let mut replies: Vec<HttpResponse> = Vec::new();
    let worst = pair.provider.worst_case(ask); // what the reservation covers: one request
    let mut request = match direct.request(ask) {
        Ok(request) => request,
        Err(error) => return (Err(error), facts),
    };
    loop {
        let paid = facts.lost as usize + replies.len(); // the parts of a paused turn were paid, too
        let note = key.as_ref().map_or(Note::None, |key| {
            Note::Asked(Noted { key: Some(key), call: Call::Answer, each, before: each.times(paid as u64) })
        });
        let purse = Some(Purse { reservation, each: worst, stop: &pair.stop });
        let rules = Rules { kind: CallKind::Paid, cap: Some(&pair.account.limits.calls), note, purse };
        let read = |reply: HttpResponse| {
            if !reply.is_success() {
                return Err(direct.error(&reply));
            }
            let mut all = replies.clone();
            all.push(reply);
            direct.decode(ask, &all).map(|turn| (turn, all))
        };
        match session.call(&pair.account, rules, &request, read).await {
            Ok(called) => {
                facts = facts.and(called.facts);
                match called.value {
                    (Turn::Done(outcome), _) => return (Ok(*outcome), facts),
                    (Turn::Continue(next), all) => {
                        request = next;
                        replies = all;
                        if let Err(error) = reservation.extend(worst).await {
                            facts.lost += given_up(&replies);
                            return (Err(error), facts);
                        }
                    }
                }
            }
            Err(failure) => {
                facts = facts.and(failure.facts);
                facts.lost += given_up(&replies);
                return (Err(failure.error), facts);
            }
        }
    }
}

/// The parts of a paused turn that is given up: each was a paid call.
fn given_up(parts: &[HttpResponse]) -> u32 {
    u32::try_from(parts.len()).unwrap_or(u32::MAX)
}

/// Names the cell in an error.
pub(super) fn with_context(error: Error, provider: &dyn Provider, ask: &Ask) -> Error {
    error.with(|context| {
        context.provider.get_or_insert_with(|| provider.name().to_owned());
        context.model.get_or_insert_with(|| provider.model().to_owned());
        context.cell.get_or_insert_with(|| ask.key.to_string());
    })
}
