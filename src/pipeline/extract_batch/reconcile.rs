//! A submission whose batch id was lost: is there such a batch at the provider? Where the provider keeps our id of the submission
//! (OpenAI's metadata) the list tells. Else (Anthropic) only the `custom_id`s in the results of an ended batch do: a batch of as
//! many requests, made at the time, is waited for until it can be read.

use std::collections::HashSet;

use super::submit::custom_id;
use super::{Money, Waiting, Work};
use crate::domain::MicroUsd;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Level;
use crate::journal::Submission;
use crate::pipeline::account::Account;
use crate::pipeline::lost::{CREATED_WITHIN_MS, LIST_MARGIN_MS, Look, Lost, Resolved};
use crate::providers::{BatchPhase, ListedBatch};

/// Pages of the list that are read at most.
const MOST_PAGES: usize = 50;

struct LostBatch<'a> {
    work: &'a Work,
    submission: &'a Submission,
    /// Every `custom_id` of it.
    ids: HashSet<String>,
}

impl Work {
    /// Finds out about a lost submission and goes on with it. Returns what is to be asked again.
    pub(super) async fn resolve(&self, submission: Submission, waiting: Vec<Waiting>, money: Money<'_>) -> Vec<Waiting> {
        let requests = submission.extraction.as_ref();
        let worst = requests.map_or(MicroUsd::ZERO, |requests| MicroUsd(requests.worst_micro_usd));
        let calls = requests.map(|requests| requests.calls.as_slice()).unwrap_or_default();
        let cells = submission.cells.iter().zip(calls);
        let ids = cells.flat_map(|(key, calls)| calls.iter().map(move |call| (key, *call)));
        let ids = ids.map(|(key, call)| custom_id(&submission.id, &self.batch_id, key, call)).collect();
        let resolved = self.session.seek(&LostBatch { work: self, submission: &submission, ids }).await;
        match resolved {
            Ok(Resolved::Adopted(id)) => {
                let submission = Submission { snapshot_id: Some(id), ..submission };
                self.fetch(submission, waiting, money, true).await
            }
            Ok(Resolved::BuyAgain) => {
                if let Err(error) = self.session.journal.closed(&submission.id).await {
                    self.session.fail(error);
                }
                money.give_back(&self.session); // the next submission reserves it anew
                self.once_more(waiting)
            }
            Ok(Resolved::Held(error)) => {
                money.keep(worst);
                self.hold(&submission, worst, error);
                Vec::new()
            }
            // The run was stopped meanwhile: the journal keeps the intent, the next start looks again.
            Err(_) => {
                money.keep(worst);
                Vec::new()
            }
        }
    }

    fn once_more(&self, waiting: Vec<Waiting>) -> Vec<Waiting> {
        let (again, given_up): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|waiting| waiting.retriggers_left > 0);
        if !given_up.is_empty() {
            let message = "made twice, and neither batch exists at the provider; the answers stay unextracted";
            self.session.totals.error(Error::new(ErrorKind::OutcomeUnknown, message));
        }
        again.into_iter().map(|waiting| Waiting { retriggers_left: waiting.retriggers_left - 1, ..waiting }).collect()
    }

    fn hold(&self, submission: &Submission, worst: MicroUsd, error: Error) {
        let error = Error {
            kind: ErrorKind::OutcomeUnknown,
            message: format!(
                "{}. A batch about {} answers may exist at the provider and may have been charged; it is held, not bought again \
                 (on_unknown decides)",
                error.message,
                submission.cells.len()
            ),
            ..error.with(|context| context.maybe_charged = true)
        };
        self.session.totals.held(worst.0);
        self.log(Level::Error, error.to_string());
        self.session.totals.error(error);
    }

    /// Batches of the provider made since then, as far as the list goes back.
    async fn listed(&self, since_ms: i64) -> Result<Vec<ListedBatch>> {
        let (mut found, mut after) = (Vec::new(), None);
        for _ in 0..MOST_PAGES {
            let request = self.model.batches(after.as_deref())?;
            let page = self.free(request, |reply| self.model.decode_batches(&reply)).await?;
            let is_older = |batch: &ListedBatch| batch.created_at_ms.is_some_and(|created| created < since_ms);
            let ends = page.batches.iter().any(is_older);
            found.extend(page.batches.into_iter().filter(|batch| !is_older(batch)));
            after = page.next;
            if ends || after.is_none() {
                return Ok(found);
            }
        }
        Err(Error::new(ErrorKind::OutcomeUnknown, "the provider's list of batches is too long to be read"))
    }
}

impl LostBatch<'_> {
    /// True when the results of an ended batch are of this submission.
    async fn is_ours(&self, batch: &ListedBatch) -> Result<bool> {
        let mut ours = false;
        for file in &batch.state.files {
            let reply = self.work.free(self.work.model.results(file)?, Ok).await?;
            self.work.model.decode_results(&reply, &mut |custom_id, _| ours |= self.ids.contains(custom_id));
        }
        Ok(ours)
    }
}

impl Lost for LostBatch<'_> {
    fn account(&self) -> &Account {
        self.work.account()
    }

    fn created_at_ms(&self) -> i64 {
        self.submission.created_at_ms
    }

    fn warn(&self, line: String) {
        let line = format!("the lost batch about {} answers {line}", self.submission.cells.len());
        self.work.log(Level::Warning, line);
    }

    async fn look(&self) -> Result<Look> {
        let newest = self.submission.created_at_ms + CREATED_WITHIN_MS;
        let mut listed = self.work.listed(self.submission.created_at_ms - LIST_MARGIN_MS).await?;
        listed.retain(|batch| {
            batch.created_at_ms.is_none_or(|created| created <= newest) && !self.work.session.is_known_snapshot(&batch.id)
        });
        listed.sort_by_key(|batch| (batch.created_at_ms.unwrap_or(i64::MAX), batch.id.clone()));
        let (mut found, mut unclear, mut later) = (Vec::new(), None, false);
        for batch in listed {
            if self.work.model.keeps_submission() {
                if batch.submission.as_ref() == Some(&self.submission.id) {
                    found.push(batch.id);
                }
                continue;
            }
            if batch.state.total != self.ids.len() as u64 {
                continue;
            }
            if batch.state.phase == BatchPhase::Pending {
                later = true;
                continue;
            }
            match self.is_ours(&batch).await {
                Ok(true) => found.push(batch.id),
                Ok(false) => {}
                Err(error) if error.kind == ErrorKind::Cancelled => return Err(error),
                Err(error) => {
                    unclear = Some(Error { message: format!("results of batch {}: {}", batch.id, error.message), ..error });
                }
            }
        }
        Ok(match (found.is_empty(), later, unclear) {
            (false, _, _) => Look::Found(found),
            (true, true, _) => Look::Later,
            (true, false, Some(error)) => Look::Unclear(error),
            (true, false, None) => Look::Nothing,
        })
    }

    async fn adopt(&self, found: Vec<String>) -> Result<Option<String>> {
        let mut adopted = None;
        for id in found {
            if !self.work.session.claim_snapshot(&id) {
                continue;
            }
            if adopted.is_some() {
                self.lose(&format!("exists twice at the provider; {id} is the duplicate")).await?;
                continue;
            }
            if let Err(error) = self.work.session.journal.submitted(&self.submission.id, &id).await {
                self.work.session.fail(error);
            }
            let answers = self.submission.cells.len();
            self.work.log(Level::Info, format!("Batch {id} is the lost one about {answers} answers: adopted"));
            adopted = Some(id);
        }
        Ok(adopted)
    }

    async fn lose(&self, what: &str) -> Result<()> {
        let session = &self.work.session;
        let expected = self.submission.extraction.as_ref().map_or(0, |requests| requests.expected_micro_usd);
        let amount = MicroUsd(expected);
        let message = format!("a batch about {} answers {what}: ${amount} may be lost", self.submission.cells.len());
        let error = Error::new(ErrorKind::OutcomeUnknown, message).with(|context| context.maybe_charged = true);
        self.work.log(Level::Error, error.message.clone());
        session.totals.error(error);
        session.budget.correct(amount);
        session.book_overhead(Some(&self.submission.model), (0, amount.0)).await
    }
}
