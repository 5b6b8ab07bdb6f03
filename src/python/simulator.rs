//! The simulator for Python: a handle that starts, tells and stops. Crosses as JSON text; holds no behaviour.

use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::simulator::{Config, Error, Rates, Running, Simulator as Starter};

/// Provider APIs on a real socket. `overheard.simulator.Simulator` is its public face.
#[pyclass(module = "overheard._core", frozen)]
#[derive(Debug)]
pub(crate) struct Simulator {
    url: String,
    running: Mutex<Option<Running>>,
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        match error {
            Error::Fault(message) => PyValueError::new_err(message),
            Error::Bind { .. } | Error::Thread(_) => PyOSError::new_err(error.to_string()),
        }
    }
}

impl Simulator {
    fn with<T>(&self, python: Python<'_>, then: impl FnOnce(&Running) -> T + Send) -> PyResult<T>
    where
        T: Send,
    {
        python.detach(|| {
            let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.as_ref().map(then).ok_or_else(|| PyRuntimeError::new_err("the simulator is stopped"))
        })
    }
}

#[pymethods]
impl Simulator {
    #[new]
    #[pyo3(signature = (*, seed, host, port, latency_ms, snapshot_ms, spread, answer_chars, record, threads, requests_per_second, running_small, running_large, rates))]
    #[expect(clippy::too_many_arguments, reason = "keyword-only; the Python class has the defaults")]
    fn new(
        python: Python<'_>,
        seed: u64,
        host: String,
        port: u16,
        latency_ms: u64,
        snapshot_ms: u64,
        spread: f64,
        answer_chars: usize,
        record: bool,
        threads: usize,
        requests_per_second: f64,
        running_small: usize,
        running_large: usize,
        rates: Vec<(String, f64)>,
    ) -> PyResult<Self> {
        let mut chosen = Rates::default();
        for (name, value) in rates {
            chosen.set(&name, value).map_err(PyValueError::new_err)?;
        }
        if !(0.0..=1.0).contains(&spread) {
            return Err(PyValueError::new_err(format!("spread: {spread} is not between 0 and 1")));
        }
        let config = Config {
            host,
            port,
            seed,
            latency_ms,
            snapshot_ms,
            spread,
            answer_chars,
            record,
            threads,
            requests_per_second,
            running_small,
            running_large,
            rates: chosen,
        };
        let running = python.detach(|| Starter::start(config))?;
        Ok(Self { url: running.url().to_owned(), running: Mutex::new(Some(running)) })
    }

    /// `http://host:port`.
    #[getter]
    fn url(&self) -> &str {
        &self.url
    }

    /// The ledger as JSON text.
    fn ledger(&self, python: Python<'_>, charges: bool) -> PyResult<String> {
        self.with(python, |running| running.ledger(charges).to_string())
    }

    /// The truth as JSON text.
    fn truth(&self, python: Python<'_>) -> PyResult<String> {
        self.with(python, |running| running.truth().to_string())
    }

    /// Adds a fault rule, given as JSON text.
    fn inject(&self, python: Python<'_>, rule: &str) -> PyResult<()> {
        let rule = serde_json::from_str(rule).map_err(|error| PyValueError::new_err(error.to_string()))?;
        self.with(python, move |running| running.inject(&rule))?.map_err(PyErr::from)
    }

    /// Forgets all fault rules.
    fn clear_faults(&self, python: Python<'_>) -> PyResult<()> {
        self.with(python, Running::clear_faults)
    }

    /// Stops it; a second call does nothing.
    fn stop(&self, python: Python<'_>) {
        python.detach(|| drop(self.running.lock().unwrap_or_else(PoisonError::into_inner).take()));
    }

    /// Names of the rates.
    #[staticmethod]
    fn rate_names() -> Vec<&'static str> {
        Rates::NAMES.to_vec()
    }

    fn __repr__(&self) -> String {
        format!("Simulator(url={:?})", self.url)
    }
}
