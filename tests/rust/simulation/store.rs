//! The user's store as it may behave: it raises before it writes, writes and raises, is slow, is away for minutes. What it has
//! committed is durable whatever happens to the process.

use std::sync::Arc;
use std::time::Duration;

use overheard::domain::{Batch, ExistingKey, Extraction, ModelRun, QuestionRun};
use overheard::http::BoxFuture;
use overheard::store::{MemoryStore, Store};
use overheard::{Error, ErrorKind, Result};

use super::crash::Point;
use super::planted::Planted;
use super::sim::{Sim, lock};

/// How a call of the store goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    None,
    Raise,
    CommitThenRaise,
    Slow(u64),
    Away,
}

pub struct SimStore {
    sim: Arc<Sim>,
    pub tables: Arc<MemoryStore>,
    batch: std::sync::Mutex<Option<Batch>>,
}

impl SimStore {
    pub fn new(sim: Arc<Sim>) -> Arc<Self> {
        Arc::new(Self { sim, tables: Arc::default(), batch: std::sync::Mutex::default() })
    }

    /// The batch's row, as committed last.
    pub fn batch(&self) -> Option<Batch> {
        lock(&self.batch).clone()
    }

    fn raised(name: &str) -> Error {
        Error::new(ErrorKind::Host, format!("{name} raised: the database is locked"))
    }

    /// A call around `work`, which commits or reads.
    fn call<'a, T: Send + 'a>(
        &'a self,
        name: &'static str,
        work: impl FnOnce() -> BoxFuture<'a, Result<T>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T>> {
        Box::pin(async move {
            self.sim.at(Point::BeforeStore).await;
            let now = self.sim.elapsed_ms();
            let fault = self.sim.weather().store(now);
            match fault {
                StoreFault::Raise => {
                    self.sim.count("store: raises");
                    self.sim.event(format!("store: {name} raises"));
                    return Err(Self::raised(name));
                }
                StoreFault::Away => {
                    self.sim.count("store: away");
                    self.sim.event(format!("store: {name} while it is away"));
                    return Err(Self::raised(name));
                }
                StoreFault::Slow(ms) => {
                    self.sim.count("store: slow");
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                }
                StoreFault::None | StoreFault::CommitThenRaise => {}
            }
            let done = work().await;
            self.sim.event(format!("store: {name}"));
            self.sim.at(Point::StoreCommitted).await;
            if fault == StoreFault::CommitThenRaise {
                self.sim.count("store: commits and raises");
                self.sim.event(format!("store: {name} raises after its commit"));
                return Err(Self::raised(name));
            }
            done
        })
    }
}

impl Store for SimStore {
    fn save_batch(&self, batch: Batch) -> BoxFuture<'_, Result<()>> {
        self.call("save_batch", move || {
            *lock(&self.batch) = Some(batch.clone());
            self.tables.save_batch(batch)
        })
    }

    fn save_model_runs(&self, model_runs: Vec<ModelRun>) -> BoxFuture<'_, Result<()>> {
        self.call("save_model_runs", move || self.tables.save_model_runs(model_runs))
    }

    fn save_question_runs(&self, runs: Vec<Arc<QuestionRun>>) -> BoxFuture<'_, Result<()>> {
        self.call("save_question_runs", move || {
            if self.sim.is_planted(Planted::EarlyAcknowledgement) && !self.sim.weather().is_calm() {
                return Box::pin(std::future::ready(Ok(())));
            }
            self.tables.save_question_runs(runs)
        })
    }

    fn save_extractions(&self, extractions: Vec<Arc<Extraction>>) -> BoxFuture<'_, Result<()>> {
        self.call("save_extractions", move || self.tables.save_extractions(extractions))
    }

    fn existing_keys(&self, batch_id: String, after: Option<String>, limit: usize) -> BoxFuture<'_, Result<Vec<ExistingKey>>> {
        self.call("existing_keys", move || self.tables.existing_keys(batch_id, after, limit))
    }

    fn unextracted_runs(&self, batch_id: String, after: Option<String>, limit: usize) -> BoxFuture<'_, Result<Vec<QuestionRun>>> {
        self.call("question_runs", move || self.tables.unextracted_runs(batch_id, after, limit))
    }

    fn load_fact(&self, name: String) -> BoxFuture<'_, Result<Option<String>>> {
        self.call("load_fact", move || self.tables.load_fact(name))
    }

    fn save_fact(&self, name: String, value: String) -> BoxFuture<'_, Result<()>> {
        self.call("save_fact", move || self.tables.save_fact(name, value))
    }
}
