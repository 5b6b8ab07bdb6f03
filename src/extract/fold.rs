//! Folding of text for comparison, with a way back to the original bytes.
//!
//! Must stay linear in the length of the text and keep no map per character: runs that fold to themselves are one segment.
//! Decides nothing about words or names; see `mentions`.
//!
//! [`Mode::Match`]: NFKD, case folded, default-ignorable characters and trade marks dropped, accents of Latin, Greek, Arabic
//! and Hebrew letters dropped (on both sides, so `Nestlé` and `Nestle` are equal; a Japanese voicing mark or a Cyrillic breve
//! is part of its letter and stays), typographic quotes and dashes made plain, Markdown emphasis, its escapes and the common
//! HTML entities read as they are shown, white space collapsed. [`Mode::Skeleton`]: the same, after every letter became the
//! one it looks like. [`Mode::Quote`]: NFKD and collapsed white space only, plus the Markdown characters a quoting model
//! leaves out.

use std::borrow::Cow;
use std::ops::Range;

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

use super::bytes::Stops;
use super::lookalike;
use super::mentions::is_word;

/// What folding may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// To find names.
    Match,
    /// To find what looks like a name.
    Skeleton,
    /// To find verbatim quotes.
    Quote,
}

/// Folded text and the way back.
#[derive(Debug, Default)]
pub(super) struct Folded {
    /// The folded text.
    pub(super) text: String,
    /// A letter stands in it that looks like one of another script.
    pub(super) has_lookalikes: bool,
    segments: Vec<Segment>,
}

/// Where a stretch of folded text comes from. An `exact` one maps byte by byte, another only as a whole.
#[derive(Debug)]
struct Segment {
    folded: usize,
    original: Range<usize>,
    exact: bool,
}

impl Folded {
    /// Folds `text`.
    pub(super) fn new(text: &str, mode: Mode) -> Self {
        Self::without(text, mode, std::iter::empty())
    }

    /// Folds `text`, leaving out the given byte ranges (in order, on character boundaries).
    pub(super) fn without(text: &str, mode: Mode, skip: impl Iterator<Item = Range<usize>>) -> Self {
        let mut folder = Folder { folded: Self::default(), mode, accented_base: false };
        folder.folded.text.reserve(text.len());
        folder.folded.segments.reserve(if text.len() > 256 { 128 } else { 4 });
        let mut from = 0;
        for range in skip {
            if range.start >= from {
                folder.stretch(text, from..range.start);
                from = range.end;
            }
        }
        folder.stretch(text, from..text.len());
        folder.folded
    }

    /// The bytes of the original that fold to this range; `None` when the range starts or ends inside what one character
    /// became (half a ligature, a letter without its mark).
    pub(super) fn span(&self, original: &str, folded: Range<usize>) -> Option<Range<usize>> {
        let last = folded.end.checked_sub(1).filter(|last| *last >= folded.start)?;
        let (first, _) = self.segment(folded.start)?;
        let start = match (first.exact, folded.start - first.folded) {
            (true, offset) => first.original.start + offset,
            (false, 0) => first.original.start,
            (false, _) => return None,
        };
        let (segment, segment_end) = self.segment(last)?;
        let end = match (segment.exact, folded.end == segment_end) {
            (true, _) => segment.original.start + (folded.end - segment.folded),
            (false, true) => segment.original.end,
            (false, false) => return None,
        };
        original.get(start..end)?;
        let marks = original.get(end..)?.chars().take_while(|next| is_combining_mark(*next)).map(char::len_utf8).sum::<usize>();
        Some(start..end + marks)
    }

    fn segment(&self, at: usize) -> Option<(&Segment, usize)> {
        let after = self.segments.partition_point(|segment| segment.folded <= at);
        let segment = self.segments.get(after.checked_sub(1)?)?;
        Some((segment, self.segments.get(after).map_or(self.text.len(), |next| next.folded)))
    }
}

/// Folds a short text that needs no way back; trimmed, on one line.
pub(super) fn fold(text: &str) -> String {
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return text.to_ascii_lowercase();
    }
    let folded = Folded::new(text, Mode::Match).text;
    folded.trim().replace('\n', " ")
}

struct Folder {
    folded: Folded,
    mode: Mode,
    /// The last character kept is a letter whose accents are dropped.
    accented_base: bool,
}

impl Folder {
    fn stretch(&mut self, text: &str, range: Range<usize>) {
        let bytes = text.as_bytes().get(range.clone()).unwrap_or_default();
        let mut stops = Stops::of_plain_runs(bytes);
        let mut at = range.start;
        while at < range.end {
            let run = self.plain_run(bytes, at - range.start, &mut stops);
            if run > 0 {
                self.keep(text, at..at + run);
                at += run;
                continue;
            }
            let markup = if self.mode == Mode::Quote { 0 } else { self.markup(text, at..range.end) };
            if markup > 0 {
                at += markup;
                continue;
            }
            let Some(character) = text.get(at..range.end).and_then(|rest| rest.chars().next()) else { return };
            if character.is_whitespace() {
                at = self.white_space(text, at..range.end);
            } else {
                let end = at + character.len_utf8();
                self.other(text, character, at..end);
                at = end;
            }
        }
    }

    /// Length of the ASCII run that folds to itself but for its case. A space belongs to it when it stands alone.
    fn plain_run(&self, bytes: &[u8], from: usize, stops: &mut Stops<'_>) -> usize {
        if bytes.get(from) == Some(&b' ') && self.folded.text.ends_with([' ', '\n']) {
            return 0;
        }
        if self.mode != Mode::Quote {
            return stops.next(from).unwrap_or(bytes.len()) - from;
        }
        let bytes = bytes.get(from..).unwrap_or_default();
        let mut length = 0;
        for byte in bytes {
            match byte {
                b'*' | b'_' | b'`' | b'[' | b']' | b'\\' => break,
                b'!'..=b'~' => {}
                b' ' if bytes.get(length + 1).is_none_or(|next| matches!(next, b'!'..=b'~')) => {}
                _ => break,
            }
            length += 1;
        }
        length
    }

    /// Reads the markup at the start of the range as a reader sees it; the bytes read, 0 when there is none.
    fn markup(&mut self, text: &str, range: Range<usize>) -> usize {
        let rest = text.get(range.clone()).unwrap_or_default();
        let Some(first @ (b'*' | b'_' | b'~' | b'\\' | b'&')) = rest.bytes().next() else { return 0 };
        // Only of markup that is read as a run: counted anew at every `\\` of many it would be quadratic.
        let run = if matches!(first, b'\\' | b'&') { 1 } else { rest.bytes().take_while(|byte| *byte == first).count() };
        let before = self.folded.text.chars().next_back();
        let after = || rest.get(run..).unwrap_or_default().chars().next();
        let shown = match first {
            // A star between spaces is a bullet.
            b'*' => before.is_none_or(char::is_whitespace) && after().is_none_or(char::is_whitespace),
            b'_' => before.is_some_and(is_word) && after().is_some_and(|next| is_word(next) && !is_ignorable(next)),
            b'~' => run < 2,
            b'\\' => {
                let next = rest.get(1..).unwrap_or_default().chars().find(|next| !is_ignorable(*next));
                if next.is_some_and(|next| next.is_ascii_punctuation()) {
                    return 1;
                }
                self.keep(text, range.start..range.start + 1);
                return 1;
            }
            _ => {
                for (entity, meaning) in ENTITIES {
                    if rest.get(1..).is_some_and(|rest| rest.starts_with(entity)) {
                        let end = range.start + 1 + entity.len();
                        let from = self.folded.text.len();
                        if *meaning == ' ' && self.folded.text.ends_with([' ', '\n']) {
                            return 1 + entity.len();
                        }
                        self.folded.text.push(*meaning);
                        self.accented_base = false;
                        self.note(from, range.start..end, false);
                        return 1 + entity.len();
                    }
                }
                self.keep(text, range.start..range.start + 1);
                return 1;
            }
        };
        if shown {
            self.keep(text, range.start..range.start + run);
        }
        run
    }

    fn keep(&mut self, text: &str, range: Range<usize>) {
        let from = self.folded.text.len();
        self.folded.text.push_str(text.get(range.clone()).unwrap_or_default());
        if self.mode != Mode::Quote
            && let Some(added) = self.folded.text.get_mut(from..)
        {
            added.make_ascii_lowercase();
        }
        self.accented_base = self.folded.text.ends_with(|last: char| last.is_ascii_alphabetic());
        self.note(from, range, true);
    }

    fn note(&mut self, folded: usize, original: Range<usize>, exact: bool) {
        if let Some(last) = self.folded.segments.last_mut()
            && exact
            && last.exact
            && last.original.end == original.start
        {
            last.original.end = original.end;
            return;
        }
        self.folded.segments.push(Segment { folded, original, exact });
    }

    /// A run of white space becomes one space, or one line feed where it parts paragraphs: no name reaches across.
    fn white_space(&mut self, text: &str, range: Range<usize>) -> usize {
        let rest = text.get(range.clone()).unwrap_or_default();
        let run = rest.find(|next: char| !next.is_whitespace()).unwrap_or(rest.len());
        let breaks = rest.get(..run).unwrap_or_default().bytes().filter(|byte| *byte == b'\n').count();
        let end = range.start + run;
        self.accented_base = false;
        if !self.folded.text.ends_with([' ', '\n']) {
            let from = self.folded.text.len();
            let parts = self.mode != Mode::Quote && (breaks > 1 || (breaks == 1 && after_heading(text, range.start)));
            self.folded.text.push(if parts { '\n' } else { ' ' });
            self.note(from, range.start..end, false);
        }
        end
    }

    fn other(&mut self, text: &str, character: char, range: Range<usize>) {
        if is_ignorable(character) || (self.mode == Mode::Quote && matches!(character, '*' | '_' | '`' | '[' | ']' | '\\')) {
            return;
        }
        if self.mode != Mode::Quote && matches!(character, '®' | '™' | '℠') {
            return;
        }
        let from = self.folded.text.len();
        let seen = lookalike::latin(character);
        self.folded.has_lookalikes |= seen.is_some();
        if let Some(seen) = seen.filter(|_| self.mode == Mode::Skeleton) {
            self.folded.text.push(seen.to_ascii_lowercase());
            self.accented_base = true;
        } else if is_kept_whole(character) {
            self.folded.text.push(character);
            self.accented_base = false;
        } else {
            decompose_compatible(character, |part| self.part(part));
        }
        if self.folded.text.len() > from {
            let exact = self.folded.text.get(from..) == text.get(range.clone());
            self.note(from, range, exact);
        }
    }

    fn part(&mut self, part: char) {
        let quote = self.mode == Mode::Quote;
        if matches!(part, '\u{300}'..='\u{36F}') {
            if quote || !self.accented_base {
                self.folded.text.push(part);
            }
            return;
        }
        if is_ignorable(part) || (!quote && is_pointing(part)) {
            return;
        }
        let plain = match part {
            '‘' | '’' | '‚' | '‛' | 'ʼ' | '′' | 'ʻ' | 'ʹ' => '\'',
            '“' | '”' | '„' | '‟' | '″' => '"',
            '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' => '-',
            other if other.is_whitespace() => ' ',
            other => other,
        };
        self.accented_base = takes_accents(plain);
        if quote {
            self.folded.text.push(plain);
        } else if let Some(letters) = stroked(plain) {
            self.folded.text.push_str(letters);
            self.accented_base = true;
        } else {
            // Upper case first: it folds ß to ss and the final sigma to the other one, which lower case alone does not.
            self.folded.text.extend(plain.to_uppercase().flat_map(char::to_lowercase));
        }
    }
}

/// HTML entities that engines leave in names, without the ampersand.
const ENTITIES: &[(&str, char)] =
    &[("amp;", '&'), ("#38;", '&'), ("#39;", '\''), ("#x27;", '\''), ("apos;", '\''), ("rsquo;", '\''), ("nbsp;", ' ')];

/// True when the line that ends at `end` is a heading.
fn after_heading(text: &str, end: usize) -> bool {
    let before = text.as_bytes().get(..end).unwrap_or_default();
    let start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
    before.get(start) == Some(&b'#')
}

/// Latin letters with a stroke, and ligatures, that NFKD leaves whole.
fn stroked(letter: char) -> Option<&'static str> {
    Some(match letter {
        'ł' | 'Ł' => "l",
        'ø' | 'Ø' => "o",
        'đ' | 'Đ' | 'ð' | 'Ð' => "d",
        'ħ' | 'Ħ' => "h",
        'ŧ' | 'Ŧ' => "t",
        'æ' | 'Æ' => "ae",
        'œ' | 'Œ' => "oe",
        _ => return None,
    })
}

/// Vowel points and the stretching stroke of Arabic and Hebrew: written or left out at will.
fn is_pointing(mark: char) -> bool {
    matches!(mark, '\u{591}'..='\u{5BD}' | '\u{5BF}' | '\u{5C1}'..='\u{5C2}' | '\u{5C4}'..='\u{5C5}' | '\u{5C7}'
        | '\u{610}'..='\u{61A}' | '\u{640}' | '\u{64B}'..='\u{65F}' | '\u{670}')
}

/// True for characters that are never seen (Default_Ignorable_Code_Point of Unicode 16): zero width, direction, variation, tags.
pub(super) fn is_ignorable(character: char) -> bool {
    matches!(character,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}' | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}'
        | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFF8}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}'
        | '\u{E0000}'..='\u{E0FFF}')
}

/// Marks that NFKD would glue to the word before them (`QuillMark™` is not `quillmarktm`, `QuillMark²` not `quillmark2`).
pub(super) fn is_kept_whole(character: char) -> bool {
    matches!(character, '™' | '℠' | '²' | '³' | '¹' | '⁰' | '⁴'..='⁹' | '①'..='⓿' | '❶'..='➓')
}

/// True for Latin and Greek letters, whose combining marks are accents.
fn takes_accents(base: char) -> bool {
    base.is_ascii_alphabetic()
        || matches!(base, '\u{C0}'..='\u{2AF}' | '\u{370}'..='\u{3FF}' | '\u{1E00}'..='\u{1FFF}' | '\u{2C60}'..='\u{2C7F}' | '\u{A720}'..='\u{A7FF}' | '\u{AB30}'..='\u{AB6F}')
            && base.is_alphabetic()
}

/// The text without Markdown emphasis, for a look at its words.
pub(super) fn without_emphasis(text: &str) -> Cow<'_, str> {
    if text.contains(['*', '_', '`', '"']) { Cow::Owned(text.replace(['*', '_', '`', '"'], "")) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_plain_word_is_folded_as_any_text(word in "[A-Za-z0-9]{0,80}") {
            prop_assert_eq!(fold(&word), Folded::new(&word, Mode::Match).text);
        }
    }
}
