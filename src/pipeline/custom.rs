//! Providers that the user wrote: asked through the host, in chunks of their own size, under the same retry, cap and money
//! rules as a built-in one.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::direct::with_context;
use super::session::Session;
use super::spec::CustomProvider;
use super::totals::Money;
use super::work::{Done, Job, Pair, Sink};
use crate::domain::{MicroUsd, Outcome, Price, RunStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::host::{HostCall, HostReply, Level};
use crate::http::retry::{self, CallKind, Decision};
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
            permit = pair.account.limits.calls.acquire() => permit,
        };
        if session.budget.is_exhausted() {
            break;
        }
        while tasks.try_join_next().is_some() {}
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
    while tasks.join_next().await.is_some() {}
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
    loop {
        let open: Vec<usize> =
            settled.iter().enumerate().filter(|(_, outcome)| outcome.is_none()).map(|(position, _)| position).collect();
        if open.is_empty() {
            break;
        }
        attempt += 1;
        let asks: Vec<Ask> = open.iter().filter_map(|position| jobs.get(*position)).map(|job| job.ask.clone()).collect();
        let mut wait: Option<Duration> = None;
        for (position, outcome) in open.into_iter().zip(once(session, pair, &asks).await) {
            let error = match &outcome {
                Ok(outcome) => outcome.error.clone().filter(|_| outcome.status == RunStatus::Failed),
                Err(error) => Some(error.clone()),
            };
            let again = error.as_ref().and_then(|error| {
                let random = session.context.clock.random();
                // What the user's code raised is not known to have reached anybody: tried again like a failed connect. One that
                // did not return may still be at work: tried again once at most.
                let kind = if error.context.host_call.is_some() { ErrorKind::NotSent } else { ErrorKind::OutcomeUnknown };
                let raised = Error { kind, ..error.clone() };
                let error = if error.kind == ErrorKind::Host { &raised } else { error };
                match retry::decide(error, CallKind::Paid, attempt, attempt - 1, &session.settings.retry, random) {
                    Decision::Retry { after } if !session.stop.is_cancelled() => Some(after),
                    _ => None,
                }
            });
            match (again, jobs.get(position), settled.get_mut(position)) {
                (Some(after), ..) => {
                    wait = Some(wait.map_or(after, |longest| longest.max(after)));
                    if let (Some(spent), Ok(outcome)) = (spent.get_mut(position), &outcome) {
                        spent.0 += outcome.cost_micro_usd.unwrap_or_default().0;
                        spent.1 += outcome.maybe_charged_micro_usd.0;
                    }
                }
                (None, Some(job), Some(place)) => {
                    let facts = (attempt, started.elapsed().as_millis() as u64);
                    let spent = spent.get(position).copied().unwrap_or_default();
                    *place = Some(
                        finish(session, pair, &job.ask, outcome, facts, started_at_ms).map(|outcome| with_spent(outcome, spent)),
                    );
                }
                _ => {}
            }
        }
        if let Some(wait) = wait {
            session
                .host
                .log(Level::Warning, format!("{} attempt {attempt} failed, next in {:.1} s", pair.label(), wait.as_secs_f64()));
            tokio::time::sleep(wait).await;
        }
    }
    settled.into_iter().map(|outcome| outcome.unwrap_or_else(|| Err(Error::internal("a question was not settled")))).collect()
}

/// One call of the user's `ask`: an outcome or an error per question.
async fn once(session: &Session, pair: &Pair, asks: &[Ask]) -> Vec<Result<Outcome>> {
    let provider = pair.provider.as_ref();
    let worst: MicroUsd = asks.iter().map(|ask| provider.worst_case(ask)).sum();
    let reservation = match session.budget.reserve(worst).await {
        Ok(reservation) => reservation,
        Err(error) => return asks.iter().map(|_| Err(error.clone())).collect(),
    };
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
            reservation.settle(maybe);
            let outcome = |ask| Outcome {
                maybe_charged_micro_usd: if maybe == MicroUsd::ZERO { maybe } else { provider.worst_case(ask) },
                ..Outcome::failed(error.clone())
            };
            return asks.iter().map(|ask| Ok(outcome(ask))).collect();
        }
    };
    let mut charged = MicroUsd::ZERO;
    let outcomes: Vec<_> = outcomes
        .into_iter()
        .map(|mut outcome| {
            if let (Some(price), RunStatus::Answered | RunStatus::Refused, Some(MicroUsd(0)) | None) =
                (provider.price().request, outcome.status, outcome.cost_micro_usd)
            {
                outcome.cost_micro_usd = Some(MicroUsd(price));
            }
            charged = charged.plus(outcome.cost_micro_usd.unwrap_or_default());
            Ok(outcome)
        })
        .collect();
    reservation.settle(charged);
    outcomes
}

fn with_spent(mut outcome: Outcome, spent: Money) -> Outcome {
    outcome.cost_micro_usd = outcome.cost_micro_usd.map(|cost| cost.plus(MicroUsd(spent.0)));
    outcome.maybe_charged_micro_usd = outcome.maybe_charged_micro_usd.plus(MicroUsd(spent.1));
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
            return Err(error);
        }
        outcome.error = Some(error);
    }
    outcome.attempts = attempts;
    outcome.started_at_ms = started_at_ms;
    outcome.finished_at_ms = session.context.clock.now_ms();
    Ok(outcome)
}
