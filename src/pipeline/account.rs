//! A provider account within a run: its caps, its retry budget, and whether it was stopped.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::http::limit::AccountLimits;
use crate::http::retry::RetryBudget;

/// A provider account within a run.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) limits: Arc<AccountLimits>,
    pub(super) retries: RetryBudget,
    pub(super) stopped: Mutex<Option<Error>>,
    pub(super) halted: CancellationToken,
    /// Bright Data bans an address that ignores its 429s.
    pub(super) guarded: bool,
}

impl Account {
    /// Why the provider was stopped; `None` while it works.
    pub(super) fn stopped(&self) -> Option<Error> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
