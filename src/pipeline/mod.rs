//! The engine: plan, execute, extract. This file is its face; the parts are beside it.

mod account;
mod answers;
mod ask;
mod boards;
mod budget;
mod call;
mod custom;
mod direct;
mod existing;
mod extract;
mod extract_answer;
mod extract_batch;
mod health;
mod learned;
mod leases;
mod lost;
mod model_runs;
mod model_stop;
mod names;
mod note;
mod open;
mod overhead;
mod place;
mod plan;
mod queries;
mod quote;
mod resolve;
mod run;
mod save;
mod session;
mod snapshot;
mod spec;
mod structured;
mod takeover;
mod totals;
mod unpriced;
mod work;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::{Outcome, Summary};
use crate::error::Result;
use crate::host::Host;
use crate::http::HttpService;
use crate::http::limit::LimitRegistry;
use crate::journal::disk::Disk;
use crate::store::{HostStore, Store};

pub use answers::{AnswersSpec, extract_answers};
pub use spec::{AccountLine, AskSpec, CustomProvider, ModelSpec, Phase, Quote, QuoteLine, RunSpec};
pub use structured::{StructuredOutcome, StructuredQuote, StructuredSpec, quote_structured, structured};

/// What the engine works with. One per process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    /// Sends requests.
    pub http: Arc<dyn HttpService>,
    /// Time of day and chance.
    pub clock: Arc<dyn Clock>,
    /// Speed caps, shared by all runs of the process.
    pub limits: Arc<LimitRegistry>,
    /// Where the journal is written.
    pub disk: Arc<dyn Disk>,
}

/// Runs (or continues) a batch: the phases the spec names, until done, stopped through `stop`, or failed. `stop` is the
/// graceful way (nothing new starts, paid work in flight gets its grace); dropping the future is the immediate one.
///
/// # Errors
/// [`crate::ErrorKind::Config`] before anything is sent; [`crate::ErrorKind::Host`] when the store keeps failing.
pub async fn run(context: Context, spec: RunSpec, host: Host, stop: CancellationToken) -> Result<Summary> {
    let store = Arc::new(HostStore::new(host.clone()));
    run::run(context, spec, host, store, stop).await
}

/// As [`run`], with a store in Rust; `host` gets log lines and progress, and is asked for custom providers only.
///
/// # Errors
/// As [`run`].
pub async fn run_with_store(
    context: Context,
    spec: RunSpec,
    host: Host,
    store: Arc<dyn Store>,
    stop: CancellationToken,
) -> Result<Summary> {
    Box::pin(run::run(context, spec, host, store, stop)).await
}

/// Asks a list of questions of one model, without a store: one outcome per question, in order.
///
/// # Errors
/// [`crate::ErrorKind::Config`] before anything is sent. A single question never fails the call.
pub async fn ask(context: Context, spec: AskSpec, host: Host) -> Result<Vec<Outcome>> {
    ask::ask(context, spec, host).await
}

/// What a start that goes on with a stored batch would do and cost at most, without doing it. Reads the store, writes nothing.
///
/// # Errors
/// As [`run`].
pub async fn quote_stored(spec: &RunSpec, host: Host) -> Result<Quote> {
    quote::quote_stored(spec, &HostStore::new(host)).await
}

/// As [`quote_stored`], with a store in Rust.
///
/// # Errors
/// As [`run`].
pub async fn quote_with_store(spec: &RunSpec, store: &dyn Store) -> Result<Quote> {
    quote::quote_stored(spec, store).await
}

/// What the run of a new batch would do and cost at most, without doing it.
///
/// # Errors
/// [`crate::ErrorKind::Config`] as [`run`].
pub fn quote(spec: &RunSpec) -> Result<Quote> {
    quote::quote(spec)
}
