//! `Ask`, what a user's provider is handed, and `ExistingKey`, what a user's store hands back.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use serde::{Deserialize, Serialize};

use super::super::convert::{excerpt, to_python};
use super::record::{Record, record};
use crate::domain::{ExistingKey, Location, RunStatus};
use crate::error::ErrorKind;
use crate::providers::Ask;

/// The plain form of [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::python) struct AskData {
    key: String,
    question: String,
    #[serde(default)]
    location: Option<Location>,
    #[serde(default)]
    web_search: bool,
}

/// One question on its way to a user's provider.
#[pyclass(frozen, module = "overheard", name = "Ask")]
#[derive(Debug)]
pub(in crate::python) struct PyAsk(AskData);

impl PyAsk {
    /// For the user's provider.
    pub(in crate::python) fn of(ask: &Ask) -> Self {
        Self(AskData {
            key: ask.key.to_string(),
            question: ask.question.to_string(),
            location: ask.location.as_deref().cloned(),
            web_search: ask.web_search,
        })
    }
}

impl Record for PyAsk {
    type Data = AskData;
    const CLASS: &'static str = "Ask";

    fn data(&self) -> &AskData {
        &self.0
    }

    fn wrap(data: AskData) -> Self {
        Self(data)
    }

    fn describe(&self) -> String {
        let location = self.0.location.as_ref().map_or_else(|| "None".to_owned(), |location| format!("'{location}'"));
        format!(
            "question={}, location={location}, web_search={}",
            excerpt(&self.0.question, 80),
            if self.0.web_search { "True" } else { "False" }
        )
    }
}

record!(PyAsk, AskData, "Ask", match_args("question", "location", "web_search"), {
    #[new]
    #[pyo3(signature = (question, *, country = None, region = None, city = None, web_search = true, key = String::new()),
        text_signature = "(question, *, country=None, region=None, city=None, web_search=True, key='')")]
    fn new(
        question: String,
        country: Option<String>,
        region: Option<String>,
        city: Option<String>,
        web_search: bool,
        key: String,
    ) -> Self {
        let location = Location { country: country.unwrap_or_default(), region, city };
        let location = (!location.is_anywhere()).then_some(location);
        Self(AskData { key, question, location, web_search })
    }

    #[getter]
    fn question(&self) -> &str {
        &self.0.question
    }

    #[getter]
    fn key(&self) -> &str {
        &self.0.key
    }

    #[getter]
    fn web_search(&self) -> bool {
        self.0.web_search
    }

    #[getter]
    fn location<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.0.location.as_ref().map(|location| to_python(py, location)).transpose()
    }

    #[getter]
    fn country(&self) -> Option<&str> {
        self.0.location.as_ref().map(|location| location.country.as_str()).filter(|country| !country.is_empty())
    }

    #[getter]
    fn region(&self) -> Option<&str> {
        self.0.location.as_ref().and_then(|location| location.region.as_deref())
    }

    #[getter]
    fn city(&self) -> Option<&str> {
        self.0.location.as_ref().and_then(|location| location.city.as_deref())
    }
});

/// What the store already has of a cell.
#[pyclass(frozen, module = "overheard", name = "ExistingKey")]
#[derive(Debug)]
pub(in crate::python) struct PyExistingKey(ExistingKey);

impl Record for PyExistingKey {
    type Data = ExistingKey;
    const CLASS: &'static str = "ExistingKey";

    fn data(&self) -> &ExistingKey {
        &self.0
    }

    fn wrap(data: ExistingKey) -> Self {
        Self(data)
    }

    fn describe(&self) -> String {
        let key = &self.0;
        let extracted = if key.extracted { "True" } else { "False" };
        format!("key={}, status='{}', extracted={extracted}", excerpt(&key.key, 160), key.status.as_str())
    }
}

fn status(word: &str) -> PyResult<RunStatus> {
    serde_json::from_value(word.into())
        .map_err(|_| PyValueError::new_err(format!("status must be answered, refused, no_answer or failed, got {word:?}")))
}

fn kind(word: &str) -> PyResult<ErrorKind> {
    serde_json::from_value(word.into()).map_err(|_| PyValueError::new_err(format!("error_kind {word:?} is not known")))
}

record!(PyExistingKey, ExistingKey, "ExistingKey", match_args("key", "status", "extracted"), {
    #[new]
    #[pyo3(signature = (
        key, status, *, extracted = false, cost_micro_usd = 0, maybe_charged_micro_usd = 0,
        extraction_cost_micro_usd = 0, extraction_maybe_charged_micro_usd = 0, unpriced = 0, extraction_unpriced = 0,
        citations = 0, competitors = 0, error_kind = None
    ))]
    #[allow(clippy::too_many_arguments, reason = "keyword-only in Python")]
    fn new(
        key: String,
        status: &str,
        extracted: bool,
        cost_micro_usd: i64,
        maybe_charged_micro_usd: i64,
        extraction_cost_micro_usd: i64,
        extraction_maybe_charged_micro_usd: i64,
        unpriced: u32,
        extraction_unpriced: u32,
        citations: u32,
        competitors: u32,
        error_kind: Option<&str>,
    ) -> PyResult<Self> {
        let (status, error_kind) = (self::status(status)?, error_kind.map(kind).transpose()?);
        Ok(Self(ExistingKey {
            key,
            status,
            extracted,
            cost_micro_usd,
            maybe_charged_micro_usd,
            extraction_cost_micro_usd,
            extraction_maybe_charged_micro_usd,
            unpriced,
            extraction_unpriced,
            citations,
            competitors,
            error_kind,
        }))
    }

    #[getter]
    fn key(&self) -> &str {
        &self.0.key
    }

    #[getter]
    fn status(&self) -> &'static str {
        self.0.status.as_str()
    }

    #[getter]
    fn extracted(&self) -> bool {
        self.0.extracted
    }

    #[getter]
    fn cost_micro_usd(&self) -> i64 {
        self.0.cost_micro_usd
    }

    #[getter]
    fn maybe_charged_micro_usd(&self) -> i64 {
        self.0.maybe_charged_micro_usd
    }

    #[getter]
    fn extraction_cost_micro_usd(&self) -> i64 {
        self.0.extraction_cost_micro_usd
    }

    #[getter]
    fn extraction_maybe_charged_micro_usd(&self) -> i64 {
        self.0.extraction_maybe_charged_micro_usd
    }

    #[getter]
    fn unpriced(&self) -> u32 {
        self.0.unpriced
    }

    #[getter]
    fn extraction_unpriced(&self) -> u32 {
        self.0.extraction_unpriced
    }

    #[getter]
    fn citations(&self) -> u32 {
        self.0.citations
    }

    #[getter]
    fn competitors(&self) -> u32 {
        self.0.competitors
    }

    #[getter]
    fn error_kind(&self) -> Option<&'static str> {
        self.0.error_kind.map(super::super::error::kind_word)
    }
});
