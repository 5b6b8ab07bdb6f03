//! The thread that writes the journal: it takes everything that waits, writes it, and syncs once for all of it.

use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::file::{self, JournalFile};
use super::live::Claim;
use super::{Open, Record};
use crate::error::{Error, ErrorKind, Result};

/// Appends that may wait for the thread; a full queue holds the engine back.
const QUEUE: usize = 256;
/// The file is rewritten with the open entries alone when it has grown past this and past twice what was left last time.
const COMPACT_ABOVE: u64 = 32 << 20;

enum Command {
    /// Without a sender nobody waits for it, and it is not synced for its own sake.
    Append(Vec<Record>, Option<oneshot::Sender<Result<()>>>),
    Finish(oneshot::Sender<()>),
}

/// The engine's end of the writer thread.
#[derive(Debug)]
pub(super) struct Writer {
    commands: SyncSender<Command>,
}

impl Writer {
    pub(super) fn start(file: JournalFile, open: Arc<Mutex<Open>>, header: Record, live: Claim) -> Self {
        let (commands, queue) = sync_channel(QUEUE);
        let work =
            move || Thread { file, open, header, size: 0, compact_at: COMPACT_ABOVE, failure: None, _live: live }.run(&queue);
        // Without the thread every append fails with "closed", which stops the run before anything is bought.
        let _ = std::thread::Builder::new().name("overheard-journal".into()).spawn(work);
        Self { commands }
    }

    pub(super) async fn append(&self, records: Vec<Record>) -> Result<()> {
        let closed = || Error::new(ErrorKind::Journal, "the journal's thread has ended");
        let (sender, receiver) = oneshot::channel();
        let mut command = Command::Append(records, Some(sender));
        while let Err(full) = self.commands.try_send(command) {
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
        let _ = self.commands.try_send(Command::Append(vec![record], None));
    }

    pub(super) async fn finish(&self) {
        let (sender, receiver) = oneshot::channel();
        if self.commands.try_send(Command::Finish(sender)).is_ok() {
            let _ = receiver.await;
        }
    }
}

struct Thread {
    file: JournalFile,
    open: Arc<Mutex<Open>>,
    header: Record,
    size: u64,
    compact_at: u64,
    /// The first failure: nothing is written after it.
    failure: Option<Error>,
    /// Dropped after the file, and with it its lock.
    _live: Claim,
}

impl Thread {
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
        let written = file.write_all(lines).and_then(|()| if sync { file.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            let failure = file::failed("written", &self.file.path, &error);
            self.failure = Some(failure.clone());
            return Err(failure);
        }
        self.size += lines.len() as u64;
        if self.size > self.compact_at {
            self.compact();
        }
        Ok(())
    }

    /// Starts a new file with what is open. A failure leaves the old file in use: nothing is lost, it only stays long.
    fn compact(&mut self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(folder) = self.file.path.parent() else { return };
        let Record::Header { batch_id, .. } = &self.header else { return };
        self.compact_at = self.size * 2;
        if let Ok(new) = file::create(folder, batch_id, std::iter::once(self.header.clone()).chain(open.records())) {
            let _ = std::fs::remove_file(&self.file.path);
            self.size = new.file.metadata().map_or(0, |metadata| metadata.len());
            self.compact_at = COMPACT_ABOVE.max(self.size * 2);
            self.file = new;
        }
    }

    fn remove_if_empty(&self) {
        let empty = self.open.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if empty && self.failure.is_none() {
            let _ = std::fs::remove_file(&self.file.path);
        }
    }
}
