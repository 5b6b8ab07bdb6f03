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
//! What the store refuses for good (answers, extractions, charges of no cell) waits here too.
//! If an fsync fails, the journal refuses everything after it: a failed fsync must not be tried again.

mod asked;
pub mod disk;
mod file;
pub mod inspect;
mod live;
mod overhead;
mod writer;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::domain::{CellKey, Extraction, QuestionRun};
use crate::error::Result;
pub use asked::{Asked, Call};
use disk::Disk;
pub use overhead::Overhead;
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
    /// Positions of the cells that were asked from anywhere, because the provider refused their location.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without_location: Vec<usize>,
    /// What earlier runs of the cells were charged and may have been, micro-dollars, as it was known when they were asked: a stored row
    /// may have this submission's own charge in it already. Empty in journals that were written before there was this field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub carried: Vec<(i64, i64)>,
    /// Set: it asks an extraction model about the stored answers of these cells, and its snapshot is a batch of that model's
    /// provider. `None`: it asks the cells' questions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extraction: Option<Requests>,
}

/// What a submission for extraction asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// The extraction model as it is routed.
    pub model: String,
    /// Per cell, the calls that are asked of it.
    pub calls: Vec<Vec<Call>>,
    /// The most that all of it can be charged, micro-dollars.
    pub worst_micro_usd: i64,
    /// What all of it is expected to be charged, micro-dollars: booked where the results are lost.
    pub expected_micro_usd: i64,
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
    /// Before each attempt of a direct call.
    Asked { asked: Asked },
    /// It is certain that this call was charged nothing, and no reply follows.
    Unasked { id: String },
    /// A direct reply.
    Reply { run: Arc<QuestionRun> },
    /// The store has these replies. Written with the next group, not waited for: without it they are handed over again.
    Acknowledged { keys: Vec<String> },
    /// A paid extraction, or one that the store did not take.
    Extraction { extraction: Arc<Extraction> },
    /// The store has these extractions. Written as [`Record::Acknowledged`] is.
    Extracted { keys: Vec<String> },
    /// All that came of a submission for extraction, and its end: one line, so that a torn write has all of it or nothing.
    Settled { id: String, extractions: Vec<Arc<Extraction>> },
    /// Charges that belong to no cell, over all starts.
    Overhead(Overhead),
}

/// Version of the format written; older ones are read. 2: direct calls are noted before they are sent. 3: a submission may be
/// one for extraction.
const VERSION: u32 = 3;

/// What is open.
#[derive(Debug, Clone, Default)]
struct Open {
    submissions: BTreeMap<String, Submission>,
    asked: BTreeMap<String, Asked>,
    replies: BTreeMap<String, Arc<QuestionRun>>,
    extractions: BTreeMap<String, Arc<Extraction>>,
    /// By model.
    overhead: BTreeMap<Option<String>, Overhead>,
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
            // Within one file the later note stands for the earlier; it may take back an attempt that was not charged.
            Record::Asked { asked } => {
                self.asked.insert(asked.id(), asked);
            }
            Record::Unasked { id } => {
                self.asked.remove(&id);
            }
            Record::Reply { run } => {
                self.asked.remove(&Call::Answer.id(Some(&run.key)));
                self.replies.insert(run.key.to_string(), run);
            }
            Record::Acknowledged { keys } => keys.iter().for_each(|key| drop(self.replies.remove(key))),
            Record::Extraction { extraction } => {
                for call in Call::OF_AN_EXTRACTION {
                    self.asked.remove(&call.id(Some(&extraction.key)));
                }
                self.extractions.insert(extraction.key.to_string(), extraction);
            }
            Record::Settled { id, extractions } => {
                for extraction in extractions {
                    self.apply(Record::Extraction { extraction });
                }
                self.submissions.remove(&id);
            }
            Record::Extracted { keys } => keys.iter().for_each(|key| drop(self.extractions.remove(key))),
            Record::Overhead(overhead) => {
                if overhead.names {
                    self.asked.remove(&Call::Names.id(None));
                }
                let known = self.overhead.remove(&overhead.model);
                self.overhead.insert(overhead.model.clone(), overhead.grown(known.as_ref()));
            }
        }
    }

    /// Takes out what belongs to other models than these.
    fn split_off(&mut self, models: &[String]) -> Self {
        let mut others = Self::default();
        let keep = |model: &String| models.contains(model);
        let submissions = std::mem::take(&mut self.submissions);
        (self.submissions, others.submissions) = submissions.into_iter().partition(|(_, submission)| keep(&submission.model));
        let asked = std::mem::take(&mut self.asked);
        (self.asked, others.asked) =
            asked.into_iter().partition(|(_, asked)| asked.key.as_ref().is_none_or(|key| keep(&key.model)));
        let replies = std::mem::take(&mut self.replies);
        (self.replies, others.replies) = replies.into_iter().partition(|(_, run)| keep(&run.key.model));
        let extractions = std::mem::take(&mut self.extractions);
        (self.extractions, others.extractions) = extractions.into_iter().partition(|(_, extraction)| keep(&extraction.key.model));
        let overhead = std::mem::take(&mut self.overhead);
        (self.overhead, others.overhead) = overhead.into_iter().partition(|(model, _)| model.as_ref().is_none_or(keep));
        others
    }

    fn is_empty(&self) -> bool {
        self.submissions.is_empty()
            && self.asked.is_empty()
            && self.replies.is_empty()
            && self.extractions.is_empty()
            && self.overhead.is_empty()
    }

    fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let intents = self.submissions.values().map(|submission| Record::Intent { submission: submission.clone() });
        let replies = self.replies.values().map(|run| Record::Reply { run: run.clone() });
        let extractions = self.extractions.values().map(|extraction| Record::Extraction { extraction: extraction.clone() });
        let overhead = self.overhead.values().cloned().map(Record::Overhead);
        let asked = self.asked.values().map(|asked| Record::Asked { asked: asked.clone() });
        intents.chain(asked).chain(replies).chain(extractions).chain(overhead)
    }
}

/// What earlier starts of the batch left open.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Submissions of questions, with or without a snapshot id.
    pub submissions: Vec<Submission>,
    /// Submissions for extraction, with or without the id of the provider's batch.
    pub extraction_batches: Vec<Submission>,
    /// Direct calls that may have been charged and of which no reply is durable.
    pub asked: Vec<Asked>,
    /// Direct replies that may not have reached the store.
    pub replies: Vec<Arc<QuestionRun>>,
    /// Extractions that did not reach the store.
    pub extractions: Vec<Arc<Extraction>>,
    /// Charges that belong to no cell and that the store may not know.
    pub overhead: Vec<Overhead>,
}

impl Recovered {
    /// Keys of all cells whose answers are paid for and not known to be stored.
    #[must_use]
    pub fn keys(&self) -> HashSet<String> {
        let submitted = self.submissions.iter().flat_map(|submission| &submission.cells);
        let asked = self.asked.iter().filter(|asked| asked.call == Call::Answer).filter_map(|asked| asked.key.as_ref());
        submitted.chain(asked).chain(self.replies.iter().map(|run| &run.key)).map(ToString::to_string).collect()
    }
}

/// The journal of one running batch. All methods do nothing when it was opened with [`Journal::none`].
#[derive(Debug, Default)]
pub struct Journal {
    writer: Option<Writer>,
    folder_id: Option<String>,
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
    pub fn open(disk: Arc<dyn Disk>, folder: &Path, batch_id: &str, models: &[String]) -> Result<(Self, Recovered)> {
        Self::open_leased(disk, folder, batch_id, models, false)
    }

    /// The same; `leased` says that the store gave the leases of these models, so that whoever still holds a file of theirs has
    /// lost them and is taken over as a dead process is.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_leased(
        disk: Arc<dyn Disk>,
        folder: &Path,
        batch_id: &str,
        models: &[String],
        leased: bool,
    ) -> Result<(Self, Recovered)> {
        let folder_id = file::folder_id(disk.as_ref(), folder)?;
        let live = live::claim(folder, batch_id, models);
        // Until what was taken is in files of ours and gone from theirs, nobody else may look: it would miss what is on the move.
        let (turn, orphans) = file::take_orphans(disk.as_ref(), folder, batch_id, models, leased)?;
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
            drop(file::create(disk.as_ref(), folder, batch_id, std::iter::once(header(&theirs)).chain(others.records()))?);
        }
        let (extraction_batches, submissions) =
            open.submissions.values().cloned().partition(|submission: &Submission| submission.extraction.is_some());
        let recovered = Recovered {
            submissions,
            extraction_batches,
            asked: open.asked.values().cloned().collect(),
            replies: open.replies.values().cloned().collect(),
            extractions: open.extractions.values().cloned().collect(),
            overhead: open.overhead.values().cloned().collect(),
        };
        let file = file::create(disk.as_ref(), folder, batch_id, std::iter::once(header(models)).chain(open.records()))?;
        // Only now is everything durable in files of ours.
        let removed = !orphans.is_empty();
        for orphan in orphans {
            orphan.remove(disk.as_ref())?;
        }
        if removed {
            // A file that came back after a power cut would tell of calls that have been answered since.
            disk.sync_folder(folder).map_err(|error| file::failed("synced", folder, &error))?;
        }
        drop(turn);
        let open = Arc::new(Mutex::new(open));
        let writer = Some(Writer::start(disk, file, open.clone(), header(models), live));
        Ok((Self { writer, folder_id: Some(folder_id), open }, recovered))
    }

    /// False for [`Journal::none`].
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.writer.is_some()
    }

    /// The id of the folder, the same for every journal in it; `None` without a journal.
    #[must_use]
    pub fn folder_id(&self) -> Option<&str> {
        self.folder_id.as_deref()
    }

    /// The snapshots that journals of the folder, of whatever batch, name. Blocks on the disk.
    #[must_use]
    pub fn snapshot_ids(disk: &dyn Disk, folder: &Path) -> Vec<String> {
        file::snapshot_ids(disk, folder)
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

    /// Notes direct calls before they are sent, in place of what was noted for them before. Durable when it returns.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Journal`]: then none of them may be sent.
    pub async fn asked(&self, asked: Vec<Asked>) -> Result<()> {
        self.append(asked.into_iter().map(|asked| Record::Asked { asked }).collect()).await
    }

    /// The last attempt of a noted call was certainly charged nothing: `asked` is what remains of it. Not waited for: without it the
    /// next start books the attempt as possible.
    pub fn charged_nothing(&self, asked: Asked) {
        let record = if asked.micro_usd == 0 { Record::Unasked { id: asked.id() } } else { Record::Asked { asked } };
        self.append_later(record);
    }

    /// Notes direct replies. Durable when it returns.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Journal`].
    pub async fn replies(&self, runs: &[Arc<QuestionRun>]) -> Result<()> {
        self.append(runs.iter().map(|run| Record::Reply { run: run.clone() }).collect()).await
    }

    /// Notes extractions that were paid, or that the store did not take. Durable when it returns.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Journal`].
    pub async fn extractions(&self, extractions: &[Arc<Extraction>]) -> Result<()> {
        self.append(extractions.iter().map(|extraction| Record::Extraction { extraction: extraction.clone() }).collect()).await
    }

    /// Notes all that came of a submission for extraction, and closes it, in one line: after a power cut either all of it
    /// stands or nothing, so no charge of it can count twice. Durable when it returns.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Journal`].
    pub async fn settled(&self, id: &str, extractions: &[Arc<Extraction>]) -> Result<()> {
        self.append(vec![Record::Settled { id: id.to_owned(), extractions: extractions.to_vec() }]).await
    }

    /// Notes a model run's charges of no cell over all starts before the store is told. Durable when it returns.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Journal`].
    pub async fn overhead(&self, overhead: Overhead) -> Result<()> {
        self.append(vec![Record::Overhead(overhead)]).await
    }

    /// The store has these totals of a model run; larger ones that were noted meanwhile stay.
    pub fn overhead_acknowledged(&self, model: &str, micro_usd: i64, maybe_charged_micro_usd: i64) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let told = |noted: &Overhead| noted.micro_usd <= micro_usd && noted.maybe_charged_micro_usd <= maybe_charged_micro_usd;
        open.overhead.retain(|of, noted| of.as_deref() != Some(model) || !told(noted));
    }

    /// What a journal of version 1 noted for the whole batch stands in the store's rows by now.
    pub fn batch_overhead_acknowledged(&self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).overhead.remove(&None);
    }

    /// The store has these extractions.
    pub fn extractions_acknowledged<'a>(&self, extractions: impl Iterator<Item = &'a Extraction>) {
        if self.open.lock().unwrap_or_else(PoisonError::into_inner).extractions.is_empty() {
            return;
        }
        let keys: Vec<String> = extractions.map(|extraction| extraction.key.to_string()).collect();
        if !keys.is_empty() {
            self.append_later(Record::Extracted { keys });
        }
    }

    /// The store has these replies: they may be forgotten.
    pub fn acknowledged<'a>(&self, runs: impl Iterator<Item = &'a QuestionRun>) {
        let keys: Vec<String> = runs.map(|run| run.key.to_string()).collect();
        if !keys.is_empty() {
            self.append_later(Record::Acknowledged { keys });
        }
    }

    fn append_later(&self, record: Record) {
        if let Some(writer) = &self.writer {
            self.open.lock().unwrap_or_else(PoisonError::into_inner).apply(record.clone());
            writer.append_later(record);
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
