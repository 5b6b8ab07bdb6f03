//! One test binary: a file an area.

#![allow(unreachable_pub, reason = "shared helpers of one binary")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests fail by panicking")]

mod architecture;
mod brightdata_engine;
mod direct_engine;
mod domain;
mod extract_citations;
mod extract_evaluation;
mod extract_local;
mod extract_mentions;
mod extract_names;
mod extract_properties;
mod extract_support;
mod journal;
mod limits;
mod pipeline;
mod support;
