//! The requests of one answer, and how their replies become its extraction: the same for direct calls and for a provider's
//! batch. Sends nothing and books nothing; whoever asks brings the bill.

use super::extract::Bill;
use super::model_stop;
use super::session::Session;
use crate::domain::{
    Competitor, Dropped, EXTRACTOR_VERSION, Evidence, Extraction, ExtractionMethod, QuestionRun, RunStatus, StructuredRequest,
};
use crate::error::{Error, ErrorKind, Result};
use crate::extract::{Extractor, Verdict};
use crate::journal::Call;

/// A checked reply.
#[derive(Debug)]
pub(super) enum Parsed {
    Competitors(Vec<Competitor>, Dropped),
    Evaluation(Verdict),
}

/// What the model is asked about an answer. Empty: the rules alone tell everything.
pub(super) fn requests(extractor: &Extractor, run: &QuestionRun) -> Vec<(Call, StructuredRequest)> {
    let text = text(run);
    if text.trim().is_empty() {
        return Vec::new();
    }
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    let mut requests = vec![(Call::Competitors, extractor.competitors_request(text, &nonce))];
    if extractor.matches(text) {
        requests.push((Call::Evaluation, extractor.evaluation_request(text, &nonce)));
    }
    requests
}

/// Reads and checks the reply of a call.
///
/// # Errors
/// [`ErrorKind::Semantic`] when it is no JSON of the schema.
pub(super) fn parse(extractor: &Extractor, run: &QuestionRun, call: Call, json: &str) -> Result<Parsed> {
    match call {
        Call::Competitors => {
            extractor.parse_competitors(text(run), json).map(|(found, dropped)| Parsed::Competitors(found, dropped))
        }
        Call::Evaluation => extractor.parse_evaluation(text(run), json).map(Parsed::Evaluation),
        Call::Answer | Call::Names | Call::Structured => {
            Err(Error::internal(format!("{} is no call of an extraction", call.id(None))))
        }
    }
}

/// The extraction. `None`: not extracted now (budget, stopped provider), and nothing was charged; the next start does it.
pub(super) fn assemble(
    session: &Session,
    extractor: &Extractor,
    run: &QuestionRun,
    replies: Result<Vec<Parsed>>,
    bill: Bill,
) -> Option<Extraction> {
    let mut extraction = Extraction {
        batch_id: run.batch_id.clone(),
        run_id: run.run_id.clone(),
        org_id: run.org_id.clone(),
        key: run.key.clone(),
        method: ExtractionMethod::Llm,
        extractor_version: EXTRACTOR_VERSION.to_owned(),
        fingerprint: String::new(),
        evaluation: Default::default(),
        competitors: Vec::new(),
        citations: Vec::new(),
        dropped: Dropped::default(),
        evidence: Evidence::default(),
        cost_micro_usd: bill.cost(),
        maybe_charged_micro_usd: bill.maybe_charged(),
        usage: bill.usage().clone(),
        error: None,
        extracted_at_ms: session.context.clock.now_ms(),
    };
    match replies {
        Ok(replies) => fill(&mut extraction, extractor, run, replies),
        Err(error) if error.kind == ErrorKind::Budget => {
            let stopped = error.context.code.as_deref() == Some(model_stop::CODE);
            if !stopped {
                session.totals.budget_reached(error);
            }
            if bill.is_nothing() {
                return None;
            }
            let what = if stopped { "the extraction model was stopped" } else { "max_cost was reached" };
            extraction.error = Some(Error::new(ErrorKind::Budget, format!("{what} between the calls of this extraction")));
        }
        Err(error)
            if (error.kind.stops_provider() || matches!(error.kind, ErrorKind::Cancelled | ErrorKind::Journal))
                && bill.is_nothing() =>
        {
            return None;
        }
        Err(error) => {
            extraction.error = Some(error.with(|context| context.cell = Some(run.key.to_string())));
        }
    }
    Some(extraction)
}

fn fill(extraction: &mut Extraction, extractor: &Extractor, run: &QuestionRun, replies: Vec<Parsed>) {
    let (mut competitors, mut dropped, mut verdict) = (Vec::new(), Dropped::default(), None);
    for reply in replies {
        match reply {
            Parsed::Competitors(found, more) => (competitors, dropped) = (found, more),
            Parsed::Evaluation(found) => verdict = Some(found),
        }
    }
    let made = extractor.with_model(run, verdict.as_ref(), (&competitors, &dropped), extraction.extracted_at_ms);
    *extraction = Extraction {
        cost_micro_usd: extraction.cost_micro_usd,
        maybe_charged_micro_usd: extraction.maybe_charged_micro_usd,
        usage: std::mem::take(&mut extraction.usage),
        ..made
    };
}

/// The text of an answered run; empty for any other: nobody is asked about the words of a refusal.
fn text(run: &QuestionRun) -> &str {
    run.outcome.text.as_deref().filter(|_| run.outcome.status == RunStatus::Answered).unwrap_or_default()
}
