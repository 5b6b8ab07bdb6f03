//! The organisation evaluated and the questions asked about it. Checked at the edge (`python/overheard/orgs.py`).

use serde::{Deserialize, Serialize};

use super::Location;

/// The text asked, with a stable id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Unique within the org; part of the cell key.
    pub id: String,
    /// What is asked, as it is.
    pub text: String,
}

/// An organisation. `aliases`, `competitors` and the rest may be empty; `id` and `name` may not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Org {
    /// Id in the store.
    pub id: String,
    /// The name people use.
    pub name: String,
    /// Own websites; their registrable domains make a citation `primary`.
    #[serde(default)]
    pub websites: Vec<String>,
    /// Other names.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Names of known competitors.
    #[serde(default)]
    pub competitors: Vec<String>,
    /// What to ask.
    #[serde(default)]
    pub questions: Vec<Question>,
    /// Models to ask.
    #[serde(default)]
    pub models: Vec<String>,
    /// Where to ask from.
    #[serde(default)]
    pub locations: Vec<Location>,
}
