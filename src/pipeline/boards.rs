//! The last list of each dataset, shared by the snapshots that wait for it. Asks nothing itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::providers::Progress;

/// More open snapshots of a dataset than this are polled with one list call.
const LIST_ABOVE: usize = 5;

/// The last list of each dataset, shared by the snapshots that wait for it.
#[derive(Debug, Default)]
pub(super) struct Boards {
    boards: Mutex<HashMap<String, Arc<Board>>>,
}

/// One dataset.
#[derive(Debug, Default)]
pub(super) struct Board {
    open: AtomicUsize,
    pub(super) listed: tokio::sync::Mutex<Option<(Instant, HashMap<String, Progress>)>>,
}

impl Board {
    /// True while one list call for all is cheaper than a call for each.
    pub(super) fn is_listed(&self) -> bool {
        self.open.load(Ordering::Relaxed) > LIST_ABOVE
    }
}

impl Boards {
    pub(super) fn board(&self, model: &str) -> Arc<Board> {
        self.boards.lock().unwrap_or_else(PoisonError::into_inner).entry(model.to_owned()).or_default().clone()
    }
}

/// Counts an open snapshot.
#[derive(Debug)]
pub(super) struct Opened(pub(super) Arc<Board>);

impl Opened {
    pub(super) fn new(board: Arc<Board>) -> Self {
        board.open.fetch_add(1, Ordering::Relaxed);
        Self(board)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
