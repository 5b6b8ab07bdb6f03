//! An answer and what is derived from it: folded text, marks, where words begin. Finds no name and judges nothing.

use std::cell::OnceCell;
use std::ops::Range;

use super::bytes::beyond_ascii;
use super::finder::{At as Raw, starts};
use super::fold::{Folded, Mode};
use super::inflection::tongues;
use super::markup::{Kind, Mark, scan};

/// An answer with what is derived from it, each made once and only when asked for.
#[derive(Debug)]
pub(super) struct Document<'a> {
    /// The answer.
    pub(super) text: &'a str,
    folded: OnceCell<Folded>,
    /// Where a name may begin in the folded text, one bit a byte.
    starts: OnceCell<Vec<u64>>,
    marks: OnceCell<Vec<Mark>>,
    /// What the shared automaton found, with the automaton's number.
    pub(super) scan: OnceCell<(u64, Vec<Raw>)>,
    tongues: OnceCell<u8>,
    sources: OnceCell<Option<usize>>,
}

impl<'a> Document<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            folded: OnceCell::new(),
            starts: OnceCell::new(),
            marks: OnceCell::new(),
            scan: OnceCell::new(),
            tongues: OnceCell::new(),
            sources: OnceCell::new(),
        }
    }

    /// The text as its letters look; places found in it are those of the text.
    pub(super) fn skeleton(text: &'a str) -> Self {
        let document = Self::new(text);
        let _ = document.folded.set(Folded::new(text, Mode::Skeleton));
        document
    }

    /// The text as names are compared.
    pub(super) fn folded(&self) -> &Folded {
        self.folded.get_or_init(|| Folded::new(self.text, Mode::Match))
    }

    /// Where words begin in the folded text, one bit a byte.
    pub(super) fn starts(&self) -> &[u64] {
        self.starts.get_or_init(|| starts(&self.folded().text))
    }

    /// What is not prose.
    pub(super) fn marks(&self) -> &[Mark] {
        self.marks.get_or_init(|| scan(self.text))
    }

    /// The text of a range; empty when the range is none of the text.
    pub(super) fn slice(&self, range: &Range<usize>) -> &'a str {
        self.text.get(range.clone()).unwrap_or_default()
    }

    /// True when no part of the span is code, a link target or a URL.
    pub(super) fn is_prose(&self, span: &Range<usize>) -> bool {
        let marks = self.marks();
        let after = marks.partition_point(|mark| mark.span.end <= span.start);
        marks.get(after).is_none_or(|mark| mark.span.start >= span.end)
    }

    /// Ranges that a quoting model leaves out: link targets with their brackets.
    pub(super) fn link_targets(&self) -> impl Iterator<Item = Range<usize>> {
        self.marks().iter().filter(|mark| matches!(mark.kind, Kind::Target | Kind::Image)).map(|mark| mark.span.clone())
    }

    /// True when a tenth of the text and more is in other letters than Latin ones.
    pub(super) fn is_in_other_script(&self) -> bool {
        let text = &self.folded().text;
        beyond_ascii(text.as_bytes()) * 10 > text.len()
    }

    /// What `find` finds in the text; looked for once. See `labels`.
    pub(super) fn first_sources(&self, find: impl FnOnce(&str) -> Option<usize>) -> Option<usize> {
        *self.sources.get_or_init(|| find(self.text))
    }

    /// The languages whose endings may stand behind a name.
    pub(super) fn tongues(&self) -> u8 {
        *self.tongues.get_or_init(|| tongues(&self.folded().text))
    }
}
