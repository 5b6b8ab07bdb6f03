//! Answers of one model on their way into a submission. Sends nothing.

use std::collections::VecDeque;

use super::{MOST_BYTES, Waiting};
use crate::domain::MicroUsd;
use crate::providers::BatchModel;

/// Answers that wait for a submission, in the order they came.
#[derive(Debug, Default)]
pub(super) struct Collected {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

impl Collected {
    pub(super) fn push(&mut self, waiting: Waiting) {
        self.bytes += waiting.bytes;
        self.waiting.push_back(waiting);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// True when there are `most` answers, or their requests are as long as those of a submission may be.
    pub(super) fn is_full(&self, most: usize) -> bool {
        self.waiting.len() >= most || self.bytes >= MOST_BYTES
    }

    /// The answers of the next submission, `most` at most: as many as the limits (ours and the provider's) and the `room` of the budget take.
    /// Where not even one fits, none; or one, when it is the `only` submission: then the budget itself refuses it.
    pub(super) fn next(&mut self, most: usize, room: Option<MicroUsd>, only: bool, model: &dyn BatchModel) -> Vec<Waiting> {
        let (mut batch, mut bytes, mut requests, mut worst) = (Vec::new(), 0usize, 0usize, MicroUsd::ZERO);
        while let Some(next) = self.waiting.front() {
            bytes = bytes.saturating_add(next.bytes);
            requests += next.asks.len();
            worst = worst.plus(next.worst());
            // A line is longer than its request: escapes double what they meet at most six times, in bytes of JSON.
            let too_large = bytes > MOST_BYTES || bytes.saturating_mul(6) > model.max_bytes() || requests > model.max_requests();
            if !batch.is_empty() && (batch.len() >= most || too_large) {
                break;
            }
            if room.is_some_and(|room| worst > room) && !(batch.is_empty() && only) {
                break;
            }
            let Some(next) = self.waiting.pop_front() else { break };
            self.bytes -= next.bytes;
            batch.push(next);
        }
        batch
    }
}
