//! Builders shared by the extraction tests.

use overheard::domain::{CellKey, Citation, KnownCompetitor, Org, Outcome, QuestionRun, RunStatus};
use overheard::extract::{Extractor, deterministic_names};

pub(crate) fn org(name: &str) -> Org {
    Org { id: "acme".into(), name: name.into(), ..Org::default() }
}

/// QuillMark with a website and three configured competitors.
pub(crate) fn quillmark() -> Org {
    let competitors = ["Boxly", "Tidewater CRM", "Pêche Royale"].map(KnownCompetitor::from).to_vec();
    Org { websites: vec!["https://www.quillmark.example".into()], competitors, ..org("QuillMark") }
}

pub(crate) fn extractor(org: &Org) -> Extractor {
    Extractor::new(org, &deterministic_names(org))
}

pub(crate) fn run(text: &str) -> QuestionRun {
    run_with(text, Vec::new())
}

pub(crate) fn run_with(text: &str, citations: Vec<Citation>) -> QuestionRun {
    let key = CellKey { question_id: "q1".into(), model: "chatgpt".into(), location: "US".into(), repeat: 1 };
    let outcome = Outcome { text: Some(text.into()), citations, ..Outcome::empty(RunStatus::Answered) };
    QuestionRun { batch_id: "b".into(), run_id: "r".into(), org_id: "acme".into(), key, question: "Which CRM?".into(), outcome }
}
