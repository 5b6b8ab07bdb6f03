//! The right to work on a model run, as a store tells of it. Pure data: who is alive is decided by the embedding program.

use serde::{Deserialize, Serialize};

/// What a store says about the lease of a model run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lease {
    /// The model run.
    pub run_id: String,
    /// True: it is the asker's until `expires_at_ms`.
    pub granted: bool,
    /// Fencing number: grows with every change of owner.
    pub fence: i64,
    /// Who has it now; `None`: nobody.
    pub owner: Option<String>,
    /// Milliseconds since 1970 UTC; `None`: nobody has it.
    pub expires_at_ms: Option<i64>,
    /// Id of the journal folder the model run was worked on with before; `None`: never.
    pub journal_id: Option<String>,
    /// The host of that folder.
    pub journal_host: Option<String>,
    /// The latest moment at which the owner before can have done anything, milliseconds since 1970 UTC; `None`: there was none.
    pub last_alive_ms: Option<i64>,
}

/// A lease that is held: the model run and its fencing number.
pub type HeldLease = (String, i64);

/// Where and until when somebody worked on a model run before this start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviousJournal {
    /// Id of the journal folder.
    pub journal_id: String,
    /// Its host; `None`: not known.
    pub host: Option<String>,
    /// The latest moment of its owner, milliseconds since 1970 UTC; `None`: not known.
    pub last_alive_ms: Option<i64>,
}

/// An owner for a person: `host/boot/process/session` as `process 12 on host-a`, with the time in the session's name.
#[must_use]
pub fn describe_owner(owner: &str) -> String {
    let parts: Vec<&str> = owner.split('/').collect();
    let [host, _, process, session] = parts.as_slice() else { return format!("'{owner}'") };
    let process = process.split('+').next().unwrap_or_default();
    match session.split_once('_') {
        Some((since, _)) => format!("process {process} on {host} (at work since {since})"),
        None => format!("process {process} on {host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_named_by_process_host_and_time() {
        let owner = "host-a/0b1c/12+345/2026-11-22T08:00:00Z_1f";
        assert_eq!(describe_owner(owner), "process 12 on host-a (at work since 2026-11-22T08:00:00Z)");
        assert_eq!(describe_owner("host-a/0b1c/12+345/1f"), "process 12 on host-a");
        assert_eq!(describe_owner("me"), "'me'");
    }
}
