//! What can be read of a row: every field may be missing, null or of another type, and is then not known. Fails on nothing
//! and counts nothing.

use serde_json::{Map, Value};

use crate::domain::{RunStatus, Sentiment, SiteClass};

/// A row of `insight_rows`; `None`: not known.
#[derive(Debug, Default, Clone)]
pub(super) struct Reading {
    pub(super) cell_key: Option<String>,
    pub(super) question_id: Option<String>,
    pub(super) question: Option<String>,
    pub(super) model: Option<String>,
    pub(super) location: Option<String>,
    pub(super) repeat: Option<u16>,
    pub(super) status: Option<RunStatus>,
    pub(super) served_model: Option<String>,
    pub(super) extracted: Option<bool>,
    pub(super) cost: Option<i64>,
    pub(super) other_cost: i64,
    pub(super) maybe_charged: i64,
    pub(super) mentioned: Option<bool>,
    pub(super) own_cited: Option<bool>,
    pub(super) sentiment: Option<Sentiment>,
    pub(super) rank: Option<u32>,
    pub(super) share: Option<f64>,
    pub(super) occurrences: Option<u32>,
    pub(super) prominence: Option<f64>,
    pub(super) list_position: Option<u32>,
    /// GEO word count and position-adjusted word count of own pages.
    pub(super) words: Option<f64>,
    pub(super) position_adjusted: Option<f64>,
    pub(super) competitors: Option<Vec<String>>,
    /// Occurrences of all competitors.
    pub(super) competitor_occurrences: Option<u32>,
    pub(super) citations: Option<Vec<Source>>,
}

/// A citation of an answer.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) domain: Option<String>,
    pub(super) own: bool,
    pub(super) retrieved_only: bool,
    /// `None` in rows that an older version wrote.
    pub(super) class: Option<SiteClass>,
}

impl Reading {
    pub(super) fn of(row: &Map<String, Value>) -> Self {
        let field = |name: &str| row.get(name).unwrap_or(&Value::Null);
        let citations = sources(field("citations"));
        let shares = object(field("shares"));
        Self {
            cell_key: text(field("cell_key")),
            question_id: text(field("question_id")),
            question: text(field("question")),
            model: text(field("model")),
            location: text(field("location")),
            repeat: whole(field("repeat")).and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0),
            status: word(field("status")),
            served_model: text(field("served_model")),
            extracted: truth(field("extracted")),
            cost: money(field("cost_micro_usd")),
            other_cost: money(field("extraction_cost_micro_usd")).unwrap_or(0),
            maybe_charged: money(field("maybe_charged_micro_usd"))
                .unwrap_or(0)
                .saturating_add(money(field("extraction_maybe_charged_micro_usd")).unwrap_or(0)),
            mentioned: truth(field("mentioned")),
            own_cited: truth(field("citation")).or_else(|| citations.as_ref().map(|all| all.iter().any(|source| source.own))),
            sentiment: word(field("sentiment")),
            rank: whole(field("mention_rank")).and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0),
            share: ratio(field("share_of_voice")),
            occurrences: count(field("occurrences")),
            prominence: ratio(field("prominence")),
            list_position: count(field("list_position")).filter(|number| *number > 0),
            words: shares.as_ref().and_then(|shares| shares.get("words")).and_then(ratio),
            position_adjusted: shares.as_ref().and_then(|shares| shares.get("position_adjusted")).and_then(ratio),
            competitors: names(field("competitors")),
            competitor_occurrences: total(field("competitor_occurrences"), field("competitors")),
            citations,
        }
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned)
}

/// A database without a type for it gives 0 and 1.
fn truth(value: &Value) -> Option<bool> {
    value.as_bool().or_else(|| match value.as_i64() {
        Some(0) => Some(false),
        Some(1) => Some(true),
        _ => None,
    })
}

fn whole(value: &Value) -> Option<i64> {
    value.as_i64()
}

fn money(value: &Value) -> Option<i64> {
    whole(value).filter(|amount| *amount >= 0)
}

fn word<T: serde::de::DeserializeOwned>(value: &Value) -> Option<T> {
    value.as_str().and_then(|word| serde_json::from_value(Value::from(word)).ok())
}

fn count(value: &Value) -> Option<u32> {
    whole(value).and_then(|number| u32::try_from(number).ok())
}

/// From 0 to 1.
fn ratio(value: &Value) -> Option<f64> {
    value.as_f64().filter(|ratio| (0.0..=1.0).contains(ratio))
}

/// A mapping, or the JSON of one: a database without a type for it gives its text.
fn object(value: &Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(fields) => Some(fields.clone()),
        Value::String(text) => serde_json::from_str(text).ok(),
        _ => None,
    }
}

/// The sum of a list that has one count for each of `names`; not known when one is not.
fn total(counts: &Value, names: &Value) -> Option<u32> {
    let counts = counts.as_array()?;
    let all = names.as_array().is_some_and(|names| names.len() == counts.len());
    let sum = || counts.iter().try_fold(0_u32, |sum, number| count(number).map(|number| sum.saturating_add(number)));
    if all { sum() } else { None }
}

/// A list with an entry that is no text is not known: a count of it would be wrong.
fn names(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}

/// A list with an entry whose owner cannot be read is not known. In the order of the answer.
fn sources(value: &Value) -> Option<Vec<Source>> {
    let mut read: Vec<(i64, Source)> = value.as_array()?.iter().map(source).collect::<Option<_>>()?;
    read.sort_by_key(|(position, _)| *position);
    Some(read.into_iter().map(|(_, source)| source).collect())
}

fn source(value: &Value) -> Option<(i64, Source)> {
    let fields = value.as_object()?;
    let own = match fields.get("type").and_then(Value::as_str)? {
        "primary" => true,
        "secondary" => false,
        _ => return None,
    };
    let position = fields.get("position").and_then(Value::as_i64).unwrap_or(i64::MAX);
    let domain = fields.get("domain").and_then(text).map(|domain| domain.trim().to_lowercase());
    let retrieved_only = fields.get("cited").and_then(truth) == Some(false);
    let class = fields.get("class").and_then(word);
    Some((position, Source { domain, own, retrieved_only, class }))
}
