//! The HTTP side: one server for all providers, routed by path; authentication, faults, delays and the control endpoints
//! below `/_sim`. Knows which path belongs to whom, and nothing of what an answer holds.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest, Multipart, Request, State};
use axum::http::{HeaderMap, Method, Response};
use axum::routing::any;
use serde_json::{Value, json};

use super::faults::Stage;
use super::reply::Reply;
use super::sim::{Call, Sim, now_ms};
use super::spoil::{self, Fate};
use super::wire::Wire;
use super::{anthropic, brightdata, openai};

/// Largest request body.
const LARGEST_BODY: usize = 256 << 20;

/// Whose API a path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provider {
    OpenAi,
    Anthropic,
    BrightData,
}

impl Provider {
    fn of(path: &[&str]) -> Option<Self> {
        match path {
            ["v1", "messages", ..] => Some(Self::Anthropic),
            ["v1", ..] => Some(Self::OpenAi),
            ["datasets", ..] => Some(Self::BrightData),
            _ => None,
        }
    }

    fn endpoint(self, method: &Method, path: &[&str]) -> &'static str {
        match self {
            Self::OpenAi => openai::endpoint(method, path),
            Self::Anthropic => anthropic::endpoint(method, path),
            Self::BrightData => brightdata::endpoint(method, path),
        }
    }

    fn authorized(self, headers: &HeaderMap) -> bool {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let bearer = header("authorization").strip_prefix("Bearer ").is_some_and(|key| !key.trim().is_empty());
        bearer || (self == Self::Anthropic && !header("x-api-key").trim().is_empty())
    }

    fn unauthorized(self) -> Reply {
        match self {
            Self::OpenAi => openai::headers(openai::unauthorized(), 401),
            Self::Anthropic => anthropic::unauthorized(),
            Self::BrightData => brightdata::unauthorized(),
        }
    }
}

/// The application.
pub(crate) fn router(sim: Arc<Sim>) -> Router {
    Router::new()
        .route("/_sim/{name}", any(control))
        .fallback(provider)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(sim)
}

/// Counts a request as in flight until it is dropped, also when the client goes away.
struct InFlight<'a> {
    sim: &'a Sim,
    endpoint: &'static str,
    status: u16,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.sim.ledger().left(self.endpoint, self.status, now_ms());
    }
}

async fn provider(State(sim): State<Arc<Sim>>, ConnectInfo(wire): ConnectInfo<Wire>, request: Request) -> Response<Body> {
    let started_ms = now_ms();
    let (parts, body) = request.into_parts();
    let path: Vec<&str> = parts.uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let Some(provider) = Provider::of(&path) else { return Reply::text(404, "Not found").into_response() };
    let endpoint = provider.endpoint(&parts.method, &path);
    sim.ledger().arrived(endpoint);
    let mut flight = InFlight { sim: &sim, endpoint, status: 0 };
    let fate = match to_bytes(body, LARGEST_BODY).await {
        Ok(body) => {
            let query = query(parts.uri.query().unwrap_or(""));
            let asked = Asked {
                provider,
                endpoint,
                method: &parts.method,
                path: &path,
                query: &query,
                headers: &parts.headers,
                body,
                started_ms,
            };
            serve(&sim, &wire, asked).await
        }
        Err(_) => Fate::Send(spoil::error(provider, 413)),
    };
    match fate {
        Fate::Send(reply) => {
            if reply.delay_ms > 0 {
                tokio::time::sleep(Duration::from_millis(reply.delay_ms)).await;
            }
            flight.status = reply.status;
            drop(flight);
            reply.into_response()
        }
        Fate::Played => Response::new(Body::from("unused")),
        Fate::Hang => std::future::pending().await,
    }
}

struct Asked<'a> {
    provider: Provider,
    endpoint: &'static str,
    method: &'a Method,
    path: &'a [&'a str],
    query: &'a [(String, String)],
    headers: &'a HeaderMap,
    body: Bytes,
    started_ms: u64,
}

async fn serve(sim: &Sim, wire: &Wire, asked: Asked<'_>) -> Fate {
    let provider = asked.provider;
    if !provider.authorized(asked.headers) {
        return Fate::Send(provider.unauthorized());
    }
    if provider == Provider::BrightData && brightdata::banned(sim) {
        return Fate::Send(brightdata::ban());
    }
    let direct = matches!(asked.endpoint, "openai.responses" | "openai.chat_completions" | "anthropic.messages");
    if !direct {
        return work(sim, wire, asked).await;
    }
    let Some(speed) = sim.speed_limit(if provider == Provider::OpenAi { "openai" } else { "anthropic" }) else {
        return work(sim, wire, asked).await;
    };
    let fate = match speed.wait_ms {
        Some(milliseconds) => Fate::Send(spoil::too_fast(provider, milliseconds)),
        None => work(sim, wire, asked).await,
    };
    match fate {
        Fate::Send(reply) if provider == Provider::OpenAi => Fate::Send(openai::speed(reply, speed)),
        Fate::Send(reply) => Fate::Send(anthropic::speed(reply, speed)),
        other => other,
    }
}

/// The faults and the provider's work.
async fn work(sim: &Sim, wire: &Wire, asked: Asked<'_>) -> Fate {
    let provider = asked.provider;
    let fault = {
        let mut faults = sim.faults();
        if faults.is_empty() {
            None
        } else {
            // The text of the JSON as it is on the wire, and decoded where escapes would hide a match.
            let mut text = String::from_utf8_lossy(&asked.body).into_owned();
            if text.contains('\\')
                && let Ok(value) = serde_json::from_slice::<Value>(&asked.body)
            {
                strings(&value, &mut text);
            }
            text.push_str(&brightdata::prompts(sim, asked.path));
            faults.take(asked.endpoint, &text)
        }
    };
    if let Some(fault) = &fault {
        sim.ledger().fault(fault.name);
        if fault.stage == Stage::Before {
            let fate = spoil::before(fault, provider, &sim.url, wire);
            if matches!(&fate, Fate::Send(reply) if reply.status == 429 && provider == Provider::BrightData) {
                brightdata::count_refusal(sim);
            }
            return fate;
        }
    }
    let content = fault.as_ref().filter(|fault| fault.stage == Stage::Content);
    let call = Call { sim, endpoint: asked.endpoint, started_ms: asked.started_ms, batch: false, fault: content };
    let reply = match provider {
        Provider::OpenAi if asked.endpoint == "openai.files" && asked.method == Method::POST && asked.path == ["v1", "files"] => {
            upload(sim, asked.headers, asked.body).await
        }
        Provider::OpenAi => openai::answer(call, asked.method, asked.path, asked.query, &asked.body),
        Provider::Anthropic => anthropic::answer(call, asked.method, asked.path, asked.query, &asked.body),
        Provider::BrightData => brightdata::answer(call, asked.method, asked.path, asked.query, &asked.body),
    };
    match fault.as_ref().filter(|fault| fault.stage == Stage::After) {
        None => Fate::Send(reply),
        Some(fault) => {
            let delay = reply.delay_ms;
            match spoil::after(fault, provider, reply, wire) {
                Fate::Send(spoilt) => Fate::Send(Reply { delay_ms: delay, ..spoilt }),
                fate => {
                    tokio::time::sleep(Duration::from_millis(delay)).await;
                    fate
                }
            }
        }
    }
}

/// Appends every string inside a value.
fn strings(value: &Value, text: &mut String) {
    match value {
        Value::String(part) => {
            text.push('\n');
            text.push_str(part);
        }
        Value::Array(items) => items.iter().for_each(|item| strings(item, text)),
        Value::Object(fields) => fields.values().for_each(|item| strings(item, text)),
        _ => {}
    }
}

async fn upload(sim: &Sim, headers: &HeaderMap, body: Bytes) -> Reply {
    let mut request = Request::new(Body::from(body));
    *request.headers_mut() = headers.clone();
    // A request made anew has the default limit of 2 MB again; the body was bounded when it was read.
    DefaultBodyLimit::disable().apply(&mut request);
    let mut upload = openai::Upload::default();
    if let Ok(mut parts) = Multipart::from_request(request, &()).await {
        while let Ok(Some(part)) = parts.next_field().await {
            match part.name() {
                Some("purpose") => upload.purpose = part.text().await.ok(),
                Some("file") => {
                    upload.name = part.file_name().map(str::to_owned);
                    upload.bytes = part.bytes().await.ok().map(|bytes| bytes.to_vec());
                }
                _ => {}
            }
        }
    }
    openai::headers(openai::upload(sim, upload), now_ms())
}

/// Decodes a query string: `+` and percent escapes.
fn query(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(name, value)| (decode(name), decode(value))).collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0);
                let [high, low] = digits.map(digit);
                bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn control(State(sim): State<Arc<Sim>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let name = parts.uri.path().trim_start_matches("/_sim/");
    let query = query(parts.uri.query().unwrap_or(""));
    let reply = match (parts.method.as_str(), name) {
        ("GET", "ledger") => {
            let charges = !query.iter().any(|(name, value)| name == "charges" && value == "0");
            Reply::json(200, &ledger(&sim, charges))
        }
        ("GET", "truth") => Reply::json(200, &truth(&sim)),
        ("POST", "faults") => match to_bytes(body, 1 << 20).await {
            Ok(body) => match serde_json::from_slice(&body) {
                Ok(value) => match sim.faults().add(&value) {
                    Ok(()) => Reply::json(200, &json!({"ok": true})),
                    Err(message) => spoil::refuse(&message),
                },
                Err(error) => spoil::refuse(&format!("the body is no JSON: {error}")),
            },
            Err(_) => spoil::refuse("the body is too large"),
        },
        ("DELETE", "faults") => {
            sim.faults().clear();
            Reply::json(200, &json!({"ok": true}))
        }
        _ => Reply::text(404, "known: GET ledger, GET truth, POST faults, DELETE faults"),
    };
    reply.into_response()
}

/// Books what has become due, then the ledger.
pub(crate) fn ledger(sim: &Sim, charges: bool) -> Value {
    settle(sim);
    sim.ledger().to_json(charges)
}

/// Books what has become due, then the truth.
pub(crate) fn truth(sim: &Sim) -> Value {
    settle(sim);
    sim.truth().to_json(&sim.world)
}

fn settle(sim: &Sim) {
    brightdata::settle(sim);
    openai::settle(sim);
    anthropic::settle(sim);
}
