//! Pure data: what is asked, what came back, what was taken from it, what it cost. No I/O, no clock, no Python.

mod batch;
mod cell;
mod extraction;
mod money;
mod org;
mod run;
mod structured;

pub use batch::{Batch, ModelRun, ModelRunStatus, PairProgress, Summary};
pub use cell::{Cell, CellKey, Location};
pub use extraction::{
    Competitor, Dropped, EXTRACTOR_VERSION, ExtractedCitation, Extraction, ExtractionMethod, OrgEvaluation, Ownership, Sentiment,
};
pub use money::{MicroUsd, Price, Priced};
pub use org::{Org, Question};
pub use run::{Citation, ExistingKey, Outcome, QuestionRun, RunStatus, Usage};
pub use structured::StructuredRequest;
