//! What pipeline tests share: a host whose custom provider and store are closures, and specs.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overheard::clock::{Clock, ManualClock};
use overheard::domain::{MicroUsd, Outcome, RunStatus};
use overheard::host::{Event, Host, HostCall, HostPort, HostReply};
use overheard::http::limit::LimitRegistry;
use overheard::http::{BoxFuture, HttpRequest, HttpResponse, HttpService};
use overheard::journal::disk::{Disk, DiskFile, OsDisk};
use overheard::pipeline::{Context, RunSpec};
use overheard::providers::Ask;
use overheard::{Error, ErrorKind};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// No test here may send anything.
#[derive(Debug)]
pub struct NoHttp;

impl HttpService for NoHttp {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, Error>> {
        panic!("nothing may be sent, but this was: {} {}", request.method, request.url)
    }
}

/// The machine's disk without a thread for the journal: paused time must not run on while a thread writes.
#[derive(Debug)]
struct InlineDisk;

impl Disk for InlineDisk {
    fn create_folder(&self, folder: &Path) -> std::io::Result<()> {
        OsDisk.create_folder(folder)
    }

    fn files(&self, folder: &Path) -> std::io::Result<Vec<PathBuf>> {
        OsDisk.files(folder)
    }

    fn create(&self, path: &Path) -> std::io::Result<Box<dyn DiskFile>> {
        OsDisk.create(path)
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

pub fn context(http: Arc<dyn HttpService>) -> Context {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000, 7));
    Context { http, clock, limits: Arc::new(LimitRegistry::default()), disk: Arc::new(InlineDisk) }
}

/// A time of day that goes on with the paused time.
#[derive(Debug)]
pub struct Ticking(tokio::time::Instant, ManualClock);

impl Ticking {
    pub fn new() -> Self {
        Self(tokio::time::Instant::now(), ManualClock::new(1_700_000_000_000, 7))
    }
}

impl Clock for Ticking {
    fn now_ms(&self) -> i64 {
        self.1.now_ms() + self.0.elapsed().as_millis() as i64
    }

    fn random(&self) -> f64 {
        self.1.random()
    }
}

type Answering = dyn Fn(usize, &[Ask]) -> Result<Vec<Outcome>, Error> + Send + Sync;

/// A host whose custom provider is `answer(call number, asks)`. Log lines are kept.
pub struct TestHost {
    pub host: Host,
    pub calls: Arc<AtomicUsize>,
    pub asked: Arc<Mutex<Vec<String>>>,
    pub lines: Arc<Mutex<Vec<String>>>,
    driver: tokio::task::JoinHandle<()>,
}

struct Port(mpsc::UnboundedSender<Event>, Arc<Mutex<Vec<String>>>);

impl HostPort for Port {
    fn push(&self, event: Event) {
        match event {
            Event::Log(_, line) => self.1.lock().unwrap().push(line),
            other => drop(self.0.send(other)),
        }
    }
}

impl TestHost {
    pub fn new(answer: impl Fn(usize, &[Ask]) -> Result<Vec<Outcome>, Error> + Send + Sync + 'static) -> Self {
        let (sender, mut events) = mpsc::unbounded_channel();
        let (calls, asked, lines) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::default()), Arc::new(Mutex::default()));
        let host = Host::new(Arc::new(Port(sender, Arc::clone(&lines))), Duration::from_secs(30));
        let answer: Arc<Answering> = Arc::new(answer);
        let driver = {
            let (host, calls, asked) = (host.clone(), calls.clone(), Arc::clone(&asked));
            #[expect(clippy::disallowed_methods, reason = "the test's driver; aborted when the host is dropped")]
            tokio::spawn(async move {
                while let Some(event) = events.recv().await {
                    if let Event::Call(id, HostCall::Ask { asks, .. }) = event {
                        let number = calls.fetch_add(1, Ordering::SeqCst);
                        let asked: &Mutex<Vec<String>> = &asked;
                        asked.lock().unwrap().extend(asks.iter().map(|ask| ask.key.to_string()));
                        host.complete(id, answer(number, &asks).map(HostReply::Outcomes));
                    }
                }
            })
        };
        Self { host, calls, asked, lines, driver }
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    pub fn log(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// An answer that cost 1,000 micro-dollars.
pub fn answered(text: &str) -> Outcome {
    Outcome { text: Some(text.to_owned()), cost_micro_usd: Some(MicroUsd(1_000)), ..Outcome::empty(RunStatus::Answered) }
}

pub fn failing(kind: ErrorKind) -> Outcome {
    Outcome::failed(Error::new(kind, "a bad day"))
}

/// A batch of `questions` questions on the custom model `echo` in two locations, three questions a call.
pub fn spec(questions: usize, change: impl FnOnce(&mut Value)) -> RunSpec {
    let questions: Vec<Value> =
        (1..=questions).map(|number| json!({"id": format!("q{number}"), "text": format!("Question {number}?")})).collect();
    let mut spec = json!({
        "phase": "run", "batch_id": "batch", "batch_size": 1, "repeats": 1, "extraction": "local",
        "org": {"id": "acme", "name": "Acme", "websites": ["https://acme.example"], "questions": questions},
        "models": [{"model": "echo", "run_id": "run-echo"}],
        "locations": [{"country": "US"}, {"country": "DE"}],
        "questions": questions,
        "custom_providers": [{"name": "echo", "max_batch_size": 3, "max_in_flight": 4, "micro_usd_per_question": 1000}],
    });
    change(&mut spec);
    serde_json::from_value(spec).unwrap()
}
