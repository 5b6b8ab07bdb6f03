//! What the user keeps. The engine sees this trait only; [`HostStore`] asks the embedding program, [`MemoryStore`] is for
//! tests and for embedding the crate in Rust.
//!
//! Contract: (1) every write is an idempotent upsert by key; (2) one call is one transaction; (3) a page is ordered by
//! key, starts after `after`, and is shorter than `limit` only at the end; (4) an extraction with `error` set writes no child row;
//! (5) a question run saved again for a key replaces the earlier one and its extraction; (6) a store with leases grants one of a
//! model run to one owner at a time, raises its fence with every change of owner, and refuses what a former owner writes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::{Clock, SystemClock};
use crate::domain::{
    Batch, ExistingKey, Extraction, HeldLease, Lease, MicroUsd, ModelRun, QuestionRun, RunStatus, describe_owner,
};
use crate::error::{Error, ErrorKind, Result};
use crate::host::{Host, HostCall, HostReply};
use crate::http::BoxFuture;

/// See the module's contract.
pub trait Store: Send + Sync {
    /// Upserts the batch.
    fn save_batch(&self, batch: Batch) -> BoxFuture<'_, Result<()>>;
    /// Upserts model runs.
    fn save_model_runs(&self, model_runs: Vec<ModelRun>) -> BoxFuture<'_, Result<()>>;
    /// Upserts question runs.
    fn save_question_runs(&self, runs: Vec<Arc<QuestionRun>>) -> BoxFuture<'_, Result<()>>;
    /// Writes extractions.
    fn save_extractions(&self, extractions: Vec<Arc<Extraction>>) -> BoxFuture<'_, Result<()>>;
    /// A page of keys.
    fn existing_keys(&self, batch_id: String, after: Option<String>, limit: usize) -> BoxFuture<'_, Result<Vec<ExistingKey>>>;
    /// A page of answered question runs without an extraction.
    fn unextracted_runs(&self, batch_id: String, after: Option<String>, limit: usize) -> BoxFuture<'_, Result<Vec<QuestionRun>>>;
    /// A fact kept across runs.
    fn load_fact(&self, name: String) -> BoxFuture<'_, Result<Option<String>>>;
    /// Keeps a fact.
    fn save_fact(&self, name: String, value: String) -> BoxFuture<'_, Result<()>>;

    /// Takes the leases of these model runs for `owner`, each for itself: one answer each, in order, that tells who has it when
    /// it is not granted. `None`: this store has no leases.
    fn acquire_leases(&self, _run_ids: Vec<String>, _owner: String, _ttl_ms: i64) -> BoxFuture<'_, Result<Option<Vec<Lease>>>> {
        Box::pin(std::future::ready(Ok(None)))
    }
    /// Renews leases: one answer each, in order, that tells who has it when it is lost.
    fn renew_leases(&self, _leases: Vec<HeldLease>, _owner: String, _ttl_ms: i64) -> BoxFuture<'_, Result<Vec<Lease>>> {
        Box::pin(std::future::ready(Err(Error::internal("this store has no leases"))))
    }
    /// Gives leases back; one that is lost is left alone.
    fn release_leases(&self, _leases: Vec<HeldLease>, _owner: String) -> BoxFuture<'_, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The store behind the host.
#[derive(Debug, Clone)]
pub struct HostStore {
    host: Host,
}

impl HostStore {
    /// A store that asks `host`.
    #[must_use]
    pub fn new(host: Host) -> Self {
        Self { host }
    }

    async fn done(&self, call: HostCall) -> Result<()> {
        let name = call.name();
        match self.host.call(call).await? {
            HostReply::Done => Ok(()),
            _ => Err(Error::internal(format!("{name} was answered with something else"))),
        }
    }
}

impl Store for HostStore {
    fn save_batch(&self, batch: Batch) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.done(HostCall::SaveBatch(Box::new(batch))))
    }

    fn save_model_runs(&self, model_runs: Vec<ModelRun>) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.done(HostCall::SaveModelRuns(model_runs)))
    }

    fn save_question_runs(&self, runs: Vec<Arc<QuestionRun>>) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.done(HostCall::SaveQuestionRuns(runs)))
    }

    fn save_extractions(&self, extractions: Vec<Arc<Extraction>>) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.done(HostCall::SaveExtractions(extractions)))
    }

    fn existing_keys(&self, batch_id: String, after: Option<String>, limit: usize) -> BoxFuture<'_, Result<Vec<ExistingKey>>> {
        Box::pin(async move {
            match self.host.call(HostCall::ExistingKeys { batch_id, after, limit }).await? {
                HostReply::Keys(keys) => Ok(keys),
                _ => Err(Error::internal("existing_keys was answered with something else")),
            }
        })
    }

    fn unextracted_runs(&self, batch_id: String, after: Option<String>, limit: usize) -> BoxFuture<'_, Result<Vec<QuestionRun>>> {
        Box::pin(async move {
            match self.host.call(HostCall::QuestionRuns { batch_id, after, limit }).await? {
                HostReply::Runs(runs) => Ok(runs),
                _ => Err(Error::internal("question_runs was answered with something else")),
            }
        })
    }

    fn load_fact(&self, name: String) -> BoxFuture<'_, Result<Option<String>>> {
        Box::pin(async move {
            match self.host.call(HostCall::LoadFact(name)).await? {
                HostReply::Fact(fact) => Ok(fact),
                _ => Err(Error::internal("load_fact was answered with something else")),
            }
        })
    }

    fn save_fact(&self, name: String, value: String) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.done(HostCall::SaveFact(name, value)))
    }

    fn acquire_leases(&self, run_ids: Vec<String>, owner: String, ttl_ms: i64) -> BoxFuture<'_, Result<Option<Vec<Lease>>>> {
        Box::pin(async move {
            match self.host.call(HostCall::AcquireLeases { run_ids, owner, ttl_ms }).await? {
                HostReply::Leases(leases) => Ok(leases),
                _ => Err(Error::internal("acquire_lease was answered with something else")),
            }
        })
    }

    fn renew_leases(&self, leases: Vec<HeldLease>, owner: String, ttl_ms: i64) -> BoxFuture<'_, Result<Vec<Lease>>> {
        Box::pin(async move {
            match self.host.call(HostCall::RenewLeases { leases, owner, ttl_ms }).await? {
                HostReply::Leases(Some(leases)) => Ok(leases),
                _ => Err(Error::internal("renew_lease was answered with something else")),
            }
        })
    }

    fn release_leases(&self, leases: Vec<HeldLease>, owner: String) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.done(HostCall::ReleaseLeases { leases, owner }))
    }
}

/// A store in memory. It refuses what a former owner of a lease writes through a [`MemoryStore::for_owner`] of its own.
#[derive(Debug)]
pub struct MemoryStore {
    tables: Arc<Mutex<Tables>>,
    clock: Arc<dyn Clock>,
    /// The leases that were granted through this object: what is written through it must still be theirs.
    held: Mutex<BTreeMap<String, i64>>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::with_clock(Arc::new(SystemClock::default()))
    }
}

#[derive(Debug, Default)]
struct Tables {
    leases: BTreeMap<String, LeaseRow>,
    batches: BTreeMap<String, Batch>,
    model_runs: BTreeMap<String, ModelRun>,
    runs: BTreeMap<(String, String), Arc<QuestionRun>>,
    extractions: BTreeMap<(String, String), Arc<Extraction>>,
    facts: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
struct LeaseRow {
    fence: i64,
    owner: Option<String>,
    expires_at_ms: Option<i64>,
}

impl MemoryStore {
    /// An empty store whose leases live by `clock`.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { tables: Arc::default(), clock, held: Mutex::default() }
    }

    /// The same tables as another process sees them.
    #[must_use]
    pub fn for_owner(&self) -> Self {
        Self { tables: self.tables.clone(), clock: self.clock.clone(), held: Mutex::default() }
    }

    /// Ends all leases, as the death of their owners would where it can be seen.
    pub fn end_leases(&self) {
        self.with(|tables| tables.leases.values_mut().for_each(|row| row.owner = None));
    }

    /// The question runs of a batch, in key order.
    #[must_use]
    pub fn runs(&self, batch_id: &str) -> Vec<Arc<QuestionRun>> {
        self.with(|tables| tables.runs.iter().filter(|((batch, _), _)| batch == batch_id).map(|(_, run)| run.clone()).collect())
    }

    /// The extractions of a batch, in key order.
    #[must_use]
    pub fn extractions(&self, batch_id: &str) -> Vec<Arc<Extraction>> {
        self.with(|tables| {
            tables
                .extractions
                .iter()
                .filter(|((batch, _), _)| batch == batch_id)
                .map(|(_, extraction)| extraction.clone())
                .collect()
        })
    }

    /// The model runs of a batch.
    #[must_use]
    pub fn model_runs(&self, batch_id: &str) -> Vec<ModelRun> {
        self.with(|tables| tables.model_runs.values().filter(|run| run.batch_id == batch_id).cloned().collect())
    }

    fn with<T>(&self, work: impl FnOnce(&mut Tables) -> T) -> T {
        work(&mut self.tables.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, work: impl FnOnce(&mut Tables)) -> BoxFuture<'_, Result<()>> {
        self.write_as(&[], work)
    }

    /// Writes rows of these model runs, unless one of their leases that were granted here has gone to another owner.
    fn write_as(&self, run_ids: &[&str], work: impl FnOnce(&mut Tables)) -> BoxFuture<'_, Result<()>> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.with(|tables| {
            for run_id in run_ids {
                if let (Some(fence), Some(row)) = (held.get(*run_id), tables.leases.get(*run_id))
                    && *fence != row.fence
                {
                    return Err(lease_lost(run_id, row.owner.as_deref()));
                }
            }
            work(tables);
            Ok(())
        });
        drop(held);
        Box::pin(std::future::ready(written))
    }
}

impl Store for MemoryStore {
    fn save_batch(&self, batch: Batch) -> BoxFuture<'_, Result<()>> {
        self.write(|tables| {
            tables.batches.insert(batch.batch_id.clone(), batch);
        })
    }

    fn save_model_runs(&self, model_runs: Vec<ModelRun>) -> BoxFuture<'_, Result<()>> {
        let owned: Vec<String> = model_runs.iter().map(|run| run.run_id.clone()).collect();
        let run_ids: Vec<&str> = owned.iter().map(String::as_str).collect();
        self.write_as(&run_ids, |tables| tables.model_runs.extend(model_runs.into_iter().map(|run| (run.run_id.clone(), run))))
    }

    fn save_question_runs(&self, runs: Vec<Arc<QuestionRun>>) -> BoxFuture<'_, Result<()>> {
        let owned: Vec<Arc<QuestionRun>> = runs.clone();
        let run_ids: Vec<&str> = owned.iter().map(|run| run.run_id.as_str()).collect();
        self.write_as(&run_ids, |tables| {
            for run in runs {
                let key = (run.batch_id.clone(), run.key.to_string());
                tables.extractions.remove(&key);
                tables.runs.insert(key, run);
            }
        })
    }

    fn save_extractions(&self, extractions: Vec<Arc<Extraction>>) -> BoxFuture<'_, Result<()>> {
        let owned: Vec<Arc<Extraction>> = extractions.clone();
        let run_ids: Vec<&str> = owned.iter().map(|extraction| extraction.run_id.as_str()).collect();
        self.write_as(&run_ids, |tables| {
            for extraction in extractions {
                tables.extractions.insert((extraction.batch_id.clone(), extraction.key.to_string()), extraction);
            }
        })
    }

    fn existing_keys(&self, batch_id: String, after: Option<String>, limit: usize) -> BoxFuture<'_, Result<Vec<ExistingKey>>> {
        let page = self.with(|tables| {
            let after = after.unwrap_or_default();
            let rows = tables.runs.iter().filter(|((batch, key), _)| *batch == batch_id && *key > after).take(limit);
            rows.map(|((batch, key), run)| {
                let extraction = tables.extractions.get(&(batch.clone(), key.clone()));
                existing_key(key, run, extraction.map(Arc::as_ref))
            })
            .collect()
        });
        Box::pin(std::future::ready(Ok(page)))
    }

    fn unextracted_runs(&self, batch_id: String, after: Option<String>, limit: usize) -> BoxFuture<'_, Result<Vec<QuestionRun>>> {
        let page = self.with(|tables| {
            let after = after.unwrap_or_default();
            let wanted = |batch: &String, key: &String, run: &QuestionRun| {
                let extraction = tables.extractions.get(&(batch.clone(), key.clone()));
                *batch == batch_id
                    && *key > after
                    && run.outcome.status == RunStatus::Answered
                    && extraction.is_none_or(|extraction| extraction.error.is_some())
            };
            let rows = tables.runs.iter().filter(|((batch, key), run)| wanted(batch, key, run)).take(limit);
            rows.map(|(_, run)| run.as_ref().clone()).collect()
        });
        Box::pin(std::future::ready(Ok(page)))
    }

    fn load_fact(&self, name: String) -> BoxFuture<'_, Result<Option<String>>> {
        let fact = self.with(|tables| tables.facts.get(&name).cloned());
        Box::pin(std::future::ready(Ok(fact)))
    }

    fn save_fact(&self, name: String, value: String) -> BoxFuture<'_, Result<()>> {
        self.write(|tables| {
            tables.facts.insert(name, value);
        })
    }

    fn acquire_leases(&self, run_ids: Vec<String>, owner: String, ttl_ms: i64) -> BoxFuture<'_, Result<Option<Vec<Lease>>>> {
        let now = self.clock.now_ms();
        let leases: Vec<Lease> =
            self.with(|tables| run_ids.into_iter().map(|run_id| tables.acquire(run_id, &owner, now, ttl_ms)).collect());
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.extend(leases.iter().filter(|lease| lease.granted).map(|lease| (lease.run_id.clone(), lease.fence)));
        Box::pin(std::future::ready(Ok(Some(leases))))
    }

    fn renew_leases(&self, leases: Vec<HeldLease>, owner: String, ttl_ms: i64) -> BoxFuture<'_, Result<Vec<Lease>>> {
        let now = self.clock.now_ms();
        let renewed = self.with(|tables| {
            let renew = |(run_id, fence): HeldLease| {
                let row = tables.leases.entry(run_id.clone()).or_default();
                let granted = row.fence == fence && row.owner.as_ref().is_none_or(|now| *now == owner);
                if granted {
                    row.owner = Some(owner.clone());
                    row.expires_at_ms = Some(now + ttl_ms);
                }
                row.told(run_id, granted)
            };
            leases.into_iter().map(renew).collect()
        });
        Box::pin(std::future::ready(Ok(renewed)))
    }

    fn release_leases(&self, leases: Vec<HeldLease>, owner: String) -> BoxFuture<'_, Result<()>> {
        let now = self.clock.now_ms();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        self.with(|tables| {
            for (run_id, fence) in leases {
                if let Some(row) = tables.leases.get_mut(&run_id)
                    && row.fence == fence
                    && row.owner.as_ref() == Some(&owner)
                {
                    row.owner = None;
                    row.expires_at_ms = Some(now);
                    held.remove(&run_id);
                }
            }
        });
        drop(held);
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Tables {
    fn acquire(&mut self, run_id: String, owner: &str, now: i64, ttl_ms: i64) -> Lease {
        let row = self.leases.entry(run_id.clone()).or_default();
        let same = row.owner.as_deref() == Some(owner);
        if row.owner.is_some() && !same && row.expires_at_ms.is_some_and(|expires| expires > now) {
            return row.told(run_id, false);
        }
        let last_alive_ms = row.expires_at_ms.map(|expires| expires.min(now));
        row.fence += i64::from(!same);
        row.owner = Some(owner.to_owned());
        row.expires_at_ms = Some(now + ttl_ms);
        let before = self.model_runs.get(&run_id);
        Lease {
            last_alive_ms,
            journal_id: before.and_then(|run| run.journal_id.clone()),
            journal_host: before.and_then(|run| run.journal_host.clone()),
            ..row.told(run_id, true)
        }
    }
}

impl LeaseRow {
    fn told(&self, run_id: String, granted: bool) -> Lease {
        let (owner, expires_at_ms) = (self.owner.clone(), self.expires_at_ms);
        Lease { run_id, granted, fence: self.fence, owner, expires_at_ms, ..Lease::default() }
    }
}

fn lease_lost(run_id: &str, owner: Option<&str>) -> Error {
    let who = owner.map_or_else(|| "another start that has ended".to_owned(), describe_owner);
    Error::new(ErrorKind::LeaseLost, format!("the model run {run_id} was taken over by {who}: nothing of it is written"))
}

fn existing_key(key: &str, run: &QuestionRun, extraction: Option<&Extraction>) -> ExistingKey {
    let charged = |amount: Option<MicroUsd>| amount.unwrap_or_default().0;
    let unknown = |amount: Option<MicroUsd>| u32::from(amount.is_none());
    let stored = extraction.filter(|extraction| extraction.error.is_none());
    ExistingKey {
        key: key.to_owned(),
        status: run.outcome.status,
        extracted: stored.is_some(),
        cost_micro_usd: charged(run.outcome.cost_micro_usd)
            + extraction.map_or(0, |extraction| charged(extraction.cost_micro_usd)),
        maybe_charged_micro_usd: run.outcome.maybe_charged_micro_usd.0
            + extraction.map_or(0, |extraction| extraction.maybe_charged_micro_usd.0),
        extraction_cost_micro_usd: extraction.map_or(0, |extraction| charged(extraction.cost_micro_usd)),
        extraction_maybe_charged_micro_usd: extraction.map_or(0, |extraction| extraction.maybe_charged_micro_usd.0),
        unpriced: unknown(run.outcome.cost_micro_usd) + extraction.map_or(0, |extraction| unknown(extraction.cost_micro_usd)),
        extraction_unpriced: extraction.map_or(0, |extraction| unknown(extraction.cost_micro_usd)),
        citations: stored.map_or(0, |extraction| extraction.citations.len() as u32),
        competitors: stored.map_or(0, |extraction| extraction.competitors.len() as u32),
        error_kind: run.outcome.error.as_ref().map(|error| error.kind),
    }
}
