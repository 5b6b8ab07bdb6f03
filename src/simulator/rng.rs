//! Seeded chance: a hash and a small generator. Every decision of the simulator is a pure function of the seed and of what
//! was asked, so nothing here may look at a clock, at the operating system or at the order of requests.

/// The FNV-1a offset basis; the start of every hash.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
/// The FNV-1a prime.
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// Hashes bytes (FNV-1a over 8-byte words, finished by `mix`); stable across versions and machines.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut value = OFFSET;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        value = (value ^ u64::from_le_bytes(*word)).wrapping_mul(PRIME);
        value ^= value >> 29;
    }
    for byte in rest {
        value = (value ^ u64::from(*byte)).wrapping_mul(PRIME);
    }
    mix(value ^ bytes.len() as u64)
}

/// Joins hashes in order.
pub(crate) fn join(parts: &[u64]) -> u64 {
    parts.iter().fold(OFFSET, |value, part| mix(value ^ part))
}

/// One round of SplitMix64.
pub(crate) fn mix(value: u64) -> u64 {
    let mut value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A generator: SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    /// A generator for one purpose of one key; different purposes are independent.
    pub(crate) fn new(key: u64, purpose: &str) -> Self {
        Self(join(&[key, hash(purpose.as_bytes())]))
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`; 0 when `end` is 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { usize::try_from(self.next() % end as u64).unwrap_or(0) }
    }

    /// A number in `low..=high`.
    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// A number in 0..1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with this probability; never at 0, always at 1.
    pub(crate) fn chance(&mut self, rate: f64) -> bool {
        self.unit() < rate
    }

    /// One of the items; `None` when there is none.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    /// One of the texts; empty when there is none.
    pub(crate) fn word(&mut self, items: &[&'static str]) -> &'static str {
        self.pick(items).copied().unwrap_or("")
    }

    /// Puts the items into a seeded order.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// The number as 16 hexadecimal digits, repeated rounds of it up to `length` digits.
pub(crate) fn hex(key: u64, length: usize) -> String {
    let mut text = String::with_capacity(length + 16);
    let mut value = key;
    while text.len() < length {
        let _ = std::fmt::Write::write_fmt(&mut text, format_args!("{value:016x}"));
        value = mix(value);
    }
    text.truncate(length);
    text
}
