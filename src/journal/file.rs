//! The journal's files: lines with a checksum, a lock, and what happens to a dead process's file. Knows no async.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::disk::{Disk, DiskFile};
use super::{Record, VERSION};
use crate::error::{Error, ErrorKind, Result};

const EXTENSION: &str = "journal";
const LOCK_EXTENSION: &str = "lock";
/// Names the folder for good, wherever it is moved to.
pub(super) const FOLDER_ID: &str = "journal.id";
/// A session that ends lets go of its file within this time.
const PATIENCE: Duration = Duration::from_secs(3);
/// A take-over, or the removal of a file, is over within this time.
const TURN_PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries for a file that is held.
const RETRY: Duration = Duration::from_millis(20);

/// An open, locked journal file.
#[derive(Debug)]
pub(super) struct JournalFile {
    pub(super) file: Box<dyn DiskFile>,
    pub(super) path: PathBuf,
    /// Bytes in it.
    pub(super) size: u64,
}

/// The file of a process that died, locked by us, or of one that lost its leases.
pub(super) struct Orphan {
    /// The models it was opened for.
    pub(super) models: Vec<String>,
    pub(super) records: Vec<Record>,
    path: PathBuf,
    _lock: Box<dyn DiskFile>,
}

impl Orphan {
    pub(super) fn remove(self, disk: &dyn Disk) -> Result<()> {
        disk.remove(&self.path).map_err(|error| failed("removed", &self.path, &error))
    }
}

/// The right to list, take over, make and remove the files of a batch, which one process has at a time: what is seen of them is
/// then all there is, and stays so. It is the lock of a file that is never removed, so that everybody locks the same one. Given
/// back when dropped, and when its process dies.
#[derive(Debug)]
pub(super) struct Turn {
    _lock: Box<dyn DiskFile>,
}

/// Waits for our turn at the files of a batch.
pub(super) fn turn(disk: &dyn Disk, folder: &Path, batch_id: &str) -> Result<Turn> {
    let path = folder.join(format!("{}.{LOCK_EXTENSION}", safe(batch_id)));
    let begun = Instant::now();
    loop {
        match disk.open(&path) {
            Ok(file) if file.try_lock().map_err(|error| failed("locked", &path, &error))? => return Ok(Turn { _lock: file }),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => match disk.create(&path) {
                Ok(file) => return Ok(Turn { _lock: file }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(failed("created", &path, &error)),
            },
            Err(error) => return Err(failed("opened", &path, &error)),
        }
        if begun.elapsed() > TURN_PATIENCE || disk.is_instant() {
            let message = format!("locked: another process opens the journal of this batch (it holds {})", path.display());
            return Err(Error::new(ErrorKind::Journal, message));
        }
        std::thread::park_timeout(RETRY);
    }
}

pub(super) fn failed(what: &str, path: &Path, error: &std::io::Error) -> Error {
    let message = format!("the journal {} cannot be {what}: {error} (OVERHEARD_JOURNAL names its folder)", path.display());
    Error::new(ErrorKind::Journal, message).with(|context| context.field = Some("OVERHEARD_JOURNAL".into()))
}

/// Makes the folder when it is not there, and returns its id, which it keeps for good.
pub(super) fn folder_id(disk: &dyn Disk, folder: &Path) -> Result<String> {
    disk.create_folder(folder).map_err(|error| failed("created", folder, &error))?;
    let path = folder.join(FOLDER_ID);
    let begun = Instant::now();
    loop {
        if let Ok(mut file) = disk.open(&path) {
            let bytes = file.read().map_err(|error| failed("read", &path, &error))?;
            let id = String::from_utf8_lossy(&bytes).trim().to_owned();
            // Empty: another process is between making it and writing it, or died there.
            if !id.is_empty() {
                return Ok(id);
            }
            if begun.elapsed() > PATIENCE || disk.is_instant() {
                let _ = disk.remove(&path);
            } else {
                std::thread::park_timeout(RETRY);
            }
        }
        let id = uuid::Uuid::new_v4().to_string();
        match disk.create(&path) {
            Ok(mut file) => {
                let written = file.append(id.as_bytes()).and_then(|()| file.sync()).and_then(|()| disk.sync_folder(folder));
                return written.map(|()| id).map_err(|error| failed("written", &path, &error));
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("created", &path, &error)),
        }
    }
}

/// Makes a new locked file with these records, durable. In our [`Turn`].
pub(super) fn create(
    disk: &dyn Disk,
    folder: &Path,
    batch_id: &str,
    records: impl Iterator<Item = Record>,
) -> Result<JournalFile> {
    let path = folder.join(format!("{}.{}.{EXTENSION}", safe(batch_id), uuid::Uuid::new_v4().simple()));
    let mut file = disk.create(&path).map_err(|error| failed("created", &path, &error))?;
    let mut lines = Vec::new();
    for record in records {
        encode(&record, &mut lines)?;
    }
    file.append(&lines).and_then(|()| file.sync()).map_err(|error| failed("written", &path, &error))?;
    disk.sync_folder(folder).map_err(|error| failed("synced", folder, &error))?;
    Ok(JournalFile { file, path, size: lines.len() as u64 })
}

/// Reads and locks the files that ended sessions of these models of the batch left behind, in the turn that is returned.
///
/// With the `leased` models one that is still held belongs to a session that lost its leases (its process was halted, say): what
/// it has noted is all it can have paid, for it may pay nothing more.
///
/// # Errors
/// When one of them is still held and nothing is leased: its session is alive, in this process or another, and must not be worked
/// against.
pub(super) fn take_orphans(
    disk: &dyn Disk,
    folder: &Path,
    batch_id: &str,
    models: &[String],
    leased: bool,
) -> Result<(Turn, Vec<Orphan>)> {
    let mut waiting_since = None;
    loop {
        let turn = turn(disk, folder, batch_id)?;
        let waited = disk.is_instant() || waiting_since.is_some_and(|since: Instant| since.elapsed() > PATIENCE);
        if let Some(orphans) = take_all(disk, folder, batch_id, models, leased, waited)? {
            return Ok((turn, orphans));
        }
        drop(turn); // who holds a file removes it in a turn of its own
        waiting_since.get_or_insert_with(Instant::now);
        std::thread::park_timeout(RETRY);
    }
}

/// `None`: one of them is held, and it is worth waiting for.
fn take_all(
    disk: &dyn Disk,
    folder: &Path,
    batch_id: &str,
    models: &[String],
    leased: bool,
    waited: bool,
) -> Result<Option<Vec<Orphan>>> {
    let mut orphans = Vec::new();
    let mut paths = disk.files(folder).map_err(|error| failed("read", folder, &error))?;
    paths.sort(); // so that a start is a function of what is there
    for path in paths.into_iter().filter(|path| is_of(path, batch_id)) {
        match take(disk, path, models, leased, waited)? {
            Taken::Orphan(orphan) => orphans.push(orphan),
            Taken::NotOurs => {}
            Taken::Held => return Ok(None),
        }
    }
    Ok(Some(orphans))
}

/// True for a journal file of the batch.
pub(super) fn is_of(path: &Path, batch_id: &str) -> bool {
    let named = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(&safe(batch_id)));
    named.is_some_and(|rest| rest.starts_with('.')) && path.extension().is_some_and(|extension| extension == EXTENSION)
}

/// The snapshot ids that any batch's journal in the folder names: each belongs to a submission of its own. Takes no lock and skips what
/// cannot be read: this is a precaution, not a take-over.
pub(super) fn snapshot_ids(disk: &dyn Disk, folder: &Path) -> Vec<String> {
    let mut ids = Vec::new();
    for path in disk.files(folder).unwrap_or_default() {
        if path.extension().is_none_or(|extension| extension != EXTENSION) {
            continue;
        }
        let bytes = disk.open(&path).and_then(|mut file| file.read()).unwrap_or_default();
        ids.extend(bytes.split_inclusive(|byte| *byte == b'\n').filter_map(decode_line).filter_map(|record| match record {
            Record::Submitted { snapshot_id, .. } => Some(snapshot_id),
            Record::Intent { submission } => submission.snapshot_id,
            _ => None,
        }));
    }
    ids
}

enum Taken {
    Orphan(Orphan),
    /// It is about other models, or tells nothing.
    NotOurs,
    /// Its session has not let go yet.
    Held,
}

fn take(disk: &dyn Disk, path: PathBuf, models: &[String], leased: bool, waited: bool) -> Result<Taken> {
    let mut file = match disk.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Taken::NotOurs), // purged meanwhile
        Err(error) => return Err(failed("opened", &path, &error)),
    };
    let locked = file.try_lock().map_err(|error| failed("locked", &path, &error))?;
    let bytes = file.read().map_err(|error| failed("read", &path, &error))?;
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let header = lines.next().and_then(decode_line);
    let Some(Record::Header { models: theirs, version, .. }) = header else {
        if lines.next().is_some() {
            return decode(&bytes, &path).map(|_| Taken::NotOurs); // it names the damaged line
        }
        if locked {
            let _ = disk.remove(&path); // it died before its first line was whole: nothing was bought under it
        }
        return Ok(Taken::NotOurs);
    };
    if version > VERSION {
        let message = format!(
            "the journal {} was written by a newer overheard (format {version}, this one reads {VERSION})",
            path.display()
        );
        return Err(Error::new(ErrorKind::Journal, message));
    }
    if !theirs.iter().any(|model| models.contains(model)) {
        return Ok(Taken::NotOurs);
    }
    if locked || (waited && leased) {
        let records = decode(&bytes, &path)?;
        return Ok(Taken::Orphan(Orphan { models: theirs, records, path, _lock: file }));
    }
    if waited {
        let message =
            format!("locked: another process works on {} of this batch (it holds {})", theirs.join(", "), path.display());
        return Err(Error::new(ErrorKind::Journal, message));
    }
    Ok(Taken::Held)
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

pub(super) fn decode(bytes: &[u8], path: &Path) -> Result<Vec<Record>> {
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
