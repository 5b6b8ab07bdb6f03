//! What AI answer engines say about an organisation, asked in bulk, without losing or paying for anything twice.
//!
//! The tour, in the order of the dependencies (an arrow never points back; `tests/rust/architecture.rs` checks it):
//!
//! 1. [`error`], [`clock`]: one error by meaning; time and chance behind a trait.
//! 2. [`domain`], [`config`]: pure data with integer money; settings checked once at the edge.
//! 3. [`http`]: one method that sends one request, with caps; the retry policy; the limits.
//! 4. [`providers`], [`extract`]: codecs and text analysis. Neither does I/O.
//! 5. [`store`], [`journal`]: what the user keeps; what we keep about paid work in flight.
//! 6. [`pipeline`], [`host`]: the engine, and how it asks the embedding program for something.
//! 7. [`insights`]: metrics over stored question runs; names `domain` only, and only the bridge names it.
//! 8. `python` (feature): the only place that names `pyo3`.
//!
//! [`simulator`] (feature) is a fake of the provider APIs on a real socket. It uses no other module of this crate.

pub mod clock;
pub mod config;
pub mod domain;
pub mod error;
pub mod extract;
pub mod host;
pub mod http;
pub mod insights;
pub mod journal;
pub mod pipeline;
pub mod providers;
pub mod store;

#[cfg(feature = "simulator")]
pub mod simulator;

#[cfg(feature = "python")]
mod python;

pub use error::{Error, ErrorKind, Result};
