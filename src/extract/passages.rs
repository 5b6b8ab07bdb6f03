//! The sentence around a mention. Judges nothing; see `sense` and `sentiment`. Work per mention is bounded.

use std::ops::Range;

/// How far a sentence is followed to each side of a mention, in bytes.
const REACH: usize = 500;

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
pub(super) fn sentence_breaks<'a>(part: &'a str, rest: &'a str) -> impl DoubleEndedIterator<Item = usize> + 'a {
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
