//! The breaker of an account: a provider that fails most attempts is left alone for a while, then tried with one request.
//! A pure state machine over tokio's clock; which failures count is the caller's word.
//!
//! Closed → (half of the last twenty attempts, ten at least, failed) → open 30 s → one probe → closed, or open twice as long,
//! up to ten times the first wait.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Attempts that are remembered.
const WINDOW: usize = 20;
/// Attempts before it is judged at all.
const LEAST: usize = 10;
/// The longest wait, in first waits.
const LONGEST: u32 = 10;

/// The breaker of one account.
#[derive(Debug, Default)]
pub struct Breaker {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    position: Position,
    /// True: the attempt failed.
    recent: VecDeque<bool>,
    wait: Duration,
    failed_probes: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Position {
    #[default]
    Closed,
    Open {
        until: Instant,
    },
    Probing,
}

/// What a report changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing is sent for this long.
    Opened(Duration),
    /// The probe was answered: all may send again.
    Closed,
}

/// The right to make one attempt. Dropped without a report, it says nothing about the provider.
#[derive(Debug)]
pub struct Pass {
    breaker: Arc<Breaker>,
    /// True while the outcome of a probe is awaited.
    probe: bool,
}

impl Breaker {
    /// A pass for one attempt; `None` while the breaker is open, or while another attempt probes.
    #[must_use]
    pub fn pass(self: &Arc<Self>) -> Option<Pass> {
        let mut state = self.lock();
        let probe = match state.position {
            Position::Closed => false,
            Position::Open { until } if until <= Instant::now() => {
                state.position = Position::Probing;
                true
            }
            Position::Open { .. } | Position::Probing => return None,
        };
        drop(state);
        Some(Pass { breaker: self.clone(), probe })
    }

    /// True while no attempt may be made.
    #[must_use]
    pub fn blocks(&self) -> bool {
        self.blocked_until().is_some()
    }

    /// Waits while attempts are blocked, but not past the next change: the caller looks again.
    pub async fn changed(&self) {
        let changed = self.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable(); // from here on no change is missed
        match self.blocked_until() {
            None => {}
            Some(None) => changed.await,
            Some(Some(until)) => {
                tokio::select! {
                    biased;
                    () = changed => {}
                    () = tokio::time::sleep_until(until) => {}
                }
            }
        }
    }

    /// False once it opened, until a probe was answered.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().position == Position::Closed
    }

    /// Probes that failed since it was closed last.
    #[must_use]
    pub fn failed_probes(&self) -> u64 {
        self.lock().failed_probes
    }

    /// `Some(None)`: until the probe under way is back.
    fn blocked_until(&self) -> Option<Option<Instant>> {
        match self.lock().position {
            Position::Closed => None,
            Position::Open { until } => (until > Instant::now()).then_some(Some(until)),
            Position::Probing => Some(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// What came of the attempt; `failed`: in a way that blames the provider. `first`: how long the breaker opens at first.
    pub fn report(mut self, failed: bool, first: Duration) -> Option<Change> {
        let probe = std::mem::take(&mut self.probe);
        let mut state = self.breaker.lock();
        let change = match (probe, state.position) {
            (true, _) if failed => {
                state.failed_probes += 1;
                let wait = (state.wait * 2).min(first * LONGEST);
                Some(state.open(wait))
            }
            (true, _) => {
                state.position = Position::Closed;
                state.failed_probes = 0;
                state.recent.clear();
                Some(Change::Closed)
            }
            (false, Position::Closed) => {
                state.remember(failed);
                state.is_bad().then(|| state.open(first))
            }
            // It was sent before the breaker opened: old news.
            (false, _) => None,
        };
        drop(state);
        if change.is_some() {
            self.breaker.changed.notify_waiters();
        }
        change
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.probe {
            self.breaker.lock().position = Position::Open { until: Instant::now() };
            self.breaker.changed.notify_waiters();
        }
    }
}

impl State {
    fn remember(&mut self, failed: bool) {
        if self.recent.len() == WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back(failed);
    }

    fn is_bad(&self) -> bool {
        let failed = self.recent.iter().filter(|failed| **failed).count();
        self.recent.len() >= LEAST && failed * 2 >= self.recent.len()
    }

    fn open(&mut self, wait: Duration) -> Change {
        self.recent.clear();
        self.wait = wait;
        self.position = Position::Open { until: Instant::now() + wait };
        Change::Opened(wait)
    }
}
