//! Where a process may die: named points, one of which is armed for a life. From the moment it is reached the process is dead:
//! every seam stands still and nothing it does has an effect any more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// A point at which a process may die.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// Some virtual instant.
    Instant,
    BeforeAppend,
    AppendedUnsynced,
    Synced,
    FileCreated,
    FileRemoved,
    BeforeTrigger,
    TriggerAccepted,
    TriggerAnswered,
    BeforeDirect,
    DirectAccepted,
    DirectAnswered,
    FreeAnswered,
    BeforeStore,
    StoreCommitted,
}

impl Point {
    pub const ALL: [Self; 15] = [
        Self::Instant,
        Self::BeforeAppend,
        Self::AppendedUnsynced,
        Self::Synced,
        Self::FileCreated,
        Self::FileRemoved,
        Self::BeforeTrigger,
        Self::TriggerAccepted,
        Self::TriggerAnswered,
        Self::BeforeDirect,
        Self::DirectAccepted,
        Self::DirectAnswered,
        Self::FreeAnswered,
        Self::BeforeStore,
        Self::StoreCommitted,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Instant => "crash: at an instant",
            Self::BeforeAppend => "crash: before a journal append",
            Self::AppendedUnsynced => "crash: journal appended, not synced",
            Self::Synced => "crash: journal synced",
            Self::FileCreated => "crash: journal file made",
            Self::FileRemoved => "crash: journal file removed",
            Self::BeforeTrigger => "crash: before a trigger",
            Self::TriggerAccepted => "crash: trigger accepted",
            Self::TriggerAnswered => "crash: trigger answered",
            Self::BeforeDirect => "crash: before a direct call",
            Self::DirectAccepted => "crash: direct call accepted",
            Self::DirectAnswered => "crash: direct call answered",
            Self::FreeAnswered => "crash: free call answered",
            Self::BeforeStore => "crash: before a store call",
            Self::StoreCommitted => "crash: store committed",
        }
    }
}

/// Kills a process at the n-th time it reaches a point.
#[derive(Debug, Default)]
pub struct Fuse {
    armed: Option<(Point, u64)>,
    reached: Mutex<BTreeMap<Point, u64>>,
    burnt: AtomicBool,
    notify: Notify,
}

impl Fuse {
    /// `None`: this process lives as long as it likes.
    pub fn new(armed: Option<(Point, u64)>) -> Self {
        Self { armed, ..Self::default() }
    }

    /// The process is at this point. True: it is dead.
    pub fn hit(&self, point: Point) -> bool {
        if self.is_burnt() {
            return true;
        }
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        let count = reached.entry(point).or_default();
        *count += 1;
        if self.armed == Some((point, *count)) {
            self.burn();
        }
        self.is_burnt()
    }

    pub fn burn(&self) {
        self.burnt.store(true, Ordering::SeqCst);
        self.notify.notify_one();
    }

    pub fn is_burnt(&self) -> bool {
        self.burnt.load(Ordering::SeqCst)
    }

    /// Waits for the death.
    pub async fn burning(&self) {
        while !self.is_burnt() {
            self.notify.notified().await;
        }
    }
}
