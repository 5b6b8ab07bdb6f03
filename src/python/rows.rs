//! Question runs and extractions as tuples in column order, for stores over SQL: one pass, no object per field beyond the
//! value itself. The column names stand beside the code that fills them; nothing here knows a database.

use std::sync::Arc;

use bytes::Bytes;
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};
use serde::de::DeserializeOwned;

use super::error::kind_word;
use super::records::{PyExtraction, PyQuestionRun, method_word, ownership_word, sentiment_word};
use crate::domain::{CellKey, Extraction, MicroUsd, Outcome, QuestionRun, RunStatus, Usage};
use crate::error::Error;

const QUESTION_RUN_COLUMNS: [&str; 33] = [
    "batch_id",
    "cell_key",
    "run_id",
    "org_id",
    "question_id",
    "model",
    "location",
    "repeat",
    "question",
    "status",
    "answer_text",
    "raw_body",
    "error_kind",
    "error",
    "served_model",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "searches",
    "records",
    "cost_micro_usd",
    "maybe_charged_micro_usd",
    "location_applied",
    "web_search_triggered",
    "search_queries",
    "finish_reason",
    "citations",
    "attempts",
    "started_at_ms",
    "finished_at_ms",
    "unpriced",
];

const ORG_EVAL_COLUMNS: [&str; 18] = [
    "batch_id",
    "cell_key",
    "run_id",
    "org_id",
    "mentioned",
    "citation",
    "sentiment",
    "mention_text",
    "mention_rank",
    "share_of_voice",
    "method",
    "extractor_version",
    "cost_micro_usd",
    "maybe_charged_micro_usd",
    "usage",
    "dropped",
    "error",
    "extracted_at_ms",
];

const ORG_COMPETITOR_COLUMNS: [&str; 4] = ["batch_id", "cell_key", "position", "name"];

const ORG_CITATION_COLUMNS: [&str; 9] =
    ["batch_id", "cell_key", "position", "url", "canonical_url", "domain", "type", "title", "cited"];

/// Adds the column names to the module.
pub(super) fn add_columns(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("QUESTION_RUN_COLUMNS", PyTuple::new(py, QUESTION_RUN_COLUMNS)?)?;
    module.add("ORG_EVAL_COLUMNS", PyTuple::new(py, ORG_EVAL_COLUMNS)?)?;
    module.add("ORG_COMPETITOR_COLUMNS", PyTuple::new(py, ORG_COMPETITOR_COLUMNS)?)?;
    module.add("ORG_CITATION_COLUMNS", PyTuple::new(py, ORG_CITATION_COLUMNS)?)
}

type Cells<'py, const N: usize> = PyResult<[Bound<'py, PyAny>; N]>;

/// Values for one row, and the last seen copy of texts that repeat from row to row.
struct Row<'py> {
    py: Python<'py>,
    seen: [Option<(String, Bound<'py, PyAny>)>; 6],
}

impl<'py> Row<'py> {
    fn new(py: Python<'py>) -> Self {
        Self { py, seen: Default::default() }
    }

    /// A text that is usually the same as in the row before; `slot` is the column's.
    fn repeated(&mut self, slot: usize, text: &str) -> Bound<'py, PyAny> {
        match self.seen.get_mut(slot) {
            Some(Some((known, object))) if known == text => object.clone(),
            Some(entry) => {
                let object = PyString::new(self.py, text).into_any();
                *entry = Some((text.to_owned(), object.clone()));
                object
            }
            None => PyString::new(self.py, text).into_any(),
        }
    }

    fn text(&self, text: &str) -> Bound<'py, PyAny> {
        PyString::new(self.py, text).into_any()
    }

    fn of(&self, value: impl IntoPyObjectExt<'py>) -> PyResult<Bound<'py, PyAny>> {
        value.into_bound_py_any(self.py)
    }

    fn json(&self, value: &impl serde::Serialize) -> PyResult<Bound<'py, PyAny>> {
        super::records::json(value).map(|json| self.text(&json))
    }

    fn none(&self) -> Bound<'py, PyAny> {
        self.py.None().into_bound(self.py)
    }
}

fn question_run_row<'py>(row: &mut Row<'py>, run: &QuestionRun) -> Cells<'py, 33> {
    let (outcome, usage) = (&run.outcome, &run.outcome.usage);
    Ok([
        row.repeated(0, &run.batch_id),
        row.text(&run.key.to_string()),
        row.repeated(1, &run.run_id),
        row.repeated(2, &run.org_id),
        row.text(&run.key.question_id),
        row.repeated(3, &run.key.model),
        row.repeated(4, &run.key.location),
        row.of(run.key.repeat)?,
        row.text(&run.question),
        row.repeated(5, outcome.status.as_str()),
        row.of(outcome.text.as_deref())?,
        PyBytes::new(row.py, &outcome.raw).into_any(),
        row.of(outcome.error.as_ref().map(|error| kind_word(error.kind)))?,
        outcome.error.as_ref().map_or_else(|| Ok(row.none()), |error| row.json(error))?,
        row.of(outcome.served_model.as_deref())?,
        row.of(usage.input_tokens)?,
        row.of(usage.cached_input_tokens)?,
        row.of(usage.cache_write_tokens)?,
        row.of(usage.output_tokens)?,
        row.of(usage.reasoning_tokens)?,
        row.of(usage.searches)?,
        row.of(usage.records)?,
        row.of(outcome.cost_micro_usd.map(|amount| amount.0))?,
        row.of(outcome.maybe_charged_micro_usd.0)?,
        row.of(outcome.location_applied.as_deref())?,
        row.of(outcome.web_search_triggered)?,
        row.json(&outcome.search_queries)?,
        row.of(outcome.finish_reason.as_deref())?,
        row.json(&outcome.citations)?,
        row.of(outcome.attempts)?,
        row.of(outcome.started_at_ms)?,
        row.of(outcome.finished_at_ms)?,
        row.of(outcome.cost_micro_usd.is_none())?,
    ])
}

/// One tuple per run, in the order of `QUESTION_RUN_COLUMNS`.
#[pyfunction]
#[pyo3(signature = (runs, /))]
pub(super) fn question_run_rows<'py>(py: Python<'py>, runs: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    let mut row = Row::new(py);
    let list = PyList::empty(py);
    for run in runs.try_iter()? {
        let run = run?;
        let run = run.cast::<PyQuestionRun>()?.get();
        list.append(PyTuple::new(py, question_run_row(&mut row, &run.0)?)?)?;
    }
    Ok(list)
}

type ExtractionRows<'py> = (Bound<'py, PyList>, Bound<'py, PyList>, Bound<'py, PyList>, Bound<'py, PyList>);

fn org_eval_row<'py>(row: &mut Row<'py>, extraction: &Extraction, key: &Bound<'py, PyAny>) -> Cells<'py, 18> {
    let evaluation = &extraction.evaluation;
    Ok([
        row.repeated(0, &extraction.batch_id),
        key.clone(),
        row.repeated(1, &extraction.run_id),
        row.repeated(2, &extraction.org_id),
        row.of(evaluation.mentioned)?,
        row.of(evaluation.citation)?,
        row.of(evaluation.sentiment.map(sentiment_word))?,
        row.of(evaluation.mention_text.as_deref())?,
        row.of(evaluation.mention_rank)?,
        row.of(evaluation.share_of_voice)?,
        row.repeated(3, method_word(extraction.method)),
        row.repeated(4, &extraction.extractor_version),
        row.of(extraction.cost_micro_usd.map(|amount| amount.0))?,
        row.of(extraction.maybe_charged_micro_usd.0)?,
        row.json(&extraction.usage)?,
        row.json(&extraction.dropped)?,
        extraction.error.as_ref().map_or_else(|| Ok(row.none()), |error| row.json(error))?,
        row.of(extraction.extracted_at_ms)?,
    ])
}

/// `(org_evals, org_competitors, org_citations, failed)`: lists of tuples in the order of `ORG_EVAL_COLUMNS`,
/// `ORG_COMPETITOR_COLUMNS`, `ORG_CITATION_COLUMNS` and `ORG_EVAL_COLUMNS`. An extraction with an error is in `failed` only.
#[pyfunction]
#[pyo3(signature = (extractions, /))]
pub(super) fn extraction_rows<'py>(py: Python<'py>, extractions: &Bound<'py, PyAny>) -> PyResult<ExtractionRows<'py>> {
    let mut row = Row::new(py);
    let [evaluations, competitors, citations, failed] = std::array::from_fn(|_| PyList::empty(py));
    for object in extractions.try_iter()? {
        let object = object?;
        let extraction = object.cast::<PyExtraction>()?.get().0.as_ref();
        let key = row.text(&extraction.key.to_string());
        let values = PyTuple::new(py, org_eval_row(&mut row, extraction, &key)?)?;
        if extraction.error.is_some() {
            failed.append(values)?;
            continue;
        }
        evaluations.append(values)?;
        let batch = row.repeated(0, &extraction.batch_id);
        for competitor in &extraction.competitors {
            let values = [batch.clone(), key.clone(), row.of(competitor.position)?, row.text(&competitor.name)];
            competitors.append(PyTuple::new(py, values)?)?;
        }
        for citation in &extraction.citations {
            let values = [
                batch.clone(),
                key.clone(),
                row.of(citation.position)?,
                row.text(&citation.url),
                row.text(&citation.canonical_url),
                row.text(&citation.domain),
                row.repeated(5, ownership_word(citation.ownership)),
                row.of(citation.title.as_deref())?,
                row.of(citation.cited)?,
            ];
            citations.append(PyTuple::new(py, values)?)?;
        }
    }
    Ok((evaluations, competitors, citations, failed))
}

/// Reads a row by position. Columns that follow from others (`cell_key`, `error_kind`, `unpriced`) are not read.
struct Reader<'a, 'py>(&'a Bound<'py, PyAny>);

impl Reader<'_, '_> {
    fn get<T: for<'a, 'b> FromPyObject<'a, 'b, Error: Into<PyErr>>>(&self, column: usize) -> PyResult<T> {
        self.0.get_item(column)?.extract::<T>().map_err(|error| {
            let name = QUESTION_RUN_COLUMNS.get(column).copied().unwrap_or_default();
            PyValueError::new_err(format!("column {name}: {}", Into::<PyErr>::into(error)))
        })
    }

    fn json<T: DeserializeOwned + Default>(&self, column: usize) -> PyResult<T> {
        let Some(text) = self.get::<Option<String>>(column)? else { return Ok(T::default()) };
        serde_json::from_str(&text).map_err(|error| {
            let name = QUESTION_RUN_COLUMNS.get(column).copied().unwrap_or_default();
            PyValueError::new_err(format!("column {name}: {error}"))
        })
    }
}

fn question_run(row: &Bound<'_, PyAny>) -> PyResult<QuestionRun> {
    let row = Reader(row);
    let status: String = row.get(9)?;
    let status: RunStatus =
        serde_json::from_value(status.into()).map_err(|error| PyValueError::new_err(format!("column status: {error}")))?;
    let flag: Option<i64> = row.get(25)?;
    Ok(QuestionRun {
        batch_id: row.get(0)?,
        run_id: row.get(2)?,
        org_id: row.get(3)?,
        key: CellKey { question_id: row.get(4)?, model: row.get(5)?, location: row.get(6)?, repeat: row.get(7)? },
        question: row.get(8)?,
        outcome: Outcome {
            text: row.get(10)?,
            raw: row.get::<Option<Vec<u8>>>(11)?.map(Bytes::from).unwrap_or_default(),
            error: row.json::<Option<Error>>(13)?,
            served_model: row.get(14)?,
            usage: Usage {
                input_tokens: row.get(15)?,
                cached_input_tokens: row.get(16)?,
                cache_write_tokens: row.get(17)?,
                output_tokens: row.get(18)?,
                reasoning_tokens: row.get(19)?,
                searches: row.get(20)?,
                records: row.get(21)?,
            },
            cost_micro_usd: row.get::<Option<i64>>(22)?.map(MicroUsd),
            maybe_charged_micro_usd: MicroUsd(row.get(23)?),
            location_applied: row.get(24)?,
            web_search_triggered: flag.map(|flag| flag != 0),
            search_queries: row.json(26)?,
            finish_reason: row.get(27)?,
            citations: row.json(28)?,
            attempts: row.get(29)?,
            started_at_ms: row.get(30)?,
            finished_at_ms: row.get(31)?,
            ..Outcome::empty(status)
        },
    })
}

/// Question runs from stored rows (any sequence a row) in the order of `QUESTION_RUN_COLUMNS`: the inverse of
/// `question_run_rows`. `raw_body` may be `None`, when the store does not want to load it.
#[pyfunction]
#[pyo3(signature = (rows, /))]
pub(super) fn question_runs_from_rows(rows: &Bound<'_, PyAny>) -> PyResult<Vec<PyQuestionRun>> {
    rows.try_iter()?.map(|row| Ok(PyQuestionRun(Arc::new(question_run(&row?)?)))).collect()
}
