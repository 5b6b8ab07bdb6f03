//! F61, F70, F77 and panics: an fsync that fails, a wall clock that jumps, a journal of the format before, a bug of ours.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use overheard::clock::{Clock, ManualClock};
use overheard::config::Settings;
use overheard::domain::Outcome;
use overheard::http::{BoxFuture, HttpRequest, HttpResponse, HttpService};
use overheard::journal::disk::{Disk, DiskFile, OsDisk};
use overheard::journal::{Journal, Submission};
use overheard::pipeline::{Context, RunSpec, run_with_store};
use overheard::providers::Ask;
use overheard::store::MemoryStore;
use overheard::{Error, ErrorKind};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::brightdata_engine::{BrightData, chatgpt, silent};
use crate::journal::{Folder, wait_for_lock};
use crate::support::{TestHost, answered, context, spec};

fn echo(_: usize, asks: &[Ask]) -> Result<Vec<Outcome>, Error> {
    Ok(asks.iter().map(|ask| answered(&format!("Acme answers {}", ask.question))).collect())
}

#[test]
fn f56_a_store_callback_has_thirty_seconds() {
    assert_eq!(Settings::default().timeouts.host_ms, 30_000);
}

// --- F61: fsync fails ---

/// The machine's disk, whose `nth` sync of a journal file fails.
#[derive(Debug)]
struct BadDisk {
    syncs: Arc<AtomicUsize>,
    appends_after: Arc<AtomicUsize>,
    nth: usize,
}

#[derive(Debug)]
struct BadFile {
    inner: Box<dyn DiskFile>,
    syncs: Arc<AtomicUsize>,
    appends_after: Arc<AtomicUsize>,
    nth: usize,
}

impl BadDisk {
    fn wrap(&self, inner: Box<dyn DiskFile>, path: &Path) -> Box<dyn DiskFile> {
        if path.extension().is_none_or(|extension| extension != "journal") {
            return inner;
        }
        Box::new(BadFile { inner, syncs: self.syncs.clone(), appends_after: self.appends_after.clone(), nth: self.nth })
    }
}

impl Disk for BadDisk {
    fn create_folder(&self, folder: &Path) -> std::io::Result<()> {
        OsDisk.create_folder(folder)
    }
    fn files(&self, folder: &Path) -> std::io::Result<Vec<PathBuf>> {
        OsDisk.files(folder)
    }
    fn create(&self, path: &Path) -> std::io::Result<Box<dyn DiskFile>> {
        Ok(self.wrap(OsDisk.create(path)?, path))
    }
    fn open(&self, path: &Path) -> std::io::Result<Box<dyn DiskFile>> {
        Ok(self.wrap(OsDisk.open(path)?, path))
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        OsDisk.remove(path)
    }
    fn sync_folder(&self, folder: &Path) -> std::io::Result<()> {
        OsDisk.sync_folder(folder)
    }
}

impl DiskFile for BadFile {
    fn try_lock(&self) -> std::io::Result<bool> {
        self.inner.try_lock()
    }
    fn read(&mut self) -> std::io::Result<Vec<u8>> {
        self.inner.read()
    }
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.syncs.load(Ordering::SeqCst) >= self.nth {
            self.appends_after.fetch_add(1, Ordering::SeqCst);
        }
        self.inner.append(bytes)
    }
    fn sync(&mut self) -> std::io::Result<()> {
        if self.syncs.fetch_add(1, Ordering::SeqCst) + 1 == self.nth {
            return Err(std::io::Error::other("the disk lies"));
        }
        self.inner.sync()
    }
}

fn submission(id: &str) -> Submission {
    let mut submission: Submission = serde_json::from_value(json!({
        "id": id, "model": "chatgpt", "created_at_ms": 5,
        "cells": [{"question_id": "q1", "model": "chatgpt", "location": "US", "repeat": 1}],
    }))
    .unwrap();
    submission.snapshot_id = None;
    submission
}

#[tokio::test]
async fn f61_after_an_fsync_error_the_journal_takes_nothing_and_never_syncs_again() {
    let folder = Folder::new();
    let (syncs, appends_after) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    // The first sync is the new file's own.
    let disk = Arc::new(BadDisk { syncs: syncs.clone(), appends_after: appends_after.clone(), nth: 3 });
    let (journal, _) = Journal::open(disk, &folder.0, "b", &["chatgpt".into()]).unwrap();
    journal.intent(submission("durable")).await.unwrap();
    let failed = journal.intent(submission("lost")).await.unwrap_err();
    assert_eq!(failed.kind, ErrorKind::Journal);
    assert!(failed.message.contains("the disk lies") && failed.message.contains("OVERHEARD_JOURNAL"), "{failed}");
    for id in ["later", "still later"] {
        assert_eq!(journal.intent(submission(id)).await.unwrap_err(), failed, "the same error, without trying");
    }
    assert_eq!((syncs.load(Ordering::SeqCst), appends_after.load(Ordering::SeqCst)), (3, 0), "tried again after the failure");
    journal.finish().await;
    assert_eq!(folder.journals(), 1, "what is open stays for the next start");
}

/// A batch whose direct calls go through a journal on this disk; returns how often the provider was sent something.
async fn with_disk(nth: usize) -> (Result<overheard::domain::Summary, Error>, usize, Folder) {
    let folder = Folder::new();
    let disk = Arc::new(BadDisk { syncs: Arc::default(), appends_after: Arc::default(), nth });
    let sent = Arc::new(AtomicUsize::new(0));
    let http = Arc::new(Answering { sent: sent.clone(), answer: |_| Ok(openai_reply("Acme is fine.")) });
    let context = Context { disk, ..context(http) };
    let host = TestHost::new(echo);
    let store = Arc::new(MemoryStore::default());
    let result = run_with_store(context, direct_spec(&folder), host.host.clone(), store.clone(), CancellationToken::new()).await;
    let failed = store.runs("batch").iter().filter(|run| run.outcome.text.is_none()).count();
    assert_eq!(failed, 0, "a question that was not asked is not a failed one");
    (result, sent.load(Ordering::SeqCst), folder)
}

#[tokio::test]
async fn f61_an_fsync_error_stops_the_buying() {
    let (all, sent, _folder) = with_disk(usize::MAX).await;
    assert_eq!((all.unwrap().answered, sent), (40, 40));
    // The header's sync is the first; the second is the first group of notes before calls.
    let (failed, sent, folder) = with_disk(2).await;
    let failed = failed.unwrap_err();
    assert!(failed.kind == ErrorKind::Journal && failed.message.contains("the disk lies"), "{failed}");
    assert_eq!(sent, 0, "nothing is sent that the journal does not know");
    assert_eq!(folder.journals(), 1);
}

/// The machine's disk until the journal notes that a submission is closed; from then on it takes nothing.
#[derive(Debug)]
struct FullAtClose(Arc<AtomicBool>);

#[derive(Debug)]
struct FullFile(Box<dyn DiskFile>, Arc<AtomicBool>);

impl Disk for FullAtClose {
    fn create_folder(&self, folder: &Path) -> std::io::Result<()> {
        OsDisk.create_folder(folder)
    }
    fn files(&self, folder: &Path) -> std::io::Result<Vec<PathBuf>> {
        OsDisk.files(folder)
    }
    fn create(&self, path: &Path) -> std::io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(FullFile(OsDisk.create(path)?, self.0.clone())))
    }
    fn open(&self, path: &Path) -> std::io::Result<Box<dyn DiskFile>> {
        OsDisk.open(path)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        OsDisk.remove(path)
    }
    fn sync_folder(&self, folder: &Path) -> std::io::Result<()> {
        OsDisk.sync_folder(folder)
    }
    fn is_instant(&self) -> bool {
        true
    }
}

impl DiskFile for FullFile {
    fn try_lock(&self) -> std::io::Result<bool> {
        self.0.try_lock()
    }
    fn read(&mut self) -> std::io::Result<Vec<u8>> {
        self.0.read()
    }
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let closes = bytes.windows(8).any(|part| part == b"\"closed\"");
        if self.1.fetch_or(closes, Ordering::SeqCst) || closes {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.0.append(bytes)
    }
    fn sync(&mut self) -> std::io::Result<()> {
        self.0.sync()
    }
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_fails_while_the_store_is_well_loses_no_answer_that_is_paid_for() {
    let (folder, full) = (Folder::new(), Arc::new(AtomicBool::new(false)));
    // The second snapshot comes when the first is stored and could not be closed.
    let provider = BrightData::plain(20, move |endpoint, number, _| match (endpoint, number) {
        ("snapshot", 1) => Some(Ok((202, json!({"status": "building", "message": "try again"})))),
        _ => None,
    });
    let provider = Arc::new(provider);
    let context = Context { disk: Arc::new(FullAtClose(full.clone())), ..context(provider.clone()) };
    let spec = chatgpt(40, |spec| spec["settings"]["journal"] = json!(folder.0));
    let (host, store) = (silent(), Arc::<MemoryStore>::default());
    let result = run_with_store(context, spec, host.host.clone(), store.clone(), CancellationToken::new()).await;
    assert_eq!(result.unwrap_err().kind, ErrorKind::Journal);
    assert!(full.load(Ordering::SeqCst));
    assert_eq!((provider.charged(), store.runs("batch").len()), (40, 40), "what was bought is in the store");
    assert_eq!(store.extractions("batch").len(), 40);
}

/// A transport of one closure.
struct Answering<F> {
    sent: Arc<AtomicUsize>,
    answer: F,
}

impl<F> std::fmt::Debug for Answering<F> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Answering").finish_non_exhaustive()
    }
}

impl<F: Fn(usize) -> Result<HttpResponse, Error> + Send + Sync> HttpService for Answering<F> {
    fn send(&self, _: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, Error>> {
        let number = self.sent.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move { (self.answer)(number) })
    }
}

fn openai_reply(text: &str) -> HttpResponse {
    let body = json!({
        "id": "resp_1", "object": "response", "status": "completed", "model": "gpt-4.1-2025-04-14",
        "output": [{"type": "message", "role": "assistant", "status": "completed",
                    "content": [{"type": "output_text", "text": text, "annotations": []}]}],
        "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
    });
    HttpResponse { status: 200, headers: http::HeaderMap::new(), body: serde_json::to_vec(&body).unwrap().into() }
}

fn direct_spec(folder: &Folder) -> RunSpec {
    let journal = folder.0.to_str().unwrap().to_owned();
    spec(20, |spec| {
        spec["models"] = json!([{"model": "gpt-4.1", "run_id": "run-gpt"}]);
        spec["settings"] = json!({"openai": {"api_key": "k", "max_in_flight": 4}, "journal": journal});
    })
}

// --- F70: the wall clock jumps ---

/// Jumps a day back and forth with every look.
#[derive(Debug)]
struct Jumping(AtomicI64, ManualClock);

impl Jumping {
    fn new() -> Self {
        Self(AtomicI64::new(0), ManualClock::new(0, 70))
    }
}

impl Clock for Jumping {
    fn now_ms(&self) -> i64 {
        const DAY_MS: i64 = 86_400_000;
        let looks = self.0.fetch_add(1, Ordering::SeqCst);
        1_700_000_000_000 + if looks % 2 == 0 { DAY_MS } else { -DAY_MS }
    }
    fn random(&self) -> f64 {
        self.1.random()
    }
}

#[tokio::test(start_paused = true)]
async fn f70_a_wall_clock_that_jumps_a_day_changes_no_duration_and_no_id() {
    let folder = Folder::new();
    let sent = Arc::new(AtomicUsize::new(0));
    // The first calls meet an overloaded provider, so that backoffs are waited out.
    let http = Arc::new(Answering {
        sent: sent.clone(),
        answer: |number| {
            if number < 4 {
                Ok(HttpResponse { status: 503, headers: http::HeaderMap::new(), body: b"{}".to_vec().into() })
            } else {
                Ok(openai_reply("Acme is fine."))
            }
        },
    });
    let context = Context { clock: Arc::new(Jumping::new()), ..context(http) };
    let store = Arc::new(MemoryStore::default());
    let host = TestHost::new(echo);
    let begun = tokio::time::Instant::now();
    let run = run_with_store(context, direct_spec(&folder), host.host.clone(), store.clone(), CancellationToken::new());
    let summary = run.await.unwrap();
    assert_eq!((summary.processed, summary.answered), (40, 40), "{:?}", summary.processing_errors);
    assert!(begun.elapsed().as_secs() < 600, "a duration was taken from the wall clock: {:?}", begun.elapsed());
    assert_eq!(store.runs("batch").len(), 40);
    assert_eq!(folder.journals(), 0, "nothing is open");
    let clock = Jumping::new();
    let ids: std::collections::HashSet<String> = (0..1_000).map(|_| clock.id()).collect();
    assert_eq!(ids.len(), 1_000, "ids do not hang on the time of day");
}

// --- F77: the format before ---

fn of_version(folder: &Folder, change: impl Fn(String) -> String) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal/v1");
    for entry in std::fs::read_dir(fixtures).unwrap() {
        let path = entry.unwrap().path();
        let text = change(std::fs::read_to_string(&path).unwrap());
        std::fs::write(folder.0.join(path.file_name().unwrap()), text).unwrap();
    }
}

#[tokio::test]
async fn f77_a_journal_of_the_format_before_is_read_and_goes_on_in_ours() {
    let folder = Folder::new();
    of_version(&folder, |text| text);
    let models = ["chatgpt".to_owned(), "m".to_owned()];
    let found = |recovered: &overheard::journal::Recovered| {
        let submissions: Vec<_> = recovered.submissions.iter().map(|open| (open.id.clone(), open.snapshot_id.clone())).collect();
        let replies: Vec<_> = recovered.replies.iter().map(|run| run.key.to_string()).collect();
        let overhead: Vec<_> = recovered.overhead.iter().map(|booked| (booked.model.clone(), booked.micro_usd)).collect();
        (submissions, replies, overhead, recovered.asked.len())
    };
    let (journal, recovered) = Journal::open(Arc::new(OsDisk), &folder.0, "b", &models).unwrap();
    let first = found(&recovered);
    let submissions = vec![("held".to_owned(), None), ("in-flight".to_owned(), Some("s_v1".to_owned()))];
    assert_eq!(first, (submissions, vec!["q1|m|US|1".to_owned()], vec![(None, 1234)], 0));
    assert_eq!(recovered.replies[0].outcome.text.as_deref(), Some("text with \n a line break and \u{1F600}"));
    journal.finish().await;
    drop(journal);
    // What was open is open in a file of our own format, and the old one is gone.
    assert_eq!(folder.journals(), 1);
    let path = std::fs::read_dir(&folder.0)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "journal"));
    wait_for_lock(&path.unwrap()).await;
    let (_, again) = Journal::open(Arc::new(OsDisk), &folder.0, "b", &models).unwrap();
    assert_eq!(found(&again), first);
}

#[tokio::test]
async fn f77_a_journal_of_a_newer_format_is_refused_in_a_sentence_and_left_as_it_is() {
    let folder = Folder::new();
    of_version(&folder, |text| {
        let rest = text.split_once('\n').unwrap().1;
        let header = r#"{"kind":"header","version":99,"batch_id":"b","models":["chatgpt","m"]}"#;
        format!("{:08x} {header}\n{rest}", crc32fast::hash(header.as_bytes()))
    });
    let bytes = || {
        let mut all: Vec<_> = std::fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().path()).collect();
        all.retain(|path| path.extension().is_some_and(|extension| extension == "journal"));
        all.iter().map(|path| std::fs::read(path).unwrap()).collect::<Vec<_>>()
    };
    let before = bytes();
    let error = Journal::open(Arc::new(OsDisk), &folder.0, "b", &["chatgpt".into()]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Journal);
    assert!(error.message.contains("was written by a newer overheard (format 99, this one reads"), "{error}");
    assert_eq!(bytes(), before);
}

// --- panics ---

/// Panics with the n-th thing it is asked.
#[derive(Debug)]
struct Panicking {
    calls: AtomicUsize,
    nth: usize,
}

impl HttpService for Panicking {
    fn send(&self, _: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, Error>> {
        assert!(self.calls.fetch_add(1, Ordering::SeqCst) + 1 != self.nth, "a bug of ours");
        Box::pin(async { Ok(openai_reply("Acme is fine.")) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_task_ends_the_run_as_an_internal_error_and_the_next_start_completes() {
    for nth in [1, 7, 40] {
        let (folder, store) = (Folder::new(), Arc::new(MemoryStore::default()));
        let http = Arc::new(Panicking { calls: AtomicUsize::new(0), nth });
        let host = TestHost::new(echo);
        let run = |http: Arc<dyn HttpService>| {
            run_with_store(context(http), direct_spec(&folder), host.host.clone(), store.clone(), CancellationToken::new())
        };
        let error = run(http.clone()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Internal);
        assert!(error.message.contains("the core panicked: a bug of ours"), "{error}");
        let stored = store.runs("batch").len();
        assert!(stored < 40, "the panic was not seen");
        let summary = run(Arc::new(Answering { sent: Arc::default(), answer: |_| Ok(openai_reply("Acme is fine.")) }));
        let summary = summary.await.unwrap();
        assert_eq!((summary.answered, store.runs("batch").len()), (40, 40));
        // The call that panicked may have been sent: it is on its own line, and no other is.
        assert!(summary.maybe_charged_micro_usd > 0);
    }
}

/// A disk that panics when the journal writes for the n-th time: the journal's thread is gone, and nothing more is bought.
#[tokio::test]
async fn a_panic_in_the_journals_thread_stops_the_buying() {
    #[derive(Debug)]
    struct Bomb(Mutex<usize>);
    #[derive(Debug)]
    struct BombFile(Box<dyn DiskFile>, bool);
    impl Disk for Bomb {
        fn create_folder(&self, folder: &Path) -> std::io::Result<()> {
            OsDisk.create_folder(folder)
        }
        fn files(&self, folder: &Path) -> std::io::Result<Vec<PathBuf>> {
            OsDisk.files(folder)
        }
        fn create(&self, path: &Path) -> std::io::Result<Box<dyn DiskFile>> {
            let armed = path.extension().is_some_and(|extension| extension == "journal");
            *self.0.lock().unwrap() += usize::from(armed);
            Ok(Box::new(BombFile(OsDisk.create(path)?, armed)))
        }
        fn open(&self, path: &Path) -> std::io::Result<Box<dyn DiskFile>> {
            OsDisk.open(path)
        }
        fn remove(&self, path: &Path) -> std::io::Result<()> {
            OsDisk.remove(path)
        }
        fn sync_folder(&self, folder: &Path) -> std::io::Result<()> {
            OsDisk.sync_folder(folder)
        }
    }
    impl DiskFile for BombFile {
        fn try_lock(&self) -> std::io::Result<bool> {
            self.0.try_lock()
        }
        fn read(&mut self) -> std::io::Result<Vec<u8>> {
            self.0.read()
        }
        fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
            let header = bytes.windows(8).any(|part| part == b"\"header\"");
            assert!(!self.1 || header, "a bug in the journal");
            self.0.append(bytes)
        }
        fn sync(&mut self) -> std::io::Result<()> {
            self.0.sync()
        }
    }
    let (folder, sent) = (Folder::new(), Arc::new(AtomicUsize::new(0)));
    let http = Arc::new(Answering { sent: sent.clone(), answer: |_| Ok(openai_reply("Acme is fine.")) });
    let context = Context { disk: Arc::new(Bomb(Mutex::default())), ..context(http) };
    let host = TestHost::new(echo);
    let store = Arc::new(MemoryStore::default());
    let result = run_with_store(context, direct_spec(&folder), host.host.clone(), store, CancellationToken::new()).await;
    let told = match result {
        Ok(summary) => summary.processing_errors.iter().map(ToString::to_string).collect(),
        Err(error) => error.to_string(),
    };
    assert!(told.contains("the journal's thread has ended"), "{told}");
    assert_eq!(sent.load(Ordering::SeqCst), 0);
}
