//! What was taken from one answer: org evaluation, competitors, citations. Written together or not at all.

use serde::{Deserialize, Serialize};

use super::{CellKey, MicroUsd, Usage};
use crate::error::Error;

/// Written into every extraction; raised whenever the rules or the prompts change what comes out.
pub const EXTRACTOR_VERSION: &str = "1";

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ownership {
    /// The registrable domain is one of the org's.
    Primary,
    /// Any other.
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
}

/// Another brand the answer names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Competitor {
    /// As the answer writes it.
    pub name: String,
    /// 1-based order of first appearance among the competitors.
    pub position: u32,
}

/// A source of the answer, cleaned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The evaluation.
    pub evaluation: OrgEvaluation,
    /// In order of first appearance.
    pub competitors: Vec<Competitor>,
    /// In order of first appearance, unique by canonical URL.
    pub citations: Vec<ExtractedCitation>,
    /// What the checks threw away.
    #[serde(default)]
    pub dropped: Dropped,
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
