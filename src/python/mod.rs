//! The extension module `overheard._core`: exports, nothing else.

#[cfg(feature = "simulator")]
mod simulator;

use pyo3::prelude::*;

#[pymodule]
mod _core {
    #[cfg(feature = "simulator")]
    #[pymodule_export]
    use super::simulator::Simulator;
}
