//! The journal's files: lines with a checksum, a lock, and what happens to a dead process's file. Knows no async.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Record, VERSION};
use crate::error::{Error, ErrorKind, Result};

const EXTENSION: &str = "journal";
/// A session that ends lets go of its file within this time.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two tries for a file that is held.
const RETRY: Duration = Duration::from_millis(20);

/// An open, locked journal file.
#[derive(Debug)]
pub(super) struct JournalFile {
    pub(super) file: File,
    pub(super) path: PathBuf,
}

/// The file of a process that died, locked by us.
pub(super) struct Orphan {
    /// The models it was opened for.
    pub(super) models: Vec<String>,
    pub(super) records: Vec<Record>,
    path: PathBuf,
    _lock: File,
}

impl Orphan {
    pub(super) fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path).map_err(|error| failed("removed", &self.path, &error))
    }
}

pub(super) fn failed(what: &str, path: &Path, error: &std::io::Error) -> Error {
    let message = format!("the journal {} cannot be {what}: {error} (OVERHEARD_JOURNAL names its folder)", path.display());
    Error::new(ErrorKind::Journal, message).with(|context| context.field = Some("OVERHEARD_JOURNAL".into()))
}

pub(super) fn create_folder(folder: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| failed("created", folder, &error))
}

/// Makes a new locked file with these records, durable.
pub(super) fn create(folder: &Path, batch_id: &str, records: impl Iterator<Item = Record>) -> Result<JournalFile> {
    let path = folder.join(format!("{}.{}.{EXTENSION}", safe(batch_id), uuid::Uuid::new_v4().simple()));
    let mut options = OpenOptions::new();
    options.create_new(true).append(true).read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&path).map_err(|error| failed("created", &path, &error))?;
    file.lock().map_err(|error| failed("locked", &path, &error))?;
    let mut lines = Vec::new();
    for record in records {
        encode(&record, &mut lines)?;
    }
    file.write_all(&lines).and_then(|()| file.sync_data()).map_err(|error| failed("written", &path, &error))?;
    sync_folder(folder)?;
    Ok(JournalFile { file, path })
}

/// A file is found after a power cut only when its folder was synced too.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed("synced", folder, &error))
}

/// Reads and locks the files that ended sessions of these models of the batch left behind.
///
/// # Errors
/// When one of them is still held: its session is alive, in this process or another, and must not be worked against.
pub(super) fn take_orphans(folder: &Path, batch_id: &str, models: &[String]) -> Result<Vec<Orphan>> {
    let prefix = format!("{}.", safe(batch_id));
    let mut orphans = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| failed("read", folder, &error))? {
        let path = entry.map_err(|error| failed("read", folder, &error))?.path();
        let ours = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&prefix));
        if ours
            && path.extension().is_some_and(|extension| extension == EXTENSION)
            && let Some(orphan) = take(path, models)?
        {
            orphans.push(orphan);
        }
    }
    Ok(orphans)
}

/// `None`: it is about other models, or gone.
fn take(path: PathBuf, models: &[String]) -> Result<Option<Orphan>> {
    let begun = Instant::now();
    let Ok(mut file) = OpenOptions::new().read(true).write(true).open(&path) else { return Ok(None) }; // removed meanwhile
    loop {
        let locked = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(error)) => return Err(failed("locked", &path, &error)),
        };
        let mut bytes = Vec::new();
        let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut bytes));
        read.map_err(|error| failed("read", &path, &error))?;
        let header = bytes.split_inclusive(|byte| *byte == b'\n').next().and_then(decode_line);
        let Some(Record::Header { models: theirs, version, .. }) = header else {
            return Ok(None); // it died before its first line was whole: nothing was bought under it
        };
        if version > VERSION {
            let message = format!(
                "the journal {} was written by a newer overheard (format {version}, this one reads {VERSION})",
                path.display()
            );
            return Err(Error::new(ErrorKind::Journal, message));
        }
        if !theirs.iter().any(|model| models.contains(model)) {
            return Ok(None);
        }
        if locked {
            let records = decode(&bytes, &path)?;
            return Ok(Some(Orphan { models: theirs, records, path, _lock: file }));
        }
        if begun.elapsed() > PATIENCE {
            let message =
                format!("locked: another process works on {} of this batch (it holds {})", theirs.join(", "), path.display());
            return Err(Error::new(ErrorKind::Journal, message));
        }
        std::thread::park_timeout(RETRY);
    }
}

/// A batch id as part of a file name: ids are ours, but a user's store may make its own.
fn safe(batch_id: &str) -> String {
    let harmless = |character: char| character.is_ascii_alphanumeric() || character == '-' || character == '_';
    if batch_id.len() <= 64 && batch_id.chars().all(harmless) {
        return batch_id.to_owned();
    }
    use sha2::Digest;
    sha2::Sha256::digest(batch_id.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn encode(record: &Record, lines: &mut Vec<u8>) -> Result<()> {
    let start = lines.len();
    lines.extend_from_slice(b"00000000 ");
    serde_json::to_writer(&mut *lines, record).map_err(|error| Error::internal(format!("a journal record: {error}")))?;
    let checksum = crc32fast::hash(lines.get(start + 9..).unwrap_or_default());
    if let Some(place) = lines.get_mut(start..start + 8) {
        place.copy_from_slice(format!("{checksum:08x}").as_bytes());
    }
    lines.push(b'\n');
    Ok(())
}

fn decode(bytes: &[u8], path: &Path) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    let mut rest = bytes;
    let mut number = 0;
    while !rest.is_empty() {
        number += 1;
        let end = rest.iter().position(|byte| *byte == b'\n');
        let (line, after) = match end {
            Some(end) => rest.split_at(end + 1),
            None => (rest, &[][..]),
        };
        match decode_line(line) {
            Some(record) => records.push(record),
            // The last line may be torn: the process died while writing it, so nobody was told that it is durable.
            None if after.is_empty() => break,
            None => {
                let message = format!(
                    "the journal {} is damaged at line {number} (checksum): nothing is bought before it is mended. Keep a copy, \
                     check the listed snapshots at the provider, then remove the file",
                    path.display()
                );
                return Err(Error::new(ErrorKind::Journal, message));
            }
        }
        rest = after;
    }
    Ok(records)
}

fn decode_line(line: &[u8]) -> Option<Record> {
    let line = line.strip_suffix(b"\n")?;
    let (checksum, json) = line.split_at_checked(9)?;
    if format!("{:08x} ", crc32fast::hash(json)).as_bytes() != checksum {
        return None;
    }
    serde_json::from_slice(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(&Record::Header { version: VERSION, batch_id: "b".into(), models: Vec::new() }, &mut bytes).unwrap();
        for number in 1..count {
            encode(&Record::Closed { id: number.to_string() }, &mut bytes).unwrap();
        }
        bytes
    }

    #[test]
    fn every_torn_tail_is_dropped_and_keeps_what_came_before() {
        let whole = lines(3);
        let two = lines(2).len();
        for length in two..whole.len() {
            assert_eq!(decode(&whole[..length], Path::new("j")).unwrap().len(), 2, "cut at {length}");
        }
    }

    #[test]
    fn every_flipped_bit_before_the_last_line_is_refused() {
        let whole = lines(3);
        let two = lines(2).len();
        for position in 0..two - 1 {
            let mut damaged = whole.clone();
            damaged[position] ^= 1;
            assert!(decode(&damaged, Path::new("j")).is_err(), "flipped at {position}");
        }
    }
}
