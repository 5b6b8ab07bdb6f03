//! Percent-encodings of URLs: needless ones made plain, characters kept as the answer writes them, and one form to compare by.
//!
//! Works on text; parses no URL and knows no site.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::fold::is_ignorable;

/// The text without needless encodings (RFC 3986 §6.2.2.2): unreserved characters plain, all else as it is; a `%` that begins none
/// becomes `%25`, so that decoding what follows cannot make a new one.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut pieces = text.split('%');
    plain.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        match encoded_byte(piece) {
            Some((byte, rest)) if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') => {
                plain.push(char::from(byte));
                plain.push_str(rest);
            }
            Some(_) => {
                plain.push('%');
                plain.push_str(piece);
            }
            None => {
                plain.push_str("%25");
                plain.push_str(piece);
            }
        }
    }
    Cow::Owned(plain)
}

/// The byte that two hexadecimal digits at the start of `piece` mean, and what follows them.
fn encoded_byte(piece: &str) -> Option<(u8, &str)> {
    let digits = piece.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    Some((u8::from_str_radix(digits, 16).ok()?, piece.get(2..)?))
}

/// The characters beyond ASCII that stand raw in the path and the query of a URL, sorted. Blanks and what cannot be seen are none:
/// they are better encoded; joiners are, as words of Persian and Hindi are written with them.
pub(super) fn raw_characters(url: &str) -> Vec<char> {
    if url.is_ascii() {
        return Vec::new();
    }
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let from = url.get(after_scheme..).and_then(|rest| rest.find(['/', '?', '\\'])).map(|at| after_scheme + at);
    let text = from.and_then(|from| url.get(from..)).and_then(|rest| rest.split('#').next()).unwrap_or_default();
    if text.is_ascii() {
        return Vec::new();
    }
    let is_seen = |character: char| {
        let joins = matches!(character, '\u{200C}' | '\u{200D}');
        joins || !(character.is_whitespace() || character.is_control() || is_ignorable(character))
    };
    let mut raw: Vec<char> = text.chars().filter(|character| !character.is_ascii() && is_seen(*character)).collect();
    raw.sort_unstable();
    raw.dedup();
    raw
}

/// `text` with the characters of `raw` (sorted) decoded wherever they stand.
pub(super) fn as_written<'a>(text: &'a str, raw: &[char]) -> Cow<'a, str> {
    if raw.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut written = String::with_capacity(text.len());
    let mut run: Vec<u8> = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        written.push_str(before);
        run.clear();
        let encoded = rest.get(before.len()..).unwrap_or_default();
        let mut left = Some(after);
        while let Some((byte, next)) = left.and_then(encoded_byte) {
            run.push(byte);
            rest = next;
            left = next.strip_prefix('%');
        }
        if run.is_empty() {
            written.push('%');
            rest = after;
        } else {
            decode(&mut written, encoded, &run, raw);
        }
    }
    written.push_str(rest);
    Cow::Owned(written)
}

/// Writes a run of encoded bytes, three characters of `encoded` each, with the characters of `raw` decoded.
fn decode(written: &mut String, encoded: &str, run: &[u8], raw: &[char]) {
    let mut at = 0;
    let mut keep = |written: &mut String, bytes: usize, decoded: Option<char>| {
        match decoded {
            Some(character) => written.push(character),
            None => written.push_str(encoded.get(3 * at..3 * (at + bytes)).unwrap_or_default()),
        }
        at += bytes;
    };
    for chunk in run.utf8_chunks() {
        for character in chunk.valid().chars() {
            keep(written, character.len_utf8(), raw.binary_search(&character).is_ok().then_some(character));
        }
        keep(written, chunk.invalid().len(), None);
    }
}

/// The text with all beyond ASCII encoded and the digits in capitals: equal for two spellings of one page.
pub(super) fn comparable(text: &str) -> Cow<'_, str> {
    let small = |piece: &str| piece.bytes().take(2).any(|digit| digit.is_ascii_lowercase());
    if text.is_ascii() && !(text.contains('%') && text.split('%').skip(1).any(small)) {
        return Cow::Borrowed(text);
    }
    let mut one = String::with_capacity(text.len() * 3);
    let mut digits = 0;
    for character in text.chars() {
        if character.is_ascii() {
            one.push(if digits > 0 { character.to_ascii_uppercase() } else { character });
            digits = if character == '%' { 2 } else { digits.max(1) - 1 };
        } else {
            digits = 0;
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a string cannot fail.
                let _ = write!(one, "%{byte:02X}");
            }
        }
    }
    Cow::Owned(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needless_encodings_go_and_others_stay_as_they_are() {
        for (raw, clean) in [
            ("/a%7Eb%2fc%c3%bc", "/a~b%2fc%c3%bc"),
            ("%41%2541", "A%2541"),
            ("100%", "100%25"),
            ("%%34%31", "%2541"),
            ("%zz%4", "%25zz%254"),
            ("%é", "%25é"),
        ] {
            assert_eq!(plain(raw), clean);
            assert_eq!(plain(clean), clean, "twice");
        }
    }

    #[test]
    fn what_is_raw_in_path_and_query_stays_raw() {
        for (url, raw) in [
            ("https://münchen.de/m%C3%BCnchen", ""),
            ("https://münchen.de/ä?ö=ß#ü", "ßäö"),
            ("https://x.example?日", "日"),
            ("https://x.example/a\u{a0}b\u{202e}c\u{200c}", "\u{200c}"),
            ("no url", ""),
        ] {
            assert_eq!(raw_characters(url).into_iter().collect::<String>(), raw, "{url}");
        }
        for (text, raw, written) in [
            ("/%C3%A9%c3%a9%C3%BC", &['é'][..], "/éé%C3%BC"),
            ("/%C3%C3%A9%A9/100%25", &['é'], "/%C3é%A9/100%25"),
            ("/%E6%97%A5x%", &['日'], "/日x%"),
            ("/%E6%97%A5", &[], "/%E6%97%A5"),
            ("%", &['é'], "%"),
        ] {
            assert_eq!(as_written(text, raw), written);
        }
    }

    #[test]
    fn two_spellings_of_a_page_are_equal() {
        for text in ["x.example/%C3%9C%2F", "x.example/%c3%9c%2f", "x.example/Ü%2F"] {
            assert_eq!(comparable(text), "x.example/%C3%9C%2F");
        }
        assert_eq!(comparable("x.example/ab%41cd"), "x.example/ab%41cd");
        assert_eq!(comparable("%%aa"), "%%AA");
    }
}
