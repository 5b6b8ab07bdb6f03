//! Patterns that are looked for only where a word, a sign or a letter of another script begins: one look at the first bytes there tells
//! nearly always that none of thousands of patterns stands there. The same findings as an automaton that looks everywhere has, but for
//! those that begin inside an ASCII word, several times as fast.
//!
//! Judges no boundary behind a pattern and no meaning; see `mentions`. A set that this way would not bound is refused ([`Finder::new`]
//! gives `None`), and the caller takes an automaton.

use super::bytes::word_starts;

/// Bits of the filter: as many as stay in the fastest memory.
const FILTER: u32 = 15;
/// Buckets of the patterns, as a power of two.
const BUCKETS: u32 = 12;
/// Most patterns of one bucket: what one place may cost.
const MAX_BUCKET: usize = 256;
/// How many first bytes of a pattern are its key: the most of these that it has.
const LEVELS: [usize; 4] = [1, 2, 3, LAST_LEVEL];
const LAST_LEVEL: usize = 6;

/// A pattern at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    /// Its number.
    pub(super) pattern: usize,
    /// Its first byte.
    pub(super) start: usize,
    /// One past its last byte.
    pub(super) end: usize,
}

/// One bit for each value of the low bits of three bytes.
type Begins = Box<[u64; 1 << (15 - 6)]>;

#[derive(Debug)]
struct Entry {
    level: usize,
    /// The first eight bytes, and which of them the pattern has.
    head: u64,
    mask: u64,
    pattern: usize,
    text: Box<[u8]>,
}

/// Patterns, compiled.
#[derive(Debug)]
pub(super) struct Finder {
    any_case: bool,
    /// Of [`LEVELS`], those in use, each with the mask of its bytes.
    levels: Vec<(usize, u64)>,
    /// By the low bits of the first three bytes: some pattern begins so.
    begins: Begins,
    /// The same, of the patterns below the last level.
    short: Begins,
    /// By the hash of the key of a level: some pattern has it.
    filter: Vec<u64>,
    /// Where the entries of each bucket begin; one more than there are buckets.
    buckets: Vec<u32>,
    entries: Vec<Entry>,
}

impl Finder {
    /// Compiles; with `any_case` ASCII letters are found in any case. `None` when too many patterns begin alike,
    /// or one with white space.
    pub(super) fn new<'a>(patterns: impl IntoIterator<Item = &'a str>, any_case: bool) -> Option<Self> {
        let mut entries: Vec<Entry> = Vec::new();
        for (number, text) in patterns.into_iter().enumerate() {
            if text.as_bytes().first().is_some_and(|first| *first <= b' ') {
                return None;
            }
            let Some(level) = LEVELS.into_iter().rfind(|level| *level <= text.len()) else { continue };
            let mask = kept(text.len());
            let head = (eight(text.as_bytes(), 0) | if any_case { EASE } else { 0 }) & mask;
            entries.push(Entry { level, head, mask, pattern: number, text: text.as_bytes().into() });
        }
        let bucket_of = |entry: &Entry| slot(hash(entry.head & kept(entry.level), entry.level), BUCKETS);
        entries.sort_by_key(bucket_of);
        let mut filter = vec![0_u64; 1 << (FILTER - 6)];
        let (mut first, mut short) = (Box::new([0_u64; 1 << (15 - 6)]), Box::new([0_u64; 1 << (15 - 6)]));
        for entry in &entries {
            // What follows a pattern of one or two bytes may be anything.
            let known = begins(entry.head & kept(3));
            let free = if entry.mask >= kept(3) { 0 } else { begins(!entry.mask & kept(3)) };
            for bit in (0..=free).filter(|bits| bits & !free == 0).map(|bits| known | bits) {
                if let Some(word) = first.get_mut(bit >> 6) {
                    *word |= 1 << (bit & 63);
                }
                if let Some(word) = short.get_mut(bit >> 6).filter(|_| entry.level < LAST_LEVEL) {
                    *word |= 1 << (bit & 63);
                }
            }
        }
        let mut sizes = vec![0_u32; (1 << BUCKETS) + 1];
        for entry in &entries {
            let bit = slot(hash(entry.head & kept(entry.level), entry.level), FILTER);
            if let (Some(word), Some(size)) = (filter.get_mut(bit >> 6), sizes.get_mut(bucket_of(entry) + 1)) {
                *word |= 1 << (bit & 63);
                *size += 1;
            }
        }
        if sizes.iter().any(|size| *size as usize > MAX_BUCKET) {
            return None;
        }
        let mut sum = 0;
        for size in &mut sizes {
            sum += *size;
            *size = sum;
        }
        let in_use = |level: &usize| entries.iter().any(|entry| entry.level == *level);
        let levels = LEVELS.into_iter().filter(in_use).map(|level| (level, kept(level))).collect();
        Some(Self { any_case, levels, begins: first, short, filter, buckets: sizes, entries })
    }

    /// Every pattern of the text that begins at one of the `starts` (one bit a byte), by its end, the longest first of those with one
    /// end.
    pub(super) fn find(&self, text: &str, starts: &[u64]) -> Vec<At> {
        let bytes = text.as_bytes();
        let ease = if self.any_case { EASE } else { 0 };
        let mut found: Vec<At> = Vec::new();
        for (block, starts) in (0..).step_by(64).zip(starts) {
            // Two loops without a branch that is hard to foresee: which places may hold a pattern, by three bytes; then which by all.
            let (mut left, mut likely) = (*starts, 0_u64);
            let window: Option<&[u8; 72]> = bytes.get(block..).and_then(<[u8]>::first_chunk);
            while left != 0 {
                let offset = left.trailing_zeros();
                left &= left - 1;
                let here = window.and_then(|window| window.get((offset & 63) as usize..)?.first_chunk());
                let head = here.map_or_else(|| eight(bytes, block + offset as usize), |here| u64::from_le_bytes(*here)) | ease;
                let bit = begins(head);
                likely |= self.begins.get(bit >> 6).map_or(0, |word| word >> (bit & 63) & 1) << offset;
            }
            while likely != 0 {
                let start = block + likely.trailing_zeros() as usize;
                likely &= likely - 1;
                let head = eight(bytes, start) | ease;
                let bit = begins(head);
                let short = self.short.get(bit >> 6).is_some_and(|word| word >> (bit & 63) & 1 == 1);
                for (level, kept) in self.levels.iter().rev().take(if short { LEVELS.len() } else { 1 }) {
                    let hash = hash(head & kept, *level);
                    let bit = slot(hash, FILTER);
                    if self.filter.get(bit >> 6).is_some_and(|word| word >> (bit & 63) & 1 == 1) {
                        self.look(bytes, start, head, slot(hash, BUCKETS), *level, &mut found);
                    }
                }
            }
        }
        found.sort_unstable_by_key(|at| (at.end, at.start, at.pattern));
        found
    }

    #[inline(never)]
    fn look(&self, bytes: &[u8], start: usize, head: u64, bucket: usize, level: usize, found: &mut Vec<At>) {
        let (Some(from), Some(to)) = (self.buckets.get(bucket), self.buckets.get(bucket + 1)) else { return };
        for entry in self.entries.get(*from as usize..*to as usize).unwrap_or_default() {
            if head & entry.mask != entry.head || entry.level != level {
                continue;
            }
            let end = start + entry.text.len();
            let same = bytes
                .get(start..end)
                .is_some_and(|here| if self.any_case { here.eq_ignore_ascii_case(&entry.text) } else { *here == *entry.text });
            if same {
                found.push(At { pattern: entry.pattern, start, end });
            }
        }
    }
}

/// Where a pattern may begin in the text, one bit a byte: at each character but white space and the inner ones of an ASCII word.
pub(super) fn starts(text: &str) -> Vec<u64> {
    word_starts(text.as_bytes())
}

/// The eight bytes from `at` on; zeros behind the end.
fn eight(bytes: &[u8], at: usize) -> u64 {
    if let Some(Ok(whole)) = bytes.get(at..at + 8).map(<[u8; 8]>::try_from) {
        return u64::from_le_bytes(whole);
    }
    let mut padded = [0_u8; 8];
    for (slot, byte) in padded.iter_mut().zip(bytes.get(at..).unwrap_or_default()) {
        *slot = *byte;
    }
    u64::from_le_bytes(padded)
}

/// The bits that tell capitals from small letters, set: signs that this confuses are told apart by the full comparison.
const EASE: u64 = 0x2020_2020_2020_2020;

/// The low five bits of the first three bytes.
fn begins(head: u64) -> usize {
    ((head & 31) | ((head >> 3) & (31 << 5)) | ((head >> 6) & (31 << 10))) as usize
}

/// The mask of the first bytes.
fn kept(bytes: usize) -> u64 {
    if bytes >= 8 { u64::MAX } else { (1 << (bytes * 8)) - 1 }
}

fn hash(key: u64, level: usize) -> u64 {
    (key ^ (level as u64) << 56).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn slot(hash: u64, bits: u32) -> usize {
    (hash >> (64 - bits)) as usize
}

#[cfg(test)]
mod tests {
    use aho_corasick::{AhoCorasick, MatchKind};
    use proptest::prelude::*;

    use super::*;

    /// What an automaton that looks everywhere finds, in the same order, but inside ASCII words.
    fn everywhere(patterns: &[String], any_case: bool, text: &str) -> Vec<At> {
        let mut builder = AhoCorasick::builder();
        let automaton = builder.match_kind(MatchKind::Standard).ascii_case_insensitive(any_case).build(patterns).unwrap();
        let inner = |at: usize| at > 0 && text.as_bytes()[at - 1].is_ascii_alphanumeric();
        let mut found: Vec<_> = automaton
            .find_overlapping_iter(text)
            .filter(|hit| !(inner(hit.start()) && text.as_bytes()[hit.start()].is_ascii_alphanumeric()))
            .map(|hit| At { pattern: hit.pattern().as_usize(), start: hit.start(), end: hit.end() })
            .collect();
        found.sort_by_key(|at| (at.end, at.start, at.pattern));
        found
    }

    #[test]
    fn too_many_that_begin_alike_are_refused() {
        let names: Vec<String> = (0..300).map(|number| format!("northwind {number}")).collect();
        assert!(Finder::new(names.iter().map(String::as_str), false).is_none());
        assert!(Finder::new(names.iter().take(200).map(String::as_str), false).is_some());
    }

    proptest! {
        #[test]
        fn it_finds_what_an_automaton_finds(
            patterns in prop::collection::vec("[a-c<é漢]([a-c éЖ漢<'-]{0,9}[a-c<é漢])?", 1..30),
            text in "[a-cA-C  éЖ漢<'-]{0,60}",
            any_case in any::<bool>(),
        ) {
            let finder = Finder::new(patterns.iter().map(String::as_str), any_case).unwrap();
            prop_assert_eq!(finder.find(&text, &starts(&text)), everywhere(&patterns, any_case, &text));
        }
    }
}
