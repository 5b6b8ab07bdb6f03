//! How much of an answer stands for each cited page: the impression metrics of "GEO: Generative Engine Optimization" (KDD 2024), as
//! the authors' code counts them (GEO-optim/GEO, src/utils.py).
//!
//! Sentences s_0 … s_(N-1); Cit_i the sources cited in s_i, by link or marker; wc_i its words of more than two characters:
//!
//! * words             W_j = Σ_i [j ∈ Cit_i] · wc_i / |Cit_i|
//! * position-adjusted P_j = Σ_i [j ∈ Cit_i] · wc_i · exp(-i / (N - 1)) / |Cit_i|, the factor 1 when N = 1
//!
//! A page's share is its part of the sum over all pages. Where the code gives every source 1/n because nothing is cited in a
//! sentence, the share here is not known. A link behind the full stop belongs to the sentence before it; a line that holds nothing
//! but links, or says what a number means, cites nothing. In scripts written without spaces two characters count as a word.
//! Knows no org and judges no URL.

use std::ops::Range;

use super::bytes::Stops;
use super::citations::{Place, PlaceKind};
use super::links::is_unspaced;
use super::markup::Kind;
use super::mentions::Document;
use crate::domain::{ExtractedCitation, Ownership, Shares};

/// How far back the beginning of a link's label is looked for, in bytes.
const MAX_LABEL: usize = 400;
/// How many characters behind a full stop are looked at for a small letter.
const REACH: usize = 8;

/// A sentence with at least one word of more than two characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sentence {
    /// Its bytes, from its first word to its end; links behind the full stop are left out.
    pub(super) span: Range<usize>,
    /// Words of more than two characters.
    pub(super) words: u32,
    /// Rows it cites, each once.
    pub(super) sources: Vec<usize>,
}

/// The shares of own pages: of all citations, of the words, of the position-adjusted words; `None` where the denominator is 0.
/// `places` as [`super::citations::Found`] has them. The share of occurrences is left to the mentions.
pub(super) fn shares(document: &Document<'_>, citations: &[ExtractedCitation], places: &[Place]) -> Shares {
    let own = |row: &ExtractedCitation| row.ownership == Ownership::Primary;
    let count = |rows: usize| rows as f64;
    let of_citations =
        (!citations.is_empty()).then(|| count(citations.iter().filter(|row| own(row)).count()) / count(citations.len()));
    let (mut words, mut position_adjusted) = (None, None);
    if places.iter().any(|place| place.kind != PlaceKind::Definition) {
        let [by_words, by_position] = impressions(&sentences(document, places), citations.len());
        let share = |weights: &[f64]| {
            let all: f64 = weights.iter().sum();
            let ours: f64 = weights
                .iter()
                .zip(citations)
                .filter(|(_, row)| own(row))
                .map(|(weight, _)| weight)
                .fold(0.0, |sum, weight| sum + weight);
            (all > 0.0).then(|| (ours / all).clamp(0.0, 1.0))
        };
        (words, position_adjusted) = (share(&by_words), share(&by_position));
    }
    Shares { occurrences: None, citations: of_citations, words, position_adjusted }
}

/// W and P of every one of `sources`, not normalised.
fn impressions(sentences: &[Sentence], sources: usize) -> [Vec<f64>; 2] {
    let (mut words, mut adjusted) = (vec![0.0; sources], vec![0.0; sources]);
    let last = sentences.len().saturating_sub(1);
    for (index, sentence) in sentences.iter().enumerate() {
        let weight = f64::from(sentence.words) / (sentence.sources.len().max(1) as f64);
        let decay = if last == 0 { 1.0 } else { (-(index as f64) / (last as f64)).exp() };
        for source in &sentence.sources {
            if let (Some(words), Some(adjusted)) = (words.get_mut(*source), adjusted.get_mut(*source)) {
                *words += weight;
                *adjusted += weight * decay;
            }
        }
    }
    [words, adjusted]
}

/// The sentences of an answer, in order, with what each cites.
pub(super) fn sentences(document: &Document<'_>, places: &[Place]) -> Vec<Sentence> {
    let mut walk = Walk::default();
    let mut at = 0;
    let mut places = places.iter().peekable();
    for mark in document.marks() {
        // Markers, and hosts without a scheme, stand in prose.
        while let Some(place) = places.next_if(|place| place.span.end <= mark.span.start) {
            walk.place(document, &mut at, &place.span, Some(place));
        }
        let place = places.next_if(|place| place.span.start < mark.span.end);
        let span = match place {
            Some(place) => mark.span.start.min(place.span.start)..mark.span.end.max(place.span.end),
            None => mark.span.clone(),
        };
        if mark.kind == Kind::Target
            && let Some(label) = label(document.text, at, span.start)
        {
            walk.prose(document.text, at..label.start - 1);
            walk.label(document.slice(&label));
            at = label.end;
        }
        walk.place(document, &mut at, &span, place);
    }
    for place in places {
        walk.place(document, &mut at, &place.span, Some(place));
    }
    walk.prose(document.text, at..document.text.len());
    walk.close();
    walk.sentences
}

/// The text of a range without its links and the brackets around them, white space collapsed; a label that is a word of the
/// sentence stays. `None` when no word is left.
pub(super) fn words_of(document: &Document<'_>, range: &Range<usize>) -> Option<String> {
    let mut plain = String::new();
    let mut at = range.start;
    let mut brackets = 0;
    let marks = document.marks();
    let first = marks.partition_point(|mark| mark.span.end <= range.start);
    for mark in marks.iter().skip(first).take_while(|mark| mark.span.start < range.end) {
        let before = without_closing(document.slice(&(at..mark.span.start.max(at))), brackets);
        brackets = 0;
        at = mark.span.end.max(at);
        match (mark.kind, label(document.text, range.start, mark.span.start)) {
            (Kind::Code, _) => {
                plain.push_str(before);
                plain.push_str(document.slice(&mark.span));
            }
            (Kind::Target, Some(label)) if before.len() > label.len() + 1 => {
                plain.push_str(before.get(..before.len() - label.len() - 2).unwrap_or_default());
                plain.push_str(document.slice(&label));
            }
            _ => {
                let bare = before.trim_end_matches(['(', '[', '<']);
                brackets = before.len() - bare.len();
                plain.push_str(bare);
            }
        }
    }
    plain.push_str(without_closing(document.slice(&(at.min(range.end)..range.end)), brackets));
    let plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    plain.contains(char::is_alphanumeric).then_some(plain)
}

/// Without as many closing brackets at its beginning as were opened.
fn without_closing(text: &str, brackets: usize) -> &str {
    let closing = text.bytes().take(brackets).take_while(|byte| matches!(byte, b')' | b']' | b'>')).count();
    text.get(closing..).unwrap_or_default()
}

/// The label of the link whose target begins at `target`, not before `floor`.
fn label(text: &str, floor: usize, target: usize) -> Option<Range<usize>> {
    let close = target.checked_sub(1)?;
    let bytes = text.as_bytes();
    if bytes.get(close) != Some(&b']') {
        return None;
    }
    let mut depth = 0_usize;
    let mut at = close;
    while at > floor && close - at < MAX_LABEL {
        at -= 1;
        match bytes.get(at)? {
            b']' => depth += 1,
            b'[' if depth == 0 => return Some(at + 1..close),
            b'[' => depth -= 1,
            b'\n' => return None,
            _ => {}
        }
    }
    None
}

#[derive(Debug, Default)]
struct Walk {
    sentences: Vec<Sentence>,
    start: Option<usize>,
    end: usize,
    words: u32,
    /// Of them, words that are not a link's label.
    bare: u32,
    /// The full stop was met: the next word begins another sentence.
    over: bool,
    sources: Vec<usize>,
    /// Characters of the word that is being read.
    token: u32,
    /// Characters, not yet counted, of a run without spaces.
    unspaced: u32,
}

impl Walk {
    /// Prose up to the place, then the place.
    fn place(&mut self, document: &Document<'_>, at: &mut usize, span: &Range<usize>, place: Option<&Place>) {
        if span.start > *at {
            self.prose(document.text, *at..span.start);
        }
        *at = span.end.max(*at);
        self.word();
        if let Some(place) = place.filter(|place| place.kind != PlaceKind::Definition)
            && !self.sources.contains(&place.row)
        {
            self.sources.push(place.row);
        }
    }

    /// The label of a link: words of the sentence, unless the sentence is over.
    fn label(&mut self, label: &str) {
        self.word();
        if self.over {
            return;
        }
        let mut inside = Self::default();
        inside.prose(label, 0..label.len());
        inside.word();
        self.words = self.words.saturating_add(inside.words);
        for sentence in inside.sentences {
            self.words = self.words.saturating_add(sentence.words);
        }
    }

    fn prose(&mut self, text: &str, range: Range<usize>) {
        let part = text.get(range.clone()).unwrap_or_default();
        let bytes = part.as_bytes();
        let mut words = Stops::of_words(bytes);
        let mut offset = 0;
        while let Some(byte) = bytes.get(offset).copied() {
            let at = range.start + offset;
            // Words and blanks of ASCII, which nearly all is, are read as runs.
            if byte.is_ascii_alphanumeric() {
                if self.over {
                    self.close();
                }
                let run = words.next(offset).unwrap_or(bytes.len()) - offset;
                self.start.get_or_insert(at);
                self.token = self.token.saturating_add(u32::try_from(run).unwrap_or(u32::MAX));
                self.end = at + run;
                offset += run;
                continue;
            }
            if byte == b' ' {
                self.word();
                offset += 1;
                continue;
            }
            let Some(character) = part.get(offset..).and_then(|rest| rest.chars().next()) else { return };
            offset += character.len_utf8();
            if !character.is_ascii() && character.is_alphanumeric() {
                if self.over {
                    self.close();
                }
                self.start.get_or_insert(at);
                if is_unspaced(character) {
                    self.unspaced += 1;
                } else {
                    self.token += 1;
                }
                self.end = at + character.len_utf8();
                continue;
            }
            // It's, e-mail.
            if matches!(character, '\'' | '’' | '-') && self.token > 0 {
                continue;
            }
            self.word();
            match character {
                '\n' => self.close(),
                '.' | '!' | '?' | '。' | '！' | '？' | '।' | '؟' if self.words > 0 => {
                    if matches!(character, '.' | '!' | '?') && goes_on(part.get(offset..).unwrap_or_default()) {
                        continue;
                    }
                    self.over = true;
                    self.end = at + character.len_utf8();
                }
                _ => {}
            }
        }
    }

    /// The word that was being read is over.
    fn word(&mut self) {
        let more = u32::from(self.token > 2) + self.unspaced.div_ceil(2);
        (self.token, self.unspaced) = (0, 0);
        self.words = self.words.saturating_add(more);
        self.bare = self.bare.saturating_add(more);
    }

    fn close(&mut self) {
        self.word();
        let Self { words, bare, ref mut sources, .. } = *self;
        let mut sources = std::mem::take(sources);
        if let (Some(start), true) = (self.start, words > 0) {
            if bare == 0 {
                sources.clear();
            }
            self.sentences.push(Sentence { span: start..self.end.max(start), words, sources });
        }
        let sentences = std::mem::take(&mut self.sentences);
        *self = Self { sentences, ..Self::default() };
    }
}

/// The full stop ends no sentence: a letter follows at once, or a small one soon.
fn goes_on(rest: &str) -> bool {
    let mut next = rest.chars().take(REACH);
    match next.next() {
        Some(first) if first.is_alphanumeric() => true,
        Some(first) if first.is_whitespace() && first != '\n' => {
            next.find(|character| !character.is_whitespace()).is_some_and(char::is_lowercase)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// [`Walk::prose`] one character at a time.
    fn letter_by_letter(walk: &mut Walk, part: &str) {
        for (at, character) in part.char_indices() {
            let end = at + character.len_utf8();
            if character.is_alphanumeric() {
                if walk.over {
                    walk.close();
                }
                walk.start.get_or_insert(at);
                *(if is_unspaced(character) { &mut walk.unspaced } else { &mut walk.token }) += 1;
                walk.end = end;
                continue;
            }
            if matches!(character, '\'' | '’' | '-') && walk.token > 0 {
                continue;
            }
            walk.word();
            if character == '\n' {
                walk.close();
            } else if matches!(character, '.' | '!' | '?' | '。' | '！' | '？' | '।' | '؟') && walk.words > 0 {
                let more = matches!(character, '.' | '!' | '?') && goes_on(&part[end..]);
                walk.over |= !more;
                walk.end = if more { walk.end } else { end };
            }
        }
    }

    proptest! {
        #[test]
        fn runs_are_read_as_letters_are(text in "[a-cA 1.!?'\n’é漢。-]{0,90}|[a-c ]{0,150}[.!] [a-cA]{0,80}") {
            let (mut fast, mut slow) = (Walk::default(), Walk::default());
            fast.prose(&text, 0..text.len());
            letter_by_letter(&mut slow, &text);
            fast.close();
            slow.close();
            prop_assert_eq!(fast.sentences, slow.sentences);
        }
    }

    fn sentence(words: u32, sources: &[usize]) -> Sentence {
        Sentence { span: 0..0, words, sources: sources.to_vec() }
    }

    fn normalised(weights: &[f64]) -> Vec<f64> {
        let all: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / all).collect()
    }

    fn close(found: &[f64], wanted: [f64; 3]) {
        assert_eq!(found.len(), 3);
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((found - wanted).abs() < 5e-7, "{found} is not {wanted}");
        }
    }

    /// The hand-checked fixture: (words, cites) = (10,[1]) (20,[1,2]) (5,[]) (15,[3]) (10,[2]).
    #[test]
    fn reference_values() {
        let answer = [sentence(10, &[0]), sentence(20, &[0, 1]), sentence(5, &[]), sentence(15, &[2]), sentence(10, &[1])];
        let [words, adjusted] = impressions(&answer, 3);
        close(&words, [20.0, 20.0, 15.0]);
        close(&normalised(&words), [0.363_636, 0.363_636, 0.272_727]);
        close(&adjusted, [17.788_008, 11.466_802, 7.085_498]);
        close(&normalised(&adjusted), [0.489_484, 0.315_539, 0.194_976]);
        let [words, adjusted] = impressions(&[sentence(7, &[0])], 1);
        assert_eq!((words, adjusted), (vec![7.0], vec![7.0]), "one sentence has the factor 1");
        let [words, _] = impressions(&[sentence(7, &[9])], 1);
        assert_eq!(words, [0.0], "a source beyond the list is ignored");
    }
}
