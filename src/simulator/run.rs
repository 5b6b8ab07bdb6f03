//! Starts and stops the simulator: a thread of its own with a runtime of its own, so that it neither needs nor disturbs the
//! caller's. Holds no behaviour of a provider.

use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;

use super::config::Config;
use super::server;
use super::sim::Sim;
use super::wire::{Wire, WireListener};

/// Why the simulator could not start, or did not understand.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be bound.
    #[error("the simulator cannot listen on {address}: {source}")]
    Bind {
        /// `host:port`.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// No thread or runtime could be made.
    #[error("the simulator cannot start a thread: {0}")]
    Thread(#[from] io::Error),
    /// A fault that does not exist, or a malformed rule.
    #[error("{0}")]
    Fault(String),
}

/// Starts simulators.
#[derive(Debug)]
pub struct Simulator;

impl Simulator {
    /// Binds and serves; returns when the socket accepts connections.
    ///
    /// # Errors
    /// [`Error::Bind`] when the address is taken or not ours, [`Error::Thread`] when the system gives no thread.
    pub fn start(config: Config) -> Result<Running, Error> {
        let address = format!("{}:{}", config.host, config.port);
        let refuse = |source| Error::Bind { address: address.clone(), source };
        let listener = StdListener::bind((config.host.as_str(), config.port)).map_err(refuse)?;
        listener.set_nonblocking(true).map_err(refuse)?;
        let bound = listener.local_addr().map_err(refuse)?;
        let url = format!("http://{bound}");
        let threads = config.threads.max(1);
        let sim = Arc::new(Sim::new(config, url.clone()));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .max_blocking_threads(1)
            .thread_name("simulator")
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let served = Arc::clone(&sim);
        let thread = std::thread::Builder::new().name("simulator".to_owned()).spawn(move || {
            // The future is spawned, not blocked on: then the workers alone serve, and this thread only waits.
            let serving = runtime.spawn(async move {
                if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                    let service = server::router(served).into_make_service_with_connect_info::<Wire>();
                    let _ = axum::serve(WireListener(listener), service).await;
                }
            });
            let _ = runtime.block_on(stopped);
            serving.abort();
            runtime.shutdown_timeout(Duration::from_secs(1));
        })?;
        Ok(Running { sim, url, stop: Some(stop), thread: Some(thread) })
    }
}

/// A running simulator; stops when dropped.
#[derive(Debug)]
pub struct Running {
    sim: Arc<Sim>,
    url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// `http://host:port`, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What `GET /_sim/ledger` says; `charges`: with the single charges.
    #[must_use]
    pub fn ledger(&self, charges: bool) -> Value {
        server::ledger(&self.sim, charges)
    }

    /// What `GET /_sim/truth` says.
    #[must_use]
    pub fn truth(&self) -> Value {
        server::truth(&self.sim)
    }

    /// What `POST /_sim/faults` does.
    ///
    /// # Errors
    /// [`Error::Fault`] when the rule is malformed or the fault unknown.
    pub fn inject(&self, rule: &Value) -> Result<(), Error> {
        self.sim.faults().add(rule).map_err(Error::Fault)
    }

    /// What `DELETE /_sim/faults` does.
    pub fn clear_faults(&self) {
        self.sim.faults().clear();
    }

    /// Stops serving and waits until the port is free. Calls in flight are cut. A second call does nothing.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}
