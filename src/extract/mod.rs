//! Text analysis: name variations, mentions, citations, competitors. Pure functions; the calls to a language model are made
//! by the pipeline from the [`StructuredRequest`]s built here, and their replies are parsed and checked here.
//!
//! The documented checks of what a language model says: a quote must stand in the answer, a competitor's name must stand in
//! the answer, the org itself and generic nouns are no competitors, each name counts once. What fails is dropped and counted.

mod citations;
mod competitors;
mod evaluation;
mod fold;
mod markup;
mod mentions;
mod names;
mod passages;
mod reply;
mod web;
mod words;

use std::collections::HashSet;
use std::ops::Range;

use crate::domain::{
    Competitor, Dropped, EXTRACTOR_VERSION, ExtractedCitation, Extraction, ExtractionMethod, MicroUsd, Org, OrgEvaluation,
    QuestionRun, RunStatus, Sentiment, StructuredRequest, Usage,
};
use crate::error::Result;
use mentions::{Document, Matcher, Name};
use web::Website;

pub use names::{deterministic_names, fingerprint, names_request, parse_names};

/// Most names of the org that a prompt shows.
const SHOWN_NAMES: usize = 30;

/// What the language model said of the org, after the checks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The model confirms the mention and its quote stands in the answer.
    pub mentioned: bool,
    /// `None` when not mentioned, or when the model's word is none of the three.
    pub sentiment: Option<Sentiment>,
    /// Passages in the answer's own wording, joined by ` || `; `None` when not mentioned.
    pub mention_text: Option<String>,
    /// Quotes thrown away.
    pub invented_quotes: u32,
}

/// The org's names, domains and competitors, compiled once per run. Cheap to share, `Send + Sync`.
#[derive(Debug)]
pub struct Extractor {
    /// Shown to the model: name, aliases and the first variations.
    shown: Vec<String>,
    websites: Vec<String>,
    own: Matcher,
    /// Letters and digits of every own name.
    own_names: HashSet<String>,
    own_domains: HashSet<String>,
    rivals: Matcher,
}

impl Extractor {
    /// Compiles the matchers. `names` are the name variations (phase 1); the org's own name, aliases and domains are added.
    #[must_use]
    pub fn new(org: &Org, names: &[String]) -> Self {
        let websites: Vec<Website> = org.websites.iter().filter_map(|website| Website::read(website)).collect();
        let hosts: Vec<&str> = websites
            .iter()
            .flat_map(|website| [&website.shown_host, &website.shown_domain, &website.host, &website.domain])
            .map(String::as_str)
            .collect();
        let written: Vec<&str> = std::iter::once(&org.name).chain(&org.aliases).chain(names).map(String::as_str).collect();
        let name = |domain: bool| move |text| Name { text, group: 0, domain };
        let own = Matcher::new(hosts.iter().copied().map(name(true)).chain(written.iter().copied().map(name(false))));
        let own_names: HashSet<String> =
            hosts.iter().chain(&written).map(|name| competitors::compact(name)).filter(|name| !name.is_empty()).collect();
        let rivals = competitors::configured(&org.competitors, &own_names);
        let mut shown: Vec<String> = Vec::new();
        for name in &written {
            if shown.len() < SHOWN_NAMES && !shown.iter().any(|known| known == name) {
                shown.push((*name).to_owned());
            }
        }
        let own_domains = websites.into_iter().map(|website| website.domain).collect();
        Self { shown, websites: org.websites.clone(), own, own_names, own_domains, rivals }
    }

    /// True when a name form of the org stands in the text: only then is a language model asked about the mention.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.own.any(&Document::new(text))
    }

    /// The whole extraction by rules: `method = local`, cost 0. Never fails, whatever the run holds.
    ///
    /// Only an answered run has a text to look at. Competitors are the configured ones. The mention text is the sentences that
    /// hold a mention; a sentence that says a brand is unknown or not listed is no mention of it. The sentiment is a count of English
    /// words of praise and blame in those sentences, `None` when they hold neither or as many of both: a hint, not a judgement.
    #[must_use]
    pub fn local(&self, run: &QuestionRun, now_ms: i64) -> Extraction {
        let document = Document::new(answer(run));
        let text = document.text;
        let (citations, dropped) = citations::extract(&document, &run.outcome.citations, &self.own_domains);
        let mentions = passages::without_absences(text, self.own.spans(&document));
        let passages = passages::around(text, &mentions);
        let verdict = Verdict {
            mentioned: !mentions.is_empty(),
            sentiment: passages::sentiment(text, &passages),
            mention_text: passages::joined(text, &passages),
            invented_quotes: 0,
        };
        let rivals = self.rivals.first_of_each(&document, passages::is_not_absence(text));
        let evaluation = evaluation::assemble(text, Some(&verdict), mentions.first(), &rivals, &citations);
        Extraction {
            batch_id: run.batch_id.clone(),
            run_id: run.run_id.clone(),
            org_id: run.org_id.clone(),
            key: run.key.clone(),
            method: ExtractionMethod::Local,
            extractor_version: EXTRACTOR_VERSION.to_owned(),
            evaluation,
            competitors: competitors::in_order(&document, rivals),
            citations,
            dropped,
            cost_micro_usd: Some(MicroUsd::ZERO),
            maybe_charged_micro_usd: MicroUsd::ZERO,
            usage: Usage::default(),
            error: None,
            extracted_at_ms: now_ms,
        }
    }

    /// The citations of a run: the provider's list and the URLs of the text, joined without duplicates.
    #[must_use]
    pub fn citations(&self, run: &QuestionRun) -> (Vec<ExtractedCitation>, Dropped) {
        citations::extract(&Document::new(answer(run)), &run.outcome.citations, &self.own_domains)
    }

    /// The call that verifies the mention and gives sentiment and mention text. `nonce` fences the untrusted answer.
    #[must_use]
    pub fn evaluation_request(&self, text: &str, nonce: &str) -> StructuredRequest {
        evaluation::request(&self.shown, &self.websites, text, nonce)
    }

    /// Parses and checks the reply of [`Self::evaluation_request`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::Semantic`] when it is no JSON of the schema.
    pub fn parse_evaluation(&self, text: &str, json: &str) -> Result<Verdict> {
        evaluation::parse(&Document::new(text), json)
    }

    /// The call that lists the other brands of the answer.
    #[must_use]
    pub fn competitors_request(&self, text: &str, nonce: &str) -> StructuredRequest {
        competitors::request(&self.shown, text, nonce)
    }

    /// Parses and checks the reply of [`Self::competitors_request`]; in order of first appearance.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Semantic`] when it is no JSON of the schema.
    pub fn parse_competitors(&self, text: &str, json: &str) -> Result<(Vec<Competitor>, Dropped)> {
        competitors::parse(&Document::new(text), json, &self.own_names)
    }

    /// Puts the evaluation together: rank among `competitors`, share of voice, own citation. `verdict` is `None` when no
    /// name form stands in the answer (then no model was asked). The rank is taken from the text, not from the model; a verdict
    /// on an answer without a name form is no mention.
    #[must_use]
    pub fn evaluation(
        &self,
        text: &str,
        verdict: Option<&Verdict>,
        competitors: &[Competitor],
        citations: &[ExtractedCitation],
    ) -> OrgEvaluation {
        let document = Document::new(text);
        let Some(verdict) = verdict.filter(|verdict| verdict.mentioned) else {
            return evaluation::assemble(text, None, None, &[], citations);
        };
        let all = self.own.spans(&document);
        let first = all.first().cloned();
        let mention: Option<Range<usize>> = passages::without_absences(text, all).into_iter().next().or(first);
        let names = competitors.iter().map(|competitor| competitor.name.as_str()).enumerate();
        let rivals = competitors::matcher(names).first_of_each(&document, |_| true);
        evaluation::assemble(text, Some(verdict), mention.as_ref(), &rivals, citations)
    }
}

/// The text of an answered run; empty for any other: the words of a refusal are not an answer.
fn answer(run: &QuestionRun) -> &str {
    run.outcome.text.as_deref().filter(|_| run.outcome.status == RunStatus::Answered).unwrap_or_default()
}
