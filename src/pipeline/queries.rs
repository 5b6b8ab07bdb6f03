//! The log lines that say how far a model has come with its queries: `[OpenAI] Processing query 1/18...`. Counts calls that begin,
//! over all locations of the model; knows nothing of what comes back.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::host::{Host, Level};

/// Lines of a model at most, but for its first and its last query: a big batch must not drown everything else.
const LINES: u64 = 100;

/// The queries of one model run.
#[derive(Debug)]
pub(super) struct Queries {
    label: String,
    total: u64,
    first: u64,
    begun: AtomicU64,
}

impl Queries {
    /// `done` of `total` have ended, or are paid for, in earlier starts.
    pub(super) fn new(label: String, total: u64, done: u64) -> Self {
        Self { label, total, first: done + 1, begun: AtomicU64::new(done) }
    }

    /// The call of one more query begins.
    pub(super) fn begin(&self, host: &Host) {
        let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        if self.is_said(number) {
            host.log(Level::Info, format!("[{}] Processing query {number}/{}...", self.label, self.total));
        }
    }

    fn is_said(&self, number: u64) -> bool {
        number == self.first || number == self.total || number.is_multiple_of(self.total.div_ceil(LINES).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::Queries;

    fn said(total: u64, done: u64) -> Vec<u64> {
        let queries = Queries::new("OpenAI".to_owned(), total, done);
        (done + 1..=total).filter(|number| queries.is_said(*number)).collect()
    }

    #[test]
    fn every_query_of_a_small_model_run_is_said_and_each_hundredth_part_of_a_big_one() {
        assert_eq!(said(18, 0), (1..=18).collect::<Vec<_>>());
        assert_eq!(said(100, 97), [98, 99, 100]);
        assert_eq!(said(1_000_000, 0).len(), 101);
        assert_eq!(said(250, 100).first(), Some(&101));
        assert_eq!(said(250, 0).last(), Some(&250));
    }
}
