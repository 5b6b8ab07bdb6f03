//! Keys, and how they are kept out of every text that leaves the program. Must not print, log or send anything.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Deserialize;
use zeroize::Zeroize;

/// A key. `Debug` shows `***`; there is no `Display` and no `Serialize`; its memory is overwritten when it is dropped.
#[derive(Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a key.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The key itself: only for the header that carries it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// True when no key is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(if self.0.is_empty() { "Secret(unset)" } else { "Secret(***)" })
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Bytes of a key that, in a row, already count as the key: providers echo the ends of a key and mask its middle.
const PIECE: usize = 8;
/// Shorter keys are placeholders; replacing their pieces would only garble the words.
const LEAST: usize = 16;
/// Beginnings that every key of a provider has: no secret.
const PUBLIC: [&str; 6] = ["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-ant-api03-", "sk-ant-api", "sk-ant-admin"];
/// What stands for a key.
const MASK: &str = "***";

/// Replaces keys, and every piece of one of at least eight characters, by `***`.
#[derive(Clone, Default)]
pub struct Redactor(HashSet<[u8; PIECE]>);

impl Redactor {
    /// Knows the pieces of these keys; empty and short ones are no keys.
    #[must_use]
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        let keys = keys.into_iter().filter(|key| key.len() >= LEAST && key.is_ascii());
        Self(keys.flat_map(pieces).filter(|piece| !is_public(piece)).collect())
    }

    /// The text without the keys.
    #[must_use]
    pub fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.0.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut cleaned = String::new();
        let (mut copied, mut masked_to) = (0, 0);
        for (start, piece) in windows(text) {
            if !self.0.contains(&piece) {
                continue;
            }
            // A piece is ASCII, so both of its ends are borders of characters.
            if start > masked_to || masked_to == 0 {
                cleaned.push_str(text.get(copied..start).unwrap_or_default());
                cleaned.push_str(MASK);
            }
            masked_to = start + PIECE;
            copied = masked_to;
        }
        if copied == 0 {
            return Cow::Borrowed(text);
        }
        cleaned.push_str(text.get(copied..).unwrap_or_default());
        Cow::Owned(cleaned)
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Redactor(***)")
    }
}

fn pieces(text: &str) -> impl Iterator<Item = [u8; PIECE]> {
    windows(text).map(|(_, piece)| piece)
}

fn windows(text: &str) -> impl Iterator<Item = (usize, [u8; PIECE])> {
    let pieces = text.as_bytes().windows(PIECE).enumerate();
    pieces.filter_map(|(start, piece)| piece.try_into().ok().map(|piece| (start, piece)))
}

fn is_public(piece: &[u8; PIECE]) -> bool {
    PUBLIC.iter().any(|public| public.as_bytes().windows(PIECE).any(|known| known == piece))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sk-proj-Zx81mQ7TtY4vB2nK9cD3";

    #[test]
    fn a_key_and_its_pieces_are_masked_and_nothing_else() {
        let redactor = Redactor::new([KEY, "short", ""]);
        for (text, expected) in [
            (format!("Incorrect API key provided: {KEY}."), "Incorrect API key provided: s***."),
            ("ends in 2nK9cD3x, begins with sk-proj-".into(), "ends in 2nK9cD3x, begins with sk-proj-"),
            ("ends in B2nK9cD3 ü".into(), "ends in *** ü"),
            (format!("{KEY}{KEY}"), "s***s***"),
            ("short".into(), "short"),
            ("ü".into(), "ü"),
        ] {
            assert_eq!(redactor.clean(&text), expected);
        }
    }

    #[test]
    fn no_eight_characters_in_a_row_are_left_wherever_the_text_is_cut() {
        let redactor = Redactor::new([KEY]);
        let secret = KEY.strip_prefix("sk-proj-").unwrap();
        for start in 0..secret.len() {
            for end in start + 1..=secret.len() {
                let cleaned = redactor.clean(&secret[start..end]).into_owned();
                assert!(!pieces(secret).any(|piece| cleaned.as_bytes().windows(PIECE).any(|seen| seen == piece)), "{cleaned}");
            }
        }
    }
}
