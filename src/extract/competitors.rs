//! The other brands of an answer: the call that lists them, and the checks of what comes back.
//!
//! A name counts when it stands in the prose of the answer as a word of its own, is not the org in any form, is not generic,
//! and was not counted before. What fails is dropped and counted. Which names are one brand is decided in `brands`.

use std::collections::HashSet;
use std::ops::Range;

use serde_json::{Map, Value, json};

use super::brands::{Brands, is_no_brand};
use super::fold::fold;
use super::mentions::{Document, is_word};
use super::names::without_legal_suffix;
use super::sense::Judge;
use super::words::{PRODUCT_WORDS, is_generic};
use super::{fence, reply};
use crate::domain::{Competitor, Dropped, StructuredRequest};
use crate::error::Result;

/// Most names of one reply that are looked at; further ones are counted as invalid.
const MAX_NAMES: usize = 200;
/// Longest name, in characters.
const MAX_LENGTH: usize = 80;

/// The call: `{"competitors": [...]}`.
pub(super) fn request(names: &[String], text: &str, places: &[Range<usize>], nonce: &str) -> StructuredRequest {
    let schema = reply::strict_object(json!({"competitors": reply::string_list("brands named in the answer, as written there")}));
    let system = format!(
        "You list the brands that an answer names besides one organisation.\n\
         Give every company, brand or product that the answer names as something a customer could choose, each once, spelled as the \
         answer spells it, in the order of first appearance. Leave out the organisation itself in every spelling, generic terms \
         (\"CRM\", \"other tools\"), headings, places, people, dates, and sites that are only cited as a source. Give an empty list \
         when there is none. Never add a name that does not stand in the answer.\n{}",
        fence::rule(nonce)
    );
    let user = format!("{}\n\n{}", reply::introduced(names), fence::fenced(text, nonce, places));
    StructuredRequest { schema_name: "competitors".into(), schema, system, user }
}

/// Parses and checks the reply, and adds the configured competitors that the answer names. `own` holds the compact folded
/// forms of the org and `spans` the places of its names. A name that is no text, empty, too long or one too many, and a field
/// that was not asked for, are left out and counted.
///
/// # Errors
/// [`crate::ErrorKind::Semantic`] when it is no JSON object, or has no list of competitors.
pub(super) fn parse(
    document: &Document<'_>,
    json: &str,
    brands: &Brands,
    own: &HashSet<String>,
    spans: &[Range<usize>],
) -> Result<(Vec<Competitor>, Dropped)> {
    let reply: Map<String, Value> = reply::parse(json, "list of competitors")?;
    let Some(given @ (Value::Array(_) | Value::String(_))) = reply.get("competitors") else {
        return Err(reply::unusable("list of competitors", "'competitors' is missing or is no list", json));
    };
    let given = reply::items(given);
    let mut dropped = Dropped { invalid_fields: count(reply.len().saturating_sub(1)), ..Dropped::default() };
    let mut seen = HashSet::new();
    let mut names: Vec<&str> = Vec::new();
    for (index, name) in given.iter().enumerate() {
        let name = bare(name.as_str().unwrap_or_default());
        let folded = fold(name);
        let usable = index < MAX_NAMES
            && name.chars().count() <= MAX_LENGTH
            && folded.chars().filter(|letter| is_word(*letter)).count() >= 2;
        let brand = brands.knows(name) || !is_no_brand(&folded);
        if !usable {
            dropped.invalid_fields = dropped.invalid_fields.saturating_add(1);
        } else if brand && !is_own(name, own) && seen.insert(folded) {
            names.push(name);
        } else {
            dropped.rejected_competitors = dropped.rejected_competitors.saturating_add(1);
        }
    }
    let more = brands.named(&names);
    let mut places = brands.places(document, Some(&more), spans, |_| true);
    dropped.invented_competitors = count(names.iter().filter(|name| !brands.has(&more, &places, name)).count());
    let judge = Judge::new(document);
    places.retain(|place| judge.counts(&place.span));
    Ok((brands.competitors(document, Some(&more), &places).0, dropped))
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Letters and digits of the folded name: what two spellings of one name share.
pub(super) fn compact(name: &str) -> String {
    fold(name).chars().filter(|letter| is_word(*letter)).collect()
}

/// True when the name is the org: its name in any form, with a legal suffix, or with generic or product words behind it.
pub(super) fn is_own(name: &str, own: &HashSet<String>) -> bool {
    if own.contains(&compact(name)) {
        return true;
    }
    let mut rest = without_legal_suffix(name).unwrap_or_else(|| name.to_owned());
    loop {
        if own.contains(&compact(&rest)) {
            return true;
        }
        let Some((head, last)) = rest.rsplit_once([' ', '-']) else { return false };
        let last = fold(last.trim_matches(['(', ')']));
        if !PRODUCT_WORDS.contains(&last.as_str()) && !is_generic(&last) {
            return false;
        }
        rest = head.to_owned();
    }
}

/// Without the Markdown and the punctuation around it.
fn bare(name: &str) -> &str {
    name.trim()
        .trim_matches(|edge: char| matches!(edge, '*' | '_' | '`' | '"' | '#' | '•' | '[' | ']') || edge.is_whitespace())
        .trim_end_matches([':', ',', ';'])
}

/// White space collapsed.
pub(super) fn one_line(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join(" ")
}
