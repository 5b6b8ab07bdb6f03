//! The extension module `overheard._core`: exports, nothing else. The parts beside it: `records` (frozen classes),
//! `rows` (tuples for SQL), `convert` and `error` (data in and out), `engine`, `port`, `session` (the pull bridge).

mod calls;
mod convert;
mod engine;
mod error;
mod extractor;
mod insights;
mod interpreter;
mod journal;
mod port;
mod records;
mod routing;
mod rows;
mod selftest;
mod session;
mod stored;

#[cfg(feature = "simulator")]
mod simulator;

use pyo3::prelude::*;

// Free-threaded interpreters are not tested: importing this turns the lock on there.
#[pymodule(gil_used = true)]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::engine::{live_sessions, shutdown};
    #[pymodule_export]
    use super::extractor::{PyLocalExtractor, start_extract};
    #[pymodule_export]
    use super::insights::PyInsightsTable;
    #[pymodule_export]
    use super::journal::inspect_journal;
    #[pymodule_export]
    use super::port::PyPort;
    #[pymodule_export]
    use super::records::{
        PyAsk, PyCitation, PyCompetitor, PyExistingKey, PyExtractedCitation, PyExtraction, PyOrgEvaluation, PyOutcome,
        PyQuestionRun, PyUsage, restore,
    };
    #[pymodule_export]
    use super::routing::provider_facts;
    #[pymodule_export]
    use super::rows::{extraction_rows, question_run_rows, question_runs_from_rows};

    #[pymodule_export]
    use super::selftest::selftest;
    #[pymodule_export]
    use super::session::{PySession, quote, quote_structured, start_ask, start_quote, start_run, start_structured};
    #[cfg(feature = "simulator")]
    #[pymodule_export]
    use super::simulator::Simulator;
    #[pymodule_export]
    use super::stored::extractions_from_rows;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::interpreter::refuse_subinterpreter()?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("ERROR_KINDS", super::error::error_kinds(module.py())?)?;
        super::rows::add_columns(module)
    }
}
