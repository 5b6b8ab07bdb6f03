//! Providers that take one request a question: many at once under the account's cap.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::session::{Facts, Rules, Session};
use super::work::{Done, Job, Pair, Sink};
use crate::domain::{MicroUsd, Outcome};
use crate::error::{Error, ErrorKind, Result};
use crate::http::HttpResponse;
use crate::http::retry::CallKind;
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
            slot = slots.clone().acquire_owned() => slot.ok(),
        };
        if session.budget.is_exhausted() {
            break;
        }
        while tasks.try_join_next().is_some() {}
        tasks.spawn(one(session.clone(), pair.clone(), job, sink.clone(), slot));
    }
    while tasks.join_next().await.is_some() {}
}

async fn one(session: Arc<Session>, pair: Arc<Pair>, job: Job, sink: Sink, slot: Option<OwnedSemaphorePermit>) {
    let outcome = ask(&session, &pair, &job.ask).await;
    if sink.send(Done { job, outcome, ticket: None }).await.is_err() {
        session.stop.cancel(); // the saver is gone: nothing more may be bought
    }
    drop(slot);
}

/// Asks one question. `Err`: nothing terminal happened, the cell stays open.
async fn ask(session: &Session, pair: &Pair, ask: &Ask) -> Result<Outcome> {
    let provider = pair.provider.as_ref();
    let crate::providers::Protocol::Direct(direct) = provider.protocol() else {
        return Err(Error::internal(format!("{} is no direct provider", provider.model())));
    };
    if let Err(error) = provider.check(ask) {
        return Ok(Outcome::failed(error));
    }
    let reservation = session.budget.reserve(provider.worst_case(ask)).await?;
    let (outcome, facts) = converse(session, pair, direct, ask).await;
    let maybe_charged = provider.expected(ask).times(facts.lost.into());
    match outcome {
        Ok(mut outcome) => {
            outcome.attempts = facts.attempts;
            outcome.started_at_ms = facts.started_at_ms;
            outcome.finished_at_ms = facts.finished_at_ms;
            outcome.maybe_charged_micro_usd = maybe_charged;
            let charged = outcome.cost_micro_usd.unwrap_or_else(|| provider.worst_case(ask));
            reservation.settle(charged.plus(maybe_charged));
            Ok(outcome)
        }
        Err(error) => {
            reservation.settle(maybe_charged);
            let unsent = error.kind == ErrorKind::Cancelled && facts.attempts == 0;
            if unsent || (error.kind.stops_provider() && maybe_charged == MicroUsd::ZERO) {
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
async fn converse(session: &Session, pair: &Pair, direct: &dyn DirectProvider, ask: &Ask) -> (Result<Outcome>, Facts) {
    let mut facts = Facts::default();
    let mut replies: Vec<HttpResponse> = Vec::new();
    let mut request = match direct.request(ask) {
        Ok(request) => request,
        Err(error) => return (Err(error), facts),
    };
    loop {
        let rules = Rules { kind: CallKind::Paid, cap: Some(&pair.account.limits.calls), goes_on: !replies.is_empty() };
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
                    }
                }
            }
            Err(failure) => {
                facts = facts.and(failure.facts);
                facts.lost += u32::from(!replies.is_empty()); // the paused part was paid and is given up
                return (Err(failure.error), facts);
            }
        }
    }
}

/// Names the cell in an error.
pub(super) fn with_context(error: Error, provider: &dyn Provider, ask: &Ask) -> Error {
    error.with(|context| {
        context.provider.get_or_insert_with(|| provider.name().to_owned());
        context.model.get_or_insert_with(|| provider.model().to_owned());
        context.cell.get_or_insert_with(|| ask.key.to_string());
    })
}
