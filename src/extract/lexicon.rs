//! The words of judgement of `data/sentiment.txt`, compiled once, and where they stand in a folded text. Judges nothing.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

use super::bytes::beyond_ascii;
use super::fold::fold;
use super::mentions::is_word;

/// What a word does; a word may do several things.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Role {
    /// Above 0: praise; below: blame. 2 recommends or warns.
    pub(super) weight: i32,
    /// Turns round what follows.
    pub(super) negates: bool,
    /// Turns round what stands before.
    pub(super) negates_before: bool,
    /// Begins another thought.
    pub(super) turn: bool,
    /// A brand behind it is compared with.
    pub(super) than: bool,
    /// Heads a list of praise.
    pub(super) pros: bool,
    /// Heads a list of blame.
    pub(super) cons: bool,
    /// Begins a sentence that goes on about the same subject.
    pub(super) it: bool,
    /// A verb that warns when its other part ([`Self::off`]) ends the clause ("rät … ab").
    pub(super) apart: bool,
    /// That part.
    pub(super) off: bool,
}

/// A word of the lexicon in a folded text.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) role: Role,
    /// Bytes of the folded text.
    pub(super) at: Range<usize>,
}

struct Lexicon {
    automaton: AhoCorasick,
    words: Vec<(Role, bool)>,
}

static LEXICON: LazyLock<Option<Lexicon>> = LazyLock::new(|| {
    let mut words: HashMap<String, (Role, bool)> = HashMap::new();
    let lines = include_str!("data/sentiment.txt").lines().filter(|line| !line.starts_with(['#', '[']));
    for (kind, list) in lines.filter_map(|line| line.split_once(':')) {
        for word in list.split(',').map(str::trim) {
            let open = word.ends_with('*');
            let folded = fold(word.trim_end_matches('*'));
            if !folded.is_empty() {
                let (role, any_end) = words.entry(folded).or_default();
                role.add(kind);
                *any_end |= open;
            }
        }
    }
    let (patterns, words): (Vec<String>, Vec<(Role, bool)>) = words.into_iter().unzip();
    let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(patterns).ok()?;
    Some(Lexicon { automaton, words })
});

impl Role {
    /// The heavier judgement counts; praise in one language and blame in another is none.
    fn add(&mut self, kind: &str) {
        let weight = match kind {
            "best" => 2,
            "good" => 1,
            "bad" => -1,
            "worst" => -2,
            _ => 0,
        };
        if self.weight * weight < 0 {
            self.weight = 0;
        } else if weight.abs() > self.weight.abs() {
            self.weight = weight;
        }
        self.negates |= kind == "not";
        self.negates_before |= kind == "not_after";
        self.turn |= kind == "turn";
        self.than |= kind == "than";
        self.pros |= kind == "pros";
        self.cons |= kind == "cons";
        self.it |= kind == "it";
        self.apart |= kind == "apart";
        self.off |= kind == "off";
    }
}

/// The words of the lexicon in a folded text, in order, without overlap, the longest where several begin.
pub(super) fn find(folded: &str) -> Vec<Found> {
    let Some(lexicon) = LEXICON.as_ref() else { return Vec::new() };
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(candidate) = lexicon.automaton.find(aho_corasick::Input::new(folded).range(from..)) {
        if let Some(word) = longest(lexicon, folded, &candidate) {
            from = word.at.end;
            found.push(word);
        } else {
            // Another word may begin inside: on with the next word, so that no stretch is read more than a few times.
            from = next_start(folded, candidate.start());
        }
    }
    found
}

/// The longest word that begins where the candidate does: `good` in "good choices", where `good choice` is no whole word.
fn longest(lexicon: &Lexicon, folded: &str, candidate: &aho_corasick::Match) -> Option<Found> {
    let mut found = *candidate;
    loop {
        let (role, any_end) = lexicon.words.get(found.pattern().as_usize())?;
        if stands(folded, &found.range(), *any_end) {
            return Some(Found { role: *role, at: found.range() });
        }
        // A shorter pattern ends before this one: the range is at most a phrase long.
        let shorter = found.start()..found.end() - 1;
        found = lexicon.automaton.find(aho_corasick::Input::new(folded).range(shorter))?;
        if found.start() != candidate.start() {
            return None;
        }
    }
}

/// Where another word may begin behind `start`: after the next space or, in scripts without spaces, at the next character.
fn next_start(folded: &str, start: usize) -> usize {
    let rest = folded.get(start..).unwrap_or_default();
    let first = rest.chars().next().map_or(1, char::len_utf8);
    if rest.chars().next().is_some_and(|first| spaced(first) && is_word(first)) {
        rest.char_indices()
            .find(|(at, character)| *at > 0 && !(spaced(*character) && is_word(*character)))
            .map_or(folded.len(), |(at, _)| start + at)
    } else {
        start + first
    }
}

/// True when a word may begin and end there.
fn stands(folded: &str, at: &Range<usize>, any_end: bool) -> bool {
    let word = folded.get(at.clone()).unwrap_or_default();
    let Some((first, last)) = word.chars().next().zip(word.chars().next_back()) else { return false };
    if !spaced(first) {
        return true;
    }
    let before = folded.get(..at.start).unwrap_or_default().chars().rev();
    let joined = before.take_while(|before| is_word(*before) && spaced(*before)).take(4).count();
    // Arabic writes conjunctions, prepositions and the article together with the word.
    let opens = joined == 0 || (is_arabic(first) && joined <= 3);
    let after = folded.get(at.end..).unwrap_or_default().chars().next();
    opens && (any_end || !is_word(last) || after.is_none_or(|after| !is_word(after) || !spaced(after)))
}

fn is_arabic(character: char) -> bool {
    matches!(character, '\u{600}'..='\u{6FF}')
}

/// True where words are parted by spaces; Korean is not, because its endings follow the word.
fn spaced(character: char) -> bool {
    !matches!(character, '\u{1100}'..='\u{11FF}' | '\u{3005}'..='\u{30FF}' | '\u{3130}'..='\u{318F}' | '\u{3400}'..='\u{4DBF}'
        | '\u{4E00}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7FF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
}

/// True when the letters of the text are mostly of a script whose words the lexicon knows: Latin, Greek, Cyrillic, Arabic,
/// Devanagari, Han, kana, Hangul. A text without letters is.
pub(super) fn can_read(text: &str) -> bool {
    // ASCII letters are known: with as many of them as there are bytes of others the rest need not be looked at.
    if text.bytes().map(|byte| usize::from(byte.is_ascii_alphabetic())).sum::<usize>() >= beyond_ascii(text.as_bytes()) {
        return true;
    }
    counted(text)
}

fn counted(text: &str) -> bool {
    let (mut read, mut other) = (0_usize, 0_usize);
    for character in text.chars().filter(|character| character.is_alphabetic()) {
        let known = !spaced(character)
            || matches!(character, '\0'..='\u{52F}' | '\u{600}'..='\u{6FF}' | '\u{900}'..='\u{97F}' | '\u{1E00}'..='\u{1FFF}' | '\u{FF00}'..='\u{FFEF}');
        *(if known { &mut read } else { &mut other }) += 1;
    }
    read >= other
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weights(text: &str) -> Vec<i32> {
        find(&fold(text)).into_iter().map(|found| found.role.weight).filter(|weight| *weight != 0).collect()
    }

    #[test]
    fn words_stand_alone_in_every_script() {
        for (text, wanted) in [
            ("It is reliable.", vec![1]),
            ("the best, avoid it", vec![2, -2]),
            ("Reliability and bestow", vec![]),
            ("надежный и надежная", vec![1, 1]),
            ("使いやすいので、おすすめです", vec![1, 2]),
            ("我们不推荐它", vec![-2]),
            ("وموثوقة", vec![1]),
            ("추천합니다", vec![2]),
            ("eiı reliable", vec![1]),
            ("the safest picks, good choices", vec![2, 1]),
        ] {
            assert_eq!(weights(text), wanted, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_text_of_ascii_is_judged_as_letter_by_letter(text in "[a-c .éЖ漢ก\u{5d0}]{0,40}") {
            prop_assert_eq!(can_read(&text), counted(&text));
        }
    }

    #[test]
    fn scripts_that_are_not_known() {
        assert!(can_read("plain") && can_read("надежный") && can_read("") && can_read("123"));
        assert!(!can_read("เชื่อถือได้") && !can_read("אמין מאוד"));
    }
}
