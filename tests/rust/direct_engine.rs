//! The engine against scripted OpenAI and Anthropic behind the transport seam, with paused time: paused turns, retries, what
//! is booked for lost replies, who is stopped by what.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use overheard::domain::{MicroUsd, Outcome, RunStatus, Summary};
use overheard::http::{BoxFuture, HttpRequest, HttpResponse, HttpService};
use overheard::pipeline::{AskSpec, ask, run_with_store};
use overheard::store::{MemoryStore, Store};
use overheard::{Error, ErrorKind};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::{TestHost, context, spec};

pub type Reply = Result<(u16, Value), Error>;
pub type Script = dyn Fn(&str, usize, &Value) -> Reply + Send + Sync;

/// Answers by `script(path, number of the call, body)`; a status of 1000 + n means 429 with `retry-after: n`.
pub struct Scripted {
    script: Box<Script>,
    calls: Mutex<Vec<(String, Value, Instant)>>,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Scripted")
    }
}

impl Scripted {
    pub fn new(script: impl Fn(&str, usize, &Value) -> Reply + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { script: Box::new(script), calls: Mutex::default() })
    }

    pub fn calls(&self) -> Vec<(String, Value, Instant)> {
        self.calls.lock().unwrap().clone()
    }
}

impl HttpService for Scripted {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, Error>> {
        Box::pin(async move {
            let path = request.url.strip_prefix("http://127.0.0.1:1").unwrap().to_owned();
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let number = self.calls().len();
            self.calls.lock().unwrap().push((path.clone(), body.clone(), Instant::now()));
            let (status, reply) = (self.script)(&path, number, &body)?;
            let mut headers = HeaderMap::new();
            if status >= 1_000 {
                headers.insert(HeaderName::from_static("retry-after"), HeaderValue::from(status - 1_000));
            }
            let status = if status >= 1_000 { 429 } else { status };
            Ok(HttpResponse { status, headers, body: Bytes::from(reply.to_string()) })
        })
    }
}

pub fn settings() -> Value {
    let account = |base: &str| json!({"api_key": "k", "base_url": base});
    json!({"openai": account("http://127.0.0.1:1/v1"), "anthropic": account("http://127.0.0.1:1")})
}

async fn one(provider: &Arc<Scripted>, model: &str) -> Outcome {
    let spec: AskSpec =
        serde_json::from_value(json!({"model": model, "questions": ["What is Acme?"], "settings": settings()})).unwrap();
    let host = TestHost::new(|_, _| panic!("no custom provider here"));
    ask(context(provider.clone()), spec, host.host.clone()).await.unwrap().remove(0)
}

/// A reply of the Responses API with one text and 1,000 + 100 tokens.
pub fn response() -> Value {
    json!({
        "id": "resp_1", "object": "response", "status": "completed", "model": "gpt-4.1-2025-04-14",
        "output": [{"type": "message", "role": "assistant", "status": "completed", "content":
            [{"type": "output_text", "text": "Acme is a company that makes everything.", "annotations": []}]}],
        "usage": {"input_tokens": 1_000, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 100, "total_tokens": 1_100},
    })
}

fn openai_error(kind: &str) -> Value {
    json!({"error": {"message": "a bad day", "type": kind, "param": null, "code": kind}})
}

#[tokio::test(start_paused = true)]
async fn gotcha_40_a_paused_turn_is_continued_and_all_its_parts_are_charged() {
    let parts: Vec<Value> =
        serde_json::from_str(include_str!("../fixtures/anthropic/anthropic-pause-turn.recorded.trimmed.json")).unwrap();
    let (first, second) = (parts[0].clone(), parts[1].clone());
    let content = first["content"].clone();
    let provider = Scripted::new(move |_, number, _| Ok((200, if number == 0 { first.clone() } else { second.clone() })));
    let outcome = one(&provider, "claude-sonnet-4-5").await;
    assert_eq!(outcome.status, RunStatus::Answered, "{:?}", outcome.error);
    assert_eq!((outcome.usage.input_tokens, outcome.usage.output_tokens), (Some(401_468 + 494_549), Some(792 + 1_245)));
    assert_eq!(outcome.usage.searches, 15);
    let tokens = (401_468 + 494_549) * 3 + (792 + 1_245) * 15;
    assert_eq!(outcome.cost_micro_usd, Some(MicroUsd(tokens + 15 * 10_000)));
    let continued = &provider.calls()[1].1;
    assert_eq!(continued["messages"].as_array().unwrap().last().unwrap()["content"], content, "sent back unchanged");
}

#[tokio::test(start_paused = true)]
async fn every_part_of_a_paused_turn_that_is_given_up_is_booked() {
    let paused = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "stop_reason": "pause_turn",
        "content": [{"type": "text", "text": "So far."}], "usage": {"input_tokens": 10, "output_tokens": 20},
    });
    let booked = async |parts: usize| {
        let paused = paused.clone();
        let refused = json!({"type": "error", "error": {"type": "invalid_request_error", "message": "a bad day"}});
        let provider =
            Scripted::new(move |_, number, _| Ok(if number < parts { (200, paused.clone()) } else { (400, refused.clone()) }));
        let outcome = one(&provider, "claude-sonnet-4-5").await;
        assert_eq!((outcome.status, provider.calls().len()), (RunStatus::Failed, parts + 1), "{:?}", outcome.error);
        outcome.maybe_charged_micro_usd.0
    };
    let once = booked(1).await;
    assert!(once > 0);
    assert_eq!((booked(0).await, booked(3).await), (0, 3 * once));
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_is_paid_for_at_most_once_more_and_booked_apart() {
    let lost = || Err(Error::new(ErrorKind::OutcomeUnknown, "the connection broke after the request was sent"));
    let provider = Scripted::new(move |_, number, _| if number == 0 { lost() } else { Ok((200, response())) });
    let outcome = one(&provider, "gpt-4.1").await;
    assert_eq!((outcome.status, outcome.attempts), (RunStatus::Answered, 2));
    assert_eq!(outcome.cost_micro_usd, Some(MicroUsd(1_000 * 2 + 100 * 8)));
    assert!(outcome.maybe_charged_micro_usd > MicroUsd::ZERO);

    let provider = Scripted::new(move |_, _, _| lost());
    let outcome = one(&provider, "gpt-4.1").await;
    assert_eq!((outcome.status, provider.calls().len()), (RunStatus::Failed, 2));
    assert!(outcome.error.unwrap().context.maybe_charged);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_waited_for_and_a_429_costs_nothing() {
    let provider =
        Scripted::new(
            |_, number, _| {
                if number == 0 { Ok((1_007, openai_error("rate_limit_exceeded"))) } else { Ok((200, response())) }
            },
        );
    let outcome = one(&provider, "gpt-4.1").await;
    let calls = provider.calls();
    let waited = calls[1].2 - calls[0].2;
    assert!((Duration::from_secs(7)..Duration::from_secs(8)).contains(&waited), "{waited:?}");
    assert_eq!((outcome.status, outcome.maybe_charged_micro_usd), (RunStatus::Answered, MicroUsd::ZERO));
}

#[tokio::test(start_paused = true)]
async fn gotcha_42_no_money_at_one_provider_stops_it_and_not_the_other() {
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Acme is a company that makes everything."}],
        "usage": {"input_tokens": 1_000, "output_tokens": 100},
    });
    let provider = Scripted::new(move |path, _, _| {
        if path == "/v1/messages" { Ok((200, message.clone())) } else { Ok((429, openai_error("insufficient_quota"))) }
    });
    let store = Arc::new(MemoryStore::default());
    let host = TestHost::new(|_, _| panic!("no custom provider here"));
    let spec = spec(50, |spec| {
        spec["models"] = json!([{"model": "gpt-4.1", "run_id": "1"}, {"model": "claude-sonnet-4-5", "run_id": "2"}]);
        spec["batch_size"] = json!(2);
        spec["settings"] = settings();
        spec["settings"]["openai"]["max_in_flight"] = json!(4);
    });
    let summary: Summary =
        run_with_store(context(provider.clone()), spec, host.host.clone(), store.clone(), CancellationToken::new())
            .await
            .unwrap();
    assert_eq!((summary.answered, summary.failed, summary.status.as_str()), (100, 0, "partial"));
    assert!(
        provider.calls().iter().filter(|(path, ..)| path != "/v1/messages").count() <= 16,
        "those in flight and the tasks behind them"
    );
    assert_eq!(summary.processing_errors[0].kind, ErrorKind::QuotaExhausted);
    assert_eq!(summary.total_cost_micro_usd, 100 * (1_000 * 3 + 100 * 15));
}

#[tokio::test(start_paused = true)]
async fn the_location_goes_into_its_own_field_and_never_into_the_question() {
    let provider = Scripted::new(|_, _, _| Ok((200, response())));
    let spec = json!({
        "model": "gpt-4.1", "questions": ["What is Acme?"], "settings": settings(), "location": {"country": "DE", "city": "Berlin"}
    });
    let host = TestHost::new(|_, _| panic!("no custom provider here"));
    let outcomes = ask(context(provider.clone()), serde_json::from_value(spec).unwrap(), host.host.clone()).await.unwrap();
    let body = &provider.calls()[0].1;
    assert_eq!(body["tools"][0]["user_location"]["country"], "DE");
    assert_eq!(body["tools"][0]["user_location"]["city"], "Berlin");
    let rest = json!([body["input"], body["instructions"]]).to_string();
    assert!(!rest.contains("Berlin") && !rest.contains("DE"), "{rest}");
    assert_eq!(outcomes[0].location_applied.as_deref().map(|applied| applied.contains("DE")), Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_reservation_far_above_the_charge_costs_parallelism_and_not_answers() {
    let provider = Scripted::new(|_, _, _| Ok((200, response())));
    let store = Arc::new(MemoryStore::default());
    let host = TestHost::new(|_, _| panic!("no custom provider here"));
    let spec = spec(20, |spec| {
        spec["phase"] = json!("execute");
        spec["models"] = json!([{"model": "gpt-4.1", "run_id": "1"}]);
        spec["settings"] = settings();
        spec["max_cost_micro_usd"] = json!(1_000_000); // two reservations of some $0.4 fit, forty answers of $0.0028 too
    });
    let summary = run_with_store(context(provider.clone()), spec, host.host.clone(), store.clone(), CancellationToken::new())
        .await
        .unwrap();
    assert_eq!((summary.answered, summary.status.as_str()), (40, "complete"));
    assert_eq!(summary.total_cost_micro_usd, 40 * 2_800);
}

/// A structured reply of 100 + 10 tokens with this text; gpt-4.1-mini takes 0.4 and 1.6 dollars per million.
pub fn structured(text: &str) -> Value {
    let mut reply = response();
    reply["output"][0]["content"][0]["text"] = json!(text);
    reply["usage"] = json!({"input_tokens": 100, "output_tokens": 10, "total_tokens": 110});
    reply
}

#[tokio::test(start_paused = true)]
async fn what_failed_extractions_cost_stays_in_the_total_when_a_later_start_mends_them() {
    let sound = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = sound.clone();
    let provider = Scripted::new(move |_, _, body| {
        let reply = match body["text"]["format"]["schema"]["properties"].as_object() {
            None => response(),
            Some(_) if !flag.load(std::sync::atomic::Ordering::SeqCst) => structured("{\"broken\": "),
            Some(properties) if properties.contains_key("competitors") => structured("{\"competitors\": []}"),
            Some(_) => structured(
                "{\"is_mention_verified\": true, \"sentiment\": \"neutral\", \"mention_text\": [\"Acme is a company\"]}",
            ),
        };
        Ok((200, reply))
    });
    let store = Arc::new(MemoryStore::default());
    let start = || {
        spec(3, |spec| {
            spec["extraction"] = json!("llm");
            spec["locations"] = json!([{"country": "US"}]);
            spec["models"] = json!([{"model": "gpt-4.1", "run_id": "1"}]);
            spec["settings"] = settings();
        })
    };
    let host = TestHost::new(|_, _| panic!("no custom provider here"));
    let run = async |spec| {
        run_with_store(context(provider.clone()), spec, host.host.clone(), store.clone(), CancellationToken::new()).await.unwrap()
    };
    let charged = || -> i64 {
        let calls = provider.calls();
        calls.iter().map(|(_, body, _)| if body["text"]["format"]["schema"].is_object() { 56 } else { 2_800 }).sum()
    };
    let first = run(start()).await;
    assert_eq!((first.answered, first.evaluations), (3, 0));
    assert_eq!(first.total_cost_micro_usd, charged());
    sound.store(true, std::sync::atomic::Ordering::SeqCst);
    // What the names cost is on the model run, which the store keeps and the caller hands on.
    let names = first.total_cost_micro_usd
        - store.existing_keys("batch".into(), None, 10).await.unwrap().iter().map(|key| key.cost_micro_usd).sum::<i64>();
    assert_eq!(store.model_runs("batch")[0].overhead_micro_usd, names);
    let mut again = start();
    again.models[0].overhead_micro_usd = names;
    again.batch_overhead_micro_usd = names;
    let second = run(again).await;
    assert_eq!((second.answered, second.evaluations), (3, 3));
    assert_eq!(second.total_cost_micro_usd, charged());
    let stored: i64 = store.existing_keys("batch".into(), None, 10).await.unwrap().iter().map(|key| key.cost_micro_usd).sum();
    assert!(stored < second.total_cost_micro_usd, "the names are the rest");
}
