//! From finished questions to the store: the journal first, then group commit, one hand-over at a time, each tried again with
//! growing waits. What the store has acknowledged is forgotten by the journal; what it has not is still there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::health::ILL_AFTER;
use super::model_stop;
use super::session::Session;
use super::spec::RunSpec;
use super::totals::Money;
use super::work::{CarriedBy, Done, Ticket};
use crate::domain::{Cell, Extraction, MicroUsd, Outcome, QuestionRun, RunStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::host::{Host, Level};
use crate::http::BoxFuture;
use crate::store::Store;

/// Tries of one hand-over.
const TRIES: u32 = 6;
/// Wait after the first failure; doubled after each further one.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// A finished question as a row, journaled where nothing else could bring it back.
pub(super) struct Noted {
    run: Arc<QuestionRun>,
    /// What its stored row was charged before.
    counted: Money,
    /// The submission it came from: it can be downloaded again.
    ticket: Option<Arc<Ticket>>,
}

/// Journals direct replies as soon as they come and hands everything on to the saver. Does not wait for the store, so little is
/// ever in memory alone.
///
/// # Errors
/// The journal's first failure, after the queue has ended: nothing new is started from then on, what comes is still handed on.
pub(super) async fn journaled(
    session: Arc<Session>,
    spec: Arc<RunSpec>,
    mut queue: mpsc::Receiver<Done>,
    next: mpsc::Sender<Noted>,
) -> Result<()> {
    let mut failure = None;
    let mut group = Vec::new();
    while queue.recv_many(&mut group, session.settings.group_commit).await > 0 {
        let mut noted = Vec::with_capacity(group.len());
        for done in group.drain(..) {
            let outcome = match done.outcome {
                Ok(outcome) => outcome,
                Err(error) => {
                    note_open(&session, error);
                    continue;
                }
            };
            let Some(cell) = done.job.cell else { continue };
            let run = question_run(&spec, &cell, outcome, done.job.carried)?;
            noted.push(Noted { run, counted: done.job.counted, ticket: done.ticket });
        }
        let direct: Vec<_> = noted.iter().filter(|noted| noted.is_direct()).map(|noted| noted.run.clone()).collect();
        if let Err(error) = session.journal.replies(&direct).await {
            session.stop.cancel();
            failure.get_or_insert(error);
        }
        for noted in noted {
            let _ = next.send(noted).await; // the saver never ends before this queue does
        }
    }
    failure.map_or(Ok(()), Err)
}

impl Noted {
    /// True when nothing but the journal could bring it back: the reply, or what earlier calls without one may have cost.
    fn is_direct(&self) -> bool {
        self.ticket.is_none() && (self.run.outcome.attempts > 0 || self.counted != (0, 0))
    }
}

/// Saves question runs until the queue ends; answered ones go on to extraction. When the store fails for good, nothing new is
/// started and what still comes stays in the journal: it is paid for, and the next start hands it over. When the journal fails,
/// nothing new is started either, and the store gets what still comes: it is the only one left that can keep it.
///
/// # Errors
/// The store's failure, else the journal's, after the queue has ended.
pub(super) async fn question_runs(
    session: Arc<Session>,
    store: Arc<dyn Store>,
    mut queue: mpsc::Receiver<Noted>,
    next: Option<mpsc::Sender<Arc<QuestionRun>>>,
) -> Result<()> {
    let (mut failure, mut unnoted) = (None, None);
    let mut group = Vec::new();
    while queue.recv_many(&mut group, session.settings.group_commit).await > 0 {
        let group = std::mem::take(&mut group);
        if failure.is_some() {
            continue;
        }
        let runs = || group.iter().map(|noted| noted.run.clone()).collect();
        match hand_over(&session, "save_question_runs", || store.save_question_runs(runs())).await {
            Ok(()) => {
                if let Err(error) = note_saved(&session, &group, next.as_ref()).await {
                    session.stop.cancel();
                    unnoted.get_or_insert(error);
                }
            }
            Err(error) => {
                session.stop.cancel();
                failure = Some(error);
            }
        }
    }
    failure.or(unnoted).map_or(Ok(()), Err)
}

/// Does all it does, whatever the journal says.
async fn note_saved(session: &Session, group: &[Noted], next: Option<&mpsc::Sender<Arc<QuestionRun>>>) -> Result<()> {
    session.journal.acknowledged(group.iter().filter(|noted| noted.is_direct()).map(|noted| noted.run.as_ref()));
    let mut noted_closed = Ok(());
    for ticket in group.iter().filter_map(|noted| noted.ticket.as_ref()) {
        if ticket.stored() {
            noted_closed = noted_closed.and(session.journal.closed(&ticket.submission).await);
        }
    }
    for noted in group {
        note_stored(session, &noted.run, noted.counted);
        if noted.run.outcome.status == RunStatus::Answered
            && let Some(next) = next
        {
            let _ = next.send(noted.run.clone()).await; // a failed extraction stage reports itself
        }
    }
    noted_closed
}

/// Saves extractions until the queue ends. `carried` tells what earlier failures of an extraction were charged: the row's cost
/// is all that was ever charged for it.
pub(super) async fn extractions(
    session: Arc<Session>,
    store: Arc<dyn Store>,
    carried: Arc<CarriedBy>,
    mut queue: mpsc::Receiver<Arc<Extraction>>,
) -> Result<()> {
    let (mut failure, mut unnoted) = (None, None);
    let mut group = Vec::new();
    while queue.recv_many(&mut group, session.settings.group_commit).await > 0 {
        let extractions: Vec<(Arc<Extraction>, Money)> =
            group.drain(..).map(|extraction| with_carried(extraction, carried.as_ref())).collect();
        let rows = || extractions.iter().map(|(extraction, _)| extraction.clone()).collect::<Vec<_>>();
        // What a model was paid for is durable here before the store is asked to take it; where it cannot be, the store may.
        let paid: Vec<_> = rows().into_iter().filter(|extraction| is_paid(extraction)).collect();
        if let Err(error) = session.journal.extractions(&paid).await {
            session.stop.cancel();
            unnoted.get_or_insert(error);
        }
        if failure.is_none()
            && let Err(error) = hand_over(&session, "save_extractions", || store.save_extractions(rows())).await
        {
            session.stop.cancel();
            failure = Some(error);
        }
        if failure.is_some() {
            // They are paid for: the next start hands them over. The store's failure is the one that is told.
            let _ = session.journal.extractions(&rows()).await;
            continue;
        }
        session.journal.extractions_acknowledged(extractions.iter().map(|(extraction, _)| extraction.as_ref()));
        for (extraction, carried) in extractions {
            session.totals.extracted(&extraction, carried);
            if let Some(error) = &extraction.error {
                session.totals.error(error.clone());
            }
        }
    }
    failure.or(unnoted).map_or(Ok(()), Err)
}

fn is_paid(extraction: &Extraction) -> bool {
    extraction.cost_micro_usd != Some(MicroUsd::ZERO) || extraction.maybe_charged_micro_usd != MicroUsd::ZERO
}

fn with_carried(extraction: Arc<Extraction>, carried: &CarriedBy) -> (Arc<Extraction>, Money) {
    let money = carried(&extraction.key);
    if money == (0, 0) {
        return (extraction, money);
    }
    let mut extraction = Arc::unwrap_or_clone(extraction);
    extraction.carry(money);
    (Arc::new(extraction), money)
}

/// Calls the store until it does what it is asked. A callback that raised is named in the log each time; after three failures
/// in a row, or one call that did not return, nothing that costs money is started until it works again. Who has lost the leases
/// does not ask, and is not asked again.
pub(super) async fn hand_over<'a, T>(
    session: &Session,
    name: &str,
    mut save: impl FnMut() -> BoxFuture<'a, Result<T>>,
) -> Result<T> {
    let mut tries = Tries::default();
    loop {
        session.leases.assured().await?;
        let error = match save().await {
            Ok(value) => {
                if session.store_health.mended(name) {
                    session.host.log(Level::Warning, format!("{name} works again: paid calls go on"));
                }
                return Ok(value);
            }
            Err(error) => error,
        };
        let raised = error.context.host_call.is_some();
        if (tries.failed + 1 >= ILL_AFTER || !raised) && session.store_health.failing(name) {
            session.host.log(Level::Warning, format!("{name} keeps failing: no paid call is started until it works again"));
        }
        tries.wait(&session.host, name, error).await?;
    }
}

/// How often a call of the store has failed.
#[derive(Debug, Default)]
pub(super) struct Tries {
    failed: u32,
}

impl Tries {
    /// Waits until the call may be tried again.
    ///
    /// # Errors
    /// The error of the call: it was the last one, or one that a further call does not mend.
    pub(super) async fn wait(&mut self, host: &Host, name: &str, error: Error) -> Result<()> {
        self.failed += 1;
        let failed = self.failed;
        if failed == TRIES || matches!(error.kind, ErrorKind::Cancelled | ErrorKind::LeaseLost) {
            let message = format!("{name} failed {failed} times; the last time: {}", error.message);
            host.log(Level::Error, format!("{message}. Nothing is lost: what was paid waits in the journal for the next start"));
            return Err(error);
        }
        let wait = FIRST_WAIT * 2u32.pow(failed - 1);
        host.log(
            Level::Warning,
            format!("{name} failed (attempt {failed} of {TRIES}), next in {} ms: {}", wait.as_millis(), error.message),
        );
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// The row of a finished question, with the money of the cell's earlier runs.
fn question_run(spec: &RunSpec, cell: &Cell, mut outcome: Outcome, carried: Money) -> Result<Arc<QuestionRun>> {
    let model = spec.models.iter().find(|model| model.model == *cell.model);
    let model = model.ok_or_else(|| Error::internal(format!("{} has no model run", cell.model)))?;
    outcome.carry(carried);
    Ok(Arc::new(QuestionRun {
        batch_id: spec.batch_id.clone(),
        run_id: model.run_id.clone(),
        org_id: spec.org.id.clone(),
        key: cell.key(),
        question: cell.question.text.clone(),
        outcome,
    }))
}

/// The cell stays open. The reason was reported where it arose, but for what refuses call by call: the budget, a provider that takes
/// nothing at the moment.
fn note_open(session: &Session, error: Error) {
    if matches!(error.kind, ErrorKind::RateLimited | ErrorKind::NotSent) {
        session.totals.left_open(error);
    } else if error.kind == ErrorKind::Budget && error.context.code.as_deref() != Some(model_stop::CODE) {
        session.totals.budget_reached(error);
    }
}

fn note_stored(session: &Session, run: &QuestionRun, counted: Money) {
    session.totals.stored(&run.key, &run.outcome, counted);
    if let Some(error) = run.outcome.error.as_ref().filter(|_| run.outcome.status == RunStatus::Failed) {
        session.totals.error(error.clone());
    }
    if run.outcome.status == RunStatus::Answered {
        let text = run.outcome.text.as_deref().unwrap_or_default();
        session.learned.answered(&run.key.model, run.outcome.usage.output_tokens, text);
    }
}
