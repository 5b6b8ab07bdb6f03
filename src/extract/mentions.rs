//! Finds names in an answer: one pass over the folded text, then word boundaries that hold for every script, then the
//! question whether the place is prose.
//!
//! Must not decide what an occurrence means (an absence statement, a competitor); see `passages` and `competitors`.
//! Linear in the text for a fixed set of names.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::ops::{ControlFlow, Range};

use aho_corasick::{AhoCorasick, MatchKind};
use unicode_normalization::char::is_combining_mark;

use super::fold::{Folded, Mode, fold, is_kept_whole};
use super::markup::{Kind, Mark, scan};

/// Longest name that is looked for, in bytes of its folded form.
const MAX_NAME: usize = 400;
/// Most names of one matcher.
const MAX_NAMES: usize = 5_000;

/// An answer with what is derived from it, each made once and only when asked for.
#[derive(Debug)]
pub(super) struct Document<'a> {
    /// The answer.
    pub(super) text: &'a str,
    folded: OnceCell<Folded>,
    marks: OnceCell<Vec<Mark>>,
}

impl<'a> Document<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, folded: OnceCell::new(), marks: OnceCell::new() }
    }

    fn folded(&self) -> &Folded {
        self.folded.get_or_init(|| Folded::new(self.text, Mode::Match))
    }

    /// What is not prose.
    pub(super) fn marks(&self) -> &[Mark] {
        self.marks.get_or_init(|| scan(self.text))
    }

    /// The text of a range; empty when the range is none of the text.
    pub(super) fn slice(&self, range: &Range<usize>) -> &'a str {
        self.text.get(range.clone()).unwrap_or_default()
    }

    fn is_prose(&self, span: &Range<usize>) -> bool {
        let marks = self.marks();
        let after = marks.partition_point(|mark| mark.span.end <= span.start);
        marks.get(after).is_none_or(|mark| mark.span.start >= span.end)
    }

    /// Ranges that a quoting model leaves out: link targets with their brackets.
    pub(super) fn link_targets(&self) -> impl Iterator<Item = Range<usize>> {
        self.marks().iter().filter(|mark| matches!(mark.kind, Kind::Target | Kind::Image)).map(|mark| mark.span.clone())
    }
}

/// What the letter case of a short name must be: `LI`, `HP` and `Box` are words too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Any,
    /// A name of four letters at most that is not written in lower case is not found in lower case.
    NotLower,
    /// A name of three capitals at most is found in capitals only.
    Upper,
}

#[derive(Debug)]
struct Form {
    group: usize,
    length: usize,
    first: char,
    last: char,
    case: Case,
    domain: bool,
}

/// Names, compiled. Forms of one thing share a group.
#[derive(Debug, Default)]
pub(super) struct Matcher {
    automaton: Option<AhoCorasick>,
    /// The longest ASCII word of every name: an ASCII text without any of them holds no name and is not folded.
    prefilter: Option<AhoCorasick>,
    forms: Vec<Form>,
    groups: usize,
}

/// A name to look for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    /// As people write it.
    pub(super) text: &'a str,
    /// What it is a form of; numbered from 0.
    pub(super) group: usize,
    /// A host name: found below another label, not inside a longer one.
    pub(super) domain: bool,
}

impl Matcher {
    /// Compiles. Of names that fold alike the first one given counts (its letter case, its group).
    pub(super) fn new<'a>(names: impl IntoIterator<Item = Name<'a>>) -> Self {
        let mut seen = HashSet::new();
        let mut matcher = Self::default();
        let mut patterns: Vec<String> = Vec::new();
        for name in names.into_iter().take(MAX_NAMES) {
            matcher.groups = matcher.groups.max(name.group + 1);
            let folded = fold(name.text);
            if folded.chars().filter(|character| is_word(*character)).count() < 2 || folded.len() > MAX_NAME {
                continue;
            }
            let (Some(first), Some(last)) = (folded.chars().next(), folded.chars().next_back()) else { continue };
            if seen.insert(folded.clone()) {
                let case = if name.domain { Case::Any } else { case_of(name.text) };
                matcher.forms.push(Form { group: name.group, length: folded.len(), first, last, case, domain: name.domain });
                patterns.push(folded);
            }
        }
        if !patterns.is_empty() {
            let words: Vec<&str> =
                patterns.iter().filter(|pattern| pattern.is_ascii()).filter_map(|pattern| longest_word(pattern)).collect();
            matcher.prefilter = AhoCorasick::builder().ascii_case_insensitive(true).build(words).ok();
            matcher.automaton = AhoCorasick::builder().match_kind(MatchKind::Standard).build(&patterns).ok();
        }
        matcher
    }

    /// True when a name stands in the prose.
    pub(super) fn any(&self, document: &Document<'_>) -> bool {
        self.visit(document, |_, _| true, |_, _| ControlFlow::Break(())).is_break()
    }

    /// All occurrences in order, overlapping ones joined to the longest.
    pub(super) fn spans(&self, document: &Document<'_>) -> Vec<Range<usize>> {
        let mut spans: Vec<Range<usize>> = Vec::new();
        let _ = self.visit(
            document,
            |_, _| true,
            |_, mut span| {
                // Occurrences come in the order of their ends.
                while let Some(last) = spans.last().filter(|last| last.end > span.start) {
                    span.start = span.start.min(last.start);
                    span.end = span.end.max(last.end);
                    spans.pop();
                }
                spans.push(span);
                ControlFlow::Continue(())
            },
        );
        spans
    }

    /// The first occurrence of every group that `counts`, the longest where several start there.
    pub(super) fn first_of_each(
        &self,
        document: &Document<'_>,
        mut counts: impl FnMut(&Range<usize>) -> bool,
    ) -> Vec<Option<Range<usize>>> {
        let mut first: Vec<Option<Range<usize>>> = vec![None; self.groups];
        // Folded start of what was found, so that later occurrences cost one comparison.
        let mut starts: Vec<usize> = vec![usize::MAX; self.groups];
        let starts = std::cell::RefCell::new(&mut starts);
        let _ = self.visit(
            document,
            |group, start| starts.borrow().get(group).is_some_and(|known| start <= *known),
            |(group, start), span| {
                if !counts(&span) {
                    return ControlFlow::Continue(());
                }
                if let Some(known) = starts.borrow_mut().get_mut(group) {
                    *known = start;
                }
                if let Some(slot) = first.get_mut(group) {
                    *slot = Some(span);
                }
                ControlFlow::Continue(())
            },
        );
        first
    }

    fn visit(
        &self,
        document: &Document<'_>,
        wanted: impl Fn(usize, usize) -> bool,
        mut found: impl FnMut((usize, usize), Range<usize>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let (Some(automaton), Some(prefilter)) = (&self.automaton, &self.prefilter) else { return ControlFlow::Continue(()) };
        if document.text.is_ascii() && !prefilter.is_match(document.text) {
            return ControlFlow::Continue(());
        }
        let folded = document.folded();
        for candidate in automaton.find_overlapping_iter(&folded.text) {
            let Some(form) = self.forms.get(candidate.pattern().as_usize()) else { continue };
            let start = candidate.end() - form.length;
            if !wanted(form.group, start) || !opens(&folded.text, start, form) || !closes(&folded.text, candidate.end(), form) {
                continue;
            }
            let Some(span) = folded.span(document.text, start..candidate.end()) else { continue };
            if document.is_prose(&span) && parted_from_host(document, &span, form) && fits_case(document.slice(&span), form.case)
            {
                found((form.group, start), span)?;
            }
        }
        ControlFlow::Continue(())
    }
}

fn longest_word(pattern: &str) -> Option<&str> {
    pattern
        .split(|character: char| !character.is_ascii_alphanumeric())
        .max_by_key(|word| word.len())
        .filter(|word| !word.is_empty())
}

fn case_of(name: &str) -> Case {
    let letters: Vec<char> = name.chars().filter(|character| character.is_alphanumeric()).collect();
    let cased = letters.iter().any(|letter| letter.is_uppercase());
    if letters.len() > 4 || !cased || name.trim().contains(char::is_whitespace) {
        Case::Any
    } else if letters.len() <= 3 && !letters.iter().any(|letter| letter.is_lowercase()) {
        Case::Upper
    } else {
        Case::NotLower
    }
}

fn fits_case(written: &str, case: Case) -> bool {
    match case {
        Case::Any => true,
        Case::NotLower => written.chars().any(char::is_uppercase),
        Case::Upper => !written.chars().any(char::is_lowercase),
    }
}

/// Letters, digits and the marks on them.
pub(super) fn is_word(character: char) -> bool {
    (character.is_alphanumeric() && !is_kept_whole(character)) || (!character.is_ascii() && is_combining_mark(character))
}

/// True when a word may begin at `start`.
fn opens(folded: &str, start: usize, form: &Form) -> bool {
    let mut before = folded.get(..start).unwrap_or_default().chars().rev();
    let Some(previous) = before.next() else { return true };
    let joins = || before.clone().next().is_some_and(is_word);
    match previous {
        _ if is_word(previous) => {
            is_word(form.first)
                && script(previous).parts_from(script(form.first))
                && !(is_katakana(previous) && is_katakana(form.first))
        }
        '_' | '&' | '@' => !joins(),
        '-' | '/' if form.domain => !joins(),
        _ => true,
    }
}

/// True when a word may end at `end`.
fn closes(folded: &str, end: usize, form: &Form) -> bool {
    let mut after = folded.get(end..).unwrap_or_default().chars();
    let Some(next) = after.next() else { return true };
    let joins = || after.clone().next().is_some_and(is_word);
    match next {
        'ー' => !is_katakana(form.last),
        _ if is_combining_mark(next) => false,
        _ if is_word(next) => !is_word(form.last) || script(form.last).parts_from(script(next)),
        '_' | '&' | '@' => !joins(),
        '-' if form.domain => !joins(),
        _ => true,
    }
}

/// A dot between two words makes one name of them (`Node.js`, `notes.linear`), unless a capital starts a sentence there.
/// A host name may stand below another label, but no label may follow it.
fn parted_from_host(document: &Document<'_>, span: &Range<usize>, form: &Form) -> bool {
    let mut after = document.text.get(span.end..).unwrap_or_default().chars();
    if after.next() == Some('.') && after.next().is_some_and(|next| is_word(next) && !next.is_uppercase()) {
        return false;
    }
    if form.domain || document.slice(span).starts_with(char::is_uppercase) {
        return true;
    }
    let mut before = document.text.get(..span.start).unwrap_or_default().chars().rev();
    !(before.next() == Some('.') && before.next().is_some_and(is_word))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    /// Words are parted by spaces.
    Spaced,
    /// Words stand side by side.
    Unspaced,
}

impl Script {
    /// True when two neighbouring letters of these scripts may belong to two words.
    fn parts_from(self, other: Self) -> bool {
        self == Self::Unspaced || other == Self::Unspaced
    }
}

fn script(character: char) -> Script {
    match character {
        // Thai, Lao, Tibetan, Myanmar, Hangul (decomposed and whole), Khmer, kana, Han.
        '\u{E00}'..='\u{FFF}'
        | '\u{1000}'..='\u{109F}'
        | '\u{1100}'..='\u{11FF}'
        | '\u{1780}'..='\u{17FF}'
        | '\u{3005}'..='\u{3007}'
        | '\u{3040}'..='\u{30FF}'
        | '\u{3130}'..='\u{318F}'
        | '\u{31F0}'..='\u{31FF}'
        | '\u{3400}'..='\u{4DBF}'
        | '\u{4E00}'..='\u{9FFF}'
        | '\u{AC00}'..='\u{D7FF}'
        | '\u{F900}'..='\u{FAFF}'
        | '\u{20000}'..='\u{3FFFF}' => Script::Unspaced,
        _ => Script::Spaced,
    }
}

/// Loan words: a katakana name does not begin inside a katakana word (ボックス in ツールボックス is the Box in toolbox).
fn is_katakana(character: char) -> bool {
    matches!(character, '\u{30A1}'..='\u{30FA}' | '\u{30FC}'..='\u{30FF}' | '\u{31F0}'..='\u{31FF}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matcher(names: &[&str]) -> Matcher {
        Matcher::new(names.iter().enumerate().map(|(group, text)| Name { text, group, domain: false }))
    }

    #[test]
    fn spans_are_the_original_s() {
        for (name, text, span) in [
            ("Nestlé", "a Nestle\u{301} b", "Nestle\u{301}"),
            ("Quill Mark", "«Quill \u{200b}\n Mark»", "Quill \u{200b}\n Mark"),
            ("Strauss", "(Strauß)", "Strauß"),
            ("QuillMark", "„ＱｕｉｌｌＭａｒｋ“", "ＱｕｉｌｌＭａｒｋ"),
            ("ボックス", "のﾎﾞｯｸｽ", "ﾎﾞｯｸｽ"),
            ("QuillMark", "ŉ…½ QuillMark", "QuillMark"),
        ] {
            let document = Document::new(text);
            let spans = matcher(&[name]).spans(&document);
            assert_eq!(spans.len(), 1, "{text}");
            assert_eq!(document.slice(&spans[0]), span);
        }
    }

    #[test]
    fn overlapping_occurrences_are_joined_and_counted_apart() {
        let document = Document::new("Quill Mark Pro, Quill, Mark Pro");
        let matcher = matcher(&["Quill", "Quill Mark", "Mark Pro"]);
        assert_eq!(matcher.spans(&document), [0..14, 16..21, 23..31]);
        assert_eq!(matcher.first_of_each(&document, |_| true), [Some(0..5), Some(0..10), Some(6..14)]);
    }

    #[test]
    fn an_ascii_text_without_the_words_of_a_name_is_not_folded() {
        let document = Document::new("nothing of that kind");
        assert!(!matcher(&["Quill Mark", "Pêche"]).any(&document));
        assert!(document.folded.get().is_none());
    }

    fn text() -> impl Strategy<Value = String> {
        let pieces = vec![
            "quill",
            "MARK",
            "Quill Mark",
            "é",
            "e\u{301}",
            "\u{301}",
            "ß",
            "ss",
            "ﬁ",
            "İ",
            "ı",
            " ",
            "\n\n",
            "\u{200b}",
            "가",
            "ｶﾞ",
            "²",
            "①",
            "[",
            "](",
            ")",
            "`",
        ];
        let piece =
            prop_oneof![5 => prop::sample::select(pieces).prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)];
        prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn spans_lie_on_characters_and_fold_to_the_name(text in text(), name in prop_oneof![text(), Just("quill mark".to_owned())]) {
            let document = Document::new(&text);
            let spans = matcher(&[&name]).spans(&document);
            for span in &spans {
                prop_assert!(text.get(span.clone()).is_some());
                let found = fold(document.slice(span));
                prop_assert!(found.contains(&fold(&name)), "{found:?}");
            }
            for pair in spans.windows(2) {
                prop_assert!(pair[0].end <= pair[1].start, "in order and apart");
            }
            if let Some(Some(first)) = matcher(&[&name]).first_of_each(&document, |_| true).first() {
                prop_assert_eq!(fold(document.slice(first)), fold(&name));
            }
        }

        #[test]
        fn folding_is_idempotent_and_ignores_case(text in text()) {
            let once = fold(&text);
            prop_assert_eq!(&fold(&once), &once);
            prop_assert_eq!(fold(&text.to_uppercase()), fold(&text.to_uppercase().to_lowercase()));
        }

        #[test]
        fn a_folded_character_leads_back(text in text()) {
            for mode in [Mode::Match, Mode::Quote] {
                let folded = Folded::new(&text, mode);
                prop_assert!(folded.span(&text, 0..0).is_none());
                for (start, character) in folded.text.char_indices() {
                    if let Some(span) = folded.span(&text, start..start + character.len_utf8()) {
                        prop_assert!(!text[span].is_empty());
                    }
                }
                if !folded.text.is_empty() {
                    let whole = folded.span(&text, 0..folded.text.len());
                    prop_assert!(whole.is_some_and(|whole| text.get(whole).is_some()));
                }
            }
        }
    }
}
