//! Rank and list position: where the org stands among the brands of an answer. Finds no name itself.
//!
//! Rank = 1 + number of distinct brands whose first mention stands before the org's (Peec's definition). The list position is
//! the number of the item that presents the org, in a numbered list that ranks alternatives. A list is taken for one when at
//! least two of its items present different brands, or when the org stands alone as the name of its item and another item has
//! a name-like head too; numbered steps ("1. Open the app", "2. Connect X's inbox") are neither. An item presents the brand it
//! begins with, also behind a short label ("Best overall: X") or an article. Of several such lists the longest counts, then the first.

use std::collections::HashSet;
use std::ops::Range;

use super::brands::Place;
use super::lists::{Item, numbered};

/// Longest label before the name that an item presents, in characters.
const MAX_LABEL: usize = 50;
/// Most characters of a name-like head.
const MAX_NAME: usize = 60;

/// The first place of every brand that stands before the org's first mention, in order; the rank is one more than there are.
pub(super) fn before(places: &[Place], mention: &Range<usize>) -> Vec<Range<usize>> {
    let mut seen = HashSet::new();
    let earlier = places.iter().take_while(|place| place.span.start < mention.start);
    earlier.filter(|place| seen.insert(place.brand)).map(|place| place.span.clone()).collect()
}

/// The list position and the head of the item. `mentions` and `places` (the other brands) are in order.
pub(super) fn list_position(text: &str, mentions: &[Range<usize>], places: &[Place]) -> Option<(u32, Range<usize>)> {
    let rivals: Vec<Range<usize>> = places.iter().map(|place| place.span.clone()).collect();
    listed(text, mentions, &rivals)
}

/// [`list_position`] for who knows only where other brands stand.
pub(super) fn listed(text: &str, mentions: &[Range<usize>], rivals: &[Range<usize>]) -> Option<(u32, Range<usize>)> {
    if mentions.is_empty() {
        return None;
    }
    let lists = numbered(text);
    let mut best: Option<(usize, u32, Range<usize>)> = None;
    for list in lists.iter().filter(|list| list.len() > 1) {
        let own = |item: &&Item| {
            let rival = rivals.partition_point(|rival| rival.start < item.head.start);
            let first = |span: &Range<usize>| rivals.get(rival).is_none_or(|rival| rival.start > span.start);
            presented(text, item, mentions).is_some_and(first)
        };
        let Some(own) = list.iter().find(own) else { continue };
        let longer = best.as_ref().is_none_or(|(length, ..)| list.len() > *length);
        if longer && ranks(text, list, own, mentions, rivals) {
            best = Some((list.len(), own.number, head_of(text, own)));
        }
    }
    best.map(|(_, number, head)| (number, head))
}

/// True when the list ranks brands.
fn ranks(text: &str, list: &[Item], own: &Item, mentions: &[Range<usize>], rivals: &[Range<usize>]) -> bool {
    let other_brand = list.iter().any(|item| item != own && presented(text, item, rivals).is_some());
    let alone = presented(text, own, mentions).is_some_and(|span| ends_the_name(text, span.end, own));
    other_brand || (alone && list.iter().any(|item| item != own && has_name(text, item)))
}

/// The name that the item presents, of `spans` in order.
fn presented<'a>(text: &str, item: &Item, spans: &'a [Range<usize>]) -> Option<&'a Range<usize>> {
    let first = spans.partition_point(|span| span.start < item.head.start);
    let span = spans.get(first).filter(|span| span.start < item.head.end)?;
    let before = plain(text.get(item.head.start..span.start).unwrap_or_default());
    let after = text.get(span.end..).unwrap_or_default();
    // `X's dashboard` presents the dashboard.
    let possessive = after.strip_prefix(['\'', '’']).is_some_and(|rest| rest.starts_with('s'));
    let label = before.trim();
    let short = label.chars().count() <= MAX_LABEL && !label.contains(['.', '!', '?', '。']);
    let labelled = short && label.ends_with([':', '：', '–', '—', '-', '|', '→', '「', '『', '《', '“', '"', '«']);
    let symbols = !label.contains(char::is_alphanumeric);
    (!possessive && (symbols || labelled || is_article(label))).then_some(span)
}

fn is_article(label: &str) -> bool {
    matches!(
        label.to_lowercase().as_str(),
        "the"
            | "le"
            | "la"
            | "les"
            | "l'"
            | "l’"
            | "el"
            | "los"
            | "las"
            | "il"
            | "lo"
            | "der"
            | "die"
            | "das"
            | "de"
            | "het"
            | "o"
            | "a"
            | "os"
    )
}

/// Without emphasis and the brackets of links.
fn plain(text: &str) -> String {
    text.chars().filter(|character| !matches!(character, '*' | '_' | '[' | ']' | '`' | '#')).collect()
}

/// True when the item's head holds nothing behind the name but its separator.
fn ends_the_name(text: &str, end: usize, item: &Item) -> bool {
    let after = text.get(end..item.head.end).unwrap_or_default();
    let after = after.trim_start_matches(['*', '_', ']', '`', '®', '™', ')', '」', '』', '》', '”', '"', '»']);
    separates(after)
}

/// True when a name may end before this text: it is empty, or begins with what parts a name from what is said of it.
fn separates(after: &str) -> bool {
    let dash = |rest: &str| rest.starts_with(['–', '—', '-', '−', '|', '→', '(', '（', ':', '：', '=']);
    let first = after.chars().next();
    first.is_none_or(|first| matches!(first, ':' | '：' | '(' | '（' | '–' | '—' | ',' | '，' | '、' | '.' | '。' | '|' | ';'))
        || after.trim_start().is_empty()
        || (first.is_some_and(char::is_whitespace) && dash(after.trim_start()))
}

/// True when an item begins with something that looks like a name: emphasised, linked, or a few words up to a separator that
/// do not begin with a small letter; no sentence.
fn has_name(text: &str, item: &Item) -> bool {
    let head = text.get(item.head.clone()).unwrap_or_default();
    let linked = head.starts_with('[');
    let end = head
        .char_indices()
        .take(MAX_NAME + 1)
        .find(|(at, _)| head.get(*at..).is_some_and(|rest| rest.starts_with(['*', ']']) || separates(rest)))
        .map(|(at, _)| at)
        .or_else(|| (head.chars().count() <= MAX_NAME).then_some(head.len()));
    let Some(name) = end.and_then(|end| head.get(..end)) else { return false };
    let words = name.split_whitespace().count();
    linked || (words <= 5 && !name.starts_with(char::is_lowercase) && name.contains(char::is_alphanumeric))
}

/// The line of the item behind its number, without the emphasis at its end.
fn head_of(text: &str, item: &Item) -> Range<usize> {
    let head = text.get(item.head.clone()).unwrap_or_default();
    let shown = head.trim_end().trim_end_matches(['*', '_']).len();
    item.head.start..item.head.start + shown
}
