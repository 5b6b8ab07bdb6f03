//! What a place that holds a name of the org is: a mention, or why it is none.
//!
//! The places come from `mentions`, absence statements from `absence`, references from `labels`; here they are put together with what the
//! org's entry says (homonyms, their context, confusables) and with the names that only look alike. Asks no model: where the
//! rules cannot tell, the hit is `Unsure`.

use std::collections::HashSet;
use std::ops::Range;

use super::absence;
use super::fold::{Folded, Mode, fold};
use super::labels;
use super::lookalike::ascii_spellings;
use super::mentions::{Document, Matcher, Name, is_word, share};
use super::passages::sentence;
use super::phrases::{Said, said};
use crate::domain::{HitKind, Org};

/// How near to a homonym a word of its trade shows the sense, when not in its sentence; in bytes.
const NEAR: usize = 300;

/// A place that holds a name of the org.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Bytes of the answer.
    pub(super) span: Range<usize>,
    /// What it is.
    pub(super) kind: HitKind,
}

/// Where the org is mentioned.
pub(super) fn mentions(found: &[Found]) -> Vec<Range<usize>> {
    spans_of(found, |kind| kind == HitKind::Mention)
}

/// Where a name of the org stands, whatever it means there.
pub(super) fn named(found: &[Found]) -> Vec<Range<usize>> {
    spans_of(found, |kind| kind != HitKind::Lookalike)
}

fn spans_of(found: &[Found], wanted: impl Fn(HitKind) -> bool) -> Vec<Range<usize>> {
    found.iter().filter(|found| wanted(found.kind)).map(|found| found.span.clone()).collect()
}

/// No sure mention, and a place that may be one: a homonym without its context, or beside an absence statement.
pub(super) fn is_unsure(found: &[Found]) -> bool {
    let has = |kinds: &[HitKind]| found.iter().any(|found| kinds.contains(&found.kind));
    !has(&[HitKind::Mention]) && has(&[HitKind::Unsure, HitKind::Absence])
}

/// What the org's entry says beside its names, compiled.
#[derive(Debug, Default)]
pub(super) struct Sense {
    confusables: Matcher,
    context: Matcher,
    /// Skeletons of the names; searched in the skeleton of an answer.
    skeletons: Matcher,
    /// Names with digits in the place of letters.
    spellings: Matcher,
    /// By number of the name given to the org's matcher: it is a homonym.
    homonyms: Vec<bool>,
    own_domains: HashSet<String>,
    has_context: bool,
    /// A name of the org has letters that look like Latin ones.
    other_script: bool,
}

impl Sense {
    /// Compiles. `names` are all names in the order in which the org's matcher got them.
    pub(super) fn new<'a>(org: &Org, names: impl Iterator<Item = &'a str>, own_domains: &HashSet<String>) -> Self {
        let plain = |text: &'a str| Name { text, group: 0, domain: false };
        let given: Vec<&str> = std::iter::once(&org.name).chain(&org.aliases).map(String::as_str).collect();
        let homonyms: HashSet<String> = org.homonyms.iter().map(|name| fold(name)).collect();
        let names: Vec<&str> = names.collect();
        let known: HashSet<String> = names.iter().map(|name| fold(name)).collect();
        let mut skeletons: Vec<String> = Vec::new();
        for name in given.iter().filter(|name| name.chars().filter(|letter| is_word(*letter)).count() >= 4) {
            for written in [(*name).to_owned(), name.to_lowercase(), name.to_uppercase()] {
                let skeleton = Folded::new(&written, Mode::Skeleton).text.trim().replace('\n', " ");
                if !skeleton.is_empty() && !skeletons.contains(&skeleton) {
                    skeletons.push(skeleton);
                }
            }
        }
        let spellings: Vec<String> =
            given.iter().flat_map(|name| ascii_spellings(&fold(name))).filter(|name| !known.contains(name)).collect();
        let context: Vec<(String, bool)> =
            org.context.iter().map(|word| loose(&fold(word))).filter(|(word, _)| !word.is_empty()).collect();
        Self {
            confusables: Matcher::new(org.confusables.iter().map(|phrase| Name { text: phrase, group: 0, domain: false })),
            has_context: !context.is_empty(),
            context: Matcher::phrases(context.iter().map(|(word, open)| (word.as_str(), *open))),
            other_script: given.iter().any(|name| Folded::new(name, Mode::Match).has_lookalikes),
            skeletons: Matcher::phrases(skeletons.iter().map(|skeleton| (skeleton.as_str(), false))),
            spellings: Matcher::new(spellings.iter().map(|name| Name { text: name, group: 0, domain: false })),
            homonyms: names.iter().map(|name| homonyms.contains(&fold(plain(name).text))).collect(),
            own_domains: own_domains.clone(),
        }
    }

    /// Puts all that is looked for in an answer into one automaton.
    pub(super) fn share(&mut self, own: &mut Matcher, rivals: &mut Matcher) {
        share([own, rivals, &mut self.confusables, &mut self.context, &mut self.spellings]);
    }

    /// Every place that holds a name, in order, and what it is.
    pub(super) fn found(&self, document: &Document<'_>, own: &Matcher, rivals: &Matcher, judge: &Judge<'_, '_>) -> Vec<Found> {
        let mut places = self.joined(document, own);
        let mut found = self.lookalikes(document, &places);
        if places.is_empty() {
            return found;
        }
        let longer: Vec<Range<usize>> =
            self.confusables.places(document).into_iter().chain(rivals.places(document)).map(|place| place.span).collect();
        let inside = longest_around(longer);
        for (place, _) in &mut places {
            let confused = inside(&place.span);
            place.kind = if confused { HitKind::Confusable } else { judge.kind(&place.span) };
        }
        let sure = places.iter().any(|(place, homonym)| !homonym && place.kind == HitKind::Mention);
        if places.iter().any(|(place, homonym)| *homonym && place.kind == HitKind::Mention) {
            let trade = Trade::new(self, document, rivals);
            for (place, _) in places.iter_mut().filter(|(place, homonym)| *homonym && place.kind == HitKind::Mention) {
                place.kind = self.sense_of(document, &place.span, sure, &trade);
            }
        }
        doubt(document, &mut places);
        found.extend(places.into_iter().map(|(place, _)| place));
        found.sort_by_key(|found| (found.span.start, found.span.end));
        found
    }

    /// Occurrences, overlapping ones joined; true: only homonyms stand there.
    fn joined(&self, document: &Document<'_>, own: &Matcher) -> Vec<(Found, bool)> {
        let mut joined: Vec<(Found, bool)> = Vec::new();
        for place in own.places(document) {
            let mut homonym = self.homonyms.get(place.name).copied().unwrap_or(false);
            let mut span = place.span;
            while let Some((last, was)) = joined.last().filter(|(last, _)| last.span.end > span.start) {
                // The longer name says which it is: `Sable` in `Sable Labels` is no homonym, `Sable` beside itself stays one.
                homonym = if last.span.len() == span.len() {
                    homonym && *was
                } else if last.span.len() > span.len() {
                    *was
                } else {
                    homonym
                };
                span = span.start.min(last.span.start)..span.end.max(last.span.end);
                joined.pop();
            }
            joined.push((Found { span, kind: HitKind::Mention }, homonym));
        }
        joined
    }

    fn sense_of(&self, document: &Document<'_>, span: &Range<usize>, sure: bool, trade: &Trade) -> HitKind {
        let written = document.slice(span);
        let cased = written.chars().any(|letter| letter.is_lowercase() || letter.is_uppercase());
        let capital = written.chars().find(|letter| letter.is_alphabetic()).is_some_and(char::is_uppercase);
        if cased && !capital {
            return HitKind::Homonym;
        }
        let sentence = sentence(document.text, span);
        let near = |places: &[Range<usize>]| {
            let first = places.partition_point(|place| place.end + NEAR < span.start.min(sentence.start));
            places.iter().skip(first).take_while(|place| place.start <= span.end.max(sentence.end) + NEAR).any(|place| {
                (place.start >= sentence.start && place.end <= sentence.end)
                    || (place.end + NEAR >= span.start && place.start <= span.end + NEAR)
            })
        };
        if sure || trade.kinds >= 2 || near(&trade.places) || self.links_home(document, span) {
            return HitKind::Mention;
        }
        if trade.kinds > 0 || !self.has_context { HitKind::Unsure } else { HitKind::Homonym }
    }

    /// The name is the label of a link to a website of the org.
    fn links_home(&self, document: &Document<'_>, span: &Range<usize>) -> bool {
        labels::link_of(document, span).and_then(|link| link.url.clone()).is_some_and(|url| {
            let url = document.slice(&url).to_ascii_lowercase();
            let host = url.split_once("://").map_or("", |(_, rest)| rest).split(['/', '?', '#', ':']).next().unwrap_or_default();
            self.own_domains
                .iter()
                .any(|domain| host.strip_suffix(domain.as_str()).is_some_and(|below| below.is_empty() || below.ends_with('.')))
        })
    }

    /// Places that look like a name and are spelled with other letters.
    fn lookalikes(&self, document: &Document<'_>, names: &[(Found, bool)]) -> Vec<Found> {
        let mut spans: Vec<Range<usize>> = self.spellings.places(document).into_iter().map(|place| place.span).collect();
        if document.folded().has_lookalikes || (self.other_script && !document.text.is_empty()) {
            let seen = Document::skeleton(document.text);
            spans.extend(self.skeletons.places(&seen).into_iter().map(|place| place.span).filter(|span| document.is_prose(span)));
        }
        spans.sort_by_key(|span| (span.start, std::cmp::Reverse(span.end)));
        spans.dedup_by(|next, last| next.start < last.end);
        spans.retain(|span| {
            let after = names.partition_point(|(name, _)| name.span.end <= span.start);
            names.get(after).is_none_or(|(name, _)| name.span.start >= span.end)
        });
        spans.into_iter().map(|span| Found { span, kind: HitKind::Lookalike }).collect()
    }
}

/// An answer that uses the name in another sense, too, must say somewhere that it means the org: where all that speaks for it is a
/// capital that the start of a sentence asks for ("Juniper burns … a juniper tree"), or a compound with another name
/// ("Montclair-Boonton Line" beside "Montclair State University"), the rules cannot tell.
fn doubt(document: &Document<'_>, places: &mut [(Found, bool)]) {
    let other_sense = |kind: HitKind| matches!(kind, HitKind::Confusable | HitKind::Homonym);
    if !places.iter().any(|(place, _)| other_sense(place.kind)) {
        return;
    }
    let text = document.text;
    let is_doubtful = |place: &Found, homonym: bool| {
        let after = text.get(place.span.end..).unwrap_or_default();
        let joined = after.strip_prefix(['-', '–']).is_some_and(|rest| rest.starts_with(char::is_uppercase));
        let opens =
            sentence(text, &place.span).start == place.span.start && !after.starts_with(['*', '_', ':', '\'', '’', '®', '™']);
        joined || (homonym && opens)
    };
    let mentions = || places.iter().filter(|(place, _)| place.kind == HitKind::Mention);
    if mentions().all(|(place, homonym)| is_doubtful(place, *homonym)) {
        for (place, _) in places.iter_mut().filter(|(place, _)| place.kind == HitKind::Mention) {
            place.kind = HitKind::Unsure;
        }
    }
}

/// A word of the trade without its ending, so that its other forms are found too; true: the word may go on.
fn loose(folded: &str) -> (String, bool) {
    let letters = folded.chars().filter(|letter| is_word(*letter)).count();
    let cut = if letters >= 6 { 1 } else { 0 };
    let kept = folded.chars().count() - cut;
    (folded.chars().take(kept).collect(), letters >= 4)
}

/// Where the answer speaks of the org's trade: words of `context`, and configured competitors.
struct Trade {
    places: Vec<Range<usize>>,
    /// How many different ones.
    kinds: usize,
}

impl Trade {
    fn new(sense: &Sense, document: &Document<'_>, rivals: &Matcher) -> Self {
        let words = sense.context.places(document).into_iter().filter(|place| document.is_prose(&place.span));
        let mut kinds = HashSet::new();
        let mut places = Vec::new();
        for (place, rival) in
            words.map(|place| (place, false)).chain(rivals.places(document).into_iter().map(|place| (place, true)))
        {
            kinds.insert((place.group, rival));
            places.push(place.span);
        }
        places.sort_by_key(|place| place.end);
        Self { places, kinds: kinds.len() }
    }
}

/// Tells whether a span lies in a longer one of these.
fn longest_around(mut spans: Vec<Range<usize>>) -> impl Fn(&Range<usize>) -> bool {
    spans.sort_by_key(|span| (span.start, span.end));
    // The furthest end of all that start up to each.
    let mut furthest = 0;
    let ends: Vec<usize> = spans
        .iter()
        .map(|span| {
            furthest = furthest.max(span.end);
            furthest
        })
        .collect();
    move |inner| {
        let before = spans.partition_point(|span| span.start < inner.start);
        let reaches = before.checked_sub(1).and_then(|last| ends.get(last)).is_some_and(|end| *end >= inner.end);
        reaches || spans.iter().skip(before).take_while(|span| span.start == inner.start).any(|span| span.end > inner.end)
    }
}

/// Tells of any place of one answer whether it is a mention of what stands there, for the org and for its competitors.
#[derive(Debug)]
pub(super) struct Judge<'d, 't> {
    document: &'d Document<'t>,
    said: std::cell::OnceCell<Vec<Said>>,
}

impl<'d, 't> Judge<'d, 't> {
    /// Reads nothing yet.
    pub(super) fn new(document: &'d Document<'t>) -> Self {
        Self { document, said: std::cell::OnceCell::new() }
    }

    /// `Mention`, `LinkLabel` or `Absence`.
    pub(super) fn kind(&self, span: &Range<usize>) -> HitKind {
        let reference = match labels::link_of(self.document, span) {
            Some(link) => labels::is_reference(self.document, span, link),
            None => labels::is_source_item(self.document, span),
        };
        let said = self.said.get_or_init(|| said(self.document));
        if reference {
            HitKind::LinkLabel
        } else if absence::is_absence(self.document.text, span, said) {
            HitKind::Absence
        } else {
            HitKind::Mention
        }
    }

    /// True for a place that is a mention.
    pub(super) fn counts(&self, span: &Range<usize>) -> bool {
        self.kind(span) == HitKind::Mention
    }
}
