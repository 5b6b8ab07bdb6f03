//! One test binary: a file an area.

#![allow(unreachable_pub, reason = "shared helpers of one binary")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking"
)]

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
#[cfg(feature = "simulator")]
mod extract_simulator;
mod extract_support;
mod gotchas;
mod journal;
mod limits;
mod pipeline;
mod providers_anthropic;
mod providers_brightdata;
mod providers_openai;
mod providers_properties;
mod providers_retry;
mod providers_routing;
mod providers_support;
#[cfg(feature = "simulator")]
mod simulator;
mod support;
