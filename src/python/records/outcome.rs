//! `Outcome`: what asking one question gave. Made by the core, or by a user's provider through the constructor.

use std::sync::Arc;

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDateTime, PyString};

use super::super::convert::{datetime, decimal, optional};
use super::super::error;
use super::record::{FromRecord, Record, record};
use super::{PyCitation, PyUsage};
use crate::domain::{Citation, MicroUsd, Outcome, QuestionRun, RunStatus, Usage};

/// What asking one question gave: an answer, or a typed failure.
#[pyclass(frozen, module = "overheard", name = "Outcome")]
#[derive(Debug)]
pub(in crate::python) struct PyOutcome(Shared);

/// An outcome of its own, or the one inside a question run.
#[derive(Debug)]
enum Shared {
    Own(Arc<Outcome>),
    Run(Arc<QuestionRun>),
}

impl PyOutcome {
    /// The outcome of a question run, shared with it.
    pub(in crate::python) fn of_run(run: Arc<QuestionRun>) -> Self {
        Self(Shared::Run(run))
    }
}

impl Record for PyOutcome {
    type Data = Outcome;
    const CLASS: &'static str = "Outcome";

    fn data(&self) -> &Outcome {
        match &self.0 {
            Shared::Own(outcome) => outcome,
            Shared::Run(run) => &run.outcome,
        }
    }

    fn wrap(data: Outcome) -> Self {
        Self(Shared::Own(Arc::new(data)))
    }

    fn describe(&self) -> String {
        let outcome = self.data();
        let mut parts = vec![
            format!("status='{}'", outcome.status.as_str()),
            format!("text={}", optional(outcome.text.as_deref(), 80)),
            format!("citations={}", outcome.citations.len()),
            format!("cost_micro_usd={}", money(outcome.cost_micro_usd)),
        ];
        if let Some(error) = &outcome.error {
            parts.push(format!(
                "error='{}: {}'",
                error::kind_word(error.kind),
                error.message.chars().take(120).collect::<String>()
            ));
        }
        parts.join(", ")
    }

    fn raw(&self) -> &[u8] {
        &self.data().raw
    }

    fn with_raw(self, raw: &[u8]) -> Self {
        Self::wrap(Outcome { raw: Bytes::copy_from_slice(raw), ..self.data().clone() })
    }
}

/// Micro-dollars for a `repr`.
pub(super) fn money(amount: Option<MicroUsd>) -> String {
    amount.map_or_else(|| "None".to_owned(), |amount| amount.0.to_string())
}

fn citation(object: &Bound<'_, PyAny>) -> PyResult<Citation> {
    match object.cast::<PyString>() {
        Ok(url) => Ok(Citation { url: url.to_cow()?.into_owned(), ..Citation::default() }),
        Err(_) => Citation::from_record(object),
    }
}

fn status(word: &str) -> PyResult<RunStatus> {
    serde_json::from_value(word.into())
        .map_err(|_| PyValueError::new_err(format!("status must be answered, refused, no_answer or failed, got {word:?}")))
}

record!(PyOutcome, Outcome, "Outcome", match_args("status", "text", "citations"), {
    #[new]
    #[pyo3(signature = (
        text = None, *, status = None, citations = None, usage = None, cost_micro_usd = None, maybe_charged_micro_usd = 0,
        served_model = None, location_applied = None, web_search_triggered = None, search_queries = Vec::new(),
        finish_reason = None, error = None, raw = None
    ), text_signature = "(text=None, *, status=None, citations=None, usage=None, cost_micro_usd=None, \
        maybe_charged_micro_usd=0, served_model=None, location_applied=None, web_search_triggered=None, search_queries=(), \
        finish_reason=None, error=None, raw=None)")]
    #[allow(clippy::too_many_arguments, reason = "keyword-only in Python")]
    fn new(
        text: Option<String>,
        status: Option<&str>,
        citations: Option<Vec<Bound<'_, PyAny>>>,
        usage: Option<&Bound<'_, PyAny>>,
        cost_micro_usd: Option<i64>,
        maybe_charged_micro_usd: i64,
        served_model: Option<String>,
        location_applied: Option<String>,
        web_search_triggered: Option<bool>,
        search_queries: Vec<String>,
        finish_reason: Option<String>,
        error: Option<&Bound<'_, PyAny>>,
        raw: Option<&[u8]>,
    ) -> PyResult<Self> {
        let error = error.map(error::from_python).transpose()?;
        let status = match status {
            Some(word) => self::status(word)?,
            None if error.is_some() => RunStatus::Failed,
            None if text.is_some() => RunStatus::Answered,
            None => RunStatus::NoAnswer,
        };
        match (status, &text, &error) {
            (RunStatus::Answered, None, _) => return Err(PyValueError::new_err("an answered outcome needs its text")),
            (RunStatus::Answered, _, Some(_)) => return Err(PyValueError::new_err("an answered outcome has no error")),
            (RunStatus::Failed, _, None) => return Err(PyValueError::new_err("a failed outcome needs its error")),
            _ => {}
        }
        let citations = citations.unwrap_or_default().iter().map(citation).collect::<PyResult<_>>()?;
        Ok(Self::wrap(Outcome {
            text,
            citations,
            usage: usage.map(Usage::from_record).transpose()?.unwrap_or_default(),
            cost_micro_usd: cost_micro_usd.map(MicroUsd),
            maybe_charged_micro_usd: MicroUsd(maybe_charged_micro_usd),
            served_model,
            location_applied,
            web_search_triggered,
            search_queries,
            finish_reason,
            error,
            raw: raw.map(Bytes::copy_from_slice).unwrap_or_default(),
            ..Outcome::empty(status)
        }))
    }

    #[getter]
    fn status(&self) -> &'static str {
        self.data().status.as_str()
    }

    #[getter]
    fn text(&self) -> Option<&str> {
        self.data().text.as_deref()
    }

    #[getter]
    fn citations(&self) -> Vec<PyCitation> {
        self.data().citations.iter().cloned().map(PyCitation::wrap).collect()
    }

    #[getter]
    fn usage(&self) -> PyUsage {
        PyUsage::wrap(self.data().usage.clone())
    }

    #[getter]
    fn cost_micro_usd(&self) -> Option<i64> {
        self.data().cost_micro_usd.map(|amount| amount.0)
    }

    #[getter]
    fn cost<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.data().cost_micro_usd.map(|amount| decimal(py, amount)).transpose()
    }

    #[getter]
    fn maybe_charged_micro_usd(&self) -> i64 {
        self.data().maybe_charged_micro_usd.0
    }

    #[getter]
    fn served_model(&self) -> Option<&str> {
        self.data().served_model.as_deref()
    }

    #[getter]
    fn location_applied(&self) -> Option<&str> {
        self.data().location_applied.as_deref()
    }

    #[getter]
    fn web_search_triggered(&self) -> Option<bool> {
        self.data().web_search_triggered
    }

    #[getter]
    fn search_queries(&self) -> Vec<String> {
        self.data().search_queries.clone()
    }

    #[getter]
    fn finish_reason(&self) -> Option<&str> {
        self.data().finish_reason.as_deref()
    }

    #[getter]
    fn error<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.data().error.as_ref().map(|error| error::exception(py, error)).transpose()
    }

    #[getter]
    fn raw<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.data().raw)
    }

    #[getter]
    fn attempts(&self) -> u32 {
        self.data().attempts
    }

    #[getter]
    fn started_at_ms(&self) -> i64 {
        self.data().started_at_ms
    }

    #[getter]
    fn finished_at_ms(&self) -> i64 {
        self.data().finished_at_ms
    }

    #[getter]
    fn started_at<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
        datetime(py, self.data().started_at_ms)
    }

    #[getter]
    fn finished_at<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
        datetime(py, self.data().finished_at_ms)
    }
});
