//! What all tasks of a run share, and the one loop that sends a call: pause, cap, send, decide, wait.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::budget::Budget;
use super::learned::Learned;
use super::snapshot::Boards;
use super::totals::Totals;
use crate::config::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::host::{Host, Level};
use crate::http::limit::{AccountLimits, Limiter};
use crate::http::retry::{self, CallKind, Decision, RetryBudget};
use crate::http::{HttpRequest, HttpResponse};
use crate::journal::Journal;

/// Shared by all tasks of a run.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) context: Context,
    pub(super) settings: Settings,
    pub(super) host: Host,
    /// The graceful stop: nothing new starts.
    pub(super) stop: CancellationToken,
    pub(super) budget: Budget,
    pub(super) journal: Journal,
    pub(super) learned: Learned,
    pub(super) totals: Totals,
    pub(super) boards: Boards,
    requests: AtomicU64,
    /// Cells of the plan, for the size of retry budgets.
    planned: u64,
    accounts: Mutex<HashMap<String, Arc<Account>>>,
}

/// A provider account within a run.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) limits: Arc<AccountLimits>,
    retries: RetryBudget,
    stopped: Mutex<Option<Error>>,
    pub(super) halted: CancellationToken,
    /// Bright Data bans an address that ignores its 429s.
    guarded: bool,
}

impl Account {
    /// Why the provider was stopped; `None` while it works.
    pub(super) fn stopped(&self) -> Option<Error> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

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
    /// Goes on with something that is paid already: a stop does not keep it from starting.
    pub(super) goes_on: bool,
}

impl Session {
    #[expect(clippy::too_many_arguments, reason = "called once; a builder would say the same twice")]
    pub(super) fn new(
        context: Context,
        settings: Settings,
        host: Host,
        stop: CancellationToken,
        budget: Budget,
        journal: Journal,
        totals: Totals,
        question_set: String,
        planned: u64,
    ) -> Self {
        Self {
            context,
            settings,
            host,
            stop,
            budget,
            journal,
            learned: Learned::new(question_set),
            totals,
            boards: Boards::default(),
            requests: AtomicU64::new(0),
            planned,
            accounts: Mutex::default(),
        }
    }

    /// HTTP requests this start made.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The account a provider's calls belong to. Custom providers have one each, capped by `max_in_flight`.
    pub(super) fn account(&self, name: &str, custom_max_in_flight: Option<usize>) -> Arc<Account> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.get(name) {
            return account.clone();
        }
        let own = crate::config::Account { max_in_flight: custom_max_in_flight.unwrap_or(1), ..Default::default() };
        let settings = match name {
            "openai" => &self.settings.openai,
            "anthropic" => &self.settings.anthropic,
            "brightdata" => &self.settings.brightdata,
            _ => &own,
        };
        let account = Arc::new(Account {
            name: name.to_owned(),
            limits: self.context.limits.account(name, settings),
            retries: RetryBudget::new(self.planned),
            stopped: Mutex::default(),
            halted: CancellationToken::new(),
            guarded: name == "brightdata",
        });
        accounts.insert(name.to_owned(), account.clone());
        account
    }

    /// A key or money problem: nothing more is sent to this provider in this run.
    pub(super) fn stop_provider(&self, account: &Account, error: &Error) {
        let mut stopped = account.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        if stopped.is_none() {
            self.host.log(Level::Error, format!("{} is stopped: {error}", account.name));
            self.totals.error(error.clone());
            *stopped = Some(error.clone());
            account.halted.cancel();
        }
    }

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
            account.limits.throttle.wait().await;
            let permit = match rules.cap {
                Some(cap) => Some(cap.acquire().await),
                None => None,
            };
            if let Some(error) = account.stopped() {
                return Err(Failure { error, facts });
            }
            if self.stop.is_cancelled() && !rules.goes_on && facts.attempts == 0 {
                let error = Error::new(ErrorKind::Cancelled, "stopped before it was sent");
                return Err(Failure { error, facts });
            }
            facts.attempts += 1;
            self.requests.fetch_add(1, Ordering::Relaxed);
            facts.started_at_ms = if facts.started_at_ms == 0 { self.context.clock.now_ms() } else { facts.started_at_ms };
            let reply = self.context.http.send(request.clone()).await;
            drop(permit);
            let error = match reply.and_then(&mut read) {
                Ok(value) => {
                    facts.finished_at_ms = self.context.clock.now_ms();
                    account.limits.calls.succeeded();
                    if facts.attempts == 1 {
                        account.retries.succeeded();
                    }
                    return Ok(Called { value, facts });
                }
                Err(error) => error,
            };
            facts.finished_at_ms = self.context.clock.now_ms();
            let maybe_charged = rules.kind == CallKind::Paid && retry::maybe_charged(&error);
            facts.lost += u32::from(maybe_charged);
            self.throttle(account, &error);
            let decision =
                retry::decide(&error, rules.kind, facts.attempts, resends, &self.settings.retry, self.context.clock.random());
            let after = match decision {
                Decision::Retry { after } if !self.stop.is_cancelled() && self.may_retry(account, rules.kind, &error) => after,
                _ => return Err(self.give_up(account, error, facts, started.elapsed())),
            };
            resends += u32::from(retry::is_resend(&error));
            self.host.log(
                Level::Warning,
                format!(
                    "{} attempt {} failed, next in {:.1} s: {}",
                    account.name,
                    facts.attempts,
                    after.as_secs_f64(),
                    error.message
                ),
            );
            tokio::select! {
                () = tokio::time::sleep(after) => {}
                () = account.halted.cancelled() => {}
            }
        }
    }

    fn may_retry(&self, account: &Account, kind: CallKind, error: &Error) -> bool {
        kind == CallKind::Free || account.retries.take(error)
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
