//! Whether the store takes what it is given. While it does not, nothing that costs money is started: what is paid is safe in the
//! journal, and more would only pile up there. Calls no store; save.rs tells how its hand-overs went.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Failures in a row after which the store counts as ill. A call that did not return counts as that many.
pub(super) const ILL_AFTER: u32 = 3;

/// The hand-overs that fail at the moment, by the callback's name.
#[derive(Debug, Default)]
pub(super) struct StoreHealth {
    ill: Mutex<BTreeSet<String>>,
    /// Wakes who waits in the order in which they came (a watch channel wakes them in an order of chance).
    well: Notify,
}

impl StoreHealth {
    /// The callback keeps failing; true when that is new.
    pub(super) fn failing(&self, name: &str) -> bool {
        self.ill().insert(name.to_owned())
    }

    /// The callback took what it was given; true when it was failing before.
    pub(super) fn mended(&self, name: &str) -> bool {
        let mut ill = self.ill();
        let mended = ill.remove(name);
        if mended && ill.is_empty() {
            self.well.notify_waiters();
        }
        mended
    }

    /// True when nothing is failing.
    pub(super) fn is_well(&self) -> bool {
        self.ill().is_empty()
    }

    /// Returns when nothing is failing.
    pub(super) async fn well(&self) {
        loop {
            let well = self.well.notified(); // from here on a call of `notify_waiters` counts
            if self.is_well() {
                return;
            }
            well.await;
        }
    }

    fn ill(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.ill.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_well_again_when_the_last_failing_callback_is() {
        let health = StoreHealth::default();
        assert!(health.failing("save_question_runs") && !health.failing("save_question_runs"));
        assert!(health.failing("save_extractions"));
        assert!(health.mended("save_question_runs") && !health.is_well());
        assert!(health.mended("save_extractions") && !health.mended("save_extractions"));
        health.well().await;
    }
}
