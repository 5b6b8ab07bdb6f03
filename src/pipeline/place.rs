//! What a call must have before it is sent (no pause, a closed breaker, a place under the cap, a share of the rate, a slot of the
//! guard) and what its reply tells about the account. Sends nothing, decides nothing about the call itself.

use std::time::Duration;

use super::account::{Account, until};
use super::call::Rules;
use super::session::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Level;
use crate::http::HttpResponse;
use crate::http::breaker::{Change, Pass};
use crate::http::guard::{GUARD_LIMIT, Slot};
use crate::http::limit::Permit;
use crate::http::rate::{Share, Tokens, Told};
use crate::http::retry::CallKind;
use crate::providers;

/// Longest pause that we choose ourselves after an answer 429, where the provider bans addresses.
const LONGEST_GUARDED_PAUSE: Duration = Duration::from_secs(32);

/// The right to send one attempt now.
#[derive(Debug)]
pub(super) struct Place {
    permit: Option<Permit>,
    share: Share,
    slot: Option<Slot>,
    pass: Pass,
}

/// What a reply tells about the account, whatever its content means.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Heard {
    told: Option<Told>,
    /// The status was 429.
    refused: bool,
    took: Duration,
}

impl Heard {
    /// `None`: no reply came.
    pub(super) fn of(reply: Option<&HttpResponse>, took: Duration) -> Self {
        Self { told: reply.and_then(providers::limits_told), refused: reply.is_some_and(|reply| reply.status == 429), took }
    }
}

impl Place {
    /// It is sent now.
    pub(super) fn sent(&mut self) {
        self.share.sent();
    }
}

impl Session {
    /// Waits for everything a call needs. What may have changed meanwhile is looked at again with all in hand: whoever waits in
    /// line must not run into a pause that began before its turn.
    ///
    /// # Errors
    /// Why the provider is stopped; [`ErrorKind::Cancelled`] after a stop.
    pub(super) async fn place(&self, account: &Account, rules: Rules<'_>, tokens: Tokens) -> Result<Place> {
        let place = tokio::select! {
            biased;
            () = account.halted.cancelled() => None,
            () = self.stopping(rules) => return Err(super::call::stopped()),
            place = self.wait_for_place(account, rules, tokens) => Some(place?),
        };
        match (account.stopped(), place) {
            (None, Some(place)) => Ok(place),
            (stopped, _) => Err(stopped.unwrap_or_else(|| Error::internal("an account is halted and not stopped"))),
        }
    }

    async fn wait_for_place(&self, account: &Account, rules: Rules<'_>, tokens: Tokens) -> Result<Place> {
        let limits = &account.limits;
        let free = rules.kind == CallKind::Free;
        loop {
            self.give_up_account(account)?;
            if !free {
                self.store_health.well().await; // what is paid now could only pile up in the journal
            }
            if let Some(pause) = account.paused_for() {
                tokio::time::sleep(pause).await;
                continue;
            }
            if limits.breaker.blocks() {
                limits.breaker.changed().await;
                continue;
            }
            let permit = match rules.cap {
                Some(cap) => Some(cap.acquire().await),
                None => None,
            };
            if rules.kind != CallKind::Free && self.leases.assured().await.is_err() {
                self.stop.cancel();
                return Err(super::call::stopped()); // the heartbeat tells why
            }
            let share = self.share(account, tokens).await?;
            let slot = match &limits.guard {
                Some(guard) => match guard.acquire().await {
                    Ok(slot) => Some(slot),
                    Err(_) => continue, // another process was refused meanwhile: is that worth waiting for?
                },
                None => None,
            };
            if limits.throttle.paused_for().is_none()
                && (free || self.store_health.is_well())
                && let Some(pass) = limits.breaker.pass()
            {
                return Ok(Place { permit, share, slot, pass });
            }
        }
    }

    async fn share(&self, account: &Account, tokens: Tokens) -> Result<Share> {
        let longest = Duration::from_millis(self.settings.retry.max_park_ms);
        let share = account.limits.rates.reserve(tokens, longest).await;
        share.map_err(|wait| {
            let until = until(self.context.clock.now_ms(), wait);
            let error = account.unavailable(&format!("has no requests or tokens left for us until {until}"));
            self.stop_provider(account, &error);
            error
        })
    }

    /// Stops the provider when this start must not wait for it any longer.
    ///
    /// # Errors
    /// Why.
    pub(super) fn give_up_account(&self, account: &Account) -> Result<()> {
        match account.given_up(&self.settings.retry, self.context.clock.now_ms()) {
            None => Ok(()),
            Some(error) => {
                self.stop_provider(account, &error);
                Err(error)
            }
        }
    }

    /// Notes what a reply, or its absence, tells about the account, and gives back what the attempt held.
    pub(super) fn replied(&self, account: &Account, rules: Rules<'_>, mut place: Place, heard: Heard, error: Option<&Error>) {
        let took = heard.took;
        let limits = &account.limits;
        drop(place.permit.take());
        if let Some(told) = heard.told {
            limits.rates.told(&told, &place.share);
        }
        let refused = heard.refused || error.is_some_and(|error| error.kind == ErrorKind::RateLimited);
        if refused {
            let pause = self.pause_after(account, error);
            limits.rates.refused();
            limits.calls.throttled(took);
            limits.triggers.throttled(took);
            limits.throttle.refused(pause);
            if let Some(slot) = place.slot.take() {
                slot.refused(pause);
                self.warn_of_guard(account);
            }
        } else if error.is_none_or(|error| !blames(error)) {
            limits.throttle.accepted();
        }
        match (error, rules.cap) {
            (None, Some(cap)) => cap.succeeded(),
            (Some(error), Some(cap)) if is_overload(error) => cap.overloaded(took),
            _ => {}
        }
        let longest = self.settings.retry.max_retry_after_ms;
        if let Some(wait) = error.and_then(|error| error.context.retry_after_ms).filter(|wait| *wait > longest) {
            limits.throttle.pause(Duration::from_millis(wait)); // the provider is parked, not the task alone
        }
        // A call that we gave up ourselves says nothing about the provider.
        if !self.abort.is_cancelled() {
            self.report(account, place.pass, error);
        }
    }

    fn report(&self, account: &Account, pass: Pass, error: Option<&Error>) {
        let failure = error.filter(|error| blames(error));
        if let Some(failure) = failure {
            account.failed(failure);
        }
        let line = match pass.report(failure.is_some(), Duration::from_millis(self.settings.retry.breaker_ms)) {
            None => return,
            Some(Change::Closed) => format!("{} answers again", account.name),
            Some(Change::Opened(wait)) => {
                format!("{} fails more often than not: nothing is sent to it for {:.1} s", account.name, wait.as_secs_f64())
            }
        };
        self.host.log(Level::Warning, line);
    }

    /// How long the account is silent after an answer 429: as long as the provider asks, else the backoff's base. Where it bans
    /// addresses the wait doubles with every 429 of the window, whatever it asks.
    fn pause_after(&self, account: &Account, error: Option<&Error>) -> Duration {
        let base = Duration::from_millis(self.settings.retry.throttle_base_ms);
        let asked = error.and_then(|error| error.context.retry_after_ms).map(Duration::from_millis);
        match &account.limits.guard {
            None => asked.unwrap_or(base),
            Some(guard) => {
                let doubled = base * (1 << guard.refusals().min(GUARD_LIMIT));
                doubled.min(LONGEST_GUARDED_PAUSE).max(asked.unwrap_or_default())
            }
        }
    }

    fn warn_of_guard(&self, account: &Account) {
        let refusals = account.limits.guard.as_ref().map_or(0, |guard| guard.refusals());
        let line = format!("{} answered 429: {refusals} of {GUARD_LIMIT} in five minutes", account.name);
        self.host.log(Level::Warning, line);
    }
}

/// The tokens of a call: only paid ones have any.
pub(super) fn tokens(account: &Account, kind: CallKind, body: usize) -> Tokens {
    if kind == CallKind::Paid { account.limits.rates.estimate(body) } else { Tokens::default() }
}

/// True for failures that say the provider is not well: unreachable, broken, silent, garbage. Refusals (4xx, 429) are answers.
fn blames(error: &Error) -> bool {
    match error.kind {
        ErrorKind::NotSent | ErrorKind::OutcomeUnknown | ErrorKind::Undecodable | ErrorKind::Protocol => true,
        ErrorKind::Overloaded => error.context.status_code.is_none_or(|status| status >= 500),
        _ => false,
    }
}

/// True for failures that ask for less at once.
fn is_overload(error: &Error) -> bool {
    match error.kind {
        ErrorKind::OutcomeUnknown => true,
        ErrorKind::Overloaded => matches!(error.context.status_code, Some(408 | 503 | 504 | 529)),
        _ => false,
    }
}
