//! The answer's text in a row: cleaned, and judged whether it is one at all.
//!
//! Must not drop a real answer because of words in it: a page that shows "Log in" can hold a good answer.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

/// Fewest characters of an answer. Shorter ones were stars, time stamps and button labels in every report.
pub(super) const SHORTEST: usize = 20;

/// The text without the label of a feedback button in its first line and without `\[1\]` escapes; trimmed.
pub(super) fn cleaned(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let text = if first.trim().eq_ignore_ascii_case("give feedback") { rest.trim() } else { text };
    if text.contains("\\[") { Cow::Owned(unescaped(text)) } else { Cow::Borrowed(text) }
}

/// `\[12\]` to `[12]`; other escapes stay.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\[") {
        plain.push_str(before);
        let digits = after.find(|character: char| !character.is_ascii_digit()).unwrap_or(after.len());
        match after.split_at(digits) {
            (number, tail) if !number.is_empty() && tail.starts_with("\\]") => {
                plain.push('[');
                plain.push_str(number);
                plain.push(']');
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                plain.push_str("\\[");
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

/// Why a cleaned text is no answer; `None`: it is one.
pub(super) fn not_an_answer(text: &str, question: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("it is empty")
    } else if same_words(text, question) {
        Some("it is the question itself")
    } else if !text.chars().any(char::is_alphabetic) {
        Some("it has no words")
    } else if text.chars().count() < SHORTEST {
        Some("it is too short")
    } else if is_timestamp(text) {
        Some("it is a time stamp")
    } else {
        None
    }
}

/// Equal but for case, white space and Unicode form (NFKC). Stops at the first difference: one side is often a whole answer.
pub(super) fn same_words(one: &str, other: &str) -> bool {
    let same = |one: &str, other: &str| {
        one == other || one.nfkc().flat_map(char::to_lowercase).eq(other.nfkc().flat_map(char::to_lowercase))
    };
    let (mut one, mut other) = (one.split_whitespace(), other.split_whitespace());
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(left), Some(right)) if same(left, right) => {}
            _ => return false,
        }
    }
}

/// `2026-09-24T12:00:00.000Z` and the like: mostly digits and the marks between them.
fn is_timestamp(text: &str) -> bool {
    text.len() <= 40
        && text.starts_with(|character: char| character.is_ascii_digit())
        && text.chars().filter(char::is_ascii_digit).count() >= 8
        && text.chars().filter(|character| character.is_alphabetic()).count() <= 4
}

/// Characters of a page fragment above which it is taken for a whole page and not read.
const LONGEST_FRAGMENT: usize = 200_000;

/// The words of an HTML fragment: tags dropped, blocks on lines of their own. `None` for a whole page, whose menus and
/// buttons would be taken for an answer.
pub(super) fn of_fragment(html: &str) -> Option<String> {
    let lower = html.get(..html.len().min(300)).unwrap_or_default().to_ascii_lowercase();
    if html.len() > LONGEST_FRAGMENT || lower.contains("<html") || lower.contains("<!doctype") {
        return None;
    }
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some((before, after)) = rest.split_once('<') {
        text.push_str(before);
        let Some((tag, tail)) = after.split_once('>') else {
            rest = "";
            break;
        };
        let name =
            tag.trim_start_matches('/').split(|character: char| !character.is_ascii_alphanumeric()).next().unwrap_or_default();
        let block = ["p", "br", "div", "li", "ul", "ol", "tr", "h1", "h2", "h3", "h4", "h5", "h6"];
        if block.iter().any(|block| name.eq_ignore_ascii_case(block)) {
            text.push('\n');
        }
        rest = tail;
    }
    text.push_str(rest);
    for (entity, character) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&nbsp;", " "), ("&amp;", "&")] {
        if text.contains('&') {
            text = text.replace(entity, character);
        }
    }
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Some(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning_takes_only_what_is_known() {
        assert_eq!(cleaned("Give feedback\n\n**A**"), "**A**");
        assert_eq!(cleaned("give feedback  \nA"), "A");
        assert_eq!(cleaned("Give feedback to your team.\nA"), "Give feedback to your team.\nA");
        assert_eq!(cleaned("a \\[1\\]\\[23\\] \\[x\\] \\_ \\[4"), "a [1][23] \\[x\\] \\_ \\[4");
        assert_eq!(cleaned("\\["), "\\[");
    }

    #[test]
    fn what_is_no_answer() {
        let question = "What is the best CRM for a bakery?";
        for junk in
            ["", "★★★★★", "Sure!", "2026-09-24T12:00:00.000Z", "what is  the best CRM\nfor a bakery?", "1234 5678 9012 3456 7890"]
        {
            assert!(not_an_answer(junk, question).is_some(), "{junk}");
        }
        for answer in
            ["Log in or sign up? The best is Acme.", "라네즈는 대표적인 한국 화장품입니다.", "2026 is a good year for Acme CRM."]
        {
            assert_eq!(not_an_answer(answer, question), None, "{answer}");
        }
    }

    #[test]
    fn fragments_but_not_pages() {
        assert_eq!(of_fragment("<p>A &amp; B<br>C</p><p>D</p>").as_deref(), Some("A & B\nC\nD"));
        assert_eq!(of_fragment("<html><body>menu</body></html>"), None);
        assert_eq!(of_fragment("a < b").as_deref(), Some("a"));
    }
}
