//! Direct calls that a start sent and never heard of again, because it died: each is on the books exactly once, as maybe charged, and
//! what has a durable reply never is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use overheard::domain::Summary;
use overheard::host::{Event, Host, HostCall, HostPort};
use overheard::http::{BoxFuture, HttpRequest, HttpResponse, HttpService};
use overheard::pipeline::{RunSpec, run_with_store};
use overheard::store::MemoryStore;
use overheard::{Error, ErrorKind};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::direct_engine::{Scripted, response, settings};
use crate::journal::Folder;
use crate::support::{NoHttp, TestHost, answered, context, failing, spec};

type Hangs = dyn Fn(&str, usize) -> bool + Send + Sync;

/// Answers like OpenAI; what `hangs` says so is accepted (and charged) and never answered.
struct Provider {
    hangs: Box<Hangs>,
    accepted: Mutex<Vec<String>>,
    fails: AtomicUsize,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Provider")
    }
}

impl Provider {
    fn new(hangs: impl Fn(&str, usize) -> bool + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { hangs: Box::new(hangs), accepted: Mutex::default(), fails: AtomicUsize::new(0) })
    }

    fn accepted(&self) -> usize {
        self.accepted.lock().unwrap().len()
    }
}

impl HttpService for Provider {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, Error>> {
        Box::pin(async move {
            if self.fails.load(Ordering::Relaxed) > 0 {
                self.fails.fetch_sub(1, Ordering::Relaxed);
                return Err(Error::new(ErrorKind::NotSent, "no connection"));
            }
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let structured = body.pointer("/text/format/type").and_then(Value::as_str) == Some("json_schema");
            let what = if structured { "extraction" } else { "answer" };
            let number = {
                let mut accepted = self.accepted.lock().unwrap();
                accepted.push(what.to_owned());
                accepted.iter().filter(|other| *other == what).count()
            };
            if (self.hangs)(what, number) {
                std::future::pending::<()>().await;
            }
            let mut reply = response();
            if structured {
                let text = structured_answer(&body);
                reply["output"][0]["content"][0]["text"] = json!(text.to_string());
            }
            Ok(HttpResponse { status: 200, headers: HeaderMap::new(), body: Bytes::from(reply.to_string()) })
        })
    }
}

/// An instance of the request's own schema: empty lists, false, null.
fn structured_answer(body: &Value) -> Value {
    let properties = body.pointer("/text/format/schema/properties").and_then(Value::as_object).unwrap();
    let empty = |schema: &Value| match schema["type"].as_str() {
        Some("array") => json!([]),
        Some("boolean") => json!(false),
        Some("integer" | "number") => json!(0),
        Some("string") => json!(schema["enum"][0].as_str().unwrap_or("")),
        _ => Value::Null,
    };
    properties.iter().map(|(name, schema)| (name.clone(), empty(schema))).collect()
}

fn gpt(folder: &Folder, questions: usize, change: impl FnOnce(&mut Value)) -> RunSpec {
    spec(questions, |spec| {
        spec["models"] = json!([{"model": "gpt-4.1", "run_id": "run-gpt"}]);
        spec["locations"] = json!([{"country": "US"}]);
        spec["custom_providers"] = json!([]);
        spec["settings"] = settings();
        spec["settings"]["journal"] = json!(folder.0);
        change(spec);
    })
}

/// A start that is dropped after `seconds`: as a killed process, it books nothing more.
async fn killed(provider: &Arc<Provider>, spec: RunSpec, store: &Arc<MemoryStore>, seconds: u64) {
    let host = TestHost::new(|_, _| panic!("no custom provider here"));
    let start = run_with_store(context(provider.clone()), spec, host.host.clone(), store.clone(), CancellationToken::new());
    let ended = tokio::time::timeout(Duration::from_secs(seconds), start).await;
    assert!(ended.is_err(), "it was to be killed before its end: {ended:?}");
    tokio::time::sleep(Duration::from_millis(1)).await; // its tasks are dropped, and with them its journal's lock
}

async fn run(provider: &Arc<Provider>, spec: RunSpec, store: &Arc<MemoryStore>) -> Summary {
    let host = TestHost::new(|_, _| panic!("no custom provider here"));
    run_with_store(context(provider.clone()), spec, host.host.clone(), store.clone(), CancellationToken::new()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_call_in_flight_at_the_kill_is_maybe_charged_once_and_asked_again() {
    let (folder, store) = (Folder::new(), Arc::<MemoryStore>::default());
    let provider = Provider::new(|_, number| number == 2);
    killed(&provider, gpt(&folder, 3, |_| {}), &store, 60).await;
    assert_eq!(provider.accepted(), 3);
    let summary = run(&provider, gpt(&folder, 3, |_| {}), &store).await;
    assert_eq!((provider.accepted(), summary.answered, summary.status.as_str()), (4, 3, "complete"));
    let maybe: Vec<i64> = store.runs("batch").iter().map(|run| run.outcome.maybe_charged_micro_usd.0).collect();
    let expected = summary.maybe_charged_micro_usd;
    assert!(expected > 0);
    assert_eq!(maybe.iter().filter(|maybe| **maybe == expected).count(), 1, "{maybe:?}");
    assert_eq!(maybe.iter().filter(|maybe| **maybe == 0).count(), 2, "{maybe:?}");
    assert_eq!(folder.journals(), 0, "nothing is open");
}

#[tokio::test(start_paused = true)]
async fn every_kill_adds_one_entry_and_none_is_counted_twice() {
    let (folder, store) = (Folder::new(), Arc::<MemoryStore>::default());
    let provider = Provider::new(|_, number| number <= 3);
    for _ in 0..3 {
        killed(&provider, gpt(&folder, 1, |_| {}), &store, 60).await;
    }
    let summary = run(&provider, gpt(&folder, 1, |_| {}), &store).await;
    let once = {
        let (folder, store) = (Folder::new(), Arc::<MemoryStore>::default());
        let provider = Provider::new(|_, number| number == 1);
        killed(&provider, gpt(&folder, 1, |_| {}), &store, 60).await;
        run(&provider, gpt(&folder, 1, |_| {}), &store).await.maybe_charged_micro_usd
    };
    assert_eq!(summary.maybe_charged_micro_usd, 3 * once);
    let again = run(&provider, gpt(&folder, 1, |_| {}), &store).await;
    assert_eq!(
        (again.maybe_charged_micro_usd, again.requests_made),
        (3 * once, 0),
        "a start of a complete batch changes nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn a_start_that_only_extracts_leaves_what_asked_a_failed_row_again() {
    let (folder, store) = (Folder::new(), Arc::<MemoryStore>::default());
    let again = |spec: &mut Value| spec["retry_failed"] = json!(true);
    let down = Scripted::new(|_, _, _| Ok((500, json!({"error": {"message": "The server had an error"}}))));
    let failed = {
        let host = TestHost::new(|_, _| panic!("no custom provider here"));
        let spec = gpt(&folder, 1, |_| {});
        run_with_store(context(down), spec, host.host.clone(), store.clone(), CancellationToken::new()).await.unwrap()
    };
    assert!(failed.failed == 1 && failed.maybe_charged_micro_usd > 0, "{failed:?}");
    let provider = Provider::new(|_, number| number == 1);
    killed(&provider, gpt(&folder, 1, again), &store, 60).await;
    let extracted = run(&provider, gpt(&folder, 1, |spec| spec["phase"] = json!("extract")), &store).await;
    let summary = run(&provider, gpt(&folder, 1, again), &store).await;
    let once = {
        let (folder, store) = (Folder::new(), Arc::<MemoryStore>::default());
        let provider = Provider::new(|_, number| number == 1);
        killed(&provider, gpt(&folder, 1, |_| {}), &store, 60).await;
        run(&provider, gpt(&folder, 1, |_| {}), &store).await.maybe_charged_micro_usd
    };
    assert!(once > 0);
    let expected = failed.maybe_charged_micro_usd + once;
    assert_eq!((extracted.answered, extracted.maybe_charged_micro_usd), (0, expected), "it stays on the books");
    assert_eq!((summary.answered, summary.maybe_charged_micro_usd), (1, expected));
    assert_eq!(folder.journals(), 0, "nothing is open");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_certainly_not_sent_leaves_nothing_behind() {
    let (folder, store) = (Folder::new(), Arc::<MemoryStore>::default());
    let provider = Provider::new(|_, _| false);
    provider.fails.store(1_000, Ordering::Relaxed);
    let summary = run(&provider, gpt(&folder, 1, |_| {}), &store).await;
    assert_eq!((summary.answered, summary.maybe_charged_micro_usd), (0, 0));
    provider.fails.store(0, Ordering::Relaxed);
    let summary = run(&provider, gpt(&folder, 1, |spec| spec["retry_failed"] = json!(true)), &store).await;
    assert_eq!((summary.answered, summary.maybe_charged_micro_usd), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_extraction_in_flight_at_the_kill_is_maybe_charged_once() {
    let (folder, store) = (Folder::new(), Arc::<MemoryStore>::default());
    let llm = |spec: &mut Value| spec["extraction"] = json!("llm");
    // The first structured call is for the name variations; all of the extraction hang, in two starts.
    let provider = Provider::new(|what, number| what == "extraction" && number > 1);
    for calls in [2, 4] {
        killed(&provider, gpt(&folder, 1, llm), &store, 60).await;
        let extraction = provider.accepted.lock().unwrap().iter().filter(|what| *what == "extraction").count() - 1;
        assert_eq!(extraction, calls, "competitors and evaluation, asked in each start; the names are asked once");
    }
    let calm = Provider::new(|_, _| false);
    let summary = run(&calm, gpt(&folder, 1, llm), &store).await;
    let maybe: Vec<i64> = store.extractions("batch").iter().map(|extraction| extraction.maybe_charged_micro_usd.0).collect();
    assert_eq!(maybe, [summary.maybe_charged_micro_usd]);
    assert_eq!((summary.evaluations, summary.processing_errors.len()), (1, 0), "{summary:?}");
    // Two starts lost the same two calls: twice what one loses.
    let once = {
        let (folder, store) = (Folder::new(), Arc::<MemoryStore>::default());
        let provider = Provider::new(|what, number| what == "extraction" && number > 1);
        killed(&provider, gpt(&folder, 1, llm), &store, 60).await;
        run(&calm, gpt(&folder, 1, llm), &store).await.maybe_charged_micro_usd
    };
    assert!(once > 0);
    assert_eq!(summary.maybe_charged_micro_usd, 2 * once);
    assert_eq!(folder.journals(), 0, "nothing is open");
}

// --- the user's own provider ---

/// A host whose provider is asked (and charges) and never answers.
#[derive(Clone, Default)]
struct Deaf(Arc<AtomicUsize>);

impl HostPort for Deaf {
    fn push(&self, event: Event) {
        if let Event::Call(_, HostCall::Ask { asks, .. }) = event {
            self.0.fetch_add(asks.len(), Ordering::Relaxed);
        }
    }
}

fn own(folder: &Folder) -> RunSpec {
    spec(3, |spec| {
        spec["locations"] = json!([{"country": "US"}]);
        spec["settings"] = json!({"journal": folder.0});
    })
}

/// A start on the user's own provider that is killed after `duration`.
async fn own_killed(folder: &Folder, host: &Host, store: &Arc<MemoryStore>, duration: Duration) {
    let start = run_with_store(context(Arc::new(NoHttp)), own(folder), host.clone(), store.clone(), CancellationToken::new());
    assert!(tokio::time::timeout(duration, start).await.is_err(), "it was to be killed before its end");
    tokio::time::sleep(Duration::from_millis(1)).await; // its tasks are dropped, and with them its journal's lock
}

async fn own_answered(folder: &Folder, store: &Arc<MemoryStore>) -> Summary {
    let host = TestHost::new(|_, asks| Ok(asks.iter().map(|_| answered("Acme")).collect()));
    let start =
        run_with_store(context(Arc::new(NoHttp)), own(folder), host.host.clone(), store.clone(), CancellationToken::new());
    let summary = start.await.unwrap();
    assert_eq!((summary.answered, summary.total_cost_micro_usd, folder.journals()), (3, 3_000, 0), "nothing is open");
    summary
}

#[tokio::test(start_paused = true)]
async fn a_call_of_the_users_own_provider_in_flight_at_the_kill_is_maybe_charged() {
    let (folder, store, asked) = (Folder::new(), Arc::<MemoryStore>::default(), Deaf::default());
    let deaf = Host::new(Arc::new(asked.clone()), Duration::from_secs(30));
    for _ in 0..2 {
        own_killed(&folder, &deaf, &store, Duration::from_secs(20)).await;
    }
    assert_eq!(asked.0.load(Ordering::Relaxed), 6);
    let summary = own_answered(&folder, &store).await;
    assert_eq!(summary.maybe_charged_micro_usd, 6_000);
    let maybe: Vec<i64> = store.runs("batch").iter().map(|run| run.outcome.maybe_charged_micro_usd.0).collect();
    assert_eq!(maybe, [2_000; 3]);
}

#[tokio::test(start_paused = true)]
async fn what_the_users_own_provider_said_it_cost_is_not_maybe_charged() {
    for raises in [false, true] {
        let (folder, store) = (Folder::new(), Arc::<MemoryStore>::default());
        let host = TestHost::new(move |_, asks| {
            let raised = Error::new(ErrorKind::Host, "ask raised").with(|context| context.host_call = Some(1));
            if raises { Err(raised) } else { Ok(asks.iter().map(|_| failing(ErrorKind::Overloaded)).collect()) }
        });
        own_killed(&folder, &host.host, &store, Duration::from_millis(5)).await; // while it waits for the next try
        assert_eq!(host.calls.load(Ordering::Relaxed), 1);
        assert_eq!(own_answered(&folder, &store).await.maybe_charged_micro_usd, 0);
    }
}
