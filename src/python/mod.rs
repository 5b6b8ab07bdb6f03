//! The extension module `overheard._core`: exports, nothing else.

use pyo3::prelude::*;

#[pymodule]
mod _core {}
