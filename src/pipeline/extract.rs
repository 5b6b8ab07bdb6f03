//! Phase 3: turns stored answers into extractions, streaming behind phase 2. Rules run here, inline; a language model is
//! asked where the rules found a name (mention) and for the competitors. All rows of an answer come out together or not at all.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::account::Account;
use super::call::Rules;
use super::session::Session;
use crate::config::ExtractionMode;
use crate::domain::{Dropped, EXTRACTOR_VERSION, Extraction, ExtractionMethod, MicroUsd, QuestionRun, StructuredRequest, Usage};
use crate::error::{Error, ErrorKind, Result};
use crate::extract::{Extractor, Verdict};
use crate::http::HttpResponse;
use crate::http::retry::CallKind;
use crate::providers::StructuredModel;

/// Answers taken from the queue at once.
const GROUP: usize = 64;
/// Asks of one structured call: the first, and one repair when its reply breaks the schema.
const ASKS: u32 = 2;

/// The extraction model with its account and cap.
#[derive(Debug)]
pub(super) struct ModelCalls {
    pub(super) model: Arc<dyn StructuredModel>,
    pub(super) account: Arc<Account>,
}

/// What structured calls cost so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Bill {
    usage: Usage,
    cost: MicroUsd,
    unpriced: bool,
    maybe_charged: MicroUsd,
}

impl Bill {
    fn add(&mut self, usage: &Usage, cost: Option<MicroUsd>) {
        let sum = |first: Option<u64>, second: Option<u64>| match (first, second) {
            (None, None) => None,
            (first, second) => Some(first.unwrap_or(0) + second.unwrap_or(0)),
        };
        self.usage.input_tokens = sum(self.usage.input_tokens, usage.input_tokens);
        self.usage.output_tokens = sum(self.usage.output_tokens, usage.output_tokens);
        self.usage.cached_input_tokens += usage.cached_input_tokens;
        self.usage.cache_write_tokens += usage.cache_write_tokens;
        self.usage.reasoning_tokens += usage.reasoning_tokens;
        match cost {
            Some(cost) => self.cost = self.cost.plus(cost),
            None => self.unpriced = true,
        }
    }

    fn and(mut self, other: &Self) -> Self {
        self.add(&other.usage, (!other.unpriced).then_some(other.cost));
        self.maybe_charged = self.maybe_charged.plus(other.maybe_charged);
        self
    }

    /// True when nothing was or may have been charged.
    fn is_nothing(&self) -> bool {
        self.cost == MicroUsd::ZERO && self.maybe_charged == MicroUsd::ZERO && !self.unpriced
    }

    /// The charge; `None`: unpriced.
    pub(super) fn cost(&self) -> Option<MicroUsd> {
        (!self.unpriced).then_some(self.cost)
    }

    /// Charges of lost calls.
    pub(super) fn maybe_charged(&self) -> MicroUsd {
        self.maybe_charged
    }
}

/// Extracts until the queue of answers ends.
pub(super) async fn run(
    session: Arc<Session>,
    mode: ExtractionMode,
    calls: Option<Arc<ModelCalls>>,
    extractor: Arc<Extractor>,
    mut answers: mpsc::Receiver<Arc<QuestionRun>>,
    results: mpsc::Sender<Arc<Extraction>>,
) {
    let mut group = Vec::new();
    let mut tasks = JoinSet::new();
    let slots = Arc::new(Semaphore::new(session.settings.extraction_in_flight));
    while answers.recv_many(&mut group, GROUP).await > 0 {
        for run in group.drain(..) {
            match (mode, &calls) {
                (ExtractionMode::Llm, Some(calls)) => {
                    if session.stop.is_cancelled() || session.budget.is_exhausted() || calls.account.stopped().is_some() {
                        continue; // stays unextracted; the next start extracts it
                    }
                    while tasks.try_join_next().is_some() {}
                    let slot = slots.clone().acquire_owned().await.ok();
                    let (session, calls, extractor, results) =
                        (session.clone(), calls.clone(), extractor.clone(), results.clone());
                    tasks.spawn(async move {
                        if let Some(extraction) = by_model(&session, &calls, &extractor, &run).await {
                            let _ = results.send(Arc::new(extraction)).await; // a failed saver reports itself
                        }
                        drop(slot);
                    });
                }
                _ => {
                    let extraction = extractor.local(&run, session.context.clock.now_ms());
                    if results.send(Arc::new(extraction)).await.is_err() {
                        return;
                    }
                }
            }
        }
        tokio::task::yield_now().await; // rules take CPU: let the others in
    }
    while tasks.join_next().await.is_some() {}
}

/// `None`: not extracted now (budget, stopped provider); the next start does it.
async fn by_model(session: &Session, calls: &ModelCalls, extractor: &Extractor, run: &QuestionRun) -> Option<Extraction> {
    let text = run.outcome.text.as_deref().unwrap_or_default();
    let (citations, mut dropped) = extractor.citations(run);
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    let competitors = async {
        let request = extractor.competitors_request(text, &nonce);
        structured(session, calls, &run.key.to_string(), request, |json| extractor.parse_competitors(text, json)).await
    };
    let verdict = async {
        if !extractor.matches(text) {
            return (Ok(None), Bill::default());
        }
        let request = extractor.evaluation_request(text, &nonce);
        let (verdict, bill) =
            structured(session, calls, &run.key.to_string(), request, |json| extractor.parse_evaluation(text, json)).await;
        (verdict.map(Some), bill)
    };
    let ((competitors, first_bill), (verdict, second_bill)) = tokio::join!(competitors, verdict);
    let bill = first_bill.and(&second_bill);
    let parts: Result<(Option<Verdict>, _)> = verdict.and_then(|verdict| Ok((verdict, competitors?)));
    let mut extraction = Extraction {
        batch_id: run.batch_id.clone(),
        run_id: run.run_id.clone(),
        org_id: run.org_id.clone(),
        key: run.key.clone(),
        method: ExtractionMethod::Llm,
        extractor_version: EXTRACTOR_VERSION.to_owned(),
        evaluation: Default::default(),
        competitors: Vec::new(),
        citations: Vec::new(),
        dropped: Dropped::default(),
        cost_micro_usd: bill.cost(),
        maybe_charged_micro_usd: bill.maybe_charged(),
        usage: bill.usage.clone(),
        error: None,
        extracted_at_ms: session.context.clock.now_ms(),
    };
    match parts {
        Ok((verdict, (competitors, more))) => {
            dropped.invented_competitors += more.invented_competitors;
            dropped.rejected_competitors += more.rejected_competitors;
            dropped.invented_quotes += verdict.as_ref().map_or(0, |verdict| verdict.invented_quotes);
            extraction.evaluation = extractor.evaluation(text, verdict.as_ref(), &competitors, &citations);
            extraction.competitors = competitors;
            extraction.citations = citations;
            extraction.dropped = dropped;
        }
        Err(error) if error.kind == ErrorKind::Budget => {
            session.totals.budget_reached(error);
            if bill.is_nothing() {
                return None;
            }
            extraction.error = Some(Error::new(ErrorKind::Budget, "max_cost was reached between the calls of this extraction"));
        }
        Err(error) if (error.kind.stops_provider() || error.kind == ErrorKind::Cancelled) && bill.is_nothing() => return None,
        Err(error) => {
            extraction.error = Some(error.with(|context| context.cell = Some(run.key.to_string())));
        }
    }
    Some(extraction)
}

/// A structured call with one repair, and what it cost whatever came of it.
pub(super) async fn structured<T>(
    session: &Session,
    calls: &ModelCalls,
    what: &str,
    request: StructuredRequest,
    parse: impl Fn(&str) -> Result<T>,
) -> (Result<T>, Bill) {
    let mut bill = Bill::default();
    let mut request = request;
    let mut ask = 1;
    loop {
        let reservation = match session.budget.reserve(calls.model.worst_case(&request)).await {
            Ok(reservation) => reservation,
            Err(error) => return (Err(error), bill),
        };
        let outgoing = match calls.model.request(&request) {
            Ok(outgoing) => outgoing,
            Err(error) => return (Err(error), bill),
        };
        let rules = Rules { kind: CallKind::Paid, cap: Some(&calls.account.limits.calls), intent: None };
        let read = |reply: HttpResponse| if reply.is_success() { Ok(reply) } else { Err(calls.model.error(&reply)) };
        let lost = calls.model.expected(request.system.len() + request.user.len());
        let reply = match session.call(&calls.account, rules, &outgoing, read).await {
            Ok(called) => {
                let maybe = lost.times(called.facts.lost.into());
                bill.maybe_charged = bill.maybe_charged.plus(maybe);
                let (usage, cost) = calls.model.charge(&called.value);
                bill.add(&usage, cost);
                reservation.settle(cost.unwrap_or_else(|| calls.model.worst_case(&request)).plus(maybe));
                called.value
            }
            Err(failure) => {
                let maybe = lost.times(failure.facts.lost.into());
                bill.maybe_charged = bill.maybe_charged.plus(maybe);
                reservation.settle(maybe);
                return (Err(failure.error), bill);
            }
        };
        let error = match calls.model.decode(&reply).and_then(|reply| parse(&reply.json)) {
            Ok(value) => return (Ok(value), bill),
            Err(error) => error,
        };
        if ask == ASKS || !matches!(error.kind, ErrorKind::Semantic | ErrorKind::Undecodable) || session.stop.is_cancelled() {
            return (Err(error.with(|context| context.attempts = ask)), bill);
        }
        ask += 1;
        session.host.log(
            crate::host::Level::Debug,
            format!("{what}: {} broke the schema, asked again: {}", calls.model.model(), error.message),
        );
        request.system =
            format!("{}\n\nYour last reply was refused: {}. Reply with JSON of the schema only.", request.system, error.message);
    }
}
