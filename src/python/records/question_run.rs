//! `QuestionRun`: the stored outcome of a cell, shared with the core.

use std::sync::Arc;

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::PyDateTime;

use super::super::convert::{datetime, decimal, excerpt};
use super::PyOutcome;
use super::outcome::money;
use super::record::{Record, record};
use crate::domain::{Outcome, QuestionRun};

/// The stored outcome of a cell.
#[pyclass(frozen, module = "overheard", name = "QuestionRun")]
#[derive(Debug)]
pub(in crate::python) struct PyQuestionRun(pub(in crate::python) Arc<QuestionRun>);

impl Record for PyQuestionRun {
    type Data = QuestionRun;
    const CLASS: &'static str = "QuestionRun";

    fn data(&self) -> &QuestionRun {
        &self.0
    }

    fn wrap(data: QuestionRun) -> Self {
        Self(Arc::new(data))
    }

    fn describe(&self) -> String {
        let run = &self.0;
        let text = run.outcome.text.as_deref().map_or_else(|| "None".to_owned(), |text| excerpt(text, 60));
        format!(
            "key={}, question={}, status='{}', text={text}, cost_micro_usd={}",
            excerpt(&run.key.to_string(), 160),
            excerpt(&run.question, 60),
            run.outcome.status.as_str(),
            money(run.outcome.cost_micro_usd)
        )
    }

    fn raw(&self) -> &[u8] {
        &self.0.outcome.raw
    }

    fn with_raw(self, raw: &[u8]) -> Self {
        let run = self.0.as_ref().clone();
        let outcome = Outcome { raw: Bytes::copy_from_slice(raw), ..run.outcome };
        Self::wrap(QuestionRun { outcome, ..run })
    }
}

record!(PyQuestionRun, QuestionRun, "QuestionRun", match_args("key", "status", "text"), {
    #[getter]
    fn key(&self) -> String {
        self.0.key.to_string()
    }

    #[getter]
    fn question_id(&self) -> &str {
        &self.0.key.question_id
    }

    #[getter]
    fn model(&self) -> &str {
        &self.0.key.model
    }

    #[getter]
    fn location(&self) -> &str {
        &self.0.key.location
    }

    #[getter]
    fn repeat(&self) -> u16 {
        self.0.key.repeat
    }

    #[getter]
    fn batch_id(&self) -> &str {
        &self.0.batch_id
    }

    #[getter]
    fn run_id(&self) -> &str {
        &self.0.run_id
    }

    #[getter]
    fn org_id(&self) -> &str {
        &self.0.org_id
    }

    #[getter]
    fn question(&self) -> &str {
        &self.0.question
    }

    #[getter]
    fn outcome(&self) -> PyOutcome {
        PyOutcome::of_run(self.0.clone())
    }

    #[getter]
    fn status(&self) -> &'static str {
        self.0.outcome.status.as_str()
    }

    #[getter]
    fn text(&self) -> Option<&str> {
        self.0.outcome.text.as_deref()
    }

    #[getter]
    fn cost_micro_usd(&self) -> Option<i64> {
        self.0.outcome.cost_micro_usd.map(|amount| amount.0)
    }

    #[getter]
    fn cost<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.0.outcome.cost_micro_usd.map(|amount| decimal(py, amount)).transpose()
    }

    #[getter]
    fn started_at<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
        datetime(py, self.0.outcome.started_at_ms)
    }

    #[getter]
    fn finished_at<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
        datetime(py, self.0.outcome.finished_at_ms)
    }
});
