//! What a direct call may have been charged when nothing durable followed it. Pure data.

use serde::{Deserialize, Serialize};

use crate::domain::CellKey;

/// Which direct call of a cell, or of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// The question itself.
    Answer,
    /// The competitors of its answer.
    Competitors,
    /// The mention of the org in its answer.
    Evaluation,
    /// The org's name variations, once a batch.
    Names,
    /// A structured call of its own. Whoever asked for it notes its money; no journal is told.
    Structured,
}

impl Call {
    /// The calls that an extraction is made of.
    pub(super) const OF_AN_EXTRACTION: [Self; 2] = [Self::Competitors, Self::Evaluation];

    /// Names the call within its batch.
    #[must_use]
    pub fn id(self, key: Option<&CellKey>) -> String {
        let name = match self {
            Self::Answer => "answer",
            Self::Competitors => "competitors",
            Self::Evaluation => "evaluation",
            Self::Names => "names",
            Self::Structured => "structured call",
        };
        key.map_or_else(|| name.to_owned(), |key| format!("{name} {key}"))
    }
}

/// A direct call as noted before it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The cell; `None` for a call of the batch.
    #[serde(default)]
    pub key: Option<CellKey>,
    /// Which call of it.
    pub call: Call,
    /// What all its attempts so far may have been charged, this one and those of earlier starts included, micro-dollars.
    pub micro_usd: i64,
}

impl Asked {
    /// See [`Call::id`].
    #[must_use]
    pub fn id(&self) -> String {
        self.call.id(self.key.as_ref())
    }
}
