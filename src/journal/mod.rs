//! Our own record of paid work in flight, in a folder beside the store. Never in the results database.
//!
//! A submission is noted before it can cost money (*intent*), again when its snapshot id is known (*submitted*), and closed
//! when all its rows are in the store. A direct reply is noted before it is handed to the store. What a crash leaves open,
//! the next start of the same batch finds through [`Journal::open`].
//!
//! One file per session, named by its batch and locked by its process, so that several processes share the folder, each working
//! on models of its own; a file whose owner died is unlocked, and its entries are moved into the file of whoever continues those
//! models. A line is
//! `CRC-32 (8 hex digits), space, JSON`: a torn last line is dropped, a damaged earlier one is refused.
//! What the store refuses for good (answers, extractions, the batch's own charges) waits here too.
//! If an fsync fails, the journal refuses everything after it: a failed fsync must not be tried again.

mod file;
mod live;
mod writer;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::domain::{CellKey, Extraction, QuestionRun};
use crate::error::Result;
use writer::Writer;

/// A submission to a provider that can be fetched later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// Our id of it.
    pub id: String,
    /// The model asked.
    pub model: String,
    /// Its cells, in the order of the inputs.
    pub cells: Vec<CellKey>,
    /// When the intent was noted, milliseconds since 1970 UTC.
    pub created_at_ms: i64,
    /// The provider's snapshot id; `None` while unknown.
    #[serde(default)]
    pub snapshot_id: Option<String>,
}

/// A line of the journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Record {
    /// First line.
    Header { version: u32, batch_id: String, models: Vec<String> },
    /// Before the trigger.
    Intent { submission: Submission },
    /// After the trigger.
    Submitted { id: String, snapshot_id: String },
    /// Every row is stored, or it is certain that nothing was bought.
    Closed { id: String },
    /// A direct reply.
    Reply { run: Arc<QuestionRun> },
    /// The store has these replies. Written with the next group, not waited for: without it they are handed over again.
    Acknowledged { keys: Vec<String> },
    /// An extraction that the store did not take.
    Extraction { extraction: Arc<Extraction> },
    /// The batch's own charges (name variations) over all starts, in micro-dollars.
    Overhead { micro_usd: i64 },
}

/// Version of the format written; older ones are read.
const VERSION: u32 = 1;

/// What is open.
#[derive(Debug, Clone, Default)]
struct Open {
    submissions: BTreeMap<String, Submission>,
    replies: BTreeMap<String, Arc<QuestionRun>>,
    extractions: BTreeMap<String, Arc<Extraction>>,
    overhead: Option<i64>,
}

impl Open {
    fn apply(&mut self, record: Record) {
        match record {
            Record::Header { .. } => {}
            Record::Intent { submission } => {
                self.submissions.insert(submission.id.clone(), submission);
            }
            Record::Submitted { id, snapshot_id } => {
                if let Some(submission) = self.submissions.get_mut(&id) {
                    submission.snapshot_id = Some(snapshot_id);
                }
            }
            Record::Closed { id } => {
                self.submissions.remove(&id);
            }
            Record::Reply { run } => {
                self.replies.insert(run.key.to_string(), run);
            }
            Record::Acknowledged { keys } => keys.iter().for_each(|key| drop(self.replies.remove(key))),
            Record::Extraction { extraction } => {
                self.extractions.insert(extraction.key.to_string(), extraction);
            }
            // A total, so that reading it twice books it once.
            Record::Overhead { micro_usd } => self.overhead = Some(self.overhead.map_or(micro_usd, |known| known.max(micro_usd))),
        }
    }

    /// Takes out what belongs to other models than these.
    fn split_off(&mut self, models: &[String]) -> Self {
        let mut others = Self::default();
        let keep = |model: &String| models.contains(model);
        let submissions = std::mem::take(&mut self.submissions);
        (self.submissions, others.submissions) = submissions.into_iter().partition(|(_, submission)| keep(&submission.model));
        let replies = std::mem::take(&mut self.replies);
        (self.replies, others.replies) = replies.into_iter().partition(|(_, run)| keep(&run.key.model));
        let extractions = std::mem::take(&mut self.extractions);
        (self.extractions, others.extractions) = extractions.into_iter().partition(|(_, extraction)| keep(&extraction.key.model));
        others
    }

    fn is_empty(&self) -> bool {
        self.submissions.is_empty() && self.replies.is_empty() && self.extractions.is_empty() && self.overhead.is_none()
    }

    fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let intents = self.submissions.values().map(|submission| Record::Intent { submission: submission.clone() });
        let replies = self.replies.values().map(|run| Record::Reply { run: run.clone() });
        let extractions = self.extractions.values().map(|extraction| Record::Extraction { extraction: extraction.clone() });
        let overhead = self.overhead.iter().map(|micro_usd| Record::Overhead { micro_usd: *micro_usd });
        intents.chain(replies).chain(extractions).chain(overhead)
    }
}

/// What earlier starts of the batch left open.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Submissions, with or without a snapshot id.
    pub submissions: Vec<Submission>,
    /// Direct replies that may not have reached the store.
    pub replies: Vec<Arc<QuestionRun>>,
    /// Extractions that did not reach the store.
    pub extractions: Vec<Arc<Extraction>>,
    /// The batch's own charges as they stood at last; `None`: the store knows them.
    pub overhead_micro_usd: Option<i64>,
}

impl Recovered {
    /// Keys of all cells whose answers are paid for and not known to be stored.
    #[must_use]
    pub fn keys(&self) -> HashSet<String> {
        let submitted = self.submissions.iter().flat_map(|submission| &submission.cells);
        submitted.chain(self.replies.iter().map(|run| &run.key)).map(ToString::to_string).collect()
    }
}

/// The journal of one running batch. All methods do nothing when it was opened with [`Journal::none`].
#[derive(Debug, Default)]
pub struct Journal {
    writer: Option<Writer>,
    open: Arc<Mutex<Open>>,
}

impl Journal {
    /// No journal: nothing survives a crash.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Opens the journal of a batch below `folder` and takes over what dead processes left of it. Blocks on the disk, and until
    /// an ended session of this process that worked on the same models has let go of its file.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Journal`] naming the file, when the folder cannot be written or a file is damaged.
    pub fn open(folder: &Path, batch_id: &str, models: &[String]) -> Result<(Self, Recovered)> {
        file::create_folder(folder)?;
        let live = live::claim(folder, batch_id, models);
        let orphans = file::take_orphans(folder, batch_id, models)?;
        let header =
            |models: &[String]| Record::Header { version: VERSION, batch_id: batch_id.to_owned(), models: models.to_vec() };
        let mut open = Open::default();
        for orphan in &orphans {
            for record in orphan.records.iter().cloned() {
                open.apply(record);
            }
        }
        // What belongs to models that are not worked on now goes back into a file of its own, for whoever does.
        let others = open.split_off(models);
        if !others.is_empty() {
            let theirs: Vec<String> =
                orphans.iter().flat_map(|orphan| orphan.models.clone()).filter(|model| !models.contains(model)).collect();
            drop(file::create(folder, batch_id, std::iter::once(header(&theirs)).chain(others.records()))?);
        }
        let recovered = Recovered {
            submissions: open.submissions.values().cloned().collect(),
            replies: open.replies.values().cloned().collect(),
            extractions: open.extractions.values().cloned().collect(),
            overhead_micro_usd: open.overhead,
        };
        let file = file::create(folder, batch_id, std::iter::once(header(models)).chain(open.records()))?;
        // Only now is everything durable in files of ours.
        for orphan in orphans {
            orphan.remove()?;
        }
        let open = Arc::new(Mutex::new(open));
        Ok((Self { writer: Some(Writer::start(file, open.clone(), header(models), live)), open }, recovered))
    }

    /// Notes a submission before its trigger. Durable when it returns.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Journal`]: then the trigger must not be sent.
    pub async fn intent(&self, submission: Submission) -> Result<()> {
        self.append(vec![Record::Intent { submission }]).await
    }

    /// Notes the snapshot id of a submission. Durable when it returns.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Journal`].
    pub async fn submitted(&self, id: &str, snapshot_id: &str) -> Result<()> {
        self.append(vec![Record::Submitted { id: id.to_owned(), snapshot_id: snapshot_id.to_owned() }]).await
    }

    /// Closes a submission.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Journal`].
    pub async fn closed(&self, id: &str) -> Result<()> {
        self.append(vec![Record::Closed { id: id.to_owned() }]).await
    }

    /// Notes direct replies. Durable when it returns.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Journal`].
    pub async fn replies(&self, runs: &[Arc<QuestionRun>]) -> Result<()> {
        self.append(runs.iter().map(|run| Record::Reply { run: run.clone() }).collect()).await
    }

    /// Notes extractions that the store did not take. Durable when it returns.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Journal`].
    pub async fn extractions(&self, extractions: &[Arc<Extraction>]) -> Result<()> {
        self.append(extractions.iter().map(|extraction| Record::Extraction { extraction: extraction.clone() }).collect()).await
    }

    /// Notes the batch's own charges over all starts before the store is told. Durable when it returns.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Journal`].
    pub async fn overhead(&self, micro_usd: i64) -> Result<()> {
        self.append(vec![Record::Overhead { micro_usd }]).await
    }

    /// The store knows the batch's own charges.
    pub fn overhead_acknowledged(&self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).overhead = None;
    }

    /// The store has these extractions.
    pub fn extractions_acknowledged<'a>(&self, extractions: impl Iterator<Item = &'a Extraction>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if !open.extractions.is_empty() {
            for extraction in extractions {
                open.extractions.remove(&extraction.key.to_string());
            }
        }
    }

    /// The store has these replies: they may be forgotten.
    pub fn acknowledged<'a>(&self, runs: impl Iterator<Item = &'a QuestionRun>) {
        if let Some(writer) = &self.writer {
            let keys: Vec<String> = runs.map(|run| run.key.to_string()).collect();
            if !keys.is_empty() {
                self.open.lock().unwrap_or_else(PoisonError::into_inner).apply(Record::Acknowledged { keys: keys.clone() });
                writer.append_later(Record::Acknowledged { keys });
            }
        }
    }

    /// Ends the journal: the file is removed when nothing is open, else it waits for the next start.
    pub async fn finish(&self) {
        if let Some(writer) = &self.writer {
            writer.finish().await;
        }
    }

    async fn append(&self, records: Vec<Record>) -> Result<()> {
        match &self.writer {
            Some(writer) if !records.is_empty() => writer.append(records).await,
            _ => Ok(()),
        }
    }
}
