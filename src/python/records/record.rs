//! What all record classes share: `repr`, equality, hash, `to_dict`, `to_json`, `from_dict`, pickling.

use pyo3::PyClass;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::convert::{from_mapping, to_python};
use super::{PyAsk, PyCitation, PyCompetitor, PyExistingKey, PyExtractedCitation, PyExtraction};
use super::{PyOrgEvaluation, PyOutcome, PyQuestionRun, PyUsage};

/// A class around data of the core.
pub(in crate::python) trait Record: Sized {
    /// The data.
    type Data: Serialize + DeserializeOwned + PartialEq;
    /// Its name in Python.
    const CLASS: &'static str;
    /// The data of an object.
    fn data(&self) -> &Self::Data;
    /// An object of data.
    fn wrap(data: Self::Data) -> Self;
    /// The inside of the `repr`, bounded; never a raw body.
    fn describe(&self) -> String;
    /// The raw body, apart from the JSON, where the record has one.
    fn raw(&self) -> &[u8] {
        &[]
    }
    /// The object with its raw body put back.
    fn with_raw(self, _raw: &[u8]) -> Self {
        self
    }
}

pub(in crate::python) fn json(data: &impl Serialize) -> PyResult<String> {
    serde_json::to_string(data).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Accepts an object of the class or a mapping of its fields.
pub(in crate::python) trait FromRecord: Sized {
    /// The data of either.
    fn from_record(object: &Bound<'_, PyAny>) -> PyResult<Self>;
}

/// Adds the shared methods to a class, whose own methods stand in the braces.
macro_rules! record {
    ($class:ident, $data:ty, $name:literal, match_args($($field:literal),* $(,)?), { $($own:tt)* }) => {
        #[pyo3::pymethods]
        impl $class {
            $($own)*

            /// The fields in the order of a `match` pattern.
            #[classattr]
            fn __match_args__(py: pyo3::Python<'_>) -> pyo3::PyResult<pyo3::Py<pyo3::types::PyTuple>> {
                pyo3::types::PyTuple::new(py, [$($field),*]).map(pyo3::Bound::unbind)
            }

            fn __repr__(&self) -> String {
                format!("{}({})", <Self as Record>::CLASS, self.describe())
            }

            fn __eq__(&self, other: &Self) -> bool {
                self.data() == other.data()
            }

            fn __hash__(&self) -> u64 {
                use std::hash::{Hash, Hasher};
                let mut hasher = std::hash::DefaultHasher::new();
                self.describe().hash(&mut hasher);
                hasher.finish()
            }

            /// The fields as plain data; times in milliseconds, money in micro-dollars.
            fn to_dict<'py>(&self, py: pyo3::Python<'py>) -> pyo3::PyResult<pyo3::Bound<'py, pyo3::PyAny>> {
                crate::python::convert::to_python(py, self.data())
            }

            /// The same as a JSON text.
            fn to_json(&self) -> pyo3::PyResult<String> {
                crate::python::records::record::json(self.data())
            }

            /// An object from the form that `to_dict()` gives.
            #[classmethod]
            #[pyo3(signature = (fields, /))]
            fn from_dict(_class: &pyo3::Bound<'_, pyo3::types::PyType>, fields: &pyo3::Bound<'_, pyo3::PyAny>) -> pyo3::PyResult<Self> {
                crate::python::convert::from_mapping(<Self as Record>::CLASS, fields).map(<Self as Record>::wrap)
            }

            fn __reduce__<'py>(&self, py: pyo3::Python<'py>) -> pyo3::PyResult<crate::python::records::record::Reduced<'py>> {
                crate::python::records::record::reduce(py, self)
            }
        }

        impl crate::python::records::record::FromRecord for $data {
            fn from_record(object: &pyo3::Bound<'_, pyo3::PyAny>) -> pyo3::PyResult<Self> {
                if let Ok(record) = object.cast::<$class>() {
                    return Ok(record.get().data().clone());
                }
                crate::python::convert::from_mapping($name, object)
            }
        }
    };
}
pub(super) use record;

/// What `__reduce__` gives.
pub(super) type Reduced<'py> = (Bound<'py, PyAny>, (&'static str, Bound<'py, PyAny>, Vec<u8>));

/// The pickle form: a function of ours, the class, its fields (not JSON: a float must come back exactly), its raw body.
pub(super) fn reduce<'py, R: Record>(py: Python<'py>, record: &R) -> PyResult<Reduced<'py>> {
    let restore = py.import("overheard._core")?.getattr("_restore")?;
    Ok((restore, (R::CLASS, to_python(py, record.data())?, record.raw().to_vec())))
}

fn load<'py, R>(fields: &Bound<'py, PyAny>, raw: &[u8]) -> PyResult<Bound<'py, PyAny>>
where
    R: Record + PyClass + Into<PyClassInitializer<R>>,
{
    let record = R::wrap(from_mapping(R::CLASS, fields)?).with_raw(raw);
    Ok(Bound::new(fields.py(), record)?.into_any())
}

/// Makes a record again from its pickle.
#[pyfunction(name = "_restore")]
#[pyo3(signature = (name, fields, raw, /))]
pub(in crate::python) fn restore<'py>(name: &str, fields: &Bound<'py, PyAny>, raw: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    match name {
        PyAsk::CLASS => load::<PyAsk>(fields, raw),
        PyCitation::CLASS => load::<PyCitation>(fields, raw),
        PyCompetitor::CLASS => load::<PyCompetitor>(fields, raw),
        PyExistingKey::CLASS => load::<PyExistingKey>(fields, raw),
        PyExtractedCitation::CLASS => load::<PyExtractedCitation>(fields, raw),
        PyExtraction::CLASS => load::<PyExtraction>(fields, raw),
        PyOrgEvaluation::CLASS => load::<PyOrgEvaluation>(fields, raw),
        PyOutcome::CLASS => load::<PyOutcome>(fields, raw),
        PyQuestionRun::CLASS => load::<PyQuestionRun>(fields, raw),
        PyUsage::CLASS => load::<PyUsage>(fields, raw),
        other => Err(PyValueError::new_err(format!("no record class is called {other}"))),
    }
}
