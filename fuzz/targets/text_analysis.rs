//! The fuzzer's entry; what is done and checked stands in `bodies/text_analysis.rs`.

#![no_main]

#[path = "../bodies/text_analysis.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::check(bytes));
