//! The plan of a run and what it costs, expected and at most. Sends nothing.

use super::plan::Matrix;
use super::resolve;
use super::spec::{Phase, Quote, QuoteLine, RunSpec};
use crate::config::ExtractionMode;
use crate::domain::{Location, MicroUsd};
use crate::error::Result;
use crate::providers::{self, Ask, Protocol};

/// Characters of an answer that the expectation of extraction calls assumes, with the prompt around it.
const EXPECTED_PROMPT_CHARACTERS: usize = 4_000;

pub(super) fn quote(spec: &RunSpec) -> Result<Quote> {
    spec.settings.check()?;
    let matrix = Matrix::new(spec)?;
    let mut quote = Quote { cells: matrix.len() as u64, ..Quote::default() };
    if spec.phase != Phase::Extract {
        for model in &spec.models {
            let provider = resolve::provider(&model.model, &spec.custom_providers, &spec.settings)?;
            for location in &matrix.locations {
                quote.lines.push(pair_line(spec, &matrix, provider.as_ref(), location));
            }
        }
    }
    if spec.phase != Phase::Execute && spec.extraction == ExtractionMode::Llm {
        extraction_lines(spec, &matrix, &mut quote)?;
    }
    quote.expected_micro_usd = quote.lines.iter().map(|line| line.expected_micro_usd).sum();
    quote.worst_case_micro_usd = quote.lines.iter().map(|line| line.worst_case_micro_usd).sum();
    quote.unknowns.push("answers already stored are skipped; this plan counts every cell".into());
    quote.unknowns.push("tokens and searches of an answer are known only after it came".into());
    Ok(quote)
}

fn pair_line(spec: &RunSpec, matrix: &Matrix, provider: &dyn providers::Provider, location: &std::sync::Arc<Location>) -> QuoteLine {
    let mut line = QuoteLine { what: format!("{} {location}", provider.model()), provider: provider.name().into(), ..QuoteLine::default() };
    let (mut expected, mut worst) = (MicroUsd::ZERO, MicroUsd::ZERO);
    for question in &matrix.questions {
        let ask = Ask {
            key: question.id.as_str().into(),
            question: question.text.as_str().into(),
            location: (!location.is_anywhere()).then(|| location.clone()),
            web_search: spec.web_search,
        };
        expected = expected.plus(provider.expected(&ask));
        worst = worst.plus(provider.worst_case(&ask));
    }
    let repeats = u64::from(matrix.repeats);
    line.questions = matrix.cells_per_pair() as u64;
    line.calls = match provider.protocol() {
        Protocol::Direct(_) => line.questions,
        Protocol::Snapshot(_) | Protocol::Host(_) => line.questions.div_ceil(provider.max_batch_size().max(1) as u64),
    };
    line.expected_micro_usd = expected.times(repeats).0;
    line.worst_case_micro_usd = worst.times(repeats).0;
    line
}

fn extraction_lines(spec: &RunSpec, matrix: &Matrix, quote: &mut Quote) -> Result<()> {
    let model = providers::structured_model(&spec.settings.extraction_model, &spec.settings)?;
    let names = crate::extract::names_request(&spec.org);
    let prompt = names.system.len() + names.user.len();
    let line = |what: &str, calls: u64, expected: MicroUsd, worst: MicroUsd| QuoteLine {
        what: what.into(),
        provider: model.name().into(),
        questions: 0,
        calls,
        expected_micro_usd: expected.times(calls).0,
        worst_case_micro_usd: worst.times(calls).0,
    };
    let worst = model.worst_case(&names);
    quote.lines.push(line("name variations", 1, model.expected(prompt), worst));
    // A competitor call per answer, and an evaluation call where a name was found: at most two, each repaired at most once.
    let cells = matrix.len() as u64;
    let mut extraction = line("extraction", cells * 2, model.expected(EXPECTED_PROMPT_CHARACTERS), worst);
    extraction.worst_case_micro_usd = extraction.worst_case_micro_usd.saturating_mul(2);
    quote.lines.push(extraction);
    quote.unknowns.push("how many answers mention the org: each needs one more extraction call (counted as if all did)".into());
    Ok(())
}
