//! Is the label of a link a word of the sentence, or only a reference to a page?
//!
//! A label is a reference when nothing would miss it: in brackets behind a sentence, on a line of links, below a heading of sources, behind
//! "Read more:". A label that a sentence, a heading, a cell or an item needs is prose. Work per label is bounded.

use std::ops::Range;

use super::fold::{fold, without_emphasis};
use super::markup::{Kind, Mark};
use super::mentions::Document;
use super::passages::sentence;
use super::phrases::{is_lead, is_sources};

/// Longest line that is looked at as one, to each side, in bytes.
const LINE: usize = 1_500;
/// How far back the heading of a list is looked for: lines, and bytes.
const LINES_BACK: usize = 40;
const BYTES_BACK: usize = 6_000;
/// A heading is shorter, in bytes.
const LONGEST_HEADING: usize = 120;

/// The link whose label holds the span.
pub(super) fn link_of<'d>(document: &'d Document<'_>, span: &Range<usize>) -> Option<&'d Mark> {
    let marks = document.marks();
    let next = marks.get(marks.partition_point(|mark| mark.span.end <= span.start))?;
    let label = next.label.as_ref()?;
    (label.start <= span.start && span.end <= label.end).then_some(next)
}

/// True when the label of `link` is a reference. `span` is the name in it.
pub(super) fn is_reference(document: &Document<'_>, span: &Range<usize>, link: &Mark) -> bool {
    let text = document.text;
    let Some(label) = link.label.clone() else { return false };
    let line = line_around(text, span);
    let opens = chain_start(document, label.start.saturating_sub(1), line.start);
    let lead = bare(text.get(line.start..opens).unwrap_or_default());
    if is_in_brackets(document, text.get(line.start..opens).unwrap_or_default(), link.span.end) || is_led(lead) {
        return true;
    }
    let content = line.start + marker(text.get(line.clone()).unwrap_or_default());
    if !has_words(document, &(content..line.end)) {
        return is_reference_line(document, span, &label, &line);
    }
    let sentence = sentence(text, span);
    let starts_the_line = sentence.start <= content || bare(text.get(content..sentence.start).unwrap_or_default()).is_empty();
    (!starts_the_line && !in_table(text, &line) && !has_words(document, &sentence))
        || (starts_as_item(text, &line) && is_below_sources(document, line.start) && !goes_on(text, link.span.end, line.end))
}

/// True when the place, no link itself, stands in an item of a list of sources: a heading says what the list is, and its line holds a
/// URL, is numbered as references are (`[1] …`), or names a page by its host.
pub(super) fn is_source_item(document: &Document<'_>, span: &Range<usize>) -> bool {
    let marks = document.marks();
    let line = line_around(document.text, span);
    let first = marks.partition_point(|mark| mark.span.end <= line.start);
    let mut links = marks.iter().skip(first).take_while(|mark| mark.span.start < line.end);
    let text = document.text;
    let Some(url) = links.find(|mark| matches!(mark.kind, Kind::Url | Kind::Target)) else {
        let numbered = text.get(line.clone()).is_some_and(|line| line.trim_start().starts_with('['));
        let host = document.slice(span).contains('.');
        return (numbered || host) && starts_as_item(text, &line) && is_below_sources(document, line.start);
    };
    let before = bare(text.get(line.start..span.start).unwrap_or_default());
    // "Sources: Sable pricing page https://…", or below such a heading.
    let led =
        span.end <= url.span.start && before.split_once([':', '：']).is_some_and(|(head, _)| is_sources(&fold(head.trim())));
    led || (starts_as_item(text, &line) && is_below_sources(document, line.start))
}

/// A line of nothing but links: an item that names one of several, a heading or a cell is none of a reference.
fn is_reference_line(document: &Document<'_>, span: &Range<usize>, label: &Range<usize>, line: &Range<usize>) -> bool {
    let text = document.text;
    let whole = text.get(line.clone()).unwrap_or_default();
    let next = text.get(line.end + 1..).unwrap_or_default();
    if whole.trim_start().starts_with('#') || in_table(text, line) {
        return false;
    }
    let below = is_below_sources(document, line.start);
    let is_name = bare(text.get(label.clone()).unwrap_or_default()).len() <= span.len() + 2;
    if starts_as_item(text, line) {
        let indent = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
        let has_content = indent(next) > indent(whole) && !next.trim_start().is_empty();
        let ordered = whole.trim_start().starts_with(|first: char| first.is_ascii_digit());
        return below || !(has_content || (is_name && (ordered || is_introduced(text, line.start))));
    }
    // A name in bold on a line of its own is a heading.
    let bold = whole.trim_start().starts_with("**") && !next.trim().is_empty();
    below || !(bold && is_name)
}

/// The line around a place, without its line feed; cut at [`LINE`] bytes.
fn line_around(text: &str, span: &Range<usize>) -> Range<usize> {
    let bytes = text.as_bytes();
    let mut floor = span.start.saturating_sub(LINE);
    while !text.is_char_boundary(floor) {
        floor += 1;
    }
    let mut ceiling = span.end.saturating_add(LINE).min(text.len());
    while !text.is_char_boundary(ceiling) {
        ceiling -= 1;
    }
    let start = memchr::memrchr(b'\n', bytes.get(floor..span.start).unwrap_or_default()).map_or(floor, |at| floor + at + 1);
    let end = memchr::memchr(b'\n', bytes.get(span.end..ceiling).unwrap_or_default()).map_or(ceiling, |at| span.end + at);
    start..end
}

/// Start of the first of the links that stand side by side up to the bracket at `bracket`.
fn chain_start(document: &Document<'_>, bracket: usize, floor: usize) -> usize {
    let marks = document.marks();
    let mut start = bracket;
    for _ in 0..16 {
        let before = document.text.get(floor..start).unwrap_or_default();
        let end = floor + before.trim_end_matches([' ', ',', ';', '*', '_', '|', '·', '•', '&', '、']).len();
        let index = marks.partition_point(|mark| mark.span.end < end);
        let previous = marks.get(index).filter(|mark| mark.span.end == end).and_then(|mark| mark.label.as_ref());
        let Some(label) = previous.filter(|label| label.start > floor) else { break };
        start = label.start - 1;
    }
    start
}

/// `([Sable](…))`, `([Sable](…), [Boxly](…))`, `【[Sable](…)】`.
fn is_in_brackets(document: &Document<'_>, before: &str, end: usize) -> bool {
    let opened = before.trim_end_matches([' ', '*', '_']).ends_with(['(', '（', '【', '[']);
    let after = document.text.get(end..).unwrap_or_default().trim_start_matches([' ', '*', '_']);
    opened && after.starts_with([')', '）', '】', ']', ',', ';', '，', '、'])
}

/// What stands before a link is a lead-in ("Read more:"), or is nothing but one ("see").
fn is_led(before: &str) -> bool {
    if before.is_empty() {
        return false;
    }
    let mut floor = before.len().saturating_sub(60);
    while !before.is_char_boundary(floor) {
        floor += 1;
    }
    let last = before.get(floor..).unwrap_or_default();
    let since = last.rfind(['(', '（', '.', '!', '?', '。', '→', '–', '—', '|']).and_then(|at| {
        let sign = last.get(at..)?.chars().next()?;
        last.get(at + sign.len_utf8()..)
    });
    let phrase = fold(&without_emphasis(since.unwrap_or(last)));
    let phrase = phrase.trim_matches(|sign: char| sign.is_whitespace() || matches!(sign, '*' | '-' | '>' | '➡' | '👉' | '🔗'));
    match phrase.strip_suffix(':') {
        Some(phrase) => is_lead(phrase.trim(), true),
        None => is_lead(phrase, false),
    }
}

/// Length of what marks a line as an item, a quotation or a heading, with the emphasis behind it.
fn marker(line: &str) -> usize {
    let mut rest = line.trim_start_matches([' ', '\t', '>', '-', '+', '•', '–', '*', '#']);
    let digits = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
    if digits.len() < rest.len()
        && let Some(after) = digits.strip_prefix(['.', ')', ':']).or_else(|| digits.strip_prefix("\\."))
    {
        rest = after;
    }
    line.len() - rest.trim_start_matches([' ', '*', '_', '✅', '🔹']).len()
}

fn starts_as_item(text: &str, line: &Range<usize>) -> bool {
    let line = text.get(line.clone()).unwrap_or_default().trim_start_matches([' ', '\t', '>']);
    line.starts_with(['-', '+', '•', '–', '['])
        || line.starts_with("* ")
        || (line.starts_with(|digit: char| digit.is_ascii_digit()) && marker(line) > 0)
}

fn in_table(text: &str, line: &Range<usize>) -> bool {
    text.get(line.clone()).is_some_and(|line| line.trim_start().starts_with('|') || line.matches('|').count() > 1)
}

/// Letters outside links, URLs and code.
fn has_words(document: &Document<'_>, range: &Range<usize>) -> bool {
    let marks = document.marks();
    let mut at = range.start;
    let first = marks.partition_point(|mark| mark.span.end <= range.start);
    let has = |from: usize, to: usize| document.text.get(from..to).is_some_and(|part| part.contains(char::is_alphabetic));
    for mark in marks.iter().skip(first).take_while(|mark| mark.span.start < range.end) {
        let start = mark.label.as_ref().map_or(mark.span.start, |label| label.start.min(mark.span.start));
        if has(at, start.max(at)) {
            return true;
        }
        at = mark.span.end.max(at);
    }
    has(at, range.end.max(at))
}

/// True when more than punctuation follows on the line.
fn goes_on(text: &str, from: usize, to: usize) -> bool {
    text.get(from..to).is_some_and(|rest| rest.chars().filter(|letter| letter.is_alphabetic()).count() > 40)
}

fn bare(text: &str) -> &str {
    text.trim_matches(|sign: char| sign.is_whitespace() || matches!(sign, '*' | '_' | '#' | '>' | '-' | '•' | '+' | '`'))
}

/// The line before the list that `line_start` is in; `None`: there is none near.
fn introduction(text: &str, line_start: usize) -> Option<&str> {
    let mut end = line_start;
    for _ in 0..LINES_BACK {
        end = end.checked_sub(1)?;
        if line_start - end > BYTES_BACK {
            return None;
        }
        let bytes = text.as_bytes().get(..end)?;
        let floor = end.saturating_sub(BYTES_BACK);
        let start = memchr::memrchr(b'\n', bytes.get(floor..)?).map_or(floor, |at| floor + at + 1);
        let line = text.get(start..end).unwrap_or_default();
        let item = line.starts_with([' ', '\t', '[']) || starts_as_item(text, &(start..end));
        if !line.trim().is_empty() && !item && !line.starts_with("http") {
            return Some(line);
        }
        end = start;
    }
    None
}

/// True when the list that the line is in stands below a heading of sources. Most answers have none: that is found out once.
fn is_below_sources(document: &Document<'_>, line_start: usize) -> bool {
    document.first_sources(first_sources).is_some_and(|first| first < line_start)
        && introduction(document.text, line_start).is_some_and(heads_sources)
}

/// Start of the first line that may head a list of sources.
fn first_sources(text: &str) -> Option<usize> {
    let mut next = 0;
    text.split('\n').find_map(|line| {
        let start = next;
        next += line.len() + 1;
        (line.len() < LONGEST_HEADING && !line.is_empty() && heads_sources(line)).then_some(start)
    })
}

fn heads_sources(line: &str) -> bool {
    let heading = bare(line).trim_end_matches([':', '：']).trim_matches(|sign: char| !sign.is_alphanumeric());
    line.len() < LONGEST_HEADING && is_sources(fold(heading).trim())
}

fn is_introduced(text: &str, line_start: usize) -> bool {
    introduction(text, line_start).is_some()
}
