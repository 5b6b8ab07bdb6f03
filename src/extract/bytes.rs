//! Runs of dull bytes, skipped sixteen at a time. Written so that the compiler makes vector code of it; knows nothing of text.

const CHUNK: usize = 16;

/// Length of the run of printable ASCII that holds none of `*_~\\&` and no space but single ones before a printable ASCII byte
/// (or at the end).
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let (Some(chunk), Some(next)) = (sixteen(bytes, at), sixteen(bytes, at + 1)) {
        let mut stops = false;
        for (byte, next) in chunk.iter().zip(next) {
            stops |= is_stop(*byte, *next);
        }
        if stops {
            break;
        }
        at += CHUNK;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let nexts = rest.iter().skip(1).chain(std::iter::once(&b'.'));
    at + rest.iter().zip(nexts).take_while(|(byte, next)| !is_stop(**byte, **next)).count()
}

fn is_stop(byte: u8, next: u8) -> bool {
    let outside = |byte: u8| byte.wrapping_sub(b' ') > b'~' - b' ';
    outside(byte)
        | (byte == b'*')
        | (byte == b'_')
        | (byte == b'~')
        | (byte == b'\\')
        | (byte == b'&')
        | ((byte == b' ') & (outside(next) | (next == b' ')))
}

/// Offset of the first byte from `at` on that may start or end something that is not prose: ``[]<:/`~``.
pub(super) fn next_markup(bytes: &[u8], mut at: usize) -> Option<usize> {
    while let Some(chunk) = sixteen(bytes, at) {
        let mut stops = false;
        for byte in chunk {
            stops |= is_markup(*byte);
        }
        if stops {
            break;
        }
        at += CHUNK;
    }
    bytes.get(at..)?.iter().position(|byte| is_markup(*byte)).map(|offset| at + offset)
}

fn is_markup(byte: u8) -> bool {
    // `[` and `]` differ in their second and third bit, `<` and `:` too: comparisons are what vectors are good at.
    (byte == b'[') | (byte == b']') | (byte == b'<') | (byte == b':') | (byte == b'/') | (byte == b'`') | (byte == b'~')
}

/// Offsets at which something begins: each byte but white space, control characters, the inner ones of an ASCII word, and the inner
/// ones of a character. At most `u32::MAX` bytes are looked at.
pub(super) fn word_starts(bytes: &[u8]) -> Vec<u32> {
    const LANES: usize = 64;
    let bytes = bytes.get(..u32::MAX as usize).unwrap_or(bytes);
    let mut starts = Vec::with_capacity(bytes.len() / 4 + 8);
    let (mut base, mut before) = (0_u32, b' ');
    let mut chunks = bytes.chunks_exact(LANES);
    for chunk in &mut chunks {
        let mut flags = [0_u8; LANES];
        let mut shifted = [before; LANES];
        for (slot, byte) in shifted.iter_mut().skip(1).zip(chunk) {
            *slot = *byte;
        }
        for ((flag, byte), before) in flags.iter_mut().zip(chunk).zip(&shifted) {
            *flag = u8::from(begins(*before, *byte));
        }
        before = chunk.last().copied().unwrap_or(b' ');
        let mut bits = packed(&flags);
        while bits != 0 {
            starts.push(base + bits.trailing_zeros());
            bits &= bits - 1;
        }
        base += LANES as u32;
    }
    for (at, byte) in (base..).zip(chunks.remainder()) {
        if begins(before, *byte) {
            starts.push(at);
        }
        before = *byte;
    }
    starts
}

fn begins(before: u8, byte: u8) -> bool {
    let word = |byte: u8| (byte.wrapping_sub(b'0') < 10) | ((byte | 0x20).wrapping_sub(b'a') < 26);
    let inner = word(byte) & word(before);
    (byte > b' ') & ((byte & 0xC0) != 0x80) & !inner
}

/// Flags of 0 and 1 as bits.
fn packed(flags: &[u8; 64]) -> u64 {
    let mut bits = 0;
    for (place, eight) in flags.chunks_exact(8).enumerate() {
        let eight = eight.iter().rev().fold(0_u64, |sum, flag| sum << 8 | u64::from(*flag));
        bits |= (eight.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (place * 8);
    }
    bits
}

fn sixteen(bytes: &[u8], at: usize) -> Option<&[u8; CHUNK]> {
    bytes.get(at..at + CHUNK)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn starts_are_those_of_each_byte_alone(text in "[ a-f9*é漢\n]{0,300}") {
            let bytes = text.as_bytes();
            let alone = |at: &usize| begins(if *at > 0 { bytes[at - 1] } else { b' ' }, bytes[*at]);
            let starts: Vec<usize> = word_starts(bytes).into_iter().map(|at| at as usize).collect();
            prop_assert_eq!(starts, (0..bytes.len()).filter(alone).collect::<Vec<_>>());
        }

        #[test]
        fn chunks_change_nothing(text in "[ a-f*_~:/\\[&\u{e9}]{0,70}|[a-f]{0,90}[*:\u{e9}]?") {
            let bytes = text.as_bytes();
            prop_assert_eq!(next_markup(bytes, 0), bytes.iter().position(|byte| is_markup(*byte)));
            let nexts = bytes.iter().skip(1).chain(std::iter::once(&b'.'));
            prop_assert_eq!(plain_run(bytes), bytes.iter().zip(nexts).take_while(|(byte, next)| !is_stop(**byte, **next)).count());
        }
    }
}
