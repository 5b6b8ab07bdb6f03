//! The thread that writes the journal: it takes everything that waits, writes it, and syncs once for all of it. On a disk that
//! takes no time (a simulation's) there is no thread: what is appended is written by whoever appends it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::disk::Disk;
use super::file::{self, JournalFile};
use super::live::Claim;
use super::{Open, Record};
use crate::error::{Error, ErrorKind, Result};

/// Appends that may wait for the thread; a full queue holds the engine back.
const QUEUE: usize = 256;
/// The file is rewritten with the open entries alone when it has grown past this and past twice what was left last time.
const COMPACT_ABOVE: u64 = 32 << 20;

impl Drop for Writer {
    /// As the thread does when its queue ends.
    fn drop(&mut self) {
        if let Self::Instant(scribe) = self
            && let Some(scribe) = scribe.get_mut().unwrap_or_else(PoisonError::into_inner).take()
        {
            scribe.remove_if_empty();
        }
    }
}

#[derive(Debug)]
pub(super) enum Command {
    /// Without a sender nobody waits for it, and it is not synced for its own sake.
    Append(Vec<Record>, Option<oneshot::Sender<Result<()>>>),
    Finish(oneshot::Sender<()>),
}

/// The engine's end of the journal's writing.
#[derive(Debug)]
pub(super) enum Writer {
    /// A thread of its own.
    Thread(SyncSender<Command>),
    /// Written at once; `None` when finished.
    Instant(Box<Mutex<Option<Scribe>>>),
}

impl Writer {
    pub(super) fn start(disk: Arc<dyn Disk>, file: JournalFile, open: Arc<Mutex<Open>>, header: Record, live: Claim) -> Self {
        let instant = disk.is_instant();
        let scribe = Scribe { disk, file, open, header, compact_at: COMPACT_ABOVE, failure: None, _live: live };
        if instant {
            return Self::Instant(Box::new(Mutex::new(Some(scribe))));
        }
        let (commands, queue) = sync_channel(QUEUE);
        // Without the thread every append fails with "closed", which stops the run before anything is bought.
        let _ = std::thread::Builder::new().name("overheard-journal".into()).spawn(move || scribe.run(&queue));
        Self::Thread(commands)
    }

    pub(super) async fn append(&self, records: Vec<Record>) -> Result<()> {
        let closed = || Error::new(ErrorKind::Journal, "the journal's thread has ended");
        let commands = match self {
            Self::Thread(commands) => commands,
            Self::Instant(scribe) => {
                let mut scribe = scribe.lock().unwrap_or_else(PoisonError::into_inner);
                return scribe.as_mut().ok_or_else(closed)?.append(records, true);
            }
        };
        let (sender, receiver) = oneshot::channel();
        let mut command = Command::Append(records, Some(sender));
        while let Err(full) = commands.try_send(command) {
            match full {
                std::sync::mpsc::TrySendError::Full(back) => command = back,
                std::sync::mpsc::TrySendError::Disconnected(_) => return Err(closed()),
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        receiver.await.map_err(|_| closed())?
    }

    /// Written with the next group; dropped when the queue is full.
    pub(super) fn append_later(&self, record: Record) {
        match self {
            Self::Thread(commands) => drop(commands.try_send(Command::Append(vec![record], None))),
            Self::Instant(scribe) => {
                if let Some(scribe) = scribe.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                    let _ = scribe.append(vec![record], false);
                }
            }
        }
    }

    pub(super) async fn finish(&self) {
        match self {
            Self::Thread(commands) => {
                let (sender, receiver) = oneshot::channel();
                if commands.try_send(Command::Finish(sender)).is_ok() {
                    let _ = receiver.await;
                }
            }
            Self::Instant(scribe) => {
                if let Some(scribe) = scribe.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    scribe.remove_if_empty();
                }
            }
        }
    }
}

/// Writes records to the file, and rewrites it when it has grown.
#[derive(Debug)]
pub(super) struct Scribe {
    disk: Arc<dyn Disk>,
    file: JournalFile,
    open: Arc<Mutex<Open>>,
    header: Record,
    compact_at: u64,
    /// The first failure: nothing is written after it.
    failure: Option<Error>,
    /// Dropped after the file, and with it its lock.
    _live: Claim,
}

impl Scribe {
    fn run(mut self, queue: &Receiver<Command>) {
        while let Ok(first) = queue.recv() {
            let mut lines = Vec::new();
            let mut waiting = Vec::new();
            let mut finish = None;
            for command in std::iter::once(first).chain(queue.try_iter()) {
                match command {
                    Command::Append(records, sender) => {
                        let encoded = records.iter().try_for_each(|record| file::encode(record, &mut lines));
                        self.note(records);
                        match (encoded, sender) {
                            (_, None) => {}
                            (Ok(()), Some(sender)) => waiting.push(sender),
                            (Err(error), Some(sender)) => drop(sender.send(Err(error))),
                        }
                    }
                    Command::Finish(sender) => finish = Some(sender),
                }
            }
            let result = self.write(&lines, !waiting.is_empty());
            for sender in waiting {
                let _ = sender.send(result.clone());
            }
            if let Some(sender) = finish {
                self.remove_if_empty();
                let _ = sender.send(());
            }
        }
        self.remove_if_empty();
    }

    fn append(&mut self, records: Vec<Record>, sync: bool) -> Result<()> {
        let mut lines = Vec::new();
        let encoded = records.iter().try_for_each(|record| file::encode(record, &mut lines));
        self.note(records);
        encoded.and_then(|()| self.write(&lines, sync))
    }

    fn note(&self, records: Vec<Record>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            open.apply(record);
        }
    }

    fn write(&mut self, lines: &[u8], sync: bool) -> Result<()> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if lines.is_empty() {
            return Ok(());
        }
        let file = &mut self.file.file;
        let written = file.append(lines).and_then(|()| if sync { file.sync() } else { Ok(()) });
        if let Err(error) = written {
            let failure = file::failed("written", &self.file.path, &error);
            self.failure = Some(failure.clone());
            return Err(failure);
        }
        self.file.size += lines.len() as u64;
        if self.file.size > self.compact_at {
            self.compact();
        }
        Ok(())
    }

    /// Starts a new file with what is open. A failure leaves the old file in use: nothing is lost, it only stays long.
    fn compact(&mut self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.compact_at = self.file.size * 2;
        let (Some(folder), Record::Header { batch_id, .. }) = (self.file.path.parent(), &self.header) else { return };
        let Some(_turn) = self.turn() else { return };
        if let Ok(new) =
            file::create(self.disk.as_ref(), folder, batch_id, std::iter::once(self.header.clone()).chain(open.records()))
        {
            let _ = self.disk.remove(&self.file.path);
            self.compact_at = COMPACT_ABOVE.max(new.size * 2);
            self.file = new;
        }
    }

    fn remove_if_empty(&self) {
        let empty = self.open.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if empty
            && self.failure.is_none()
            && let Some(_turn) = self.turn()
        {
            let _ = self.disk.remove(&self.file.path);
        }
    }

    /// `None`: the file stays as it is, which is only untidy.
    fn turn(&self) -> Option<file::Turn> {
        let (Some(folder), Record::Header { batch_id, .. }) = (self.file.path.parent(), &self.header) else { return None };
        file::turn(self.disk.as_ref(), folder, batch_id).ok()
    }
}
