//! The other brands of an answer: the call that lists them, and the checks of what comes back.
//!
//! A name counts when it stands in the prose of the answer as a word of its own, is not the org in any form, is not generic,
//! and was not counted before. What fails is dropped and counted. Merging products into their makers is not done here.

use std::collections::HashSet;
use std::ops::Range;

use serde::Deserialize;
use serde_json::{Value, json};

use super::fold::fold;
use super::mentions::{Document, Matcher, Name, is_word};
use super::names::{surface_forms, without_legal_suffix};
use super::reply;
use super::words::{PRODUCT_WORDS, is_generic};
use crate::domain::{Competitor, Dropped, StructuredRequest};
use crate::error::Result;

/// Most names of one reply that are looked at; further ones are counted as rejected.
const MAX_NAMES: usize = 200;
/// Longest name, in characters.
const MAX_LENGTH: usize = 80;

/// The call: `{"competitors": [...]}`.
pub(super) fn request(names: &[String], text: &str, nonce: &str) -> StructuredRequest {
    let schema = reply::strict_object(json!({"competitors": reply::string_list("brands named in the answer, as written there")}));
    let system = format!(
        "You list the brands that an answer names besides one organisation.\n\
         Give every company, brand or product that the answer names as something a customer could choose, each once, spelled as the \
         answer spells it, in the order of first appearance. Leave out the organisation itself in every spelling, generic terms \
         (\"CRM\", \"other tools\"), headings, places, people, dates, and sites that are only cited as a source. Give an empty list \
         when there is none. Never add a name that does not stand in the answer.\n{}",
        reply::fence_rule(nonce)
    );
    let user = format!("{}\n\n{}", reply::introduced(names), reply::fenced(text, nonce));
    StructuredRequest { schema_name: "competitors", schema, system, user }
}

#[derive(Deserialize)]
struct CompetitorsReply {
    competitors: Value,
}

/// Parses and checks the reply. `own` holds the compact folded forms of the org.
///
/// # Errors
/// [`crate::ErrorKind::Semantic`] when it is no JSON of the schema.
pub(super) fn parse(document: &Document<'_>, json: &str, own: &HashSet<String>) -> Result<(Vec<Competitor>, Dropped)> {
    let reply: CompetitorsReply = reply::parse(json, "list of competitors")?;
    let given = reply::strings(&reply.competitors);
    let mut dropped = Dropped::default();
    let mut seen = HashSet::new();
    let mut names: Vec<&str> = Vec::new();
    for (index, name) in given.iter().enumerate() {
        let name = bare(name);
        let folded = fold(name);
        let usable = index < MAX_NAMES
            && name.chars().count() <= MAX_LENGTH
            && folded.chars().filter(|letter| is_word(*letter)).count() >= 2;
        if usable && !is_generic(&folded) && !is_own(name, own) && seen.insert(folded) {
            names.push(name);
        } else {
            dropped.rejected_competitors = dropped.rejected_competitors.saturating_add(1);
        }
    }
    let matcher = matcher(names.iter().copied().enumerate());
    let found = in_order(document, matcher.first_of_each(document, |_| true));
    dropped.invented_competitors = u32::try_from(names.len() - found.len()).unwrap_or(u32::MAX);
    Ok((found, dropped))
}

/// The names found, as the answer writes them.
pub(super) fn in_order(document: &Document<'_>, first: Vec<Option<Range<usize>>>) -> Vec<Competitor> {
    let mut spans: Vec<Range<usize>> = first.into_iter().flatten().collect();
    // The longer one first where two start together.
    spans.sort_by_key(|span| (span.start, std::cmp::Reverse(span.end)));
    spans.iter().zip(1..).map(|(span, position)| Competitor { name: one_line(document.slice(span)), position }).collect()
}

/// Compiles the names, one group each.
pub(super) fn matcher<'a>(names: impl Iterator<Item = (usize, &'a str)>) -> Matcher {
    Matcher::new(names.map(|(group, text)| Name { text, group, domain: false }))
}

/// Compiles configured competitors with their other spellings; those that are the org itself or generic are left out.
pub(super) fn configured(names: &[String], own: &HashSet<String>) -> Matcher {
    let kept = names.iter().filter(|name| !is_own(name, own) && !is_generic(&fold(name)));
    let forms: Vec<(usize, String)> =
        kept.enumerate().flat_map(|(group, name)| surface_forms(name).into_iter().map(move |form| (group, form))).collect();
    matcher(forms.iter().map(|(group, form)| (*group, form.as_str())))
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

fn one_line(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join(" ")
}
