//! The model runs of a run: begun with a lease, renewed with their progress, ended with their status.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::account::Account;
use super::resolve;
use super::save;
use super::session::Session;
use super::spec::{ModelSpec, Phase, RunSpec};
use crate::domain::{ModelRun, ModelRunStatus};
use crate::error::Result;
use crate::providers::Provider;
use crate::store::Store;

pub(super) struct ModelRuns {
    session: Arc<Session>,
    rows: Vec<(ModelRun, Option<Arc<Account>>)>,
    /// False: the rows are other starts' work, of which only the overhead is ours to change.
    ours: bool,
    extracting: bool,
    /// Model runs that have ended while others of this start go on, and when, by `run_id`.
    ended: Mutex<BTreeMap<String, i64>>,
    renewed: Mutex<Instant>,
    /// A start that has nothing to do writes nothing.
    idle: bool,
}

impl ModelRuns {
    pub(super) fn new(session: &Arc<Session>, spec: &RunSpec, providers: &[Arc<dyn Provider>], idle: bool) -> Self {
        let leases = &session.leases;
        let now = session.context.clock.now_ms();
        let row = |model: &ModelSpec, surface: &str| {
            // What is complete stays so while its failures are tried again, whatever becomes of that.
            let complete = model.row.as_deref().filter(|row| row.status == ModelRunStatus::Completed);
            let ModelSpec { run_id, model, .. } = model;
            ModelRun {
                run_id: run_id.clone(),
                batch_id: spec.batch_id.clone(),
                batch_size: spec.batch_size,
                org_id: spec.org.id.clone(),
                surface: surface.to_owned(),
                model: model.clone(),
                status: complete.map_or(ModelRunStatus::Running, |row| row.status),
                query_count: 0,
                current_query_index: 0,
                progress_pct: 0.0,
                answered: 0,
                failed: 0,
                started_at_ms: complete.map_or(Some(now), |row| row.started_at_ms),
                finished_at_ms: complete.and_then(|row| row.finished_at_ms),
                error_message: None,
                lease_owner: Some(leases.owner().to_owned()),
                lease_expires_at_ms: None,
                lease_fence: leases.fence(model),
                journal_id: None,
                journal_host: None,
                overhead_micro_usd: 0,
                overhead_maybe_charged_micro_usd: 0,
            }
        };
        let rows = match spec.phase {
            // The answers are there: no row is worked on, but what belongs to no cell is booked on one.
            Phase::Extract => {
                let known = spec.models.iter().filter_map(|model| model.row.as_deref());
                known.map(|row| (row.clone(), None)).collect()
            }
            Phase::Run | Phase::Execute => spec
                .models
                .iter()
                .zip(providers)
                .map(|(model, provider)| {
                    let account = resolve::account(session, provider.as_ref(), &spec.custom_providers);
                    (row(model, provider.surface()), Some(account))
                })
                .collect(),
        };
        let ours = spec.phase != Phase::Extract;
        let extracting = spec.phase != Phase::Execute;
        let (ended, renewed) = (Mutex::default(), Mutex::new(Instant::now()));
        Self { session: session.clone(), rows, ours, extracting, ended, renewed, idle }
    }

    pub(super) async fn begin(&self, store: &dyn Store) -> Result<()> {
        if !self.ours {
            return self.save_overhead(store).await; // what the journal knew and the store did not
        }
        self.save(store, self.current()).await
    }

    /// Stores the charges of no cell. Nobody else writes these numbers: they are the lease's holder's.
    pub(super) async fn save_overhead(&self, store: &dyn Store) -> Result<()> {
        if self.ours {
            return self.save(store, self.current()).await;
        }
        for (row, _) in &self.rows {
            self.acknowledged(row); // the store had these numbers before
        }
        let booked = self.rows.iter().map(|(row, _)| self.with_overhead(row.clone()));
        let changed = booked.zip(&self.rows).filter(|(booked, (known, _))| booked != known).map(|(booked, _)| booked);
        self.save(store, changed.collect()).await
    }

    /// Renews the leases and stores progress when it is time.
    ///
    /// # Errors
    /// [`crate::ErrorKind::LeaseLost`], or the store's failure.
    pub(super) async fn renew(&self, store: &dyn Store) -> Result<()> {
        {
            let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(error) = self.session.leases.lost() {
                return Err(error);
            }
            if renewed.elapsed() < self.session.leases.renew_every() {
                return Ok(());
            }
            *renewed = Instant::now();
        }
        let leases = &self.session.leases;
        save::hand_over(&self.session, "renew_lease", || Box::pin(leases.renew())).await?;
        if !self.ours {
            return Ok(());
        }
        self.save(store, self.current()).await
    }

    /// Stores the status of model runs that have ended while others of this start go on: who looks from outside need not wait for
    /// the slowest. Their leases stay until the start ends. When all have ended, [`Self::end`] comes at once.
    ///
    /// # Errors
    /// The store's failure.
    pub(super) async fn end_early(&self, store: &dyn Store) -> Result<()> {
        if !self.ours || self.idle {
            return Ok(());
        }
        let has_ended = |row: &ModelRun| self.session.totals.has_ended(&row.model, self.extracting);
        if self.rows.iter().all(|(row, _)| has_ended(row)) {
            return Ok(());
        }
        let now = self.session.context.clock.now_ms();
        let known = self.ended().clone();
        // What was completed before is asked again in part, or not at all: it stays as it is.
        let is_new = |row: &ModelRun| row.status == ModelRunStatus::Running && !known.contains_key(&row.run_id);
        let new = self.rows.iter().filter(|(row, _)| is_new(row) && has_ended(row));
        let rows: Vec<ModelRun> = new.map(|(row, account)| self.closed(row, account.as_ref(), now)).collect();
        self.ended().extend(rows.iter().map(|row| (row.run_id.clone(), now)));
        self.save(store, rows).await
    }

    /// Stores the final status. True when every model run is completed.
    pub(super) async fn end(&mut self, store: &dyn Store) -> Result<bool> {
        if !self.ours {
            return self.save_overhead(store).await.map(|()| true);
        }
        let now = self.session.context.clock.now_ms();
        let rows: Vec<ModelRun> = self.rows.iter().map(|(row, account)| self.closed(row, account.as_ref(), now)).collect();
        let complete = rows.iter().all(|row| row.status == ModelRunStatus::Completed);
        self.save(store, rows).await?;
        Ok(complete)
    }

    /// The rows as they stand while this start works.
    fn current(&self) -> Vec<ModelRun> {
        let ended = self.ended().clone();
        let row = |(row, account): &(ModelRun, Option<Arc<Account>>)| match ended.get(&row.run_id) {
            Some(at) => self.closed(row, account.as_ref(), *at),
            None => self.leased(self.counted(row)),
        };
        self.rows.iter().map(row).collect()
    }

    /// The row of a model run on which nothing more is done; one that had ended before keeps its end.
    fn closed(&self, row: &ModelRun, account: Option<&Arc<Account>>, now: i64) -> ModelRun {
        let counts = self.session.totals.model(&row.model);
        let stopped = account.and_then(|account| account.stopped());
        let all = counts.terminal >= counts.total;
        let status = match (&stopped, all, counts.answered) {
            (_, true, 1..) => ModelRunStatus::Completed,
            (Some(_), false, _) | (_, true, 0) => ModelRunStatus::Failed,
            (None, false, _) => ModelRunStatus::Queued,
        };
        let ended = self.ended().get(&row.run_id).copied().unwrap_or(now);
        let mut row = self.counted(row);
        row.status = status;
        row.lease_owner = None;
        row.finished_at_ms = (status != ModelRunStatus::Queued).then_some(ended);
        row.error_message = match (stopped, status) {
            (_, ModelRunStatus::Completed) => None,
            (Some(error), _) => Some(error.message),
            (None, ModelRunStatus::Failed) => Some(format!("none of {} questions was answered", counts.total)),
            (None, _) => {
                Some(format!("{} of {} questions are open; resume continues", counts.total - counts.terminal, counts.total))
            }
        };
        row
    }

    fn ended(&self) -> MutexGuard<'_, BTreeMap<String, i64>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counted(&self, row: &ModelRun) -> ModelRun {
        let counts = self.session.totals.model(&row.model);
        ModelRun {
            query_count: counts.total,
            current_query_index: counts.terminal,
            progress_pct: if counts.total == 0 { 0.0 } else { counts.terminal as f64 * 100.0 / counts.total as f64 },
            answered: counts.answered,
            failed: counts.failed,
            ..self.journaled(self.with_overhead(row.clone()))
        }
    }

    /// The journal that knows what is in flight: ours, but for what is still to be found of another's.
    fn journaled(&self, row: ModelRun) -> ModelRun {
        let ours = self.session.journal.folder_id();
        let (id, host) = match self.session.unseen_journal(&row.model) {
            Some(theirs) => (Some(theirs.journal_id), theirs.host),
            None => (ours.map(str::to_owned), ours.and(self.session.leases.host()).map(str::to_owned)),
        };
        ModelRun { journal_id: id, journal_host: host, ..row }
    }

    fn with_overhead(&self, row: ModelRun) -> ModelRun {
        let (overhead_micro_usd, overhead_maybe_charged_micro_usd) = self.session.overhead.of(&row.model);
        ModelRun { overhead_micro_usd, overhead_maybe_charged_micro_usd, ..row }
    }

    fn leased(&self, row: ModelRun) -> ModelRun {
        ModelRun { lease_expires_at_ms: Some(self.session.context.clock.now_ms() + self.session.leases.ttl_ms()), ..row }
    }

    async fn save(&self, store: &dyn Store, rows: Vec<ModelRun>) -> Result<()> {
        if rows.is_empty() || self.idle {
            return Ok(());
        }
        save::hand_over(&self.session, "save_model_runs", || store.save_model_runs(rows.clone())).await?;
        rows.iter().for_each(|row| self.acknowledged(row));
        self.session.journal.batch_overhead_acknowledged(); // taken into the first model run's when the start began
        Ok(())
    }

    fn acknowledged(&self, row: &ModelRun) {
        let (charged, maybe) = (row.overhead_micro_usd, row.overhead_maybe_charged_micro_usd);
        self.session.journal.overhead_acknowledged(&row.model, charged, maybe);
    }
}
