//! One test binary.

#[cfg(feature = "simulator")]
mod simulator;
