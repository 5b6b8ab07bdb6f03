//! Wall time and chance behind one trait, so that tests decide both. Durations and sleeps use `tokio::time`, which tests
//! can pause; the wall clock is only for time stamps and never for a duration.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the engine reads the time of day and draws its jitter.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Milliseconds since 1970-01-01 UTC.
    fn now_ms(&self) -> i64;
    /// Uniform in `[0, 1)`.
    fn random(&self) -> f64;
    /// An id that nobody else has: of a submission, of a file. Follows from the seed where there is one.
    fn id(&self) -> String {
        let half = || (self.random() * (1u64 << 32) as f64) as u32;
        format!("{:08x}{:08x}{:08x}{:08x}", half(), half(), half(), half())
    }
}

/// The machine's clock, with a generator seeded from the system.
#[derive(Debug)]
pub struct SystemClock {
    state: AtomicU64,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { state: AtomicU64::new(uuid::Uuid::new_v4().as_u64_pair().0) }
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64)
    }

    fn random(&self) -> f64 {
        next_random(&self.state)
    }
}

/// A clock that stands still until it is set, with a seeded generator.
#[derive(Debug)]
pub struct ManualClock {
    now_ms: std::sync::atomic::AtomicI64,
    state: AtomicU64,
}

impl ManualClock {
    /// Stands at `now_ms`; the jitter follows from `seed`.
    #[must_use]
    pub fn new(now_ms: i64, seed: u64) -> Self {
        Self { now_ms: now_ms.into(), state: AtomicU64::new(seed) }
    }

    /// Moves the time of day.
    pub fn set(&self, now_ms: i64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn random(&self) -> f64 {
        next_random(&self.state)
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): plenty for jitter, never for secrets.
fn next_random(state: &AtomicU64) -> f64 {
    let mut z = state.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}
