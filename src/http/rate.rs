//! How fast an account may ask: requests and tokens a minute, as the provider's reply headers tell and as the user caps them.
//! Reserve before a call, settle after it. Token buckets over tokio's clock; knows no header's name (providers/ reads them).
//!
//! A header is old when it is read: requests are on their way that it does not count, and places came free that it did not see.
//! So it bounds our own count from both sides instead of replacing it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Requests, tokens of both kinds, tokens in, tokens out.
const KINDS: usize = 4;
/// Output of a call before one was seen, in tokens.
const FIRST_OUTPUT: f64 = 500.0;
/// Share of the newest call in the mean output.
const NEWEST: f64 = 0.1;
/// Refill times outside of this are taken for garbage.
const REFILLS: std::ops::RangeInclusive<f64> = 0.5..=172_800.0;
const MINUTE: f64 = 60.0;

/// What a reply says about one limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Most that may be had at once.
    pub limit: f64,
    /// What was left of it when the reply was made.
    pub remaining: f64,
    /// Time until all of it is there again; `None`: a minute for all of it, as far as is known.
    pub full_in: Option<Duration>,
}

/// What a reply says about the account's limits; `None`: nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Told {
    /// Requests.
    pub requests: Option<Window>,
    /// Tokens, in and out together.
    pub tokens: Option<Window>,
    /// Tokens in.
    pub input_tokens: Option<Window>,
    /// Tokens out.
    pub output_tokens: Option<Window>,
}

/// Tokens of a call.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tokens {
    /// In.
    pub input: f64,
    /// Out.
    pub output: f64,
}

/// The rates of one account.
#[derive(Debug, Default)]
pub struct Rates {
    state: Mutex<State>,
    /// Whoever waits for a turn waits in line here.
    turn: tokio::sync::Mutex<()>,
    corrected: Notify,
}

#[derive(Debug, Default)]
struct State {
    told: [Option<Bucket>; KINDS],
    own: [Option<Bucket>; KINDS],
    /// Reserved so far, and reserved for calls that are not back.
    reserved: [f64; KINDS],
    in_flight: [f64; KINDS],
    mean_output: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: f64,
    capacity: f64,
    /// As it was told; the capacity may have been found to be smaller.
    limit: f64,
    per_second: f64,
    at: Instant,
    /// The longest refill time that was told so far: the rate that follows from it is the most exact.
    exactness: f64,
}

/// A call's share of the rates; given back when it is dropped before it was sent.
#[derive(Debug)]
pub struct Share {
    rates: Arc<Rates>,
    need: [f64; KINDS],
    /// All that was reserved up to and with this.
    up_to: [f64; KINDS],
    at: Instant,
    sent: bool,
}

impl Rates {
    /// Rates with the user's own caps a minute; `None`: no cap but the provider's.
    #[must_use]
    pub fn new(requests: Option<u64>, tokens: Option<u64>) -> Arc<Self> {
        let own = [requests, tokens, None, None].map(|cap| cap.map(|cap| Bucket::of_cap(cap as f64)));
        Arc::new(Self { state: Mutex::new(State { own, ..State::default() }), ..Self::default() })
    }

    /// What a call with a body of this many bytes will take: a token in for four bytes, and the mean of the tokens out so far.
    #[must_use]
    pub fn estimate(&self, body: usize) -> Tokens {
        Tokens { input: (body / 4) as f64, output: self.lock().mean_output.unwrap_or(FIRST_OUTPUT) }
    }

    /// Waits for one request of these tokens, first come first served.
    ///
    /// # Errors
    /// The wait, when it is longer than `longest`: then nothing is reserved.
    pub async fn reserve(self: &Arc<Self>, tokens: Tokens, longest: Duration) -> Result<Share, Duration> {
        let need = needs(tokens);
        let _turn = self.turn.lock().await;
        loop {
            let wait = match self.try_reserve(need) {
                Ok(up_to) => return Ok(Share { rates: self.clone(), need, up_to, at: Instant::now(), sent: false }),
                Err(wait) if wait > longest => return Err(wait),
                Err(wait) => wait,
            };
            tokio::select! {
                biased;
                () = tokio::time::sleep(wait) => {}
                () = self.corrected.notified() => {}
            }
        }
    }

    fn try_reserve(&self, need: [f64; KINDS]) -> Result<[f64; KINDS], Duration> {
        let now = Instant::now();
        let mut state = self.lock();
        let state = &mut *state;
        let mut wait = Duration::ZERO;
        for buckets in [&mut state.told, &mut state.own] {
            for (bucket, need) in buckets.iter_mut().zip(need) {
                if let Some(bucket) = bucket {
                    bucket.refill(now);
                    wait = wait.max(bucket.wait(need));
                }
            }
        }
        if !wait.is_zero() {
            return Err(wait);
        }
        state.take(need, 1.0);
        for (all, need) in state.reserved.iter_mut().zip(need) {
            *all += need;
        }
        for (all, need) in state.in_flight.iter_mut().zip(need) {
            *all += need;
        }
        Ok(state.reserved)
    }

    /// A reply told the limits.
    pub fn told(&self, told: &Told, share: &Share) {
        let now = Instant::now();
        let windows = [told.requests, told.tokens, told.input_tokens, told.output_tokens];
        let mut state = self.lock();
        let state = &mut *state;
        for (kind, window) in windows.into_iter().enumerate() {
            let (Some(window), Some(place)) = (window, state.told.get_mut(kind)) else { continue };
            let of = |array: &[f64; KINDS]| array.get(kind).copied().unwrap_or(0.0);
            let since = of(&state.reserved) - of(&share.up_to) + of(&state.in_flight);
            let bucket = place.get_or_insert_with(|| Bucket::of_window(window, window.remaining - since, now));
            bucket.told(window, since, now.duration_since(share.at), now);
        }
        self.corrected.notify_one();
    }

    /// A refusal as one too many, after [`Self::told`]: when no header explains it, the provider counts in shorter spans than
    /// it says, so less is sent at once.
    pub fn refused(&self) {
        let mut state = self.lock();
        let state = &mut *state;
        let explained = state.told.iter().flatten().any(|bucket| bucket.level < 1.0);
        if let Some(Some(bucket)) = state.told.first_mut().filter(|_| !explained) {
            bucket.level = 0.0;
            bucket.capacity = (bucket.capacity / 2.0).max(bucket.per_second).max(1.0);
        }
    }

    /// What a call really took, in place of the estimate it was reserved with.
    pub fn settle(&self, reserved: Tokens, used: Tokens) {
        let mut state = self.lock();
        let (reserved, taken) = (needs(reserved), needs(used));
        let mut difference = [0.0; KINDS];
        for (place, (taken, reserved)) in difference.iter_mut().zip(taken.into_iter().zip(reserved)) {
            *place = taken - reserved;
        }
        state.take(difference, 1.0);
        let mean = state.mean_output.unwrap_or(used.output);
        state.mean_output = Some(mean + NEWEST * (used.output - mean));
        drop(state);
        self.corrected.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn needs(tokens: Tokens) -> [f64; KINDS] {
    [1.0, tokens.input + tokens.output, tokens.input, tokens.output]
}

impl State {
    fn take(&mut self, amounts: [f64; KINDS], sign: f64) {
        for buckets in [&mut self.told, &mut self.own] {
            for (bucket, amount) in buckets.iter_mut().zip(amounts) {
                if let Some(bucket) = bucket {
                    bucket.level = (bucket.level - sign * amount).min(bucket.capacity);
                }
            }
        }
    }
}

impl Bucket {
    /// A user's cap a minute, spread evenly: in no minute more than the cap, so what may be had at once is part of it.
    fn of_cap(cap: f64) -> Self {
        let capacity = (cap / MINUTE).max(1.0);
        let per_second = if capacity > 1.0 { (cap - capacity) / MINUTE } else { cap / MINUTE };
        Self { level: capacity, capacity, limit: cap, per_second, at: Instant::now(), exactness: 0.0 }
    }

    fn of_window(window: Window, level: f64, now: Instant) -> Self {
        let level = level.clamp(-window.limit, window.limit);
        let limit = window.limit;
        Self { level, capacity: limit, limit, per_second: limit / MINUTE, at: now, exactness: 0.0 }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.duration_since(self.at).as_secs_f64();
        self.at = now;
        self.level = (self.level + passed * self.per_second).min(self.capacity);
    }

    /// Until `need` can be had. More than can ever be had at once waits for all of it.
    fn wait(&self, need: f64) -> Duration {
        let missing = need.min(self.capacity) - self.level;
        // A rounding error is not worth a wait.
        if missing <= 1e-6 {
            return Duration::ZERO;
        }
        let seconds = (missing / self.per_second.max(1e-9)).min(*REFILLS.end());
        Duration::from_secs_f64(seconds).max(Duration::from_millis(1))
    }

    /// `since`: reserved after the call this reply belongs to, or on its way. `age`: since that call was sent.
    fn told(&mut self, window: Window, since: f64, age: Duration, now: Instant) {
        self.refill(now);
        if self.limit != window.limit {
            *self = Self { level: self.level, ..Self::of_window(window, 0.0, now) };
        }
        self.learn_rate(window);
        let most = window.remaining + 1.0 + self.per_second * age.as_secs_f64();
        let least = (window.remaining - since).min(most);
        self.level = self.level.clamp(least, most).min(self.capacity);
    }

    fn learn_rate(&mut self, window: Window) {
        let Some(full_in) = window.full_in.map(|full_in| full_in.as_secs_f64()) else { return };
        let used = window.limit - window.remaining;
        if used < 1.0 || full_in <= 0.0 || full_in * 2.0 < self.exactness {
            return;
        }
        let refill = full_in * window.limit / used;
        if REFILLS.contains(&refill) {
            self.exactness = self.exactness.max(full_in);
            self.per_second = window.limit / refill;
        }
    }
}

impl Share {
    /// It is sent now: what it takes is taken.
    pub fn sent(&mut self) {
        self.sent = true;
        self.at = Instant::now();
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.rates.lock();
        for (all, need) in state.in_flight.iter_mut().zip(self.need) {
            *all -= need;
        }
        if !self.sent {
            state.take(self.need, -1.0);
        }
    }
}
