//! The journal as Python's checks see it: looked at, never opened. Crosses as JSON text.

use std::path::PathBuf;

use pyo3::prelude::*;

use super::error::raise;
use crate::error::{Error, Result};
use crate::journal::disk::OsDisk;
use crate::journal::inspect::inspect;

/// What `src/journal/inspect.rs` finds of a batch in a folder, as JSON; raises `JournalError` when it cannot be read.
#[pyfunction]
#[pyo3(signature = (folder, batch_id, /))]
pub(super) fn inspect_journal(py: Python<'_>, folder: PathBuf, batch_id: &str) -> PyResult<String> {
    py.detach(|| found(&folder, batch_id)).map_err(|error| raise(py, &error))
}

fn found(folder: &std::path::Path, batch_id: &str) -> Result<String> {
    let inspection = inspect(&OsDisk, folder, batch_id)?;
    serde_json::to_string(&inspection).map_err(|error| Error::internal(format!("the journal's content: {error}")))
}
