//! How replies are read: tolerant of every wrong type, strict only about JSON itself. Knows no provider.
//!
//! A reply was paid for. A field of the wrong type is therefore read as absent instead of failing the reply, and bytes that
//! are not quite JSON (a lone surrogate, a doubled key) get one slower second chance in [`repair`].

mod failure;
mod repair;
mod tolerant;

use std::cell::OnceCell;

use serde::Deserialize;

pub(crate) use failure::{Caller, Failure, excerpt, retry_after_ms};
pub(crate) use repair::repaired;
pub(crate) use tolerant::{Count, Either, Flag, List, Maybe, Text};

/// Where a repaired copy lives while what borrows from it is used.
pub(crate) type Spare = OnceCell<Vec<u8>>;

/// Reads `body`; on failure once more after [`repaired`]. `None` when it is no JSON object even so.
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], spare: &'a Spare) -> Option<T> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Some(value);
    }
    let mended = repaired(body)?;
    serde_json::from_slice(spare.get_or_init(|| mended)).ok()
}
