//! The unit of work: one question, asked of one model, from one location, the n-th time.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Question;

/// Where the question is asked from. `country` is ISO 3166-1 alpha-2 in upper case, or empty for "anywhere".
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Location {
    /// `US`; empty: no location is sent.
    #[serde(default)]
    pub country: String,
    /// `California`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// `San Francisco`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
}

impl Location {
    /// True when no location is sent to the provider.
    #[must_use]
    pub fn is_anywhere(&self) -> bool {
        self.country.is_empty() && self.region.is_none() && self.city.is_none()
    }
}

/// `US`, `US/California`, `US/California/San Francisco`, `US//Berlin`; `anywhere` when empty.
impl std::fmt::Display for Location {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_anywhere() {
            return formatter.write_str("anywhere");
        }
        formatter.write_str(&self.country)?;
        match (&self.region, &self.city) {
            (Some(region), None) => write!(formatter, "/{region}"),
            (region, Some(city)) => write!(formatter, "/{}/{city}", region.as_deref().unwrap_or("")),
            (None, None) => Ok(()),
        }
    }
}

/// A cell of the matrix. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cell {
    /// What is asked.
    pub question: Arc<Question>,
    /// The model the user named.
    pub model: Arc<str>,
    /// Where from.
    pub location: Arc<Location>,
    /// 1, 2, … `repeats`.
    pub repeat: u16,
}

impl Cell {
    /// The stable key.
    #[must_use]
    pub fn key(&self) -> CellKey {
        CellKey {
            question_id: self.question.id.clone(),
            model: self.model.to_string(),
            location: self.location.to_string(),
            repeat: self.repeat,
        }
    }
}

/// The idempotency key of a cell within its batch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CellKey {
    /// Id of the question.
    pub question_id: String,
    /// The model the user named.
    pub model: String,
    /// [`Location`] as text.
    pub location: String,
    /// 1, 2, …
    pub repeat: u16,
}

/// `question|model|location|repeat`; a `|` or `%` inside a part is percent-encoded, so the text is unique and reversible.
impl std::fmt::Display for CellKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for part in [&self.question_id, &self.model, &self.location] {
            for character in part.chars() {
                match character {
                    '%' => formatter.write_str("%25")?,
                    '|' => formatter.write_str("%7C")?,
                    other => std::fmt::Write::write_char(formatter, other)?,
                }
            }
            formatter.write_str("|")?;
        }
        write!(formatter, "{}", self.repeat)
    }
}

impl std::str::FromStr for CellKey {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || crate::Error::internal(format!("'{text}' is not a cell key (question|model|location|repeat)"));
        let parts: Vec<&str> = text.split('|').collect();
        let [question_id, model, location, repeat] = parts.as_slice() else { return Err(refuse()) };
        let plain = |part: &str| part.replace("%7C", "|").replace("%25", "%");
        Ok(Self {
            question_id: plain(question_id),
            model: plain(model),
            location: plain(location),
            repeat: repeat.parse().map_err(|_| refuse())?,
        })
    }
}
