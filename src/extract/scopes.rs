//! Which stretches of an answer speak of the org: the sentence that names it and the ones that go on with "it", the item it
//! heads with its sub-items, the section under its heading, its row of a table. Judges nothing and finds no name.
//!
//! Work per mention is bounded; stretches do not overlap and come in order.

use std::ops::Range;

use super::fold::fold;
use super::{lexicon, passages};

/// Longest section, and how far a line is followed, in bytes.
const REACH: usize = 4_000;
/// Mentions that are looked at.
const LOOKED_AT: usize = 200;
/// Sentences that may go on about the org behind one that names it.
const FOLLOWING: usize = 2;

/// The stretches. `rivals` are the places of other brands, in order: a heading that names one beside the org heads no section.
pub(super) fn about(text: &str, mentions: &[Range<usize>], rivals: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut scopes: Vec<Range<usize>> = Vec::new();
    for mention in mentions.iter().take(LOOKED_AT) {
        if scopes.last().is_some_and(|last| mention.end <= last.end) {
            continue;
        }
        let scope = scope_of(text, mention, rivals);
        match scopes.last_mut().filter(|last| scope.start < last.end) {
            Some(last) => last.end = last.end.max(scope.end),
            None => scopes.push(scope),
        }
    }
    scopes
}

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Heading(usize),
    /// Nothing but emphasised text.
    Bold,
    Numbered(usize),
    Bullet(usize),
    Row,
    Blank,
    Text(usize),
}

fn scope_of(text: &str, mention: &Range<usize>, rivals: &[Range<usize>]) -> Range<usize> {
    let Some(line) = line_around(text, mention) else { return with_following(text, passages::sentence(text, mention)) };
    let written = text.get(line.clone()).unwrap_or_default();
    let kind = kind_of(written);
    let before = text.get(line.start..mention.start).unwrap_or_default();
    // `- QuillMark: …`, `2. **Best value: QuillMark**`: the line is about it from the start.
    let heads = !before.contains(['.', '!', '?', '。']) || before.bytes().filter(u8::is_ascii_alphabetic).count() == 0;
    let short = before.chars().filter(|character| character.is_alphanumeric()).count() <= 40;
    let first = rivals.partition_point(|rival| rival.start < line.start);
    let rival = rivals.get(first).map_or(usize::MAX, |rival| rival.start);
    let alone = rival >= line.end;
    let bare = !before.contains(char::is_alphabetic);
    match kind {
        Line::Row => line,
        Line::Heading(level) if alone && bare => {
            section(text, &line, |next| matches!(next, Line::Heading(other) if other <= level))
        }
        Line::Bold if alone && bare => {
            section(text, &line, |next| matches!(next, Line::Heading(_) | Line::Bold | Line::Numbered(_)))
        }
        Line::Numbered(indent) if heads && short && rival > mention.start => section(text, &line, |next| match next {
            Line::Bullet(other) | Line::Text(other) => other < indent || (other == indent && matches!(next, Line::Text(_))),
            Line::Numbered(other) => other <= indent,
            Line::Blank => false,
            _ => true,
        }),
        Line::Bullet(indent) if heads && short && rival > mention.start => section(text, &line, |next| match next {
            Line::Bullet(other) | Line::Text(other) | Line::Numbered(other) => other <= indent,
            Line::Blank => false,
            _ => true,
        }),
        _ => with_following(text, passages::sentence(text, mention)),
    }
}

/// The line, without its line feed; `None` when it is too long to be one.
fn line_around(text: &str, mention: &Range<usize>) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let floor = mention.start.saturating_sub(REACH);
    let before = bytes.get(floor..mention.start)?.iter().rposition(|byte| *byte == b'\n');
    let start = before.map(|at| floor + at + 1).or((floor == 0).then_some(0))?;
    let ceiling = mention.end.saturating_add(REACH).min(bytes.len());
    let after = bytes.get(mention.end..ceiling)?.iter().position(|byte| *byte == b'\n');
    let end = after.map(|at| mention.end + at).or((ceiling == bytes.len()).then_some(ceiling))?;
    Some(start..end)
}

fn kind_of(line: &str) -> Line {
    let rest = line.trim_start();
    let indent = line.len() - rest.len();
    let trimmed = rest.trim_end();
    if trimmed.is_empty() {
        return Line::Blank;
    }
    let hashes = rest.bytes().take_while(|byte| *byte == b'#').count();
    if (1..=6).contains(&hashes) && rest.as_bytes().get(hashes) == Some(&b' ') {
        return Line::Heading(hashes);
    }
    if rest.starts_with('|') {
        return Line::Row;
    }
    if ["- ", "* ", "+ ", "• ", "– "].iter().any(|bullet| rest.starts_with(bullet)) {
        return Line::Bullet(indent);
    }
    let digits = rest.trim_start_matches('*').bytes().take_while(u8::is_ascii_digit).count();
    if (1..=3).contains(&digits) && rest.trim_start_matches('*').get(digits..).is_some_and(|rest| rest.starts_with(['.', ')'])) {
        return Line::Numbered(indent);
    }
    if trimmed.starts_with("**") && trimmed.trim_end_matches(':').ends_with("**") && trimmed.matches("**").count() == 2 {
        return Line::Bold;
    }
    Line::Text(indent)
}

/// From the line to the first one behind it that `ends` it.
fn section(text: &str, line: &Range<usize>, ends: impl Fn(Line) -> bool) -> Range<usize> {
    let rest = text.get(line.end..).unwrap_or_default();
    let mut end = line.end;
    let mut at = line.end;
    for next in rest.split_inclusive('\n') {
        // The first piece is the line feed of the line itself.
        let kind = kind_of(next);
        if (at > line.end && ends(kind)) || at + next.len() > line.start + REACH {
            break;
        }
        at += next.len();
        if kind != Line::Blank {
            end = at;
        }
    }
    line.start..end
}

/// Takes in the next sentences of the paragraph that begin with "it", "the company", "users", …
fn with_following(text: &str, sentence: Range<usize>) -> Range<usize> {
    let mut scope = sentence;
    for _ in 0..FOLLOWING {
        let rest = text.get(scope.end..).unwrap_or_default();
        let gap = rest.len() - rest.trim_start().len();
        if rest.get(..gap).is_none_or(|gap| gap.contains('\n')) || gap == rest.len() {
            break;
        }
        let start = scope.end + gap;
        let first = start..start + text.get(start..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        let next = passages::sentence(text, &first);
        let words = fold(text.get(start..next.end).unwrap_or_default());
        let goes_on = lexicon::find(&words).first().is_some_and(|word| word.at.start == 0 && word.role.it);
        if next.end <= scope.end || !goes_on {
            break;
        }
        scope.end = next.end;
    }
    scope
}
