//! One test binary: a file an area.

#![expect(unreachable_pub, reason = "shared helpers of one binary")]

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
