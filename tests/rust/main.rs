//! One test binary.

// clippy.toml allows these in test functions; helpers of tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod architecture;
mod domain;
mod extract_citations;
mod extract_evaluation;
mod extract_local;
mod extract_mentions;
mod extract_names;
mod extract_properties;
mod extract_support;
