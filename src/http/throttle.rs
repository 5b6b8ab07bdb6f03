//! The pause of an account: after a 429 nothing of it is sent until the wait the provider asked for is over. Counts refusals in
//! a row, so that a run can give up on an account that only refuses. Knows no provider and no file.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// An account that only refuses is given up after this many refusals in a row …
const REFUSALS_IN_A_ROW: u32 = 9;
/// … over at least this time.
const REFUSED_FOR: Duration = Duration::from_secs(300);
/// A pause is never longer: what a header says beyond it is no information.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// A pause for everything an account sends.
#[derive(Debug, Default)]
pub struct Throttle {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    paused_until: Option<Instant>,
    /// How many refusals came since the last other reply, and when the first of them did.
    refused: Option<(u32, Instant)>,
}

impl Throttle {
    /// The provider refused a request as one too many: nothing is sent for `wait`. A pause never becomes shorter.
    pub fn refused(&self, wait: Duration) {
        let now = Instant::now();
        let mut state = self.lock();
        let (count, since) = state.refused.unwrap_or((0, now));
        state.refused = Some((count.saturating_add(1), since));
        extend(&mut state, now, wait);
    }

    /// The provider asked for a wait for another reason.
    pub fn pause(&self, wait: Duration) {
        extend(&mut self.lock(), Instant::now(), wait);
    }

    /// A reply came that was no refusal.
    pub fn accepted(&self) {
        self.lock().refused = None;
    }

    /// What is left of the pause; `None`: the account may send.
    #[must_use]
    pub fn paused_for(&self) -> Option<Duration> {
        let now = Instant::now();
        self.lock().paused_until.filter(|until| *until > now).map(|until| until - now)
    }

    /// The number of refusals in a row, once the account has given nothing else for five minutes.
    #[must_use]
    pub fn only_refuses(&self) -> Option<u32> {
        let refused = self.lock().refused;
        refused.filter(|(count, since)| *count >= REFUSALS_IN_A_ROW && since.elapsed() >= REFUSED_FOR).map(|(count, _)| count)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn extend(state: &mut State, now: Instant, wait: Duration) {
    let until = now + wait.min(LONGEST_PAUSE);
    state.paused_until = Some(state.paused_until.map_or(until, |paused| paused.max(until)));
}
