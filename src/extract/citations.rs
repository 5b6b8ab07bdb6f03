//! The citations of an answer: the provider's own list first, then the URLs that stand in the text, one row a page.
//!
//! Fetches nothing. A link to an image is no citation; a URL inside code is none either. A page whose URL stands in the text is
//! cited (`Some(true)`), and one that a marker (`[2]`) of the text points to by its number in the provider's list, unless that list
//! already says what it is.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::geo;
use super::links::{Link, Marker, defined, links, markers};
use super::mentions::Document;
use super::owners::Owners;
use super::web::{Canonical, Site, canonical, named_host};
use crate::domain::{
    Citation, CitationSource, Dropped, ExtractedCitation, ExtractionMethod, FieldEvidence, Ownership, SiteClass, Span,
};

/// Most places that the evidence names.
const SHOWN_PLACES: usize = 50;

/// Where the answer points to a citation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Bytes of the URL or of the marker.
    pub(super) span: Range<usize>,
    /// Index of its row.
    pub(super) row: usize,
    /// What stands there.
    pub(super) kind: PlaceKind,
}

/// Kinds of [`Place`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlaceKind {
    /// A URL.
    Url,
    /// The URL of a line that says what a number means (`[1]: https://…`).
    Definition,
    /// A number.
    Marker,
}

/// The citations with where they stand.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Unique by canonical URL.
    pub(super) rows: Vec<ExtractedCitation>,
    /// What was no citation.
    pub(super) dropped: Dropped,
    /// In the order of the text.
    pub(super) places: Vec<Place>,
}

/// Joins both sources.
pub(super) fn extract(document: &Document<'_>, listed: &[Citation], owners: &Owners) -> Found {
    let mut list = List::new(owners);
    let mut dropped = Dropped::default();
    // The same URL often stands in the list and several times in the text: it is parsed once.
    let mut cleaned: HashMap<&str, Option<Canonical>> = HashMap::new();
    let spans = spoken(document, listed);
    let counted = listed.iter().any(|citation| citation.position.is_some_and(|position| position > 0));
    let mut numbered: HashMap<u32, usize> = HashMap::new();
    for ((index, citation), said) in (1..).zip(listed).zip(spans) {
        match cleaned.entry(citation.url.as_str()).or_insert_with(|| canonical(&citation.url)) {
            Some(clean) => {
                let row = list.add(clean, citation, CitationSource::Provider, said);
                if let Some(number) = if counted { citation.position } else { Some(index) } {
                    numbered.entry(number).or_insert(row);
                }
            }
            None => dropped.invalid_citations = dropped.invalid_citations.saturating_add(1),
        }
    }
    let provided = list.rows.len();
    let links = links(document);
    let mut of_link: Vec<Option<usize>> = Vec::with_capacity(links.len());
    for link in &links {
        let raw = document.slice(&link.url);
        if raw.len() > super::web::MAX_URL {
            dropped.invalid_citations = dropped.invalid_citations.saturating_add(1);
        }
        let clean = cleaned.entry(raw).or_insert_with(|| canonical(&address(raw, link)));
        of_link.push(clean.as_ref().filter(|clean| !clean.image).map(|clean| list.mention(clean, raw)));
    }
    let mut places = places(document, &links, &of_link, &mut list.rows, &numbered);
    list.number(provided, &mut places);
    Found { rows: list.rows, dropped, places }
}

/// The URL of a link, with its scheme and without its backslashes.
fn address<'a>(raw: &'a str, link: &Link) -> Cow<'a, str> {
    if link.bare_host { Cow::Owned(format!("https://{raw}")) } else { unescaped(raw) }
}

/// The places of links and markers. A marker means the source that the text itself gives that number, else the one of the
/// provider's list; where the provider does not say whether that was cited, it now is.
fn places(
    document: &Document<'_>,
    links: &[Link],
    of_link: &[Option<usize>],
    rows: &mut [ExtractedCitation],
    numbered: &HashMap<u32, usize>,
) -> Vec<Place> {
    let mut places: Vec<Place> = links
        .iter()
        .zip(of_link)
        .filter_map(|(link, row)| Some(Place { span: link.url.clone(), row: (*row)?, kind: PlaceKind::Url }))
        .collect();
    if places.is_empty() && numbered.is_empty() {
        return places;
    }
    let markers = markers(document);
    if markers.is_empty() {
        return places;
    }
    let definition = |marker: &Marker| defined(document.text, marker, links);
    let defining: Vec<Option<usize>> = markers.iter().map(definition).collect();
    let mut means: HashMap<u32, usize> = HashMap::new();
    for (marker, link) in markers.iter().zip(&defining) {
        let Some(url) = link.and_then(|link| links.get(link)).map(|link| &link.url) else { continue };
        if let Ok(at) = places.binary_search_by_key(&url.start, |place| place.span.start)
            && let Some(place) = places.get_mut(at)
        {
            place.kind = PlaceKind::Definition;
            means.entry(marker.number).or_insert(place.row);
        }
    }
    for (marker, _) in markers.into_iter().zip(defining).filter(|(_, defining)| defining.is_none()) {
        let Some(row) = means.get(&marker.number).or_else(|| numbered.get(&marker.number)).copied() else { continue };
        if let Some(row) = rows.get_mut(row) {
            row.cited = row.cited.or(Some(true));
        }
        places.push(Place { span: marker.span, row, kind: PlaceKind::Marker });
    }
    places.sort_by_key(|place| place.span.start);
    places
}

/// What the answer says where the provider's list points into it, for those that bring no words of their own: the words of the
/// span, or where the span is but a link the sentence it follows.
fn spoken(document: &Document<'_>, listed: &[Citation]) -> Vec<Option<String>> {
    let span = |citation: &Citation| {
        let (start, end) = citation.start.zip(citation.end)?;
        (citation.cited_text.is_none() && start < end).then_some((start, end))
    };
    let wanted: Vec<Option<(u32, u32)>> = listed.iter().map(span).collect();
    if document.text.is_empty() || wanted.iter().all(Option::is_none) {
        return vec![None; listed.len()];
    }
    let mut characters: Vec<u32> = wanted.iter().flatten().flat_map(|(start, end)| [*start, *end]).collect();
    characters.sort_unstable();
    characters.dedup();
    let bytes = byte_offsets(document.text, &characters);
    let sentences = geo::sentences(document, &[]);
    let said = |(start, end): (u32, u32)| {
        let span = *bytes.get(&start)?..*bytes.get(&end)?;
        geo::words_of(document, &span).or_else(|| {
            let after = sentences.partition_point(|sentence| sentence.span.start <= span.start);
            geo::words_of(document, &sentences.get(after.checked_sub(1)?)?.span)
        })
    };
    wanted.into_iter().map(|span| span.and_then(said)).collect()
}

/// Character offset → byte offset, for offsets (sorted) that lie in the text or at its end.
fn byte_offsets(text: &str, characters: &[u32]) -> HashMap<u32, usize> {
    let mut found = HashMap::with_capacity(characters.len());
    let mut wanted = characters.iter().copied().peekable();
    let ends = std::iter::once((text.len(), ' '));
    for (number, (byte, _)) in (0_u32..).zip(text.char_indices().chain(ends)) {
        match wanted.peek() {
            None => break,
            Some(next) if *next == number => {
                found.insert(number, byte);
                wanted.next();
            }
            Some(_) => {}
        }
    }
    found
}

/// What the citations rest on: the first places of their URLs in the text; `None` without any citation.
pub(super) fn evidence(text: &str, found: &Found) -> Option<FieldEvidence> {
    if found.rows.is_empty() {
        return None;
    }
    let urls = found.places.iter().filter(|place| place.kind != PlaceKind::Marker).take(SHOWN_PLACES);
    let spans = in_characters(text, urls.map(|place| &place.span));
    let from = |source| found.rows.iter().filter(|row| row.source == source).count();
    let (provider, both) = (from(CitationSource::Provider), from(CitationSource::Both));
    let note = (provider + both > 0).then(|| {
        format!("{provider} only in the provider's list, {} only in the text, {both} in both", from(CitationSource::Text))
    });
    Some(FieldEvidence { method: ExtractionMethod::Local, spans, note })
}

/// Byte ranges (in order) in characters; one pass.
fn in_characters<'a>(text: &str, ranges: impl Iterator<Item = &'a Range<usize>>) -> Vec<Span> {
    let (mut byte, mut character) = (0, 0_u32);
    let mut offset = |to: usize| {
        let passed = text.get(byte..to).unwrap_or_default().chars().count();
        byte = byte.max(to);
        character = character.saturating_add(u32::try_from(passed).unwrap_or(u32::MAX));
        character
    };
    ranges.map(|range| Span { start: offset(range.start), end: offset(range.end) }).collect()
}

struct List<'a> {
    owners: &'a Owners,
    rows: Vec<ExtractedCitation>,
    /// URL without its scheme → row: a page is one page under http and https.
    known: HashMap<String, usize>,
    positions: HashSet<u32>,
}

impl<'a> List<'a> {
    fn new(owners: &'a Owners) -> Self {
        Self { owners, rows: Vec::new(), known: HashMap::new(), positions: HashSet::new() }
    }

    /// A link of the text; its row.
    fn mention(&mut self, clean: &Canonical, raw: &str) -> usize {
        let known = self.known.get(&*clean.page()).and_then(|row| Some((*row, self.rows.get_mut(*row)?)));
        match known {
            Some((row, known)) => {
                // The provider gave no flag: the text shows that it is cited.
                known.cited = known.cited.or(Some(true));
                if known.source == CitationSource::Provider {
                    known.source = CitationSource::Both;
                }
                secured(known, clean);
                known.cited_text = known.cited_text.take().or_else(|| clean.cited_text.clone());
                row
            }
            None => {
                let citation = Citation { url: raw.to_owned(), cited: Some(true), ..Citation::default() };
                self.add(clean, &citation, CitationSource::Text, None)
            }
        }
    }

    /// The row of a citation: a new one, or the page's own with what this one adds. `said`: what the answer says there.
    fn add(&mut self, clean: &Canonical, citation: &Citation, source: CitationSource, said: Option<String>) -> usize {
        let title = citation.title.as_deref().map(str::trim).filter(|title| !title.is_empty());
        let quoted = citation.cited_text.as_deref().map(str::trim).filter(|text| !text.is_empty());
        let text = quoted.map(str::to_owned).or_else(|| clean.cited_text.clone()).or(said);
        let known = self.known.get(&*clean.page()).and_then(|row| Some((*row, self.rows.get_mut(*row)?)));
        if let Some((row, known)) = known {
            known.title = known.title.take().or_else(|| title.map(str::to_owned));
            known.cited_text = known.cited_text.take().or(text);
            // Cited once is cited; "only retrieved" is more than "not said".
            known.cited = match (known.cited, citation.cited) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (first, second) => first.or(second),
            };
            secured(known, clean);
            return row;
        }
        let named = if clean.sealed { title.and_then(named_host) } else { None };
        let site = named.as_deref().map(Site::of);
        let (host, domain) = site.map_or((clean.host.as_str(), clean.domain.as_str()), |site| (site.host, site.domain));
        let by_file = || site.map_or(clean.class, |site| super::classes::of(&site, ""));
        let class = self.owners.class(host, domain).unwrap_or_else(by_file);
        let position = citation.position.filter(|position| *position > 0 && self.positions.insert(*position)).unwrap_or(0);
        self.known.insert(clean.page().into_owned(), self.rows.len());
        self.rows.push(ExtractedCitation {
            url: citation.url.clone(),
            canonical_url: clean.url.clone(),
            domain: domain.to_owned(),
            ownership: if class == SiteClass::Own { Ownership::Primary } else { Ownership::Secondary },
            title: title.map(str::to_owned),
            cited: citation.cited,
            position,
            class,
            source,
            cited_text: text,
        });
        self.rows.len() - 1
    }

    /// The provider's positions order its rows; the rows of the text come after them. Then all are numbered from 1, and the places
    /// follow their rows.
    fn number(&mut self, provided: usize, places: &mut [Place]) {
        let listed = self.rows.get(..provided).unwrap_or_default();
        if listed.iter().all(|row| row.position > 0) && !listed.is_sorted_by_key(|row| row.position) {
            let mut order: Vec<usize> = (0..provided).collect();
            order.sort_by_key(|row| listed.get(*row).map(|row| row.position));
            let mut place_of: Vec<usize> = vec![0; provided];
            for (place, row) in order.into_iter().enumerate() {
                if let Some(slot) = place_of.get_mut(row) {
                    *slot = place;
                }
            }
            for place in places {
                place.row = place_of.get(place.row).copied().unwrap_or(place.row);
            }
            self.rows.get_mut(..provided).unwrap_or_default().sort_by_key(|row| row.position);
        }
        for (row, position) in self.rows.iter_mut().zip(1..) {
            row.position = position;
        }
    }
}

/// A page seen under https too is an https page.
fn secured(known: &mut ExtractedCitation, clean: &Canonical) {
    if clean.url.starts_with("https:") && known.canonical_url.starts_with("http:") {
        known.canonical_url.clone_from(&clean.url);
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
