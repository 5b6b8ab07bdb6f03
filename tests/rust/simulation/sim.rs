//! What the simulated seams share: virtual time, history, the present life's fuse, the weather. Knows no seam.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use overheard::clock::Clock;
use tokio::time::Instant;

use super::chance::Chance;
use super::crash::{Fuse, Point};
use super::history::History;
use super::planted::Planted;
use super::weather::Weather;

/// The first virtual instant, milliseconds since 1970 UTC.
pub const EPOCH_MS: i64 = 1_700_000_000_000;

/// One simulated world with everything but its provider and its disk.
#[derive(Debug)]
pub struct Sim {
    history: Mutex<History>,
    weather: Mutex<Weather>,
    life: Mutex<Life>,
    jitter: Mutex<Chance>,
    planted: Option<Planted>,
}

#[derive(Debug)]
struct Life {
    /// Counts the lives; files and requests of an earlier one are of no effect.
    number: u64,
    fuse: Arc<Fuse>,
    began_ms: i64,
    began: Option<Instant>,
}

impl Sim {
    pub fn new(seed: u64, weather: Weather, planted: Option<Planted>) -> Arc<Self> {
        let life = Life { number: 0, fuse: Arc::default(), began_ms: EPOCH_MS, began: None };
        Arc::new(Self {
            history: Mutex::default(),
            weather: Mutex::new(weather),
            life: Mutex::new(life),
            jitter: Mutex::new(Chance::new(seed, "jitter")),
            planted,
        })
    }

    /// A process starts `gap_ms` after the last one ended. To be called inside its runtime.
    pub fn begin_life(&self, gap_ms: i64, armed: Option<(Point, u64)>) -> Arc<Fuse> {
        let now = self.now_ms();
        let mut life = lock(&self.life);
        let fuse = Arc::new(Fuse::new(armed));
        *life = Life { number: life.number + 1, fuse: fuse.clone(), began_ms: now + gap_ms, began: Some(Instant::now()) };
        fuse
    }

    /// The process is gone; time stands still until the next one starts. To be called inside its runtime.
    pub fn end_life(&self) {
        let now = self.now_ms();
        let mut life = lock(&self.life);
        life.fuse.burn();
        (life.began_ms, life.began) = (now, None);
    }

    /// True when this rule is forgotten in this run.
    pub fn is_planted(&self, bug: Planted) -> bool {
        self.planted == Some(bug)
    }

    pub fn planted(&self) -> Option<Planted> {
        self.planted
    }

    pub fn life(&self) -> u64 {
        lock(&self.life).number
    }

    pub fn fuse(&self) -> Arc<Fuse> {
        lock(&self.life).fuse.clone()
    }

    /// At this point the process may die; then this never returns.
    pub async fn at(&self, point: Point) {
        if self.fuse().hit(point) {
            std::future::pending::<()>().await;
        }
    }

    pub fn now_ms(&self) -> i64 {
        let life = lock(&self.life);
        life.began_ms + life.began.map_or(0, |began| began.elapsed().as_millis() as i64)
    }

    /// Milliseconds since the first instant: what a history shows.
    pub fn elapsed_ms(&self) -> i64 {
        self.now_ms() - EPOCH_MS
    }

    pub fn weather(&self) -> MutexGuard<'_, Weather> {
        lock(&self.weather)
    }

    pub fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }

    pub fn event(&self, line: impl AsRef<str>) {
        let at = self.elapsed_ms();
        self.history().event(at, line.as_ref());
    }

    pub fn note(&self, line: impl AsRef<str>) {
        let at = self.elapsed_ms();
        self.history().note(at, line.as_ref());
    }

    pub fn count(&self, kind: &'static str) {
        self.history().count(kind);
    }

    pub fn violation(&self, check: &str, what: impl AsRef<str>) {
        let at = self.elapsed_ms();
        self.history().violation(at, check, what.as_ref());
    }
}

impl Clock for Sim {
    fn now_ms(&self) -> i64 {
        Sim::now_ms(self)
    }

    fn random(&self) -> f64 {
        (lock(&self.jitter).next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
