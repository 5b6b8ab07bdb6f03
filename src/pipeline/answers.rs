//! Extraction by a model of a list of answers that belong to no batch: under the account's limits and one cap, one extraction an
//! answer, in order. Knows no store and keeps no journal: what is charged is told with each answer, also with one that failed.

use std::sync::Arc;

use serde::Deserialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::budget::Budget;
use super::extract::{self, ModelCalls};
use super::leases::Leases;
use super::session::Session;
use super::totals::Totals;
use crate::config::Settings;
use crate::domain::{Extraction, MicroUsd, Org, QuestionRun, RunStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::extract::Extractor;
use crate::host::Host;
use crate::journal::Journal;
use crate::providers::structured_model;

/// What a list of answers is extracted with.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswersSpec {
    /// The org looked for.
    pub org: Org,
    /// Its name variations.
    pub names: Vec<String>,
    /// Most that all answers together may cost, micro-dollars; `None`: no cap.
    #[serde(default)]
    pub max_cost_micro_usd: Option<i64>,
    /// The model is the extraction model of these.
    #[serde(default)]
    pub settings: Settings,
}

/// One extraction an answer, in order. `stop` is the graceful way: what is in flight gets its grace, nothing new is sent; an answer
/// that was not reached has the rules' extraction and an error beside it.
///
/// # Errors
/// [`ErrorKind::Config`] or [`ErrorKind::Unsupported`] before anything is sent. A single answer never fails the list.
pub async fn extract_answers(
    context: Context,
    spec: AnswersSpec,
    answers: Vec<Arc<QuestionRun>>,
    host: Host,
    stop: CancellationToken,
) -> Result<Vec<Extraction>> {
    spec.settings.check()?;
    let model = structured_model(&spec.settings.extraction_model, &spec.settings)?;
    let host = host.redacting(spec.settings.redactor());
    let extractor = Arc::new(Extractor::new(&spec.org, &spec.names));
    let budget = Budget::new(spec.max_cost_micro_usd.map(MicroUsd), MicroUsd::ZERO);
    let leases = Arc::new(Leases::none(&context, None, spec.settings.lease_ms)); // the answers belong to no model run
    let in_flight = spec.settings.extraction_in_flight.max(1);
    let (journal, totals, planned) = (Journal::none(), Totals::default(), answers.len() as u64);
    let session = Session::new(context, spec.settings, host, stop, budget, journal, leases, totals, String::new(), planned);
    let session = Arc::new(session);
    let calls = Arc::new(ModelCalls::new(&session, model));
    let work = all(&session, &calls, &extractor, answers, in_flight);
    let extractions = session.within_grace(work).await;
    match session.fatal() {
        Some(error) => Err(error),
        None => Ok(extractions),
    }
}

async fn all(
    session: &Arc<Session>,
    calls: &Arc<ModelCalls>,
    extractor: &Arc<Extractor>,
    answers: Vec<Arc<QuestionRun>>,
    in_flight: usize,
) -> Vec<Extraction> {
    let mut extractions: Vec<(usize, Extraction)> = Vec::with_capacity(answers.len());
    let mut tasks = JoinSet::new();
    for (place, run) in answers.into_iter().enumerate() {
        while tasks.len() >= in_flight {
            collect(session, &mut tasks, &mut extractions).await;
        }
        let (session, calls, extractor) = (session.clone(), calls.clone(), extractor.clone());
        tasks.spawn(async move { (place, one(&session, &calls, &extractor, &run).await) });
    }
    while !tasks.is_empty() {
        collect(session, &mut tasks, &mut extractions).await;
    }
    extractions.sort_by_key(|(place, _)| *place);
    extractions.into_iter().map(|(_, extraction)| extraction).collect()
}

/// Takes the next that ends. One that panics ends the list: see [`Session::ended`].
async fn collect(session: &Session, tasks: &mut JoinSet<(usize, Extraction)>, extractions: &mut Vec<(usize, Extraction)>) {
    if let Some(joined) = tasks.join_next().await {
        extractions.extend(session.ended(joined));
    }
}

async fn one(session: &Session, calls: &ModelCalls, extractor: &Extractor, run: &QuestionRun) -> Extraction {
    let has_text = run.outcome.text.as_deref().is_some_and(|text| !text.trim().is_empty());
    if run.outcome.status != RunStatus::Answered || !has_text {
        return extractor.local(run, session.context.clock.now_ms()); // nothing to ask about
    }
    let may_ask = !session.stop.is_cancelled() && !session.budget.is_exhausted() && !calls.are_stopped();
    if may_ask && let Some(extraction) = extract::by_model(session, calls, extractor, run).await {
        return extraction;
    }
    let mut extraction = extractor.local(run, session.context.clock.now_ms());
    extraction.error = Some(why_not(session, calls).with(|context| context.cell = Some(run.key.to_string())));
    extraction
}

/// Why the model was not asked about an answer.
fn why_not(session: &Session, calls: &ModelCalls) -> Error {
    if let Some(error) = calls.stopped() {
        return error;
    }
    if session.stop.is_cancelled() {
        return Error::new(ErrorKind::Cancelled, "stopped on request before this answer");
    }
    Error::new(ErrorKind::Budget, "max_cost was reached before this answer")
}
