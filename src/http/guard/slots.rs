//! The guard's slots as files, one each: its lock says that a request is in flight, its text until when it is burnt. Tiny reads
//! and writes of cached pages; nothing is synced, a power cut forgets at most a pause.

use std::fs::{File, OpenOptions};
use std::io::{Read, Result, Seek, SeekFrom, Write};
use std::path::Path;

/// What a slot's file says, in milliseconds since 1970 UTC; 0: nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) burnt_until_ms: i64,
    /// Nothing is sent to the server until then.
    pub(super) paused_until_ms: i64,
}

/// The files of one server.
#[derive(Debug)]
pub(super) struct SlotFiles {
    files: Vec<File>,
}

impl SlotFiles {
    pub(super) fn open(folder: &Path, count: usize) -> Result<Self> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let files: Result<Vec<File>> = (0..count).map(|number| options.open(folder.join(format!("slot-{number}")))).collect();
        Ok(Self { files: files? })
    }

    /// False when another process holds it.
    pub(super) fn try_lock(&self, number: usize) -> bool {
        self.files.get(number).is_some_and(|file| file.try_lock().is_ok())
    }

    pub(super) fn unlock(&self, number: usize) {
        if let Some(file) = self.files.get(number) {
            let _ = file.unlock(); // held by nobody else: the worst is a slot less until this process ends
        }
    }

    /// What cannot be read says nothing.
    pub(super) fn read(&self, number: usize) -> Mark {
        self.files.get(number).and_then(|file| read(file).ok()).unwrap_or_default()
    }

    /// Notes a mark. A disk that cannot be written leaves this process's own knowledge, which is enough for itself.
    pub(super) fn write(&self, number: usize, mark: Mark) {
        if let Some(file) = self.files.get(number) {
            let _ = write(file, mark);
        }
    }
}

fn read(mut file: &File) -> Result<Mark> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(64).read_to_string(&mut text)?;
    let mut numbers = text.split_ascii_whitespace().map(|word| word.parse().unwrap_or(0));
    Ok(Mark { burnt_until_ms: numbers.next().unwrap_or(0), paused_until_ms: numbers.next().unwrap_or(0) })
}

/// In one write of fixed length, so that no reader sees half of it.
fn write(mut file: &File, mark: Mark) -> Result<()> {
    file.seek(SeekFrom::Start(0))?;
    file.write_all(format!("{:020} {:020}\n", mark.burnt_until_ms, mark.paused_until_ms).as_bytes())
}
