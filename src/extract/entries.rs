//! Names that stand as entries: an item "Sable: not found", a row of a table whose cells say so, a list below "I found nothing on:".
//! Work per name is bounded.

use std::ops::Range;

use super::clause::{class, tokens};
use super::passages::sentence_breaks;
use super::statement::is_allowed;

/// Longest line that is looked at, to each side, in bytes.
const LINE: usize = 600;
/// Longest cell or label's text that says nothing but that, in bytes.
const SAYS_NOTHING: usize = 160;
/// How far above an item the head of its list is looked for: lines, and bytes.
const LINES_ABOVE: usize = 30;
const BYTES_ABOVE: usize = 1_500;

/// True when the entry, or the head of its list, says that the name is not there.
pub(super) fn is_entry(text: &str, name: &Range<usize>) -> bool {
    let Some(line) = line_around(text, name) else { return false };
    let before = text.get(line.start..name.start).unwrap_or_default();
    if before.trim_start().starts_with('|') {
        return is_empty_row(text, name, &line);
    }
    if is_marker(before) {
        return is_nothing_said(text, name.end..line.end) || is_below_missing(text, name, &line);
    }
    // "Not found: Boxly, Sable".
    let Some(colon) = before.rfind([':', '：']) else { return false };
    let head = before.get(..colon).unwrap_or_default();
    let start = line.start + sentence_breaks(head, "X").next_back().unwrap_or(0);
    let listed = |part: Option<&str>| part.unwrap_or_default().trim_start_matches([':', '：']).split_whitespace().all(is_listed);
    listed(before.get(colon..)) && listed(text.get(name.end..line.end)) && heads_missing(text, start..line.start + colon)
}

/// A name of a list, or what joins it to the next.
fn is_listed(word: &str) -> bool {
    let bare = word.trim_matches(|sign: char| !sign.is_alphanumeric());
    bare.is_empty() || bare.starts_with(|first: char| first.is_uppercase() || !first.is_ascii()) || bare.len() <= 3
}

/// Nothing, or what marks an item, a heading or emphasis.
fn is_marker(before: &str) -> bool {
    !before.contains([':', '|', '?']) && !before.contains(char::is_alphabetic) && before.len() < 12
}

/// `: not found`, ` – no data`, `? Nothing.` behind a name, to the end of the line.
fn is_nothing_said(text: &str, rest: Range<usize>) -> bool {
    let after = text.get(rest.clone()).unwrap_or_default();
    let said = after.trim_start_matches([' ', '*', '_', '"', '”', '’', '`', ':', '：', '–', '—', '-', '→', '?', '(', '=']);
    let signs = after.len() - said.len();
    let parted = after.get(..signs).is_some_and(|signs| signs.contains([':', '：', '–', '—', '-', '→', '?', '(', '=']));
    parted && is_nothing(text, rest.start + signs..rest.end)
}

/// An item of nothing but the name, in a list whose head says that its names are missing.
fn is_below_missing(text: &str, name: &Range<usize>, line: &Range<usize>) -> bool {
    let starts = text.get(line.clone()).unwrap_or_default().trim_start();
    let is_item =
        |line: &str| line.starts_with(['-', '*', '+', '•', '–']) || line.starts_with(|digit: char| digit.is_ascii_digit());
    if !is_item(starts) || text.get(name.end..line.end).is_some_and(|rest| rest.contains(char::is_alphanumeric)) {
        return false;
    }
    let mut floor = line.start.saturating_sub(BYTES_ABOVE);
    while !text.is_char_boundary(floor) {
        floor += 1;
    }
    let above = text.get(floor..line.start).unwrap_or_default();
    let mut end = line.start;
    for upper in above.rsplit_terminator('\n').take(LINES_ABOVE) {
        let start = end.saturating_sub(upper.len() + 1);
        let trimmed = upper.trim();
        if !trimmed.is_empty() && !is_item(trimmed) {
            let head = trimmed.trim_end_matches(['*', '_', ' ']);
            let from = sentence_breaks(head, "X").rfind(|end| *end < head.len()).unwrap_or(0);
            let offset = start + upper.find(trimmed).unwrap_or(0);
            return head.ends_with([':', '：']) && heads_missing(text, offset + from..offset + head.len() - 1);
        }
        end = start;
    }
    false
}

/// A row that holds the name and, beside empty cells and a number, only cells that say that there is nothing.
fn is_empty_row(text: &str, name: &Range<usize>, line: &Range<usize>) -> bool {
    let mut start = line.start;
    let mut nothing = false;
    for cell in text.get(line.clone()).unwrap_or_default().split('|') {
        let range = start..start + cell.len();
        start = range.end + 1;
        if range.start <= name.start && name.end <= range.end {
            let beside = text.get(range.start..name.start).into_iter().chain(text.get(name.end..range.end));
            if beside.into_iter().any(|part| part.contains(char::is_alphabetic)) {
                return false;
            }
            continue;
        }
        let said = cell.trim();
        if !said.contains(char::is_alphabetic) {
            if said.chars().filter(char::is_ascii_digit).count() > 2 || said.contains(['$', '€', '£', '%', '★', '✓', '✅'])
            {
                return false;
            }
        } else if is_nothing(text, range) {
            nothing = true;
        } else if !said.eq_ignore_ascii_case("n/a") {
            return false;
        }
    }
    nothing
}

/// The line of the name; `None` when it is too long to be one.
fn line_around(text: &str, name: &Range<usize>) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let floor = name.start.saturating_sub(LINE);
    let start = match memchr::memrchr(b'\n', bytes.get(floor..name.start)?) {
        Some(at) => floor + at + 1,
        None if floor == 0 => 0,
        None => return None,
    };
    let ceiling = name.end.saturating_add(LINE).min(bytes.len());
    let end = match memchr::memchr(b'\n', bytes.get(name.end..ceiling)?) {
        Some(at) => name.end + at,
        None if ceiling == bytes.len() => ceiling,
        None => return None,
    };
    Some(start..end)
}

/// True when a cell or a label's text says nothing but that there is nothing: "not found", "no data".
fn is_nothing(text: &str, range: Range<usize>) -> bool {
    if range.len() > SAYS_NOTHING {
        return false;
    }
    let tokens = tokens(text, range);
    let is = |classes| tokens.iter().any(|token| token.is(classes));
    tokens.len() <= 10
        && tokens.iter().all(is_allowed)
        && is(class::NEGATION)
        && is(class::NOMINAL | class::SUBJECT | class::OBJECT | class::SOURCE)
}

/// True when the text before a list says that what is listed is not there: "I found nothing on these brands:".
fn heads_missing(text: &str, range: Range<usize>) -> bool {
    let tokens = tokens(text, range);
    let Some(denial) = tokens.iter().position(|token| token.is(class::NEGATION)) else { return false };
    let said = class::NOMINAL | class::SUBJECT | class::OBJECT;
    let behind = || tokens.iter().skip(denial);
    behind().all(is_allowed)
        && behind().take(5).any(|token| token.is(said))
        && !tokens
            .iter()
            .any(|token| token.is(class::OTHER | class::ONLY | class::TURN | class::CAPITAL) && !token.is(class::NEGATION))
}
