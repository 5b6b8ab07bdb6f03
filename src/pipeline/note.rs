//! What the journal is told around a call that may cost money, so that a start after a crash knows what is out. Sends nothing.

use super::call::Facts;
use super::session::Session;
use crate::domain::{CellKey, MicroUsd};
use crate::error::{Error, Result};
use crate::http::retry;
use crate::journal::{Asked, Call, Submission};

/// What the journal is told before a call that may cost money, so that a start after a crash knows of it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Note<'a> {
    /// Nothing: the call is free, or belongs to no batch.
    None,
    /// A submission; closed when it is certain that the attempt bought nothing.
    Intent(&'a Submission),
    /// A direct call.
    Asked(Noted<'a>),
}

/// A direct call as the journal notes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noted<'a> {
    /// The cell; `None`: a call of the batch.
    pub(super) key: Option<&'a CellKey>,
    pub(super) call: Call,
    /// What one attempt may be charged.
    pub(super) each: MicroUsd,
    /// What was, or may have been, charged by this start for the same before and is in no durable row.
    pub(super) before: MicroUsd,
}

impl Session {
    /// Tells the journal of the attempt that follows. Durable when it returns.
    pub(super) async fn note(&self, note: Note<'_>, facts: Facts) -> Result<()> {
        match note {
            // It may have waited long for its turn: what is looked for, and how long, counts from the attempt.
            Note::Intent(submission) => {
                self.journal.intent(Submission { created_at_ms: facts.noted_at_ms, ..submission.clone() }).await
            }
            Note::Asked(noted) if self.journal.is_kept() => self.journal.asked(vec![self.asked(noted, facts.lost + 1)]).await,
            Note::None | Note::Asked(_) => Ok(()),
        }
    }

    /// Tells the journal of direct calls that follow together. Durable when it returns.
    pub(super) async fn note_all(&self, noted: &[Noted<'_>]) -> Result<()> {
        if !self.journal.is_kept() {
            return Ok(());
        }
        self.journal.asked(noted.iter().map(|noted| self.asked(*noted, 1)).collect()).await
    }

    /// Takes back what was noted of an attempt whose charge is known, and `before` by now.
    pub(super) fn note_answered(&self, noted: Option<Noted<'_>>) {
        if let Some(noted) = noted.filter(|_| self.journal.is_kept()) {
            self.journal.charged_nothing(self.asked(noted, 0));
        }
    }

    /// Takes back what was noted of an attempt that bought nothing.
    pub(super) async fn note_failed(&self, note: Note<'_>, facts: Facts, error: &Error) -> Result<()> {
        match note {
            Note::Intent(_) if !retry::may_have_bought(error) => self.note_unsent(note, facts).await,
            Note::Asked(_) if !retry::maybe_charged(error) => self.note_unsent(note, facts).await,
            _ => Ok(()),
        }
    }

    /// Takes back what was noted of an attempt that was not sent.
    pub(super) async fn note_unsent(&self, note: Note<'_>, facts: Facts) -> Result<()> {
        match note {
            Note::Intent(submission) => self.journal.closed(&submission.id).await,
            Note::Asked(noted) if self.journal.is_kept() => {
                self.journal.charged_nothing(self.asked(noted, facts.lost));
                Ok(())
            }
            Note::None | Note::Asked(_) => Ok(()),
        }
    }

    /// The call with `attempts` of it that may have been charged, over all starts.
    fn asked(&self, noted: Noted<'_>, attempts: u32) -> Asked {
        let earlier = if self.unreplied.is_empty() { None } else { self.unreplied.get(&noted.call.id(noted.key)).copied() };
        let micro_usd = earlier.unwrap_or_default().plus(noted.before).plus(noted.each.times(attempts.into())).0;
        Asked { key: noted.key.cloned(), call: noted.call, micro_usd }
    }
}
