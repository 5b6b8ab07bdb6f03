//! The one retry policy: a pure function from an error to "again, after this long" or "give up"; and the budget that keeps
//! retries from multiplying a bad day. Sends nothing, sleeps nowhere, draws no chance itself.
//!
//! What is paid for must not be bought twice: after an unknown outcome a paid call is re-sent at most once, a trigger never.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::RetrySettings;
use crate::error::{Error, ErrorKind};

/// What a repetition of the call may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// A direct answer or an extraction: every request that arrives may be charged.
    Paid,
    /// A trigger: as paid, and what became of a lost one can be found out at the provider.
    Trigger,
    /// Poll, list, inputs, download, cancel.
    Free,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Send again after this wait.
    Retry {
        /// The wait.
        after: Duration,
    },
    /// Do not send again.
    GiveUp,
}

/// Paid re-sends after an unknown outcome, at most.
pub const MAX_RESENDS: u32 = 1;
/// Attempts of a free call whose replies arrive but cannot be used.
const UNUSABLE_ATTEMPTS: u32 = 5;

/// True when sending a paid call again after this error can pay for it twice: the engine counts these as re-sends.
#[must_use]
pub fn is_resend(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::OutcomeUnknown | ErrorKind::Undecodable | ErrorKind::Semantic | ErrorKind::Protocol)
}

/// True when the provider may have charged for the failed attempt: the request arrived (or may have), and no usable bill came
/// back. A provider that says "too many requests" or "overloaded" (429, 503, 529) did not run the request.
#[must_use]
pub fn maybe_charged(error: &Error) -> bool {
    match error.kind {
        _ if error.is_before_sending() || is_redirect(error) => false,
        ErrorKind::OutcomeUnknown | ErrorKind::Undecodable | ErrorKind::Semantic | ErrorKind::Protocol | ErrorKind::TooLarge => {
            true
        }
        ErrorKind::Overloaded => !matches!(error.context.status_code, Some(429 | 503 | 529)),
        _ => false,
    }
}

/// True when a trigger that failed so may have bought something: then it is not sent again.
#[must_use]
pub fn may_have_bought(error: &Error) -> bool {
    !error.is_before_sending()
        && !is_redirect(error)
        && matches!(
            error.kind,
            ErrorKind::OutcomeUnknown
                | ErrorKind::Overloaded
                | ErrorKind::Undecodable
                | ErrorKind::Protocol
                | ErrorKind::TooLarge
                | ErrorKind::Semantic
        )
}

/// A redirect: whoever answered did not do the work, and it is never followed.
fn is_redirect(error: &Error) -> bool {
    error.kind == ErrorKind::Protocol && matches!(error.context.status_code, Some(300..=399))
}

/// Decides what follows on a failed attempt.
///
/// `attempt` counts the attempts made, the failed one included (1 after the first). `resends_used` counts the retries so far
/// for which [`is_resend`] held. `random` is uniform in `[0, 1)`.
///
/// The wait is `max(retry_after · U(1, 1.1), U(0.5, 1) · min(cap, base · 2^(attempt − 1)))`, with the throttle's base after
/// [`ErrorKind::RateLimited`]. A retry-after above `max_retry_after_ms` parks the whole provider; above `max_park_ms` it is not
/// waited for at all. The provider's `x-should-retry`
/// is obeyed, inside these bounds: `false` always, `true` for a request it refused.
#[must_use]
pub fn decide(error: &Error, call: CallKind, attempt: u32, resends_used: u32, settings: &RetrySettings, random: f64) -> Decision {
    let allowed = attempts(error, call, resends_used, settings);
    let retry_after = error.context.retry_after_ms;
    if attempt >= allowed || retry_after.is_some_and(|wait| wait > settings.max_park_ms.max(settings.max_retry_after_ms)) {
        return Decision::GiveUp;
    }
    let base = if error.kind == ErrorKind::RateLimited { settings.throttle_base_ms } else { settings.base_ms };
    let doubled = base.saturating_mul(1u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX));
    let chance = if random.is_finite() { random.clamp(0.0, 1.0) } else { 1.0 };
    let backoff = (0.5 + 0.5 * chance) * doubled.min(settings.cap_ms) as f64;
    let asked = retry_after.map_or(0.0, |wait| wait as f64 * (1.0 + 0.1 * chance));
    Decision::Retry { after: Duration::from_millis(backoff.max(asked).round() as u64) }
}

/// Attempts allowed in all for this error and call.
fn attempts(error: &Error, call: CallKind, resends_used: u32, settings: &RetrySettings) -> u32 {
    let (paid, free) = (settings.attempts, settings.free_attempts);
    if error.context.should_retry == Some(false) {
        return 0;
    }
    // Whoever answers there without TLS, or sends us elsewhere, will do so again.
    if error.kind == ErrorKind::Protocol && (error.is_before_sending() || is_redirect(error)) {
        return 0;
    }
    let insisted = error.context.should_retry == Some(true);
    match (error.kind, call) {
        (ErrorKind::NotSent | ErrorKind::RateLimited | ErrorKind::Overloaded, CallKind::Paid) => paid,
        // A 5xx of a trigger may hide a started job: it is looked for at the provider, not bought again.
        (ErrorKind::NotSent | ErrorKind::RateLimited, CallKind::Trigger) => paid,
        (ErrorKind::NotSent | ErrorKind::RateLimited | ErrorKind::Overloaded | ErrorKind::OutcomeUnknown, CallKind::Free) => free,
        // Protocol: a reply whose chunks are broken is as lost as one that broke off.
        (ErrorKind::OutcomeUnknown | ErrorKind::Undecodable | ErrorKind::Semantic | ErrorKind::Protocol, CallKind::Paid)
            if resends_used < MAX_RESENDS =>
        {
            paid
        }
        (ErrorKind::Undecodable | ErrorKind::Semantic | ErrorKind::Protocol, CallKind::Free) => free.min(UNUSABLE_ATTEMPTS),
        (ErrorKind::InvalidRequest, CallKind::Paid) if insisted => paid,
        (ErrorKind::InvalidRequest, CallKind::Free) if insisted => free,
        _ => 0,
    }
}

/// Tokens in tenths.
const TENTH: u64 = 1;
const WHOLE: u64 = 10;

/// How many retries a provider may still cost: a bucket that retries empty and first-try successes slowly fill.
///
/// A retry takes 1, one after an unknown outcome 2; a success at the first try gives 0.1 back, up to the capacity of
/// max(20, 10 % of the planned calls). Empty: fail fast; the batch stays partial and can be resumed.
#[derive(Debug)]
pub struct RetryBudget {
    tenths: AtomicU64,
    capacity: u64,
}

impl RetryBudget {
    /// A full bucket for this many planned calls.
    #[must_use]
    pub fn new(planned_calls: u64) -> Self {
        let capacity = (planned_calls / 10).max(20).saturating_mul(WHOLE);
        Self { tenths: AtomicU64::new(capacity), capacity }
    }

    /// Takes what a retry after this error costs. False, and nothing taken, when too little is left.
    pub fn take(&self, error: &Error) -> bool {
        let cost = if error.kind == ErrorKind::OutcomeUnknown { 2 * WHOLE } else { WHOLE };
        self.tenths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tenths| tenths.checked_sub(cost)).is_ok()
    }

    /// A call succeeded at its first try.
    pub fn succeeded(&self) {
        let fill = |tenths: u64| Some((tenths + TENTH).min(self.capacity));
        // Never fails: the closure always has a value.
        let _ = self.tenths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fill);
    }
}
