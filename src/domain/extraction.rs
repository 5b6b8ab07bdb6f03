//! What was taken from one answer: org evaluation, competitors, citations. Written together or not at all.

use serde::{Deserialize, Serialize};

use super::{CellKey, MicroUsd, Usage};
use crate::error::Error;

/// Written into every extraction; raised whenever the rules or the prompts change what comes out.
pub const EXTRACTOR_VERSION: &str = "2";

/// How the answer speaks of the org.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sentiment {
    /// Recommends or praises.
    Positive,
    /// States facts.
    Neutral,
    /// Criticises or warns.
    Negative,
}

/// Who made the extraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExtractionMethod {
    /// Deterministic rules only; free.
    Local,
    /// Rules first, a language model where they found something.
    Llm,
}

/// Whose domain a citation points to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ownership {
    /// The registrable domain is one of the org's.
    Primary,
    /// Any other.
    #[default]
    Secondary,
}

/// Is the org in the answer, and how.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrgEvaluation {
    /// The org is mentioned.
    pub mentioned: bool,
    /// The answer cites a page of the org.
    pub citation: bool,
    /// `None` when not mentioned, or not known.
    pub sentiment: Option<Sentiment>,
    /// The passages that mention the org, joined by ` || `; each stands in the answer. `None` when not mentioned.
    pub mention_text: Option<String>,
    /// 1 + number of distinct brands first seen before the org; `None` when not mentioned.
    pub mention_rank: Option<u32>,
    /// Characters of `mention_text` / characters of the answer, 0 when not mentioned, `None` when the answer is empty.
    pub share_of_voice: Option<f64>,
    /// The passage that the sentiment rests on; stands in the answer. `None` without a sentiment, or when nothing shows it.
    pub sentiment_quote: Option<String>,
    /// Number of the item that presents the org, when the answer ranks alternatives in a list; `None` otherwise.
    pub list_position: Option<u32>,
    /// How often the prose names the org.
    pub occurrences: u32,
    /// 1 - offset of the first mention / length of the answer, both in characters; `None` when not mentioned.
    pub prominence: Option<f64>,
    /// Shares of this answer under their other names.
    pub shares: Shares,
}

/// Share of voice of one answer, by what is counted; each 0 to 1. `None`: the denominator is 0.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shares {
    /// Occurrences of the org / occurrences of the org and its competitors.
    pub occurrences: Option<f64>,
    /// Citations of own pages / all citations.
    pub citations: Option<f64>,
    /// GEO "word count" of own pages, normalised over the cited pages.
    pub words: Option<f64>,
    /// GEO "position-adjusted word count" of own pages, normalised over the cited pages.
    pub position_adjusted: Option<f64>,
}

/// Another brand the answer names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Competitor {
    /// The brand: as configured, else as the answer first writes it.
    pub name: String,
    /// 1-based order of first appearance among the competitors.
    pub position: u32,
    /// How often the prose names it, in all its forms.
    #[serde(default)]
    pub occurrences: u32,
    /// The company that owns the brand; `None`: not known.
    #[serde(default)]
    pub parent: Option<String>,
    /// Other forms found that were counted as this brand, and why.
    #[serde(default)]
    pub merged: Vec<Merge>,
}

/// A name that was counted as another one's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Merge {
    /// As the answer writes it.
    pub name: String,
    /// Why.
    pub reason: MergeReason,
}

/// Why a name was counted as another one's. `Org::keep_apart` undoes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeReason {
    /// Equal but for letter case, accents, spaces, punctuation or a legal suffix.
    Spelling,
    /// A configured alias.
    Alias,
    /// A configured product of the brand.
    Product,
    /// The brand's name followed by what it makes ("HubSpot CRM").
    Descriptor,
}

/// A source of the answer, cleaned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtractedCitation {
    /// As received.
    pub url: String,
    /// Tracking parameters, text fragment, `www.` and trailing slash stripped; unique within the answer.
    pub canonical_url: String,
    /// Registrable domain (public suffix list), lower case; the host where there is none.
    pub domain: String,
    /// `primary` or `secondary`.
    pub ownership: Ownership,
    /// `None` when the provider gave none.
    #[serde(default)]
    pub title: Option<String>,
    /// See [`super::Citation::cited`].
    #[serde(default)]
    pub cited: Option<bool>,
    /// 1-based order in the answer.
    pub position: u32,
    /// What kind of site it is.
    #[serde(default)]
    pub class: SiteClass,
    /// Where it was found.
    #[serde(default)]
    pub source: CitationSource,
    /// The sentence it is cited for (text fragment, or the provider's quote); `None`: not told.
    #[serde(default)]
    pub cited_text: Option<String>,
}

/// What kind of site a citation points to; from a data file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SiteClass {
    /// A website of the org.
    Own,
    /// A website of a configured competitor.
    Competitor,
    /// Newspapers, agencies, magazines, trade press.
    News,
    /// Networks, forums, video, questions and answers, platforms of blogs.
    Social,
    /// Encyclopedias, dictionaries, academic archives.
    Reference,
    /// Reviews, comparisons, marketplaces, listings.
    Directory,
    /// States, their agencies, bodies of states.
    Government,
    /// All else.
    #[default]
    Other,
}

/// Where a citation was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CitationSource {
    /// In the provider's list only.
    #[default]
    Provider,
    /// In the text only.
    Text,
    /// In both.
    Both,
}

/// A stretch of the answer in characters (Unicode scalar values): `start` is the first, `end` one past the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u32)", into = "(u32, u32)")]
pub struct Span {
    /// The first character.
    pub start: u32,
    /// One past the last.
    pub end: u32,
}

impl From<(u32, u32)> for Span {
    fn from((start, end): (u32, u32)) -> Self {
        Self { start, end }
    }
}

impl From<Span> for (u32, u32) {
    fn from(span: Span) -> Self {
        (span.start, span.end)
    }
}

/// A place where a name of the org stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hit {
    /// Where.
    pub span: Span,
    /// Whether it is a mention, and if not, why.
    pub kind: HitKind,
}

/// What a place that holds a name of the org is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HitKind {
    /// A mention.
    Mention,
    /// A homonym whose sense the rules cannot tell; a model may.
    Unsure,
    /// A homonym in another sense.
    Homonym,
    /// Part of a phrase that means something else.
    Confusable,
    /// The answer says that the org is unknown or not listed.
    Absence,
    /// The label of a link that is a reference.
    LinkLabel,
    /// Looks like a name and is spelled with other letters.
    Lookalike,
}

impl HitKind {
    /// True when a model may be asked what the place is.
    #[must_use]
    pub fn is_asked_about(self) -> bool {
        matches!(self, Self::Mention | Self::Unsure | Self::Homonym | Self::Absence)
    }
}

/// What a field of an extraction rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldEvidence {
    /// Rules or model.
    pub method: ExtractionMethod,
    /// Where in the answer; empty: the field rests on no single place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<Span>,
    /// One sentence for a person; `None` when the spans say it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What an extraction rests on, field by field. `None`: the field has no value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Evidence {
    /// Every place that holds a name of the org, in order; the first 50.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hits: Vec<Hit>,
    /// Of `mentioned`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mentioned: Option<FieldEvidence>,
    /// Of `mention_rank`: the first places of the brands before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mention_rank: Option<FieldEvidence>,
    /// Of `list_position`: the item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list_position: Option<FieldEvidence>,
    /// Of `sentiment`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentiment: Option<FieldEvidence>,
    /// Of `share_of_voice`: the passages counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_of_voice: Option<FieldEvidence>,
    /// Of `competitors`: the first place of each, in their order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub competitors: Option<FieldEvidence>,
    /// Of `citations`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub citations: Option<FieldEvidence>,
    /// Why the answer looks as if it wanted to steer its reader's model; empty: it does not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub injection: Vec<String>,
    /// The model's word on the mention and the rules' differ.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disagreement: bool,
}

/// What the checks threw away: named by the model, not in the answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dropped {
    /// Competitor names that do not stand in the answer.
    pub invented_competitors: u32,
    /// Competitor names that are the org itself, a generic noun or a second copy.
    pub rejected_competitors: u32,
    /// Quotes that do not stand in the answer.
    pub invented_quotes: u32,
    /// Citations that are no http(s) URL.
    pub invalid_citations: u32,
    /// Fields of a model's reply outside their range, length or list of words.
    pub invalid_fields: u32,
}

/// Everything taken from one question run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extraction {
    /// The batch.
    pub batch_id: String,
    /// The model run.
    pub run_id: String,
    /// The org.
    pub org_id: String,
    /// The cell.
    pub key: CellKey,
    /// Rules or model.
    pub method: ExtractionMethod,
    /// [`EXTRACTOR_VERSION`].
    pub extractor_version: String,
    /// Of what the org's entry told the rules (names, competitors, confusables, …): 16 hexadecimal digits.
    #[serde(default)]
    pub fingerprint: String,
    /// The evaluation.
    pub evaluation: OrgEvaluation,
    /// In order of first appearance.
    pub competitors: Vec<Competitor>,
    /// In order of first appearance, unique by canonical URL.
    pub citations: Vec<ExtractedCitation>,
    /// What the checks threw away.
    #[serde(default)]
    pub dropped: Dropped,
    /// What each field rests on.
    #[serde(default)]
    pub evidence: Evidence,
    /// Charge of the extraction calls; `None`: unpriced.
    #[serde(default)]
    pub cost_micro_usd: Option<MicroUsd>,
    /// Charges of lost extraction calls that cannot be confirmed.
    #[serde(default)]
    pub maybe_charged_micro_usd: MicroUsd,
    /// Counts of the extraction calls.
    #[serde(default)]
    pub usage: Usage,
    /// Set when the extraction failed: then the store keeps the cost and this error, and no child row.
    #[serde(default)]
    pub error: Option<Error>,
    /// Milliseconds since 1970 UTC.
    #[serde(default)]
    pub extracted_at_ms: i64,
}

impl Extraction {
    /// Adds what earlier extractions of the answer were charged and may have been, in micro-dollars.
    pub fn carry(&mut self, spent: (i64, i64)) {
        super::run::carry(&mut self.cost_micro_usd, &mut self.maybe_charged_micro_usd, spent);
    }
}
