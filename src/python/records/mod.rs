//! The record classes: frozen views on the core's data. They cross in batches, share what they can, and copy only what
//! is looked at. No logic beyond getters and constructors.

mod ask;
mod extraction;
mod outcome;
mod question_run;
mod record;
mod small;

pub(super) use ask::{PyAsk, PyExistingKey};
pub(super) use extraction::PyExtraction;
pub(super) use extraction::method_word;
pub(super) use outcome::PyOutcome;
pub(super) use question_run::PyQuestionRun;
pub(super) use record::{FromRecord, Record, json, restore};
pub(super) use small::{PyCitation, PyCompetitor, PyExtractedCitation, PyOrgEvaluation, PyUsage};
pub(super) use small::{class_word, ownership_word, sentiment_word, source_word};
