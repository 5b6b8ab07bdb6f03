//! What stored rows without a known charge can have cost at most: unknown is not zero, so this counts against `max_cost`. Sends nothing.

use std::collections::HashMap;
use std::sync::Arc;

use super::resolve;
use super::spec::RunSpec;
use crate::domain::{CellKey, ExistingKey, MicroUsd, StructuredRequest};
use crate::providers::{self, Ask, Provider, StructuredModel};

/// Characters of an answer that the most of an extraction assumes, with the prompt around it. Longer ones are rare.
pub(super) const LONGEST_PROMPT_CHARACTERS: usize = 20_000;
/// Structured calls of an extraction: competitors and mention, each repaired at most once.
pub(super) const CALLS_OF_AN_EXTRACTION: u64 = 4;

/// The worst cases of a batch's cells.
pub(super) struct WorstCases<'a> {
    spec: &'a RunSpec,
    /// By model, also of models that this start does not run; `None`: it cannot be resolved here.
    providers: HashMap<String, Option<Arc<dyn Provider>>>,
}

impl<'a> WorstCases<'a> {
    pub(super) fn new(spec: &'a RunSpec) -> Self {
        Self { spec, providers: HashMap::new() }
    }

    /// What the unknown charges of a stored cell can have been: of its answer, and of its extraction.
    pub(super) fn of(&mut self, key: &CellKey, existing: &ExistingKey) -> (MicroUsd, MicroUsd) {
        if existing.unpriced == 0 {
            return (MicroUsd::ZERO, MicroUsd::ZERO);
        }
        let extraction = u64::from(existing.extraction_unpriced);
        let answer = u64::from(existing.unpriced.saturating_sub(existing.extraction_unpriced));
        (self.answer(key).times(answer), self.extraction().times(extraction))
    }

    fn answer(&mut self, key: &CellKey) -> MicroUsd {
        let spec = self.spec;
        let resolve = || resolve::provider(&key.model, &spec.custom_providers, &spec.settings).ok();
        let provider = self.providers.entry(key.model.clone()).or_insert_with(resolve);
        let question = spec.questions.iter().find(|question| question.id == key.question_id);
        let (Some(provider), Some(question)) = (provider, question) else { return MicroUsd::ZERO };
        let ask = Ask { key: "".into(), question: question.text.as_str().into(), location: None, web_search: spec.web_search };
        provider.worst_case(&ask)
    }

    fn extraction(&self) -> MicroUsd {
        let settings = &self.spec.settings;
        providers::structured_model(&settings.extraction_model, settings)
            .map_or(MicroUsd::ZERO, |model| worst_call(model.as_ref(), &self.spec.org).times(CALLS_OF_AN_EXTRACTION))
    }
}

/// The most that one structured call of an extraction is reserved for, with an answer of [`LONGEST_PROMPT_CHARACTERS`].
pub(super) fn worst_call(model: &dyn StructuredModel, org: &crate::domain::Org) -> MicroUsd {
    let names = crate::extract::names_request(org);
    model.worst_case(&StructuredRequest { user: "x".repeat(LONGEST_PROMPT_CHARACTERS), ..names })
}
