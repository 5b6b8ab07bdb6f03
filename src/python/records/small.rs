//! The small records, each owning a copy of its data: `Citation`, `Usage`, `OrgEvaluation`, `Competitor`,
//! `ExtractedCitation`.

use pyo3::prelude::*;

use super::super::convert::{excerpt, optional, to_python};
use super::record::{Record, record};
use crate::domain::{
    Citation, CitationSource, Competitor, ExtractedCitation, OrgEvaluation, Ownership, Sentiment, SiteClass, Usage,
};

/// Implements [`Record`] for a class that owns its data.
macro_rules! owned {
    ($class:ident, $data:ident, |$record:ident| $describe:expr) => {
        impl Record for $class {
            type Data = $data;
            const CLASS: &'static str = stringify!($data);

            fn data(&self) -> &$data {
                &self.0
            }

            fn wrap(data: $data) -> Self {
                Self(data)
            }

            fn describe(&self) -> String {
                let $record = &self.0;
                $describe
            }
        }
    };
}

/// A source the provider named.
#[pyclass(frozen, module = "overheard", name = "Citation")]
#[derive(Debug)]
pub(in crate::python) struct PyCitation(Citation);

owned!(PyCitation, Citation, |citation| format!(
    "url={}, title={}, cited={}",
    excerpt(&citation.url, 120),
    optional(citation.title.as_deref(), 60),
    match citation.cited {
        None => "None",
        Some(true) => "True",
        Some(false) => "False",
    }
));

record!(PyCitation, Citation, "Citation", match_args("url", "title", "cited"), {
    #[new]
    #[pyo3(signature = (url, *, title = None, cited = None, position = None, start = None, end = None, cited_text = None))]
    fn new(
        url: String,
        title: Option<String>,
        cited: Option<bool>,
        position: Option<u32>,
        start: Option<u32>,
        end: Option<u32>,
        cited_text: Option<String>,
    ) -> Self {
        Self(Citation { url, title, cited, position, start, end, cited_text })
    }

    #[getter]
    fn url(&self) -> &str {
        &self.0.url
    }

    #[getter]
    fn title(&self) -> Option<&str> {
        self.0.title.as_deref()
    }

    #[getter]
    fn cited(&self) -> Option<bool> {
        self.0.cited
    }

    #[getter]
    fn position(&self) -> Option<u32> {
        self.0.position
    }

    #[getter]
    fn start(&self) -> Option<u32> {
        self.0.start
    }

    #[getter]
    fn end(&self) -> Option<u32> {
        self.0.end
    }

    #[getter]
    fn cited_text(&self) -> Option<&str> {
        self.0.cited_text.as_deref()
    }
});

/// What the provider counted.
#[pyclass(frozen, module = "overheard", name = "Usage")]
#[derive(Debug)]
pub(in crate::python) struct PyUsage(Usage);

owned!(PyUsage, Usage, |usage| {
    let count = |tokens: Option<u64>| tokens.map_or_else(|| "None".to_owned(), |tokens| tokens.to_string());
    let (input, output) = (count(usage.input_tokens), count(usage.output_tokens));
    format!("input_tokens={input}, output_tokens={output}, searches={}, records={}", usage.searches, usage.records)
});

record!(PyUsage, Usage, "Usage", match_args("input_tokens", "output_tokens", "searches", "records"), {
    #[new]
    #[pyo3(signature = (
        *, input_tokens = None, output_tokens = None, cached_input_tokens = 0, cache_write_tokens = 0, reasoning_tokens = 0,
        searches = 0, records = 0
    ))]
    fn new(
        input_tokens: Option<u64>,
        output_tokens: Option<u64>,
        cached_input_tokens: u64,
        cache_write_tokens: u64,
        reasoning_tokens: u64,
        searches: u64,
        records: u64,
    ) -> Self {
        Self(Usage { input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, searches, records })
    }

    #[getter]
    fn input_tokens(&self) -> Option<u64> {
        self.0.input_tokens
    }

    #[getter]
    fn output_tokens(&self) -> Option<u64> {
        self.0.output_tokens
    }

    #[getter]
    fn cached_input_tokens(&self) -> u64 {
        self.0.cached_input_tokens
    }

    #[getter]
    fn cache_write_tokens(&self) -> u64 {
        self.0.cache_write_tokens
    }

    #[getter]
    fn reasoning_tokens(&self) -> u64 {
        self.0.reasoning_tokens
    }

    #[getter]
    fn searches(&self) -> u64 {
        self.0.searches
    }

    #[getter]
    fn records(&self) -> u64 {
        self.0.records
    }
});

/// Is the org in the answer, and how.
#[pyclass(frozen, module = "overheard", name = "OrgEvaluation")]
#[derive(Debug)]
pub(in crate::python) struct PyOrgEvaluation(OrgEvaluation);

/// The word of a sentiment.
pub(in crate::python) fn sentiment_word(sentiment: Sentiment) -> &'static str {
    match sentiment {
        Sentiment::Positive => "positive",
        Sentiment::Neutral => "neutral",
        Sentiment::Negative => "negative",
    }
}

/// The word of an ownership.
pub(in crate::python) fn ownership_word(ownership: Ownership) -> &'static str {
    match ownership {
        Ownership::Primary => "primary",
        Ownership::Secondary => "secondary",
    }
}

fn flag(flag: bool) -> &'static str {
    if flag { "True" } else { "False" }
}

owned!(PyOrgEvaluation, OrgEvaluation, |evaluation| format!(
    "mentioned={}, citation={}, sentiment={}, mention_rank={}",
    flag(evaluation.mentioned),
    flag(evaluation.citation),
    optional(evaluation.sentiment.map(sentiment_word), 20),
    evaluation.mention_rank.map_or_else(|| "None".to_owned(), |rank| rank.to_string()),
));

record!(PyOrgEvaluation, OrgEvaluation, "OrgEvaluation", match_args("mentioned", "citation", "sentiment", "mention_rank"), {
    #[getter]
    fn mentioned(&self) -> bool {
        self.0.mentioned
    }

    #[getter]
    fn citation(&self) -> bool {
        self.0.citation
    }

    #[getter]
    fn sentiment(&self) -> Option<&'static str> {
        self.0.sentiment.map(sentiment_word)
    }

    #[getter]
    fn mention_text(&self) -> Option<&str> {
        self.0.mention_text.as_deref()
    }

    #[getter]
    fn mention_rank(&self) -> Option<u32> {
        self.0.mention_rank
    }

    #[getter]
    fn share_of_voice(&self) -> Option<f64> {
        self.0.share_of_voice
    }

    #[getter]
    fn sentiment_quote(&self) -> Option<&str> {
        self.0.sentiment_quote.as_deref()
    }

    #[getter]
    fn list_position(&self) -> Option<u32> {
        self.0.list_position
    }

    #[getter]
    fn occurrences(&self) -> u32 {
        self.0.occurrences
    }

    #[getter]
    fn prominence(&self) -> Option<f64> {
        self.0.prominence
    }

    #[getter]
    fn shares<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.0.shares)
    }
});

/// Another brand the answer names.
#[pyclass(frozen, module = "overheard", name = "Competitor")]
#[derive(Debug)]
pub(in crate::python) struct PyCompetitor(Competitor);

owned!(PyCompetitor, Competitor, |competitor| format!(
    "name={}, position={}",
    excerpt(&competitor.name, 80),
    competitor.position
));

record!(PyCompetitor, Competitor, "Competitor", match_args("name", "position"), {
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    #[getter]
    fn position(&self) -> u32 {
        self.0.position
    }

    #[getter]
    fn occurrences(&self) -> u32 {
        self.0.occurrences
    }

    #[getter]
    fn parent(&self) -> Option<&str> {
        self.0.parent.as_deref()
    }

    #[getter]
    fn merged<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.0.merged)
    }
});

/// The word of a class of sites.
pub(in crate::python) fn class_word(class: SiteClass) -> &'static str {
    match class {
        SiteClass::Own => "own",
        SiteClass::Competitor => "competitor",
        SiteClass::News => "news",
        SiteClass::Social => "social",
        SiteClass::Reference => "reference",
        SiteClass::Directory => "directory",
        SiteClass::Government => "government",
        SiteClass::Other => "other",
    }
}

/// The word of where a citation was found.
pub(in crate::python) fn source_word(source: CitationSource) -> &'static str {
    match source {
        CitationSource::Provider => "provider",
        CitationSource::Text => "text",
        CitationSource::Both => "both",
    }
}

/// A source of the answer, cleaned.
#[pyclass(frozen, module = "overheard", name = "ExtractedCitation")]
#[derive(Debug)]
pub(in crate::python) struct PyExtractedCitation(ExtractedCitation);

owned!(PyExtractedCitation, ExtractedCitation, |citation| format!(
    "canonical_url={}, ownership={:?}, position={}",
    excerpt(&citation.canonical_url, 120),
    ownership_word(citation.ownership),
    citation.position
));

record!(PyExtractedCitation, ExtractedCitation, "ExtractedCitation", match_args("canonical_url", "domain", "ownership"), {
    #[getter]
    fn url(&self) -> &str {
        &self.0.url
    }

    #[getter]
    fn canonical_url(&self) -> &str {
        &self.0.canonical_url
    }

    #[getter]
    fn domain(&self) -> &str {
        &self.0.domain
    }

    #[getter]
    fn ownership(&self) -> &'static str {
        ownership_word(self.0.ownership)
    }

    #[getter]
    fn title(&self) -> Option<&str> {
        self.0.title.as_deref()
    }

    #[getter]
    fn cited(&self) -> Option<bool> {
        self.0.cited
    }

    #[getter]
    fn position(&self) -> u32 {
        self.0.position
    }

    #[getter]
    fn site_class(&self) -> &'static str {
        class_word(self.0.class)
    }

    #[getter]
    fn source(&self) -> &'static str {
        source_word(self.0.source)
    }

    #[getter]
    fn cited_text(&self) -> Option<&str> {
        self.0.cited_text.as_deref()
    }
});
