//! Shares of one answer: how much of it is the org's, by text, by occurrences; where its first mention stands. Finds nothing.
//!
//! Sources of the formulas: share by text length as the system replaced here counts it, in characters; share by occurrences and
//! first-mention prominence as Lettertrace has them (`domain.md` §3.1).

use std::ops::Range;

use super::spans::characters;

/// Characters of the mention text by those of the answer; 1 at most, whatever the separators add.
pub(super) fn of_text(mention_text: &str, text: &str) -> f64 {
    let length = |text: &str| characters(text.as_bytes()) as f64;
    (length(mention_text) / length(text).max(1.0)).min(1.0)
}

/// Own occurrences by all; `None` when there is none at all.
pub(super) fn of_occurrences(own: usize, rivals: usize) -> Option<f64> {
    let all = own.saturating_add(rivals);
    (all > 0).then(|| own as f64 / all as f64)
}

/// 1 − offset of the first mention / length of the answer, in characters: above 0, 1 at the very start.
pub(super) fn prominence(text: &str, first: &Range<usize>) -> f64 {
    let bytes = text.as_bytes();
    let offset = characters(bytes.get(..first.start.min(bytes.len())).unwrap_or_default());
    1.0 - offset as f64 / (characters(bytes) as f64).max(1.0)
}
