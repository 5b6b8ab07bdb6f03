//! Plain data between JSON values, Python objects, time and money. Knows no record and no session.

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyBytes, PyDateTime, PyDict, PyFloat, PyInt, PyList, PyMapping, PySequence, PyString, PyType, PyTzInfo,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

use crate::domain::MicroUsd;

/// Nesting that a mapping from the user may have.
const MAX_DEPTH: usize = 64;

/// A JSON value as dicts, lists, strings, numbers, booleans and `None`.
pub(super) fn value_to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    match value {
        Value::Null => Ok(py.None().into_bound(py)),
        Value::Bool(flag) => flag.into_bound_py_any(py),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(signed), _) => signed.into_bound_py_any(py),
            (None, Some(unsigned)) => unsigned.into_bound_py_any(py),
            (None, None) => number.as_f64().into_bound_py_any(py),
        },
        Value::String(text) => text.into_bound_py_any(py),
        Value::Array(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(value_to_python(py, item)?)?;
            }
            Ok(list.into_any())
        }
        Value::Object(fields) => {
            let dict = PyDict::new(py);
            for (name, item) in fields {
                dict.set_item(name, value_to_python(py, item)?)?;
            }
            Ok(dict.into_any())
        }
    }
}

/// Anything that serialises, as plain Python data.
pub(super) fn to_python<'py>(py: Python<'py>, data: &impl Serialize) -> PyResult<Bound<'py, PyAny>> {
    let value = serde_json::to_value(data).map_err(|error| PyValueError::new_err(error.to_string()))?;
    value_to_python(py, &value)
}

/// A mapping in `to_dict()` form as our type; `what` names it in the error.
pub(super) fn from_mapping<T: DeserializeOwned>(what: &str, object: &Bound<'_, PyAny>) -> PyResult<T> {
    if object.cast::<PyMapping>().is_err() {
        let found = object.get_type().name()?;
        return Err(PyTypeError::new_err(format!("expected {what} or a mapping of its fields, got {found}")));
    }
    serde_json::from_value(python_to_value(object, 0)?).map_err(|error| PyValueError::new_err(format!("{what}: {error}")))
}

/// The text of a `str`; each lone surrogate, which no Unicode text can hold, becomes U+FFFD, so that characters keep their places.
pub(super) fn text_of(text: &Bound<'_, PyString>) -> PyResult<String> {
    if let Ok(plain) = text.to_str() {
        return Ok(plain.to_owned());
    }
    // Four bytes a character: in UTF-16 two lone halves side by side would become one character.
    let bytes = text.call_method1("encode", ("utf-32-le", "surrogatepass"))?;
    let bytes: &[u8] = bytes.extract()?;
    let characters = bytes.chunks_exact(4).map(|four| four.try_into().map_or(u32::MAX, u32::from_le_bytes));
    Ok(characters.map(|number| char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
}

/// Plain Python data as a JSON value; bytes become text.
fn python_to_value(object: &Bound<'_, PyAny>, depth: usize) -> PyResult<Value> {
    if depth > MAX_DEPTH {
        return Err(PyValueError::new_err("the mapping is nested too deeply"));
    }
    if object.is_none() {
        return Ok(Value::Null);
    }
    if let Ok(text) = object.cast::<PyString>() {
        return Ok(Value::String(text.to_cow()?.into_owned()));
    }
    if let Ok(flag) = object.cast::<PyBool>() {
        return Ok(Value::Bool(flag.is_true()));
    }
    if let Ok(number) = object.cast::<PyInt>() {
        return match (number.extract::<i64>(), number.extract::<u64>()) {
            (Ok(signed), _) => Ok(Value::from(signed)),
            (_, Ok(unsigned)) => Ok(Value::from(unsigned)),
            _ => Err(PyOverflowError::new_err("the number does not fit into 64 bits")),
        };
    }
    if let Ok(number) = object.cast::<PyFloat>() {
        return Ok(Number::from_f64(number.value()).map_or(Value::Null, Value::Number));
    }
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return Ok(Value::String(String::from_utf8_lossy(bytes.as_bytes()).into_owned()));
    }
    if let Ok(mapping) = object.cast::<PyMapping>() {
        let mut fields = Map::new();
        for item in mapping.items()?.iter() {
            let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
            fields.insert(name.extract()?, python_to_value(&value, depth + 1)?);
        }
        return Ok(Value::Object(fields));
    }
    if let Ok(sequence) = object.cast::<PySequence>() {
        let items = sequence.try_iter()?.map(|item| python_to_value(&item?, depth + 1));
        return Ok(Value::Array(items.collect::<PyResult<_>>()?));
    }
    Err(PyTypeError::new_err(format!("cannot read a value of type {}", object.get_type().name()?)))
}

/// Micro-dollars as `decimal.Decimal` dollars with six decimals.
pub(super) fn decimal<'py>(py: Python<'py>, amount: MicroUsd) -> PyResult<Bound<'py, PyAny>> {
    static DECIMAL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    DECIMAL.import(py, "decimal", "Decimal")?.call1((amount.to_string(),))
}

/// Milliseconds since 1970 UTC as an aware datetime; `None` for 0.
pub(super) fn datetime(py: Python<'_>, milliseconds: i64) -> PyResult<Option<Bound<'_, PyDateTime>>> {
    if milliseconds == 0 {
        return Ok(None);
    }
    let utc = PyTzInfo::utc(py)?;
    PyDateTime::from_timestamp(py, milliseconds as f64 / 1000.0, Some(&utc)).map(Some)
}

/// At most `limit` characters of a text, quoted as Python does, with `…` where it was cut.
pub(super) fn excerpt(text: &str, limit: usize) -> String {
    let short: String = text.chars().take(limit).collect();
    if short.len() < text.len() { format!("{short:?}…") } else { format!("{short:?}") }
}

/// An optional text for a `repr`.
pub(super) fn optional(text: Option<&str>, limit: usize) -> String {
    text.map_or_else(|| "None".to_owned(), |text| excerpt(text, limit))
}
