//! The one loop that sends a call: pause, place, send, decide, wait. Knows no provider and books no money; it tells how many
//! attempts may have been charged.
//!
//! After a stop, paid calls that were not sent end as [`ErrorKind::Cancelled`] (their cells stay open); what is in flight goes
//! on until the grace is over, free calls too.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::account::Account;
use super::session::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Level;
use crate::http::limit::{Limiter, Permit};
use crate::http::retry::{self, CallKind, Decision};
use crate::http::{HttpRequest, HttpResponse};
use crate::journal::Submission;

/// What a call gave, with the facts of its attempts.
#[derive(Debug)]
pub(super) struct Called<T> {
    pub(super) value: T,
    pub(super) facts: Facts,
}

/// Attempts of a call.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Facts {
    pub(super) attempts: u32,
    /// Attempts that failed after the provider may have charged for them.
    pub(super) lost: u32,
    pub(super) started_at_ms: i64,
    pub(super) finished_at_ms: i64,
}

impl Facts {
    /// Both calls together.
    pub(super) fn and(self, later: Self) -> Self {
        Self {
            attempts: self.attempts + later.attempts,
            lost: self.lost + later.lost,
            started_at_ms: if self.started_at_ms == 0 { later.started_at_ms } else { self.started_at_ms },
            finished_at_ms: later.finished_at_ms,
        }
    }
}

/// A failed call, with the same facts.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) facts: Facts,
}

/// How a call is capped and retried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) kind: CallKind,
    /// Held while the request is in flight; `None`: the caller holds a place of its own.
    pub(super) cap: Option<&'a Arc<Limiter>>,
    /// Noted in the journal right before each attempt, and closed when it is certain that the attempt bought nothing.
    pub(super) intent: Option<&'a Submission>,
}

impl Session {
    /// Sends a call until it is read, given up, or the provider is stopped. `read` gets every reply and turns it into a
    /// value or an error; what the error means decides.
    pub(super) async fn call<T>(
        &self,
        account: &Account,
        rules: Rules<'_>,
        request: &HttpRequest,
        mut read: impl FnMut(HttpResponse) -> Result<T>,
    ) -> Result<Called<T>, Failure> {
        let started = Instant::now();
        let mut facts = Facts::default();
        let mut resends = 0;
        loop {
            let permit = match self.place(account, rules).await {
                Ok(permit) => permit,
                Err(error) => return Err(Failure { error, facts }),
            };
            if let Some(submission) = rules.intent
                && let Err(error) = self.journal.intent(submission.clone()).await
            {
                return Err(Failure { error, facts });
            }
            facts.attempts += 1;
            self.count_request();
            facts.started_at_ms = if facts.started_at_ms == 0 { self.context.clock.now_ms() } else { facts.started_at_ms };
            let reply = self.send(request).await;
            drop(permit);
            facts.finished_at_ms = self.context.clock.now_ms();
            let error = match reply.and_then(&mut read) {
                Ok(value) => {
                    if let Some(cap) = rules.cap {
                        cap.succeeded();
                    }
                    if facts.attempts == 1 {
                        account.retries.succeeded();
                    }
                    return Ok(Called { value, facts });
                }
                Err(error) => error,
            };
            if let Some(submission) = rules.intent
                && !retry::may_have_bought(&error)
                && let Err(error) = self.journal.closed(&submission.id).await
            {
                return Err(Failure { error, facts });
            }
            facts.lost += u32::from(rules.kind == CallKind::Paid && retry::maybe_charged(&error));
            self.throttle(account, &error);
            let random = self.context.clock.random();
            let decision = retry::decide(&error, rules.kind, facts.attempts, resends, &self.settings.retry, random);
            let after = match decision {
                // The stop is what keeps it from being sent again: unless it may have been charged, nothing has happened.
                Decision::Retry { .. } if self.is_stopped(rules) && facts.lost == 0 => {
                    return Err(Failure { error: stopped(), facts });
                }
                Decision::Retry { after } if !self.is_stopped(rules) && may_retry(account, rules.kind, &error) => after,
                _ => return Err(self.give_up(account, error, facts, started.elapsed())),
            };
            resends += u32::from(retry::is_resend(&error));
            let (attempt, seconds) = (facts.attempts, after.as_secs_f64());
            let line = format!("{} attempt {attempt} failed, next in {seconds:.1} s: {}", account.name, error.message);
            self.host.log(Level::Warning, line);
            tokio::select! {
                () = tokio::time::sleep(after) => {}
                () = account.halted.cancelled() => {}
                () = self.stopping(rules) => {}
            }
        }
    }

    /// Waits out the account's pause and then for a place. The pause is looked at again with the place in hand: it may have
    /// begun meanwhile, and whoever waits in line must not run into it.
    async fn place(&self, account: &Account, rules: Rules<'_>) -> Result<Option<Permit>> {
        let wait = async {
            loop {
                account.limits.throttle.wait().await;
                let permit = match rules.cap {
                    Some(cap) => Some(cap.acquire().await),
                    None => None,
                };
                if !account.limits.throttle.is_paused() {
                    return permit;
                }
            }
        };
        let permit = tokio::select! {
            biased;
            () = account.halted.cancelled() => None,
            () = self.stopping(rules) => return Err(stopped()),
            permit = wait => permit,
        };
        account.stopped().map_or(Ok(permit), Err)
    }

    /// The reply, or that it was given up at the end of the grace.
    async fn send(&self, request: &HttpRequest) -> Result<HttpResponse> {
        tokio::select! {
            biased;
            reply = self.context.http.send(request.clone()) => reply,
            () = self.abort.cancelled() => {
                Err(Error::new(ErrorKind::OutcomeUnknown, "given up: the run was stopped and its grace is over"))
            }
        }
    }

    fn is_stopped(&self, rules: Rules<'_>) -> bool {
        if rules.kind == CallKind::Free { self.abort.is_cancelled() } else { self.stop.is_cancelled() }
    }

    async fn stopping(&self, rules: Rules<'_>) {
        if rules.kind == CallKind::Free { self.abort.cancelled().await } else { self.stop.cancelled().await }
    }

    fn throttle(&self, account: &Account, error: &Error) {
        match error.kind {
            ErrorKind::RateLimited => {
                account.limits.calls.throttled();
                account.limits.triggers.throttled();
                let asked = error.context.retry_after_ms.map(Duration::from_millis);
                let wait = asked.unwrap_or(Duration::from_millis(self.settings.retry.throttle_base_ms));
                let wait = wait.min(Duration::from_millis(self.settings.retry.max_retry_after_ms));
                account.limits.throttle.throttled(wait, account.guarded);
            }
            ErrorKind::Overloaded => account.limits.calls.throttled(),
            _ => {}
        }
    }

    fn give_up(&self, account: &Account, error: Error, facts: Facts, elapsed: Duration) -> Failure {
        let error = error.with(|context| {
            context.attempts = facts.attempts;
            context.elapsed_ms = elapsed.as_millis() as u64;
            context.maybe_charged = facts.lost > 0;
        });
        if error.kind.stops_provider() {
            self.stop_provider(account, &error);
        }
        Failure { error, facts }
    }
}

fn may_retry(account: &Account, kind: CallKind, error: &Error) -> bool {
    kind == CallKind::Free || account.retries.take(error)
}

/// The run was stopped before anything was sent.
fn stopped() -> Error {
    Error::new(ErrorKind::Cancelled, "the run was stopped before this was asked")
}
