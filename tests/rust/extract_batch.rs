//! Extraction by native batch against the simulator, on both providers: the same rows as direct calls, half the price, nothing
//! bought twice after a start that died at the worst moment, and what each bad day of a batch costs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overheard::clock::SystemClock;
use overheard::config::{Secret, Timeouts};
use overheard::domain::{Extraction, MicroUsd, Outcome, RunStatus, Summary};
use overheard::http::limit::LimitRegistry;
use overheard::http::{BoxFuture, HttpRequest, HttpResponse, HttpService, ReqwestService};
use overheard::journal::disk::OsDisk;
use overheard::pipeline::{Context, RunSpec, quote, run_with_store};
use overheard::simulator::{Config, Rates, Running, Simulator};
use overheard::store::MemoryStore;
use overheard::{Error, ErrorKind};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::journal::Folder;
use crate::support::{TestHost, spec};

pub const MODELS: [&str; 2] = ["gpt-4.1-mini", "claude-haiku-4-5"];
pub const ANSWERS: usize = 12;

/// An answer that names Quillmark in two of three cases.
pub fn answer(key: &str) -> Outcome {
    let number = key.bytes().fold(0usize, |sum, byte| sum + usize::from(byte));
    let first = if number % 3 == 0 { "Lumatype" } else { "Quillmark" };
    let text = format!("1. **Notaro** is a note editor.\n2. **{first}** is an excellent choice for {key}.\n3. Draftly is fine.");
    Outcome { text: Some(text), cost_micro_usd: Some(MicroUsd(1_000)), ..Outcome::empty(RunStatus::Answered) }
}

pub fn simulator(change: impl FnOnce(&mut Config)) -> Running {
    let mut config = Config { snapshot_ms: 0, rates: Rates::perfect(), ..Config::default() };
    change(&mut config);
    Simulator::start(config).unwrap()
}

pub fn batch(running: &Running, model: &str, extraction: &str, journal: &Path, change: impl FnOnce(&mut Value)) -> RunSpec {
    batch_of(ANSWERS, running, model, extraction, journal, change)
}

pub fn batch_of(
    answers: usize,
    running: &Running,
    model: &str,
    extraction: &str,
    journal: &Path,
    change: impl FnOnce(&mut Value),
) -> RunSpec {
    let account = |base: String| json!({"api_key": "sk-simulated", "base_url": base});
    spec(answers, |spec| {
        spec["locations"] = json!([{"country": "US"}]);
        spec["org"]["name"] = json!("Quillmark");
        spec["org"]["websites"] = json!(["https://www.quillmark.example"]);
        spec["extraction"] = json!(extraction);
        spec["settings"] = json!({
            "openai": account(format!("{}/v1", running.url())), "anthropic": account(running.url().to_owned()),
            "extraction_model": model, "journal": journal, "unknown_grace_ms": 300, "grace_ms": 200,
            "datasets": {"first_poll_ms": 5, "min_poll_ms": 5},
            "retry": {"base_ms": 1, "throttle_base_ms": 1, "breaker_ms": 1},
        });
        change(spec);
    })
}

/// The real client; after `cut` has matched a request, that request's reply never comes and nothing else is sent.
#[derive(Debug)]
pub struct Wire {
    real: ReqwestService,
    cut: Option<(&'static str, &'static str, bool)>,
    sent: AtomicUsize,
    requests: Mutex<Vec<String>>,
    died: CancellationToken,
}

impl Wire {
    pub fn new(cut: Option<(&'static str, &'static str, bool)>) -> Arc<Self> {
        let real = ReqwestService::new(&Timeouts::default(), &Secret::default()).unwrap();
        Arc::new(Self { real, cut, sent: AtomicUsize::new(0), requests: Mutex::default(), died: CancellationToken::new() })
    }
}

impl HttpService for Wire {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, Error>> {
        Box::pin(async move {
            if self.died.is_cancelled() {
                std::future::pending::<()>().await;
            }
            self.sent.fetch_add(1, Ordering::SeqCst);
            let path = request.url.clone();
            self.requests.lock().unwrap().push(format!("{} {path}", request.method));
            let cut = self.cut.filter(|(method, end, _)| request.method.as_str() == *method && path.ends_with(end));
            if let Some((_, _, arrives)) = cut {
                if arrives {
                    let _ = self.real.send(request.clone()).await;
                }
                self.died.cancel();
                std::future::pending::<()>().await;
            }
            self.real.send(request).await
        })
    }
}

pub fn context(wire: Arc<Wire>) -> Context {
    Context {
        http: wire,
        clock: Arc::new(SystemClock::default()),
        limits: Arc::new(LimitRegistry::default()),
        disk: Arc::new(OsDisk),
    }
}

pub struct Started {
    pub summary: Summary,
    pub log: String,
    pub sent: usize,
    /// Method and path of what was sent, in order.
    pub requests: Vec<String>,
}

pub async fn start(store: &Arc<MemoryStore>, spec: RunSpec) -> Started {
    let spec = with_overhead(store, spec);
    let host = TestHost::new(|_, asks| Ok(asks.iter().map(|ask| answer(&ask.key)).collect()));
    let wire = Wire::new(None);
    let work = Box::pin(run_with_store(context(wire.clone()), spec, host.host.clone(), store.clone(), CancellationToken::new()));
    let summary = tokio::time::timeout(Duration::from_secs(30), work).await.expect("it waits for ever").unwrap();
    let requests = wire.requests.lock().unwrap().clone();
    Started { summary, log: host.log(), sent: wire.sent.load(Ordering::SeqCst), requests }
}

/// What is told a start of what the model runs had before, as the Python side tells it.
fn with_overhead(store: &MemoryStore, mut spec: RunSpec) -> RunSpec {
    for run in store.model_runs("batch") {
        spec.batch_overhead_micro_usd += run.overhead_micro_usd;
        spec.batch_overhead_maybe_charged_micro_usd += run.overhead_maybe_charged_micro_usd;
        if let Some(model) = spec.models.iter_mut().find(|model| model.model == run.model) {
            model.overhead_micro_usd = run.overhead_micro_usd;
            model.overhead_maybe_charged_micro_usd = run.overhead_maybe_charged_micro_usd;
        }
    }
    spec
}

/// A start that dies at the request: its tasks are dropped as they stand, as a killed process's are.
pub async fn killed(store: &Arc<MemoryStore>, spec: RunSpec, cut: (&'static str, &'static str, bool)) {
    let host = TestHost::new(|_, asks| Ok(asks.iter().map(|ask| answer(&ask.key)).collect()));
    let wire = Wire::new(Some(cut));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (context, store, handle) = (context(wire.clone()), store.clone(), host.host.clone());
    drop(runtime.spawn(run_with_store(context, spec, handle, store, CancellationToken::new())));
    tokio::time::timeout(Duration::from_secs(30), wire.died.cancelled()).await.expect("the request was never made");
    tokio::time::sleep(Duration::from_millis(50)).await;
    runtime.shutdown_background();
}

/// What the provider's list has.
pub async fn batches(running: &Running, model: &str) -> usize {
    let path = if model.starts_with("claude") { "v1/messages/batches" } else { "v1/batches" };
    let request = HttpRequest::get(format!("{}/{path}?limit=100", running.url()), Duration::from_secs(5), 1 << 20)
        .with_secret(http::header::AUTHORIZATION, "Bearer sk-simulated", "KEY")
        .unwrap();
    let reply = ReqwestService::new(&Timeouts::default(), &Secret::default()).unwrap().send(request).await.unwrap();
    serde_json::from_slice::<Value>(&reply.body).unwrap()["data"].as_array().unwrap().len()
}

/// What was charged for extraction: (inside batches, direct, names included).
pub fn charged(running: &Running) -> (i64, i64) {
    let ledger = running.ledger(true);
    let charges = ledger["charges"].as_array().unwrap();
    let sum = |batch: bool| {
        charges.iter().filter(move |charge| charge["batch"] == batch).map(|charge| charge["micro_usd"].as_i64().unwrap())
    };
    (sum(true).sum(), sum(false).sum())
}

fn lines(running: &Running) -> usize {
    running.ledger(true)["charges"].as_array().unwrap().iter().filter(|charge| charge["batch"] == true).count()
}

pub fn extractions(store: &MemoryStore) -> BTreeMap<String, Extraction> {
    store.extractions("batch").into_iter().map(|extraction| (extraction.key.to_string(), extraction.as_ref().clone())).collect()
}

/// Without what differs between two starts of the same: money, tokens, time.
fn rows(store: &MemoryStore) -> BTreeMap<String, Extraction> {
    let plain =
        |extraction: Extraction| Extraction { cost_micro_usd: None, usage: Default::default(), extracted_at_ms: 0, ..extraction };
    extractions(store).into_iter().map(|(key, extraction)| (key, plain(extraction))).collect()
}

/// All extracted, and every micro-dollar in a row.
pub fn assert_whole(running: &Running, store: &MemoryStore, summary: &Summary) {
    assert_whole_of(ANSWERS, running, store, summary);
}

pub fn assert_whole_of(answers: usize, running: &Running, store: &MemoryStore, summary: &Summary) {
    let rows = extractions(store);
    assert_eq!(rows.len(), answers);
    assert!(rows.values().all(|row| row.error.is_none()), "{rows:?}");
    let (batched, direct) = charged(running);
    let stored: i64 = rows.values().map(|row| row.cost_micro_usd.unwrap().0).sum();
    let overhead: i64 = store.model_runs("batch").iter().map(|run| run.overhead_micro_usd).sum();
    assert_eq!(stored + overhead, batched + direct, "what is stored is what was charged");
    assert_eq!(summary.total_cost_micro_usd, stored + overhead + answers as i64 * 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_gives_the_rows_of_direct_calls_at_half_the_price() {
    for model in MODELS {
        let (running, folder) = (simulator(|_| {}), Folder::new());
        let direct = Arc::new(MemoryStore::default());
        let summary = start(&direct, batch(&running, model, "llm", &folder.0, |_| {})).await.summary;
        assert_whole(&running, &direct, &summary);
        let (none, whole) = charged(&running);
        assert_eq!(none, 0);

        let (running, folder) = (simulator(|config| config.snapshot_ms = 40), Folder::new());
        let batched = Arc::new(MemoryStore::default());
        let started = start(&batched, batch(&running, model, "llm-batch", &folder.0, |_| {})).await;
        assert_whole(&running, &batched, &started.summary);
        assert_eq!(rows(&batched), rows(&direct), "{model}");
        assert!(rows(&batched).values().filter(|row| row.evaluation.mentioned).count() > 3, "it is about something");
        let (half, names) = charged(&running);
        let (requests, exact) = (lines(&running) as i64, whole - names);
        assert!(requests > ANSWERS as i64, "both calls");
        assert!((2 * half - exact).abs() <= requests, "{model}: {half} of {exact}, each rounded once");
        assert_eq!(batches(&running, model).await, 1);
        assert!(started.log.contains("requests about 12 answers of echo is made"), "{}", started.log);
        // names, upload, create, results, and polls.
        let ledger = running.ledger(false);
        assert!(started.sent < 20, "{} calls: {ledger}", started.sent);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_died_is_gone_on_with_and_nothing_is_made_twice() {
    for model in MODELS {
        let (create, results) =
            if model.starts_with("claude") { ("/v1/messages/batches", "/results") } else { ("/v1/batches", "/content") };
        for cut in [("POST", "/v1/files", true), ("POST", create, false), ("POST", create, true), ("GET", results, true)] {
            if cut.1 == "/v1/files" && model.starts_with("claude") {
                continue;
            }
            let (running, folder) = (simulator(|config| config.snapshot_ms = 60), Folder::new());
            let store = Arc::new(MemoryStore::default());
            let of = || batch(&running, model, "llm-batch", &folder.0, |_| {});
            killed(&store, of(), cut).await;
            assert!(extractions(&store).is_empty());
            let started = start(&store, of()).await;
            assert_whole(&running, &store, &started.summary);
            assert_eq!(batches(&running, model).await, 1, "{model} {cut:?}: {}", started.log);
            assert_eq!(started.summary.maybe_charged_micro_usd, 0, "{model} {cut:?}");
            let again = start(&store, of()).await;
            assert_eq!((again.sent, again.summary.total_cost_micro_usd), (0, started.summary.total_cost_micro_usd));
            let left: Vec<PathBuf> = std::fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().path()).collect();
            assert!(!left.iter().any(|path| path.extension().is_some_and(|kind| kind == "journal")), "nothing is open: {left:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_whose_reply_is_lost_is_found_and_not_made_again() {
    for model in MODELS {
        let endpoint = if model.starts_with("claude") { "anthropic.batches" } else { "openai.batches" };
        for (fault, exists) in [("charge_then_close", 1), ("charge_then_500", 1), ("close_before_reply", 0)] {
            let (running, folder) = (simulator(|config| config.snapshot_ms = 60), Folder::new());
            running.inject(&json!({"match": {"endpoint": endpoint}, "fault": fault})).unwrap();
            let store = Arc::new(MemoryStore::default());
            let started = start(&store, batch(&running, model, "llm-batch", &folder.0, |_| {})).await;
            assert_whole(&running, &store, &started.summary);
            assert_eq!(batches(&running, model).await, 1, "{model} {fault}");
            assert_eq!(started.log.contains("adopted"), exists == 1, "{model} {fault}: {}", started.log);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_run_is_asked_again_by_a_later_batch() {
    for model in MODELS {
        let endpoint = if model.starts_with("claude") { "anthropic.batches" } else { "openai.batches" };
        for fault in ["batch_expired:7", "drop_rows:3", "duplicate_rows:4", "foreign_rows:2", "batch_failed"] {
            if fault == "batch_failed" && model.starts_with("claude") {
                continue; // it has no validation
            }
            let (running, folder) = (simulator(|_| {}), Folder::new());
            running.inject(&json!({"match": {"endpoint": endpoint}, "fault": fault})).unwrap();
            let store = Arc::new(MemoryStore::default());
            let started = start(&store, batch(&running, model, "llm-batch", &folder.0, |_| {})).await;
            let (found, log) = (extractions(&store), &started.log);
            assert!(found.len() == ANSWERS && found.values().all(|row| row.error.is_none()), "{model} {fault}: {log}");
            let twice = matches!(fault, "batch_expired:7" | "drop_rows:3" | "batch_failed");
            // What was refused for too much being enqueued is halved.
            let again = if fault == "batch_failed" { 2 } else { usize::from(twice) };
            assert_eq!(batches(&running, model).await, 1 + again, "{model} {fault}: {log}");
            if fault.starts_with("drop_rows") {
                // Done and charged, and no row came: what it may have cost is told, the second time is not.
                assert!(started.summary.maybe_charged_micro_usd > 0, "{model}");
            } else {
                assert_whole(&running, &store, &started.summary);
                assert_eq!(started.summary.maybe_charged_micro_usd, 0, "{model} {fault}");
            }
            assert_eq!(fault.starts_with("foreign"), log.contains("(2 rows belong to no request"), "{log}");
            assert_eq!(fault.starts_with("duplicate"), log.contains("4 came twice"), "{log}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_breaks_the_schema_is_repaired_by_one_direct_call() {
    for model in MODELS {
        let running = simulator(|config| config.rates.structured_broken_json = 0.3);
        let folder = Folder::new();
        let store = Arc::new(MemoryStore::default());
        let started = start(&store, batch(&running, model, "llm-batch", &folder.0, |_| {})).await;
        let found = extractions(&store);
        assert_eq!(found.len(), ANSWERS);
        let broken = running.truth()["extractions"].as_array().unwrap().iter().filter(|said| said["broken_json"] == true).count();
        assert!(broken > 2, "{broken}");
        let failed = found.values().filter(|row| row.error.is_some()).count();
        assert!(failed < ANSWERS / 2, "most are mended");
        let (batched, direct) = charged(&running);
        let stored: i64 = found.values().map(|row| row.cost_micro_usd.unwrap().0).sum();
        let overhead: i64 = store.model_runs("batch").iter().map(|run| run.overhead_micro_usd).sum();
        assert_eq!(stored + overhead, batched + direct);
        assert_eq!(batches(&running, model).await, 1, "{}", started.log);
        assert_eq!(started.summary.maybe_charged_micro_usd, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_budget_makes_small_batches_and_no_budget_none() {
    let model = MODELS[0];
    let running = simulator(|_| {});
    let folder = Folder::new();
    let store = Arc::new(MemoryStore::default());
    let capped = |cap: i64| batch(&running, model, "llm-batch", &folder.0, move |spec| spec["max_cost_micro_usd"] = json!(cap));
    // The answers cost 12,000; two answers' extractions are reserved with about 20,000.
    let started = start(&store, capped(60_000)).await;
    assert_whole(&running, &store, &started.summary);
    let made = batches(&running, model).await;
    assert!((2..=12).contains(&made), "{made}");
    assert!(started.summary.total_cost_micro_usd <= 60_000);

    let (running, folder) = (simulator(|_| {}), Folder::new());
    let store = Arc::new(MemoryStore::default());
    let tight = batch(&running, model, "llm-batch", &folder.0, |spec| spec["max_cost_micro_usd"] = json!(13_000));
    let summary = start(&store, tight).await.summary;
    assert_eq!((batches(&running, model).await, extractions(&store).len()), (0, 0));
    assert!(summary.processing_errors.iter().any(|error| error.kind == ErrorKind::Budget));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_leaves_the_extraction_for_a_later_start() {
    for model in MODELS {
        let endpoint = if model.starts_with("claude") { "anthropic" } else { "openai" };
        let (running, folder) = (simulator(|_| {}), Folder::new());
        running.inject(&json!({"match": {"endpoint": endpoint}, "fault": "status:401", "times": null})).unwrap();
        let store = Arc::new(MemoryStore::default());
        let of = || batch(&running, model, "llm-batch", &folder.0, |_| {});
        let refused = start(&store, of()).await.summary;
        assert_eq!((refused.answered, extractions(&store).len()), (ANSWERS as u64, 0));
        running.clear_faults();
        let summary = start(&store, of()).await.summary;
        assert_whole(&running, &store, &summary);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_leaves_the_batch_at_the_provider_for_the_next_start() {
    for model in MODELS {
        let (running, folder) = (simulator(|config| config.snapshot_ms = 1_500), Folder::new());
        let store = Arc::new(MemoryStore::default());
        let of = |mode: &str| batch(&running, model, mode, &folder.0, |_| {});
        let host = TestHost::new(|_, asks| Ok(asks.iter().map(|ask| answer(&ask.key)).collect()));
        let stop = CancellationToken::new();
        let work = run_with_store(context(Wire::new(None)), of("llm-batch"), host.host.clone(), store.clone(), stop.clone());
        let stopping = async {
            while !host.log().contains("is made") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.cancel();
        };
        let begun = std::time::Instant::now();
        let (summary, ()) = tokio::join!(work, stopping);
        assert!(begun.elapsed() < Duration::from_secs(5), "a stop does not wait for a batch");
        assert!(extractions(&store).is_empty());
        assert!(summary.unwrap().processing_errors.iter().any(|error| error.message.contains("without paying again")));

        // Another way of extraction leaves alone what is paid for.
        let local = start(&store, of("local")).await;
        assert!(extractions(&store).is_empty() && local.log.contains("extraction=llm-batch fetches it"), "{}", local.log);

        let started = start(&store, of("llm-batch")).await;
        assert_whole(&running, &store, &started.summary);
        assert_eq!(batches(&running, model).await, 1, "{}", started.log);
    }
}

#[tokio::test]
async fn a_quote_tells_the_half() {
    let running = simulator(|_| {});
    for model in MODELS {
        let folder = Folder::new();
        let of = |mode: &str| {
            let quote = quote(&batch(&running, model, mode, &folder.0, |_| {})).unwrap();
            quote.lines.into_iter().find(|line| line.what == "extraction").unwrap()
        };
        let (direct, batched) = (of("llm"), of("llm-batch"));
        assert!((2 * batched.expected_micro_usd - direct.expected_micro_usd).abs() <= 2 * ANSWERS as i64);
        // At most: the calls at half, a repair of each at the full price.
        assert!((4 * batched.worst_case_micro_usd - 3 * direct.worst_case_micro_usd).abs() <= 8 * ANSWERS as i64);
    }
}
