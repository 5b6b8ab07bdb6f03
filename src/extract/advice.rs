//! What an answer advises by its shape, without a word of praise: the org first in a ranked list, or picked for a need in a list of
//! picks ("Low cost → X", "| Least setup | X |"). Finds no name and counts no words; see `sentiment`.

use std::ops::Range;

use super::rank;

/// Longest line that is looked at, to each side, in bytes.
const LINE: usize = 400;
/// Mentions that are looked at.
const LOOKED_AT: usize = 200;
/// Lines to each side among which another pick is looked for.
const NEIGHBOURS: usize = 4;
/// Letters behind the last name of a pick: "or another", "までの方".
const BEHIND: usize = 24;

/// The head of the item when the org stands first in a list that ranks brands. `mentions` and `rivals` are in order.
pub(super) fn first_place(text: &str, mentions: &[Range<usize>], rivals: &[Range<usize>]) -> Option<Range<usize>> {
    // Lists are read only where a mention may stand in a first item.
    let may_be = mentions.iter().take(LOOKED_AT).any(|mention| {
        let line = line_around(text, mention);
        text.get(line.start..mention.start).is_some_and(|before| before.contains('1'))
    });
    let (number, head) = may_be.then(|| rank::listed(text, mentions, rivals)).flatten()?;
    (number == 1).then_some(head)
}

/// The lines that pick the org for a need.
pub(super) fn picks(text: &str, mentions: &[Range<usize>], rivals: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for mention in mentions.iter().take(LOOKED_AT) {
        let line = line_around(text, mention);
        if found.last().is_some_and(|last| last.start == line.start) {
            continue;
        }
        if let Some(shape) = shape_of(text, &line, mentions, rivals)
            && shape.own
            && (shape.arrow || has_neighbour(text, &line, &shape, mentions, rivals))
        {
            found.push(line);
        }
    }
    found
}

/// A line of the shape "need, separator, names".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    arrow: bool,
    row: bool,
    /// The org is among the names.
    own: bool,
    /// Another brand is.
    rival: bool,
}

/// The shape of a line; `None`: it is no pick.
fn shape_of(text: &str, line: &Range<usize>, mentions: &[Range<usize>], rivals: &[Range<usize>]) -> Option<Shape> {
    let mine = inside(mentions, line);
    let theirs = inside(rivals, line);
    let first = mine.iter().chain(theirs).min_by_key(|name| name.start)?;
    let last = mine.iter().chain(theirs).max_by_key(|name| name.end)?;
    let written = text.get(line.clone())?;
    let row = written.trim_start().starts_with('|');
    let lead = text.get(line.start..first.start)?.trim_end_matches([' ', '*', '_', '[', '「', '“', '"']);
    let arrow = ["→", "->", "=>", "⇒", "➡", "➡\u{FE0F}"].iter().any(|arrow| lead.ends_with(arrow));
    let separated =
        arrow || if row { lead.ends_with('|') } else { lead.ends_with([':', '：', '–', '—']) || lead.ends_with(" -") };
    let need = lead.trim_matches(|sign: char| !sign.is_alphabetic());
    let item = row || arrow || written.trim_start().starts_with(['-', '*', '+', '•', '–']) || is_numbered(written.trim_start());
    // Rows with more cells compare; they do not pick.
    let cells = !row || written.trim().matches('|').count() == 3;
    let behind = text.get(last.end..line.end)?.chars().filter(|sign| sign.is_alphanumeric()).count();
    let between = letters_between(text, first.start..last.end, mine, theirs);
    let brief = behind <= BEHIND / if need.is_ascii() { 1 } else { 2 } && between <= BEHIND;
    (separated && item && cells && need.chars().count() >= 2 && brief).then_some(Shape {
        arrow,
        row,
        own: !mine.is_empty(),
        rival: !theirs.is_empty(),
    })
}

/// Another line near, of the same kind, that picks a rival.
fn has_neighbour(text: &str, line: &Range<usize>, shape: &Shape, mentions: &[Range<usize>], rivals: &[Range<usize>]) -> bool {
    let picks_rival =
        |other: &Range<usize>| shape_of(text, other, mentions, rivals).is_some_and(|found| found.rival && found.row == shape.row);
    let mut before = line.start;
    for _ in 0..NEIGHBOURS {
        let Some(end) = before.checked_sub(1) else { break };
        let other = line_around(text, &(end..end));
        before = other.start;
        if picks_rival(&other) {
            return true;
        }
    }
    let mut after = line.end;
    for _ in 0..NEIGHBOURS {
        if after >= text.len() || !text.is_char_boundary(after + 1) {
            break;
        }
        let other = line_around(text, &(after + 1..after + 1));
        after = other.end;
        if picks_rival(&other) {
            return true;
        }
    }
    false
}

fn is_numbered(line: &str) -> bool {
    let rest = line.trim_start_matches(|digit: char| digit.is_ascii_digit());
    rest.len() < line.len() && rest.starts_with(['.', ')'])
}

fn inside<'a>(spans: &'a [Range<usize>], line: &Range<usize>) -> &'a [Range<usize>] {
    let from = spans.partition_point(|span| span.start < line.start);
    let to = spans.partition_point(|span| span.start < line.end);
    spans.get(from..to.max(from)).unwrap_or_default()
}

/// Letters of the range outside of names.
fn letters_between(text: &str, range: Range<usize>, mine: &[Range<usize>], theirs: &[Range<usize>]) -> usize {
    let count = |range: Range<usize>| text.get(range).unwrap_or_default().chars().filter(|sign| sign.is_alphanumeric()).count();
    let names: usize = mine.iter().chain(theirs).map(|name| count(name.clone())).sum();
    count(range).saturating_sub(names)
}

/// The line around a place, without its line feed; cut at [`LINE`] bytes to each side.
fn line_around(text: &str, span: &Range<usize>) -> Range<usize> {
    let mut floor = span.start.min(text.len()).saturating_sub(LINE);
    while !text.is_char_boundary(floor) {
        floor += 1;
    }
    let mut ceiling = span.end.saturating_add(LINE).min(text.len());
    while !text.is_char_boundary(ceiling) {
        ceiling -= 1;
    }
    let bytes = text.as_bytes();
    let start = memchr::memrchr(b'\n', bytes.get(floor..span.start).unwrap_or_default()).map_or(floor, |at| floor + at + 1);
    let end = memchr::memchr(b'\n', bytes.get(span.end..ceiling).unwrap_or_default()).map_or(ceiling, |at| span.end + at);
    start..end
}
