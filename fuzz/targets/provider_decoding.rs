//! The fuzzer's entry; what is done and checked stands in `bodies/provider_decoding.rs`.

#![no_main]

#[path = "../bodies/provider_decoding.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::check(bytes));
