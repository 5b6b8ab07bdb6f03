//! What the journal of a batch holds, for checks. Looks and touches nothing: no lock, no file made or removed, so it can be read
//! while a process works on it; what that process writes meanwhile may be missing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::disk::Disk;
use super::{Asked, Open, Overhead, Record, Submission, VERSION, file};
use crate::domain::{CellKey, Extraction, QuestionRun, RunStatus};
use crate::error::Result;

/// Times that the folder is listed anew because a file of it moved while it was read.
const LOOKS: u32 = 5;

/// The journal of a batch as it lies on the disk.
#[derive(Debug, Default, Serialize)]
pub struct Inspection {
    /// The folder's id; `None`: there is no journal folder, or nothing was ever opened in it.
    pub folder_id: Option<String>,
    /// One entry a file, by name.
    pub files: Vec<InspectedFile>,
}

/// A file of the journal.
#[derive(Debug, Serialize)]
pub struct InspectedFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Format; `None`: its first line is not whole.
    pub version: Option<u32>,
    /// The models it was opened for.
    pub models: Vec<String>,
    /// Whole lines read.
    pub lines: usize,
    /// The last line is not whole: its process died while writing it, or writes it now.
    pub torn: bool,
    /// Why the engine would refuse to start over it; `None`: it would not. Then nothing below is known.
    pub problem: Option<String>,
    /// Open submissions, with or without a snapshot id.
    pub submissions: Vec<Submission>,
    /// Direct calls that may have been charged.
    pub asked: Vec<Asked>,
    /// Direct replies that the store is not known to have.
    pub replies: Vec<OpenReply>,
    /// Extractions that the store is not known to have.
    pub extractions: Vec<OpenExtraction>,
    /// Charges of no cell that the store is not known to have.
    pub overhead: Vec<Overhead>,
}

/// A reply without its text.
#[derive(Debug, Serialize)]
pub struct OpenReply {
    /// The cell.
    pub key: CellKey,
    /// How it ended.
    pub status: RunStatus,
    /// Last byte received, milliseconds since 1970 UTC.
    pub finished_at_ms: i64,
}

/// An extraction without its rows.
#[derive(Debug, Serialize)]
pub struct OpenExtraction {
    /// The cell.
    pub key: CellKey,
    /// It holds an error in place of rows.
    pub failed: bool,
}

/// Reads the journal of a batch below `folder`. A folder that is not there holds nothing.
///
/// # Errors
/// [`crate::ErrorKind::Journal`] when the folder or a file is there and cannot be read.
pub fn inspect(disk: &dyn Disk, folder: &Path, batch_id: &str) -> Result<Inspection> {
    let mut files = Vec::new();
    for _ in 0..LOOKS {
        let Some(before) = listed(disk, folder, batch_id)? else { return Ok(Inspection::default()) };
        files = before.iter().map(|path| read(disk, path)).collect::<Result<Vec<_>>>()?;
        // A file is made before the one that it replaces is removed: with the same files before and after, nothing was missed.
        if listed(disk, folder, batch_id)?.is_some_and(|after| after == before) {
            break;
        }
    }
    let id = disk.open(&folder.join(file::FOLDER_ID)).and_then(|mut file| file.read());
    let folder_id = id.ok().map(|id| String::from_utf8_lossy(&id).trim().to_owned()).filter(|id| !id.is_empty());
    Ok(Inspection { folder_id, files: files.into_iter().flatten().collect() })
}

fn listed(disk: &dyn Disk, folder: &Path, batch_id: &str) -> Result<Option<Vec<PathBuf>>> {
    match disk.files(folder) {
        Ok(paths) => {
            let mut paths: Vec<PathBuf> = paths.into_iter().filter(|path| file::is_of(path, batch_id)).collect();
            paths.sort();
            Ok(Some(paths))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file::failed("read", folder, &error)),
    }
}

/// `None`: it is gone.
fn read(disk: &dyn Disk, path: &Path) -> Result<Option<InspectedFile>> {
    let bytes = match disk.open(path).and_then(|mut file| file.read()) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file::failed("read", path, &error)),
    };
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').count();
    let (records, mut problem) = match file::decode(&bytes, path) {
        Ok(records) => (records, None),
        Err(error) => (Vec::new(), Some(error.message)),
    };
    let (version, models) = match records.first() {
        Some(Record::Header { version, models, .. }) => (Some(*version), models.clone()),
        _ => (None, Vec::new()),
    };
    if let Some(newer) = version.filter(|version| *version > VERSION) {
        problem = Some(format!("the journal {} has format {newer}, this overheard reads {VERSION}", path.display()));
    }
    if version.is_none() && !records.is_empty() {
        problem = Some(format!("the journal {} does not begin with its header", path.display()));
    }
    let whole = records.len();
    let mut open = Open::default();
    if problem.is_none() {
        records.into_iter().for_each(|record| open.apply(record));
    }
    Ok(Some(InspectedFile {
        path: path.to_owned(),
        version,
        models,
        lines: whole,
        torn: problem.is_none() && whole < lines,
        problem,
        submissions: open.submissions.into_values().collect(),
        asked: open.asked.into_values().collect(),
        replies: open.replies.values().map(reply).collect(),
        extractions: open.extractions.values().map(extraction).collect(),
        overhead: open.overhead.into_values().collect(),
    }))
}

fn reply(run: &Arc<QuestionRun>) -> OpenReply {
    OpenReply { key: run.key.clone(), status: run.outcome.status, finished_at_ms: run.outcome.finished_at_ms }
}

fn extraction(extraction: &Arc<Extraction>) -> OpenExtraction {
    OpenExtraction { key: extraction.key.clone(), failed: extraction.error.is_some() }
}
