//! Text analysis: name variations, mentions, citations, competitors. Pure functions; the calls to a language model are made
//! by the pipeline from the [`StructuredRequest`]s built here, and their replies are parsed and checked here.
//!
//! The documented checks of what a language model says: a quote must stand in the answer, a competitor's name must stand in
//! the answer, the org itself and generic nouns are no competitors, each name counts once. What fails is dropped and counted.

mod citations;
mod competitors;
mod evaluation;
mod mentions;
mod names;

use crate::domain::{Competitor, Dropped, ExtractedCitation, Extraction, Org, OrgEvaluation, QuestionRun, Sentiment, StructuredRequest};
use crate::error::{Error, Result};

pub use names::{deterministic_names, fingerprint, names_request, parse_names};

/// What the language model said of the org, after the checks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The model confirms the mention and its quote stands in the answer.
    pub mentioned: bool,
    /// `None` when not mentioned.
    pub sentiment: Option<Sentiment>,
    /// Passages joined by ` || `; `None` when not mentioned.
    pub mention_text: Option<String>,
    /// Quotes thrown away.
    pub invented_quotes: u32,
}

/// The org's names, domains and competitors, compiled once per run. Cheap to share, `Send + Sync`.
#[derive(Debug)]
pub struct Extractor {}

impl Extractor {
    /// Compiles the matchers. `names` are the name variations (phase 1); the org's own name, aliases and domains are added.
    #[must_use]
    pub fn new(org: &Org, names: &[String]) -> Self {
        let _ = (org, names);
        Self {}
    }

    /// True when a name form of the org stands in the text: only then is a language model asked about the mention.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let _ = text;
        false
    }

    /// The whole extraction by rules: `method = local`, cost 0. Never fails, whatever the run holds.
    #[must_use]
    pub fn local(&self, run: &QuestionRun, now_ms: i64) -> Extraction {
        let _ = (run, now_ms);
        unreachable!("placeholder")
    }

    /// The citations of a run: the provider's list and the URLs of the text, joined without duplicates.
    #[must_use]
    pub fn citations(&self, run: &QuestionRun) -> (Vec<ExtractedCitation>, Dropped) {
        let _ = run;
        (Vec::new(), Dropped::default())
    }

    /// The call that verifies the mention and gives sentiment and mention text. `nonce` fences the untrusted answer.
    #[must_use]
    pub fn evaluation_request(&self, text: &str, nonce: &str) -> StructuredRequest {
        evaluation::request(text, nonce)
    }

    /// Parses and checks the reply of [`Self::evaluation_request`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::Semantic`] when it is no JSON of the schema.
    pub fn parse_evaluation(&self, text: &str, json: &str) -> Result<Verdict> {
        let _ = (text, json);
        Err(Error::internal("placeholder"))
    }

    /// The call that lists the other brands of the answer.
    #[must_use]
    pub fn competitors_request(&self, text: &str, nonce: &str) -> StructuredRequest {
        evaluation::request(text, nonce)
    }

    /// Parses and checks the reply of [`Self::competitors_request`]; in order of first appearance.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Semantic`] when it is no JSON of the schema.
    pub fn parse_competitors(&self, text: &str, json: &str) -> Result<(Vec<Competitor>, Dropped)> {
        let _ = (text, json);
        Err(Error::internal("placeholder"))
    }

    /// Puts the evaluation together: rank among `competitors`, share of voice, own citation. `verdict` is `None` when no
    /// name form stands in the answer (then no model was asked).
    #[must_use]
    pub fn evaluation(
        &self,
        text: &str,
        verdict: Option<&Verdict>,
        competitors: &[Competitor],
        citations: &[ExtractedCitation],
    ) -> OrgEvaluation {
        let _ = (text, verdict, competitors, citations);
        OrgEvaluation::default()
    }
}
