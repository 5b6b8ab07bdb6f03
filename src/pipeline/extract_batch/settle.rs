//! From the replies of a provider's batch to extractions: joined by `custom_id`, settled answer by answer, noted in the journal
//! together with the end of the submission. What was not run is given back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::JoinSet;

use super::{Money, Waiting, Work};
use crate::domain::{Extraction, MicroUsd};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Level;
use crate::journal::{Call, Submission};
use crate::pipeline::extract::{self, Bill};
use crate::pipeline::extract_answer::{self, Parsed};
use crate::providers::{BatchPhase, BatchState, LineReply};

/// The rows of an ended batch.
#[derive(Debug, Default)]
pub(super) struct Replies {
    lines: HashMap<(usize, Call), LineReply>,
    /// Rows of requests of ours.
    pub(super) rows: usize,
    unknown: usize,
    duplicates: usize,
    /// Requests that the provider has done, as it says.
    done: u64,
    /// Requests of the answers that wait, as far as they are joined.
    asked: usize,
    /// Why a request without a row has none.
    missing: Option<Error>,
    /// A request without a row may have been charged.
    lost: bool,
    /// It was refused because too much is enqueued.
    too_much: bool,
}

impl Replies {
    /// None yet, of a batch that has ended so.
    pub(super) fn of(state: &BatchState) -> Self {
        let missing = match &state.phase {
            BatchPhase::Failed(words) | BatchPhase::TooMuch(words) => format!("the batch was refused as a whole: {words}"),
            BatchPhase::Ended | BatchPhase::Pending => "the batch has ended without a row for this request".to_owned(),
        };
        let too_much = matches!(state.phase, BatchPhase::TooMuch(_));
        Self { done: state.done, missing: Some(Error::new(ErrorKind::Record, missing)), too_much, ..Self::default() }
    }

    /// The batch is not to be had any more: nobody can say what it was charged.
    pub(super) fn lost(error: Error) -> Self {
        Self { missing: Some(error.with(|context| context.maybe_charged = true)), lost: true, ..Self::default() }
    }

    /// A row; `place`: whose it is, `None`: nobody's. The first row of a request counts.
    pub(super) fn take(&mut self, place: Option<(usize, Call)>, line: LineReply) {
        let Some(place) = place else {
            self.unknown += 1;
            return;
        };
        if self.lines.contains_key(&place) {
            self.duplicates += 1;
            return;
        }
        self.rows += 1;
        self.lines.insert(place, line);
    }

    /// What is odd about the rows, in words; empty: nothing.
    pub(super) fn told(&self) -> String {
        if self.unknown + self.duplicates == 0 {
            return String::new();
        }
        format!(" ({} rows belong to no request, {} came twice)", self.unknown, self.duplicates)
    }

    /// True when the provider did more than it gave rows for.
    fn is_short(&self) -> bool {
        self.lost || self.done > (self.rows + self.unknown) as u64
    }
}

/// What the rows make of an answer.
struct Joined {
    answer: Waiting,
    /// Not run, or never asked.
    again: Vec<(Call, MicroUsd)>,
    /// Replies that broke the schema.
    broken: Vec<(Call, Error)>,
    /// The last failure.
    failed: Option<Error>,
    /// It ends the extraction.
    is_final: bool,
}

impl Work {
    pub(super) async fn settle(
        &self,
        submission: Submission,
        waiting: Vec<Waiting>,
        mut replies: Replies,
        money: Money<'_>,
    ) -> Vec<Waiting> {
        let worst = submission.extraction.as_ref().map_or(MicroUsd::ZERO, |requests| MicroUsd(requests.worst_micro_usd));
        let asked = asked_calls(&submission);
        let count = waiting.len();
        // A smaller one may pass, so being refused is none of the times that an answer is asked again.
        let refused = replies.too_much && count > 1;
        let (mut charged, mut maybe) = (MicroUsd::ZERO, MicroUsd::ZERO);
        let mut joined = Vec::with_capacity(waiting.len());
        for (place, answer) in waiting.into_iter().enumerate() {
            let asked = asked.get(&answer.run.key.to_string());
            joined.push(self.join(answer, place, asked, &mut replies, (&mut charged, &mut maybe)));
            tokio::task::yield_now().await; // checking replies takes CPU
        }
        if self.repair(&mut joined).await.is_err() {
            money.keep(worst); // stopped in between: the next start fetches and repairs
            return Vec::new();
        }
        if replies.too_much {
            self.refused.store(count, Ordering::Relaxed);
        }
        self.book_unwanted(&submission, &replies, count, (&mut charged, &mut maybe)).await;
        let (mut ended, mut noted, mut again) = (Vec::new(), Vec::new(), Vec::new());
        for mut answer in joined {
            let retried = (!answer.is_final && !answer.again.is_empty()).then(|| std::mem::take(&mut answer.again));
            let Some(asks) = retried.filter(|_| refused || answer.answer.retries_left > 0) else {
                ended.extend(self.extraction(answer));
                continue;
            };
            // What was paid for it is durable although no extraction is stored yet.
            let error = answer.failed.unwrap_or_else(|| Error::new(ErrorKind::Record, "is asked again"));
            let Waiting { run, bill, .. } = &answer.answer;
            if !bill.is_nothing() {
                noted.extend(extract_answer::assemble(&self.session, &self.extractor, run, Err(error), bill.clone()));
            }
            let retries_left = answer.answer.retries_left - u8::from(!refused);
            again.push(Waiting { asks, retries_left, ..answer.answer });
        }
        let records: Vec<Arc<Extraction>> = ended.iter().chain(&noted).map(|extraction| self.with_carried(extraction)).collect();
        if let Err(error) = self.session.journal.settled(&submission.id, &records).await {
            self.session.fail(error);
        }
        if let Some(over) = money.settle(&self.session, charged, maybe) {
            let what = format!("batch {}", submission.snapshot_id.as_deref().unwrap_or(&submission.id));
            self.session.over_reserved(&self.calls.stop, self.model.model(), &what, over);
        }
        if !again.is_empty() {
            self.log(Level::Warning, format!("{} answers have requests that were not run: asked again", again.len()));
        }
        for extraction in ended {
            self.emit(extraction).await;
        }
        again
    }

    /// The rows of one answer.
    fn join(
        &self,
        mut answer: Waiting,
        place: usize,
        asked: Option<&Vec<Call>>,
        replies: &mut Replies,
        (charged, maybe): (&mut MicroUsd, &mut MicroUsd),
    ) -> Joined {
        let asks = std::mem::take(&mut answer.asks);
        let calls = asks.len().max(1);
        let expected = self.model.expected(answer.bytes / calls);
        let wanted: Vec<Call> = asks.iter().map(|(call, _)| *call).collect();
        replies.asked += asked.map_or(0, Vec::len);
        let mut joined = Joined { answer, again: Vec::new(), broken: Vec::new(), failed: None, is_final: false };
        for (call, worst) in asks {
            if !asked.is_some_and(|asked| asked.contains(&call)) {
                // An earlier start asked the other calls of it.
                joined.failed = Some(Error::new(ErrorKind::Record, "the request was not part of its batch"));
                joined.again.push((call, worst));
                continue;
            }
            let error = match replies.lines.remove(&(place, call)) {
                Some(LineReply::Answered(reply)) => {
                    let (usage, cost) = self.model.charge(&reply);
                    joined.answer.bill.add(&usage, cost);
                    *charged = charged.plus(cost.unwrap_or(worst));
                    let read = self.model.decode(&reply);
                    match read.and_then(|reply| extract_answer::parse(&self.extractor, &joined.answer.run, call, &reply.json)) {
                        Ok(parsed) => {
                            joined.answer.replies.push(parsed);
                            continue;
                        }
                        Err(error) if extract::is_about_the_reply(&error) => {
                            joined.broken.push((call, error));
                            continue;
                        }
                        Err(error) => error,
                    }
                }
                Some(LineReply::Refused(reply)) => self.model.error(&reply),
                Some(LineReply::Unprocessed(words)) => {
                    Error::new(ErrorKind::Record, format!("the request was not run inside its batch: {words}"))
                }
                None => {
                    if replies.is_short() {
                        joined.answer.bill.lose(expected);
                        *maybe = maybe.plus(expected);
                    }
                    replies.missing.clone().unwrap_or_else(|| Error::internal("a batch that tells nothing"))
                }
            };
            if error.kind.stops_provider() {
                self.session.stop_provider(self.account(), &error);
            }
            joined.is_final |= error.kind.stops_provider()
                || matches!(error.kind, ErrorKind::InvalidRequest | ErrorKind::TooLarge | ErrorKind::SnapshotGone);
            joined.failed = Some(error);
            joined.again.push((call, worst));
        }
        // What was asked and is of no use any more is paid for all the same.
        for call in asked.into_iter().flatten().filter(|call| !wanted.contains(call)) {
            let bill = &mut joined.answer.bill;
            match replies.lines.remove(&(place, *call)) {
                Some(LineReply::Answered(reply)) => {
                    let (usage, cost) = self.model.charge(&reply);
                    bill.add(&usage, cost);
                    *charged = charged.plus(cost.unwrap_or(expected));
                }
                Some(_) => {}
                None if replies.is_short() => {
                    bill.lose(expected);
                    *maybe = maybe.plus(expected);
                }
                None => {}
            }
        }
        joined
    }

    /// Books the rows of answers that were extracted another way since: they belong to no extraction. `count`: answers that waited.
    async fn book_unwanted(
        &self,
        submission: &Submission,
        replies: &Replies,
        count: usize,
        (charged, maybe): (&mut MicroUsd, &mut MicroUsd),
    ) {
        let Some(requests) = submission.extraction.as_ref().filter(|_| submission.cells.len() > count) else { return };
        let all: usize = requests.calls.iter().map(Vec::len).sum();
        let each = MicroUsd(requests.expected_micro_usd / i64::try_from(all.max(1)).unwrap_or(i64::MAX));
        let (mut paid, mut lost, mut rows) = (MicroUsd::ZERO, MicroUsd::ZERO, 0_usize);
        for line in replies.lines.iter().filter(|((place, _), _)| *place >= count).map(|(_, line)| line) {
            rows += 1;
            if let LineReply::Answered(reply) = line {
                match self.model.charge(reply).1 {
                    Some(cost) => paid = paid.plus(cost),
                    None => lost = lost.plus(each),
                }
            }
        }
        if replies.is_short() {
            let unwanted = all.saturating_sub(replies.asked);
            lost = lost.plus(each.times(unwanted.saturating_sub(rows) as u64));
        }
        if paid.plus(lost) == MicroUsd::ZERO {
            return;
        }
        (*charged, *maybe) = (charged.plus(paid), maybe.plus(lost));
        if let Err(error) = self.session.book_overhead(Some(&submission.model), (paid.0, lost.0)).await {
            self.session.fail(error);
        }
    }

    /// Repairs what broke the schema, each by one direct call at the full price. It is noted as a call of its own; what the refused
    /// reply cost is told by the batch, which stays open until all is settled.
    ///
    /// # Errors
    /// The run was stopped.
    async fn repair(&self, joined: &mut [Joined]) -> Result<()> {
        let mut tasks = JoinSet::new();
        let mut broken = Vec::new();
        for (place, answer) in joined.iter_mut().enumerate() {
            broken.extend(std::mem::take(&mut answer.broken).into_iter().map(|(call, error)| (place, call, error)));
        }
        let mut broken = broken.into_iter();
        loop {
            while tasks.len() < self.session.settings.extraction_in_flight
                && let Some((place, call, error)) = broken.next()
            {
                let Some(run) = joined.get(place).map(|answer| answer.answer.run.clone()) else { continue };
                let (session, calls, extractor) = (self.session.clone(), self.calls.clone(), self.extractor.clone());
                tasks.spawn(async move {
                    let request = extract_answer::requests(&extractor, &run).into_iter().find(|(asked, _)| *asked == call);
                    let Some((_, request)) = request else { return (place, Err(error), Bill::default()) };
                    let parse = |json: &str| extract_answer::parse(&extractor, &run, call, json);
                    let named = (Some(&run.key), call);
                    let (parsed, bill) = extract::repaired(&session, &calls, named, request, &error, parse).await;
                    (place, parsed, bill)
                });
            }
            let Some(ended) = tasks.join_next().await else { return Ok(()) };
            let Some((place, parsed, bill)) = self.session.ended(ended) else { continue };
            let Some(answer) = joined.get_mut(place) else { continue };
            answer.answer.bill = std::mem::take(&mut answer.answer.bill).and(&bill);
            match parsed {
                Ok(parsed) => answer.answer.replies.push(parsed),
                Err(error) if error.kind == ErrorKind::Cancelled => return Err(error),
                Err(error) => (answer.failed, answer.is_final) = (Some(error), true),
            }
        }
    }

    /// `None`: nothing was charged, and it stays open.
    fn extraction(&self, joined: Joined) -> Option<Extraction> {
        let Joined { answer: Waiting { run, replies, bill, .. }, failed, .. } = joined;
        let replies: Result<Vec<Parsed>> = failed.map_or(Ok(replies), Err);
        extract_answer::assemble(&self.session, &self.extractor, &run, replies, bill)
    }

    /// As the store will have it, with what earlier starts were charged for the same.
    fn with_carried(&self, extraction: &Extraction) -> Arc<Extraction> {
        let mut extraction = extraction.clone();
        extraction.carry((self.results.carried)(&extraction.key));
        Arc::new(extraction)
    }
}

/// By cell, what the submission asked.
fn asked_calls(submission: &Submission) -> HashMap<String, Vec<Call>> {
    let calls = submission.extraction.as_ref().map(|requests| requests.calls.clone()).unwrap_or_default();
    submission.cells.iter().map(ToString::to_string).zip(calls).collect()
}
