//! The engine against a scripted Bright Data behind the transport seam, with paused time: chunks, polls, downloads, refused
//! inputs, lost triggers, interrupted snapshots. Gotcha numbers are those of the wire-format notes, section 6.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use overheard::domain::{RunStatus, Summary};
use overheard::http::{BoxFuture, HttpRequest, HttpResponse, HttpService};
use overheard::pipeline::{AskSpec, RunSpec, ask, run_with_store};
use overheard::store::MemoryStore;
use overheard::{Error, ErrorKind};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::journal::{Folder, wait_for_lock};
use crate::support::{TestHost, context, spec};

/// What the provider does with a call, if not the usual.
pub type Script = dyn Fn(&str, usize, &[Value]) -> Option<Result<(u16, Value), Error>> + Send + Sync;

pub struct BrightData {
    pub takes: Duration,
    pub script: Box<Script>,
    /// Numbers of the triggers whose reply is lost after the work was accepted.
    pub loses: Vec<usize>,
    /// How long the list does not have a new snapshot.
    pub lag: Duration,
    pub state: Mutex<State>,
}

#[derive(Default)]
pub struct State {
    snapshots: BTreeMap<String, (Vec<Value>, Instant)>,
    calls: Vec<(String, Instant)>,
    charged: usize,
}

impl std::fmt::Debug for BrightData {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("BrightData")
    }
}

impl BrightData {
    /// Snapshots take `seconds`. `script(endpoint, number of the call at it, inputs)` may answer in its place.
    fn new(
        seconds: u64,
        script: impl Fn(&str, usize, &[Value]) -> Option<Result<(u16, Value), Error>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self::plain(seconds, script))
    }

    pub fn plain(
        seconds: u64,
        script: impl Fn(&str, usize, &[Value]) -> Option<Result<(u16, Value), Error>> + Send + Sync + 'static,
    ) -> Self {
        let (script, state): (Box<Script>, _) = (Box::new(script), Mutex::default());
        Self { takes: Duration::from_secs(seconds), script, loses: Vec::new(), lag: Duration::ZERO, state }
    }

    /// Somebody else's job with these inputs, made now.
    pub fn foreign(&self, inputs: Vec<Value>) -> String {
        let mut state = self.state.lock().unwrap();
        let id = format!("s_{}", state.snapshots.len() + 1);
        state.snapshots.insert(id.clone(), (inputs, Instant::now() + self.takes));
        id
    }

    fn usual(seconds: u64) -> Arc<Self> {
        Self::new(seconds, |_, _, _| None)
    }

    pub fn count(&self, endpoint: &str) -> usize {
        self.state.lock().unwrap().calls.iter().filter(|(name, _)| name == endpoint).count()
    }

    pub fn times(&self, endpoint: &str) -> Vec<Instant> {
        self.state.lock().unwrap().calls.iter().filter(|(name, _)| name == endpoint).map(|(_, at)| *at).collect()
    }

    pub fn charged(&self) -> usize {
        self.state.lock().unwrap().charged
    }

    fn answer(&self, request: &HttpRequest) -> Result<(u16, Value), Error> {
        let path = request.url.split('?').next().unwrap().split("/datasets/v3/").nth(1).unwrap().to_owned();
        let (endpoint, id) = path.split_once('/').unwrap_or((&path, ""));
        let (endpoint, id) = id.strip_suffix("/input").map_or((endpoint, id), |id| ("input", id));
        let inputs: Vec<Value> = serde_json::from_slice(&request.body).unwrap_or_default();
        let number = self.count(endpoint);
        let now = Instant::now();
        self.state.lock().unwrap().calls.push((endpoint.to_owned(), now));
        if let Some(answer) = (self.script)(endpoint, number, &inputs) {
            return answer;
        }
        let mut state = self.state.lock().unwrap();
        match endpoint {
            "trigger" => {
                assert!(request.fresh_connection, "a trigger must not meet a stale connection");
                state.charged += inputs.len();
                let id = format!("s_{}", state.snapshots.len() + 1);
                state.snapshots.insert(id.clone(), (inputs, now + self.takes));
                if self.loses.contains(&number) {
                    return Err(Error::new(ErrorKind::OutcomeUnknown, "the connection broke after the request was sent"));
                }
                Ok((200, json!({"snapshot_id": id})))
            }
            "progress" => Ok(match state.snapshots.get(id) {
                Some((_, ready)) => (200, json!({"snapshot_id": id, "status": if *ready <= now { "ready" } else { "running" }})),
                None => (404, json!("Snapshot does not exist")),
            }),
            "snapshots" => {
                let line = |(id, (_, ready)): (&String, &(Vec<Value>, Instant))| json!({"id": id, "status": if *ready <= now { "ready" } else { "running" }});
                let seen = |(_, (_, ready)): &(&String, &(Vec<Value>, Instant))| *ready + self.lag <= now + self.takes;
                Ok((200, state.snapshots.iter().filter(seen).map(line).collect()))
            }
            "input" => Ok((200, state.snapshots[id].0.iter().cloned().collect())),
            "snapshot" => {
                let (inputs, _) = &state.snapshots[id];
                Ok((200, inputs.iter().rev().map(row).collect()))
            }
            other => panic!("unexpected call: {other}"),
        }
    }
}

/// The record of an input, as ChatGPT's dataset has it.
fn row(input: &Value) -> Value {
    json!({
        "prompt": input["prompt"], "index": input["index"], "country": input["country"], "input": input, "model": "gpt-5",
        "answer_text_markdown": format!("Acme is a good answer to this: {}", input["prompt"].as_str().unwrap()), "citations": [],
    })
}

impl HttpService for BrightData {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, Error>> {
        Box::pin(async move {
            let (status, body) = self.answer(&request)?;
            let body = match body {
                Value::String(text) => Bytes::from(text),
                other => Bytes::from(other.to_string()),
            };
            Ok(HttpResponse { status, headers: HeaderMap::new(), body })
        })
    }
}

pub fn settings() -> Value {
    json!({"brightdata": {"api_key": "k", "base_url": "http://127.0.0.1:1", "max_in_flight": 100, "max_triggers": 8}})
}

pub fn chatgpt(questions: usize, change: impl FnOnce(&mut Value)) -> RunSpec {
    spec(questions, |spec| {
        spec["models"] = json!([{"model": "chatgpt", "run_id": "run-chatgpt"}]);
        spec["locations"] = json!([{"country": "US"}]);
        spec["custom_providers"] = json!([]);
        spec["settings"] = settings();
        change(spec);
    })
}

pub fn silent() -> TestHost {
    TestHost::new(|_, _| panic!("no custom provider here"))
}

pub async fn run(provider: &Arc<BrightData>, spec: RunSpec, store: &Arc<MemoryStore>) -> (Summary, String) {
    let host = silent();
    let summary = run_with_store(context(provider.clone()), spec, host.host.clone(), store.clone(), CancellationToken::new())
        .await
        .unwrap();
    (summary, host.log())
}

#[tokio::test(start_paused = true)]
async fn a_hundred_questions_are_five_triggers_all_at_once() {
    let (provider, store) = (BrightData::usual(49), Arc::new(MemoryStore::default()));
    let (summary, log) = run(&provider, chatgpt(100, |_| {}), &store).await;
    assert_eq!((summary.processed, summary.total_cost_micro_usd, provider.charged()), (100, 150_000, 100));
    let triggers = provider.times("trigger");
    assert_eq!(triggers.len(), 5);
    assert!(triggers[4] - triggers[0] < Duration::from_secs(1), "batches of a pair overlap");
    for words in [
        "Provider supports batching (max size: 20)",
        "Processing batch 1-20 of 100 questions",
        "Processing batch 81-100 of 100 questions",
        "Making batched BrightData call for 20 queries",
        "Batch completed: 20 questions processed",
    ] {
        assert!(log.contains(words), "{words} is not in\n{log}");
    }
}

#[tokio::test(start_paused = true)]
async fn polls_begin_at_ten_seconds_and_follow_the_elapsed_time() {
    let (provider, store) = (BrightData::usual(100), Arc::new(MemoryStore::default()));
    let began = Instant::now();
    run(&provider, chatgpt(3, |_| {}), &store).await;
    let polls: Vec<f64> = provider.times("progress").iter().map(|at| (*at - began).as_secs_f64()).collect();
    assert!((polls[0] - 10.0).abs() < 0.1, "{polls:?}");
    assert!(polls.windows(2).all(|pair| pair[1] - pair[0] >= 0.99), "{polls:?}");
    let found = polls.last().unwrap();
    assert!((100.0..=105.5).contains(found), "ready at 100 s, found at {found} s");
}

#[tokio::test(start_paused = true)]
async fn the_second_run_polls_first_where_the_snapshots_of_the_first_were_ready() {
    let (provider, store) = (BrightData::usual(49), Arc::new(MemoryStore::default()));
    run(&provider, chatgpt(3, |_| {}), &store).await;
    let polls = provider.count("progress");
    let again = Instant::now();
    run(&provider, chatgpt(3, |spec| spec["batch_id"] = json!("second")), &store).await;
    let first = provider.times("progress")[polls] - again;
    assert!(first >= Duration::from_secs(45), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn more_than_five_open_snapshots_are_polled_with_one_list() {
    let (provider, store) = (BrightData::usual(49), Arc::new(MemoryStore::default()));
    let (summary, _) = run(&provider, chatgpt(200, |_| {}), &store).await;
    assert_eq!(summary.processed, 200);
    assert!(provider.count("snapshots") > 0);
    assert!(provider.count("progress") < 60, "{} single polls", provider.count("progress"));
}

#[tokio::test(start_paused = true)]
async fn long_answers_are_asked_ten_at_a_time_by_the_next_run() {
    let long = "word ".repeat(1_000);
    let provider = BrightData::new(20, move |endpoint, _, _| {
        (endpoint == "snapshot").then(|| {
            let rows = (1..=20).map(
                |index| json!({"prompt": "", "index": index, "answer_text_markdown": format!("Acme {long}"), "citations": null}),
            );
            Ok((200, rows.collect()))
        })
    });
    let store = Arc::new(MemoryStore::default());
    run(&provider, chatgpt(20, |_| {}), &store).await;
    assert_eq!(provider.count("trigger"), 1);
    run(&provider, chatgpt(20, |spec| spec["batch_id"] = json!("second")), &store).await;
    assert_eq!(provider.count("trigger"), 3, "1,250 tokens an answer on average: 10 + 10");
}

#[tokio::test(start_paused = true)]
async fn gotcha_07_a_refused_submission_is_halved_until_the_bad_input_stands_alone() {
    let provider = BrightData::new(20, |endpoint, _, inputs| {
        let bad = inputs.iter().any(|input| input["prompt"] == "Question 13?");
        (endpoint == "trigger" && bad).then(|| Ok((400, json!({"error": "Input validation failed"}))))
    });
    let store = Arc::new(MemoryStore::default());
    let (summary, _) = run(&provider, chatgpt(20, |_| {}), &store).await;
    assert_eq!((summary.processed, summary.answered, summary.failed), (20, 19, 1));
    assert_eq!((provider.charged(), summary.total_cost_micro_usd), (19, 19 * 1_500));
    let failed: Vec<_> = store.runs("batch").into_iter().filter(|run| run.outcome.status == RunStatus::Failed).collect();
    assert_eq!(failed[0].key.question_id, "q13");
    assert_eq!(failed[0].outcome.error.as_ref().unwrap().kind, ErrorKind::InvalidRequest);
}

#[tokio::test(start_paused = true)]
async fn gotcha_07_inputs_that_the_refusal_names_are_dropped() {
    let provider = BrightData::new(20, |endpoint, number, _| {
        let body = json!({"validation_errors": [{"index": 2, "message": "prompt is not allowed"}, {"index": 5, "message": "prompt is not allowed"}]});
        (endpoint == "trigger" && number == 0).then_some(Ok((400, body)))
    });
    let store = Arc::new(MemoryStore::default());
    let (summary, _) = run(&provider, chatgpt(20, |_| {}), &store).await;
    assert_eq!((summary.answered, summary.failed, provider.count("trigger")), (18, 2, 2));
    assert_eq!(provider.charged(), 18);
}

#[tokio::test(start_paused = true)]
async fn gotcha_13_ready_and_then_not_downloadable_is_waited_for() {
    let not_ready = |number| match number {
        0 => Some(Ok((202, json!({"status": "building", "message": "Snapshot is building, try again in 10s"})))),
        1 => Some(Ok((200, json!({"status": "building", "message": "Dataset is not ready yet, try again in 30s"})))),
        2 => Some(Ok((200, json!([{"message": "Dataset is not ready yet, try again in 30s"}])))),
        3 => Some(Ok((200, json!("")))), // gotcha 47
        _ => None,
    };
    let provider = BrightData::new(20, move |endpoint, number, _| if endpoint == "snapshot" { not_ready(number) } else { None });
    let store = Arc::new(MemoryStore::default());
    let (summary, _) = run(&provider, chatgpt(5, |_| {}), &store).await;
    assert_eq!((summary.answered, provider.count("snapshot"), provider.charged()), (5, 5, 5));
}

#[tokio::test(start_paused = true)]
async fn gotcha_12_and_48_unknown_status_words_mean_pending() {
    let provider = BrightData::new(20, |endpoint, number, _| {
        let words = ["starting", "scheduled", "collecting", "digesting", "some new word"];
        (endpoint == "progress").then(|| words.get(number)).flatten().map(|word| Ok((200, json!({"status": word}))))
    });
    let store = Arc::new(MemoryStore::default());
    let (summary, _) = run(&provider, chatgpt(5, |_| {}), &store).await;
    assert_eq!(summary.answered, 5);
}

#[tokio::test(start_paused = true)]
async fn gotcha_15_a_snapshot_of_twenty_minutes_is_waited_for() {
    let (provider, store) = (BrightData::usual(20 * 60), Arc::new(MemoryStore::default()));
    let (summary, _) = run(&provider, chatgpt(5, |_| {}), &store).await;
    assert_eq!((summary.answered, provider.count("trigger")), (5, 1));
}

#[tokio::test(start_paused = true)]
async fn gotcha_49_not_found_right_after_the_trigger_means_not_known_yet() {
    let provider = BrightData::new(30, |endpoint, number, _| {
        (endpoint == "progress" && number < 3).then(|| Ok((404, json!("Snapshot does not exist"))))
    });
    let store = Arc::new(MemoryStore::default());
    let (summary, _) = run(&provider, chatgpt(5, |_| {}), &store).await;
    assert_eq!(summary.answered, 5);
}

#[tokio::test(start_paused = true)]
async fn gotcha_32_a_storm_of_429_stays_far_from_the_ban() {
    let storm = Instant::now() + Duration::from_secs(120);
    let provider = BrightData::new(30, move |_, _, _| {
        (Instant::now() < storm).then(|| Ok((429, json!("You have too many running jobs for this dataset"))))
    });
    let store = Arc::new(MemoryStore::default());
    run(&provider, chatgpt(200, |spec| spec["retry_failed"] = json!(true)), &store).await;
    let refused: Vec<Instant> = provider.state.lock().unwrap().calls.iter().map(|(_, at)| *at).filter(|at| *at < storm).collect();
    assert!(refused.len() <= 25, "{} answers 429 within two minutes", refused.len());
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_failed_batch_is_asked_once_more_in_smaller_submissions() {
    let provider = BrightData::new(20, |endpoint, number, _| {
        (endpoint == "snapshot" && number == 0).then(|| {
            let rows = (1..=8).map(|index| match index {
                1..=3 => json!({"index": index, "answer_text_markdown": "Acme answers this question well."}),
                4 => json!({"error": "Auth wall: sign-up prompt detected", "error_code": "AUTH_WALL", "input": {"index": 4}}),
                _ => json!({"foreign": true}),
            });
            Ok((200, rows.take(4).collect()))
        })
    });
    let store = Arc::new(MemoryStore::default());
    let (summary, log) = run(&provider, chatgpt(8, |_| {}), &store).await;
    assert_eq!((summary.answered, summary.failed, provider.count("trigger")), (8, 0, 3));
    assert!(log.contains("Batch returned 4 responses but expected 8"), "{log}");
    assert_eq!(summary.total_cost_micro_usd, 8 * 1_500);
}

#[tokio::test(start_paused = true)]
async fn gotcha_06_a_failed_row_is_settled_alone_and_waits_for_a_resume() {
    let provider = BrightData::new(20, |endpoint, number, _| {
        (endpoint == "snapshot" && number == 0).then(|| {
            let rows = (1..=19).map(|index| match index {
                7 => json!({"error": "Auth wall: sign-up prompt detected", "error_code": "AUTH_WALL", "input": {"index": 7}}),
                _ => json!({"index": index, "answer_text_markdown": "Acme answers this question well."}),
            });
            Ok((200, rows.collect()))
        })
    });
    let store = Arc::new(MemoryStore::default());
    let (summary, log) = run(&provider, chatgpt(20, |_| {}), &store).await;
    assert_eq!((summary.answered, summary.failed, provider.count("trigger")), (18, 2, 1));
    assert_eq!(summary.total_cost_micro_usd, 18 * 1_500);
    assert!(log.contains("Batch returned 19 responses but expected 20"), "{log}");
    let (summary, _) = run(&provider, chatgpt(20, |spec| spec["retry_failed"] = json!(true)), &store).await;
    assert_eq!((summary.answered, summary.failed, provider.count("trigger")), (20, 0, 2));
    assert_eq!(summary.total_cost_micro_usd, 20 * 1_500);
}

#[tokio::test(start_paused = true)]
async fn gotcha_29_a_country_that_breaks_the_page_is_left_out_the_second_time() {
    let provider = BrightData::new(20, |endpoint, number, _| {
        let body = json!([{"error": "Crawler error: waiting for selector … timeout 30000ms exceeded", "input": {"index": 1}}]);
        (endpoint == "snapshot" && number == 0).then_some(Ok((200, body)))
    });
    let store = Arc::new(MemoryStore::default());
    let perplexity = chatgpt(1, |spec| spec["models"] = json!([{"model": "perplexity", "run_id": "r"}]));
    let (summary, _) = run(&provider, perplexity, &store).await;
    assert_eq!(summary.answered, 1);
    assert_eq!(store.runs("batch")[0].outcome.location_applied, None, "recorded: the location was dropped");
    let sent = provider.state.lock().unwrap().snapshots["s_2"].0[0].clone();
    assert!(sent.get("country").is_none_or(|country| country == ""), "{sent}");
}

#[tokio::test(start_paused = true)]
async fn gotcha_30_a_country_that_the_scraper_does_not_take_is_left_out() {
    let provider = BrightData::new(20, |endpoint, number, _| {
        (endpoint == "trigger" && number == 0).then(|| Ok((400, json!({"error": "country is not available for this scraper"}))))
    });
    let store = Arc::new(MemoryStore::default());
    let (summary, log) = run(&provider, chatgpt(4, |_| {}), &store).await;
    assert_eq!((summary.answered, provider.count("trigger")), (4, 2));
    assert!(store.runs("batch").iter().all(|run| run.outcome.location_applied.is_none()));
    assert_eq!(log.matches("does not take the country US").count(), 1, "one warning");
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_stops_all_engines_of_the_account_and_nothing_is_stored_as_failed() {
    let provider = BrightData::new(20, |_, _, _| Some(Ok((401, json!("Invalid token")))));
    let store = Arc::new(MemoryStore::default());
    let (summary, _) = run(&provider, chatgpt(100, |_| {}), &store).await;
    assert_eq!((summary.processed, summary.status.as_str(), provider.charged()), (0, "partial", 0));
    let error = &summary.processing_errors[0];
    assert!(
        error.message.contains("BrightData API returned status 401") && error.message.contains("BRIGHTDATA_API_KEY"),
        "{error}"
    );
}

#[tokio::test]
async fn gotcha_14_an_interrupted_snapshot_is_fetched_by_the_next_start_and_not_bought_again() {
    let folder = Folder::new();
    let with_journal = || {
        chatgpt(20, |spec| {
            spec["settings"]["journal"] = json!(folder.0);
            spec["settings"]["grace_ms"] = json!(10);
            spec["settings"]["datasets"] = json!({"first_poll_ms": 20, "min_poll_ms": 20});
        })
    };
    let ready = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let gate = ready.clone();
    let provider = BrightData::new(0, move |endpoint, _, _| {
        let open = gate.load(std::sync::atomic::Ordering::SeqCst);
        (endpoint == "progress" && !open).then(|| Ok((200, json!({"status": "running"}))))
    });
    let store = Arc::new(MemoryStore::default());
    let stop = CancellationToken::new();
    let host = silent();
    let first = run_with_store(context(provider.clone()), with_journal(), host.host.clone(), store.clone(), stop.clone());
    let stopping = async {
        while provider.count("progress") == 0 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let (first, ()) = tokio::join!(first, stopping);
    assert_eq!((first.unwrap().processed, folder.journals()), (0, 1));
    wait_for_lock(&std::fs::read_dir(&folder.0).unwrap().next().unwrap().unwrap().path()).await;
    ready.store(true, std::sync::atomic::Ordering::SeqCst);
    let (second, log) = run(&provider, with_journal(), &store).await;
    assert_eq!((second.answered, second.total_cost_micro_usd), (20, 30_000));
    assert_eq!((provider.count("trigger"), provider.charged(), folder.journals()), (1, 20, 0));
    assert!(log.contains("Snapshot s_1 of an interrupted start is fetched, not bought again"), "{log}");
}

#[tokio::test(start_paused = true)]
async fn a_plain_list_is_answered_in_order_whatever_the_order_of_the_rows() {
    let provider = BrightData::usual(20);
    let questions: Vec<String> = (1..=45).map(|number| format!("Question {number}?")).collect();
    let spec: AskSpec =
        serde_json::from_value(json!({"model": "chatgpt", "questions": questions, "settings": settings()})).unwrap();
    let outcomes = ask(context(provider.clone()), spec, silent().host.clone()).await.unwrap();
    assert_eq!((outcomes.len(), provider.count("trigger")), (45, 3));
    for (question, outcome) in questions.iter().zip(&outcomes) {
        assert!(outcome.text.as_ref().unwrap().ends_with(question.as_str()));
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_and_an_overlong_question_never_reach_the_provider() {
    let provider = BrightData::usual(20);
    let questions = vec!["Fine?".to_owned(), "  ".to_owned(), "x".repeat(4_097)];
    let spec: AskSpec =
        serde_json::from_value(json!({"model": "chatgpt", "questions": questions, "settings": settings()})).unwrap();
    let outcomes = ask(context(provider.clone()), spec, silent().host.clone()).await.unwrap();
    assert_eq!(
        outcomes.iter().map(|outcome| outcome.status).collect::<Vec<_>>(),
        [RunStatus::Answered, RunStatus::Failed, RunStatus::Failed]
    );
    assert_eq!((provider.charged(), outcomes[2].attempts), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn gotcha_08_an_outage_of_one_engine_is_stored_as_failures_for_nothing_and_stops_nobody_else() {
    let provider = BrightData::new(20, |endpoint, _, _| {
        let wall =
            |index| json!({"error": "Auth wall: sign-up prompt detected", "error_code": "AUTH_WALL", "input": {"index": index}});
        (endpoint == "snapshot").then(|| Ok((200, (1..=24).map(wall).collect())))
    });
    let store = Arc::new(MemoryStore::default());
    let echo = |_: usize, asks: &[overheard::providers::Ask]| Ok(asks.iter().map(|_| crate::support::answered("Acme")).collect());
    let host = TestHost::new(echo);
    let spec = chatgpt(24, |spec| {
        spec["models"] = json!([{"model": "perplexity", "run_id": "1"}, {"model": "echo", "run_id": "2"}]);
        spec["custom_providers"] =
            json!([{"name": "echo", "max_batch_size": 3, "max_in_flight": 4, "micro_usd_per_question": 1000}]);
    });
    let summary = run_with_store(context(provider.clone()), spec, host.host.clone(), store.clone(), CancellationToken::new())
        .await
        .unwrap();
    assert_eq!((summary.answered, summary.failed, summary.status.as_str()), (24, 24, "partial"));
    assert_eq!(summary.total_cost_micro_usd, 24_000, "error rows cost nothing");
    let runs = store.runs("batch");
    let walled: Vec<_> = runs.iter().filter(|run| run.key.model == "perplexity").collect();
    assert!(walled.iter().all(|run| run.outcome.text.is_none() && run.outcome.status == RunStatus::Failed));
    assert_eq!(walled[0].outcome.error.as_ref().unwrap().context.code.as_deref(), Some("auth_wall"));
    let sent: usize = provider.state.lock().unwrap().snapshots.values().map(|(inputs, _)| inputs.len()).sum();
    assert_eq!(sent, 48, "each question is asked once more, and no more");
}

#[tokio::test(start_paused = true)]
async fn a_country_refusal_that_stays_without_a_country_ends_in_failures_and_not_in_a_loop() {
    let provider = BrightData::new(20, |endpoint, _, _| {
        (endpoint == "trigger").then(|| Ok((400, json!({"error": "country is not available for this scraper"}))))
    });
    let store = Arc::new(MemoryStore::default());
    let (summary, _) = run(&provider, chatgpt(4, |_| {}), &store).await;
    assert_eq!((summary.failed, provider.charged()), (4, 0));
    assert_eq!(provider.count("trigger"), 1 + 1 + 2 + 4, "with the country, without it, then halved to single questions");
}
