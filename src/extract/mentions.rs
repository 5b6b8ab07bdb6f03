//! Finds names in an answer: one pass over the folded text for all of them, then word boundaries that hold for every script,
//! then the question whether the place is prose.
//!
//! Must not decide what an occurrence means (an absence statement, a homonym, a competitor); see `sense` and `competitors`.
//! Linear in the text for a fixed set of names. Matchers that were [`share`]d look at a text once together.

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) use super::document::Document;
use super::finder::{At as Raw, Finder};
use super::fold::fold;
pub(super) use super::form::is_word;
use super::form::{Case, Form, case_of, closes, fits_case, opens, parted_from_host, same_stars, shown};
use super::inflection::{Tail, stem};
use super::spelling;
use aho_corasick::{AhoCorasick, MatchKind};

/// Longest name that is looked for, in bytes of its folded form.
const MAX_NAME: usize = 400;
/// Most names of one matcher.
const MAX_NAMES: usize = 5_000;

/// Patterns compiled for one pass. Numbered, so that a document knows whose findings it keeps.
#[derive(Debug)]
struct Patterns {
    number: u64,
    /// Several matchers look at a document through it: it keeps the findings.
    shared: bool,
    search: Search,
}

/// How patterns are looked for.
#[derive(Debug)]
enum Search {
    /// Where words begin: inside an ASCII word nothing that begins like one [`opens`].
    Starts(Finder),
    /// Everywhere, because too many begin alike.
    Everywhere(AhoCorasick),
}

impl Patterns {
    fn new(patterns: &[&str], shared: bool) -> Option<Arc<Self>> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let search = match Finder::new(patterns.iter().copied(), false) {
            Some(finder) => Search::Starts(finder),
            None => Search::everywhere(patterns)?,
        };
        Some(Arc::new(Self { number: NUMBER.fetch_add(1, Ordering::Relaxed), shared, search }))
    }

    fn find(&self, document: &Document<'_>) -> Vec<Raw> {
        match &self.search {
            Search::Starts(finder) => finder.find(&document.folded().text, document.starts()),
            Search::Everywhere(automaton) => {
                let found = automaton.find_overlapping_iter(&document.folded().text);
                found.map(|found| Raw { pattern: found.pattern().as_usize(), start: found.start(), end: found.end() }).collect()
            }
        }
    }
}

impl Search {
    fn everywhere(patterns: &[&str]) -> Option<Self> {
        AhoCorasick::builder().match_kind(MatchKind::Standard).build(patterns).ok().map(Self::Everywhere)
    }
}

/// Names, compiled. Forms of one thing share a group.
#[derive(Debug, Default)]
pub(super) struct Matcher {
    automaton: Option<Arc<Patterns>>,
    /// Number of the first pattern in the automaton.
    base: usize,
    forms: Vec<Form>,
    patterns: Vec<String>,
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

/// An occurrence of a name in the prose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Bytes of the answer.
    pub(super) span: Range<usize>,
    /// Bytes of the folded answer.
    pub(super) folded: Range<usize>,
    /// The group of the name.
    pub(super) group: usize,
    /// Which of the names given to the matcher.
    pub(super) name: usize,
}

impl Matcher {
    /// Compiles. Of names that fold alike the first one given counts (its letter case, its group).
    pub(super) fn new<'a>(names: impl IntoIterator<Item = Name<'a>>) -> Self {
        let mut seen = HashSet::new();
        let mut matcher = Self::default();
        for (number, name) in names.into_iter().take(MAX_NAMES).enumerate() {
            matcher.groups = matcher.groups.max(name.group + 1);
            let folded = fold(name.text);
            if !spelling::is_searchable(&folded) || folded.len() > MAX_NAME {
                continue;
            }
            let case = if name.domain { Case::Any } else { case_of(name.text) };
            let written = name.text.contains('*').then(|| name.text.to_owned());
            let mut add = |pattern: String, tail: Tail| {
                let (Some(first), Some(last)) = (pattern.chars().next(), pattern.chars().next_back()) else { return };
                if seen.insert((pattern.clone(), tail == Tail::Whole)) {
                    let (group, domain, written) = (name.group, name.domain, written.clone());
                    let form = Form { group, name: number, first, last, case, domain, tail, phrase: false, open: false, written };
                    matcher.forms.push(form);
                    matcher.patterns.push(pattern);
                }
            };
            if !name.domain {
                for spelling in spelling::others(name.text, &folded) {
                    add(spelling, Tail::Whole);
                }
                if let Some((stem, tail)) = stem(&folded) {
                    add(stem, tail);
                }
            }
            add(folded, Tail::Whole);
        }
        matcher.compile();
        matcher
    }

    /// Compiles phrases of a language, folded, each a group of its own; true: its last word may go on.
    pub(super) fn phrases<'a>(phrases: impl IntoIterator<Item = (&'a str, bool)>) -> Self {
        let mut matcher = Self::default();
        for (number, (phrase, open)) in phrases.into_iter().enumerate() {
            let (Some(first), Some(last)) = (phrase.chars().next(), phrase.chars().next_back()) else { continue };
            let case = Case::Any;
            let tail = Tail::Whole;
            let (group, name) = (number, number);
            let form = Form { group, name, first, last, case, domain: false, tail, phrase: true, open, written: None };
            matcher.forms.push(form);
            matcher.patterns.push(phrase.to_owned());
            matcher.groups = number + 1;
        }
        matcher.compile();
        matcher
    }

    fn compile(&mut self) {
        let patterns: Vec<&str> = self.patterns.iter().map(String::as_str).collect();
        self.base = 0;
        self.automaton = if patterns.is_empty() { None } else { Patterns::new(&patterns, false) };
    }

    /// All occurrences in the order of their ends.
    pub(super) fn places(&self, document: &Document<'_>) -> Vec<Place> {
        let mut places = Vec::new();
        let _ = self.visit(
            document,
            |_, _| true,
            |place| {
                places.push(place);
                ControlFlow::Continue(())
            },
        );
        places
    }

    /// All occurrences in order, overlapping ones joined to the longest.
    #[cfg_attr(not(test), allow(dead_code, reason = "part of what the other layers build on"))]
    pub(super) fn spans(&self, document: &Document<'_>) -> Vec<Range<usize>> {
        let mut spans: Vec<Range<usize>> = Vec::new();
        for mut span in self.places(document).into_iter().map(|place| place.span) {
            // Occurrences come in the order of their ends.
            while let Some(last) = spans.last().filter(|last| last.end > span.start) {
                span.start = span.start.min(last.start);
                span.end = span.end.max(last.end);
                spans.pop();
            }
            spans.push(span);
        }
        spans
    }

    /// The first occurrence of every group that `counts`, the longest where several start there.
    #[cfg(test)]
    pub(super) fn first_of_each(
        &self,
        document: &Document<'_>,
        mut counts: impl FnMut(&Range<usize>) -> bool,
    ) -> Vec<Option<Range<usize>>> {
        let mut first: Vec<Option<Range<usize>>> = vec![None; self.groups];
        // Folded start of what was found, so that later occurrences cost one comparison.
        let starts: Vec<std::cell::Cell<usize>> = vec![std::cell::Cell::new(usize::MAX); self.groups];
        let _ = self.visit(
            document,
            |group, start| starts.get(group).is_some_and(|known| start <= known.get()),
            |place| {
                if !counts(&place.span) {
                    return ControlFlow::Continue(());
                }
                if let Some(known) = starts.get(place.group) {
                    known.set(place.folded.start);
                }
                if let Some(slot) = first.get_mut(place.group) {
                    *slot = Some(place.span);
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
        mut found: impl FnMut(Place) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Some(automaton) = &self.automaton else { return ControlFlow::Continue(()) };
        if automaton.shared {
            let (number, kept) = document.scan.get_or_init(|| (automaton.number, automaton.find(document)));
            if *number == automaton.number {
                for raw in kept {
                    self.look(document, *raw, &wanted, &mut found)?;
                }
                return ControlFlow::Continue(());
            }
        }
        for raw in automaton.find(document) {
            self.look(document, raw, &wanted, &mut found)?;
        }
        ControlFlow::Continue(())
    }

    fn look(
        &self,
        document: &Document<'_>,
        raw: Raw,
        wanted: &impl Fn(usize, usize) -> bool,
        found: &mut impl FnMut(Place) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let form = raw.pattern.checked_sub(self.base).and_then(|index| self.forms.get(index));
        let Some(form) = form else { return ControlFlow::Continue(()) };
        let folded = document.folded();
        let start = raw.start;
        if !wanted(form.group, start) || !opens(&folded.text, start, form) {
            return ControlFlow::Continue(());
        }
        let Some(end) = closes(document, start..raw.end, form) else { return ControlFlow::Continue(()) };
        let Some(span) = folded.span(document.text, start..end) else { return ControlFlow::Continue(()) };
        let fits = form.phrase
            || (document.is_prose(&span)
                && parted_from_host(document, &span, form)
                && (fits_case(&shown(document.slice(&span)), form.case)
                    || (form.case == Case::NotLower && spelling::is_set_apart(document.text, &span)))
                && form.written.as_ref().is_none_or(|written| same_stars(written, document.slice(&span))));
        if fits {
            found(Place { span, folded: start..end, group: form.group, name: form.name })
        } else {
            ControlFlow::Continue(())
        }
    }
}

/// Compiles the matchers into one automaton: the first of them that looks at a document looks for all.
pub(super) fn share<'a>(matchers: impl IntoIterator<Item = &'a mut Matcher>) {
    let mut matchers: Vec<&mut Matcher> = matchers.into_iter().filter(|matcher| !matcher.patterns.is_empty()).collect();
    let patterns: Vec<&str> = matchers.iter().flat_map(|matcher| matcher.patterns.iter().map(String::as_str)).collect();
    let Some(automaton) = Patterns::new(&patterns, true) else { return };
    let mut base = 0;
    for matcher in &mut matchers {
        matcher.automaton = Some(Arc::clone(&automaton));
        matcher.base = base;
        base += matcher.patterns.len();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fold::{Folded, Mode};
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
    fn shared_matchers_find_what_each_finds_alone() {
        let text = "Quill Mark and Boxly, then Boxly and Quill";
        let (mut first, mut second) = (matcher(&["Quill", "Quill Mark"]), matcher(&["Boxly"]));
        let alone = (first.places(&Document::new(text)), second.places(&Document::new(text)));
        share([&mut first, &mut Matcher::default(), &mut second]);
        let document = Document::new(text);
        assert_eq!((first.places(&document), second.places(&document)), alone);
        let other = matcher(&["Mark"]);
        assert!(other.spans(&document).iter().eq(std::iter::once(&(6..10))), "a matcher of its own on the same document");
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
        fn looking_where_words_begin_finds_what_looking_everywhere_does(
            text in text(),
            names in prop::collection::vec(prop_oneof![text(), Just("quill mark".to_owned()), "[a-z]{1,3}"], 1..6),
        ) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let mut matcher = matcher(&names);
            let document = Document::new(&text);
            let found = matcher.places(&document);
            let patterns: Vec<&str> = matcher.patterns.iter().map(String::as_str).collect();
            prop_assume!(!patterns.is_empty());
            let search = Search::everywhere(&patterns).unwrap();
            matcher.automaton = Some(Arc::new(Patterns { number: u64::MAX, shared: false, search }));
            let sorted = |mut places: Vec<Place>| {
                places.sort_by_key(|place| (place.folded.end, place.folded.start, place.name));
                places
            };
            prop_assert_eq!(sorted(found), sorted(matcher.places(&document)));
        }

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
