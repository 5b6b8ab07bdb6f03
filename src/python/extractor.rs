//! The extractor for Python: answers in any form in, extractions out, the interpreter let go while the rules work. Asks no
//! provider itself; `start_extract` starts a session that does.

use std::sync::Arc;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::convert::text_of;
use super::engine::engine;
use super::port::{PyPort, Signal};
use super::records::{PyExtraction, PyOutcome, PyQuestionRun, Record};
use super::session::{PySession, checked, read_spec};
use crate::clock::{Clock, SystemClock};
use crate::domain::{CellKey, EXTRACTOR_VERSION, Org, Outcome, QuestionRun, RunStatus};
use crate::extract::{Extractor, deterministic_names, fingerprint};
use crate::pipeline::{self, AnswersSpec};

/// The model in the key of an answer that comes as text.
const NO_MODEL: &str = "text";

/// The compiled rules for one org; `overheard.Extractor` is its public face.
#[pyclass(frozen, module = "overheard._core", name = "LocalExtractor")]
#[derive(Debug)]
pub(super) struct PyLocalExtractor {
    extractor: Extractor,
    org_id: String,
    names: Vec<String>,
    names_key: String,
    clock: SystemClock,
}

#[pymethods]
impl PyLocalExtractor {
    /// Compiles the rules. `names` are further forms of the org's name beside those that follow from its entry.
    #[new]
    #[pyo3(signature = (org_json, names = Vec::new(), /), text_signature = "(org_json, names=(), /)")]
    fn new(py: Python<'_>, org_json: &str, names: Vec<String>) -> PyResult<Self> {
        let org: Org = serde_json::from_str(org_json).map_err(|error| PyValueError::new_err(format!("org: {error}")))?;
        Ok(py.detach(|| {
            let mut all = deterministic_names(&org);
            for name in names {
                if !all.contains(&name) {
                    all.push(name);
                }
            }
            let extractor = Extractor::new(&org, &all);
            let names_key = fingerprint(&org);
            Self { extractor, org_id: org.id, names: all, names_key, clock: SystemClock::default() }
        }))
    }

    /// The rules' version.
    #[getter]
    fn version(&self) -> &'static str {
        EXTRACTOR_VERSION
    }

    /// Of what the org's entry and the names told the rules.
    #[getter]
    fn fingerprint(&self) -> &str {
        self.extractor.fingerprint()
    }

    /// All name forms looked for.
    #[getter]
    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    /// What a model's variations of the name depend on: under `names:<model>:<this>` a store keeps them.
    #[getter]
    fn names_key(&self) -> &str {
        &self.names_key
    }

    /// Answers as question runs: what is none of ours gets the key `answer-<number>|<model>|anywhere|1`, numbered from `first`.
    #[pyo3(signature = (answers, first, /))]
    fn runs(&self, answers: &Bound<'_, PyAny>, first: u64) -> PyResult<Vec<PyQuestionRun>> {
        let answers = answers.try_iter()?.zip(first..);
        answers.map(|(answer, number)| question_run(&answer?, &self.org_id, number).map(PyQuestionRun)).collect()
    }

    /// One extraction a question run, in order, by rules.
    #[pyo3(signature = (runs, /))]
    fn extract(&self, py: Python<'_>, runs: Vec<Bound<'_, PyQuestionRun>>) -> Vec<PyExtraction> {
        let runs: Vec<Arc<QuestionRun>> = runs.iter().map(|run| run.get().0.clone()).collect();
        let now = self.clock.now_ms();
        let extractions: Vec<_> = py.detach(|| runs.iter().map(|run| Arc::new(self.extractor.local(run, now))).collect());
        extractions.into_iter().map(PyExtraction).collect()
    }

    /// One extraction a pair of question run and earlier extraction, in order: see `Extractor::replay` in the core.
    #[pyo3(signature = (pairs, /))]
    fn replay(&self, py: Python<'_>, pairs: Vec<(Bound<'_, PyQuestionRun>, Bound<'_, PyExtraction>)>) -> Vec<PyExtraction> {
        let pairs: Vec<_> = pairs.iter().map(|(run, earlier)| (run.get().0.clone(), earlier.get().0.clone())).collect();
        let now = self.clock.now_ms();
        let extractions: Vec<_> =
            py.detach(|| pairs.iter().map(|(run, earlier)| Arc::new(self.extractor.replay(run, earlier, now))).collect());
        extractions.into_iter().map(PyExtraction).collect()
    }
}

fn question_run(answer: &Bound<'_, PyAny>, org_id: &str, number: u64) -> PyResult<Arc<QuestionRun>> {
    if let Ok(run) = answer.cast::<PyQuestionRun>() {
        return Ok(run.get().0.clone());
    }
    let outcome = if let Ok(outcome) = answer.cast::<PyOutcome>() {
        outcome.get().data().clone()
    } else if let Ok(text) = answer.cast::<PyString>() {
        Outcome { text: Some(text_of(text)?), ..Outcome::empty(RunStatus::Answered) }
    } else if answer.is_none() {
        Outcome::empty(RunStatus::NoAnswer)
    } else {
        let found = answer.get_type().name()?;
        return Err(PyTypeError::new_err(format!("answer {number}: expected str, Outcome, QuestionRun or None, got {found}")));
    };
    let model = outcome.served_model.clone().unwrap_or_else(|| NO_MODEL.to_owned());
    Ok(Arc::new(QuestionRun {
        batch_id: String::new(),
        run_id: String::new(),
        org_id: org_id.to_owned(),
        key: CellKey { question_id: format!("answer-{number}"), model, location: "anywhere".to_owned(), repeat: 1 },
        question: String::new(),
        outcome,
    }))
}

/// Extracts from a list of question runs with the extraction model; `token` comes back with every event.
#[pyfunction]
#[pyo3(signature = (port, token, spec_json, runs, /))]
pub(super) fn start_extract(
    py: Python<'_>,
    port: &PyPort,
    token: u64,
    spec_json: &str,
    runs: Vec<Bound<'_, PyQuestionRun>>,
) -> PyResult<PySession> {
    let spec: AnswersSpec = read_spec(py, spec_json)?;
    let timeouts = checked(py, &spec.settings)?;
    let engine = engine()?;
    let runs: Vec<Arc<QuestionRun>> = runs.iter().map(|run| run.get().0.clone()).collect();
    PySession::start(port, token, timeouts, |host, stop| async move {
        let context = engine.context(&spec.settings)?;
        Ok(Signal::Extractions(pipeline::extract_answers(context, spec, runs, host, stop).await?))
    })
}
