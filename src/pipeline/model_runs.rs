//! The model runs of a run: begun with a lease, renewed with their progress, ended with their status.

use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::account::Account;
use super::resolve;
use super::save;
use super::session::Session;
use super::spec::{Phase, RunSpec};
use crate::domain::{ModelRun, ModelRunStatus};
use crate::error::Result;
use crate::providers::Provider;
use crate::store::Store;

/// A lease lives this long without renewal.
const LEASE_MS: i64 = 60_000;
/// Leases are renewed, and progress is stored, this often.
const RENEW_EVERY: Duration = Duration::from_secs(10);

pub(super) struct ModelRuns {
    session: Arc<Session>,
    rows: Vec<(ModelRun, Option<Arc<Account>>)>,
    renewed: Mutex<Instant>,
}

impl ModelRuns {
    pub(super) fn new(session: &Arc<Session>, spec: &RunSpec, providers: &[Arc<dyn Provider>]) -> Self {
        let now = session.context.clock.now_ms();
        let owner = format!("{}:{}", std::process::id(), uuid::Uuid::new_v4().simple());
        let row = |run_id: &String, model: &String, surface: &str| ModelRun {
            run_id: run_id.clone(),
            batch_id: spec.batch_id.clone(),
            batch_size: spec.batch_size,
            org_id: spec.org.id.clone(),
            surface: surface.to_owned(),
            model: model.clone(),
            status: ModelRunStatus::Running,
            query_count: 0,
            current_query_index: 0,
            progress_pct: 0.0,
            answered: 0,
            failed: 0,
            started_at_ms: Some(now),
            finished_at_ms: None,
            error_message: None,
            lease_owner: Some(owner.clone()),
            lease_expires_at_ms: None,
        };
        let rows = match spec.phase {
            Phase::Extract => Vec::new(), // the answers are there: no model runs
            Phase::Run | Phase::Execute => spec
                .models
                .iter()
                .zip(providers)
                .map(|(model, provider)| {
                    let account = resolve::account(session, provider.as_ref(), &spec.custom_providers);
                    (row(&model.run_id, &model.model, provider.surface()), Some(account))
                })
                .collect(),
        };
        Self { session: session.clone(), rows, renewed: Mutex::new(Instant::now()) }
    }

    pub(super) async fn begin(&self, store: &dyn Store) -> Result<()> {
        self.save(store, self.rows.iter().map(|(row, _)| self.counted(row)).map(|row| self.leased(row)).collect()).await
    }

    /// Stores progress and a new lease when it is time.
    pub(super) async fn renew(&self, store: &dyn Store) -> Result<()> {
        {
            let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
            if renewed.elapsed() < RENEW_EVERY {
                return Ok(());
            }
            *renewed = Instant::now();
        }
        self.save(store, self.rows.iter().map(|(row, _)| self.counted(row)).map(|row| self.leased(row)).collect()).await
    }

    /// Stores the final status. True when every model run is completed.
    pub(super) async fn end(&mut self, store: &dyn Store) -> Result<bool> {
        let now = self.session.context.clock.now_ms();
        let rows: Vec<ModelRun> = self
            .rows
            .iter()
            .map(|(row, account)| {
                let counts = self.session.totals.model(&row.model);
                let stopped = account.as_ref().and_then(|account| account.stopped());
                let all = counts.terminal >= counts.total;
                let status = match (&stopped, all, counts.answered) {
                    (_, true, 1..) => ModelRunStatus::Completed,
                    (Some(_), false, _) | (_, true, 0) => ModelRunStatus::Failed,
                    (None, false, _) => ModelRunStatus::Queued,
                };
                let mut row = self.counted(row);
                row.status = status;
                row.lease_owner = None;
                row.finished_at_ms = (status != ModelRunStatus::Queued).then_some(now);
                row.error_message = match (stopped, status) {
                    (_, ModelRunStatus::Completed) => None,
                    (Some(error), _) => Some(error.message),
                    (None, ModelRunStatus::Failed) => Some(format!("none of {} questions was answered", counts.total)),
                    (None, _) => Some(format!(
                        "{} of {} questions are open; resume continues",
                        counts.total - counts.terminal,
                        counts.total
                    )),
                };
                row
            })
            .collect();
        let complete = rows.iter().all(|row| row.status == ModelRunStatus::Completed);
        self.save(store, rows).await?;
        Ok(complete)
    }

    fn counted(&self, row: &ModelRun) -> ModelRun {
        let counts = self.session.totals.model(&row.model);
        ModelRun {
            query_count: counts.total,
            current_query_index: counts.terminal,
            progress_pct: if counts.total == 0 { 0.0 } else { counts.terminal as f64 * 100.0 / counts.total as f64 },
            answered: counts.answered,
            failed: counts.failed,
            ..row.clone()
        }
    }

    fn leased(&self, row: ModelRun) -> ModelRun {
        ModelRun { lease_expires_at_ms: Some(self.session.context.clock.now_ms() + LEASE_MS), ..row }
    }

    async fn save(&self, store: &dyn Store, rows: Vec<ModelRun>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        save::hand_over(&self.session, "save_model_runs", || store.save_model_runs(rows.clone())).await
    }
}
