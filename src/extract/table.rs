//! Tables of this crate's own data files and of the org's entry, looked up by names that a text brings: a hash that is quick, not one that withstands an
//! adversary. Never for a table that texts fill.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A table whose keys are known when the crate is built.
pub(super) type Table<Value> = HashMap<&'static str, Value, BuildHasherDefault<Quick>>;

/// A set of such names.
pub(super) type Set = HashSet<&'static str, BuildHasherDefault<Quick>>;

/// A set of names that the org's entry brings.
pub(super) type Names = HashSet<String, BuildHasherDefault<Quick>>;

/// Eight bytes at a time: rotate, xor, multiply.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Quick(u64);

impl Quick {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517C_C1B7_2722_0A95);
    }
}

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.add(chunk.try_into().map(u64::from_le_bytes).unwrap_or_default());
        }
        self.add(chunks.remainder().iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
    }

    fn write_u8(&mut self, byte: u8) {
        self.add(u64::from(byte));
    }

    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn names_that_differ_a_little_part() {
        let build = BuildHasherDefault::<Quick>::default();
        let names: Vec<String> = (0..10_000).map(|number| format!("site{number}.example")).collect();
        let low: std::collections::HashSet<u64> = names.iter().map(|name| build.hash_one(name) & 0xF_FFFF).collect();
        assert!(low.len() > 9_500, "{}", low.len());
    }
}
