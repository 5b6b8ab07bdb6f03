//! The links of an answer: Markdown targets, URLs in angle brackets and bare ones, hosts that begin with `www.`, and the markers
//! (`[1]`, `【1†source】`) that stand for a source by its number.
//!
//! Says where they stand; must not judge where they lead (see `citations`). Code and images hold none. Linear whatever the text.

use std::ops::Range;

use memchr::{memchr, memchr2_iter, memmem};

use super::fold::is_ignorable;
use super::markup::{Kind, Mark};
use super::mentions::Document;

/// Highest number of a marker.
const MAX_NUMBER: u32 = 999;
/// Most sources that one marker stands for (`[1-20]`).
const MAX_RANGE: u32 = 20;
/// Longest text inside a marker, in characters.
const MAX_MARKER: usize = 80;

/// A link of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    /// The URL's bytes.
    pub(super) url: Range<usize>,
    /// It has no scheme (`www.…`).
    pub(super) bare_host: bool,
}

/// All links, in order, without overlap.
pub(super) fn links(document: &Document<'_>) -> Vec<Link> {
    let (text, marks) = (document.text, document.marks());
    let mut links: Vec<Link> = Vec::new();
    for mark in marks {
        let (Kind::Url | Kind::Target, Some(url)) = (mark.kind, &mark.url) else { continue };
        let mut url = url.clone();
        if mark.kind == Kind::Url {
            if is_picture(text.get(..url.start).unwrap_or_default()) {
                continue;
            }
            if mark.span.start == url.start {
                url.end = url.start + url_length(document.slice(&url));
            }
        }
        links.push(Link { url, bare_host: false });
    }
    let marked = links.len();
    for at in memmem::find_iter(text.as_bytes(), "ww.").filter_map(|at| at.checked_sub(1)) {
        let end_of_last = links.get(marked..).and_then(<[Link]>::last).map_or(0, |link| link.url.end);
        if at >= end_of_last
            && let Some(url) = bare_host(text, marks, at)
        {
            links.push(Link { url, bare_host: true });
        }
    }
    if links.len() > marked {
        links.sort_by_key(|link| link.url.start);
    }
    links
}

/// `<img src="` stands before it.
fn is_picture(before: &str) -> bool {
    let before = before.trim_end_matches(['"', '\'']);
    before.len() >= 4 && before.get(before.len() - 4..).is_some_and(|end| end.eq_ignore_ascii_case("src="))
}

/// The address that begins with the `www.` at `at`, if one does and it is prose.
fn bare_host(text: &str, marks: &[Mark], at: usize) -> Option<Range<usize>> {
    let rest = text.get(at..)?;
    rest.strip_prefix("www.").filter(|rest| rest.starts_with(char::is_alphanumeric))?;
    if text.get(..at)?.ends_with(|last: char| last.is_alphanumeric() || matches!(last, '.' | '/' | '@' | '-' | '_' | '=')) {
        return None;
    }
    let mark = marks.get(marks.partition_point(|mark| mark.span.end <= at));
    let limit = match mark {
        Some(mark) if mark.span.start <= at => return None,
        // The path behind the host is a mark of its own.
        Some(mark) if mark.kind == Kind::Path => mark.span.end,
        Some(mark) => mark.span.start,
        None => text.len(),
    };
    let url = at..at + url_length(text.get(at..limit)?);
    let host = text.get(url.clone())?.split(['/', '?', '#', ':']).next()?;
    let last = host.rsplit('.').next()?;
    let is_host = host.matches('.').count() >= 2 && last.chars().count() >= 2 && last.chars().all(char::is_alphabetic);
    (is_host && !host.contains('@')).then_some(url)
}

/// Length of the URL or host that `text` begins with: to white space, a character no URL holds, a parenthesis it did not open, or
/// a word of a script written without spaces that follows a Latin letter; without the punctuation of the sentence around it.
fn url_length(text: &str) -> usize {
    let host_start = text.find("://").filter(|at| *at < 6).map_or(0, |at| at + 3);
    let in_host_bracket = text.get(host_start..).is_some_and(|rest| rest.starts_with('['));
    let (mut depth, mut in_host, mut label, mut before) = (0_usize, true, host_start, ' ');
    let mut length = text.len();
    for (offset, character) in text.char_indices() {
        let ends = match character {
            '(' => {
                depth += 1;
                false
            }
            ')' if depth > 0 => {
                depth -= 1;
                false
            }
            '[' if in_host_bracket && offset == host_start => false,
            ']' if in_host_bracket && in_host => false,
            '/' | '?' | '#' => {
                in_host &= offset < host_start;
                false
            }
            '.' => {
                label = offset + 1;
                false
            }
            other if other.is_ascii() => {
                other.is_ascii_whitespace()
                    || other.is_ascii_control()
                    || matches!(other, ')' | '[' | ']' | '<' | '>' | '"' | '`' | '|' | '\\' | '^' | '{' | '}')
            }
            other => {
                let of_sentence = ends_sentence(other) || other.is_whitespace() || other.is_control() || is_ignorable(other);
                let goes_on = before.is_ascii_alphanumeric() && is_unspaced(other);
                let host_is_whole = || {
                    psl::suffix(text.get(label..offset).unwrap_or_default().as_bytes()).is_some_and(|suffix| suffix.is_known())
                };
                of_sentence || (goes_on && (!in_host || host_is_whole()))
            }
        };
        if ends {
            length = offset;
            break;
        }
        before = character;
    }
    let url = text.get(..length).unwrap_or_default();
    let url = url.strip_suffix("'s").unwrap_or(url);
    url.trim_end_matches(['.', ',', ';', ':', '!', '?', '\'', '*', '_', '~', '…', '(']).len()
}

/// Quotation marks, brackets, full stops and commas of other scripts.
fn ends_sentence(character: char) -> bool {
    matches!(
        character,
        '“' | '”' | '„' | '‘' | '’' | '‚' | '«' | '»' | '‹' | '›' | '—' | '،' | '؛' | '؟' | '۔' | '।' | '॥' | '։'
            | '\u{3000}'..='\u{3003}' | '\u{3008}'..='\u{3011}' | '\u{3014}'..='\u{301F}'
            | '\u{FF01}' | '\u{FF02}' | '\u{FF07}'..='\u{FF09}' | '\u{FF0C}' | '\u{FF0E}' | '\u{FF1A}' | '\u{FF1B}' | '\u{FF1C}'
            | '\u{FF1E}' | '\u{FF1F}' | '\u{FF3B}' | '\u{FF3D}' | '\u{FF5B}' | '\u{FF5D}' | '\u{FF5E}' | '\u{FF61}'..='\u{FF64}'
    )
}

/// Letters of Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese.
pub(super) fn is_unspaced(character: char) -> bool {
    matches!(
        character,
        '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}' | '\u{3040}'..='\u{30FF}'
            | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7AF}' | '\u{F900}'..='\u{FAFF}'
            | '\u{20000}'..='\u{3FFFF}'
    )
}

/// A marker and one number of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marker {
    /// The whole marker.
    pub(super) span: Range<usize>,
    /// From 1.
    pub(super) number: u32,
}

/// The markers in prose, in order; one with several numbers comes once for each.
pub(super) fn markers(document: &Document<'_>) -> Vec<Marker> {
    let (text, marks) = (document.text, document.marks());
    let mut markers = Vec::new();
    let mut next_mark = 0;
    let mut behind = 0;
    for at in memchr2_iter(b'[', 0xE3, text.as_bytes()) {
        while marks.get(next_mark).is_some_and(|mark| mark.span.end <= at) {
            next_mark += 1;
        }
        if at < behind || marks.get(next_mark).is_some_and(|mark| mark.span.start <= at) {
            continue;
        }
        let Some((inside, end)) = marker_at(text, at) else { continue };
        behind = end;
        // A link's label.
        if marks.get(next_mark).is_some_and(|mark| mark.span.start <= end && mark.kind == Kind::Target) {
            continue;
        }
        for number in numbers(inside) {
            markers.push(Marker { span: at..end, number });
        }
    }
    markers
}

/// What stands inside the marker at `at`, and where it ends. `citeturn0search1` and its like count search results of the engine,
/// not the sources it lists; so does `【4:0†source】`, and neither is a marker.
fn marker_at(text: &str, at: usize) -> Option<(&str, usize)> {
    let rest = text.get(at..)?;
    let (inside, close) = match rest.strip_prefix('【') {
        Some(inside) => (inside, '】'),
        None => (rest.strip_prefix('[')?, ']'),
    };
    inside.starts_with(|first: char| first.is_ascii_digit() || first == '^').then_some(())?;
    let window = inside.char_indices().take(MAX_MARKER);
    let mut window = window.take_while(|(_, character)| !matches!(character, '\n' | '[' | '【'));
    let length = window.find(|(_, character)| *character == close)?.0;
    let end = at + (rest.len() - inside.len()) + length + close.len_utf8();
    let inside = inside.get(..length)?;
    Some((inside.strip_prefix('^').unwrap_or(inside), end))
}

/// `1`, `1, 2`, `2-4`, `1†source`; nothing when anything else stands in it.
fn numbers(inside: &str) -> Vec<u32> {
    let inside = inside.split('†').next().unwrap_or_default();
    let mut numbers = Vec::new();
    for part in inside.split([',', ';', '、', '，']) {
        let read = |text: &str| text.trim().parse::<u32>().ok().filter(|number| (1..=MAX_NUMBER).contains(number));
        match part.split_once(['-', '–']) {
            None => match read(part) {
                Some(number) => numbers.push(number),
                None => return Vec::new(),
            },
            Some((first, last)) => match (read(first), read(last)) {
                (Some(first), Some(last)) if first <= last && last - first < MAX_RANGE => numbers.extend(first..=last),
                _ => return Vec::new(),
            },
        }
    }
    numbers
}

/// For a marker that opens a line of a list of sources: the place of the link that ends its line.
pub(super) fn defined(text: &str, marker: &Marker, links: &[Link]) -> Option<usize> {
    if links.is_empty() {
        return None;
    }
    let line_start = text.get(..marker.span.start)?.trim_end_matches([' ', '-', '*', '•']);
    if !(line_start.is_empty() || line_start.ends_with('\n')) {
        return None;
    }
    let rest = text.as_bytes().get(marker.span.end..)?;
    let line_end = marker.span.end + memchr(b'\n', rest).unwrap_or(rest.len());
    let first = links.partition_point(|link| link.url.start < marker.span.end);
    let link = links.get(first).filter(|link| link.url.end <= line_end)?;
    let behind = text.get(link.url.end..line_end)?;
    let colon = text.get(marker.span.end..)?.starts_with(':');
    (colon || !behind.chars().any(char::is_alphanumeric)).then_some(first)
}
