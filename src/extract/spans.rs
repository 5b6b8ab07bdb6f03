//! Byte ranges of a text as spans in characters, in one pass. Decides nothing about what stands there.

use std::ops::Range;

use crate::domain::Span;

/// The spans of `ranges`, in their order. Whatever their order and number, the text is gone through once; what lies behind its
/// end counts as its end.
pub(super) fn spans(text: &str, ranges: &[Range<usize>]) -> Vec<Span> {
    let mut edges: Vec<usize> = ranges.iter().flat_map(|range| [range.start, range.end]).collect();
    edges.sort_unstable();
    edges.dedup();
    let counts = characters_before(text, &edges);
    let character = |edge: usize| {
        let at = edges.binary_search(&edge).ok().and_then(|place| counts.get(place)).copied().unwrap_or_default();
        u32::try_from(at).unwrap_or(u32::MAX)
    };
    ranges.iter().map(|range| Span { start: character(range.start), end: character(range.end.max(range.start)) }).collect()
}

/// How many characters begin before each of the `edges` (byte offsets, ascending).
fn characters_before(text: &str, edges: &[usize]) -> Vec<usize> {
    let (mut from, mut count) = (0, 0);
    edges
        .iter()
        .map(|edge| {
            let to = (*edge).min(text.len());
            count += characters(text.as_bytes().get(from..to).unwrap_or_default());
            from = to.max(from);
            count
        })
        .collect()
}

/// Characters (Unicode scalar values) that begin in the bytes.
pub(super) fn characters(bytes: &[u8]) -> usize {
    // Counted in bytes, of as many as one byte counts: sixteen at once.
    let some = |bytes: &[u8]| bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(u8::from((byte & 0xC0) != 0x80)));
    bytes.chunks(240).map(|bytes| usize::from(some(bytes))).sum()
}

/// Where the parts of `joined` (joined by ` || `) stand in the text, each behind the one before it; a part that does not
/// stand there is left out.
pub(super) fn of_parts(text: &str, joined: &str) -> Vec<Range<usize>> {
    let mut from = 0;
    let mut found = Vec::new();
    for part in joined.split(" || ").filter(|part| !part.is_empty()) {
        if let Some(at) = text.get(from..).and_then(|rest| rest.find(part)) {
            found.push(from + at..from + at + part.len());
            from += at + part.len();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_slice_as_python_does() {
        let text = "a é 漢字 😀!";
        for (bytes, start, end) in [(0..1, 0, 1), (2..4, 2, 3), (5..11, 4, 6), (12..16, 7, 8), (16..17, 8, 9), (0..17, 0, 9)] {
            assert_eq!(spans(text, &[bytes]), [Span { start, end }]);
        }
        assert_eq!(spans(text, &[12..99, 0..1]), [Span { start: 7, end: 9 }, Span { start: 0, end: 1 }]);
    }

    #[test]
    fn long_texts_are_counted_whole() {
        for text in ["é".repeat(1_000), "a".repeat(1_001), "漢字 x".repeat(301)] {
            assert_eq!(characters(text.as_bytes()), text.chars().count());
        }
    }

    #[test]
    fn parts_are_found_in_their_order() {
        assert_eq!(of_parts("x y x", "x || x"), [0..1, 4..5]);
        assert_eq!(of_parts("| a || b |", "| a || b |"), [0..3, 7..10]);
        assert_eq!(of_parts("x", "y || x").first(), Some(&(0..1)));
    }

    proptest! {
        #[test]
        fn a_span_cuts_out_what_its_range_does(text in "\\PC{0,30}", from in 0_usize..30, length in 0_usize..30) {
            let offsets: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let start = offsets[from.min(offsets.len() - 1)];
            let end = offsets[(from + length).min(offsets.len() - 1)];
            let span = spans(&text, &[start..end, 0..start])[0];
            let cut: String = text.chars().skip(span.start as usize).take((span.end - span.start) as usize).collect();
            prop_assert_eq!(cut, &text[start..end]);
        }
    }
}
