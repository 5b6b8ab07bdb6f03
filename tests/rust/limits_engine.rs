//! The engine on a provider's bad day, behind the transport seam and with paused time: what is sent while it is down, throttling
//! or out of reach, which cells stay open, and that the others are not held up. Names begin with the fault.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use overheard::domain::{RunStatus, Summary};
use overheard::http::guard::{GUARD_LIMIT, GUARD_WINDOW};
use overheard::http::{BoxFuture, HttpRequest, HttpResponse, HttpService};
use overheard::pipeline::{Context, RunSpec, run_with_store};
use overheard::store::MemoryStore;
use overheard::{Error, ErrorKind};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::{TestHost, answered, context, failing, spec};

/// A reply: status, headers, body.
type Reply = Result<(u16, Vec<(&'static str, String)>, Value), Error>;
type Script = dyn Fn(&str, usize) -> Option<Reply> + Send + Sync;

/// OpenAI, Anthropic and Bright Data that answer after 100 ms, unless `script(provider, number of its call)` answers for them.
struct Providers {
    script: Box<Script>,
    takes: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    calls: Vec<(&'static str, Instant)>,
    refused: Vec<Instant>,
    in_flight: usize,
    peak: usize,
    snapshots: usize,
}

impl std::fmt::Debug for Providers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Providers")
    }
}

impl Providers {
    fn new(script: impl Fn(&str, usize) -> Option<Reply> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { script: Box::new(script), takes: Duration::from_millis(100), state: Mutex::default() })
    }

    fn times(&self, provider: &str) -> Vec<Instant> {
        self.state.lock().unwrap().calls.iter().filter(|(name, _)| *name == provider).map(|(_, at)| *at).collect()
    }

    fn peak(&self) -> usize {
        self.state.lock().unwrap().peak
    }

    fn most_refused(&self) -> usize {
        let refused = &self.state.lock().unwrap().refused;
        let within = |first: &Instant| refused.iter().filter(|at| **at >= *first && **at < *first + GUARD_WINDOW).count();
        refused.iter().map(within).max().unwrap_or(0)
    }

    fn usual(&self, provider: &str, request: &HttpRequest) -> Reply {
        let text = "Acme is a company that makes everything.";
        let body = match provider {
            "openai" => json!({
                "id": "r", "object": "response", "status": "completed", "model": "gpt-4.1-2025-04-14",
                "output": [{"type": "message", "role": "assistant", "status": "completed",
                    "content": [{"type": "output_text", "text": text, "annotations": []}]}],
                "usage": {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110},
            }),
            "anthropic" => json!({
                "id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929",
                "stop_reason": "end_turn", "content": [{"type": "text", "text": text}],
                "usage": {"input_tokens": 100, "output_tokens": 10},
            }),
            _ if request.url.contains("/trigger") => {
                let mut state = self.state.lock().unwrap();
                state.snapshots += 1;
                json!({"snapshot_id": format!("s_{}", state.snapshots)})
            }
            _ if request.url.contains("/progress") => json!({"status": "ready"}),
            _ => json!([]),
        };
        Ok((200, Vec::new(), body))
    }
}

impl HttpService for Providers {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, Error>> {
        Box::pin(async move {
            let provider = match request.url.strip_prefix("http://127.0.0.1:1").unwrap() {
                path if path.starts_with("/v1/messages") => "anthropic",
                path if path.starts_with("/v1") => "openai",
                _ => "brightdata",
            };
            let number = self.times(provider).len();
            {
                let mut state = self.state.lock().unwrap();
                state.calls.push((provider, Instant::now()));
                state.in_flight += 1;
                state.peak = state.peak.max(state.in_flight);
            }
            tokio::time::sleep(self.takes).await;
            let reply = (self.script)(provider, number).unwrap_or_else(|| self.usual(provider, &request));
            let mut state = self.state.lock().unwrap();
            state.in_flight -= 1;
            let (status, lines, body) = reply?;
            if status == 429 {
                state.refused.push(Instant::now());
            }
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.insert(HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap());
            }
            Ok(HttpResponse { status, headers, body: Bytes::from(body.to_string()) })
        })
    }
}

fn error(status: u16, headers: &[(&'static str, &str)]) -> Option<Reply> {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let body = json!({"error": {"message": "a bad day", "type": "server_error", "code": "a_bad_day"}});
    Some(Ok((status, headers, body)))
}

fn unreachable() -> Option<Reply> {
    Some(Err(Error::new(ErrorKind::NotSent, "no connection: connection refused")))
}

const MODELS: [&str; 2] = ["gpt-4.1", "claude-sonnet-4-5"];

/// One location, these models, everything else as it comes.
fn batch(questions: usize, models: &[&str], change: impl FnOnce(&mut Value)) -> RunSpec {
    spec(questions, |spec| {
        let account = |base: &str| json!({"api_key": "k", "base_url": base});
        spec["models"] = models.iter().map(|model| json!({"model": model, "run_id": format!("run-{model}")})).collect();
        spec["batch_size"] = json!(models.len());
        spec["locations"] = json!([{"country": "US"}]);
        spec["settings"] = json!({
            "openai": account("http://127.0.0.1:1/v1"), "anthropic": account("http://127.0.0.1:1"),
            "brightdata": account("http://127.0.0.1:1"),
        });
        change(spec);
    })
}

struct Ran {
    summary: Summary,
    log: String,
    took: Duration,
}

async fn run(context: Context, spec: RunSpec, store: &Arc<MemoryStore>) -> Ran {
    let host = TestHost::new(|_, _| panic!("no custom provider here"));
    let begun = Instant::now();
    let summary = run_with_store(context, spec, host.host.clone(), store.clone(), CancellationToken::new()).await.unwrap();
    Ran { summary, log: host.log(), took: begun.elapsed() }
}

fn stopped_by(ran: &Ran) -> &Error {
    ran.summary.processing_errors.iter().find(|error| error.kind == ErrorKind::Unavailable).expect(&ran.log)
}

#[tokio::test(start_paused = true)]
async fn f03_a_provider_that_is_off_is_probed_given_up_and_completed_by_a_resume() {
    let off = Arc::new(AtomicBool::new(true));
    let flag = off.clone();
    let providers =
        Providers::new(move |provider, _| (provider == "openai" && flag.load(Ordering::SeqCst)).then(unreachable).flatten());
    let (context, store) = (context(providers.clone()), Arc::new(MemoryStore::default()));
    let ran = run(context.clone(), batch(200, &MODELS, |_| {}), &store).await;
    assert_eq!((ran.summary.answered, ran.summary.status.as_str()), (200, "partial"), "{}", ran.log);
    let error = stopped_by(&ran);
    assert!(error.message.contains("openai") && error.message.contains("connection refused"), "{error}");
    assert!(ran.took >= Duration::from_secs(90) && ran.took < Duration::from_secs(100), "30 s, 60 s: {:?}", ran.took);
    let calls = providers.times("openai");
    let (first, last) = (calls[0], *calls.last().unwrap());
    let burst = calls.iter().filter(|at| **at - first < Duration::from_secs(10)).count();
    assert_eq!(calls.len(), burst + 2, "nothing but two probes after the breaker opened");
    assert!(burst <= 128, "those in flight: {burst}");
    assert!(last - first >= Duration::from_secs(90));
    // Cells that were never tried to the end are open, not failed.
    assert!(ran.summary.failed <= 64, "{} failed", ran.summary.failed);
    assert_eq!(ran.summary.maybe_charged_micro_usd, 0);

    off.store(false, Ordering::SeqCst);
    let again = run(context, batch(200, &MODELS, |spec| spec["retry_failed"] = json!(true)), &store).await;
    assert_eq!(
        (again.summary.answered, again.summary.failed, again.summary.status.as_str()),
        (400, 0, "complete"),
        "{}",
        again.log
    );
    assert!(again.log.contains("openai answers again"));
}

#[tokio::test(start_paused = true)]
async fn f03_an_outage_shorter_than_the_breaker_costs_nothing_but_time() {
    let begun = Instant::now();
    let providers = Providers::new(move |provider, _| {
        (provider == "openai" && begun.elapsed() < Duration::from_secs(20)).then(|| error(502, &[])).flatten()
    });
    let store = Arc::new(MemoryStore::default());
    let spec = batch(100, &["gpt-4.1"], |spec| spec["settings"]["openai"]["max_in_flight"] = json!(10));
    let ran = run(context(providers.clone()), spec, &store).await;
    assert_eq!((ran.summary.answered + ran.summary.failed, ran.summary.failed), (100, 0), "{}", ran.log);
    assert!(ran.log.contains("nothing is sent to it for 30.0 s"), "{}", ran.log);
    assert!(providers.times("openai").len() <= 100 + 20 + 1);
}

#[tokio::test(start_paused = true)]
async fn f04_refusals_never_open_the_breaker() {
    for status in [400_u16, 404, 413, 422] {
        let providers = Providers::new(move |_, _| error(status, &[]));
        let ran = run(context(providers.clone()), batch(60, &["gpt-4.1"], |_| {}), &Arc::default()).await;
        assert_eq!((ran.summary.failed, providers.times("openai").len()), (60, 60), "{status}: each of them is that cell's own");
        assert!(!ran.log.contains("nothing is sent"), "{}", ran.log);
    }
}

#[tokio::test(start_paused = true)]
async fn f33_retry_after_pauses_the_whole_account_and_halves_it_once() {
    let providers = Providers::new(|_, number| (number < 4).then(|| error(429, &[("retry-after", "7")])).flatten());
    let spec = batch(40, &["gpt-4.1"], |spec| spec["settings"]["openai"]["max_in_flight"] = json!(4));
    let ran = run(context(providers.clone()), spec, &Arc::default()).await;
    assert_eq!((ran.summary.answered, ran.summary.maybe_charged_micro_usd), (40, 0), "{}", ran.log);
    let calls = providers.times("openai");
    let waited = calls[4] - calls[0];
    assert!(waited >= Duration::from_millis(7_100) && waited < Duration::from_millis(7_900), "{waited:?}");
    let together = calls.iter().filter(|at| **at == calls[4]).count();
    assert_eq!(together, 2, "half of four, once though four were refused");
}

#[tokio::test(start_paused = true)]
async fn f34_a_long_retry_after_parks_the_provider_and_not_the_task_alone() {
    let providers = Providers::new(|provider, number| {
        (provider == "openai" && number == 0).then(|| error(503, &[("retry-after", "600")])).flatten()
    });
    let spec = batch(50, &MODELS, |spec| spec["settings"]["openai"]["max_in_flight"] = json!(2));
    let ran = run(context(providers.clone()), spec, &Arc::default()).await;
    assert_eq!((ran.summary.answered, ran.summary.status.as_str()), (100, "complete"), "{}", ran.log);
    let calls = providers.times("openai");
    let while_parked = calls.iter().filter(|at| **at - calls[0] < Duration::from_secs(600)).count();
    assert!(while_parked <= 3, "{while_parked}: the two in flight, and one that was on its way");
    let other = providers.times("anthropic");
    assert!(*other.last().unwrap() - other[0] < Duration::from_secs(10), "the other provider is not held up");
}

#[tokio::test(start_paused = true)]
async fn f34_an_hour_is_not_waited_for_and_the_message_says_until_when() {
    for (header, value) in
        [("retry-after", "3600"), ("retry-after-ms", "3600000"), ("retry-after", "Wed, 15 Nov 2023 00:00:00 GMT")]
    {
        let providers = Providers::new(move |provider, _| {
            let date = ("date", "Tue, 14 Nov 2023 22:13:20 GMT");
            (provider == "openai").then(|| error(429, &[(header, value), date])).flatten()
        });
        let ran = run(context(providers.clone()), batch(50, &MODELS, |_| {}), &Arc::default()).await;
        assert_eq!((ran.summary.answered, ran.summary.failed, ran.summary.status.as_str()), (50, 0, "partial"), "{}", ran.log);
        let error = stopped_by(&ran);
        assert!(error.message.contains("14 Nov 2023 23:13") || error.message.contains("15 Nov 2023 00:00"), "{error}");
        assert!(ran.took < Duration::from_secs(30), "{:?}", ran.took);
    }
}

#[tokio::test(start_paused = true)]
async fn f34_garbage_in_retry_after_is_ignored() {
    for value in ["-5", "0", "NaN", "inf", "soon", "Sun, 06 Nov 1994 08:49:37 GMT", "1e309", ""] {
        let providers = Providers::new(move |_, number| (number == 0).then(|| error(429, &[("retry-after", value)])).flatten());
        let ran = run(context(providers.clone()), batch(1, &["gpt-4.1"], |_| {}), &Arc::default()).await;
        assert_eq!(ran.summary.answered, 1, "{value}");
        let calls = providers.times("openai");
        let waited = calls[1] - calls[0];
        assert!(waited >= Duration::from_secs(2) && waited < Duration::from_millis(2_200), "our own base: {value} {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn f35_i14_a_storm_of_429_never_gives_more_than_eight_in_five_minutes_and_the_run_ends() {
    let providers = Providers::new(|provider, _| (provider == "brightdata").then(|| error(429, &[])).flatten());
    let ran = run(context(providers.clone()), batch(400, &["chatgpt", "perplexity", "gpt-4.1"], |_| {}), &Arc::default()).await;
    assert_eq!((ran.summary.answered, ran.summary.failed, ran.summary.status.as_str()), (400, 0, "partial"), "{}", ran.log);
    assert!(providers.most_refused() <= GUARD_LIMIT, "{}", providers.most_refused());
    let calls = providers.times("brightdata").len();
    assert!((GUARD_LIMIT..=2 * GUARD_LIMIT).contains(&calls), "{calls} calls");
    assert!(ran.took >= GUARD_WINDOW && ran.took < 2 * GUARD_WINDOW, "{:?}", ran.took);
    assert!(stopped_by(&ran).message.contains("429"), "{}", ran.log);
    assert_eq!(ran.summary.total_cost_micro_usd, 400 * (100 * 2 + 10 * 8), "nothing was bought at Bright Data");
}

#[tokio::test(start_paused = true)]
async fn f35_a_storm_that_passes_costs_time_and_no_cell() {
    let begun = Instant::now();
    let providers = Providers::new(move |provider, _| {
        (provider == "brightdata" && begun.elapsed() < Duration::from_secs(200))
            .then(|| error(429, &[("retry-after", "1")]))
            .flatten()
    });
    let ran = run(context(providers.clone()), batch(100, &["chatgpt"], |_| {}), &Arc::default()).await;
    assert!(providers.most_refused() <= GUARD_LIMIT, "{}", providers.most_refused());
    assert!(ran.summary.processing_errors.iter().all(|error| error.kind != ErrorKind::Unavailable), "{}", ran.log);
}

#[tokio::test(start_paused = true)]
async fn f36_overload_is_retried_costs_nothing_and_cuts_what_is_in_flight() {
    for status in [503_u16, 529] {
        let providers = Providers::new(move |_, number| (number % 10 == 3).then(|| error(status, &[])).flatten());
        let ran = run(context(providers.clone()), batch(100, &["claude-sonnet-4-5"], |_| {}), &Arc::default()).await;
        assert_eq!((ran.summary.answered, ran.summary.maybe_charged_micro_usd), (100, 0), "{status}: {}", ran.log);
    }
}

#[tokio::test(start_paused = true)]
async fn f39_the_providers_own_verdict_decides() {
    let never = Providers::new(|_, _| error(500, &[("x-should-retry", "false")]));
    let ran = run(context(never.clone()), batch(1, &["gpt-4.1"], |_| {}), &Arc::default()).await;
    assert_eq!((ran.summary.failed, never.times("openai").len()), (1, 1));
    let always = Providers::new(|_, _| error(400, &[("x-should-retry", "true")]));
    let ran = run(context(always.clone()), batch(1, &["gpt-4.1"], |_| {}), &Arc::default()).await;
    assert_eq!((ran.summary.failed, always.times("openai").len()), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn i13_retries_stay_inside_the_budget() {
    // Every third call fails: the breaker stays closed, the budget of 10 % does not last.
    let providers = Providers::new(|_, number| (number % 3 == 0).then(|| error(500, &[])).flatten());
    let ran = run(context(providers.clone()), batch(300, &["gpt-4.1"], |_| {}), &Arc::default()).await;
    assert_eq!(ran.summary.answered + ran.summary.failed, 300, "{}", ran.log);
    let retries = providers.times("openai").len() - 300;
    assert!(retries <= 30 + 300 / 10, "ten per cent, and a tenth back for each first try: {retries}");
    assert!(retries >= 20, "{retries}");
}

#[tokio::test(start_paused = true)]
async fn i15_no_more_in_flight_than_the_limit() {
    for limit in [1_usize, 64] {
        let providers = Providers::new(|_, _| None);
        let spec = batch(200, &["gpt-4.1"], |spec| spec["settings"]["openai"]["max_in_flight"] = json!(limit));
        run(context(providers.clone()), spec, &Arc::default()).await;
        assert_eq!(providers.peak(), limit);
    }
    let providers = Providers::new(|_, _| None);
    let spec = batch(400, &["chatgpt", "perplexity"], |spec| spec["settings"]["brightdata"]["max_triggers"] = json!(64));
    run(context(providers.clone()), spec, &Arc::default()).await;
    assert!(providers.peak() <= GUARD_LIMIT, "{} in flight to an account that bans", providers.peak());
}

#[tokio::test(start_paused = true)]
async fn i16_after_a_bad_key_or_no_money_nothing_starts() {
    for (status, kind) in [(401_u16, ErrorKind::Auth), (402, ErrorKind::QuotaExhausted), (403, ErrorKind::Auth)] {
        let providers =
            Providers::new(move |provider, number| (provider == "openai" && number >= 10).then(|| error(status, &[])).flatten());
        let spec = batch(300, &MODELS, |spec| spec["settings"]["openai"]["max_in_flight"] = json!(4));
        let ran = run(context(providers.clone()), spec, &Arc::default()).await;
        let calls = providers.times("openai");
        let first_refusal = calls[10] + Duration::from_millis(100);
        assert!(calls.iter().all(|at| *at <= first_refusal), "{status}");
        assert_eq!((ran.summary.answered, ran.summary.status.as_str()), (310, "partial"), "{status}: {}", ran.log);
        assert_eq!(ran.summary.processing_errors[0].kind, kind);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hard_rate_limit_is_used_up_with_few_refusals() {
    // Fifty at once and fifty a second, told in every reply.
    let bucket = Arc::new(Mutex::new((50.0_f64, None::<Instant>)));
    let providers = Providers::new(move |_, _| {
        let (level, at) = &mut *bucket.lock().unwrap();
        let now = Instant::now();
        *level = (*level + at.map_or(0.0, |at| (now - at).as_secs_f64() * 50.0)).min(50.0);
        *at = Some(now);
        let refused = *level < 1.0;
        *level -= if refused { 0.0 } else { 1.0 };
        let reset = format!("{}ms", ((50.0 - *level) / 50.0 * 1_000.0).ceil());
        let mut headers = vec![
            ("x-ratelimit-limit-requests", "50".to_owned()),
            ("x-ratelimit-remaining-requests", level.floor().to_string()),
            ("x-ratelimit-reset-requests", reset),
        ];
        if refused {
            headers.push(("retry-after-ms", "20".to_owned()));
            return Some(Ok((429, headers, json!({"error": {"code": "rate_limit_exceeded"}}))));
        }
        let text = json!({"type": "output_text", "text": "Acme.", "annotations": []});
        let message = json!({"type": "message", "role": "assistant", "status": "completed", "content": [text]});
        let body = json!({"id": "r", "object": "response", "status": "completed", "model": "gpt-4.1-2025-04-14",
            "output": [message], "usage": {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}});
        Some(Ok((200, headers, body)))
    });
    let ran = run(context(providers.clone()), batch(2_000, &["gpt-4.1"], |_| {}), &Arc::default()).await;
    assert_eq!(ran.summary.answered, 2_000, "{}", ran.log);
    let allowed = 50.0 + 50.0 * ran.took.as_secs_f64();
    assert!(2_000.0 / allowed >= 0.95, "{} of {allowed}", 2_000);
    let refused = providers.state.lock().unwrap().refused.len();
    assert!(refused <= 40, "{refused} refusals of 2,000");
}

#[tokio::test(start_paused = true)]
async fn a_users_own_provider_has_the_same_breaker_budget_and_pause() {
    let ask = async |questions, answer: fn(usize) -> ErrorKind| {
        let host = TestHost::new(move |number, asks| Ok(asks.iter().map(|_| failing(answer(number))).collect()));
        let store = Arc::new(MemoryStore::default());
        let context = context(Arc::new(crate::support::NoHttp));
        let begun = Instant::now();
        let summary = run_with_store(context, spec(questions, |_| {}), host.host.clone(), store, CancellationToken::new()).await;
        (summary.unwrap(), host.calls.load(Ordering::SeqCst), begun.elapsed(), host.log())
    };
    let (summary, calls, took, log) = ask(300, |_| ErrorKind::NotSent).await;
    assert_eq!((summary.answered, summary.status.as_str()), (0, "partial"), "{log}");
    assert!(calls < 30, "{calls} calls: ten open the breaker, those in flight, two probes");
    assert!(took >= Duration::from_secs(90) && took < Duration::from_secs(120), "{took:?}");
    assert!(summary.failed < 60, "the rest stays open: {}", summary.failed);
    let (summary, ..) = ask(3, |_| ErrorKind::RateLimited).await;
    assert_eq!((summary.failed, summary.status.as_str()), (0, "partial"), "refused is not failed");

    let host = TestHost::new(|number, asks| {
        let outcome = |_| if number == 0 { failing(ErrorKind::RateLimited) } else { answered("Acme") };
        Ok(asks.iter().map(outcome).collect())
    });
    let store = Arc::new(MemoryStore::default());
    let begun = Instant::now();
    let context = context(Arc::new(crate::support::NoHttp));
    let summary = run_with_store(context, spec(60, |_| {}), host.host.clone(), store, CancellationToken::new()).await.unwrap();
    assert_eq!((summary.answered, summary.failed), (120, 0));
    assert!(begun.elapsed() >= Duration::from_secs(2), "the pause is the account's: {:?}", begun.elapsed());
    assert_eq!(RunStatus::Answered, answered("x").status);
}
