//! From a snapshot id to settled rows: when to poll, when to download, what to ask again.

use std::time::Duration;

use tokio::time::Instant;

use super::{Chunk, RETRIGGERS, ROW_RETRIES, Work};
use crate::domain::{MicroUsd, Outcome, RunStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Level;
use crate::http::HttpResponse;
use crate::http::limit::Permit;
use crate::http::retry::CallKind;
use crate::journal::Submission;
use crate::pipeline::boards::{Board, Opened};
use crate::pipeline::call::Rules;
use crate::pipeline::lost::LIST_MARGIN_MS;
use crate::pipeline::note::Note;
use crate::pipeline::work::{Done, Job, Ticket};
use crate::providers::{Ask, Download, Listed, Progress};

/// Share of the elapsed time between two polls of one snapshot.
const POLL_SHARE: f64 = 0.05;
/// The same where one list call serves all: as many requests find each snapshot sooner.
const LIST_POLL_SHARE: f64 = 0.01;
/// Polls after the first 429: from here, × 1.5, to the second.
const SLOW_POLL: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));
/// A snapshot that is not found this soon after its trigger is not known yet, rather than gone.
const NOT_KNOWN_YET: Duration = Duration::from_secs(60);
/// Downloads that may be "not ready" after the progress said ready.
const DOWNLOAD_TRIES: u32 = 30;
/// Between two such downloads when the provider gives no hint.
const DOWNLOAD_WAIT: Duration = Duration::from_secs(2);

impl Work {
    /// Waits for a snapshot and settles its rows. Returns what is to be asked again. The place is held until then.
    pub(super) async fn fetch(&self, submission: Submission, chunk: Chunk, resumed: bool, _permit: Permit) -> Vec<Chunk> {
        let Some(id) = submission.snapshot_id.clone() else { return Vec::new() };
        let asks: Vec<Ask> = chunk.jobs.iter().map(|job| job.ask.clone()).collect();
        match self.wait_and_download(&id, &asks, submission.created_at_ms, resumed).await {
            Ok(outcomes) => {
                self.pair.account.limits.calls.succeeded();
                self.settle_rows(submission, chunk, outcomes).await
            }
            Err(error) if matches!(error.kind, ErrorKind::SnapshotFailed | ErrorKind::SnapshotGone | ErrorKind::Record) => {
                // Failed: it ended without data and without a charge. Gone, or somebody else's: nobody can say what ours was charged.
                let lost = |ask: &Ask| match error.kind {
                    ErrorKind::SnapshotGone | ErrorKind::Record => self.pair.provider.worst_case(ask),
                    _ => MicroUsd::ZERO,
                };
                let failed = |ask| Outcome { maybe_charged_micro_usd: lost(ask), ..Outcome::failed(error.clone()) };
                let outcomes = asks.iter().map(failed).collect();
                self.settle_rows(submission, chunk, outcomes).await
            }
            Err(error) => {
                // Still there, still ours: the journal keeps it for the next start.
                let mut error = error;
                error.message =
                    format!("snapshot {id} is not fetched yet ({}); a resume fetches it without paying again", error.message);
                self.session.totals.error(error.clone());
                self.warn(error.to_string());
                for job in chunk.jobs {
                    self.leave_open(job, error.clone()).await;
                }
                Vec::new()
            }
        }
    }

    async fn wait_and_download(&self, id: &str, asks: &[Ask], created_at_ms: i64, resumed: bool) -> Result<Vec<Outcome>> {
        let settings = &self.session.settings.datasets;
        let model = self.pair.provider.model();
        let opened = Opened::new(self.session.boards.board(model));
        let began = Instant::now();
        let deadline = began + Duration::from_millis(settings.snapshot_deadline_ms);
        let first = self.session.learned.first_poll(model).unwrap_or(Duration::from_millis(settings.first_poll_ms));
        let mut wait = if resumed { Duration::ZERO } else { first };
        let mut slow = SLOW_POLL.0;
        loop {
            self.wait(wait).await?;
            match self.progress(id, created_at_ms, &opened.0).await {
                Ok(Progress::Ready) => break,
                Ok(Progress::Failed(words)) => {
                    self.warn(format!("snapshot {id} ended without data: {words}")); // its id stays out of the results
                    return Err(Error::new(ErrorKind::SnapshotFailed, format!("the snapshot ended without data: {words}")));
                }
                Ok(Progress::Pending) => {}
                Err(error) if is_not_known_yet(&error) && self.session.age(created_at_ms) < NOT_KNOWN_YET => {}
                Err(error) => return Err(error),
            }
            if Instant::now() >= deadline {
                return Err(Error::new(ErrorKind::Deadline, format!("not ready after {:.0} s", began.elapsed().as_secs_f64())));
            }
            let share = if opened.0.is_listed() { LIST_POLL_SHARE } else { POLL_SHARE };
            wait = Duration::from_millis(settings.min_poll_ms).max(began.elapsed().mul_f64(share));
            let limits = &self.pair.account.limits;
            if limits.is_slow() {
                wait = wait.max(slow) * limits.poll_factor();
                slow = slow.mul_f64(1.5).min(SLOW_POLL.1);
            }
        }
        if !resumed {
            self.session.learned.took(model, began.elapsed());
        }
        self.download(id, asks).await
    }

    /// Waits, unless the grace after a stop is over.
    async fn wait(&self, wait: Duration) -> Result<()> {
        tokio::select! {
            biased;
            () = tokio::time::sleep(wait) => Ok(()),
            () = self.session.abort.cancelled() => Err(Error::new(ErrorKind::Cancelled, "the run was stopped and its grace is over")),
        }
    }

    /// Where the snapshot stands: asked alone, or read from the shared list when many are open.
    async fn progress(&self, id: &str, created_at_ms: i64, board: &Board) -> Result<Progress> {
        let fresh = Duration::from_millis(self.session.settings.datasets.min_poll_ms);
        if board.is_listed() {
            let mut listed = board.listed.lock().await;
            if listed.as_ref().is_none_or(|(at, _)| at.elapsed() >= fresh) {
                let list = self.list(created_at_ms - LIST_MARGIN_MS).await?;
                *listed = Some((Instant::now(), list.into_iter().map(|line| (line.id, line.progress)).collect()));
            }
            if let Some(progress) = listed.as_ref().and_then(|(_, list)| list.get(id)) {
                return Ok(progress.clone());
            }
        }
        let protocol = self.protocol()?;
        self.free(protocol.progress(id)?, |reply| protocol.decode_progress(&reply)).await
    }

    /// Submissions of the dataset since then.
    pub(super) async fn list(&self, from_ms: i64) -> Result<Vec<Listed>> {
        let protocol = self.protocol()?;
        self.free(protocol.list(from_ms)?, |reply| protocol.decode_list(&reply)).await
    }

    async fn download(&self, id: &str, asks: &[Ask]) -> Result<Vec<Outcome>> {
        let protocol = self.protocol()?;
        for _ in 0..DOWNLOAD_TRIES {
            let request = protocol.download(id)?;
            match self.free(request, |reply| protocol.decode_download(asks, &reply)).await? {
                Download::Rows { received, foreign, .. } if received > 0 && foreign >= received => {
                    self.warn(format!(
                        "snapshot {id} answers other questions: the provider named it for a submission that is not its own"
                    ));
                    let words = "the provider named a snapshot that answers other questions; what became of these is not known";
                    return Err(Error::new(ErrorKind::Record, words).with(|context| context.maybe_charged = true));
                }
                Download::Rows { outcomes, received, foreign } => {
                    if received != asks.len() || foreign > 0 {
                        let foreign =
                            if foreign > 0 { format!(" ({foreign} of them belong to no question)") } else { String::new() };
                        self.warn(format!(
                            "Batch returned {received} responses but expected {}{foreign}: settled row by row",
                            asks.len()
                        ));
                    }
                    return Ok(outcomes);
                }
                Download::NotReady(hint) => {
                    let least = Duration::from_millis(self.session.settings.datasets.min_poll_ms);
                    self.wait(hint.map_or(DOWNLOAD_WAIT, Duration::from_millis).max(least)).await?;
                }
            }
        }
        Err(Error::new(ErrorKind::Deadline, format!("ready, but not downloadable after {DOWNLOAD_TRIES} tries")))
    }

    /// A call that costs nothing.
    pub(super) async fn free<T>(
        &self,
        request: crate::http::HttpRequest,
        mut read: impl FnMut(HttpResponse) -> Result<T>,
    ) -> Result<T> {
        let protocol = self.protocol()?;
        let read = |reply: HttpResponse| if reply.is_success() { read(reply) } else { Err(protocol.error(&[], &reply)) };
        let rules = Rules { kind: CallKind::Free, cap: None, note: Note::None, purse: None };
        match self.session.call(&self.pair.account, rules, &request, read).await {
            Ok(called) => Ok(called.value),
            Err(failure) => Err(failure.error),
        }
    }

    /// Sends the rows to the store. What is left of a failed batch (half of its rows or more failed, and may succeed) is asked
    /// once more, in smaller submissions; single failed rows wait for a resume, so that a run makes no more calls than planned.
    async fn settle_rows(&self, submission: Submission, chunk: Chunk, outcomes: Vec<Outcome>) -> Vec<Chunk> {
        let found = chunk.jobs.into_iter().zip(outcomes).filter(|(job, _)| job.wanted);
        let (jobs, outcomes): (Vec<Job>, Vec<Outcome>) = found.unzip();
        let chunk = Chunk { jobs, ..chunk };
        self.correct_budget(&chunk.jobs, &outcomes);
        let finished_ms = self.session.context.clock.now_ms();
        let (mut rows, mut again) = (Vec::new(), Vec::new());
        let count = chunk.jobs.len();
        let failed = outcomes.iter().filter(|outcome| may_succeed(outcome)).count();
        let retries_left = if failed * 2 >= count { chunk.retries_left } else { 0 };
        for (job, mut outcome) in chunk.jobs.into_iter().zip(outcomes) {
            outcome.attempts = 1 + u32::from(ROW_RETRIES - chunk.retries_left.min(ROW_RETRIES));
            outcome.started_at_ms = submission.created_at_ms;
            outcome.finished_at_ms = finished_ms;
            match asked_again(&job, &outcome, retries_left, self.pair.provider.surface()) {
                Some(job) => again.push(job),
                None => rows.push((job, outcome)),
            }
        }
        self.log(format!("Batch completed: {} questions processed", rows.len()));
        if rows.is_empty() {
            self.close(&submission.id).await;
        } else {
            let ticket = Ticket::new(submission.id, rows.len());
            for (job, outcome) in rows {
                let error = outcome.error.map(|error| super::with_context(error, self.pair.provider.as_ref(), &job.ask));
                let outcome = Ok(Outcome { error, ..outcome });
                self.send(Done { job, outcome, ticket: Some(ticket.clone()) }).await;
            }
        }
        if again.is_empty() {
            return Vec::new();
        }
        self.warn(format!("{} of {count} rows failed and are asked again", again.len()));
        let size = (count / 2).clamp(1, again.len());
        let mut chunks = Vec::new();
        while !again.is_empty() {
            let rest = again.split_off(size.min(again.len()));
            let jobs = std::mem::replace(&mut again, rest);
            chunks.push(Chunk { jobs, retries_left: chunk.retries_left - 1, retriggers_left: RETRIGGERS });
        }
        chunks
    }

    /// The trigger (or the take-over from the journal) booked the worst case; the rows tell the charge, or that it is not known: then
    /// the worst case stays booked.
    pub(super) fn correct_budget(&self, jobs: &[Job], outcomes: &[Outcome]) {
        let worst = |job: &Job| self.pair.provider.worst_case(&job.ask);
        let charge = |(job, outcome): (&Job, &Outcome)| {
            outcome.cost_micro_usd.unwrap_or_else(|| worst(job)).plus(outcome.maybe_charged_micro_usd)
        };
        let booked: MicroUsd = jobs.iter().map(worst).sum();
        let charged: MicroUsd = jobs.iter().zip(outcomes).map(charge).sum();
        if let Some(over) = self.session.budget.correct_charge(charged, booked) {
            let dearest = jobs.iter().zip(outcomes).max_by_key(|pair| charge(*pair));
            let cell = dearest.map_or_else(String::new, |(job, _)| job.ask.key.to_string());
            self.session.over_reserved(&self.pair.stop, self.pair.provider.model(), &cell, over);
        }
    }

    pub(super) async fn close(&self, submission: &str) {
        if let Err(error) = self.session.journal.closed(submission).await {
            self.session.host.log(Level::Error, error.to_string());
        }
    }
}

/// A snapshot that the provider does not know may be too new; one that it calls expired is not.
fn is_not_known_yet(error: &Error) -> bool {
    error.kind == ErrorKind::SnapshotGone && error.context.code.as_deref() != Some("snapshot_expired")
}

/// True for a row that failed in a way another try may mend.
fn may_succeed(outcome: &Outcome) -> bool {
    let kind = outcome.error.as_ref().map(|error| error.kind);
    outcome.status == RunStatus::Failed && matches!(kind, Some(ErrorKind::Record | ErrorKind::SnapshotFailed))
}

/// The job to ask again, when the row failed in a way that another try may mend.
fn asked_again(job: &Job, outcome: &Outcome, retries_left: u8, surface: &str) -> Option<Job> {
    let error = outcome.error.as_ref()?;
    // A failed row that was, or may have been, charged is stored, so that its charge stands in a row; a resume asks it again.
    let charged = (outcome.cost_micro_usd, outcome.maybe_charged_micro_usd) != (Some(MicroUsd::ZERO), MicroUsd::ZERO);
    if retries_left == 0 || !may_succeed(outcome) || charged {
        return None;
    }
    let job = job.clone();
    // A country can make Perplexity's page fail (seen by others); the second try goes without it, which the outcome shows.
    let location_suspected =
        surface == "perplexity" && error.context.code.as_deref() == Some("selector_timeout") && job.ask.location.is_some();
    Some(if location_suspected { job.without_location() } else { job })
}
