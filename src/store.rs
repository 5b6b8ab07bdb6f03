//! What the user keeps. The engine sees this trait only; [`HostStore`] asks the embedding program, [`MemoryStore`] is for
//! tests and for embedding the crate in Rust.
//!
//! Contract: (1) every write is an idempotent upsert by key; (2) one call is one transaction; (3) a page is ordered by
//! key, starts after `after`, and is shorter than `limit` only at the end; (4) an extraction with `error` set writes no child row;
//! (5) a question run saved again for a key replaces the earlier one and its extraction.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::{Batch, ExistingKey, Extraction, MicroUsd, ModelRun, QuestionRun, RunStatus};
use crate::error::{Error, Result};
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
}

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    batches: BTreeMap<String, Batch>,
    model_runs: BTreeMap<String, ModelRun>,
    runs: BTreeMap<(String, String), Arc<QuestionRun>>,
    extractions: BTreeMap<(String, String), Arc<Extraction>>,
    facts: BTreeMap<String, String>,
}

impl MemoryStore {
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
        self.with(work);
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Store for MemoryStore {
    fn save_batch(&self, batch: Batch) -> BoxFuture<'_, Result<()>> {
        self.write(|tables| {
            tables.batches.insert(batch.batch_id.clone(), batch);
        })
    }

    fn save_model_runs(&self, model_runs: Vec<ModelRun>) -> BoxFuture<'_, Result<()>> {
        self.write(|tables| tables.model_runs.extend(model_runs.into_iter().map(|run| (run.run_id.clone(), run))))
    }

    fn save_question_runs(&self, runs: Vec<Arc<QuestionRun>>) -> BoxFuture<'_, Result<()>> {
        self.write(|tables| {
            for run in runs {
                let key = (run.batch_id.clone(), run.key.to_string());
                tables.extractions.remove(&key);
                tables.runs.insert(key, run);
            }
        })
    }

    fn save_extractions(&self, extractions: Vec<Arc<Extraction>>) -> BoxFuture<'_, Result<()>> {
        self.write(|tables| {
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
}

fn existing_key(key: &str, run: &QuestionRun, extraction: Option<&Extraction>) -> ExistingKey {
    let charged = |amount: Option<MicroUsd>| amount.unwrap_or_default().0;
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
        citations: stored.map_or(0, |extraction| extraction.citations.len() as u32),
        competitors: stored.map_or(0, |extraction| extraction.competitors.len() as u32),
        error_kind: run.outcome.error.as_ref().map(|error| error.kind),
    }
}
