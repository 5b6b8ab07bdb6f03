//! The plan of a run and what it costs, expected and at most: what is stored already is left out. Sends nothing.

use std::sync::Arc;

use super::existing::Existing;
use super::plan::Matrix;
use super::resolve;
use super::spec::{AccountLine, Phase, Quote, QuoteLine, RunSpec};
use super::totals::Totals;
use super::unpriced::{CALLS_OF_AN_EXTRACTION, worst_call};
use crate::config::ExtractionMode;
use crate::domain::MicroUsd;
use crate::error::Result;
use crate::providers::{self, Ask, Protocol, Provider, StructuredModel};
use crate::store::Store;

/// Characters of an answer that the expectation of extraction calls assumes, with the prompt around it.
const EXPECTED_PROMPT_CHARACTERS: usize = 4_000;

/// The plan of a batch that does not exist yet.
pub(super) fn quote(spec: &RunSpec) -> Result<Quote> {
    spec.settings.check()?;
    let matrix = Matrix::new(spec)?;
    plan(spec, &matrix, &providers(spec)?, None, true)
}

/// The plan of a start that goes on with a stored batch.
pub(super) async fn quote_stored(spec: &RunSpec, store: &dyn Store) -> Result<Quote> {
    spec.settings.check()?;
    let matrix = Matrix::new(spec)?;
    let existing = Existing::read(store, spec, &matrix, &Totals::default(), &Default::default()).await?;
    let cached = match extraction_model(spec)? {
        Some(model) => store.load_fact(super::names::fact(&spec.org, model.model())).await?.is_some(),
        None => false,
    };
    let mut quote = plan(spec, &matrix, &providers(spec)?, Some(&existing), !cached)?;
    quote.unknowns.push("what an interrupted start bought and did not store: a start fetches it instead of buying it".into());
    Ok(quote)
}

fn providers(spec: &RunSpec) -> Result<Vec<Arc<dyn Provider>>> {
    if spec.phase == Phase::Extract {
        return Ok(Vec::new());
    }
    spec.models.iter().map(|model| resolve::provider(&model.model, &spec.custom_providers, &spec.settings)).collect()
}

fn extraction_model(spec: &RunSpec) -> Result<Option<Arc<dyn StructuredModel>>> {
    let wanted = spec.phase != Phase::Execute && spec.extraction.asks_a_model();
    wanted.then(|| providers::structured_model(&spec.settings.extraction_model, &spec.settings)).transpose()
}

/// The plan. `existing`: what the store has; `None`: nothing. `names`: the call for name variations is still to be made.
pub(super) fn plan(
    spec: &RunSpec,
    matrix: &Matrix,
    providers: &[Arc<dyn Provider>],
    existing: Option<&Existing>,
    names: bool,
) -> Result<Quote> {
    let overhead = spec.batch_overhead_micro_usd + spec.batch_overhead_maybe_charged_micro_usd;
    let mut quote = Quote {
        stored: existing.map_or(0, |existing| existing.done_count),
        spent_micro_usd: existing.map_or(0, |existing| existing.cost) + overhead,
        max_cost_micro_usd: spec.max_cost_micro_usd,
        ..Quote::default()
    };
    let left = spec.max_cost_micro_usd.map(|cap| MicroUsd(cap - quote.spent_micro_usd));
    for (place, provider) in providers.iter().enumerate() {
        pair_lines(spec, matrix, (place, provider.as_ref()), existing, left, &mut quote);
    }
    let answers = quote.cells + existing.map_or(0, |existing| existing.unextracted);
    if let Some(model) = extraction_model(spec)?.filter(|_| answers > 0) {
        extraction_lines(spec, model.as_ref(), answers, names, &mut quote)?;
    }
    sum_up(&mut quote);
    quote.unknowns.push("tokens and searches of an answer are known only after it came".into());
    Ok(quote)
}

/// A line for each pair of a model with open cells. What a call costs follows from the model and the question, not from the location.
fn pair_lines(
    spec: &RunSpec,
    matrix: &Matrix,
    (model, provider): (usize, &dyn Provider),
    existing: Option<&Existing>,
    left: Option<MicroUsd>,
    quote: &mut Quote,
) {
    let price = |question: &Arc<crate::domain::Question>| {
        let (key, question) = (question.id.as_str().into(), question.text.as_str().into());
        let ask = Ask { key, question, location: None, web_search: spec.web_search };
        (provider.expected(&ask), provider.worst_case(&ask))
    };
    let prices: Vec<(MicroUsd, MicroUsd)> = matrix.questions.iter().map(price).collect();
    let size = match provider.protocol() {
        Protocol::Direct(_) => 1,
        Protocol::Snapshot(_) | Protocol::Host(_) => provider.max_batch_size().max(1),
    };
    for (place, location) in matrix.locations.iter().enumerate() {
        let mut line = QuoteLine {
            what: format!("{} {location}", provider.model()),
            provider: provider.name().into(),
            ..QuoteLine::default()
        };
        let mut first_call = MicroUsd::ZERO;
        for number in matrix.pair(model, place).filter(|number| existing.is_none_or(|existing| !existing.done.get(*number))) {
            let (expected, worst) = prices.get(number % prices.len()).copied().unwrap_or_default();
            if line.questions < size as u64 {
                first_call = first_call.plus(worst);
            }
            line.questions += 1;
            line.expected_micro_usd = line.expected_micro_usd.saturating_add(expected.0);
            line.worst_case_micro_usd = line.worst_case_micro_usd.saturating_add(worst.0);
        }
        if line.questions == 0 {
            continue;
        }
        if let Some(left) = left.filter(|left| first_call > *left) {
            let left = left.max(MicroUsd::ZERO);
            quote.uncovered.push(format!("{}: its first call needs ${first_call} at most, ${left} are left", line.what));
        }
        line.calls = line.questions.div_ceil(size as u64);
        quote.cells += line.questions;
        quote.lines.push(line);
    }
}

fn extraction_lines(spec: &RunSpec, model: &dyn StructuredModel, answers: u64, names: bool, quote: &mut Quote) -> Result<()> {
    let request = crate::extract::names_request(&spec.org);
    let prompt = request.system.len() + request.user.len();
    let line = |what: &str, calls: u64, expected: MicroUsd, worst: MicroUsd| QuoteLine {
        what: what.into(),
        provider: model.name().into(),
        questions: 0,
        calls,
        expected_micro_usd: expected.0,
        worst_case_micro_usd: worst.0,
    };
    if names {
        quote.lines.push(line("name variations", 1, model.expected(prompt), model.worst_case(&request).times(2)));
    }
    // A competitor call per answer, and an evaluation call where a name was found: at most two, each repaired at most once.
    let mut expected = model.expected(EXPECTED_PROMPT_CHARACTERS).times(answers * 2);
    let mut worst = worst_call(model, &spec.org).times(answers.saturating_mul(CALLS_OF_AN_EXTRACTION));
    if spec.extraction == ExtractionMode::LlmBatch {
        // The calls at the price of a batch; a repair of each is a direct call at the full price.
        let batched = providers::batch_model(&spec.settings.extraction_model, &spec.settings)?;
        let repairs = answers.saturating_mul(CALLS_OF_AN_EXTRACTION / 2);
        expected = batched.expected(EXPECTED_PROMPT_CHARACTERS).times(answers * 2);
        worst = worst_call(batched.as_ref(), &spec.org).times(repairs).plus(worst_call(model, &spec.org).times(repairs));
    }
    quote.lines.push(line("extraction", answers * 2, expected, worst));
    quote.unknowns.push("how many answers mention the org: each needs one more extraction call (counted as if all did)".into());
    quote.unknowns.push("how long answers are: the most of an extraction assumes 20,000 characters".into());
    Ok(())
}

fn sum_up(quote: &mut Quote) {
    for line in &quote.lines {
        let account = match quote.accounts.iter_mut().find(|account| account.provider == line.provider) {
            Some(account) => account,
            None => {
                quote.accounts.push(AccountLine { provider: line.provider.clone(), ..AccountLine::default() });
                let Some(account) = quote.accounts.last_mut() else { continue };
                account
            }
        };
        account.calls += line.calls;
        account.expected_micro_usd = account.expected_micro_usd.saturating_add(line.expected_micro_usd);
        account.worst_case_micro_usd = account.worst_case_micro_usd.saturating_add(line.worst_case_micro_usd);
        quote.expected_micro_usd = quote.expected_micro_usd.saturating_add(line.expected_micro_usd);
        quote.worst_case_micro_usd = quote.worst_case_micro_usd.saturating_add(line.worst_case_micro_usd);
    }
}

/// The plan in one line, said before anything is sent.
pub(super) fn line(quote: &Quote) -> String {
    let accounts: Vec<String> = quote
        .accounts
        .iter()
        .map(|account| format!("{} ${}", account.provider, MicroUsd(account.worst_case_micro_usd)))
        .collect();
    let cap = quote.max_cost_micro_usd.map_or_else(String::new, |cap| {
        format!("; ${} of max_cost ${} are spent", MicroUsd(quote.spent_micro_usd), MicroUsd(cap))
    });
    format!(
        "Plan: {} questions to ask, ${} expected, ${} at most ({}){cap}",
        quote.cells,
        MicroUsd(quote.expected_micro_usd),
        MicroUsd(quote.worst_case_micro_usd),
        accounts.join(", ")
    )
}
