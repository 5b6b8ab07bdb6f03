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
    /// Known competitors.
    #[serde(default)]
    pub competitors: Vec<KnownCompetitor>,
    /// Phrases that hold a name of the org and mean something else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confusables: Vec<String>,
    /// Names of the org that are words or other things too: alone they are a mention only where `context` shows it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub homonyms: Vec<String>,
    /// Words of the org's trade.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<String>,
    /// Names that are never counted as another brand's, whatever a rule says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep_apart: Vec<String>,
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

/// A competitor that the user named: a plain name, or one with what else is known of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Entry", into = "Entry")]
pub struct KnownCompetitor {
    /// The brand.
    pub name: String,
    /// Other names of it.
    pub aliases: Vec<String>,
    /// What it makes; counted as the brand.
    pub products: Vec<String>,
    /// The company that owns it; shown, never merged.
    pub parent: Option<String>,
    /// Its websites; citations of them are of class `competitor`.
    pub websites: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Entry {
    Name(String),
    Full(Full),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Full {
    name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    products: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    websites: Vec<String>,
}

impl From<&str> for KnownCompetitor {
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

impl From<String> for KnownCompetitor {
    fn from(name: String) -> Self {
        Self { name, ..Self::default() }
    }
}

impl From<Entry> for KnownCompetitor {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Name(name) => Self { name, ..Self::default() },
            Entry::Full(Full { name, aliases, products, parent, websites }) => Self { name, aliases, products, parent, websites },
        }
    }
}

impl From<KnownCompetitor> for Entry {
    fn from(known: KnownCompetitor) -> Self {
        let KnownCompetitor { name, aliases, products, parent, websites } = known;
        if aliases.is_empty() && products.is_empty() && parent.is_none() && websites.is_empty() {
            return Self::Name(name);
        }
        Self::Full(Full { name, aliases, products, parent, websites })
    }
}
