//! A way to write a name, and where it may stand: letter case, word boundaries of every script, endings. Searches nothing.

use std::ops::Range;

use unicode_normalization::char::is_combining_mark;

use super::document::Document;
use super::fold::is_kept_whole;
use super::inflection::{Tail, is_ending, is_hangul, is_prefix, takes_prefixes};

/// What the letter case of a short name must be: `LI`, `HP` and `Box` are words too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Any,
    /// A name of four letters at most that is not written in lower case is not found in lower case.
    NotLower,
    /// A name of three capitals at most is found in capitals only.
    Upper,
}

/// A way to write a name, as it is looked for.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) group: usize,
    /// Which of the names given it is.
    pub(super) name: usize,
    pub(super) first: char,
    pub(super) last: char,
    pub(super) case: Case,
    pub(super) domain: bool,
    pub(super) tail: Tail,
    /// A phrase of the language, not a name: found anywhere, with word boundaries.
    pub(super) phrase: bool,
    /// Its last word may go on.
    pub(super) open: bool,
    /// The name as written, where folding takes away what tells it from a word (`M*A*S*H`).
    pub(super) written: Option<String>,
}

/// What the letter case of a name asks for.
pub(super) fn case_of(name: &str) -> Case {
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

/// Without the letters of the one entity that stands in names.
pub(super) fn shown(written: &str) -> std::borrow::Cow<'_, str> {
    if written.contains("&amp;") { written.replace("&amp;", "&").into() } else { written.into() }
}

/// True when a place is written as the name's letter case asks for.
pub(super) fn fits_case(written: &str, case: Case) -> bool {
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

/// True when a name that holds markup characters is written with them.
pub(super) fn same_stars(name: &str, written: &str) -> bool {
    let plain = |text: &str| text.replace('\\', "").to_lowercase();
    plain(name) == plain(written)
}

/// True when a word may begin at `start`.
pub(super) fn opens(folded: &str, start: usize, form: &Form) -> bool {
    let before = folded.get(..start).unwrap_or_default();
    if form.tail == Tail::WithoutArticle {
        return is_prefix(before, form.tail);
    }
    let mut characters = before.chars().rev();
    let Some(previous) = characters.next() else { return true };
    let joins = || characters.clone().next().is_some_and(is_word);
    match previous {
        _ if is_word(previous) && !form.phrase && takes_prefixes(form.first) => is_prefix(before, form.tail),
        // Korean parts words by spaces.
        _ if is_hangul(previous) && is_hangul(form.first) => false,
        _ if is_word(previous) => {
            !is_word(form.first) && form.phrase
                || is_word(form.first)
                    && script(previous).parts_from(script(form.first))
                    && !(is_katakana(previous) && is_katakana(form.first))
        }
        '_' | '&' | '@' => !joins(),
        '-' | '/' if form.domain => !joins(),
        _ => true,
    }
}

/// Where the word that holds a form ends: behind the form, or behind the ending that took the place of its own. `None`: the word
/// goes on and is another one.
pub(super) fn closes(document: &Document<'_>, place: Range<usize>, form: &Form) -> Option<usize> {
    let folded = &document.folded().text;
    let after = folded.get(place.end..).unwrap_or_default();
    let mut characters = after.chars();
    let next = characters.next();
    if !matches!(form.tail, Tail::Whole | Tail::WithoutArticle) {
        let name = folded.get(place.clone()).unwrap_or_default();
        if !is_ending(after, name, form.tail, || document.tongues()) {
            return None;
        }
        return Some(place.end + after.find(|next: char| !is_word(next)).unwrap_or(after.len()));
    }
    let joins = || characters.clone().next().is_some_and(is_word);
    let Some(next) = next else { return Some(place.end) };
    let apart = match next {
        _ if form.open => true,
        'ー' => !is_katakana(form.last),
        _ if is_combining_mark(next) => false,
        _ if !is_word(next) || !is_word(form.last) => match next {
            '_' | '&' | '@' => !joins(),
            '-' if form.domain => !joins(),
            _ => true,
        },
        _ if is_hangul(form.last) && is_hangul(next) && form.phrase => true,
        _ if !(is_hangul(form.last) && is_hangul(next)) && script(form.last).parts_from(script(next)) => true,
        _ if form.phrase || form.domain => false,
        _ => is_ending(after, folded.get(place.clone()).unwrap_or_default(), form.tail, || document.tongues()),
    };
    apart.then_some(place.end)
}

/// A dot between two words makes one name of them (`Node.js`, `notes.linear`), unless a capital starts a sentence there.
/// A host name may stand below another label, but no label may follow it.
pub(super) fn parted_from_host(document: &Document<'_>, span: &Range<usize>, form: &Form) -> bool {
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
