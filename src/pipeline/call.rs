//! The one loop that sends a call: place, send, decide, wait. Knows no provider and books no money; it tells how many
//! attempts may have been charged.
//!
//! After a stop, paid calls that were not sent end as [`ErrorKind::Cancelled`] (their cells stay open); what is in flight goes
//! on until the grace is over, free calls too.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::account::Account;
use super::model_stop::Purse;
use super::note::Note;
use super::place::{self, Heard};
use super::session::Session;
use crate::domain::Usage;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Level;
use crate::http::limit::Limiter;
use crate::http::rate::Tokens;
use crate::http::retry::{self, CallKind, Decision};
use crate::http::{HttpRequest, HttpResponse};

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
    /// What the successful attempts took of the account's rate, as it was estimated.
    pub(super) tokens: Tokens,
    /// When the journal was told of the last attempt, right before it was sent.
    pub(super) noted_at_ms: i64,
    pub(super) started_at_ms: i64,
    pub(super) finished_at_ms: i64,
}

impl Facts {
    /// Corrects the account's rate by what the calls really took; nothing where the provider did not tell.
    pub(super) fn settle_rate(&self, account: &Account, usage: &Usage) {
        if let (Some(input), Some(output)) = (usage.input_tokens, usage.output_tokens) {
            account.limits.rates.settle(self.tokens, Tokens { input: input as f64, output: output as f64 });
        }
    }

    /// Both calls together.
    pub(super) fn and(self, later: Self) -> Self {
        Self {
            attempts: self.attempts + later.attempts,
            lost: self.lost + later.lost,
            tokens: Tokens { input: self.tokens.input + later.tokens.input, output: self.tokens.output + later.tokens.output },
            noted_at_ms: later.noted_at_ms,
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
    /// What the journal is told right before each attempt.
    pub(super) note: Note<'a>,
    /// What a paid call is paid from; `None`: it is free.
    pub(super) purse: Option<Purse<'a>>,
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
            // Before a place is taken: who waits for money must not keep others from settling theirs.
            if let Some(purse) = rules.purse
                && let Err(error) = purse.cover_resend(facts.lost).await
            {
                return Err(self.give_up(account, error, facts, started.elapsed()));
            }
            let tokens = place::tokens(account, rules.kind, request.body.len());
            let mut place = match self.place(account, rules, tokens).await {
                Ok(place) => place,
                Err(error) => return Err(Failure { error, facts }),
            };
            if let Some(error) = rules.purse.and_then(|purse| purse.stop.stopped()) {
                return Err(Failure { error, facts });
            }
            facts.noted_at_ms = self.context.clock.now_ms();
            if let Err(error) = self.note(rules.note, facts).await {
                if matches!(rules.note, Note::Asked(_)) {
                    self.fail(error.clone()); // without a journal nothing more may be bought
                }
                return Err(Failure { error, facts });
            }
            // Looked at again: the process may have slept since it got its place, and paying is a right of the leases' holder.
            if rules.kind != CallKind::Free && !self.leases.hold() {
                if let Err(error) = self.note_unsent(rules.note, facts).await {
                    return Err(Failure { error, facts });
                }
                continue;
            }
            facts.attempts += 1;
            self.count_request();
            facts.started_at_ms = if facts.started_at_ms == 0 { self.context.clock.now_ms() } else { facts.started_at_ms };
            let sent = Instant::now();
            place.sent();
            let reply = self.send(request).await;
            let took = sent.elapsed();
            facts.finished_at_ms = self.context.clock.now_ms();
            let heard = Heard::of(reply.as_ref().ok(), took);
            let read = reply.and_then(&mut read);
            self.replied(account, rules, place, heard, read.as_ref().err());
            let error = match read {
                Ok(value) => {
                    facts.tokens = tokens;
                    if facts.attempts == 1 {
                        account.retries.succeeded();
                    }
                    return Ok(Called { value, facts });
                }
                Err(error) => error,
            };
            facts.lost += u32::from(rules.kind == CallKind::Paid && retry::maybe_charged(&error));
            if let Err(error) = self.note_failed(rules.note, facts, &error).await {
                return Err(Failure { error, facts });
            }
            if self.give_up_account(account).is_err() && may_stay_open(rules.kind, facts, &error) {
                let error = account.stopped().unwrap_or(error);
                return Err(Failure { error: attempted(error, facts, started.elapsed()), facts });
            }
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
                biased;
                () = tokio::time::sleep(after) => {}
                () = account.halted.cancelled() => {}
                () = self.stopping(rules) => {}
            }
        }
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

    pub(super) async fn stopping(&self, rules: Rules<'_>) {
        if rules.kind == CallKind::Free { self.abort.cancelled().await } else { self.stop.cancelled().await }
    }

    fn give_up(&self, account: &Account, error: Error, facts: Facts, elapsed: Duration) -> Failure {
        let error = attempted(error, facts, elapsed);
        if error.kind.stops_provider() {
            self.stop_provider(account, &error);
        }
        Failure { error, facts }
    }
}

fn may_retry(account: &Account, kind: CallKind, error: &Error) -> bool {
    kind == CallKind::Free || account.retries.take(error)
}

/// True when nothing was or may have been bought, so that the cell may wait for the next start.
fn may_stay_open(kind: CallKind, facts: Facts, error: &Error) -> bool {
    facts.lost == 0 && !(kind == CallKind::Trigger && retry::may_have_bought(error))
}

/// The error with the facts of its attempts.
fn attempted(error: Error, facts: Facts, elapsed: Duration) -> Error {
    error.with(|context| {
        context.attempts = facts.attempts;
        context.elapsed_ms = elapsed.as_millis() as u64;
        context.maybe_charged = facts.lost > 0;
    })
}

/// The run was stopped before anything was sent.
pub(super) fn stopped() -> Error {
    Error::new(ErrorKind::Cancelled, "the run was stopped before this was asked")
}
