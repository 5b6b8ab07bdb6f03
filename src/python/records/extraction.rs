//! `Extraction`: everything taken from one question run, shared with the core.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDateTime;

use super::super::convert::{datetime, decimal, excerpt, to_python};
use super::super::error;
use super::outcome::money;
use super::record::{Record, record};
use super::{PyCompetitor, PyExtractedCitation, PyOrgEvaluation, PyUsage};
use crate::domain::{Extraction, ExtractionMethod};

/// Everything taken from one question run.
#[pyclass(frozen, module = "overheard", name = "Extraction")]
#[derive(Debug)]
pub(in crate::python) struct PyExtraction(pub(in crate::python) Arc<Extraction>);

/// The word of a method.
pub(in crate::python) fn method_word(method: ExtractionMethod) -> &'static str {
    match method {
        ExtractionMethod::Local => "local",
        ExtractionMethod::Llm => "llm",
    }
}

impl Record for PyExtraction {
    type Data = Extraction;
    const CLASS: &'static str = "Extraction";

    fn data(&self) -> &Extraction {
        &self.0
    }

    fn wrap(data: Extraction) -> Self {
        Self(Arc::new(data))
    }

    fn describe(&self) -> String {
        let extraction = &self.0;
        format!(
            "key={}, method='{}', mentioned={}, competitors={}, citations={}, cost_micro_usd={}{}",
            excerpt(&extraction.key.to_string(), 160),
            method_word(extraction.method),
            if extraction.evaluation.mentioned { "True" } else { "False" },
            extraction.competitors.len(),
            extraction.citations.len(),
            money(extraction.cost_micro_usd),
            extraction.error.as_ref().map_or_else(String::new, |error| format!(", error='{}'", error::kind_word(error.kind)))
        )
    }
}

record!(PyExtraction, Extraction, "Extraction", match_args("key", "evaluation", "competitors", "citations"), {
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
    fn method(&self) -> &'static str {
        method_word(self.0.method)
    }

    #[getter]
    fn extractor_version(&self) -> &str {
        &self.0.extractor_version
    }

    #[getter]
    fn fingerprint(&self) -> &str {
        &self.0.fingerprint
    }

    #[getter]
    fn evidence<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.0.evidence)
    }

    #[getter]
    fn injection_suspected(&self) -> bool {
        !self.0.evidence.injection.is_empty()
    }

    #[getter]
    fn evaluation(&self) -> PyOrgEvaluation {
        PyOrgEvaluation::wrap(self.0.evaluation.clone())
    }

    #[getter]
    fn competitors(&self) -> Vec<PyCompetitor> {
        self.0.competitors.iter().cloned().map(PyCompetitor::wrap).collect()
    }

    #[getter]
    fn citations(&self) -> Vec<PyExtractedCitation> {
        self.0.citations.iter().cloned().map(PyExtractedCitation::wrap).collect()
    }

    #[getter]
    fn dropped<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.0.dropped)
    }

    #[getter]
    fn usage(&self) -> PyUsage {
        PyUsage::wrap(self.0.usage.clone())
    }

    #[getter]
    fn cost_micro_usd(&self) -> Option<i64> {
        self.0.cost_micro_usd.map(|amount| amount.0)
    }

    #[getter]
    fn cost<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.0.cost_micro_usd.map(|amount| decimal(py, amount)).transpose()
    }

    #[getter]
    fn maybe_charged_micro_usd(&self) -> i64 {
        self.0.maybe_charged_micro_usd.0
    }

    #[getter]
    fn error<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.0.error.as_ref().map(|error| error::exception(py, error)).transpose()
    }

    #[getter]
    fn extracted_at<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
        datetime(py, self.0.extracted_at_ms)
    }
});
