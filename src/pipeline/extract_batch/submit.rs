//! From collected answers to a batch at the provider: money set aside, lines uploaded, intent, create, id. Each step durable
//! before the next; the create is sent at most once for what it buys.

use std::sync::Arc;

use sha2::Digest;

use super::{Money, Waiting, Work};
use crate::domain::{CellKey, MicroUsd, QuestionRun};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Level;
use crate::http::retry::{self, CallKind};
use crate::http::{HttpRequest, HttpResponse};
use crate::journal::{Call, Requests, Submission};
use crate::pipeline::call::Rules;
use crate::pipeline::extract_answer;
use crate::pipeline::model_stop::Purse;
use crate::pipeline::note::Note;

/// Digits of the cell's part of a `custom_id`, and of the submission's.
const CELL_DIGITS: usize = 32;
const SUBMISSION_DIGITS: usize = 8;

/// Names a request within its submission, and the submission: a digest of the cell (the same in every submission), the call, a
/// digest of our id of the submission. At most 64 characters of `[A-Za-z0-9_-]`, as both vendors want it.
pub(super) fn custom_id(submission: &str, batch_id: &str, key: &CellKey, call: Call) -> String {
    let word: String = call.id(None).chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect();
    let cell = digest(&[batch_id, &key.to_string()], CELL_DIGITS);
    format!("{cell}-{word}-{}", digest(&[submission], SUBMISSION_DIGITS))
}

fn digest(parts: &[&str], digits: usize) -> String {
    let mut hash = sha2::Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().take(digits.div_ceil(2)).map(|byte| format!("{byte:02x}")).collect()
}

impl Work {
    /// Buys a submission and fetches it. Returns what is to be asked again.
    pub(super) async fn submit(self: Arc<Self>, waiting: Vec<Waiting>) -> Vec<Waiting> {
        let worst: MicroUsd = waiting.iter().map(Waiting::worst).sum();
        let reservation = match self.session.budget.reserve(worst).await {
            Ok(reservation) => reservation,
            Err(error) => {
                self.session.totals.budget_reached(error);
                return Vec::new(); // they stay unextracted
            }
        };
        if self.is_over() {
            return Vec::new();
        }
        let mut submission = self.submission(&waiting, worst);
        let request = match self.uploaded(&submission, &waiting).await {
            Ok(request) => request,
            Err(error) => return self.not_made(waiting, error).await, // an upload is free: nothing is bought by it
        };
        let made = self.create(&mut submission, request, &reservation, worst).await;
        let money = Money::Reserved(reservation);
        match made {
            Ok(()) => self.fetch(submission, waiting, money, false).await,
            Err(error) if retry::may_have_bought(&error) => {
                let count = waiting.len();
                self.log(Level::Warning, format!("{}: the batch of {count} answers may exist, it is looked for", error.message));
                self.resolve(submission, waiting, money).await
            }
            Err(error) => {
                money.give_back(&self.session);
                self.not_made(waiting, error).await
            }
        }
    }

    fn submission(&self, waiting: &[Waiting], worst: MicroUsd) -> Submission {
        let prompts: MicroUsd = waiting.iter().map(|waiting| self.expected(waiting, waiting.asks.len())).sum();
        Submission {
            id: self.session.context.clock.id(),
            model: waiting.first().map(|waiting| waiting.run.key.model.clone()).unwrap_or_default(),
            cells: waiting.iter().map(|waiting| waiting.run.key.clone()).collect(),
            created_at_ms: self.session.context.clock.now_ms(),
            snapshot_id: None,
            without_location: Vec::new(),
            carried: Vec::new(),
            extraction: Some(Requests {
                model: self.named.clone(),
                calls: waiting.iter().map(|waiting| waiting.asks.iter().map(|(call, _)| *call).collect()).collect(),
                worst_micro_usd: worst.0,
                expected_micro_usd: prompts.0,
            }),
        }
    }

    /// What this many calls about an answer are expected to cost: booked where it cannot be known.
    pub(super) fn expected(&self, waiting: &Waiting, calls: usize) -> MicroUsd {
        self.model.expected(waiting.bytes / waiting.asks.len().max(1)).times(calls as u64)
    }

    /// The request that makes the batch, after its lines are where it names them. Free until then.
    async fn uploaded(&self, submission: &Submission, waiting: &[Waiting]) -> Result<HttpRequest> {
        let mut lines = Vec::with_capacity(waiting.iter().map(|waiting| waiting.bytes + 4_096).sum());
        for waiting in waiting {
            for (call, request) in extract_answer::requests(&self.extractor, &waiting.run) {
                if waiting.asks.iter().any(|(asked, _)| *asked == call) {
                    let id = custom_id(&submission.id, &self.batch_id, &waiting.run.key, call);
                    lines.extend_from_slice(&self.model.line(&id, &request)?);
                    lines.push(b'\n');
                }
            }
            tokio::task::yield_now().await;
        }
        let file = match self.model.upload(&submission.id, &lines)? {
            Some(request) => Some(self.free(request, |reply| self.model.decode_upload(&reply)).await?),
            None => None,
        };
        if self.session.stop.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "the run was stopped before the batch was made"));
        }
        self.model.create(&submission.id, file.as_deref(), &lines)
    }

    /// Intent (right before it is sent), create, id.
    async fn create(
        &self,
        submission: &mut Submission,
        request: HttpRequest,
        reservation: &crate::pipeline::budget::Reservation<'_>,
        worst: MicroUsd,
    ) -> Result<()> {
        let session = &self.session;
        let purse = Some(Purse { reservation, each: worst, stop: &self.calls.stop });
        let cap = Some(&self.calls.account.limits.triggers);
        let rules = Rules { kind: CallKind::Trigger, cap, note: Note::Intent(submission), purse };
        let read = |reply: HttpResponse| {
            if reply.is_success() { self.model.decode_create(&reply) } else { Err(self.model.error(&reply)) }
        };
        let called = session.call(self.account(), rules, &request, read).await;
        submission.created_at_ms = called.as_ref().map_or_else(|failure| failure.facts, |called| called.facts).noted_at_ms;
        let id = called.map_err(|failure| failure.error)?.value;
        if !session.claim_snapshot(&id) {
            let message = format!("the provider named batch {id}, which belongs to another submission: it is looked for");
            return Err(Error::new(ErrorKind::OutcomeUnknown, message));
        }
        if let Err(error) = session.journal.submitted(&submission.id, &id).await {
            // It is bought and its id is known here alone: nothing new starts, and this one is fetched while we can.
            self.log(Level::Warning, format!("batch {id} is bought and could not be noted in the journal"));
            session.fail(error);
        }
        let requests: usize = submission.extraction.as_ref().map_or(0, |asked| asked.calls.iter().map(Vec::len).sum());
        let answers = submission.cells.len();
        self.log(
            Level::Info,
            format!("Batch {id} of {requests} requests about {answers} answers of {} is made", submission.model),
        );
        submission.snapshot_id = Some(id);
        Ok(())
    }

    /// The provider certainly has no batch. Refused: the extractions failed. Else they stay open.
    async fn not_made(&self, waiting: Vec<Waiting>, error: Error) -> Vec<Waiting> {
        match error.kind {
            ErrorKind::Journal => self.session.fail(error),
            ErrorKind::RateLimited | ErrorKind::NotSent | ErrorKind::OutcomeUnknown | ErrorKind::Overloaded => {
                self.session.totals.left_open(error);
            }
            ErrorKind::Budget => self.session.totals.budget_reached(error),
            kind if kind.stops_provider() => self.session.stop_provider(self.account(), &error),
            ErrorKind::Cancelled => {}
            _ => {
                for waiting in waiting {
                    self.fail(&waiting.run, error.clone(), waiting.bill).await;
                }
            }
        }
        Vec::new()
    }

    async fn fail(&self, run: &QuestionRun, error: Error, bill: crate::pipeline::extract::Bill) {
        if let Some(extraction) = extract_answer::assemble(&self.session, &self.extractor, run, Err(error), bill) {
            self.emit(extraction).await;
        }
    }

    /// A call that costs nothing.
    pub(super) async fn free<T>(
        &self,
        request: HttpRequest,
        mut read: impl FnMut(HttpResponse) -> Result<T> + Send,
    ) -> Result<T> {
        let read = |reply: HttpResponse| if reply.is_success() { read(reply) } else { Err(self.model.error(&reply)) };
        let rules = Rules { kind: CallKind::Free, cap: None, note: Note::None, purse: None };
        let called = self.session.call(self.account(), rules, &request, read).await;
        called.map(|called| called.value).map_err(|failure| failure.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::MAX_CUSTOM_ID;

    #[test]
    fn a_custom_id_fits_both_vendors_and_tells_cell_call_and_submission() {
        let key: CellKey = "q1|gpt-4.1|US|1".parse().unwrap();
        let other: CellKey = "q2|gpt-4.1|US|1".parse().unwrap();
        let id = custom_id("s1", "b", &key, Call::Competitors);
        for call in [Call::Competitors, Call::Evaluation, Call::Structured] {
            let id = custom_id("s1", "b", &key, call);
            assert!(id.len() <= MAX_CUSTOM_ID, "{id}");
            assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'), "{id}");
        }
        for different in [
            custom_id("s2", "b", &key, Call::Competitors),
            custom_id("s1", "c", &key, Call::Competitors),
            custom_id("s1", "b", &other, Call::Competitors),
            custom_id("s1", "b", &key, Call::Evaluation),
        ] {
            assert_ne!(id, different);
        }
        assert_eq!(id.get(..CELL_DIGITS), custom_id("s2", "b", &key, Call::Evaluation).get(..CELL_DIGITS));
    }
}
