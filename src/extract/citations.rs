//! The citations of an answer: the provider's own list first, then the URLs that stand in the text, one row per canonical URL.
//!
//! Fetches nothing. A link to an image is no citation; a URL inside code is none either. A URL that stands in the text is
//! cited (`Some(true)`), unless the provider's list already says what it is.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::markup::Kind;
use super::mentions::Document;
use super::web::{Canonical, canonical};
use crate::domain::{Citation, Dropped, ExtractedCitation, Ownership};

/// Joins both sources. `own` holds the registrable domains of the org.
pub(super) fn extract(document: &Document<'_>, listed: &[Citation], own: &HashSet<String>) -> (Vec<ExtractedCitation>, Dropped) {
    let mut list = List { own, rows: Vec::new(), known: HashMap::new(), positions: HashSet::new() };
    let mut dropped = Dropped::default();
    // The same URL often stands in the list and several times in the text: it is parsed once.
    let mut cleaned: HashMap<&str, Option<Canonical>> = HashMap::new();
    for citation in listed {
        match cleaned.entry(citation.url.as_str()).or_insert_with(|| canonical(&citation.url)) {
            Some(clean) => list.add(clean, citation),
            None => dropped.invalid_citations += 1,
        }
    }
    let provided = list.rows.len();
    for mark in document.marks() {
        let (Kind::Url | Kind::Target, Some(url)) = (mark.kind, &mark.url) else { continue };
        let raw = document.slice(url);
        let Some(clean) = cleaned.entry(raw).or_insert_with(|| canonical(&unescaped(raw))) else { continue };
        if clean.image {
            continue;
        }
        match list.known.get(&clean.url).and_then(|row| list.rows.get_mut(*row)) {
            // The provider gave no flag: the text shows that it is cited.
            Some(row) => row.cited = row.cited.or(Some(true)),
            None => {
                let citation = Citation { url: raw.to_owned(), cited: Some(true), ..Citation::default() };
                list.add(clean, &citation);
            }
        }
    }
    list.number(provided);
    (list.rows, dropped)
}

struct List<'a> {
    own: &'a HashSet<String>,
    rows: Vec<ExtractedCitation>,
    known: HashMap<String, usize>,
    positions: HashSet<u32>,
}

impl List<'_> {
    fn add(&mut self, clean: &Canonical, citation: &Citation) {
        let title = citation.title.as_deref().map(str::trim).filter(|title| !title.is_empty());
        if let Some(row) = self.known.get(&clean.url).and_then(|row| self.rows.get_mut(*row)) {
            row.title = row.title.take().or_else(|| title.map(str::to_owned));
            // Cited once is cited; "only retrieved" is more than "not said".
            row.cited = match (row.cited, citation.cited) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (first, second) => first.or(second),
            };
            return;
        }
        let ownership = if self.own.contains(&clean.domain) { Ownership::Primary } else { Ownership::Secondary };
        let position = citation.position.filter(|position| *position > 0 && self.positions.insert(*position)).unwrap_or(0);
        self.known.insert(clean.url.clone(), self.rows.len());
        self.rows.push(ExtractedCitation {
            url: citation.url.clone(),
            canonical_url: clean.url.clone(),
            domain: clean.domain.clone(),
            ownership,
            title: title.map(str::to_owned),
            cited: citation.cited,
            position,
        });
    }

    /// The provider's positions order its rows; the rows of the text come after them. Then all are numbered from 1.
    fn number(&mut self, provided: usize) {
        let listed = self.rows.get_mut(..provided).unwrap_or_default();
        if listed.iter().all(|row| row.position > 0) {
            listed.sort_by_key(|row| row.position);
        }
        for (row, position) in self.rows.iter_mut().zip(1..) {
            row.position = position;
        }
    }
}

/// A Markdown target without its backslashes (`a_\(b\)`).
fn unescaped(target: &str) -> Cow<'_, str> {
    if !target.contains('\\') {
        return Cow::Borrowed(target);
    }
    let mut plain = String::with_capacity(target.len());
    let mut characters = target.chars().peekable();
    while let Some(character) = characters.next() {
        match characters.peek() {
            Some(next) if character == '\\' && next.is_ascii_punctuation() => {}
            _ => plain.push(character),
        }
    }
    Cow::Owned(plain)
}
