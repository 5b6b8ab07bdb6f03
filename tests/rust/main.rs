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
mod breaker;
mod brightdata_engine;
mod direct_engine;
mod domain;
mod extract_absence;
#[cfg(feature = "simulator")]
mod extract_batch;
#[cfg(feature = "simulator")]
mod extract_batch_hard;
mod extract_brands;
mod extract_canonical;
mod extract_citations;
mod extract_cited;
mod extract_evaluation;
mod extract_hits;
mod extract_local;
mod extract_mentions;
mod extract_names;
mod extract_properties;
mod extract_rank;
mod extract_replay;
mod extract_security;
mod extract_sentiment;
#[cfg(feature = "simulator")]
mod extract_simulator;
mod extract_support;
mod faults;
mod fuzz_seeds;
mod gotchas;
mod guard;
mod hazards;
#[cfg(feature = "simulator")]
mod injections;
mod insights;
mod insights_properties;
mod journal;
mod journal_inspect;
mod leases;
mod limits;
mod limits_engine;
mod money;
mod pipeline;
mod processor_time;
mod providers_anthropic;
mod providers_brightdata;
mod providers_openai;
mod providers_properties;
mod providers_retry;
mod providers_routing;
mod providers_support;
mod rate;
mod reconcile;
// Needs no feature: `make test` runs the seeds once.
#[cfg(not(feature = "simulator"))]
mod simulation;
#[cfg(feature = "simulator")]
mod simulator;
mod support;
mod transport;
mod transport_support;
mod transport_tls;
mod unreplied;
