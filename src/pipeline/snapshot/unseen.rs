//! A model run that was worked on elsewhere, with a journal that cannot be seen here: what it bought and did not store must be in the
//! provider's list. Adopts the snapshots whose inputs are all open cells, holds what is unclear, and gives back what is certain to be open.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{InFlight, Work, without_location};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Level;
use crate::journal::Submission;
use crate::pipeline::lost::LIST_MARGIN_MS;
use crate::pipeline::work::Job;
use crate::providers::{Ask, Listed, Progress};

/// Between two looks at the list.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// What is known of the work that was done elsewhere.
#[derive(Debug, Clone)]
pub(in crate::pipeline) struct Unseen {
    /// When it began, milliseconds since 1970 UTC.
    pub(in crate::pipeline) since_ms: i64,
    /// When its process was last seen alive, milliseconds since 1970 UTC.
    pub(in crate::pipeline) last_alive_ms: i64,
    /// The questions of this pair that are stored: snapshots of theirs are in the list, too.
    pub(in crate::pipeline) stored: Vec<Ask>,
    /// The questions that are stored for other locations: a snapshot that asks them without a location may be of one of those. `None`
    /// where the plan asks from anywhere, too: then such a snapshot is of that.
    pub(in crate::pipeline) elsewhere: Option<HashSet<Arc<str>>>,
}

/// What came of it.
pub(super) struct Seen {
    pub(super) adopted: Vec<InFlight>,
    /// To be asked.
    pub(super) open: Vec<Job>,
}

impl Work {
    /// Looks until what was triggered last must be listed. Nothing is asked of the pair before.
    pub(super) async fn adopt(&self, mut unseen: Unseen, mut open: Vec<Job>) -> Seen {
        let mut adopted = Vec::new();
        if open.is_empty() {
            self.session.found_unseen(self.pair.provider.model());
            return Seen { adopted, open };
        }
        let mut unclear = false;
        self.log("this model was worked on elsewhere, with another journal: what it bought is looked for at the provider".into());
        self.session.claim_known().await;
        let grace = Duration::from_millis(self.session.settings.unknown_grace_ms);
        let (began, before) = (Instant::now(), self.session.age(unseen.last_alive_ms));
        loop {
            let age = before + began.elapsed();
            let looked = self.look_for_unseen(&mut unseen, &mut open, &mut adopted).await;
            let outcome = match looked.inspect(|some_held| unclear |= *some_held) {
                Ok(_) if age >= grace => {
                    if !unclear {
                        self.session.found_unseen(self.pair.provider.model());
                    }
                    return Seen { adopted, open };
                }
                Ok(_) => {
                    self.session
                        .pause(&self.pair.account, LOOK_EVERY.min(grace.saturating_sub(age).max(Duration::from_millis(1))))
                        .await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                self.hold_unseen(open, &error).await;
                return Seen { adopted, open: Vec::new() };
            }
        }
    }

    async fn hold_unseen(&self, open: Vec<Job>, error: &Error) {
        let message = format!(
            "{} questions are held: what another host bought for them cannot be told ({}); a later start looks again",
            open.len(),
            error.message
        );
        let error = Error { message, ..error.clone() };
        if error.kind != ErrorKind::Cancelled {
            self.session.host.log(Level::Error, format!("{} {}", self.pair.label(), error.message));
            self.session.totals.error(error.clone());
        }
        for job in open {
            self.leave_open(job, error.clone()).await;
        }
    }

    /// One look. Moves the jobs of adopted snapshots from `open` to `adopted`, and leaves those of unclear ones open for a later start:
    /// true when there were any.
    async fn look_for_unseen(&self, unseen: &mut Unseen, open: &mut Vec<Job>, adopted: &mut Vec<InFlight>) -> Result<bool> {
        let mut listed = self.list(unseen.since_ms - LIST_MARGIN_MS).await?;
        listed.retain(|line| !matches!(line.progress, Progress::Failed(_)));
        listed.sort_by_key(|line| (line.created_at_ms.unwrap_or(i64::MAX), line.id.clone()));
        let mut unclear = self.match_unseen(&listed, true, unseen, open, adopted).await?;
        // Only then what was asked without its location, which the provider may have refused: a snapshot with it tells more.
        if unseen.elsewhere.is_some() {
            unclear |= self.match_unseen(&listed, false, unseen, open, adopted).await?;
        }
        Ok(unclear)
    }

    /// The same for the asks with their location (`located`), or without it.
    async fn match_unseen(
        &self,
        listed: &[Listed],
        located: bool,
        unseen: &mut Unseen,
        open: &mut Vec<Job>,
        adopted: &mut Vec<InFlight>,
    ) -> Result<bool> {
        let mut unclear = false;
        let sent = |ask: &Ask| Ask { location: ask.location.clone().filter(|_| located), ..ask.clone() };
        for line in listed {
            if self.session.is_known_snapshot(&line.id) {
                continue;
            }
            // Oldest first: a snapshot whose questions are all stored is where they came from.
            let asks: Vec<Ask> = unseen.stored.iter().map(sent).collect();
            let stored = self.inputs(&line.id, &asks).await?;
            if !stored.asks.is_empty() && stored.asks.iter().all(Option::is_some) {
                if self.session.claim_snapshot(&line.id) {
                    remove(&mut unseen.stored, &stored.asks);
                }
                continue;
            }
            let asks: Vec<Ask> = open.iter().map(|job| sent(&job.ask)).collect();
            let found = self.inputs(&line.id, &asks).await?.asks;
            if found.iter().all(Option::is_none) {
                continue; // it is about something else
            }
            let elsewhere = unseen.elsewhere.as_ref().filter(|_| !located);
            let is_elsewhere = |ask: &Ask| elsewhere.is_some_and(|stored| stored.contains(&ask.question));
            let ours = found.iter().all(|place| place.and_then(|place| asks.get(place)).is_some_and(|ask| !is_elsewhere(ask)));
            // What is unclear without its location may still be clear to the pair of another one.
            if (ours || located) && !self.session.claim_snapshot(&line.id) {
                continue;
            }
            let jobs = remove(open, &found);
            if ours {
                let jobs = if located { jobs } else { jobs.into_iter().map(Job::without_location).collect() };
                adopted.push(self.adopted(line, jobs, unseen.since_ms).await?);
            } else {
                unclear = true;
                let what = if located { "" } else { ", without a location" };
                let error = Error::new(ErrorKind::OutcomeUnknown, format!("snapshot {} asks some of them{what}", line.id));
                self.hold_unseen(jobs, &error).await;
            }
        }
        Ok(unclear)
    }

    async fn adopted(&self, line: &Listed, jobs: Vec<Job>, since_ms: i64) -> Result<InFlight> {
        self.log(format!("Snapshot {} of another host has {} open questions: adopted", line.id, jobs.len()));
        let submission = Submission {
            id: self.session.context.clock.id(),
            model: self.pair.provider.model().to_owned(),
            cells: jobs.iter().filter_map(|job| job.cell.as_ref()).map(crate::domain::Cell::key).collect(),
            created_at_ms: line.created_at_ms.unwrap_or(since_ms),
            snapshot_id: Some(line.id.clone()),
            without_location: without_location(&jobs),
            carried: jobs.iter().map(|job| job.carried).collect(),
            extraction: None,
        };
        self.session.journal.intent(submission.clone()).await?;
        self.session.budget.correct(jobs.iter().map(|job| self.pair.provider.worst_case(&job.ask)).sum());
        Ok(InFlight { submission, jobs })
    }
}

/// Takes the named places out, in the order they are named.
fn remove<T>(from: &mut Vec<T>, places: &[Option<usize>]) -> Vec<T> {
    let mut slots: Vec<Option<T>> = from.drain(..).map(Some).collect();
    let taken = places.iter().flatten().filter_map(|place| slots.get_mut(*place).and_then(Option::take)).collect();
    from.extend(slots.into_iter().flatten());
    taken
}
