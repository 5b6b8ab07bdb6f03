//! How replies are read: tolerant of every wrong type, strict only about JSON itself. Knows no provider.
//!
//! A reply was paid for. A field of the wrong type is therefore read as absent instead of failing the reply, and bytes that
//! are not quite JSON (a lone surrogate, a doubled key) get one slower second chance in [`repair`].
//!
//! A reply's bytes have a cap in `http`; these keep few bytes from becoming much memory or stack. At most 128 levels are read
//! (`serde_json`'s own bound, never switched off; what is skipped costs no stack). A list or text beyond its bound keeps its
//! beginning: the reply was paid for, and `raw` has all of it.

mod failure;
mod limits;
mod repair;
mod time;
mod tolerant;

use std::cell::OnceCell;

use serde::Deserialize;

pub(crate) use failure::{Caller, Failure, retry_after_ms};
pub(crate) use limits::told;
pub(crate) use repair::repaired;
pub(crate) use time::{iso_of_ms, ms_of_iso};
pub(crate) use tolerant::{Count, Either, Flag, List, Maybe, Text};

/// Items of a list at most: rows, sources, blocks.
pub(crate) const LONGEST_LIST: usize = 100_000;
/// Bytes of a text at most.
pub(crate) const LONGEST_TEXT: usize = 16 << 20;
/// Values in a document that is repaired at most: there each becomes an object of its own.
pub(crate) const MOST_REPAIRED: usize = 1_000_000;

/// Where a repaired copy lives while what borrows from it is used.
pub(crate) type Spare = OnceCell<Vec<u8>>;

/// Reads `body` as an object. `None` when it is none: a derived reader alone would take a list for one.
pub(crate) fn object<'a, T: Deserialize<'a>>(body: &'a [u8], spare: &'a Spare) -> Option<T> {
    parse::<Maybe<T>>(body, spare)?.0
}

/// Reads `body`; on failure once more after [`repaired`]. `None` when it is no JSON even so.
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], spare: &'a Spare) -> Option<T> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Some(value);
    }
    let mended = repaired(body)?;
    serde_json::from_slice(spare.get_or_init(|| mended)).ok()
}
