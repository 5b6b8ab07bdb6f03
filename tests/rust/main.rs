//! One test binary.

// Clippy takes only the test functions themselves for tests, not the helpers beside them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod gotchas;
mod providers_anthropic;
mod providers_brightdata;
mod providers_openai;
mod providers_properties;
mod providers_retry;
mod providers_routing;
mod providers_support;
