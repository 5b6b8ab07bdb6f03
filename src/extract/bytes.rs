//! Bytes of a kind, looked for sixty-four at a time: one bit a byte. Written so that the compiler makes vector code of it; knows
//! nothing of text.

/// How many bytes one look takes in.
const LANES: usize = 64;

/// Bits of the bytes of a block that are of a kind; the second argument is the byte behind the block.
type Kind = fn(&[u8; LANES], u8) -> u64;

/// Finds the bytes of one kind, going forward. Every block is looked at once, however often the caller stops in it.
#[derive(Debug)]
pub(super) struct Stops<'a> {
    bytes: &'a [u8],
    kind: Kind,
    /// First byte of the block that `bits` are of.
    base: usize,
    bits: u64,
}

impl<'a> Stops<'a> {
    /// Bytes that end a run of printable ASCII without `*_~\\&` and with no space but single ones before a printable ASCII byte (or at
    /// the end).
    pub(super) fn of_plain_runs(bytes: &'a [u8]) -> Self {
        Self::new(bytes, plain_stops)
    }

    /// Bytes that may start or end something that is not prose: ``[]<:/`~``.
    pub(super) fn of_markup(bytes: &'a [u8]) -> Self {
        Self::new(bytes, markup)
    }

    /// Bytes that are no ASCII letter or digit.
    pub(super) fn of_words(bytes: &'a [u8]) -> Self {
        Self::new(bytes, |block, _| !bits(block, is_word))
    }

    /// ASCII signs that may part clauses, and the first bytes of characters beyond ASCII.
    pub(super) fn of_clauses(bytes: &'a [u8]) -> Self {
        Self::new(bytes, clause_ends)
    }

    /// The first bytes of characters beyond ASCII.
    pub(super) fn of_ascii(bytes: &'a [u8]) -> Self {
        Self::new(bytes, |block, _| bits(block, |byte| byte >= 0xC0))
    }

    fn new(bytes: &'a [u8], kind: Kind) -> Self {
        let mut stops = Self { bytes, kind, base: 0, bits: 0 };
        stops.load(0);
        stops
    }

    fn load(&mut self, base: usize) {
        self.base = base;
        let rest = self.bytes.get(base..).unwrap_or_default();
        self.bits = match rest.first_chunk() {
            Some(block) => (self.kind)(block, rest.get(LANES).copied().unwrap_or(DULL)),
            None => (self.kind)(&padded(rest), DULL) & !(u64::MAX << rest.len()),
        };
    }

    /// Offset of the first such byte from `at` on.
    pub(super) fn next(&mut self, mut at: usize) -> Option<usize> {
        if at < self.base || at - self.base >= LANES {
            self.load(at - at % LANES);
        }
        loop {
            let bits = self.bits >> (at - self.base);
            if bits != 0 {
                return Some(at + bits.trailing_zeros() as usize);
            }
            at = self.base + LANES;
            if at >= self.bytes.len() {
                return None;
            }
            self.load(at);
        }
    }
}

/// A byte of no kind; stands behind the end.
const DULL: u8 = b'.';

/// The last bytes as a block.
fn padded(rest: &[u8]) -> [u8; LANES] {
    let mut block = [DULL; LANES];
    for (slot, byte) in block.iter_mut().zip(rest) {
        *slot = *byte;
    }
    block
}

/// One bit for each byte that fits.
#[inline]
fn bits(block: &[u8; LANES], fits: impl Fn(u8) -> bool) -> u64 {
    let mut flags = [0_u8; LANES];
    for (flag, byte) in flags.iter_mut().zip(block) {
        *flag = u8::from(fits(*byte));
    }
    // Eight flags of 0 and 1 become eight bits by one multiplication.
    let (eights, _) = flags.as_chunks::<8>();
    eights.iter().fold(0, |bits, eight| {
        let product = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080);
        bits >> 8 | (product & 0xFF << 56)
    })
}

fn plain_stops(block: &[u8; LANES], behind: u8) -> u64 {
    let unprinted = |byte: u8| byte.wrapping_sub(b' ') > b'~' - b' ';
    let signs = |byte: u8| (byte == b'*') | (byte == b'_') | (byte == b'~') | (byte == b'\\') | (byte == b'&');
    let blank = |byte: u8| unprinted(byte) | (byte == b' ');
    let (ends, blanks) = (bits(block, |byte| signs(byte) | unprinted(byte)), bits(block, blank));
    // A blank that ends no run by itself is a space.
    ends | (blanks & (blanks >> 1 | u64::from(blank(behind)) << 63))
}

fn markup(block: &[u8; LANES], _: u8) -> u64 {
    // `[` and `]` differ in their second and third bit, `<` and `:` too: comparisons are what vectors are good at.
    let is = |byte: u8| {
        (byte == b'[') | (byte == b']') | (byte == b'<') | (byte == b':') | (byte == b'/') | (byte == b'`') | (byte == b'~')
    };
    bits(block, is)
}

fn clause_ends(block: &[u8; LANES], _: u8) -> u64 {
    let full = |byte: u8| (byte == b'.') | (byte == b'!') | (byte == b'?') | (byte == b'\n');
    let half = |byte: u8| (byte == b',') | (byte == b':') | (byte == b';') | (byte == b'-');
    bits(block, |byte| (byte >= 0xC0) | full(byte) | half(byte) | (byte == b'|') | (byte == b'(') | (byte == b')'))
}

fn is_word(byte: u8) -> bool {
    (byte.wrapping_sub(b'0') < 10) | ((byte | 0x20).wrapping_sub(b'a') < 26)
}

/// Where something begins, one bit a byte: each byte but white space, control characters, the inner ones of an ASCII word, and the
/// inner ones of a character. At most `u32::MAX` bytes are looked at.
pub(super) fn word_starts(bytes: &[u8]) -> Vec<u64> {
    let bytes = bytes.get(..u32::MAX as usize).unwrap_or(bytes);
    let (blocks, rest) = bytes.as_chunks::<LANES>();
    let mut starts = Vec::with_capacity(blocks.len() + 1);
    let mut before = 0;
    for block in blocks {
        starts.push(starts_of(block, &mut before));
    }
    if !rest.is_empty() {
        starts.push(starts_of(&padded(rest), &mut before) & !(u64::MAX << rest.len()));
    }
    starts
}

/// `before`: 1 when the byte before the block is of an ASCII word; then of this one's last.
fn starts_of(block: &[u8; LANES], before: &mut u64) -> u64 {
    let words = bits(block, is_word);
    let seen = bits(block, |byte| (byte > b' ') & ((byte & 0xC0) != 0x80));
    let inner = words & (words << 1 | *before);
    *before = words >> 63;
    seen & !inner
}

/// How many of the bytes are not ASCII.
pub(super) fn beyond_ascii(bytes: &[u8]) -> usize {
    // Counted in bytes, of as many as one byte counts: sixteen at once.
    let some = |bytes: &[u8]| bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(byte >> 7));
    bytes.chunks(240).map(|bytes| usize::from(some(bytes))).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_plain_stop(byte: u8, next: u8) -> bool {
        let outside = |byte: u8| !(b' '..=b'~').contains(&byte);
        outside(byte) || b"*_~\\&".contains(&byte) || (byte == b' ' && (outside(next) || next == b' '))
    }

    fn begins(before: u8, byte: u8) -> bool {
        byte > b' ' && byte & 0xC0 != 0x80 && !(byte.is_ascii_alphanumeric() && before.is_ascii_alphanumeric())
    }

    /// The first from each place on, asked for in order, and again from the beginning.
    fn firsts(mut stops: Stops<'_>) -> Vec<Option<usize>> {
        let length = stops.bytes.len();
        (0..length).chain(0..length).map(|at| stops.next(at)).collect()
    }

    proptest! {
        #[test]
        fn blocks_change_nothing(text in "[ a-f9*_~:/\\[&\u{e9}漢\n]{0,300}|[a-f ]{60,200}[*:\u{e9}]?") {
            let bytes = text.as_bytes();
            let next = |at: usize| bytes.get(at + 1).copied().unwrap_or(DULL);
            let first = |from: usize, is: &dyn Fn(usize) -> bool| (from..bytes.len()).find(|at| is(*at));
            let plain = |at: usize| is_plain_stop(bytes[at], next(at));
            let marks = |at: usize| b"[]<:/`~".contains(&bytes[at]);
            let all = || (0..bytes.len()).chain(0..bytes.len());
            prop_assert_eq!(firsts(Stops::of_plain_runs(bytes)), all().map(|at| first(at, &plain)).collect::<Vec<_>>());
            let parts = |at: usize| bytes[at] >= 0xC0 || b".!?\n,:;-|()".contains(&bytes[at]);
            prop_assert_eq!(firsts(Stops::of_words(bytes)), all().map(|at| first(at, &|at| !bytes[at].is_ascii_alphanumeric())).collect::<Vec<_>>());
            prop_assert_eq!(firsts(Stops::of_ascii(bytes)), all().map(|at| first(at, &|at| bytes[at] >= 0xC0)).collect::<Vec<_>>());
            prop_assert_eq!(firsts(Stops::of_clauses(bytes)), all().map(|at| first(at, &parts)).collect::<Vec<_>>());
            prop_assert_eq!(firsts(Stops::of_markup(bytes)), all().map(|at| first(at, &marks)).collect::<Vec<_>>());
            let starts = word_starts(bytes);
            for at in 0..bytes.len() {
                let alone = begins(if at > 0 { bytes[at - 1] } else { b' ' }, bytes[at]);
                prop_assert_eq!(starts[at / LANES] >> (at % LANES) & 1 == 1, alone);
            }
            prop_assert_eq!(starts.iter().map(|bits| bits.count_ones() as usize).sum::<usize>(), (0..bytes.len()).filter(|at| begins(if *at > 0 { bytes[at - 1] } else { b' ' }, bytes[*at])).count());
            prop_assert_eq!(beyond_ascii(bytes), bytes.iter().filter(|byte| !byte.is_ascii()).count());
        }
    }
}
