//! Refuses to be imported into a subinterpreter: the runtime is one per process, and its exit hook belongs to the main one.

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

/// An `ImportError` unless this is the main interpreter. An abi3 module is loaded into others without any error.
#[expect(unsafe_code, reason = "PyO3 has no safe name for these two")]
pub(super) fn refuse_subinterpreter() -> PyResult<()> {
    // SAFETY: called during the import, so this thread is attached and its interpreter is alive.
    let id = unsafe { pyo3::ffi::PyInterpreterState_GetID(pyo3::ffi::PyInterpreterState_Get()) };
    if id == 0 { Ok(()) } else { Err(PyImportError::new_err("overheard works in the main interpreter only")) }
}
