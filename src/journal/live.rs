//! Which models of which batch have a journal open in this process. A session that was cancelled ends a moment after its caller is told;
//! a start that follows at once must wait for its file, or it would not find what the session had paid for.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// An ended session that has not let go by then is stuck; its file stays locked and is left alone.
const PATIENCE: Duration = Duration::from_secs(5);

/// Folder, batch and model.
type Key = (PathBuf, String, String);

static OPEN: Mutex<Option<HashMap<Key, usize>>> = Mutex::new(None);
static CHANGED: Condvar = Condvar::new();

/// The right to have the journal of these models open. Given back when dropped.
#[derive(Debug)]
pub(super) struct Claim {
    keys: Vec<Key>,
}

/// Waits until no journal of these models is open in this process, and claims them.
pub(super) fn claim(folder: &Path, batch_id: &str, models: &[String]) -> Claim {
    let keys: Vec<Key> = models.iter().map(|model| (folder.to_owned(), batch_id.to_owned(), model.clone())).collect();
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let busy =
        |open: &mut Option<HashMap<Key, usize>>| open.as_ref().is_some_and(|open| keys.iter().any(|key| open.contains_key(key)));
    let (mut open, _) = CHANGED.wait_timeout_while(open, PATIENCE, busy).unwrap_or_else(PoisonError::into_inner);
    for key in &keys {
        *open.get_or_insert_default().entry(key.clone()).or_default() += 1;
    }
    drop(open);
    Claim { keys }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = open.get_or_insert_default();
        for key in &self.keys {
            if let Some(count) = counts.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(key);
                }
            }
        }
        CHANGED.notify_all();
    }
}
