//! A provider account within a run: its limits, its retry budget, whether it was stopped, and when a run gives up waiting for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;

use crate::config::RetrySettings;
use crate::error::{Error, ErrorKind};
use crate::http::limit::AccountLimits;
use crate::http::retry::RetryBudget;

/// Failed probes after which a run gives a provider up, when it failed within the run.
const PROBES: u64 = 2;
/// The same when it was down already when the run began.
const PROBES_WHEN_DOWN: u64 = 1;

/// A provider account within a run.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) limits: Arc<AccountLimits>,
    pub(super) retries: RetryBudget,
    pub(super) stopped: Mutex<Option<Error>>,
    pub(super) halted: CancellationToken,
    /// Failed probes of the breaker at which the run gives up.
    pub(super) last_probe: u64,
    /// The newest failure that blames the provider, for the words of giving up.
    pub(super) failure: Mutex<Option<String>>,
}

impl Account {
    pub(super) fn new(name: &str, limits: Arc<AccountLimits>, planned_calls: u64) -> Self {
        let probes = if limits.breaker.is_closed() { PROBES } else { PROBES_WHEN_DOWN };
        let last_probe = limits.breaker.failed_probes() + probes;
        Self {
            name: name.to_owned(),
            limits,
            retries: RetryBudget::new(planned_calls),
            stopped: Mutex::default(),
            halted: CancellationToken::new(),
            last_probe,
            failure: Mutex::default(),
        }
    }

    /// What is left of the account's pause, also when another process of the host noted it.
    pub(super) fn paused_for(&self) -> Option<Duration> {
        let shared = self.limits.guard.as_ref().and_then(|guard| guard.paused_for());
        self.limits.throttle.paused_for().max(shared)
    }

    /// Why this start must not wait for the provider any longer; `None`: it may. `now_ms`: the time of day, for the words.
    pub(super) fn given_up(&self, settings: &RetrySettings, now_ms: i64) -> Option<Error> {
        let error = |why: String| Some(self.unavailable(&why));
        if let Some(pause) = self.paused_for().filter(|pause| pause.as_millis() > u128::from(settings.max_park_ms)) {
            return error(format!("answered 429: nothing is sent to it until {}", until(now_ms, pause)));
        }
        if let Some(count) = self.limits.throttle.only_refuses() {
            return error(format!("answered 429 {count} times in a row, and nothing else"));
        }
        if !self.limits.breaker.is_closed() && self.limits.breaker.failed_probes() >= self.last_probe {
            let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
            return error(format!("fails, and failed again after each pause: {failure}"));
        }
        None
    }

    /// The error that stops the provider for this start and leaves its cells open.
    pub(super) fn unavailable(&self, why: &str) -> Error {
        let message = format!("{} {why}; its questions stay open, and a resume asks them when it is back", self.name);
        Error::new(ErrorKind::Unavailable, message).with(|context| context.provider = Some(self.name.clone()))
    }

    /// Keeps the newest failure.
    pub(super) fn failed(&self, error: &Error) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.message.clone());
    }

    /// Why the provider was stopped; `None` while it works.
    pub(super) fn stopped(&self) -> Option<Error> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The time of day after this wait, in UTC.
pub(super) fn until(now_ms: i64, wait: Duration) -> String {
    let now = UNIX_EPOCH + Duration::from_millis(u64::try_from(now_ms).unwrap_or(0));
    httpdate::fmt_http_date(now + wait)
}
