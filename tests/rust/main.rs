//! One test binary.

mod gotchas;
mod providers_anthropic;
mod providers_brightdata;
mod providers_openai;
mod providers_properties;
mod providers_retry;
mod providers_routing;
mod providers_support;
