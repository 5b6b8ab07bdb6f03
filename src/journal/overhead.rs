//! Charges that belong to no cell, as the journal keeps them until the store has them. Pure data.

use serde::{Deserialize, Serialize};

/// The overhead of a model run over all starts: totals, so that reading them twice books them once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overhead {
    /// The model; `None` in journals of version 1: the whole batch's.
    #[serde(default)]
    pub model: Option<String>,
    /// Charged, micro-dollars.
    pub micro_usd: i64,
    /// What may have been charged, micro-dollars.
    #[serde(default)]
    pub maybe_charged_micro_usd: i64,
    /// True when the batch's call for name variations is booked with it (version 1 booked nothing else).
    #[serde(default = "yes")]
    pub names: bool,
}

fn yes() -> bool {
    true
}

impl Overhead {
    /// The larger of both totals.
    pub(super) fn grown(self, known: Option<&Self>) -> Self {
        let Some(known) = known else { return self };
        Self {
            micro_usd: self.micro_usd.max(known.micro_usd),
            maybe_charged_micro_usd: self.maybe_charged_micro_usd.max(known.maybe_charged_micro_usd),
            names: self.names || known.names,
            model: self.model,
        }
    }
}
