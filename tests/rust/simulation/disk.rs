//! A disk in memory that keeps its contract and nothing more: what was not synced is lost at a crash, wholly, from somewhere on,
//! or torn. It can be full from some append on, and it can fail one sync, after which nothing may be written to that file again.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use overheard::journal::disk::{Disk, DiskFile};

use super::chance::Chance;
use super::crash::Point;
use super::planted::Planted;
use super::sim::{Sim, lock};

/// Number of a file, whatever it is called.
type Inode = u64;

#[derive(Debug, Clone)]
pub struct SimDisk {
    sim: Arc<Sim>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    chance: Chance,
    next: Inode,
    contents: BTreeMap<Inode, Content>,
    names: BTreeMap<PathBuf, Inode>,
    /// The folder as a crash finds it.
    durable_names: BTreeMap<PathBuf, Inode>,
    /// Files held, by the life that holds them.
    locks: BTreeMap<Inode, u64>,
}

#[derive(Debug, Default)]
struct Content {
    durable: Vec<u8>,
    unsynced: Vec<u8>,
    /// A sync of it failed.
    condemned: bool,
}

impl SimDisk {
    pub fn new(sim: Arc<Sim>, seed: u64) -> Self {
        let state = State {
            chance: Chance::new(seed, "disk"),
            next: 1,
            contents: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            locks: BTreeMap::new(),
        };
        Self { sim, state: Arc::new(Mutex::new(state)) }
    }

    /// The power is cut: locks end, and of what was not synced some prefix is left.
    pub fn crash(&self) {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        state.locks.clear();
        for content in state.contents.values_mut() {
            let unsynced = std::mem::take(&mut content.unsynced);
            if unsynced.is_empty() {
                continue;
            }
            let kept = match state.chance.below(3) {
                0 => 0,
                1 => unsynced.len(),
                _ => state.chance.below(unsynced.len() as u64) as usize,
            };
            let kind = match kept {
                0 => "disk: unsynced lost",
                all if all == unsynced.len() => "disk: unsynced kept",
                _ => "disk: torn tail",
            };
            self.sim.event(format!("disk: {kept} of {} unsynced bytes survive", unsynced.len()));
            self.sim.count(kind);
            content.durable.extend_from_slice(&unsynced[..kept]);
        }
        // A file system may write the changes of a folder in any order.
        let changed: Vec<PathBuf> = state.names.keys().chain(state.durable_names.keys()).cloned().collect();
        for path in changed {
            let (now, before) = (state.names.get(&path).copied(), state.durable_names.get(&path).copied());
            if now != before {
                let kept = state.chance.percent(50);
                self.sim.event(format!("disk: an unsynced change of the folder is {}", if kept { "kept" } else { "lost" }));
                self.sim.count(if kept { "disk: folder change kept" } else { "disk: folder change lost" });
                set(if kept { &mut state.durable_names } else { &mut state.names }, &path, if kept { now } else { before });
            }
        }
    }

    /// What the files of the folder hold now, by name.
    pub fn contents(&self) -> BTreeMap<PathBuf, String> {
        let state = lock(&self.state);
        let text = |inode: &Inode| {
            let content = &state.contents[inode];
            String::from_utf8_lossy(&[content.durable.as_slice(), &content.unsynced].concat()).into_owned()
        };
        state.names.iter().map(|(path, inode)| (path.clone(), text(inode))).collect()
    }

    fn opened(&self, inode: Inode) -> Box<dyn DiskFile> {
        Box::new(SimFile { disk: self.clone(), inode, life: self.sim.life() })
    }

    /// Whether the process lives still: what a dead one does on its way out has no effect.
    fn alive(&self) -> Result<()> {
        if self.sim.fuse().is_burnt() { Err(Error::new(ErrorKind::BrokenPipe, "the process is dead")) } else { Ok(()) }
    }

    fn passes(&self, point: Point) -> Result<()> {
        self.sim.fuse().hit(point);
        self.alive()
    }

    fn full() -> Error {
        Error::new(ErrorKind::StorageFull, "no space left on device")
    }
}

fn set(names: &mut BTreeMap<PathBuf, Inode>, path: &Path, inode: Option<Inode>) {
    match inode {
        Some(inode) => names.insert(path.to_owned(), inode),
        None => names.remove(path),
    };
}

impl Disk for SimDisk {
    fn create_folder(&self, _: &Path) -> Result<()> {
        self.alive()
    }

    fn files(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        self.alive()?;
        Ok(lock(&self.state).names.keys().filter(|path| path.parent() == Some(folder)).cloned().collect())
    }

    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        self.alive()?;
        let inode = {
            let mut state = lock(&self.state);
            if state.names.contains_key(path) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            let inode = state.next;
            state.next += 1;
            state.contents.insert(inode, Content::default());
            state.names.insert(path.to_owned(), inode);
            state.locks.insert(inode, self.sim.life());
            inode
        };
        self.sim.event("disk: file made");
        self.passes(Point::FileCreated)?;
        Ok(self.opened(inode))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        self.alive()?;
        let inode = lock(&self.state).names.get(path).copied().ok_or(ErrorKind::NotFound)?;
        Ok(self.opened(inode))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.alive()?;
        lock(&self.state).names.remove(path).ok_or(ErrorKind::NotFound)?;
        self.sim.event("disk: file removed");
        self.passes(Point::FileRemoved)
    }

    fn sync_folder(&self, _: &Path) -> Result<()> {
        self.alive()?;
        let mut state = lock(&self.state);
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn is_instant(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: Inode,
    life: u64,
}

impl SimFile {
    fn alive(&self) -> Result<()> {
        if self.life == self.disk.sim.life() { self.disk.alive() } else { Err(ErrorKind::BrokenPipe.into()) }
    }

    fn content<T>(&self, work: impl FnOnce(&mut Content) -> T) -> T {
        work(lock(&self.disk.state).contents.entry(self.inode).or_default())
    }

    /// A failed sync may have lost anything: writing on would build on what is not there.
    fn check_not_condemned(&self, what: &str) {
        if self.content(|content| content.condemned) {
            self.disk.sim.violation("F61", format!("{what} after a failed fsync of the same file"));
        }
    }
}

impl DiskFile for SimFile {
    fn try_lock(&self) -> Result<bool> {
        self.alive()?;
        Ok(*lock(&self.disk.state).locks.entry(self.inode).or_insert(self.life) == self.life)
    }

    fn read(&mut self) -> Result<Vec<u8>> {
        self.alive()?;
        Ok(self.content(|content| [content.durable.as_slice(), &content.unsynced].concat()))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.alive()?;
        self.check_not_condemned("an append");
        self.disk.passes(Point::BeforeAppend)?;
        if self.disk.sim.weather().is_disk_full() {
            self.disk.sim.count("disk: full");
            self.disk.sim.event("disk: full");
            let half = bytes.len() / 2;
            self.content(|content| content.unsynced.extend_from_slice(&bytes[..half]));
            return Err(SimDisk::full());
        }
        let written = self.disk.sim.planted().map_or_else(|| bytes.to_vec(), |planted| planted.written(bytes));
        self.content(|content| content.unsynced.extend_from_slice(&written));
        self.disk.sim.event(format!("disk: append of {} bytes", bytes.len()));
        self.disk.passes(Point::AppendedUnsynced)
    }

    fn sync(&mut self) -> Result<()> {
        self.alive()?;
        self.check_not_condemned("a sync");
        if self.disk.sim.weather().does_sync_fail() {
            self.disk.sim.count("disk: failed sync");
            self.disk.sim.event("disk: failed sync");
            // The kernel marks the pages clean: what was to be written is gone.
            self.content(|content| {
                content.unsynced.clear();
                content.condemned = true;
            });
            return Err(Error::other("input/output error"));
        }
        if !self.disk.sim.is_planted(Planted::NoSync) {
            self.content(|content| {
                let unsynced = std::mem::take(&mut content.unsynced);
                content.durable.extend_from_slice(&unsynced);
            });
        }
        self.disk.sim.event("disk: sync");
        self.disk.passes(Point::Synced)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = lock(&self.disk.state);
        if self.life == self.disk.sim.life() && state.locks.get(&self.inode) == Some(&self.life) {
            state.locks.remove(&self.inode);
        }
    }
}
