//! A second chance for bytes that are almost JSON. Only called after a strict read failed; must not change a valid document's
//! meaning.
//!
//! Mended: bytes that are not UTF-8, lone surrogate escapes (both become U+FFFD), raw control characters inside strings
//! (escaped), numbers no float can hold and `NaN`/`Infinity` (null), doubled keys (the last one wins), a byte order mark.

use super::MOST_REPAIRED;

/// The document mended and written again; `None` when it is no JSON even so.
pub(crate) fn repaired(body: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(body);
    let mended = mend(text.trim_start_matches('\u{feff}'))?;
    // Through a map of values: a doubled key keeps its last value.
    let value: serde_json::Value = serde_json::from_str(&mended).ok()?;
    serde_json::to_vec(&value).ok()
}

/// `None` when it holds more values than may be repaired.
fn mend(text: &str) -> Option<String> {
    let mut mended = String::with_capacity(text.len() + 16);
    let (mut rest, mut values) = (text, 0);
    while let Some(first) = rest.chars().next() {
        // Every value but the first of its list or object follows one of these.
        values += usize::from(matches!(first, ',' | '[' | '{'));
        if values > MOST_REPAIRED {
            return None;
        }
        rest = match first {
            '"' => string(rest, &mut mended),
            '-' | '0'..='9' | 'N' | 'I' => number(rest, &mut mended),
            other => {
                mended.push(other);
                rest.get(other.len_utf8()..).unwrap_or_default()
            }
        };
    }
    Some(mended)
}

/// Copies the string at the start of `text`, mended, and returns what follows it.
fn string<'a>(text: &'a str, mended: &mut String) -> &'a str {
    mended.push('"');
    let mut rest = text.get(1..).unwrap_or_default();
    while let Some(character) = rest.chars().next() {
        let after = rest.get(character.len_utf8()..).unwrap_or_default();
        match character {
            '"' => {
                mended.push('"');
                return after;
            }
            '\\' => rest = escape(after, mended),
            control if control < ' ' => {
                mended.push_str(&format!("\\u{:04x}", control as u32));
                rest = after;
            }
            plain => {
                mended.push(plain);
                rest = after;
            }
        }
    }
    rest
}

/// Copies the escape whose backslash was read; a surrogate without its partner becomes U+FFFD.
fn escape<'a>(text: &'a str, mended: &mut String) -> &'a str {
    let Some(kind) = text.chars().next() else { return text };
    let after = text.get(kind.len_utf8()..).unwrap_or_default();
    let Some(unit) = (kind == 'u').then(|| code_unit(text)).flatten() else {
        mended.push('\\');
        mended.push(kind);
        return after;
    };
    let tail = text.get(5..).unwrap_or_default();
    if !(0xd800..0xe000).contains(&unit) {
        mended.push_str("\\u");
        mended.push_str(text.get(1..5).unwrap_or_default());
        return tail;
    }
    let partner = tail.strip_prefix('\\').and_then(code_unit).filter(|low| unit < 0xdc00 && (0xdc00..0xe000).contains(low));
    match partner {
        Some(low) => {
            mended.push_str(&format!("\\u{unit:04x}\\u{low:04x}"));
            tail.get(6..).unwrap_or_default()
        }
        None => {
            mended.push('\u{fffd}');
            tail
        }
    }
}

/// The code unit of `uXXXX`.
fn code_unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix('u')?.get(..4)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

/// Copies the number or word at the start of `text`; `null` when no float can hold it.
fn number<'a>(text: &'a str, mended: &mut String) -> &'a str {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let lost = matches!(word, "NaN" | "-NaN" | "Infinity" | "-Infinity") || word.parse::<f64>().is_ok_and(f64::is_infinite);
    mended.push_str(if lost { "null" } else { word });
    rest
}

#[cfg(test)]
mod tests {
    use super::repaired;

    fn value(body: &[u8]) -> serde_json::Value {
        serde_json::from_slice(&repaired(body).unwrap()).unwrap()
    }

    #[test]
    fn what_is_mended() {
        assert_eq!(value(br#"{"a":"x\ud83dy","b":"\ud83d\ude00","c":"\udc00"}"#)["a"], "x\u{fffd}y");
        assert_eq!(value(br#"{"a":"\ud83d\ude00"}"#)["a"], "😀");
        assert_eq!(value(b"{\"a\":\"\xff ok\"}")["a"], "\u{fffd} ok");
        assert_eq!(value(b"{\"a\":\"line\nbreak\"}")["a"], "line\nbreak");
        assert!(value(br#"{"a":1e999,"b":[NaN,-Infinity]}"#)["a"].is_null());
        assert_eq!(value(br#"{"a":1,"a":2}"#)["a"], 2);
        assert_eq!(value("\u{feff}{\"a\":1}".as_bytes())["a"], 1);
    }

    #[test]
    fn what_is_not() {
        let many = format!("[{}NaN]", "1,".repeat(super::MOST_REPAIRED));
        assert_eq!(repaired(many.as_bytes()), None, "more values than memory is spent on");
        assert!(repaired(format!("[{}NaN]", "1,".repeat(1_000)).as_bytes()).is_some());
        for broken in [&b""[..], b"<html>", b"{\"a\":", b"{\"a\":\"\\u12\"}", b"\"\\"] {
            assert_eq!(repaired(broken), None, "{}", String::from_utf8_lossy(broken));
        }
    }
}
