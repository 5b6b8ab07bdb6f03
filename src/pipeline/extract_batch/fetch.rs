//! From the id of a provider's batch to the replies of its requests: when to poll, what to download, what to say meanwhile.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::settle::Replies;
use super::submit::custom_id;
use super::{Money, Waiting, Work};
use crate::domain::{CellKey, MicroUsd, QuestionRun};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Level;
use crate::journal::{Call, Submission};
use crate::providers::{BatchPhase, BatchState};

/// Share of the batch's age between two polls, up to the next constant.
const POLL_SHARE: f64 = 0.05;
const LONGEST_POLL: Duration = Duration::from_secs(60);
/// A batch that is not found this soon after it was made is not known yet, rather than gone.
const NOT_KNOWN_YET: Duration = Duration::from_secs(60);
/// Both vendors end a batch after a day; what has not ended an hour later waits for the next start.
const DEADLINE: Duration = Duration::from_secs(25 * 3_600);

impl Work {
    /// Goes on with a submission of an earlier start. `runs`: its answers that are not extracted yet; one that asks nothing any
    /// more, because the rules have changed since, waits too, for what its rows cost. Returns what is to be asked again.
    pub(super) async fn resume(self: Arc<Self>, submission: Submission, runs: Vec<Arc<QuestionRun>>) -> Vec<Waiting> {
        let worst = submission.extraction.as_ref().map_or(0, |requests| requests.worst_micro_usd);
        let waiting = runs.into_iter().map(|run| self.waiting(run)).collect();
        let money = Money::Booked(MicroUsd(worst));
        if submission.snapshot_id.is_some() {
            return self.fetch(submission, waiting, money, true).await;
        }
        self.resolve(submission, waiting, money).await
    }

    /// Waits for the batch and settles it. Returns what is to be asked again.
    pub(super) async fn fetch(
        &self,
        submission: Submission,
        waiting: Vec<Waiting>,
        money: Money<'_>,
        resumed: bool,
    ) -> Vec<Waiting> {
        let Some(id) = submission.snapshot_id.clone() else { return Vec::new() };
        match self.replies(&id, &submission, &waiting, resumed).await {
            Ok(replies) => self.settle(submission, waiting, replies, money).await,
            Err(error) if error.kind == ErrorKind::SnapshotGone => {
                let replies = Replies::lost(error);
                self.settle(submission, waiting, replies, money).await
            }
            Err(error) => {
                // Still there, still ours: the journal keeps it for the next start.
                money.keep(submission.extraction.map_or(MicroUsd::ZERO, |requests| MicroUsd(requests.worst_micro_usd)));
                let message =
                    format!("batch {id} is not fetched yet ({}); a resume fetches it without paying again", error.message);
                let error = Error { message, ..error };
                self.log(Level::Warning, error.to_string());
                self.session.totals.error(error);
                Vec::new()
            }
        }
    }

    async fn replies(&self, id: &str, submission: &Submission, waiting: &[Waiting], resumed: bool) -> Result<Replies> {
        let state = self.ended(id, submission.created_at_ms, resumed).await?;
        let mut replies = Replies::of(&state);
        let wanted = self.requests(submission, waiting);
        for file in &state.files {
            let reply = self.free(self.model.results(file)?, Ok).await.map_err(gone)?;
            self.model.decode_results(&reply, &mut |custom_id, line| replies.take(wanted.get(custom_id).copied(), line));
        }
        let all: usize = submission.extraction.as_ref().map_or(0, |requests| requests.calls.iter().map(Vec::len).sum());
        let odd = replies.told();
        self.log(Level::Info, format!("Batch {id} has ended: {} of {all} requests have a row{odd}", replies.rows));
        Ok(replies)
    }

    /// Every request of the submission by its `custom_id`, whether its reply is still of use or not: all of them are paid for. Its
    /// place is the answer's among `waiting`; those of answers that do not wait (extracted meanwhile) are numbered after them.
    fn requests(&self, submission: &Submission, waiting: &[Waiting]) -> HashMap<String, (usize, Call)> {
        let places: HashMap<&CellKey, usize> =
            waiting.iter().enumerate().map(|(place, answer)| (&answer.run.key, place)).collect();
        let calls = submission.extraction.as_ref().map(|requests| requests.calls.as_slice()).unwrap_or_default();
        let cells = submission.cells.iter().zip(calls).enumerate();
        let named = cells.flat_map(|(number, (key, calls))| {
            let place = places.get(key).copied().unwrap_or(waiting.len() + number);
            calls.iter().map(move |call| (custom_id(&submission.id, &self.batch_id, key, *call), (place, *call)))
        });
        named.collect()
    }

    /// Waits until the batch has ended.
    async fn ended(&self, id: &str, created_at_ms: i64, resumed: bool) -> Result<BatchState> {
        let settings = &self.session.settings.datasets;
        let mut wait = if resumed { Duration::ZERO } else { Duration::from_millis(settings.first_poll_ms) };
        let mut told = None;
        loop {
            self.session.pause(self.account(), wait).await?;
            let age = self.session.age(created_at_ms);
            match self.free(self.model.progress(id)?, |reply| self.model.decode_progress(&reply)).await.map_err(gone) {
                Ok(state) => match &state.phase {
                    BatchPhase::Ended => return Ok(state),
                    BatchPhase::Failed(words) => {
                        self.log(Level::Warning, format!("batch {id} was refused as a whole: {words}"));
                        return Ok(state);
                    }
                    BatchPhase::TooMuch(words) => {
                        self.log(Level::Warning, format!("batch {id} was refused, too much is enqueued: {words}"));
                        return Ok(state);
                    }
                    BatchPhase::Pending => {
                        if told != Some((state.done, state.total)) {
                            told = Some((state.done, state.total));
                            let total = if state.total == 0 { "?".to_owned() } else { state.total.to_string() };
                            self.log(Level::Info, format!("Batch {id}: {} of {total} requests done", state.done));
                        }
                    }
                },
                Err(error) if error.kind == ErrorKind::SnapshotGone && age < NOT_KNOWN_YET => {}
                Err(error) => return Err(error),
            }
            if age > DEADLINE {
                return Err(Error::new(ErrorKind::Deadline, format!("not ended after {:.0} h", age.as_secs_f64() / 3_600.0)));
            }
            wait = Duration::from_millis(settings.min_poll_ms).max(age.mul_f64(POLL_SHARE).min(LONGEST_POLL));
        }
    }
}

/// A batch or file that the provider does not know.
fn gone(error: Error) -> Error {
    let unknown = error.context.status_code == Some(404);
    if unknown { Error { kind: ErrorKind::SnapshotGone, ..error } } else { error }
}
