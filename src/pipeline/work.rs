//! What travels through the queues of a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::account::Account;
use super::model_stop::ModelStop;
use super::queries::Queries;
use super::totals::Money;
use crate::domain::{Cell, CellKey, Location, MicroUsd, Outcome};
use crate::error::Error;
use crate::providers::{Ask, Provider};

/// What failed extractions of an answer were charged by earlier starts.
pub(super) type CarriedBy = dyn Fn(&CellKey) -> Money + Send + Sync;

/// Places in each queue between two stages: with answers of 20 KB some 10 MB.
pub(super) const QUEUE: usize = 512;

/// A pair at work.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) account: Arc<Account>,
    pub(super) stop: Arc<ModelStop>,
    pub(super) location: Arc<Location>,
    /// What is said of its queries; `None` in a plain list.
    pub(super) queries: Option<Arc<Queries>>,
}

impl Pair {
    /// The prefix of its log lines: `[chatgpt US]`.
    pub(super) fn label(&self) -> String {
        format!("[{} {}]", self.provider.model(), self.location)
    }
}

/// A question to ask.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) ask: Ask,
    /// Position among the questions of a plain list.
    pub(super) position: usize,
    /// The cell, in a batch.
    pub(super) cell: Option<Cell>,
    /// Charged and maybe charged by earlier runs of the cell, micro-dollars: part of its total.
    pub(super) carried: Money,
    /// What the cell's stored row says of both, which the totals count already. The same, unless the row is of this very submission.
    pub(super) counted: Money,
    /// False in a submission of an earlier start, when the store has the cell already: its row is read past.
    pub(super) wanted: bool,
}

impl Job {
    /// The job of a cell.
    pub(super) fn of_cell(cell: Cell, web_search: bool, carried: Money) -> Self {
        let ask = Ask {
            key: cell.key().to_string().into(),
            question: cell.question.text.as_str().into(),
            location: (!cell.location.is_anywhere()).then(|| cell.location.clone()),
            web_search,
        };
        Self { ask, position: 0, cell: Some(cell), carried, counted: carried, wanted: true }
    }

    /// The part of the stored row's money that is this submission's own, and comes again with its rows.
    pub(super) fn comes_again(&self) -> MicroUsd {
        MicroUsd(self.counted.0 + self.counted.1 - self.carried.0 - self.carried.1)
    }

    /// True when it is asked from anywhere although its cell names a location, because the provider refused that.
    pub(super) fn lacks_location(&self) -> bool {
        self.ask.location.is_none() && self.cell.as_ref().is_some_and(|cell| !cell.location.is_anywhere())
    }

    /// The same question, asked from anywhere.
    pub(super) fn without_location(self) -> Self {
        Self { ask: Ask { location: None, ..self.ask }, ..self }
    }
}

/// A finished question on its way to the store.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) job: Job,
    /// `Err`: the cell stays open, for this reason (a batch leaves it to the next start).
    pub(super) outcome: Result<Outcome, Error>,
    /// The submission it came from; a direct reply has none.
    pub(super) ticket: Option<Arc<Ticket>>,
}

/// Where finished questions go.
pub(super) type Sink = mpsc::Sender<Done>;

/// Counts the rows of a submission that are not in the store yet.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) submission: String,
    open: AtomicUsize,
}

impl Ticket {
    pub(super) fn new(submission: String, rows: usize) -> Arc<Self> {
        Arc::new(Self { submission, open: AtomicUsize::new(rows) })
    }

    /// One more row is stored; true for the last.
    pub(super) fn stored(&self) -> bool {
        self.open.fetch_sub(1, Ordering::AcqRel) == 1
    }
}
