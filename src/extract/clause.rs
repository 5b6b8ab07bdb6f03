//! The clause around a name as word classes of `data/clauses.txt`. Judges nothing; `statement` does. Linear in what it is given.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::LazyLock;

use super::fold::fold;
use super::phrases::is_filler;

/// Classes of a word, one bit each.
pub(super) type Classes = u64;

/// The sections of the file, and the signs between words.
pub(super) mod class {
    use super::Classes;

    pub(in crate::extract) const NEGATION: Classes = 1;
    pub(in crate::extract) const SELF: Classes = 1 << 1;
    pub(in crate::extract) const OTHER: Classes = 1 << 2;
    pub(in crate::extract) const FUNCTION: Classes = 1 << 3;
    pub(in crate::extract) const LOCATIVE: Classes = 1 << 4;
    pub(in crate::extract) const TOPIC: Classes = 1 << 5;
    pub(in crate::extract) const SOURCE: Classes = 1 << 6;
    pub(in crate::extract) const ITEM: Classes = 1 << 7;
    pub(in crate::extract) const NOMINAL: Classes = 1 << 8;
    pub(in crate::extract) const OBJECT: Classes = 1 << 9;
    pub(in crate::extract) const SAY: Classes = 1 << 10;
    pub(in crate::extract) const MATTER: Classes = 1 << 11;
    pub(in crate::extract) const SUBJECT: Classes = 1 << 12;
    pub(in crate::extract) const REACHABLE: Classes = 1 << 13;
    pub(in crate::extract) const SINCE: Classes = 1 << 14;
    pub(in crate::extract) const SEARCH: Classes = 1 << 15;
    pub(in crate::extract) const PRONOUN: Classes = 1 << 16;
    pub(in crate::extract) const CONDITION: Classes = 1 << 17;
    pub(in crate::extract) const THAT: Classes = 1 << 18;
    pub(in crate::extract) const EXIST: Classes = 1 << 19;
    pub(in crate::extract) const EXCEPT: Classes = 1 << 20;
    pub(in crate::extract) const EXCEPT_BEHIND: Classes = 1 << 21;
    pub(in crate::extract) const ONLY: Classes = 1 << 22;
    pub(in crate::extract) const GRADE: Classes = 1 << 23;
    pub(in crate::extract) const MARKET: Classes = 1 << 24;
    pub(in crate::extract) const GOES_ON: Classes = 1 << 25;
    pub(in crate::extract) const TURN: Classes = 1 << 26;
    /// The name that is asked about.
    pub(in crate::extract) const NAME: Classes = 1 << 27;
    /// Another word with a capital, of no class.
    pub(in crate::extract) const CAPITAL: Classes = 1 << 28;
    pub(in crate::extract) const COMMA: Classes = 1 << 29;
    /// A sign that ends a clause: `;`, `:`, `|`, a dash, a bracket.
    pub(in crate::extract) const BREAK: Classes = 1 << 30;
    /// Joins names: and, or, nor.
    pub(in crate::extract) const JOIN: Classes = 1 << 31;
    pub(in crate::extract) const CALLED: Classes = 1 << 32;
}

/// Sections with the classes they give.
const SECTIONS: &[(&str, Classes)] = &[
    ("negation", class::NEGATION),
    ("self", class::SELF),
    ("other", class::OTHER),
    ("function", class::FUNCTION),
    ("locative", class::LOCATIVE | class::FUNCTION),
    ("topic", class::TOPIC),
    ("source", class::SOURCE),
    ("item", class::ITEM),
    ("nominal", class::NOMINAL),
    ("object", class::OBJECT),
    ("say", class::SAY),
    ("matter", class::MATTER),
    ("subject", class::SUBJECT),
    ("reachable", class::REACHABLE),
    ("since", class::SINCE),
    ("missing", class::NEGATION | class::SUBJECT),
    ("omitting", class::NEGATION | class::OBJECT),
    ("empty", class::NEGATION | class::NOMINAL),
    ("search", class::SEARCH),
    ("pronoun", class::PRONOUN),
    ("condition", class::CONDITION),
    ("that", class::THAT),
    ("exist", class::EXIST),
    ("except", class::EXCEPT),
    ("except behind", class::EXCEPT_BEHIND),
    ("only", class::ONLY),
    ("grade", class::GRADE),
    ("market", class::MARKET),
    ("goes on", class::GOES_ON),
    ("join", class::JOIN),
    ("called", class::CALLED | class::FUNCTION),
];

/// Most words of one entry, and most letters of an entry in a script without spaces.
const LONGEST: usize = 4;
const LONGEST_UNSPACED: usize = 12;
/// Most tokens to each side of a name, and most bytes that are read for them.
const MOST: usize = 60;
const NEAR: usize = 420;

#[derive(Debug, Default)]
struct Table {
    whole: HashMap<String, Classes>,
    /// Entries whose last word may go on.
    open: HashMap<String, Classes>,
    /// The first letters of those: a word without them is none.
    heads: HashSet<String>,
    /// The first words of entries of several.
    first: HashSet<String>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table::default();
    for (section, entry) in entries() {
        let classes = SECTIONS.iter().find(|(name, _)| *name == section).map_or(0, |(_, classes)| *classes);
        let bare = entry.trim_end_matches('*');
        let kept = if bare.len() < entry.len() { &mut table.open } else { &mut table.whole };
        let folded = fold(bare);
        if bare.len() < entry.len() {
            table.heads.extend(head(&folded).map(str::to_owned));
        }
        table.first.extend(folded.split_once(' ').map(|(first, _)| first.to_owned()));
        *kept.entry(folded).or_default() |= classes;
    }
    for turn in super::phrases::turns() {
        table.first.extend(turn.trim().split_once(' ').map(|(first, _)| first.to_owned()));
        *table.whole.entry(turn.trim().to_owned()).or_default() |= class::TURN;
    }
    table
});

/// (section, entry) in the order of the file.
fn entries() -> impl Iterator<Item = (&'static str, &'static str)> {
    let mut section = "";
    include_str!("data/clauses.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(move |line| {
            if let Some(heading) = line.strip_prefix('[') {
                section = heading.trim_end_matches(']');
            }
            line.split_once(": ").map(|(_, entries)| (section, entries))
        })
        .flat_map(|(section, entries)| entries.split('|').map(move |entry| (section, entry.trim())))
}

/// Every word that may deny: without one near a name no clause is looked at.
pub(super) fn negations() -> impl Iterator<Item = &'static str> {
    entries().filter(|(section, _)| matches!(*section, "negation" | "missing" | "omitting" | "empty")).map(|(_, entry)| entry)
}

/// The shortest start of a word that an entry of [`Table::open`] may be.
fn head(folded: &str) -> Option<&str> {
    folded.char_indices().nth(2).and_then(|(at, last)| folded.get(..at + last.len_utf8()))
}

fn classes_of(folded: &str) -> Classes {
    let is_open = head(folded).is_none_or(|head| TABLE.heads.contains(head));
    let starts = folded.char_indices().map(|(at, _)| at).skip(3).chain([folded.len()]).take(if is_open { 24 } else { 0 });
    let open =
        starts.filter_map(|at| folded.get(..at).and_then(|start| TABLE.open.get(start))).fold(0, |all, classes| all | classes);
    match TABLE.whole.get(folded).copied().unwrap_or_default() | open {
        0 if is_filler(folded) => class::FUNCTION,
        classes => classes,
    }
}

/// A stretch of the answer that is one word, one entry of the table, or one sign.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) span: Range<usize>,
    pub(super) classes: Classes,
}

impl Token {
    pub(super) fn is(&self, any: Classes) -> bool {
        self.classes & any != 0
    }
}

/// The tokens of `range` with the name at `name` as one; second: its number.
pub(super) fn around(text: &str, range: &Range<usize>, name: &Range<usize>) -> (Vec<Token>, usize) {
    let (start, end) = near(text, range, name);
    let mut tokens = tokens(text, start..name.start);
    tokens.drain(..tokens.len().saturating_sub(MOST));
    let number = tokens.len();
    tokens.push(Token { span: name.clone(), classes: class::NAME });
    tokens.extend(self::tokens(text, name.end..end).into_iter().take(MOST));
    (tokens, number)
}

/// The part of `range` that is near the name; cut between characters, so a word at its rim may lose some.
fn near(text: &str, range: &Range<usize>, name: &Range<usize>) -> (usize, usize) {
    let is_cut = |at: &usize| text.is_char_boundary(*at);
    let start = (range.start.max(name.start.saturating_sub(NEAR))..=name.start).find(is_cut).unwrap_or(name.start);
    let end = (name.end..=range.end.min(name.end + NEAR)).rev().find(is_cut).unwrap_or(name.end);
    (start, end)
}

/// The tokens of a stretch.
pub(super) fn tokens(text: &str, range: Range<usize>) -> Vec<Token> {
    let words = words(text, range);
    let mut tokens: Vec<Token> = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let Word::Written(span) = word else {
            if let Word::Sign(span, classes) = word {
                tokens.push(Token { span: span.clone(), classes: *classes });
            }
            at += 1;
            continue;
        };
        let mut best = (0, 1, span.end);
        let mut joined = String::new();
        for (taken, next) in words.iter().skip(at).take(LONGEST).enumerate() {
            let Word::Written(next) = next else { break };
            if !joined.is_empty() {
                joined.push(' ');
            }
            joined.push_str(&fold(text.get(next.clone()).unwrap_or_default()));
            let classes = if taken == 0 { classes_of(&joined) } else { TABLE.whole.get(&joined).copied().unwrap_or_default() };
            if classes != 0 {
                best = (classes, taken + 1, next.end);
            }
            if taken == 0 && !TABLE.first.contains(&joined) {
                break;
            }
        }
        let written = text.get(span.clone()).unwrap_or_default();
        let mut classes = best.0;
        // "I" speaks of itself; "i" is "and" and "the" elsewhere.
        if written == "i" {
            classes &= !class::SELF;
        }
        if classes == 0 && written.starts_with(char::is_uppercase) {
            classes = class::CAPITAL;
        }
        tokens.push(Token { span: span.start..best.2, classes });
        at += best.1;
    }
    // Portuguese "aparece no ranking": in the.
    for at in 1..tokens.len().saturating_sub(1) {
        let is_no = tokens.get(at).is_some_and(|token| text.get(token.span.clone()) == Some("no"));
        let placed = tokens.get(at - 1).is_some_and(|token| token.is(class::SUBJECT) && !token.is(class::NEGATION));
        if is_no
            && placed
            && tokens.get(at + 1).is_some_and(|token| token.is(class::SOURCE))
            && let Some(token) = tokens.get_mut(at)
        {
            token.classes = class::FUNCTION | class::LOCATIVE;
        }
    }
    // "Not only": no denial.
    for at in 1..tokens.len() {
        if tokens.get(at).is_some_and(|token| token.is(class::ONLY))
            && let Some(token) = tokens.get_mut(at - 1).filter(|token| token.is(class::NEGATION))
        {
            token.classes = class::ONLY;
        }
    }
    tokens
}

enum Word {
    Written(Range<usize>),
    Sign(Range<usize>, Classes),
}

/// Words, pieces of a script without spaces, and the signs that part a clause.
fn words(text: &str, range: Range<usize>) -> Vec<Word> {
    let base = range.start;
    let text = text.get(range).unwrap_or_default();
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(letter) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = text.get(at..).unwrap_or_default();
        let mut end = at + letter.len_utf8();
        if is_unspaced(letter) {
            let known = rest.char_indices().map(|(from, letter)| from + letter.len_utf8()).take(LONGEST_UNSPACED);
            let known = known.filter(|end| rest.get(..*end).is_some_and(|piece| TABLE.whole.contains_key(piece))).last();
            end = at + known.unwrap_or(letter.len_utf8());
            words.push(Word::Written(base + at..base + end));
        } else if letter.is_alphanumeric() {
            let is_in = |letter: char| letter.is_alphanumeric() && !is_unspaced(letter);
            end = at + rest.find(|letter: char| !is_in(letter)).unwrap_or(rest.len());
            // "isn't" is one word, "n'est" and "we've" are two.
            let suffix = text.get(end..).unwrap_or_default();
            let contracted = suffix.strip_prefix(['\'', '’']).is_some_and(|after| {
                (after.starts_with('t') && text.get(at..end).is_some_and(|word| word.ends_with(['n', 'N'])))
                    && !after.get(1..).is_some_and(|rest| rest.starts_with(char::is_alphanumeric))
            });
            if contracted {
                end += suffix.chars().next().map_or(0, char::len_utf8) + 1;
            }
            words.push(Word::Written(base + at..base + end));
        } else {
            let classes = match letter {
                ',' | '，' | '、' | '،' => class::COMMA,
                ';' | ':' | '|' | '；' | '：' | '(' | ')' | '–' | '—' | '\n' | '?' | '!' | '。' | '？' | '！' => {
                    class::BREAK
                }
                '-' if rest.starts_with("- ") && text.get(..at).is_some_and(|before| before.ends_with(' ')) => class::BREAK,
                _ => 0,
            };
            if classes != 0 {
                words.push(Word::Sign(base + at..base + end, classes));
            }
        }
        at = end;
    }
    words
}

/// Letters of scripts that write no space between words.
fn is_unspaced(letter: char) -> bool {
    matches!(letter, '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{3005}')
}
