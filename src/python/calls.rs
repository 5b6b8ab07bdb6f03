//! Host calls as Python arguments, and the user's answers as replies. Says by name what a callback returned wrongly.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};

use super::convert::{from_mapping, to_python};
use super::records::{FromRecord, PyAsk, PyExtraction, PyOutcome, PyQuestionRun, Record};
use crate::domain::{ExistingKey, Extraction, Lease, Outcome, QuestionRun};
use crate::host::{HostCall, HostReply};

/// The answer a call wants, and the callback's name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) name: &'static str,
    answer: Answer,
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Nothing,
    Keys,
    Runs,
    Outcomes,
    Fact,
    Leases,
}

impl Wanted {
    /// What `call` wants.
    pub(super) fn by(call: &HostCall) -> Self {
        let answer = match call {
            HostCall::SaveBatch(_)
            | HostCall::SaveModelRuns(_)
            | HostCall::SaveQuestionRuns(_)
            | HostCall::SaveExtractions(_)
            | HostCall::SaveFact(..)
            | HostCall::ReleaseLeases { .. } => Answer::Nothing,
            HostCall::ExistingKeys { .. } => Answer::Keys,
            HostCall::QuestionRuns { .. } => Answer::Runs,
            HostCall::Ask { .. } => Answer::Outcomes,
            HostCall::LoadFact(_) => Answer::Fact,
            HostCall::AcquireLeases { .. } | HostCall::RenewLeases { .. } => Answer::Leases,
        };
        Self { name: call.name(), answer }
    }

    /// Reads what the callback returned. Whether it is as much as was asked for is the engine's to judge.
    pub(super) fn read(self, value: &Bound<'_, PyAny>) -> PyResult<HostReply> {
        Ok(match self.answer {
            Answer::Nothing => HostReply::Done,
            Answer::Keys => HostReply::Keys(self.sequence::<ExistingKey>(value, "ExistingKey")?),
            Answer::Runs => HostReply::Runs(self.sequence::<QuestionRun>(value, "QuestionRun")?),
            Answer::Outcomes => HostReply::Outcomes(self.sequence::<Outcome>(value, "Outcome")?),
            Answer::Leases if value.is_none() => HostReply::Leases(None),
            Answer::Leases => HostReply::Leases(Some(self.sequence::<Lease>(value, "Lease")?)),
            Answer::Fact if value.is_none() => HostReply::Fact(None),
            Answer::Fact => match value.cast::<PyString>() {
                Ok(text) => HostReply::Fact(Some(text.to_cow()?.into_owned())),
                Err(_) => return Err(self.refuse("a str or None", value)?),
            },
        })
    }

    fn sequence<T: FromRecord>(self, value: &Bound<'_, PyAny>, class: &str) -> PyResult<Vec<T>> {
        let wrong = || self.refuse(&format!("a sequence of {class} or mappings"), value);
        if value.is_instance_of::<PyString>() {
            return Err(wrong()?);
        }
        let Ok(items) = value.try_iter() else { return Err(wrong()?) };
        items.map(|item| T::from_record(&item?)).collect()
    }

    fn refuse(self, expected: &str, value: &Bound<'_, PyAny>) -> PyResult<PyErr> {
        let found = value.get_type().name()?;
        Ok(PyTypeError::new_err(format!("{} must return {expected}, got {found}", self.name)))
    }
}

impl FromRecord for Lease {
    fn from_record(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        from_mapping("Lease", object)
    }
}

/// How many records a call carries.
pub(super) fn weight(call: &HostCall) -> usize {
    match call {
        HostCall::SaveQuestionRuns(runs) => runs.len(),
        HostCall::SaveExtractions(extractions) => extractions.len(),
        HostCall::Ask { asks, .. } => asks.len(),
        HostCall::SaveModelRuns(model_runs) => model_runs.len(),
        _ => 1,
    }
}

/// The arguments of the callback.
pub(super) fn arguments(py: Python<'_>, call: HostCall) -> PyResult<Bound<'_, PyTuple>> {
    match call {
        HostCall::SaveBatch(batch) => (to_python(py, &*batch)?,).into_pyobject(py),
        HostCall::SaveModelRuns(model_runs) => (to_python(py, &model_runs)?,).into_pyobject(py),
        HostCall::SaveQuestionRuns(runs) => (PyList::new(py, runs.into_iter().map(PyQuestionRun))?,).into_pyobject(py),
        HostCall::SaveExtractions(extractions) => {
            (PyList::new(py, extractions.into_iter().map(PyExtraction))?,).into_pyobject(py)
        }
        HostCall::ExistingKeys { batch_id, after, limit } | HostCall::QuestionRuns { batch_id, after, limit } => {
            (batch_id, after, limit).into_pyobject(py)
        }
        HostCall::Ask { provider, asks } => (provider, PyList::new(py, asks.iter().map(PyAsk::of))?).into_pyobject(py),
        HostCall::LoadFact(name) => (name,).into_pyobject(py),
        HostCall::SaveFact(name, value) => (name, value).into_pyobject(py),
        HostCall::AcquireLeases { run_ids, owner, ttl_ms } => (run_ids, owner, ttl_ms).into_pyobject(py),
        HostCall::RenewLeases { leases, owner, ttl_ms } => (leases, owner, ttl_ms).into_pyobject(py),
        HostCall::ReleaseLeases { leases, owner } => (leases, owner).into_pyobject(py),
    }
}

/// Outcomes as objects.
pub(super) fn outcomes(py: Python<'_>, outcomes: Vec<Outcome>) -> PyResult<Bound<'_, PyList>> {
    PyList::new(py, outcomes.into_iter().map(PyOutcome::wrap))
}

/// Extractions as objects.
pub(super) fn extractions(py: Python<'_>, extractions: Vec<Extraction>) -> PyResult<Bound<'_, PyList>> {
    PyList::new(py, extractions.into_iter().map(PyExtraction::wrap))
}
