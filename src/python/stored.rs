//! Extractions from stored rows: the inverse of `extraction_rows`. Reads tuples by position; knows no database.

use std::collections::HashMap;
use std::sync::Arc;

use pyo3::prelude::*;

use super::records::PyExtraction;
use super::rows::{ORG_CITATION_COLUMNS, ORG_COMPETITOR_COLUMNS, ORG_EVAL_COLUMNS, Reader};
use crate::domain::{CellKey, Competitor, ExtractedCitation, Extraction, MicroUsd, OrgEvaluation, Ownership};

/// Extractions from stored rows (any sequence a row) in the order of `ORG_EVAL_COLUMNS`, `ORG_COMPETITOR_COLUMNS` and
/// `ORG_CITATION_COLUMNS`. Rows of competitors and citations belong to the evaluation of their `cell_key`, each in its order.
/// Columns that a database of an older version has no value for are read as not known.
#[pyfunction]
#[pyo3(signature = (evals, competitors, citations, /))]
pub(super) fn extractions_from_rows(
    evals: &Bound<'_, PyAny>,
    competitors: &Bound<'_, PyAny>,
    citations: &Bound<'_, PyAny>,
) -> PyResult<Vec<PyExtraction>> {
    let mut brands: HashMap<String, Vec<Competitor>> = HashMap::new();
    for row in competitors.try_iter()? {
        let row = row?;
        let row = Reader { row: &row, columns: &ORG_COMPETITOR_COLUMNS };
        brands.entry(row.get(1)?).or_default().push(competitor(&row)?);
    }
    let mut sources: HashMap<String, Vec<ExtractedCitation>> = HashMap::new();
    for row in citations.try_iter()? {
        let row = row?;
        let row = Reader { row: &row, columns: &ORG_CITATION_COLUMNS };
        sources.entry(row.get(1)?).or_default().push(citation(&row)?);
    }
    evals
        .try_iter()?
        .map(|row| {
            let row = row?;
            let row = Reader { row: &row, columns: &ORG_EVAL_COLUMNS };
            let key: String = row.get(1)?;
            let mut extraction = extraction(&row, &key)?;
            extraction.competitors = brands.remove(&key).unwrap_or_default();
            extraction.citations = sources.remove(&key).unwrap_or_default();
            Ok(PyExtraction(Arc::new(extraction)))
        })
        .collect()
}

fn extraction(row: &Reader<'_, '_>, key: &str) -> PyResult<Extraction> {
    let key: CellKey = key.parse().map_err(|error: crate::Error| row.refuse(1, error.message))?;
    Ok(Extraction {
        batch_id: row.get(0)?,
        key,
        run_id: row.get(2)?,
        org_id: row.get(3)?,
        evaluation: OrgEvaluation {
            mentioned: row.flag(4)?.unwrap_or_default(),
            citation: row.flag(5)?.unwrap_or_default(),
            sentiment: row.word(6)?,
            mention_text: row.get(7)?,
            mention_rank: row.get(8)?,
            share_of_voice: row.get(9)?,
            sentiment_quote: row.get(18)?,
            list_position: row.get(19)?,
            occurrences: row.get::<Option<u32>>(20)?.unwrap_or_default(),
            prominence: row.get(21)?,
            shares: row.json(22)?,
        },
        method: row.word(10)?.ok_or_else(|| row.refuse(10, "is null"))?,
        extractor_version: row.get(11)?,
        cost_micro_usd: row.get::<Option<i64>>(12)?.map(MicroUsd),
        maybe_charged_micro_usd: MicroUsd(row.get(13)?),
        usage: row.json(14)?,
        dropped: row.json(15)?,
        error: row.json(16)?,
        extracted_at_ms: row.get(17)?,
        evidence: row.json(23)?,
        fingerprint: row.get::<Option<String>>(24)?.unwrap_or_default(),
        competitors: Vec::new(),
        citations: Vec::new(),
    })
}

fn competitor(row: &Reader<'_, '_>) -> PyResult<Competitor> {
    Ok(Competitor {
        position: row.get(2)?,
        name: row.get(3)?,
        occurrences: row.get::<Option<u32>>(4)?.unwrap_or_default(),
        parent: row.get(5)?,
        merged: row.json(6)?,
    })
}

fn citation(row: &Reader<'_, '_>) -> PyResult<ExtractedCitation> {
    Ok(ExtractedCitation {
        position: row.get(2)?,
        url: row.get(3)?,
        canonical_url: row.get(4)?,
        domain: row.get(5)?,
        ownership: row.word::<Ownership>(6)?.unwrap_or_default(),
        title: row.get(7)?,
        cited: row.flag(8)?,
        class: row.word(9)?.unwrap_or_default(),
        source: row.word(10)?.unwrap_or_default(),
        cited_text: row.get(11)?,
    })
}
