//! The one tokio runtime of the process: made on first use, checked against forks, ended by the exit hook. Knows sessions
//! only as tasks.
//!
//! It lives in a static that is never dropped, outside of every Python object: nothing of it runs while the interpreter is
//! taken down. Every entry compares process ids before it takes a lock, because after a fork any lock may belong to a
//! thread that no longer exists.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::runtime::{Handle, Runtime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, SystemClock};
use crate::config::{Secret, Settings};
use crate::error::Result;
use crate::http::limit::LimitRegistry;
use crate::http::{HttpService, ReqwestService};
use crate::journal::disk::OsDisk;
use crate::pipeline::Context;

/// Threads that drive the tasks. One does some ten thousand questions a second, far more than any provider allows, and costs
/// a sixth less CPU than two, which wake each other (measured with benches/: 96 against 116 µs a question).
const WORKERS: usize = 1;
/// Threads for blocking work (name resolution, the journal) at most.
const BLOCKING_THREADS: usize = 8;

static ENGINE: OnceLock<Engine> = OnceLock::new();
/// Set by the exit hook: from then on nothing starts, and what arrives late is dropped silently.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Connect and idle limit in milliseconds, proxy.
type ClientKey = (u64, u64, Secret);

pub(super) struct Engine {
    pid: u32,
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
    sessions: TaskTracker,
    end: CancellationToken,
    /// One client for each set of connection settings in use: in practice one.
    clients: Mutex<HashMap<ClientKey, Arc<ReqwestService>>>,
    clock: Arc<SystemClock>,
    limits: Arc<LimitRegistry>,
}

/// The engine, made on first use.
pub(super) fn engine() -> PyResult<&'static Engine> {
    if is_closed() {
        return Err(PyRuntimeError::new_err("overheard cannot start anything while the interpreter shuts down"));
    }
    if ENGINE.get().is_none() {
        // Made before it is set, so that no thread ever waits for another inside the cell.
        let made = Engine::new()?;
        if let Err(late) = ENGINE.set(made) {
            late.discard();
        }
    }
    match ENGINE.get() {
        Some(engine) if engine.pid == std::process::id() => Ok(engine),
        _ => Err(PyRuntimeError::new_err(
            "overheard was used before this process was forked, and its threads do not live on in the child: \
             use the 'spawn' or 'forkserver' start method, or fork before the first use",
        )),
    }
}

/// True in a child of a process that used the engine: every clean-up must then do nothing.
pub(super) fn is_foreign() -> bool {
    ENGINE.get().is_some_and(|engine| engine.pid != std::process::id())
}

/// True once the exit hook ran.
pub(super) fn is_closed() -> bool {
    CLOSED.load(Ordering::Acquire)
}

impl Engine {
    fn new() -> PyResult<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("overheard")
            .enable_all()
            .build()
            .map_err(|error| PyRuntimeError::new_err(format!("overheard cannot start its threads: {error}")))?;
        Ok(Self {
            pid: std::process::id(),
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
            sessions: TaskTracker::new(),
            end: CancellationToken::new(),
            clients: Mutex::default(),
            clock: Arc::default(),
            limits: Arc::default(),
        })
    }

    /// Two threads made the first one at the same time: this one is not needed.
    fn discard(self) {
        if let Some(runtime) = self.runtime.into_inner().unwrap_or_else(PoisonError::into_inner) {
            runtime.shutdown_background();
        }
    }

    /// Starts a session's task.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.sessions.spawn_on(task, &self.handle);
    }

    /// A token that the exit hook cancels too.
    pub(super) fn cancel_token(&self) -> CancellationToken {
        self.end.child_token()
    }

    /// What the pipeline works with.
    pub(super) fn context(&self, settings: &Settings) -> Result<Context> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (settings.timeouts.connect_ms, settings.timeouts.idle_ms, settings.proxy.clone());
        let client = match clients.get(&key) {
            Some(client) => client.clone(),
            None => {
                let client = Arc::new(ReqwestService::new(&settings.timeouts, &settings.proxy)?);
                clients.insert(key, client.clone());
                client
            }
        };
        let (http, clock): (Arc<dyn HttpService>, Arc<dyn Clock>) = (client, self.clock.clone());
        Ok(Context { http, clock, limits: self.limits.clone(), disk: Arc::new(OsDisk) })
    }
}

/// The exit hook: refuses what comes next, cancels every session, waits for them up to `seconds`, ends the threads.
/// For tidiness (connections are closed, journal writes end), not for safety: no task ever touches Python.
#[pyfunction(name = "_shutdown")]
#[pyo3(signature = (seconds, /))]
pub(super) fn shutdown(py: Python<'_>, seconds: f64) {
    if CLOSED.swap(true, Ordering::AcqRel) || is_foreign() {
        return;
    }
    let Some(engine) = ENGINE.get() else { return };
    let patience = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO);
    py.detach(|| {
        // Sessions first, the runtime second: a runtime that ends under live tasks drops children before parents.
        engine.end.cancel();
        engine.sessions.close();
        let _ = engine.handle.block_on(async { tokio::time::timeout(patience, engine.sessions.wait()).await });
        if let Some(runtime) = engine.runtime.lock().unwrap_or_else(PoisonError::into_inner).take() {
            runtime.shutdown_timeout(patience);
        }
    });
}

/// Private: session tasks that have not ended yet, for the tests of cancelling.
#[pyfunction(name = "_live_sessions")]
pub(super) fn live_sessions() -> usize {
    if is_foreign() { 0 } else { ENGINE.get().map_or(0, |engine| engine.sessions.len()) }
}
