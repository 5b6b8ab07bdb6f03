//! One test binary: a file an area.

#![expect(unreachable_pub, reason = "shared helpers of one binary")]

mod journal;
mod limits;
mod pipeline;
mod support;
