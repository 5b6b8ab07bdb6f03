//! What an account may have in flight: a cap that is cut when the provider is throttling or overloaded and grows back on
//! success. Speed only: money has its own budget.
//!
//! Growth and cut follow additive increase, multiplicative decrease (Chiu and Jain 1989): +1 per limit's worth of successes,
//! × 0.5 per throttling, × 0.7 per overload, at most one cut a second and round trip.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

pub use super::registry::{AccountLimits, LimitRegistry};

/// Cuts closer together than this count as one.
const CUT_INTERVAL: Duration = Duration::from_secs(1);

/// A cap on what is in flight, that adapts between 1 and its maximum.
#[derive(Debug)]
pub struct Limiter {
    semaphore: Arc<Semaphore>,
    state: Mutex<LimiterState>,
    max: usize,
}

#[derive(Debug)]
struct LimiterState {
    limit: usize,
    /// Permits to swallow when they come back, because a cut found them in use.
    debt: usize,
    successes: usize,
    last_cut: Option<Instant>,
}

/// The right to have one call in flight.
#[derive(Debug)]
pub struct Permit {
    permit: Option<OwnedSemaphorePermit>,
    limiter: Arc<Limiter>,
}

impl Limiter {
    /// Allows `max` at once to begin with.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        let state = Mutex::new(LimiterState { limit: max, debt: 0, successes: 0, last_cut: None });
        Arc::new(Self { semaphore: Arc::new(Semaphore::new(max)), state, max })
    }

    /// Waits for a place, first come first served.
    pub async fn acquire(self: &Arc<Self>) -> Permit {
        // The semaphore is never closed; a closed one would mean "no cap".
        let permit = self.semaphore.clone().acquire_owned().await.ok();
        Permit { permit, limiter: self.clone() }
    }

    /// What is allowed at once now.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.lock().limit
    }

    /// A call succeeded: one more place per `limit` successes.
    pub fn succeeded(&self) {
        let mut state = self.lock();
        if state.limit >= self.max {
            return;
        }
        state.successes += 1;
        if state.successes >= state.limit {
            state.successes = 0;
            state.limit += 1;
            if state.debt > 0 {
                state.debt -= 1;
            } else {
                self.semaphore.add_permits(1);
            }
        }
    }

    /// The provider throttled us: half the places. `round_trip`: what the refused call took; calls sent before a cut must not
    /// cut again.
    pub fn throttled(&self, round_trip: Duration) {
        self.cut(5, round_trip);
    }

    /// The provider is overloaded, or did not answer in time: seven tenths of the places.
    pub fn overloaded(&self, round_trip: Duration) {
        self.cut(7, round_trip);
    }

    fn cut(&self, tenths: usize, round_trip: Duration) {
        let mut state = self.lock();
        let now = Instant::now();
        if state.last_cut.is_some_and(|last| now.duration_since(last) < CUT_INTERVAL.max(round_trip)) {
            return;
        }
        state.last_cut = Some(now);
        state.successes = 0;
        let target = (state.limit * tenths / 10).max(1);
        let cut = state.limit - target;
        state.limit = target;
        state.debt += cut - self.semaphore.forget_permits(cut);
    }

    fn lock(&self) -> MutexGuard<'_, LimiterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.limiter.lock();
        if state.debt > 0
            && let Some(permit) = self.permit.take()
        {
            state.debt -= 1;
            permit.forget();
        }
    }
}
