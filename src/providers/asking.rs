//! What is the same for every provider when a question goes out: the checks of question and country, the place of the
//! location, the header of the key. Must not know a provider's field names beyond `user_location`.

use serde::Serialize;

use super::Ask;
use crate::domain::Location;
use crate::error::{Error, ErrorKind, Result};

/// Refuses an empty question, one longer than `longest` characters, and a country that is not two letters.
pub(crate) fn check(title: &str, ask: &Ask, longest: Option<usize>) -> Result<()> {
    let refuse = |field: &str, message: String| {
        Err(Error::new(ErrorKind::InvalidRequest, message).with(|context| {
            context.field = Some(field.to_owned());
            context.cell = Some(ask.key.to_string());
        }))
    };
    if ask.question.trim().is_empty() {
        return refuse("question", "the question is empty: give it a text".to_owned());
    }
    if let Some(longest) = longest {
        let length = ask.question.chars().count();
        if length > longest {
            let message = format!("the question has {length} characters, {title} takes at most {longest}: shorten it");
            return refuse("question", message);
        }
    }
    match ask.location.as_deref() {
        Some(location) if !location.country.is_empty() && country(location).is_none() => refuse(
            "country",
            format!(
                "'{}' is not a country code: use two letters of ISO 3166-1 such as US or DE",
                location.country.escape_debug()
            ),
        ),
        _ => Ok(()),
    }
}

/// The country in upper case; `None` when there is none or it is not two letters.
pub(crate) fn country(location: &Location) -> Option<String> {
    let code = location.country.trim();
    (code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_alphabetic())).then(|| code.to_ascii_uppercase())
}

/// `user_location` of OpenAI's and Anthropic's search tools: `{"type":"approximate","country":…,"region":…,"city":…}`.
#[derive(Debug, Serialize)]
pub(crate) struct UserLocation<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    city: Option<&'a str>,
}

impl<'a> UserLocation<'a> {
    /// The location of a question; `None` when there is nothing to send.
    pub(crate) fn of(ask: &'a Ask) -> Option<Self> {
        let location = ask.location.as_deref().filter(|location| !location.is_anywhere())?;
        Some(Self {
            kind: "approximate",
            country: country(location),
            region: location.region.as_deref(),
            city: location.city.as_deref(),
        })
    }

    /// The form of chat completions: `{"type":"approximate","approximate":{"country":…}}`.
    pub(crate) fn nested(&self) -> serde_json::Value {
        let mut place = serde_json::Map::new();
        let parts = [("country", self.country.as_deref()), ("region", self.region), ("city", self.city)];
        place.extend(parts.into_iter().filter_map(|(name, part)| Some((name.to_owned(), part?.into()))));
        serde_json::json!({"type": self.kind, "approximate": place})
    }
}

/// A whole location in the words of `Outcome.location_applied`, the country in upper case.
pub(crate) fn applied(ask: &Ask) -> Option<String> {
    let location = ask.location.as_deref().filter(|location| !location.is_anywhere())?;
    let country = country(location).unwrap_or_default();
    Some(Location { country, ..location.clone() }.to_string())
}
