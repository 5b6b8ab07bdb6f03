//! Pure data: what is asked, what came back, what was taken from it, what it cost. No I/O, no clock, no Python.

mod batch;
mod cell;
mod extraction;
mod lease;
mod money;
mod org;
mod run;
mod structured;

pub use batch::{Batch, ModelRun, ModelRunStatus, PairProgress, Summary};
pub use cell::{Cell, CellKey, Location};
pub use extraction::{
    CitationSource, Competitor, Dropped, EXTRACTOR_VERSION, Evidence, ExtractedCitation, Extraction, ExtractionMethod,
    FieldEvidence, Hit, HitKind, Merge, MergeReason, OrgEvaluation, Ownership, Sentiment, Shares, SiteClass, Span,
};
pub use lease::{HeldLease, Lease, PreviousJournal, describe_owner};
pub use money::{MicroUsd, Price, Priced};
pub use org::{KnownCompetitor, Org, Question};
pub use run::{Citation, ExistingKey, Outcome, QuestionRun, RunStatus, Usage};
pub use structured::StructuredRequest;
