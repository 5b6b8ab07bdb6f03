//! Errors in and out: ours as plain fields, from which `overheard.errors` builds the exception; the user's as fields back.
//! The mapping from kind to class lives in `errors.py`, which a test holds against [`error_kinds`].

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple};

use super::convert::{from_mapping, to_python};
use crate::error::{Error, ErrorKind};

/// Lists every kind; the match has no wildcard arm, so a new kind does not compile until it is listed here.
macro_rules! kinds {
    ($($kind:ident => $word:literal),* $(,)?) => {
        /// The word of a kind, as stored and as `errors.py` maps it.
        pub(super) fn kind_word(kind: ErrorKind) -> &'static str {
            match kind { $(ErrorKind::$kind => $word),* }
        }
        const KINDS: &[&str] = &[$($word),*];
    };
}

kinds! {
    NotSent => "not_sent",
    OutcomeUnknown => "outcome_unknown",
    RateLimited => "rate_limited",
    Overloaded => "overloaded",
    Unavailable => "unavailable",
    QuotaExhausted => "quota_exhausted",
    Auth => "auth",
    InvalidRequest => "invalid_request",
    Protocol => "protocol",
    TooLarge => "too_large",
    Undecodable => "undecodable",
    Semantic => "semantic",
    Record => "record",
    SnapshotFailed => "snapshot_failed",
    SnapshotGone => "snapshot_gone",
    Host => "host",
    Budget => "budget",
    Deadline => "deadline",
    Cancelled => "cancelled",
    Config => "config",
    Unsupported => "unsupported",
    Locked => "locked",
    LeaseLost => "lease_lost",
    Journal => "journal",
    Internal => "internal",
}

/// Every kind as Python sees it.
pub(super) fn error_kinds(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
    PyTuple::new(py, KINDS)
}

/// The fields of an error: `{"kind", "message", "context": {…}}`.
pub(super) fn fields<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    to_python(py, error)
}

/// The exception object of an error, built by `overheard.errors.from_fields`.
pub(super) fn exception<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    static FROM_FIELDS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    FROM_FIELDS.import(py, "overheard.errors", "from_fields")?.call1((fields(py, error)?,))
}

/// The same, to be raised.
pub(super) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    exception(py, error).map_or_else(|failure| failure, PyErr::from_value)
}

/// An error from what a user's provider reports: one of our exceptions (its kind is kept), any other exception, a mapping
/// of fields, or a sentence.
pub(super) fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Error> {
    static TO_FIELDS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if let Ok(text) = object.cast::<PyString>() {
        return Ok(Error::new(ErrorKind::Record, text.to_cow()?.into_owned()));
    }
    if object.is_instance_of::<pyo3::exceptions::PyBaseException>() {
        let read = TO_FIELDS.import(object.py(), "overheard.errors", "to_fields")?;
        return from_mapping("an error", &read.call1((object,))?);
    }
    from_mapping("an error", object)
}
