//! Extraction by native batch where it is large, where something changed between two starts, and where the provider says no.

use std::sync::Arc;
use std::time::Duration;

use overheard::config::{Secret, Timeouts};
use overheard::domain::{Extraction, MicroUsd};
use overheard::extract::Extractor;
use overheard::http::{HttpRequest, HttpService, ReqwestService};
use overheard::pipeline::{RunSpec, run_with_store};
use overheard::simulator::Running;
use overheard::store::{MemoryStore, Store};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::extract_batch::{
    ANSWERS, MODELS, Wire, answer, assert_whole, assert_whole_of, batch, batch_of, batches, charged, context, extractions,
    killed, simulator, start,
};
use crate::journal::Folder;
use crate::support::TestHost;

fn is_create(request: &str) -> bool {
    request.starts_with("POST ") && (request.ends_with("/v1/batches") || request.ends_with("/v1/messages/batches"))
}

fn is_download(request: &str) -> bool {
    request.ends_with("/content") || request.ends_with("/results")
}

/// Most batches that were made and not yet downloaded.
fn most_open(requests: &[String]) -> i64 {
    let (mut open, mut most) = (0, 0);
    for request in requests {
        open += i64::from(is_create(request)) - i64::from(is_download(request));
        most = most.max(open);
    }
    most
}

/// Stops a start when its batch is made and leaves it at the provider.
async fn stopped(store: &Arc<MemoryStore>, spec: RunSpec) {
    let host = TestHost::new(|_, asks| Ok(asks.iter().map(|ask| answer(&ask.key)).collect()));
    let stop = CancellationToken::new();
    // Boxed: in a build without optimisation it is too large for a test's stack.
    let work = Box::pin(run_with_store(context(Wire::new(None)), spec, host.host.clone(), store.clone(), stop.clone()));
    let stopping = async {
        while !host.log().contains("is made") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
    };
    let (summary, ()) = tokio::join!(work, stopping);
    summary.unwrap();
}

/// The ids of the provider's batches.
async fn ids(running: &Running, path: &str) -> Vec<String> {
    let reply = called(HttpRequest::get(format!("{}/{path}?limit=100", running.url()), Duration::from_secs(5), 1 << 20)).await;
    reply["data"].as_array().unwrap().iter().map(|batch| batch["id"].as_str().unwrap().to_owned()).collect()
}

async fn called(request: HttpRequest) -> Value {
    let request = request.with_secret(http::header::AUTHORIZATION, "Bearer sk-simulated", "KEY").unwrap();
    let reply = ReqwestService::new(&Timeouts::default(), &Secret::default()).unwrap().send(request).await.unwrap();
    assert!(reply.is_success(), "{}", String::from_utf8_lossy(&reply.body));
    serde_json::from_slice(&reply.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_answers_are_a_handful_of_calls() {
    for model in MODELS {
        let (running, folder) = (simulator(|config| config.snapshot_ms = 50), Folder::new());
        let store = Arc::new(MemoryStore::default());
        let started = start(&store, batch_of(300, &running, model, "llm-batch", &folder.0, |_| {})).await;
        assert_whole_of(300, &running, &store, &started.summary);
        // By the provider's own log: names, upload, create, polls, results; a poll is 5 ms or 5 % of the age apart.
        let ledger = running.ledger(false);
        let replies = ledger["replies"].as_object().unwrap();
        let count = |what: &str| -> u64 {
            let of = replies.iter().filter(|(endpoint, _)| endpoint.contains(what));
            of.flat_map(|(_, by_status)| by_status.as_object().unwrap().values()).map(|count| count.as_u64().unwrap()).sum()
        };
        let all = count("");
        assert!(all < 60, "{all} calls: {ledger}");
        assert_eq!(started.requests.iter().filter(|request| is_create(request)).count(), 1, "{ledger}");
        let posts = started.requests.iter().filter(|request| request.starts_with("POST ")).count();
        assert!(posts <= 3, "names, upload, create: {:?}", started.requests);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_answers_than_fit_a_batch_make_two() {
    let (running, folder) = (simulator(|_| {}), Folder::new());
    let store = Arc::new(MemoryStore::default());
    let started = start(&store, batch_of(1_100, &running, MODELS[0], "llm-batch", &folder.0, |_| {})).await;
    assert_whole_of(1_100, &running, &store, &started.summary);
    assert_eq!(batches(&running, MODELS[0]).await, 2);
    for size in ["about 1000 answers", "about 100 answers"] {
        assert!(started.log.contains(size), "{}", started.log);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_room_is_read_again_and_no_more_batches_are_open_than_allowed() {
    for model in MODELS {
        let (running, folder) = (simulator(|config| config.snapshot_ms = 30), Folder::new());
        let store = Arc::new(MemoryStore::default());
        let spec = batch_of(90, &running, model, "llm-batch", &folder.0, |spec| {
            spec["settings"]["extraction_batch_answers"] = json!(5);
            spec["settings"]["extraction_batches_open"] = json!(2);
        });
        let started = start(&store, spec).await;
        let failed = extractions(&store).values().filter(|row| row.error.is_some()).count();
        assert_eq!(failed, 0, "{}", started.log);
        assert_whole_of(90, &running, &store, &started.summary);
        assert_eq!(started.summary.maybe_charged_micro_usd, 0);
        assert_eq!(batches(&running, model).await, 18, "{}", started.log);
        assert_eq!(most_open(&started.requests), 2, "{:?}", started.requests);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_enqueued_halves_the_batch_until_it_fits() {
    let (running, folder) = (simulator(|_| {}), Folder::new());
    running.inject(&json!({"match": {"endpoint": "openai.batches"}, "fault": "batch_failed"})).unwrap();
    let store = Arc::new(MemoryStore::default());
    let started = start(&store, batch(&running, MODELS[0], "llm-batch", &folder.0, |_| {})).await;
    assert_whole(&running, &store, &started.summary);
    assert_eq!(started.summary.maybe_charged_micro_usd, 0);
    for (size, times) in [(12, 1), (6, 2)] {
        let made = started.log.matches(&format!("about {size} answers")).count();
        assert_eq!(made, times, "{size}: {}", started.log);
    }

    // For good: every size down to one is refused, which ends, and the next start asks again.
    let (running, folder) = (simulator(|_| {}), Folder::new());
    running.inject(&json!({"match": {"endpoint": "openai.batches"}, "fault": "batch_failed", "times": null})).unwrap();
    let store = Arc::new(MemoryStore::default());
    let of = || batch_of(4, &running, MODELS[0], "llm-batch", &folder.0, |_| {});
    let refused = start(&store, of()).await;
    let failed = extractions(&store);
    assert!(failed.len() == 4 && failed.values().all(|row| row.error.is_some()), "{failed:?}");
    assert!(failed.values().all(|row| row.error.as_ref().unwrap().message.contains("token_limit_exceeded")));
    assert_eq!(charged(&running).0 + refused.summary.maybe_charged_micro_usd, 0);
    for size in [4, 2, 1] {
        assert!(refused.log.contains(&format!("about {size} answers")), "{size}: {}", refused.log);
    }
    running.clear_faults();
    assert_whole_of(4, &running, &store, &start(&store, of()).await.summary);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_enqueued_waits_while_another_batch_of_ours_is_in_flight() {
    let (running, folder) = (simulator(|config| config.snapshot_ms = 100), Folder::new());
    running.inject(&json!({"match": {"endpoint": "openai.batches", "nth": 2}, "fault": "batch_failed"})).unwrap();
    let store = Arc::new(MemoryStore::default());
    let spec = batch(&running, MODELS[0], "llm-batch", &folder.0, |spec| spec["settings"]["extraction_batch_answers"] = json!(6));
    let started = start(&store, spec).await;
    assert_whole(&running, &store, &started.summary);
    assert_eq!(started.log.matches("about 6 answers").count(), 3, "made again as large as it was: {}", started.log);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_unknown_decides_about_a_lost_batch() {
    for model in MODELS {
        let endpoint = if model.starts_with("claude") { "anthropic.batches" } else { "openai.batches" };
        let lost = json!({"match": {"endpoint": endpoint}, "fault": "charge_then_close"});
        let (running, folder) = (simulator(|_| {}), Folder::new());
        let of = |on_unknown: &'static str| {
            batch(&running, model, "llm-batch", &folder.0, move |spec| spec["settings"]["on_unknown"] = json!(on_unknown))
        };
        running.inject(&lost).unwrap();
        let store = Arc::new(MemoryStore::default());
        let held = start(&store, of("hold")).await;
        assert!(extractions(&store).is_empty() && held.log.contains("it is held, not bought again"), "{}", held.log);
        assert!(held.summary.maybe_charged_micro_usd > 0);
        assert_eq!(batches(&running, model).await, 1);
        // A later start that may look finds it.
        let found = start(&store, of("reconcile")).await;
        assert_whole(&running, &store, &found.summary);
        assert_eq!((batches(&running, model).await, found.summary.maybe_charged_micro_usd), (1, 0), "{}", found.log);

        let (running, folder) = (simulator(|_| {}), Folder::new());
        running.inject(&lost).unwrap();
        let store = Arc::new(MemoryStore::default());
        let spec = batch(&running, model, "llm-batch", &folder.0, |spec| spec["settings"]["on_unknown"] = json!("retrigger"));
        let again = start(&store, spec).await;
        let rows = extractions(&store);
        assert!(rows.len() == ANSWERS && rows.values().all(|row| row.error.is_none()));
        assert_eq!(batches(&running, model).await, 2, "{}", again.log);
        // The lost one may be on the bill: as much is booked as the other cost, within what an estimate can tell.
        let (twice, names) = charged(&running);
        let maybe = again.summary.maybe_charged_micro_usd;
        assert_eq!(again.summary.total_cost_micro_usd, twice / 2 + names + ANSWERS as i64 * 1_000, "the same batch twice");
        assert!(maybe > 0 && again.log.contains("may be lost"), "{maybe}: {}", again.log);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_extraction_model_fetches_what_the_former_one_was_asked() {
    for (former, later) in [(MODELS[0], MODELS[1]), (MODELS[1], MODELS[0])] {
        let results = if former.starts_with("claude") { "/results" } else { "/content" };
        let (running, folder) = (simulator(|config| config.snapshot_ms = 40), Folder::new());
        let store = Arc::new(MemoryStore::default());
        killed(&store, batch(&running, former, "llm-batch", &folder.0, |_| {}), ("GET", results, true)).await;
        let started = start(&store, batch(&running, later, "llm-batch", &folder.0, |_| {})).await;
        assert_whole(&running, &store, &started.summary);
        assert_eq!((batches(&running, former).await, batches(&running, later).await), (1, 0), "{}", started.log);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cancelled_batch_has_done_is_used_and_the_rest_asked_again() {
    for model in MODELS {
        let path = if model.starts_with("claude") { "v1/messages/batches" } else { "v1/batches" };
        let (running, folder) = (simulator(|config| config.snapshot_ms = 600), Folder::new());
        let store = Arc::new(MemoryStore::default());
        let of = || batch(&running, model, "llm-batch", &folder.0, |_| {});
        stopped(&store, of()).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let id = ids(&running, path).await.pop().unwrap();
        let cancel = HttpRequest::post(format!("{}/{path}/{id}/cancel", running.url()), "", Duration::from_secs(5), 1 << 20);
        called(cancel).await;
        let started = start(&store, of()).await;
        assert_whole(&running, &store, &started.summary);
        assert_eq!((batches(&running, model).await, started.summary.maybe_charged_micro_usd), (2, 0), "{}", started.log);
        assert!(started.log.contains("answers have requests that were not run: asked again"), "{}", started.log);
        assert!(!started.log.contains("12 answers have requests that were not run"), "some were run: {}", started.log);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_batch_was_paid_for_is_booked_when_nobody_needs_it_any_more() {
    for model in MODELS {
        let results = if model.starts_with("claude") { "/results" } else { "/content" };
        let (running, folder) = (simulator(|_| {}), Folder::new());
        let store = Arc::new(MemoryStore::default());
        killed(&store, batch(&running, model, "llm-batch", &folder.0, |_| {}), ("GET", results, true)).await;
        // The org has another name now: no answer speaks of it, so nobody would ask about it.
        let renamed = batch(&running, model, "llm-batch", &folder.0, |spec| {
            spec["org"]["name"] = json!("Zyxomat");
            spec["org"]["websites"] = json!(["https://zyxomat.example"]);
        });
        let started = start(&store, renamed).await;
        assert!(extractions(&store).values().all(|row| !row.evaluation.mentioned));
        assert_whole(&running, &store, &started.summary);
        assert_eq!(batches(&running, model).await, 1, "{}", started.log);
    }
}

/// Extracts the first answers another way, as `rescore` does.
async fn extract_locally(store: &MemoryStore, spec: &RunSpec, count: usize) {
    let extractor = Extractor::new(&spec.org, &[]);
    let runs = store.runs("batch");
    let rows: Vec<Arc<Extraction>> = runs.iter().take(count).map(|run| Arc::new(extractor.local(run, 1))).collect();
    store.save_extractions(rows).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_were_extracted_meanwhile_leave_their_charge_to_the_model_run() {
    for model in MODELS {
        let (running, folder) = (simulator(|config| config.snapshot_ms = 300), Folder::new());
        let of = || batch(&running, model, "llm-batch", &folder.0, |_| {});
        let store = Arc::new(MemoryStore::default());
        stopped(&store, of()).await;
        extract_locally(&store, &of(), 5).await;
        let started = start(&store, of()).await;
        assert_whole(&running, &store, &started.summary);
        assert_eq!((batches(&running, model).await, started.summary.maybe_charged_micro_usd), (1, 0), "{}", started.log);
        let free = extractions(&store).values().filter(|row| row.cost_micro_usd == Some(MicroUsd::ZERO)).count();
        assert_eq!(free, 5, "they stay what they were");

        // All of them: nobody waits for the batch, and what it may have cost is said.
        let (running, folder) = (simulator(|config| config.snapshot_ms = 60_000), Folder::new());
        let of = || batch(&running, model, "llm-batch", &folder.0, |_| {});
        let store = Arc::new(MemoryStore::default());
        stopped(&store, of()).await;
        extract_locally(&store, &of(), ANSWERS).await;
        let started = start(&store, of()).await;
        assert!(started.summary.maybe_charged_micro_usd > 0);
        let again = start(&store, of()).await;
        assert_eq!((again.sent, again.summary.maybe_charged_micro_usd), (0, started.summary.maybe_charged_micro_usd));
        assert_eq!(batches(&running, model).await, 1);
    }
}
