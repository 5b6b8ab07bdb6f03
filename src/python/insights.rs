//! The table of insights for Python: rows come as mappings of which nothing is expected, results go as JSON text. The
//! interpreter is let go while there is measuring to do.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyMapping, PySequence, PyString};
use serde_json::{Map, Value};

use super::convert::to_python;
use crate::insights::{self, Table};

/// Nesting of a row; deeper values are not known.
const MAX_DEPTH: usize = 4;

/// Held by who locks two tables.
static COMPARING: Mutex<()> = Mutex::new(());

/// Question runs and what is measured over them; `overheard.Insights` is its public face.
#[pyclass(module = "overheard._core", name = "InsightsTable", frozen)]
#[derive(Debug)]
pub(super) struct PyInsightsTable(Mutex<Table>);

impl PyInsightsTable {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl PyInsightsTable {
    #[new]
    #[pyo3(signature = (org_json, seed, /))]
    fn new(org_json: &str, seed: u64) -> PyResult<Self> {
        let org: Value = serde_json::from_str(org_json).map_err(|error| PyValueError::new_err(format!("org: {error}")))?;
        Ok(Self(Mutex::new(Table::new(&org, seed))))
    }

    #[pyo3(signature = (batch_id, rows, /))]
    fn add(&self, py: Python<'_>, batch_id: &str, rows: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut read = Vec::new();
        for row in rows.try_iter()? {
            match tolerant(&row?, 0) {
                Value::Object(fields) => read.push(fields),
                _ => read.push(Map::new()), // a question run of which nothing is known
            }
        }
        py.detach(|| {
            let mut table = self.table();
            for fields in &read {
                table.add(batch_id, fields);
            }
        });
        Ok(())
    }

    #[pyo3(signature = (options_json, /))]
    fn measure(&self, py: Python<'_>, options_json: &str) -> PyResult<String> {
        py.detach(|| insights::measure(&self.table(), options_json))
            .map(|report| report.to_string())
            .map_err(|error| PyValueError::new_err(format!("options: {error}")))
    }

    #[pyo3(signature = (metric, model=None, location=None, /))]
    fn explain<'py>(
        &self,
        py: Python<'py>,
        metric: &str,
        model: Option<&str>,
        location: Option<&str>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let found = py.detach(|| insights::explain(&self.table(), metric, model, location));
        found.map(|lines| to_python(py, &lines)).transpose()
    }

    #[pyo3(signature = (earlier, /))]
    fn compare(&self, py: Python<'_>, earlier: &Bound<'_, Self>) -> String {
        let earlier = earlier.get();
        if std::ptr::eq(self, earlier) {
            return py.detach(|| insights::compare(&self.table(), &Table::default())).to_string();
        }
        py.detach(|| {
            // One at a time: two threads that compare two tables with each other must not wait for ever.
            let _turn = COMPARING.lock().unwrap_or_else(PoisonError::into_inner);
            insights::compare(&earlier.table(), &self.table()).to_string()
        })
    }

    fn __len__(&self) -> usize {
        self.table().len()
    }
}

/// What can be read of a value; the rest is null. A reading that raises is a value that cannot be read.
fn tolerant(object: &Bound<'_, PyAny>, depth: usize) -> Value {
    if object.is_none() || depth > MAX_DEPTH {
        return Value::Null;
    }
    if let Ok(text) = object.cast::<PyString>() {
        // A lone surrogate is no text.
        return text.to_cow().map_or(Value::Null, |text| Value::String(text.into_owned()));
    }
    if let Ok(flag) = object.cast::<PyBool>() {
        return Value::Bool(flag.is_true());
    }
    if object.cast::<PyInt>().is_ok() {
        return object.extract::<i64>().map_or(Value::Null, Value::from);
    }
    if object.cast::<PyFloat>().is_ok() {
        return object.extract::<f64>().map_or(Value::Null, Value::from);
    }
    if let Ok(fields) = object.cast::<PyDict>() {
        return Value::Object(fields.iter().filter_map(|(name, value)| entry(&name, &value, depth)).collect());
    }
    if let Ok(mapping) = object.cast::<PyMapping>() {
        // A database's row is a mapping and no dict.
        let items = mapping.items().unwrap_or_else(|_| PyList::empty(object.py()));
        let read = |item: Bound<'_, PyAny>| {
            let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract().ok()?;
            entry(&name, &value, depth)
        };
        return Value::Object(items.iter().filter_map(read).collect());
    }
    if let Ok(sequence) = object.cast::<PySequence>() {
        let Ok(items) = sequence.try_iter() else { return Value::Null };
        return Value::Array(items.map(|item| item.map_or(Value::Null, |item| tolerant(&item, depth + 1))).collect());
    }
    Value::Null
}

fn entry(name: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>, depth: usize) -> Option<(String, Value)> {
    Some((name.extract().ok()?, tolerant(value, depth + 1)))
}
