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
use super::records::{PyExtraction, PyQuestionRun, class_word, method_word, ownership_word, sentiment_word, source_word};
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

pub(super) const ORG_EVAL_COLUMNS: [&str; 26] = [
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
    "sentiment_quote",
    "list_position",
    "occurrences",
    "prominence",
    "shares",
    "evidence",
    "fingerprint",
    "injection_suspected",
];

pub(super) const ORG_COMPETITOR_COLUMNS: [&str; 7] =
    ["batch_id", "cell_key", "position", "name", "occurrences", "parent", "merged"];

pub(super) const ORG_CITATION_COLUMNS: [&str; 12] = [
    "batch_id",
    "cell_key",
    "position",
    "url",
    "canonical_url",
    "domain",
    "type",
    "title",
    "cited",
    "class",
    "source",
    "cited_text",
];

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
    seen: [Option<(String, Bound<'py, PyAny>)>; 8],
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

    /// JSON; `None` for what is empty: most rows have none of it.
    fn json_or_none<T: serde::Serialize + Default + PartialEq>(&self, value: &T) -> PyResult<Bound<'py, PyAny>> {
        if *value == T::default() { Ok(self.none()) } else { self.json(value) }
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

fn org_eval_row<'py>(row: &mut Row<'py>, extraction: &Extraction, key: &Bound<'py, PyAny>) -> Cells<'py, 26> {
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
        row.of(evaluation.sentiment_quote.as_deref())?,
        row.of(evaluation.list_position)?,
        row.of(evaluation.occurrences)?,
        row.of(evaluation.prominence)?,
        row.json_or_none(&evaluation.shares)?,
        row.json_or_none(&extraction.evidence)?,
        row.repeated(7, &extraction.fingerprint),
        row.of(!extraction.evidence.injection.is_empty())?,
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
            let values = [
                batch.clone(),
                key.clone(),
                row.of(competitor.position)?,
                row.text(&competitor.name),
                row.of(competitor.occurrences)?,
                row.of(competitor.parent.as_deref())?,
                row.json_or_none(&competitor.merged)?,
            ];
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
                row.repeated(6, class_word(citation.class)),
                row.text(source_word(citation.source)),
                row.of(citation.cited_text.as_deref())?,
            ];
            citations.append(PyTuple::new(py, values)?)?;
        }
    }
    Ok((evaluations, competitors, citations, failed))
}

/// Reads a row by position. Columns that follow from others (`cell_key`, `error_kind`, `unpriced`) are not read.
pub(super) struct Reader<'a, 'py> {
    pub(super) row: &'a Bound<'py, PyAny>,
    pub(super) columns: &'static [&'static str],
}

impl Reader<'_, '_> {
    pub(super) fn get<T: for<'a, 'b> FromPyObject<'a, 'b, Error: Into<PyErr>>>(&self, column: usize) -> PyResult<T> {
        self.row.get_item(column)?.extract::<T>().map_err(|error| self.refuse(column, Into::<PyErr>::into(error)))
    }

    pub(super) fn json<T: DeserializeOwned + Default>(&self, column: usize) -> PyResult<T> {
        let Some(text) = self.get::<Option<String>>(column)? else { return Ok(T::default()) };
        serde_json::from_str(&text).map_err(|error| self.refuse(column, error))
    }

    /// A word of one of our enumerations; `None` for null.
    pub(super) fn word<T: DeserializeOwned>(&self, column: usize) -> PyResult<Option<T>> {
        let Some(word) = self.get::<Option<String>>(column)? else { return Ok(None) };
        serde_json::from_value(word.into()).map(Some).map_err(|error| self.refuse(column, error))
    }

    /// A boolean, which SQLite gives as a number; `None` for null.
    pub(super) fn flag(&self, column: usize) -> PyResult<Option<bool>> {
        Ok(self.get::<Option<i64>>(column)?.map(|flag| flag != 0))
    }

    pub(super) fn refuse(&self, column: usize, why: impl std::fmt::Display) -> PyErr {
        let name = self.columns.get(column).copied().unwrap_or_default();
        PyValueError::new_err(format!("column {name}: {why}"))
    }
}

fn question_run(row: &Bound<'_, PyAny>) -> PyResult<QuestionRun> {
    let row = Reader { row, columns: &QUESTION_RUN_COLUMNS };
    let status: RunStatus = row.word(9)?.ok_or_else(|| row.refuse(9, "is null"))?;
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
            web_search_triggered: row.flag(25)?,
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
