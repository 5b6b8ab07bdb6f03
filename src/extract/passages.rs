//! The sentence around a mention, and what the rules can read from it: an absence statement, a judgement.
//!
//! English word lists only (see `words`); an answer in another language gets no sentiment here. Work per mention is bounded.

use std::ops::Range;

use super::fold::{fold, without_emphasis};
use super::words::{ABSENCE_AFTER, ABSENCE_BEFORE, ABSENCE_FILLERS, NEGATIONS, NEGATIVE, POSITIVE, TURNS};
use crate::domain::Sentiment;

/// How far a sentence is followed to each side of a mention, in bytes.
const REACH: usize = 500;
/// Mentions whose sentences are looked at for an absence statement; more than that is no absence.
const LOOKED_AT: usize = 1_000;

/// Abbreviations whose dot ends no sentence.
const ABBREVIATIONS: &[&str] =
    &["inc", "ltd", "co", "corp", "e.g", "i.e", "vs", "dr", "mr", "mrs", "ms", "st", "no", "approx", "etc"];

/// The sentence (or list item, or table row) around `span`, without the white space at its ends; cut at about 500 bytes.
pub(super) fn sentence(text: &str, span: &Range<usize>) -> Range<usize> {
    let floor = floor_boundary(text, span.start.saturating_sub(REACH));
    let ceiling = floor_boundary(text, span.end.saturating_add(REACH).min(text.len()));
    let before = text.get(floor..span.start).unwrap_or_default();
    let start = floor + sentence_breaks(before, text.get(span.start..).unwrap_or_default()).next_back().unwrap_or(0);
    let after = text.get(span.end..ceiling).unwrap_or_default();
    let end = span.end + sentence_breaks(after, text.get(ceiling..).unwrap_or_default()).next().unwrap_or(after.len());
    let whole = text.get(start..end).unwrap_or_default();
    let start = start + (whole.len() - whole.trim_start().len());
    start..start + whole.trim().len()
}

fn floor_boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Offsets one past the ends of sentences in `part`; `rest` is what follows it.
fn sentence_breaks<'a>(part: &'a str, rest: &'a str) -> impl DoubleEndedIterator<Item = usize> + 'a {
    part.char_indices().filter_map(move |(at, character)| {
        let end = at + character.len_utf8();
        let next = || part.get(end..).unwrap_or_default().chars().chain(rest.chars());
        let ends = match character {
            '\n' | '。' | '！' | '？' => true,
            // A small letter goes on with the sentence: `Prices e.g. here`, `Yahoo! is`.
            '!' | '?' | '.' => {
                next().next().is_none_or(char::is_whitespace)
                    && !next().take(REACH).find(|next| !next.is_whitespace()).is_some_and(char::is_lowercase)
                    && !(character == '.' && ends_with_abbreviation(part.get(..at).unwrap_or_default()))
            }
            _ => false,
        };
        ends.then_some(end)
    })
}

fn ends_with_abbreviation(before: &str) -> bool {
    let start = before.char_indices().rev().take(5).take_while(|(_, character)| !character.is_whitespace()).last();
    let word = start.and_then(|(at, _)| before.get(at..)).unwrap_or_default().to_lowercase();
    ABBREVIATIONS.contains(&word.as_str())
}

/// The mentions but for those in a sentence that says that the answer does not know or does not list the org.
pub(super) fn without_absences(text: &str, mut mentions: Vec<Range<usize>>) -> Vec<Range<usize>> {
    let mut counts = is_not_absence(text);
    mentions.retain(|span| counts(span));
    mentions
}

/// Tells mentions from absence statements; looks at the first thousand only, so that the work stays bounded.
pub(super) fn is_not_absence(text: &str) -> impl FnMut(&Range<usize>) -> bool {
    let mut looked_at = 0;
    move |span| {
        looked_at += 1;
        looked_at > LOOKED_AT || !is_absence(text, span)
    }
}

fn is_absence(text: &str, span: &Range<usize>) -> bool {
    let sentence = sentence(text, span);
    let words = |range: Range<usize>| fold(&without_emphasis(text.get(range).unwrap_or_default()));
    let before = words(sentence.start..span.start.max(sentence.start));
    let after = words(span.end.min(sentence.end)..sentence.end);
    absent_before(&before) || absent_after(&after)
}

/// `I couldn't find any information about the company …`: the phrase, then fillers only.
fn absent_before(before: &str) -> bool {
    let mut rest = before.trim_end_matches(|last: char| !last.is_alphanumeric());
    for _ in 0..12 {
        if ABSENCE_BEFORE.iter().any(|phrase| ends_with_words(rest, phrase)) {
            return true;
        }
        let (head, last) = rest.rsplit_once(|character: char| character.is_whitespace()).unwrap_or(("", rest));
        if !ABSENCE_FILLERS.contains(&last) {
            return false;
        }
        rest = head.trim_end();
    }
    false
}

fn ends_with_words(text: &str, phrase: &str) -> bool {
    text.strip_suffix(phrase).is_some_and(|head| !head.ends_with(char::is_alphanumeric))
}

/// `… does not appear in this list`: the phrase soon after the name, no other thought in between.
fn absent_after(after: &str) -> bool {
    let after = format!(" {after}");
    let end = TURNS.iter().filter_map(|turn| after.find(turn)).min().unwrap_or(after.len());
    let thought = after.get(..end).unwrap_or_default();
    ABSENCE_AFTER.iter().any(|phrase| {
        thought.match_indices(phrase).any(|(at, _)| {
            let behind = thought.get(at + phrase.len()..).unwrap_or_default();
            let takes_back =
                behind.starts_with(" to ") && !behind.starts_with(" to be listed") && !behind.starts_with(" to be included");
            at <= 60 && !takes_back && !behind.starts_with(char::is_alphanumeric)
        })
    })
}

/// The sentences that hold a mention, in order, without overlap.
pub(super) fn around(text: &str, mentions: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut passages: Vec<Range<usize>> = Vec::new();
    for span in mentions {
        if passages.last().is_some_and(|last| span.end <= last.end) {
            continue;
        }
        let sentence = sentence(text, span);
        match passages.last_mut().filter(|last| sentence.start < last.end) {
            Some(last) => last.end = last.end.max(sentence.end),
            None => passages.push(sentence),
        }
    }
    passages
}

/// The texts of the passages joined by ` || `; `None` when there is none.
pub(super) fn joined(text: &str, passages: &[Range<usize>]) -> Option<String> {
    let texts: Vec<&str> =
        passages.iter().filter_map(|passage| text.get(passage.clone())).filter(|text| !text.is_empty()).collect();
    (!texts.is_empty()).then(|| texts.join(" || "))
}

/// What the words of the passages say: more praise than blame, or the reverse; `None` when neither (not known, not neutral).
pub(super) fn sentiment(text: &str, passages: &[Range<usize>]) -> Option<Sentiment> {
    let (mut praise, mut blame) = (0_u32, 0_u32);
    for passage in passages {
        let folded = fold(text.get(passage.clone()).unwrap_or_default());
        let mut since_negation = usize::MAX;
        for word in folded.split(|character: char| !(character.is_alphanumeric() || matches!(character, '\'' | '-'))) {
            if word.is_empty() {
                continue;
            }
            since_negation = if NEGATIONS.contains(&word) { 0 } else { since_negation.saturating_add(1) };
            let negated = (1..=3).contains(&since_negation);
            let (good, bad) = (POSITIVE.contains(&word), NEGATIVE.contains(&word));
            praise += u32::from((good && !negated) || (bad && negated));
            blame += u32::from((bad && !negated) || (good && negated));
        }
    }
    match praise.cmp(&blame) {
        std::cmp::Ordering::Greater => Some(Sentiment::Positive),
        std::cmp::Ordering::Less => Some(Sentiment::Negative),
        std::cmp::Ordering::Equal => None,
    }
}
