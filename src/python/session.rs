//! A run or a list of questions as Python holds it: start it, answer its calls, stop it. Dropping it cancels it.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::convert::from_mapping;
use super::engine::{self, engine};
use super::error::raise;
use super::port::{Line, PyPort, Signal};
use crate::config::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::pipeline::{self, AskSpec, RunSpec, StructuredSpec};

/// Longest message of a user's exception that the core keeps, in characters.
const MESSAGE_EXCERPT: usize = 500;

/// A session's work.
#[pyclass(frozen, module = "overheard._core", name = "Session", weakref)]
pub(super) struct PySession {
    /// Always there until the drop takes it.
    parts: Option<Parts>,
}

struct Parts {
    host: Host,
    line: Arc<Line>,
    stop: CancellationToken,
    cancel: CancellationToken,
}

impl PySession {
    /// Starts `work` as a session of `port` under `token`.
    pub(super) fn start<W, F>(port: &PyPort, token: u64, timeouts: (u64, u64), work: W) -> PyResult<Self>
    where
        W: FnOnce(Host, CancellationToken) -> F,
        F: Future<Output = Result<Signal>> + Send + 'static,
    {
        let engine = engine()?;
        let line = Arc::new(Line::new(port.shared.clone(), token));
        let (host_ms, ask_ms) = timeouts;
        let host = Host::with_ask_timeout(line.clone(), Duration::from_millis(host_ms), Duration::from_millis(ask_ms));
        let (stop, cancel) = (CancellationToken::new(), engine.cancel_token());
        engine.spawn(supervise(LastWord(Some(line.clone())), cancel.clone(), work(host.clone(), stop.clone())));
        Ok(Self { parts: Some(Parts { host, line, stop, cancel }) })
    }

    /// `None` after the exit hook and in a forked child: then nothing may be touched.
    fn parts(&self) -> Option<&Parts> {
        if engine::is_closed() || engine::is_foreign() { None } else { self.parts.as_ref() }
    }
}

/// Sends the session's end exactly once; a panic, an abort or a shutdown still says that it is gone.
struct LastWord(Option<Arc<Line>>);

impl LastWord {
    fn send(mut self, signal: Signal) {
        if let Some(line) = self.0.take() {
            line.send(signal);
        }
    }
}

impl Drop for LastWord {
    fn drop(&mut self) {
        if let Some(line) = self.0.take() {
            line.send(Signal::Gone);
        }
    }
}

/// Runs the work until it ends or is cancelled. The work is a child task, so that its panic ends here and not above.
async fn supervise(last_word: LastWord, cancel: CancellationToken, work: impl Future<Output = Result<Signal>> + Send + 'static) {
    let mut child = JoinSet::new();
    child.spawn(work);
    let ended = tokio::select! {
        biased;
        () = cancel.cancelled() => None,
        ended = child.join_next() => ended,
    };
    match ended {
        Some(Ok(Ok(signal))) => last_word.send(signal),
        Some(Ok(Err(error))) => last_word.send(Signal::Failed(error)),
        Some(Err(lost)) => {
            if let Ok(payload) = lost.try_into_panic() {
                last_word.send(Signal::Failed(Error::panicked(payload.as_ref())));
            }
        }
        None => child.shutdown().await,
    }
}

#[pymethods]
impl PySession {
    /// Answers a call. A late or unknown number is ignored.
    #[pyo3(signature = (call_id, value, /))]
    fn complete(&self, call_id: u64, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let Some(parts) = self.parts() else { return Ok(()) };
        let Some(wanted) = parts.line.wanted(call_id) else { return Ok(()) };
        let reply = wanted.read(value)?;
        parts.line.settle(call_id);
        parts.host.complete(call_id, Ok(reply));
        Ok(())
    }

    /// Says that the callback raised. `fields` (as `errors.to_fields` makes them) keep the meaning of one of our exceptions.
    #[pyo3(signature = (call_id, exception_type, message, fields = None, /))]
    fn fail(&self, call_id: u64, exception_type: &str, message: &str, fields: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let Some(parts) = self.parts() else { return Ok(()) };
        let Some(wanted) = parts.line.wanted(call_id) else { return Ok(()) };
        let error = match fields {
            Some(fields) => from_mapping::<Error>("an error", fields)?,
            None => {
                let message: String = message.chars().take(MESSAGE_EXCERPT).collect();
                Error::new(ErrorKind::Host, format!("{} raised {exception_type}: {message}", wanted.name))
            }
        };
        parts.line.settle(call_id);
        parts.host.complete(call_id, Err(error.with(|context| context.host_call = Some(call_id))));
        Ok(())
    }

    /// Stops gracefully: nothing new starts, paid work in flight gets its grace, then the session ends.
    fn stop(&self) {
        if let Some(parts) = self.parts() {
            parts.stop.cancel();
        }
    }

    /// Stops at once.
    fn cancel(&self) {
        if let Some(parts) = self.parts() {
            parts.cancel.cancel();
        }
    }
}

impl Drop for PySession {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take() else { return };
        if engine::is_foreign() {
            // The locks inside may be held by threads that the fork left behind.
            std::mem::forget(parts);
        } else {
            parts.cancel.cancel();
        }
    }
}

/// Reads a spec.
pub(super) fn read_spec<T: DeserializeOwned>(py: Python<'_>, spec_json: &str) -> PyResult<T> {
    serde_json::from_str(spec_json)
        .map_err(|error| raise(py, &Error::config("spec", format!("the specification cannot be read: {}", why(&error)))))
}

/// Why a text that holds keys cannot be read: of the parser's message only what names a field is kept, never a value.
pub(super) fn why(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.starts_with("unknown field") || text.starts_with("missing field") {
        return text;
    }
    format!("a value of the wrong kind at column {}", error.column())
}

/// Checks the settings; gives the time limits of a callback and of a custom provider, in milliseconds.
pub(super) fn checked(py: Python<'_>, settings: &Settings) -> PyResult<(u64, u64)> {
    settings.check().map_err(|error| raise(py, &error))?;
    Ok((settings.timeouts.host_ms, settings.timeouts.answer_ms))
}

/// Starts (or continues) a batch; `token` comes back with every event.
#[pyfunction]
#[pyo3(signature = (port, token, spec_json, /))]
pub(super) fn start_run(py: Python<'_>, port: &PyPort, token: u64, spec_json: &str) -> PyResult<PySession> {
    let spec: RunSpec = read_spec(py, spec_json)?;
    let timeouts = checked(py, &spec.settings)?;
    let engine = engine()?;
    PySession::start(port, token, timeouts, |host, stop| async move {
        let context = engine.context(&spec.settings)?;
        Ok(Signal::Summary(Box::new(pipeline::run(context, spec, host, stop).await?)))
    })
}

/// What a start that goes on with a stored batch would do and cost; `token` comes back with every event.
#[pyfunction]
#[pyo3(signature = (port, token, spec_json, /))]
pub(super) fn start_quote(py: Python<'_>, port: &PyPort, token: u64, spec_json: &str) -> PyResult<PySession> {
    let spec: RunSpec = read_spec(py, spec_json)?;
    let timeouts = checked(py, &spec.settings)?;
    PySession::start(port, token, timeouts, |host, _stop| async move {
        Ok(Signal::Quote(Box::new(pipeline::quote_stored(&spec, host).await?)))
    })
}

/// Asks a list of questions of one model; `token` comes back with every event.
#[pyfunction]
#[pyo3(signature = (port, token, spec_json, /))]
pub(super) fn start_ask(py: Python<'_>, port: &PyPort, token: u64, spec_json: &str) -> PyResult<PySession> {
    let spec: AskSpec = read_spec(py, spec_json)?;
    let timeouts = checked(py, &spec.settings)?;
    let engine = engine()?;
    PySession::start(port, token, timeouts, |host, stop| async move {
        let context = engine.context(&spec.settings)?;
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(Error::new(ErrorKind::Cancelled, "stopped on request")),
            outcomes = pipeline::ask(context, spec, host) => Ok(Signal::Outcomes(outcomes?)),
        }
    })
}

/// Makes one structured call with the extraction model; `token` comes back with every event.
#[pyfunction]
#[pyo3(signature = (port, token, spec_json, /))]
pub(super) fn start_structured(py: Python<'_>, port: &PyPort, token: u64, spec_json: &str) -> PyResult<PySession> {
    let spec: StructuredSpec = read_spec(py, spec_json)?;
    let timeouts = checked(py, &spec.settings)?;
    let engine = engine()?;
    PySession::start(port, token, timeouts, |host, stop| async move {
        let context = engine.context(&spec.settings)?;
        Ok(Signal::Structured(Box::new(pipeline::structured(context, spec, host, stop).await?)))
    })
}

/// Who would answer a structured call and what it can cost, as JSON, without making it.
#[pyfunction]
#[pyo3(signature = (spec_json, /))]
pub(super) fn quote_structured(py: Python<'_>, spec_json: &str) -> PyResult<String> {
    let spec: StructuredSpec = read_spec(py, spec_json)?;
    checked(py, &spec.settings)?;
    let quote = pipeline::quote_structured(&spec).map_err(|error| raise(py, &error))?;
    super::records::json(&quote)
}

/// What the run of a new batch would do and cost at most, as JSON, without doing it.
#[pyfunction]
#[pyo3(signature = (spec_json, /))]
pub(super) fn quote(py: Python<'_>, spec_json: &str) -> PyResult<String> {
    let spec: RunSpec = read_spec(py, spec_json)?;
    checked(py, &spec.settings)?;
    let quote = py.detach(|| pipeline::quote(&spec)).map_err(|error| raise(py, &error))?;
    super::records::json(&quote)
}
