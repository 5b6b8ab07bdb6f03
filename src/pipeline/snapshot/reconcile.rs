//! A submission whose snapshot id was lost: does it exist at the provider? Looks in the provider's list, compares inputs, and adopts,
//! buys again, or holds. Never buys while it may still exist.

use super::{Chunk, Work};
use crate::domain::MicroUsd;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Level;
use crate::http::limit::Permit;
use crate::journal::Submission;
use crate::pipeline::account::Account;
use crate::pipeline::lost::{CREATED_WITHIN_MS, LIST_MARGIN_MS, Look, Lost, Resolved};
use crate::pipeline::work::Job;
use crate::providers::{Ask, Progress};

/// A lost submission of a pair.
struct LostSnapshot<'a> {
    work: &'a Work,
    submission: &'a Submission,
    asks: &'a [Ask],
}

impl Lost for LostSnapshot<'_> {
    fn account(&self) -> &Account {
        &self.work.pair.account
    }

    fn created_at_ms(&self) -> i64 {
        self.submission.created_at_ms
    }

    fn warn(&self, line: String) {
        self.work.warn(format!("the lost submission of {} questions {line}", self.asks.len()));
    }

    async fn look(&self) -> Result<Look> {
        self.work.look(self.submission, self.asks).await
    }

    async fn adopt(&self, found: Vec<String>) -> Result<Option<String>> {
        self.work.adopt_one(self.submission, found).await
    }

    async fn lose(&self, what: &str) -> Result<()> {
        self.work.lose(self.asks.len(), what).await
    }
}

impl Work {
    /// Finds out about a lost submission and goes on with it. Returns what is to be asked again.
    pub(super) async fn resolve(&self, submission: Submission, chunk: Chunk, permit: Permit) -> Vec<Chunk> {
        let asks: Vec<Ask> = chunk.jobs.iter().map(|job| job.ask.clone()).collect();
        match self.session.seek(&LostSnapshot { work: self, submission: &submission, asks: &asks }).await {
            Ok(Resolved::Adopted(id)) => {
                let submission = Submission { snapshot_id: Some(id), ..submission };
                self.fetch(submission, chunk, true, permit).await
            }
            Ok(Resolved::BuyAgain) => self.buy_again(&submission, chunk).await,
            Ok(Resolved::Held(error)) => self.hold(chunk, error).await,
            // The run was stopped meanwhile: the journal keeps the intent, the next start looks again.
            Err(error) => self.leave_all_open(chunk, &error).await,
        }
    }

    async fn buy_again(&self, submission: &Submission, chunk: Chunk) -> Vec<Chunk> {
        self.close(&submission.id).await;
        // Rows that the store has already are not bought a second time. Of the others, what a stored row was charged stays.
        let jobs: Vec<Job> = chunk.jobs.into_iter().filter(|job| job.wanted).collect();
        let booked: MicroUsd = jobs.iter().map(Job::comes_again).sum();
        let jobs = jobs.into_iter().map(|job| Job { carried: job.counted, ..job }).collect();
        let chunk = Chunk { jobs, ..chunk };
        self.session.budget.correct(MicroUsd(booked.0 - self.worst_of(&chunk).0)); // the next trigger reserves it anew
        if chunk.retriggers_left == 0 {
            let error = Error::new(ErrorKind::OutcomeUnknown, "triggered twice, and neither submission exists at the provider");
            self.session.totals.error(error.clone());
            return self.leave_all_open(chunk, &error).await;
        }
        vec![Chunk { retriggers_left: chunk.retriggers_left - 1, ..chunk }]
    }

    async fn hold(&self, chunk: Chunk, error: Error) -> Vec<Chunk> {
        let count = chunk.jobs.len();
        let error = Error {
            kind: ErrorKind::OutcomeUnknown,
            message: format!(
                "{}. A submission of {count} questions to {} may exist at the provider and may have been charged; it is held, not bought \
                 again (on_unknown decides)",
                error.message,
                self.pair.provider.model()
            ),
            ..error.with(|context| context.maybe_charged = true)
        };
        self.session.totals.held(self.worst_of(&chunk).0);
        self.session.totals.error(error.clone());
        self.session.host.log(Level::Error, format!("{} {error}", self.pair.label()));
        self.leave_all_open(chunk, &error).await
    }

    fn worst_of(&self, chunk: &Chunk) -> MicroUsd {
        chunk.jobs.iter().filter(|job| job.wanted).map(|job| self.pair.provider.worst_case(&job.ask)).sum()
    }

    /// Adopts the oldest, and books the others as bought twice. `None`: somebody else was quicker, look again.
    async fn adopt_one(&self, submission: &Submission, found: Vec<String>) -> Result<Option<String>> {
        let mut adopted = None;
        for id in found {
            if !self.session.claim_snapshot(&id) {
                continue;
            }
            if adopted.is_some() {
                self.lose(submission.cells.len(), &format!("exists twice at the provider; {id} is the duplicate")).await?;
                continue;
            }
            if let Err(error) = self.session.journal.submitted(&submission.id, &id).await {
                self.journal_failed(error);
            }
            self.log(format!("Snapshot {id} is the lost submission of {} questions: adopted", submission.cells.len()));
            adopted = Some(id);
        }
        Ok(adopted)
    }

    /// Books `questions` records that were bought and lead to no row.
    async fn lose(&self, questions: usize, what: &str) -> Result<()> {
        let amount = MicroUsd(self.pair.provider.price().record.unwrap_or(0)).times(questions as u64);
        let message =
            format!("a submission of {questions} questions to {} {what}: ${amount} may be lost", self.pair.provider.model());
        let error = Error::new(ErrorKind::OutcomeUnknown, message).with(|context| context.maybe_charged = true);
        self.session.host.log(Level::Error, format!("{} {}", self.pair.label(), error.message));
        self.session.totals.error(error);
        self.session.budget.correct(amount);
        self.session.book_overhead(Some(self.pair.provider.model()), (0, amount.0)).await
    }

    async fn look(&self, submission: &Submission, asks: &[Ask]) -> Result<Look> {
        let newest = submission.created_at_ms + CREATED_WITHIN_MS;
        let mut listed = self.list(submission.created_at_ms - LIST_MARGIN_MS).await?;
        listed.retain(|line| {
            let in_time = line.created_at_ms.is_none_or(|created| created <= newest);
            in_time && !matches!(line.progress, Progress::Failed(_)) && !self.session.is_known_snapshot(&line.id)
        });
        listed.sort_by_key(|line| (line.created_at_ms.unwrap_or(i64::MAX), line.id.clone()));
        let (mut found, mut unclear) = (Vec::new(), None);
        for line in listed {
            match self.inputs(&line.id, asks).await {
                // Numbered inputs in another order are another batch's.
                Ok(inputs) if inputs.are_all(asks.len()) && (inputs.are_in_order() || !inputs.numbered) => found.push(line.id),
                Ok(_) => {}
                Err(error) if error.kind == ErrorKind::Cancelled => return Err(error),
                Err(error) => {
                    unclear = Some(Error { message: format!("inputs of snapshot {}: {}", line.id, error.message), ..error })
                }
            }
        }
        Ok(match (found.is_empty(), unclear) {
            (false, _) => Look::Found(found),
            (true, Some(error)) => Look::Unclear(error),
            (true, None) => Look::Nothing,
        })
    }

    /// What a snapshot was asked, told by these asks.
    pub(super) async fn inputs(&self, id: &str, asks: &[Ask]) -> Result<crate::providers::Inputs> {
        let protocol = self.protocol()?;
        self.free(protocol.inputs(id)?, |reply| protocol.match_inputs(asks, &reply)).await
    }
}
