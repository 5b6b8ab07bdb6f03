//! The state all providers share: settings, world, ledger, truth, faults, and how often each question was asked. Offers the
//! composing of an answer; knows no provider's form and no HTTP.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::config::Config;
use super::faults::{Fault, Faults};
use super::ledger::Ledger;
use super::rng::{self, Rng};
use super::text::{self, Answer, Topic};
use super::truth::Truth;
use super::world::World;
use super::{anthropic, brightdata, openai};

/// Everything.
#[derive(Debug)]
pub(crate) struct Sim {
    pub(crate) config: Config,
    pub(crate) world: World,
    /// `http://host:port`, for URLs inside replies.
    pub(crate) url: String,
    /// Differs between two starts, so that ids of stored things never repeat.
    pub(crate) nonce: u64,
    ledger: Mutex<Ledger>,
    truth: Mutex<Truth>,
    faults: Mutex<Faults>,
    asked: Mutex<HashMap<u64, u32>>,
    buckets: Mutex<HashMap<&'static str, (f64, u64)>>,
    pub(crate) openai: Mutex<openai::Store>,
    pub(crate) anthropic: Mutex<anthropic::Store>,
    pub(crate) brightdata: Mutex<brightdata::Store>,
}

/// Where a provider's speed limit stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speed {
    /// Requests a second.
    pub(crate) rate: f64,
    /// Requests at once.
    pub(crate) capacity: f64,
    /// What is left of them.
    pub(crate) remaining: f64,
    /// The request is refused: milliseconds until the next one is not.
    pub(crate) wait_ms: Option<u64>,
}

/// A lock whose holder panicked is taken anyway: the simulator's state has no invariants across a panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds since 1970 UTC.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

/// One call that is being answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) sim: &'a Sim,
    pub(crate) endpoint: &'static str,
    pub(crate) started_ms: u64,
    /// A line of a provider batch: half the token price, no delay.
    pub(crate) batch: bool,
    pub(crate) fault: Option<&'a Fault>,
}

impl Call<'_> {
    /// How long this call takes, in milliseconds.
    pub(crate) fn delay(&self, key: u64) -> u64 {
        if self.batch { 0 } else { self.sim.varied(self.sim.config.latency_ms, key) }
    }
}

/// A question with everything that decides its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// Engine, with the model where it matters: `openai:gpt-4.1`, `chatgpt`.
    pub(crate) engine: &'a str,
    pub(crate) prompt: &'a str,
    pub(crate) country: Option<&'a str>,
}

impl Sim {
    pub(crate) fn new(config: Config, url: String) -> Self {
        let nonce = rng::join(&[now_ms(), u64::from(std::process::id()), rng::hash(url.as_bytes())]);
        let ledger = Ledger::new(config.record);
        Self {
            config,
            world: World::new(),
            url,
            nonce,
            ledger: Mutex::new(ledger),
            truth: Mutex::default(),
            faults: Mutex::default(),
            asked: Mutex::default(),
            buckets: Mutex::default(),
            openai: Mutex::default(),
            anthropic: Mutex::default(),
            brightdata: Mutex::default(),
        }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    pub(crate) fn truth(&self) -> MutexGuard<'_, Truth> {
        lock(&self.truth)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    /// The key of a question without its occurrence.
    pub(crate) fn base_key(&self, asked: Asked<'_>) -> u64 {
        let country = asked.country.unwrap_or("");
        rng::join(&[
            self.config.seed,
            rng::hash(asked.engine.as_bytes()),
            rng::hash(asked.prompt.as_bytes()),
            rng::hash(country.as_bytes()),
        ])
    }

    /// Counts the question: (key, occurrence), the occurrence from 1.
    pub(crate) fn ask(&self, asked: Asked<'_>) -> (u64, u32) {
        let base = self.base_key(asked);
        let occurrence = {
            let mut counts = lock(&self.asked);
            let count = counts.entry(base).or_default();
            *count = count.wrapping_add(1);
            *count
        };
        (Self::occurrence_key(base, occurrence), occurrence)
    }

    /// The key of one occurrence.
    pub(crate) fn occurrence_key(base: u64, occurrence: u32) -> u64 {
        rng::join(&[base, u64::from(occurrence)])
    }

    /// Writes the answer for a key.
    pub(crate) fn compose(&self, key: u64, asked: Asked<'_>, searched: bool) -> Answer {
        let topic = Topic {
            key,
            question: asked.prompt,
            country: asked.country,
            searched,
            characters: self.config.answer_chars,
            absence_rate: self.config.rates.absence,
        };
        text::compose(&self.world, topic)
    }

    /// A duration with the seeded spread of this key.
    pub(crate) fn varied(&self, milliseconds: u64, key: u64) -> u64 {
        if self.config.spread <= 0.0 {
            return milliseconds;
        }
        let factor = 1.0 + self.config.spread * (2.0 * Rng::new(key, "duration").unit() - 1.0);
        (milliseconds as f64 * factor).max(0.0) as u64
    }

    /// Takes a token of the provider's speed limit; `None`: there is none.
    pub(crate) fn speed_limit(&self, provider: &'static str) -> Option<Speed> {
        let rate = self.config.requests_per_second;
        if rate <= 0.0 {
            return None;
        }
        let (now, capacity) = (now_ms(), rate.max(1.0));
        let mut buckets = lock(&self.buckets);
        let (tokens, last) = buckets.entry(provider).or_insert((capacity, now));
        *tokens = (*tokens + now.saturating_sub(*last) as f64 * rate / 1000.0).min(capacity);
        *last = now;
        let wait_ms = (*tokens < 1.0).then(|| ((1.0 - *tokens) / rate * 1000.0).ceil() as u64);
        if wait_ms.is_none() {
            *tokens -= 1.0;
        }
        Some(Speed { rate, capacity, remaining: *tokens, wait_ms })
    }
}
