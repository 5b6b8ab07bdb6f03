//! Text analysis: name variations, mentions, citations, competitors. Pure functions; the calls to a language model are made
//! by the pipeline from the [`StructuredRequest`]s built here, and their replies are parsed and checked here.
//!
//! The documented checks of what a language model says: a quote must stand in the answer, a competitor's name must stand in
//! the answer, the org itself and generic nouns are no competitors, each name counts once. What fails is dropped and counted.

mod absence;
mod advice;
mod brands;
mod bytes;
mod citations;
mod classes;
mod clause;
mod competitors;
mod digest;
mod document;
mod entries;
mod evaluation;
mod fence;
mod finder;
mod fold;
mod form;
mod geo;
mod hits;
mod inflection;
mod injection;
mod labels;
mod lexicon;
mod links;
mod lists;
mod lookalike;
mod markup;
mod mentions;
mod model;
mod names;
mod owners;
mod page;
mod passages;
mod percent;
mod phrases;
#[cfg(test)]
#[path = "../../tests/rust/processor_time.rs"]
mod processor_time;
mod quotes;
mod rank;
mod ratings;
mod redirects;
mod replay;
mod reply;
mod schema;
mod scopes;
mod sense;
mod sentiment;
mod shares;
mod spans;
mod spelling;
mod statement;
mod stretches;
mod table;
mod tracking;
mod web;
mod words;

use std::collections::HashSet;
use std::ops::Range;

use crate::domain::{
    Competitor, Dropped, EXTRACTOR_VERSION, Evidence, ExtractedCitation, Extraction, ExtractionMethod, FieldEvidence, Hit,
    MicroUsd, Org, OrgEvaluation, QuestionRun, RunStatus, Sentiment, Shares, Span, StructuredRequest, Usage,
};
use crate::error::Result;
use brands::Brands;
use evaluation::{Facts, assemble, field};
use mentions::{Document, Matcher, Name};
use sense::{Found, Judge, Sense};
use web::Website;

pub use names::{deterministic_names, fingerprint, names_request, parse_names};
pub use schema::conforming;

/// Most names of the org that a prompt shows.
const SHOWN_NAMES: usize = 30;

/// What the language model said of the org, after the checks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The model's bare word on the mention.
    pub says_mentioned: bool,
    /// The model confirms the mention, and a quote of it with a name of the org stands in the answer.
    pub mentioned: bool,
    /// `None` when not mentioned, or when the model's word is none of the three.
    pub sentiment: Option<Sentiment>,
    /// The passage that shows the sentiment, in the answer's own wording; `None` when none was given that stands there.
    pub sentiment_quote: Option<String>,
    /// Where `sentiment_quote` stands, in characters: one span, or none.
    pub sentiment_spans: Vec<Span>,
    /// Passages in the answer's own wording, joined by ` || `; `None` when not mentioned.
    pub mention_text: Option<String>,
    /// Where the passages of `mention_text` stand, in characters.
    pub mention_spans: Vec<Span>,
    /// Quotes thrown away: not in the answer.
    pub invented_quotes: u32,
    /// Fields and quotes thrown away: outside their words, too long, too many, not about the org, not asked for.
    pub invalid_fields: u32,
}

/// The citations of an answer and what follows from them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cited {
    /// Unique by canonical URL.
    pub citations: Vec<ExtractedCitation>,
    /// What was no citation.
    pub dropped: Dropped,
    /// Of own pages; `occurrences` is `None`.
    pub shares: Shares,
    /// The first 50 places of URLs in the text; `None` without any citation.
    pub evidence: Option<FieldEvidence>,
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
    owners: owners::Owners,
    brands: Brands,
    sense: Sense,
    /// Of what the org's entry and the variations tell the rules.
    fingerprint: String,
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
        let given: Vec<&str> = std::iter::once(&org.name).chain(&org.aliases).map(String::as_str).collect();
        let rival_names: HashSet<String> = org.competitors.iter().map(|rival| competitors::compact(&rival.name)).collect();
        // A variation that is an ordinary word, an initial or a competitor's name would find what is not the org.
        let usable = |name: &&str| {
            let folded = fold::fold(name);
            let letters = folded.chars().filter(|letter| mentions::is_word(*letter)).count();
            let short = letters < 3 && folded.is_ascii() && name.chars().any(char::is_lowercase);
            given.iter().any(|given| fold::fold(given) == folded)
                || !(words::is_generic(&folded) || short || rival_names.contains(&competitors::compact(name)))
        };
        let written: Vec<&str> = given.iter().copied().chain(names.iter().map(String::as_str).filter(usable)).collect();
        let name = |domain: bool| move |text| Name { text, group: 0, domain };
        let mut own = Matcher::new(hosts.iter().copied().map(name(true)).chain(written.iter().copied().map(name(false))));
        let own_names: HashSet<String> =
            hosts.iter().chain(&written).map(|name| competitors::compact(name)).filter(|name| !name.is_empty()).collect();
        let own_domains = websites.iter().map(|site| site.domain.clone()).collect();
        let mut brands = Brands::configured(org, &own_names);
        let mut sense = Sense::new(org, hosts.iter().chain(&written).copied(), &own_domains);
        sense.share(&mut own, brands.matcher_mut());
        let mut shown: Vec<String> = Vec::new();
        for name in &written {
            if shown.len() < SHOWN_NAMES && !shown.iter().any(|known| known == name) {
                shown.push((*name).to_owned());
            }
        }
        let owners = owners::Owners::new(websites, &org.competitors);
        let fingerprint = digest::rules_digest(org, names);
        Self { shown, websites: org.websites.clone(), own, own_names, owners, brands, sense, fingerprint }
    }

    /// What the rules were told, as 16 hexadecimal digits: see [`Extraction::fingerprint`].
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// True when a name form of the org stands in the prose of the text: only then is a language model asked about the mention.
    /// A reference, a phrase that means something else and a name that only looks alike are no such place.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.found(&Document::new(text)).iter().any(|found| found.kind.is_asked_about())
    }

    /// True when the rules cannot tell whether the answer mentions the org: there is no sure mention, and a homonym without its
    /// context or an absence statement is there.
    #[must_use]
    pub fn is_unsure(&self, text: &str) -> bool {
        sense::is_unsure(&self.found(&Document::new(text)))
    }

    /// Every place of the text that holds a name of the org, in order, and what it is.
    #[must_use]
    pub fn hits(&self, text: &str) -> Vec<Hit> {
        hits::of(text, &self.found(&Document::new(text)))
    }

    fn found(&self, document: &Document<'_>) -> Vec<Found> {
        self.sense.found(document, &self.own, self.brands.matcher(), &Judge::new(document))
    }

    /// The whole extraction by rules: `method = local`, cost 0. Never fails, whatever the run holds.
    ///
    /// Only an answered run has a text to look at. Competitors are the configured ones. The mention text is the sentences that
    /// hold a mention; a sentence that says a brand is unknown or not listed is no mention of it. The sentiment is a count of words
    /// of praise and blame in what is said of the org (sixteen languages): a hint, not a judgement; neutral where there is neither.
    #[must_use]
    pub fn local(&self, run: &QuestionRun, now_ms: i64) -> Extraction {
        let document = Document::new(answer(run));
        let text = document.text;
        let cited = citations::extract(&document, &run.outcome.citations, &self.owners);
        let judge = Judge::new(&document);
        let found = self.sense.found(&document, &self.own, self.brands.matcher(), &judge);
        let places = self.brands.places(&document, None, &sense::named(&found), |span| judge.counts(span));
        let mentions = sense::mentions(&found);
        let passages = passages::around(text, &mentions);
        let rivals: Vec<Range<usize>> = places.iter().map(|place| place.span.clone()).collect();
        let judged = sentiment::judge(&document, &mentions, &rivals);
        let verdict = Verdict {
            mentioned: !mentions.is_empty(),
            sentiment: judged.sentiment,
            mention_text: passages::joined(text, &passages),
            ..Verdict::default()
        };
        let method = ExtractionMethod::Local;
        let facts = Facts { text, verdict: Some(&verdict), method, mentions: &mentions, places: &places, citations: &cited.rows };
        let (mut evaluation, assembled) = assemble(&facts);
        evaluation.shares =
            Shares { occurrences: evaluation.shares.occurrences, ..geo::shares(&document, &cited.rows, &cited.places) };
        let mut evidence = hits::add(assembled, text, &found);
        evidence.citations = citations::evidence(text, &cited);
        evidence.injection = injection::suspicions(&document);
        if evaluation.sentiment.is_some() {
            evaluation.sentiment_quote = judged.passages.first().map(|quote| document.slice(quote).to_owned());
            evidence.sentiment = Some(FieldEvidence { note: Some(judged.note()), ..field(text, method, &judged.passages) });
        }
        let (competitors, first) = self.brands.competitors(&document, None, &places);
        evidence.competitors = (!first.is_empty()).then(|| field(text, method, &first));
        Extraction {
            batch_id: run.batch_id.clone(),
            run_id: run.run_id.clone(),
            org_id: run.org_id.clone(),
            key: run.key.clone(),
            method: ExtractionMethod::Local,
            extractor_version: EXTRACTOR_VERSION.to_owned(),
            fingerprint: self.fingerprint.clone(),
            evaluation,
            competitors,
            citations: cited.rows,
            dropped: cited.dropped,
            evidence,
            cost_micro_usd: Some(MicroUsd::ZERO),
            maybe_charged_micro_usd: MicroUsd::ZERO,
            usage: Usage::default(),
            error: None,
            extracted_at_ms: now_ms,
        }
    }

    /// The mentions' places, the rank and the citations alone, from one reading of the answer: as [`Extractor::local`] has them.
    #[must_use]
    pub fn standing(&self, run: &QuestionRun) -> (Vec<Hit>, Option<u32>, Vec<ExtractedCitation>) {
        let document = Document::new(answer(run));
        let cited = citations::extract(&document, &run.outcome.citations, &self.owners);
        let judge = Judge::new(&document);
        let found = self.sense.found(&document, &self.own, self.brands.matcher(), &judge);
        let rank = sense::mentions(&found).first().map(|first| {
            let places = self.brands.places(&document, None, &sense::named(&found), |span| judge.counts(span));
            u32::try_from(rank::before(&places, first).len()).unwrap_or(u32::MAX).saturating_add(1)
        });
        (hits::of(document.text, &found), rank, cited.rows)
    }

    /// The citations of a run: the provider's list and the URLs of the text, joined without duplicates.
    #[must_use]
    pub fn citations(&self, run: &QuestionRun) -> (Vec<ExtractedCitation>, Dropped) {
        let found = citations::extract(&Document::new(answer(run)), &run.outcome.citations, &self.owners);
        (found.rows, found.dropped)
    }

    /// The citations of a run with the shares of own pages (`occurrences` left open) and where the answer names them.
    #[must_use]
    pub fn cited(&self, run: &QuestionRun) -> Cited {
        let document = Document::new(answer(run));
        let found = citations::extract(&document, &run.outcome.citations, &self.owners);
        let shares = geo::shares(&document, &found.rows, &found.places);
        let evidence = citations::evidence(document.text, &found);
        Cited { citations: found.rows, dropped: found.dropped, shares, evidence }
    }

    /// The call that verifies the mention and gives sentiment and mention text. `nonce` fences the untrusted answer.
    #[must_use]
    pub fn evaluation_request(&self, text: &str, nonce: &str) -> StructuredRequest {
        evaluation::request(&self.shown, &self.websites, text, &self.places(&Document::new(text)), nonce)
    }

    /// Parses and checks the reply of [`Self::evaluation_request`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::Semantic`] when it is no JSON of the schema.
    pub fn parse_evaluation(&self, text: &str, json: &str) -> Result<Verdict> {
        let document = Document::new(text);
        evaluation::parse(&document, &self.places(&document), json)
    }

    /// The call that lists the other brands of the answer.
    #[must_use]
    pub fn competitors_request(&self, text: &str, nonce: &str) -> StructuredRequest {
        competitors::request(&self.shown, text, &self.places(&Document::new(text)), nonce)
    }

    /// Parses and checks the reply of [`Self::competitors_request`]; in order of first appearance.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Semantic`] when it is no JSON of the schema.
    pub fn parse_competitors(&self, text: &str, json: &str) -> Result<(Vec<Competitor>, Dropped)> {
        let document = Document::new(text);
        let own = self.own.spans(&document);
        competitors::parse(&document, json, &self.brands, &self.own_names, &own)
    }

    /// Puts the evaluation together: rank among `competitors`, list position, shares, own citation. `verdict` is `None` when no
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
        self.evaluate(text, verdict, competitors, citations).0
    }

    /// [`Self::evaluation`] with what rank, list position, share of voice and competitors rest on.
    #[must_use]
    pub fn evaluate(
        &self,
        text: &str,
        verdict: Option<&Verdict>,
        competitors: &[Competitor],
        citations: &[ExtractedCitation],
    ) -> (OrgEvaluation, Evidence) {
        let (evaluation, evidence, _) = self.weigh(&Document::new(text), verdict, competitors, citations);
        (evaluation, evidence)
    }

    /// [`Self::evaluate`], and the brands of the answer: the configured ones and those `found` before.
    fn weigh(
        &self,
        document: &Document<'_>,
        verdict: Option<&Verdict>,
        brands: &[Competitor],
        citations: &[ExtractedCitation],
    ) -> (OrgEvaluation, Evidence, Vec<Competitor>) {
        let (text, method) = (document.text, ExtractionMethod::Llm);
        let more = self.brands.of_found(brands);
        let judge = Judge::new(document);
        let found = self.sense.found(document, &self.own, self.brands.matcher(), &judge);
        let places = self.brands.places(document, Some(&more), &sense::named(&found), |span| judge.counts(span));
        let mut mentions = Vec::new();
        if verdict.is_some_and(|verdict| verdict.mentioned) {
            mentions = sense::mentions(&found);
            if mentions.is_empty() {
                // The model has decided what the rules could not: the first place that it was asked about.
                mentions.extend(found.iter().find(|found| found.kind.is_asked_about()).map(|found| found.span.clone()));
            }
        }
        let (evaluation, mut evidence) =
            assemble(&Facts { text, verdict, method, mentions: &mentions, places: &places, citations });
        let (competitors, first) = self.brands.competitors(document, Some(&more), &places);
        evidence.competitors = (!first.is_empty()).then(|| field(text, method, &first));
        (evaluation, evidence, competitors)
    }
}

/// The text of an answered run; empty for any other: the words of a refusal are not an answer.
fn answer(run: &QuestionRun) -> &str {
    run.outcome.text.as_deref().filter(|_| run.outcome.status == RunStatus::Answered).unwrap_or_default()
}
