//! Which parts of a Markdown answer are not prose (code, link targets, URLs), and which URLs it holds.
//!
//! One forward pass, linear whatever the text: a construct that does not close is consumed, never tried again. Not a
//! Markdown parser; it judges no URL (see `citations`) and no name (see `mentions`).

use std::collections::HashMap;
use std::ops::Range;

use super::bytes::Stops;

/// A stretch of the text that is not prose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// The bytes hidden from prose.
    pub(super) span: Range<usize>,
    /// The URL in it, if any.
    pub(super) url: Option<Range<usize>>,
    /// The words of a link, without their brackets; they are not hidden.
    pub(super) label: Option<Range<usize>>,
    /// What it is.
    pub(super) kind: Kind,
}

/// Kinds of [`Mark`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A code span or a fenced block in a programming language.
    Code,
    /// `(target "title")` of a link, with the label where that is only the target's host.
    Target,
    /// The target of an image.
    Image,
    /// A URL in the text, bare or in angle brackets.
    Url,
    /// What follows the host of an address without a scheme (`example.com/this`).
    Path,
}

/// Longest label of a link, in bytes.
const MAX_LABEL: usize = 1_000;
/// Longest host name, in bytes.
const MAX_HOST: usize = 253;
/// Longest title of a link target that is looked for, in bytes.
const MAX_TITLE: usize = 300;

/// The marks of `text`, in order, without overlap.
pub(super) fn scan(text: &str) -> Vec<Mark> {
    let mut scanner = Scanner {
        text,
        bytes: text.as_bytes(),
        at: 0,
        floor: 0,
        brackets: Vec::new(),
        code: None,
        paragraph: 0,
        marks: Vec::new(),
    };
    let mut stops = Stops::of_markup(text.as_bytes());
    while let Some(next) = stops.next(scanner.at) {
        scanner.at = next;
        scanner.step();
    }
    scanner.marks
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Nothing before it is looked at again.
    floor: usize,
    /// Starts of open labels; true: of an image.
    brackets: Vec<(usize, bool)>,
    /// Start of a backtick run → end of the run that closes it; made when the first backtick is met.
    code: Option<HashMap<usize, Range<usize>>>,
    /// End of the paragraph that `at` was last seen in.
    paragraph: usize,
    marks: Vec<Mark>,
}

impl Scanner<'_> {
    fn byte(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    fn mark(&mut self, span: Range<usize>, url: Option<Range<usize>>, kind: Kind) {
        self.at = span.end;
        self.floor = span.end;
        self.marks.push(Mark { span, url, label: None, kind });
    }

    fn step(&mut self) {
        let at = self.at;
        let Some(byte) = self.byte(at) else { return };
        match byte {
            b'`' | b'~' if self.at_line_start() && self.fence(byte) => return,
            b'`' if self.code_span() => return,
            b'[' => {
                if self.brackets.len() >= 64 {
                    self.brackets.clear();
                }
                self.brackets.push((at + 1, at > 0 && self.byte(at - 1) == Some(b'!')));
            }
            b']' => {
                let label = self.brackets.pop().filter(|(start, _)| !self.parted(*start));
                if self.byte(at + 1) == Some(b'(') {
                    return self.target(label);
                }
            }
            b'<' if self.scheme_at(at + 1) => return self.bare_url(at + 1, at),
            b':' => {
                if let Some(start) = self.scheme_before(at) {
                    return self.bare_url(start, start);
                }
            }
            b'/' if self.host_before(at) => {
                let end = url_end(self.text, at);
                return self.mark(at..end, None, Kind::Path);
            }
            _ => {}
        }
        self.at += 1;
    }

    fn at_line_start(&self) -> bool {
        let before = self.bytes.get(self.at.saturating_sub(4)..self.at).unwrap_or_default();
        let spaces = before.iter().rev().take_while(|byte| **byte == b' ').count();
        spaces < 4 && (self.at == spaces || self.byte(self.at - spaces - 1) == Some(b'\n'))
    }

    /// A fenced block. Only one in a programming language is hidden: models wrap whole answers in a plain or `markdown` fence.
    fn fence(&mut self, fence: u8) -> bool {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| **byte == fence).count();
        if length < 3 {
            return false;
        }
        let line_end = |from: usize| {
            self.bytes
                .get(from..)
                .unwrap_or_default()
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(self.bytes.len(), |offset| from + offset + 1)
        };
        let first_line = line_end(self.at);
        let info = self.text.get(self.at + length..first_line).unwrap_or_default().trim().to_ascii_lowercase();
        if info.contains('`') {
            return false;
        }
        if matches!(info.as_str(), "" | "markdown" | "md" | "text" | "txt" | "plaintext" | "plain") {
            self.at = first_line;
            self.floor = first_line;
            return true;
        }
        let mut line = first_line;
        while line < self.bytes.len() {
            let next = line_end(line);
            let content = self.bytes.get(line..next).unwrap_or_default().trim_ascii();
            line = next;
            if content.len() >= length && content.iter().all(|byte| *byte == fence) {
                break;
            }
        }
        self.mark(self.at..line, None, Kind::Code);
        true
    }

    fn code_span(&mut self) -> bool {
        let at = self.at;
        let runs = self.code.get_or_insert_with(|| backtick_pairs(self.bytes));
        let Some(close) = runs.get(&at).cloned() else { return self.skip_backticks() };
        if self.paragraph <= at {
            let rest = self.bytes.get(at..).unwrap_or_default();
            self.paragraph = rest.windows(2).position(|pair| pair == b"\n\n").map_or(self.bytes.len(), |offset| at + offset + 1);
        }
        if close.end > self.paragraph {
            return self.skip_backticks();
        }
        self.mark(at..close.end, None, Kind::Code);
        true
    }

    fn skip_backticks(&mut self) -> bool {
        let run = self.bytes.get(self.at..).unwrap_or_default().iter().take_while(|byte| **byte == b'`').count();
        self.at += run;
        self.floor = self.at;
        true
    }

    /// `](` was met: hides the target with its title, or as much of it as there is.
    fn target(&mut self, label: Option<(usize, bool)>) {
        let open = self.at + 1;
        let blank = |scanner: &Self, from: usize| {
            from + scanner.bytes.get(from..).unwrap_or_default().iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
        };
        let start = blank(self, open + 1);
        let (url, after) = if self.byte(start) == Some(b'<') {
            let rest = self.bytes.get(start + 1..).unwrap_or_default();
            let length = rest.iter().position(|byte| matches!(byte, b'>' | b'\n' | b'<')).unwrap_or(rest.len());
            let end = start + 1 + length;
            (start + 1..end, if self.byte(end) == Some(b'>') { end + 1 } else { end })
        } else {
            let end = self.target_end(start);
            (start..end, end)
        };
        let mut end = after;
        let next = blank(self, after);
        if self.byte(next) == Some(b')') {
            end = next + 1;
        } else if let Some(quote @ (b'"' | b'\'' | b'(')) = self.byte(next) {
            let close = if quote == b'(' { b')' } else { quote };
            let title = self.bytes.get(next + 1..self.bytes.len().min(next + 1 + MAX_TITLE)).unwrap_or_default();
            if let Some(length) = title.iter().position(|byte| *byte == close) {
                let last = blank(self, next + 2 + length);
                if self.byte(last) == Some(b')') {
                    end = last + 1;
                }
            }
        }
        let kind = if label.is_some_and(|(_, image)| image) { Kind::Image } else { Kind::Target };
        let names_host = |start: &usize| {
            self.marks.last().is_none_or(|last| last.span.end <= *start)
                && label_is_host(
                    self.text.get(*start..self.at).unwrap_or_default(),
                    self.text.get(url.clone()).unwrap_or_default(),
                )
        };
        let start = label.map(|(start, _)| start).filter(names_host).unwrap_or(open);
        let url = (!url.is_empty()).then_some(url);
        let words = label.filter(|(_, image)| !image).map(|(start, _)| start..self.at).filter(|_| start == open);
        self.mark(start..end.max(open + 1), url, kind);
        if let Some(mark) = self.marks.last_mut() {
            mark.label = words;
        }
    }

    /// True when a paragraph ends between an open label and here: then it was no label. Looks at as much as a label may have.
    fn parted(&self, start: usize) -> bool {
        let label = self.bytes.get(start..self.at).unwrap_or_default();
        label.len() > MAX_LABEL || memchr::memmem::find(label, b"\n\n").is_some()
    }

    fn target_end(&self, start: usize) -> usize {
        let mut depth = 0_usize;
        let mut at = start;
        while let Some(byte) = self.byte(at) {
            match byte {
                b'\\' if self.byte(at + 1).is_some_and(|next| next.is_ascii_punctuation()) => at += 1,
                b'(' => depth += 1,
                b')' if depth == 0 => break,
                b')' => depth -= 1,
                _ if byte.is_ascii_whitespace() || byte.is_ascii_control() => break,
                _ => {}
            }
            at += 1;
        }
        at.min(self.bytes.len())
    }

    fn scheme_at(&self, at: usize) -> bool {
        let starts =
            |scheme: &[u8]| self.bytes.get(at..at + scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
        starts(b"http://") || starts(b"https://")
    }

    /// Start of the `http` or `https` whose colon is at `colon`, when a URL begins with it.
    fn scheme_before(&self, colon: usize) -> Option<usize> {
        let start = [colon.checked_sub(5), colon.checked_sub(4)].into_iter().flatten().find(|start| self.scheme_at(*start))?;
        let glued = start > 0 && self.byte(start - 1).is_some_and(|byte| byte.is_ascii_alphanumeric());
        (start >= self.floor && !glued).then_some(start)
    }

    fn bare_url(&mut self, start: usize, from: usize) {
        let end = url_end(self.text, start);
        let bracketed = from < start && self.byte(end) == Some(b'>');
        let span = from..if bracketed { end + 1 } else { end };
        self.mark(span, Some(start..end), Kind::Url);
    }

    /// True when what stands before a slash is a host name: labels with a dot, the last one of letters.
    fn host_before(&self, slash: usize) -> bool {
        let floor = self.floor.max(slash.saturating_sub(MAX_HOST));
        let before = self.bytes.get(floor..slash).unwrap_or_default();
        let length = before.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')).count();
        let token = self.text.get(slash - length..slash).unwrap_or_default();
        token.starts_with(|first: char| first.is_ascii_alphanumeric())
            && token
                .rsplit_once('.')
                .is_some_and(|(_, last)| last.len() >= 2 && last.bytes().all(|byte| byte.is_ascii_alphabetic()))
    }
}

/// True when the label of a link is nothing but the host it leads to: `([site.example](https://www.site.example/page))` is how
/// engines mark a source, not a word of the answer.
fn label_is_host(label: &str, url: &str) -> bool {
    let plain = |host: &str| host.strip_prefix("www.").unwrap_or(host).to_ascii_lowercase();
    let (label, url) = (label.trim(), url.trim());
    if label.len() > 253 || !label.contains('.') || label.contains(char::is_whitespace) {
        return false;
    }
    let host = url.split_once("://").map_or("", |(_, rest)| rest).split(['/', '?', '#', ':']).next().unwrap_or_default();
    let (label, host) = (plain(label), plain(host));
    host == label || host.strip_suffix(&label).is_some_and(|subdomain| subdomain.ends_with('.'))
}

/// Every run of backticks → the next run of the same length.
fn backtick_pairs(bytes: &[u8]) -> HashMap<usize, Range<usize>> {
    let mut open: HashMap<usize, usize> = HashMap::new();
    let mut pairs = HashMap::new();
    let mut at = 0;
    while at < bytes.len() {
        let run = bytes.get(at..).unwrap_or_default().iter().take_while(|byte| **byte == b'`').count();
        if run == 0 {
            at += 1;
            continue;
        }
        if let Some(start) = open.insert(run, at) {
            pairs.insert(start, at..at + run);
        }
        at += run;
    }
    pairs
}

/// End of the URL that starts at `start`: at white space, at a character no URL holds, at a parenthesis it did not open;
/// without the punctuation of the sentence around it.
fn url_end(text: &str, start: usize) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    let mut depth = 0_usize;
    let mut length = rest.len();
    let scheme =
        |scheme: &str| rest.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)).then_some(scheme.len());
    let host = scheme("https://").or_else(|| scheme("http://")).unwrap_or(0);
    let in_host_bracket = rest.get(host..).is_some_and(|rest| rest.starts_with('['));
    for (offset, character) in rest.char_indices() {
        match character {
            '(' => depth += 1,
            ')' if depth > 0 => depth -= 1,
            '[' if in_host_bracket && offset == host => {}
            ']' if in_host_bracket => {}
            ')' | '[' | ']' | '<' | '>' | '"' | '`' | '|' | '\\' | '^' | '“' | '”' | '‘' | '’' | '«' | '»' => {
                length = offset
            }
            '\u{3000}'..='\u{3002}'
            | '\u{3008}'..='\u{3011}'
            | '\u{FF01}'
            | '\u{FF08}'
            | '\u{FF09}'
            | '\u{FF0C}'
            | '\u{FF1A}'
            | '\u{FF1B}'
            | '\u{FF1F}' => length = offset,
            other if other.is_whitespace() || other.is_control() || super::fold::is_ignorable(other) => length = offset,
            _ => {}
        }
        if length == offset {
            break;
        }
    }
    let url = rest.get(..length).unwrap_or_default();
    start + url.trim_end_matches(['.', ',', ';', ':', '!', '?', '\'', '*', '_', '~', '…', '{', '}', '(']).len()
}
