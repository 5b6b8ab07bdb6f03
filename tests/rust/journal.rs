//! The journal over real files: what a process leaves, the next one finds.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use overheard::domain::{CellKey, Extraction, Org, QuestionRun};
use overheard::extract::Extractor;
use overheard::journal::disk::{Disk, DiskFile, OsDisk};
use overheard::journal::{Call, Journal, Recovered, Requests, Submission};

use crate::support::answered;

/// A folder that is removed at the end of the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("overheard-test-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn journals(&self) -> usize {
        self.files().count()
    }

    /// The first journal file; the folder's id lies beside it.
    pub fn journal(&self) -> PathBuf {
        Self::journal_in(&self.0)
    }

    pub fn journal_in(folder: &Path) -> PathBuf {
        Self::files_in(folder).next().unwrap()
    }

    fn files(&self) -> impl Iterator<Item = PathBuf> {
        Self::files_in(&self.0)
    }

    fn files_in(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|extension| extension == "journal"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn models() -> Vec<String> {
    vec!["chatgpt".into(), "m".into()]
}

fn key(number: u32) -> CellKey {
    CellKey { question_id: format!("q{number}"), model: "m".into(), location: "US".into(), repeat: 1 }
}

fn submission(id: &str) -> Submission {
    Submission {
        id: id.into(),
        model: "chatgpt".into(),
        cells: vec![key(1), key(2)],
        created_at_ms: 5,
        snapshot_id: None,
        without_location: Vec::new(),
        carried: Vec::new(),
        extraction: None,
    }
}

fn run(number: u32) -> Arc<QuestionRun> {
    let outcome = answered("text with \n a line break and \u{1F600}");
    Arc::new(QuestionRun {
        batch_id: "b".into(),
        run_id: "r".into(),
        org_id: "o".into(),
        key: key(number),
        question: "?".into(),
        outcome,
    })
}

#[tokio::test]
async fn a_settlement_that_is_torn_never_happened_and_a_whole_one_has_all_of_it() {
    let asked = |id: &str| Submission {
        model: "m".into(),
        extraction: Some(Requests {
            model: "gpt-4.1-mini".into(),
            calls: vec![vec![Call::Competitors]; 2],
            worst_micro_usd: 9,
            expected_micro_usd: 4,
        }),
        ..submission(id)
    };
    let extractor = Extractor::new(&Org { name: "Quillmark".into(), ..Org::default() }, &[]);
    let rows: Vec<Arc<Extraction>> = [1, 2].map(|number| Arc::new(extractor.local(&run(number), 7))).to_vec();
    let folder = Folder::new();
    let (journal, _) = Journal::open(Arc::new(OsDisk), &folder.0, "b", &models()).unwrap();
    journal.intent(asked("s")).await.unwrap();
    journal.submitted("s", "batch_1").await.unwrap();
    let before = std::fs::metadata(folder.journal()).unwrap().len() as usize;
    journal.settled("s", &rows).await.unwrap();
    let bytes = std::fs::read(folder.journal()).unwrap();
    drop(journal);
    assert!(bytes.len() > before + 1_000, "the settlement is in the file");
    for length in (before..bytes.len()).step_by(97).chain([bytes.len() - 1, bytes.len()]) {
        let torn = Folder::new();
        std::fs::write(torn.0.join(folder.journal().file_name().unwrap()), &bytes[..length]).unwrap();
        let (_, recovered) = Journal::open(Arc::new(OsDisk), &torn.0, "b", &models()).unwrap();
        let found = (recovered.extraction_batches.len(), recovered.extractions.len());
        assert_eq!(found, if length == bytes.len() { (0, 2) } else { (1, 0) }, "{length} of {}", bytes.len());
    }
}

#[tokio::test]
async fn what_is_open_is_found_again_and_what_is_done_is_not() {
    let folder = Folder::new();
    {
        let (journal, recovered) = Journal::open(Arc::new(OsDisk), &folder.0, "b", &models()).unwrap();
        assert!(recovered.submissions.is_empty() && recovered.replies.is_empty());
        for id in ["closed", "submitted", "intent"] {
            journal.intent(submission(id)).await.unwrap();
        }
        journal.submitted("closed", "s_1").await.unwrap();
        journal.submitted("submitted", "s_2").await.unwrap();
        journal.closed("closed").await.unwrap();
        journal.replies(&[run(1), run(2)]).await.unwrap();
        journal.finish().await;
    }
    // A dead process's file: its lock is gone with it.
    let (journal, recovered) = reopen(&folder).await;
    let found: Vec<_> = recovered.submissions.iter().map(|found| (found.id.as_str(), found.snapshot_id.as_deref())).collect();
    assert_eq!(found, [("intent", None), ("submitted", Some("s_2"))]);
    assert_eq!(recovered.replies.len(), 2);
    assert_eq!(recovered.replies[0].outcome, run(1).outcome);
    assert_eq!(folder.journals(), 1, "the old file is gone once its entries are durable in the new one");
    drop(journal);
}

#[tokio::test]
async fn nothing_open_leaves_no_file() {
    let folder = Folder::new();
    let (journal, _) = Journal::open(Arc::new(OsDisk), &folder.0, "b", &models()).unwrap();
    journal.intent(submission("one")).await.unwrap();
    journal.closed("one").await.unwrap();
    let replies = [run(1)];
    journal.replies(&replies).await.unwrap();
    journal.acknowledged(replies.iter().map(Arc::as_ref));
    journal.finish().await;
    assert_eq!(folder.journals(), 0);
}

#[tokio::test]
async fn each_model_has_its_own_and_another_batch_too() {
    let folder = Folder::new();
    let chatgpt = || vec!["chatgpt".to_owned()];
    let (first, _) = Journal::open(Arc::new(OsDisk), &folder.0, "b", &models()).unwrap();
    first.intent(submission("mine")).await.unwrap();
    first.replies(&[run(1)]).await.unwrap();
    first.finish().await;
    drop(first);
    let (_another_batch, recovered) = Journal::open(Arc::new(OsDisk), &folder.0, "another", &models()).unwrap();
    assert!(recovered.submissions.is_empty() && recovered.replies.is_empty(), "entries of batch b");
    let (second, recovered) = Journal::open(Arc::new(OsDisk), &folder.0, "b", &["m".to_owned()]).unwrap();
    assert_eq!((recovered.submissions.len(), recovered.replies.len()), (0, 1), "what the other model has in flight stays for it");
    let (third, recovered) = Journal::open(Arc::new(OsDisk), &folder.0, "b", &chatgpt()).unwrap();
    assert_eq!((recovered.submissions.len(), recovered.replies.len()), (1, 0), "while the second is alive");
    drop((second, third));
}

#[tokio::test]
async fn a_file_that_a_living_process_holds_is_refused_in_a_sentence() {
    let folder = Folder::new();
    let (journal, _) = Journal::open(Arc::new(OsDisk), &folder.0, "b", &models()).unwrap();
    journal.intent(submission("mine")).await.unwrap();
    journal.finish().await;
    drop(journal);
    let path = folder.journal();
    wait_for_lock(&path).await;
    let theirs = std::fs::File::open(&path).unwrap();
    theirs.lock().unwrap();
    let error = Journal::open(Arc::new(OsDisk), &folder.0, "b", &models()).unwrap_err();
    assert!(error.message.starts_with("locked: another process works on chatgpt, m of this batch"), "{error}");
}

#[tokio::test]
async fn a_damaged_middle_is_refused_in_a_sentence() {
    let folder = Folder::new();
    {
        let (journal, _) = Journal::open(Arc::new(OsDisk), &folder.0, "b", &models()).unwrap();
        journal.intent(submission("one")).await.unwrap();
        journal.intent(submission("two")).await.unwrap();
        journal.finish().await;
    }
    let path = folder.journal();
    wait_for_lock(&path).await;
    let mut bytes = std::fs::read(&path).unwrap();
    let first_line = bytes.iter().position(|byte| *byte == b'\n').unwrap();
    bytes[first_line + 20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = Journal::open(Arc::new(OsDisk), &folder.0, "b", &models()).unwrap_err();
    assert!(error.message.contains("is damaged at line 2"), "{error}");
}

/// A moment in another process's take-over.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Moment {
    Listed,
    BeforeRemoval,
}

/// The machine's disk as one of two processes sees it: it stops at a moment until it is let go on, and tells when it does not get
/// the lock of what the other takes over.
#[derive(Debug)]
struct Watched {
    stops_at: Option<Moment>,
    stopped: Sender<()>,
    goes_on: Mutex<Receiver<()>>,
    orphan: PathBuf,
    held: Sender<()>,
}

impl Watched {
    fn at(&self, moment: Moment) {
        if self.stops_at == Some(moment) {
            let _ = self.stopped.send(());
            let _ = self.goes_on.lock().unwrap().recv();
        }
    }
}

impl Disk for Watched {
    fn create_folder(&self, folder: &Path) -> std::io::Result<()> {
        OsDisk.create_folder(folder)
    }

    fn files(&self, folder: &Path) -> std::io::Result<Vec<PathBuf>> {
        let files = OsDisk.files(folder);
        self.at(Moment::Listed);
        files
    }

    fn create(&self, path: &Path) -> std::io::Result<Box<dyn DiskFile>> {
        OsDisk.create(path)
    }

    fn open(&self, path: &Path) -> std::io::Result<Box<dyn DiskFile>> {
        let tells = path == self.orphan || path.extension().is_some_and(|extension| extension == "lock");
        Ok(Box::new(WatchedFile { inner: OsDisk.open(path)?, held: tells.then(|| self.held.clone()) }))
    }

    fn remove(&self, path: &Path) -> std::io::Result<()> {
        self.at(Moment::BeforeRemoval);
        OsDisk.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> std::io::Result<()> {
        OsDisk.sync_folder(folder)
    }
}

#[derive(Debug)]
struct WatchedFile {
    inner: Box<dyn DiskFile>,
    held: Option<Sender<()>>,
}

impl DiskFile for WatchedFile {
    fn try_lock(&self) -> std::io::Result<bool> {
        let locked = self.inner.try_lock();
        if let (Ok(false), Some(held)) = (&locked, &self.held) {
            let _ = held.send(());
        }
        locked
    }

    fn read(&mut self) -> std::io::Result<Vec<u8>> {
        self.inner.read()
    }

    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.inner.append(bytes)
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.inner.sync()
    }
}

/// Two processes take over what a dead one left of two models, each its own; the first is stopped at a moment until the second has
/// met a lock or is done.
async fn take_over_by_two(moment: Moment) -> [Result<(Journal, Recovered), overheard::Error>; 2] {
    let folder = Folder::new();
    {
        let (journal, _) = Journal::open(Arc::new(OsDisk), &folder.0, "b", &models()).unwrap();
        journal.intent(submission("paid")).await.unwrap();
        journal.replies(&[run(1)]).await.unwrap();
    }
    let orphan = folder.journal();
    wait_for_lock(&orphan).await;
    let ((stopped, when_stopped), (go_on, goes_on), (held, when_held)) = (channel(), channel(), channel());
    let done = held.clone();
    let watched = |stops_at, stopped, goes_on, held| Watched {
        stops_at,
        stopped,
        goes_on: Mutex::new(goes_on),
        orphan: orphan.clone(),
        held,
    };
    let first = watched(Some(moment), stopped, goes_on, channel().0);
    let second = watched(None, channel().0, channel().1, held);
    let opening = |disk: Watched, model: &str, done: Option<Sender<()>>| {
        let (folder, models) = (folder.0.clone(), [model.to_owned()]);
        std::thread::spawn(move || {
            let opened = Journal::open(Arc::new(disk), &folder, "b", &models);
            let _ = done.map(|done| done.send(()));
            opened
        })
    };
    let first = opening(first, "chatgpt", None);
    when_stopped.recv().unwrap();
    let second = opening(second, "m", Some(done));
    when_held.recv().unwrap();
    drop(go_on);
    [first.join().unwrap(), second.join().unwrap()]
}

#[tokio::test]
async fn two_processes_take_over_one_file_and_each_finds_its_own() {
    for moment in [Moment::Listed, Moment::BeforeRemoval] {
        let [first, second] =
            take_over_by_two(moment).await.map(|opened| opened.unwrap_or_else(|error| panic!("{moment:?}: {error}")));
        let found = |recovered: &Recovered| (recovered.submissions.len(), recovered.replies.len());
        assert_eq!((found(&first.1), found(&second.1)), ((1, 0), (0, 1)), "{moment:?}");
    }
}

async fn reopen(folder: &Folder) -> (Journal, overheard::journal::Recovered) {
    let path = folder.journal();
    wait_for_lock(&path).await;
    Journal::open(Arc::new(OsDisk), &folder.0, "b", &models()).unwrap()
}

/// The writer's thread gives the lock back when it ends, shortly after the journal is dropped.
pub async fn wait_for_lock(path: &std::path::Path) {
    let file = std::fs::File::open(path).unwrap();
    tokio::task::spawn_blocking(move || file.lock().unwrap()).await.unwrap();
}
