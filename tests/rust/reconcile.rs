//! A trigger whose reply was lost: looked for in the provider's list, adopted by its inputs, bought again only when it is certainly not
//! there. Paused time, so that the grace of 120 s costs nothing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use overheard::clock::ManualClock;
use overheard::domain::Summary;
use overheard::http::{BoxFuture, HttpRequest, HttpResponse, HttpService};
use overheard::pipeline::{Context, run_with_store};
use overheard::store::MemoryStore;
use overheard::{Error, ErrorKind};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::brightdata_engine::{BrightData, chatgpt, run, silent};
use crate::journal::Folder;
use crate::support::{Ticking, context};

fn losing_the_first(seconds: u64) -> BrightData {
    BrightData { loses: vec![0], ..BrightData::plain(seconds, |_, _, _| None) }
}

fn store() -> Arc<MemoryStore> {
    Arc::default()
}

fn facts(provider: &BrightData, summary: &Summary) -> (usize, usize, u64, i64, i64) {
    let money = (summary.total_cost_micro_usd, summary.maybe_charged_micro_usd);
    (provider.count("trigger"), provider.charged(), summary.answered, money.0, money.1)
}

#[tokio::test(start_paused = true)]
async fn gotcha_33_a_trigger_whose_reply_is_lost_is_adopted_and_not_sent_again() {
    let provider = Arc::new(losing_the_first(30));
    let (summary, log) = run(&provider, chatgpt(20, |_| {}), &store()).await;
    assert_eq!(facts(&provider, &summary), (1, 20, 20, 30_000, 0));
    assert!(log.contains("is the lost submission of 20 questions: adopted"), "{log}");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_lags_is_looked_at_again() {
    let provider = Arc::new(BrightData { lag: Duration::from_secs(100), ..losing_the_first(30) });
    let (summary, _) = run(&provider, chatgpt(20, |_| {}), &store()).await;
    assert_eq!(facts(&provider, &summary), (1, 20, 20, 30_000, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_in_the_list_after_the_grace_is_bought_again_and_not_before() {
    let never_arrived = Arc::new(BrightData::plain(30, |endpoint, number, _| {
        (endpoint == "trigger" && number == 0).then(|| Err(Error::new(ErrorKind::OutcomeUnknown, "the connection broke")))
    }));
    let (summary, log) = run(&never_arrived, chatgpt(20, |_| {}), &store()).await;
    assert_eq!(facts(&never_arrived, &summary), (2, 20, 20, 30_000, 0), "{log}");
    let triggers = never_arrived.times("trigger");
    assert!(triggers[1] - triggers[0] >= Duration::from_secs(120), "{:?}", triggers[1] - triggers[0]);
}

/// Bright Data, whose first trigger takes this long.
#[derive(Debug)]
struct SlowToBegin(Arc<BrightData>, Duration);

impl HttpService for SlowToBegin {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, Error>> {
        Box::pin(async move {
            if request.url.contains("/trigger") && self.0.count("trigger") == 0 {
                tokio::time::sleep(self.1).await;
            }
            self.0.send(request).await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn the_grace_counts_from_the_trigger_and_not_from_when_it_began_to_wait_for_its_turn() {
    let lag = Duration::from_secs(60);
    let provider = Arc::new(BrightData { loses: vec![1], lag, ..BrightData::plain(30, |_, _, _| None) });
    let spec = chatgpt(40, |spec| spec["settings"]["brightdata"]["max_triggers"] = json!(1));
    let slow = Arc::new(SlowToBegin(provider.clone(), Duration::from_secs(130)));
    let (host, context) = (silent(), Context { clock: Arc::new(Ticking::new()), ..context(slow) });
    let summary = run_with_store(context, spec, host.host.clone(), store(), CancellationToken::new()).await.unwrap();
    assert_eq!(facts(&provider, &summary), (2, 40, 40, 60_000, 0), "{}", host.log());
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_never_takes_it_is_not_asked_for_ever() {
    let broken = Arc::new(BrightData::plain(30, |endpoint, _, _| {
        (endpoint == "trigger").then(|| Err(Error::new(ErrorKind::OutcomeUnknown, "the connection broke")))
    }));
    let (summary, _) = run(&broken, chatgpt(20, |_| {}), &store()).await;
    assert_eq!((facts(&broken, &summary), summary.status.as_str()), ((2, 0, 0, 0, 0), "partial"));
}

#[tokio::test(start_paused = true)]
async fn two_that_match_are_the_oldest_adopted_and_the_other_on_the_books() {
    let sent: Arc<Mutex<Vec<Value>>> = Arc::default();
    let seen = sent.clone();
    let provider = Arc::new(BrightData {
        loses: vec![0],
        lag: Duration::from_secs(20),
        ..BrightData::plain(60, move |endpoint, _, inputs| {
            if endpoint == "trigger" {
                *seen.lock().unwrap() = inputs.to_vec();
            }
            None
        })
    });
    let twin = {
        let (provider, sent) = (provider.clone(), sent.clone());
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let inputs = sent.lock().unwrap().clone();
            provider.foreign(inputs)
        }
    };
    let store = store();
    let ((summary, log), twin) = tokio::join!(run(&provider, chatgpt(20, |_| {}), &store), twin);
    assert_eq!(facts(&provider, &summary), (1, 20, 20, 30_000, 30_000), "{log}");
    assert!(log.contains(&format!("{twin} is the duplicate")), "{log}");
}

#[tokio::test(start_paused = true)]
async fn the_same_questions_in_another_order_are_somebody_elses() {
    let sent: Arc<Mutex<Vec<Value>>> = Arc::default();
    let seen = sent.clone();
    let provider = Arc::new(BrightData::plain(30, move |endpoint, number, inputs| {
        (endpoint == "trigger" && number == 0).then(|| {
            *seen.lock().unwrap() = inputs.to_vec();
            Err(Error::new(ErrorKind::OutcomeUnknown, "the connection broke"))
        })
    }));
    let other = {
        let (provider, sent) = (provider.clone(), sent.clone());
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut inputs = sent.lock().unwrap().clone();
            inputs.reverse();
            for (index, input) in inputs.iter_mut().enumerate() {
                input["index"] = json!(index + 1);
            }
            provider.foreign(inputs)
        }
    };
    let store = store();
    let ((summary, log), _) = tokio::join!(run(&provider, chatgpt(20, |_| {}), &store), other);
    assert_eq!(facts(&provider, &summary), (2, 20, 20, 30_000, 0), "{log}");
}

#[tokio::test(start_paused = true)]
async fn inputs_that_cannot_be_read_are_held_and_said() {
    let provider = Arc::new(BrightData {
        loses: vec![0],
        ..BrightData::plain(30, |endpoint, _, _| {
            (endpoint == "input").then(|| Ok((400, json!({"error": "inputs storage is expired"}))))
        })
    });
    let (summary, _) = run(&provider, chatgpt(20, |_| {}), &store()).await;
    assert_eq!((facts(&provider, &summary), summary.status.as_str()), ((1, 20, 0, 0, 30_000), "partial"));
    let message = &summary.processing_errors[0].message;
    assert!(message.contains("held, not bought again") && message.contains("inputs storage is expired"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn hold_never_looks_and_retrigger_books_the_loss() {
    for (policy, expected, lists) in [("hold", (1, 20, 0, 0, 30_000), 0), ("retrigger", (2, 40, 20, 30_000, 30_000), 0)] {
        let provider = Arc::new(losing_the_first(30));
        let spec = chatgpt(20, |spec| spec["settings"]["on_unknown"] = json!(policy));
        let (summary, log) = run(&provider, spec, &store()).await;
        assert_eq!(facts(&provider, &summary), expected, "{policy}: {log}");
        assert_eq!(provider.count("snapshots"), lists, "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_intent_of_a_start_that_died_is_adopted_by_the_next() {
    let folder = Folder::new();
    let provider = Arc::new(BrightData { lag: Duration::from_secs(40), ..losing_the_first(30) });
    let spec = || chatgpt(20, |spec| spec["settings"]["journal"] = json!(folder.0));
    let store = store();
    // Dies while it waits for the list to show the snapshot.
    {
        let host = silent();
        let start = run_with_store(context(provider.clone()), spec(), host.host.clone(), store.clone(), CancellationToken::new());
        let died = tokio::time::timeout(Duration::from_secs(20), start).await;
        assert!(died.is_err() && provider.count("trigger") == 1);
    }
    tokio::time::sleep(Duration::from_millis(1)).await; // its tasks are dropped, and with them its journal's lock
    let began = Instant::now();
    let (summary, log) = run(&provider, spec(), &store).await;
    assert_eq!(facts(&provider, &summary), (1, 20, 20, 30_000, 0), "{log}");
    assert!(log.contains("interrupted between its trigger and its snapshot id"), "{log}");
    assert!(began.elapsed() < Duration::from_secs(120), "adopted as soon as it is listed");
    assert_eq!(folder.journals(), 0, "nothing is open");
}

#[tokio::test(start_paused = true)]
async fn a_failed_row_that_is_stored_and_whose_submission_is_still_open_is_charged_once() {
    let folder = Folder::new();
    let kept: Arc<Mutex<(std::path::PathBuf, Vec<u8>)>> = Arc::default();
    let (journals, keep) = (folder.0.clone(), kept.clone());
    let provider = Arc::new(BrightData::plain(20, move |endpoint, _, _| {
        (endpoint == "snapshot").then(|| {
            let journal = Folder::journal_in(&journals);
            *keep.lock().unwrap() = (journal.clone(), std::fs::read(&journal).unwrap());
            let wall = |index| json!({"error": "Auth wall", "error_code": "AUTH_WALL", "input": {"index": index}});
            Ok((200, (1..=4).map(wall).collect()))
        })
    }));
    let spec = |retry: bool| {
        chatgpt(4, |spec| {
            spec["settings"]["journal"] = json!(folder.0);
            spec["settings"]["datasets"] = json!({"charge_error_rows": true});
            spec["retry_failed"] = json!(retry);
        })
    };
    let store = store();
    let money = |summary: &Summary| {
        let rows: Vec<i64> = store.runs("batch").iter().map(|run| run.outcome.cost_micro_usd.unwrap().0).collect();
        (summary.total_cost_micro_usd, summary.charged_failures_micro_usd, rows)
    };
    let (first, _) = run(&provider, spec(false), &store).await;
    assert_eq!(money(&first), (6_000, 6_000, vec![1_500; 4]));
    let (second, _) = run(&provider, spec(true), &store).await;
    assert_eq!(money(&second), (12_000, 12_000, vec![3_000; 4]));
    // It died when the store had the rows and the journal was not told yet: the file is as it was before.
    let (path, content) = kept.lock().unwrap().clone();
    std::fs::write(path, content).unwrap();
    let (third, log) = run(&provider, spec(false), &store).await;
    assert!(log.contains("of an interrupted start is fetched, not bought again"), "{log}");
    assert_eq!((provider.count("trigger"), provider.count("snapshot"), folder.journals()), (2, 3, 0));
    assert_eq!(money(&third), (12_000, 12_000, vec![3_000; 4]));
}

#[tokio::test(start_paused = true)]
async fn what_is_bought_is_fetched_although_the_budget_is_spent() {
    let (folder, store, provider) = (Folder::new(), store(), Arc::new(BrightData::plain(60, |_, _, _| None)));
    let spec = |change: fn(&mut Value)| {
        chatgpt(40, |spec| {
            spec["settings"]["journal"] = json!(folder.0);
            change(spec);
        })
    };
    {
        let (host, spec) = (silent(), spec(|_| {}));
        let start = run_with_store(context(provider.clone()), spec, host.host.clone(), store.clone(), CancellationToken::new());
        let died = tokio::time::timeout(Duration::from_secs(20), start).await;
        assert!(died.is_err() && provider.count("trigger") == 2);
    }
    tokio::time::sleep(Duration::from_millis(1)).await; // its tasks are dropped, and with them its journal's lock
    // The other model is too dear, which ends the budget while the second snapshot waits for the place of the first.
    let spent = spec(|spec| {
        spec["max_cost_micro_usd"] = json!(61_000);
        spec["settings"]["brightdata"]["max_in_flight"] = json!(1);
        spec["models"] = json!([{"model": "chatgpt", "run_id": "run-chatgpt"}, {"model": "dear", "run_id": "run-dear"}]);
        spec["custom_providers"] =
            json!([{"name": "dear", "max_batch_size": 1, "max_in_flight": 1, "micro_usd_per_question": 1_000_000}]);
    });
    let (summary, log) = run(&provider, spent, &store).await;
    assert_eq!(facts(&provider, &summary), (2, 40, 40, 60_000, 0), "{log}");
}

/// A store that knows leases, and the spec of a start on `host` with a journal folder of its own.
fn on_host(host: &str, folder: &Folder, questions: usize) -> overheard::pipeline::RunSpec {
    chatgpt(questions, |spec| {
        spec["owner"] = json!(format!("{host}/boot/1+1/2026-11-22T08:00:00Z_{host}"));
        spec["settings"]["journal"] = json!(folder.0);
        spec["created_at_ms"] = json!(1_700_000_000_000_i64);
    })
}

async fn started(provider: &Arc<BrightData>, spec: overheard::pipeline::RunSpec, store: &MemoryStore) -> Result<Summary, Error> {
    let host = silent();
    run_with_store(context(provider.clone()), spec, host.host.clone(), Arc::new(store.for_owner()), CancellationToken::new())
        .await
}

/// A start on host a that dies with `questions` in flight, and whose lease has ended.
async fn died_elsewhere(provider: &Arc<BrightData>, questions: usize) -> (MemoryStore, Folder) {
    let (folder, store) = (Folder::new(), MemoryStore::with_clock(Arc::new(ManualClock::new(1_700_000_000_000, 1))));
    let start = started(provider, on_host("a", &folder, questions), &store);
    assert!(tokio::time::timeout(Duration::from_secs(20), start).await.is_err(), "it was to die in flight");
    tokio::time::sleep(Duration::from_millis(1)).await;
    store.end_leases();
    (store, folder)
}

#[tokio::test(start_paused = true)]
async fn a_start_that_cannot_see_the_journal_adopts_before_it_asks() {
    let provider = Arc::new(BrightData::plain(300, |_, _, _| None));
    let (store, theirs) = died_elsewhere(&provider, 40).await;
    assert_eq!((provider.count("trigger"), provider.charged()), (2, 40));
    let ours = Folder::new();
    let summary = started(&provider, on_host("b", &ours, 40), &store).await.unwrap();
    assert_eq!(facts(&provider, &summary), (2, 40, 40, 60_000, 0), "nothing is bought a second time");
    let row = &store.model_runs("batch")[0];
    assert_eq!(row.journal_host.as_deref(), Some("b"), "what was elsewhere is found: the journal is ours from here on");
    assert_eq!((theirs.journals(), ours.journals()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_another_host_asked_without_its_country_is_adopted() {
    let provider = Arc::new(BrightData::plain(300, |endpoint, number, _| {
        (endpoint == "trigger" && number == 0).then(|| Ok((400, json!({"error": "country is not available for this scraper"}))))
    }));
    let (store, _theirs) = died_elsewhere(&provider, 4).await;
    let ours = Folder::new();
    let summary = started(&provider, on_host("b", &ours, 4), &store).await.unwrap();
    assert_eq!(facts(&provider, &summary), (2, 4, 4, 6_000, 0), "nothing is bought a second time");
    assert!(store.runs("batch").iter().all(|run| run.outcome.location_applied.is_none()), "it says that there was no country");
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_without_a_country_is_held_where_another_locations_rows_may_be_from_it() {
    let provider = Arc::new(BrightData::plain(30, |_, _, _| None));
    let (theirs, ours, store) = (Folder::new(), Folder::new(), MemoryStore::default());
    started(&provider, on_host("a", &theirs, 4), &store).await.unwrap();
    provider.foreign((1..=4).map(|number| json!({"prompt": format!("Question {number}?"), "index": number})).collect());
    let mut spec = on_host("b", &ours, 4);
    spec.locations = serde_json::from_value(json!([{"country": "US"}, {"country": "DE"}])).unwrap();
    let summary = started(&provider, spec, &store).await.unwrap();
    assert_eq!((summary.answered, summary.status.as_str(), provider.count("trigger")), (4, "partial", 1));
    let held = summary.processing_errors.iter().any(|error| error.message.contains("4 questions are held"));
    assert!(held, "{:?}", summary.processing_errors);
}

#[tokio::test(start_paused = true)]
async fn what_another_host_bought_for_some_of_them_is_held_and_looked_for_again() {
    let provider = Arc::new(BrightData::plain(300, |_, _, _| None));
    let (store, _theirs) = died_elsewhere(&provider, 20).await;
    provider.foreign(vec![
        json!({"prompt": "Question 21?", "country": "US", "index": 1}),
        json!({"prompt": "What else?", "index": 2}),
    ]);
    let ours = Folder::new();
    let summary = started(&provider, on_host("b", &ours, 22), &store).await.unwrap();
    assert_eq!((summary.answered, summary.status.as_str(), provider.count("trigger")), (21, "partial", 2));
    let held = summary.processing_errors.iter().any(|error| error.message.contains("1 questions are held"));
    assert!(held, "{:?}", summary.processing_errors);
    assert_eq!(store.model_runs("batch")[0].journal_host.as_deref(), Some("a"), "a later start looks again");
}
