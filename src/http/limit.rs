//! Speed caps of one provider account: calls in flight (halved when throttled, grown back on success), a pause for the whole
//! account, and the guard that keeps us far from Bright Data's ban. Speed only: money has its own budget.
//!
//! Growth and cut follow additive increase, multiplicative decrease (Chiu and Jain 1989): +1 per limit's worth of
//! successes, × 0.5 per throttling, at most one cut a second.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::config::Account;

/// Answers 429 that Bright Data may give us in [`GUARD_WINDOW`]; it bans an address at 25.
const GUARD_LIMIT: usize = 8;
/// The window of the guard, and how long we stay silent when it is full.
const GUARD_WINDOW: Duration = Duration::from_secs(300);
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

    /// The provider throttled us: half the places, at most once a second.
    pub fn throttled(&self) {
        let mut state = self.lock();
        let now = Instant::now();
        if state.last_cut.is_some_and(|last| now.duration_since(last) < CUT_INTERVAL) {
            return;
        }
        state.last_cut = Some(now);
        state.successes = 0;
        let target = (state.limit / 2).max(1);
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

/// A pause for everything an account sends, and the 429 guard.
#[derive(Debug, Default)]
pub struct Throttle {
    state: Mutex<ThrottleState>,
}

#[derive(Debug, Default)]
struct ThrottleState {
    paused_until: Option<Instant>,
    recent: VecDeque<Instant>,
}

impl Throttle {
    /// Waits until the account may send again.
    pub async fn wait(&self) {
        while let Some(until) = self.paused_until() {
            tokio::time::sleep_until(until).await;
        }
    }

    /// A 429 came: pause for `wait`, or for the guard's window when it is full.
    pub fn throttled(&self, wait: Duration, guarded: bool) {
        let now = Instant::now();
        let mut state = self.lock();
        while state.recent.front().is_some_and(|first| now.duration_since(*first) >= GUARD_WINDOW) {
            state.recent.pop_front();
        }
        state.recent.push_back(now);
        let wait = if guarded && state.recent.len() >= GUARD_LIMIT { GUARD_WINDOW.max(wait) } else { wait };
        let until = now + wait;
        state.paused_until = Some(state.paused_until.map_or(until, |paused| paused.max(until)));
    }

    /// True after a 429 within the guard's window: polls become rare.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        let now = Instant::now();
        self.lock().recent.back().is_some_and(|last| now.duration_since(*last) < GUARD_WINDOW)
    }

    /// True while nothing may be sent.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused_until().is_some()
    }

    fn paused_until(&self) -> Option<Instant> {
        self.lock().paused_until.filter(|until| *until > Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, ThrottleState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The caps of one account.
#[derive(Debug)]
pub struct AccountLimits {
    /// Direct calls, or open snapshots.
    pub calls: Arc<Limiter>,
    /// Triggers.
    pub triggers: Arc<Limiter>,
    /// Pause and guard.
    pub throttle: Throttle,
}

/// The caps of all accounts of the process: every run that uses a key shares them.
#[derive(Debug, Default)]
pub struct LimitRegistry {
    accounts: Mutex<HashMap<AccountKey, Arc<AccountLimits>>>,
}

/// Same provider, server, key and caps: same account. The key itself is not kept, only its hash.
type AccountKey = (String, String, [u8; 32], usize, usize);

impl LimitRegistry {
    /// The caps of an account, made on first use.
    #[must_use]
    pub fn account(&self, provider: &str, account: &Account) -> Arc<AccountLimits> {
        use sha2::Digest;
        let hash: [u8; 32] = sha2::Sha256::digest(account.api_key.reveal().as_bytes()).into();
        let key = (provider.to_owned(), account.base_url.clone(), hash, account.max_in_flight, account.max_triggers);
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let limits = accounts.entry(key).or_insert_with(|| {
            Arc::new(AccountLimits {
                calls: Limiter::new(account.max_in_flight),
                triggers: Limiter::new(account.max_triggers),
                throttle: Throttle::default(),
            })
        });
        limits.clone()
    }
}
