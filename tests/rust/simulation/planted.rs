//! Bugs planted at the seams, each of which makes the engine behave as if a rule of the design had been forgotten. The simulation
//! is worth its time only when it finds them.

/// A forgotten rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// A trigger is sent without its intent in the journal.
    NoIntent,
    /// A direct call is sent without a note in the journal.
    NoNote,
    /// A direct reply reaches the store without the journal.
    NoReply,
    /// The journal is written and not synced.
    NoSync,
    /// A trigger whose reply was lost is sent again at once.
    BlindRetry,
    /// A lost submission is bought again without a look at the provider's list.
    NoReconcile,
    /// A lost submission is never looked for.
    HoldForGood,
    /// The store says that it has the rows before it has them.
    EarlyAcknowledgement,
}

impl Planted {
    pub const ALL: [Self; 8] = [
        Self::NoIntent,
        Self::NoNote,
        Self::NoReply,
        Self::NoSync,
        Self::BlindRetry,
        Self::NoReconcile,
        Self::HoldForGood,
        Self::EarlyAcknowledgement,
    ];

    /// What is really written of some lines of the journal.
    pub fn written(self, lines: &[u8]) -> Vec<u8> {
        let dropped: &[u8] = match self {
            Self::NoIntent => b"{\"kind\":\"intent\"",
            Self::NoNote => b"{\"kind\":\"asked\"",
            Self::NoReply => b"{\"kind\":\"reply\"",
            _ => return lines.to_vec(),
        };
        let kept = lines.split_inclusive(|byte| *byte == b'\n');
        kept.filter(|line| !line.get(9..).is_some_and(|json| json.starts_with(dropped))).flatten().copied().collect()
    }

    /// The setting that comes nearest to the forgotten rule.
    pub fn on_unknown(self) -> &'static str {
        match self {
            Self::NoReconcile => "retrigger",
            Self::HoldForGood => "hold",
            _ => "reconcile",
        }
    }
}
