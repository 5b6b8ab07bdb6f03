//! A submission whose id was lost, whoever takes it: how long it is looked for at the provider, and what then. Never lets it be
//! bought again while it may still exist. What a look is, and what is bought, is told by whoever asks.

use std::time::Duration;

use tokio::time::Instant;

use super::account::Account;
use super::session::Session;
use crate::config::OnUnknown;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Journal;

/// Until the second look at the list; doubled after each further one, up to the next constant.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A submission that was made later than this after the intent is not the intent's: its call has ended long before.
pub(super) const CREATED_WITHIN_MS: i64 = 15 * 60 * 1000;
/// The list reaches back this far before the submission, for clocks that differ.
pub(super) const LIST_MARGIN_MS: i64 = 10 * 60 * 1000;

/// What became of a lost submission.
pub(super) enum Resolved {
    /// It is this one of the provider's.
    Adopted(String),
    /// It is certain (or the user's wish) that it is bought anew.
    BuyAgain,
    /// It cannot be told; nothing is bought for its cells.
    Held(Error),
}

/// One look at the provider's list.
pub(super) enum Look {
    /// Ids that are this submission, oldest first.
    Found(Vec<String>),
    /// None, and none that could not be read.
    Nothing,
    /// None, but this could not be read.
    Unclear(Error),
    /// There is one that may be it, and that time will tell: the grace does not end the looking.
    Later,
}

/// A lost submission as it is looked for.
pub(super) trait Lost: Sync {
    /// The account whose stop ends the looking.
    fn account(&self) -> &Account;
    /// When its call was sent, milliseconds since 1970 UTC.
    fn created_at_ms(&self) -> i64;
    /// Says something about it.
    fn warn(&self, line: String);
    /// Looks.
    fn look(&self) -> impl Future<Output = Result<Look>> + Send;
    /// Takes the first that nobody has, and books the others as bought twice. `None`: somebody else was quicker.
    fn adopt(&self, found: Vec<String>) -> impl Future<Output = Result<Option<String>>> + Send;
    /// Books it as bought and lost; `what` in words.
    fn lose(&self, what: &str) -> impl Future<Output = Result<()>> + Send;
}

impl Session {
    /// Finds out about a lost submission, as `on_unknown` says.
    ///
    /// # Errors
    /// The run was stopped before it could be told.
    pub(super) async fn seek(&self, lost: &impl Lost) -> Result<Resolved> {
        match self.settings.on_unknown {
            OnUnknown::Hold => {
                return Ok(Resolved::Held(Error::new(ErrorKind::OutcomeUnknown, "its snapshot id was lost")));
            }
            OnUnknown::Retrigger => {
                lost.lose("was lost and is bought again, as on_unknown says").await?;
                return Ok(Resolved::BuyAgain);
            }
            OnUnknown::Reconcile => {}
        }
        self.claim_known().await;
        let grace = Duration::from_millis(self.settings.unknown_grace_ms);
        let (began, before) = (Instant::now(), self.age(lost.created_at_ms()));
        let mut wait = FIRST_WAIT;
        loop {
            // Taken before the look: what it does not show is missing at this age, or older.
            let age = before + began.elapsed();
            match lost.look().await {
                Ok(Look::Found(found)) => {
                    if let Some(id) = lost.adopt(found).await? {
                        return Ok(Resolved::Adopted(id));
                    }
                }
                Err(error) if error.kind == ErrorKind::Cancelled || self.stop.is_cancelled() => return Err(error),
                Ok(Look::Nothing) if age >= grace => {
                    lost.warn(format!(
                        "is not in the provider's list {:.0} s after it was sent: it is bought again",
                        age.as_secs_f64()
                    ));
                    return Ok(Resolved::BuyAgain);
                }
                Ok(Look::Unclear(error)) | Err(error) if age >= grace => return Ok(Resolved::Held(error)),
                Ok(Look::Nothing | Look::Unclear(_) | Look::Later) | Err(_) => {}
            }
            let left = grace.saturating_sub(age);
            let next = if left.is_zero() { wait } else { wait.min(left) };
            self.pause(lost.account(), next).await?;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Waits, unless the run or the provider is stopped.
    pub(super) async fn pause(&self, account: &Account, wait: Duration) -> Result<()> {
        tokio::select! {
            biased;
            () = tokio::time::sleep(wait) => Ok(()),
            () = self.stop.cancelled() => {
                Err(Error::new(ErrorKind::Cancelled, "the run was stopped meanwhile"))
            }
            () = account.halted.cancelled() => {
                Err(account.stopped().unwrap_or_else(|| Error::new(ErrorKind::Cancelled, "the provider was stopped")))
            }
        }
    }

    /// How long ago this was.
    pub(super) fn age(&self, created_at_ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(self.context.clock.now_ms() - created_at_ms).unwrap_or(0))
    }

    /// Submissions that other journals of this host know are theirs.
    pub(super) async fn claim_known(&self) {
        let folder = std::path::PathBuf::from(&self.settings.journal);
        if folder.as_os_str().is_empty() {
            return;
        }
        let disk = self.context.disk.clone();
        let ids = if disk.is_instant() {
            Journal::snapshot_ids(disk.as_ref(), &folder)
        } else {
            let read = tokio::task::spawn_blocking(move || Journal::snapshot_ids(disk.as_ref(), &folder));
            read.await.unwrap_or_default()
        };
        for id in ids {
            self.claim_snapshot(&id);
        }
    }
}
