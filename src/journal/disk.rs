//! The disk as the journal uses it: files that only grow, a lock, a sync. A seam: [`OsDisk`] is the machine's, a simulation
//! brings one that forgets what was not synced. Knows no journal.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Result, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A disk. Contract: (1) after [`DiskFile::sync`] what was appended survives a power cut; (2) after [`Disk::sync_folder`] the
/// folder's creations and removals do; (3) a lock is exclusive and ends with its file; (4) everything is readable by its owner alone.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Makes the folder and those above it.
    fn create_folder(&self, folder: &Path) -> Result<()>;
    /// The files in a folder, in any order.
    fn files(&self, folder: &Path) -> Result<Vec<PathBuf>>;
    /// Makes a new file, locked by us.
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>>;
    /// Opens a file that is there.
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> Result<()>;
    /// Makes creations and removals in the folder durable.
    fn sync_folder(&self, folder: &Path) -> Result<()>;
    /// True when calls take no time, so that they need no thread of their own.
    fn is_instant(&self) -> bool {
        false
    }
}

/// An open file.
pub trait DiskFile: Send + std::fmt::Debug {
    /// Takes the lock; false when another holds it.
    fn try_lock(&self) -> Result<bool>;
    /// The whole file.
    fn read(&mut self) -> Result<Vec<u8>>;
    /// Appends at the end.
    fn append(&mut self, bytes: &[u8]) -> Result<()>;
    /// Makes what was appended durable. After a failure nothing may be believed: the caller must not try again.
    fn sync(&mut self) -> Result<()>;
}

/// The machine's disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn create_folder(&self, folder: &Path) -> Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)
    }

    fn files(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
    }

    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.create_new(true).append(true).read(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        file.lock()?;
        Ok(Box::new(OsFile(file)))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        Ok(Box::new(OsFile(OpenOptions::new().read(true).append(true).open(path)?)))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        std::fs::remove_file(path)
    }

    /// A file is found after a power cut only when its folder was synced too.
    fn sync_folder(&self, folder: &Path) -> Result<()> {
        File::open(folder).and_then(|folder| folder.sync_all())
    }
}

#[derive(Debug)]
struct OsFile(File);

impl DiskFile for OsFile {
    fn try_lock(&self) -> Result<bool> {
        match self.0.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn read(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.0.seek(SeekFrom::Start(0))?;
        self.0.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> Result<()> {
        self.0.sync_data()
    }
}
