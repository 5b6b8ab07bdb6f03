//! The transport between the engine and the simulated providers: everything that can happen to a request on its way there and
//! back. Watches what a provider would watch: how many at once, how many 429s, who goes on after a refused key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use overheard::http::{BoxFuture, HttpRequest, HttpResponse, HttpService};
use overheard::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use super::brightdata::{BrightData, Reply};
use super::crash::Point;
use super::direct::Direct;
use super::ledger::{About, Ledger};
use super::planted::Planted;
use super::sim::{Sim, lock};
use super::weather::{Call, Fault, Provider, Wait};

/// Answers 429 that Bright Data may give us in five minutes.
const TOO_MANY: usize = 8;
const FIVE_MINUTES_MS: i64 = 300_000;

#[derive(Debug)]
pub struct Network {
    sim: Arc<Sim>,
    world: Mutex<World>,
    traffic: Mutex<Traffic>,
    /// Most requests at once: triggers, OpenAI, Anthropic.
    caps: BTreeMap<Call, usize>,
}

/// The providers and what they charged.
#[derive(Debug)]
pub struct World {
    pub brightdata: BrightData,
    pub direct: Direct,
    pub ledger: Ledger,
}

/// What was seen on the wire.
#[derive(Debug, Default)]
struct Traffic {
    sent: u64,
    /// Requests at once, by life.
    in_flight: BTreeMap<(u64, Call), usize>,
    too_many: Vec<i64>,
    /// When a life was first told that key or money are gone.
    refused: BTreeMap<(u64, Provider), i64>,
    /// Direct requests whose bill did not come back, by what they asked.
    uncertain: BTreeMap<About, i64>,
    /// Snapshot ids that were told to whoever triggered.
    told: BTreeSet<String>,
}

impl Network {
    pub fn new(sim: Arc<Sim>, seed: u64, caps: BTreeMap<Call, usize>) -> Arc<Self> {
        let traits = sim.weather().traits;
        let (brightdata, direct) = (BrightData::new(seed, traits), Direct::new(seed, traits.paused_turns));
        let world = World { brightdata, direct, ledger: Ledger::default() };
        Arc::new(Self { sim, world: Mutex::new(world), traffic: Mutex::default(), caps })
    }

    pub fn world<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        work(&mut lock(&self.world))
    }

    /// Requests so far.
    pub fn sent(&self) -> u64 {
        lock(&self.traffic).sent
    }

    /// Direct requests of this kind whose bill did not come back.
    pub fn uncertain(&self, about: &About) -> i64 {
        lock(&self.traffic).uncertain.get(about).copied().unwrap_or(0)
    }

    /// True when the id of this snapshot reached whoever triggered it.
    pub fn is_told(&self, snapshot: &str) -> bool {
        lock(&self.traffic).told.contains(snapshot)
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse> {
        let message = Message::read(&request)?;
        let call = message.call;
        let before = if call.is_direct() { Point::BeforeDirect } else { Point::BeforeTrigger };
        if call.is_direct() || call == Call::Trigger {
            self.sim.at(before).await;
        }
        if self.sim.fuse().is_burnt() {
            std::future::pending::<()>().await;
        }
        let _flight = self.take_off(call);
        let now = self.sim.elapsed_ms();
        let (fault, latency) = {
            let mut weather = self.sim.weather();
            (weather.wire(call, now), weather.latency_ms(call))
        };
        self.sim.event(format!("{call:?} is sent: {fault:?}"));
        self.sim.count(kind(fault));
        self.doubt(&message, 1);
        let reply = self.answer(&request, &message, fault, latency).await;
        if reply.as_ref().is_ok_and(|reply| is_whole_bill(fault, reply)) {
            self.doubt(&message, -1);
        }
        let answered = match call {
            Call::Trigger => Point::TriggerAnswered,
            call if call.is_direct() => Point::DirectAnswered,
            _ => Point::FreeAnswered,
        };
        self.sim.at(answered).await;
        let status = reply.as_ref().map_or_else(|error| format!("{:?}", error.kind), |reply| reply.status.to_string());
        self.sim.event(format!("{call:?} is answered: {status}"));
        if let (Call::Trigger, Ok(reply)) = (call, &reply) {
            let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            lock(&self.traffic).told.extend(body["snapshot_id"].as_str().map(str::to_owned));
        }
        reply
    }

    /// A direct request is on its way, or its bill has come back.
    fn doubt(&self, message: &Message, change: i64) {
        if let Some(about) = message.about() {
            *lock(&self.traffic).uncertain.entry(about).or_default() += change;
        }
    }

    async fn answer(&self, request: &HttpRequest, message: &Message, fault: Fault, latency: u64) -> Result<HttpResponse> {
        let half = Duration::from_millis(latency / 2);
        tokio::time::sleep(half).await;
        let lost = || Error::new(ErrorKind::OutcomeUnknown, "the connection broke after the request was sent");
        let worked = match fault {
            Fault::None | Fault::Slow | Fault::Truncated | Fault::WithoutId => true,
            Fault::Lost { accepted } | Fault::Hang { accepted } | Fault::Html { accepted } | Fault::Status { accepted, .. } => {
                accepted
            }
            Fault::NotSent | Fault::TooMany(_) | Fault::BadKey | Fault::NoMoney | Fault::OldId => false,
        };
        let reply = if worked { Some(self.serve(message).await) } else { None };
        match fault {
            Fault::None => {
                tokio::time::sleep(half).await;
                Ok(whole(reply.unwrap_or_default(), self.sim.now_ms()))
            }
            Fault::Slow => {
                let slow = Duration::from_millis(self.sim.weather().chance().between(5_000, 200_000));
                if slow >= request.timeout {
                    tokio::time::sleep(request.timeout).await;
                    return Err(Error::new(ErrorKind::OutcomeUnknown, "no complete reply within the time limit"));
                }
                tokio::time::sleep(slow).await;
                Ok(whole(reply.unwrap_or_default(), self.sim.now_ms()))
            }
            Fault::NotSent => Err(Error::new(ErrorKind::NotSent, "no connection: refused")),
            Fault::Lost { .. } => Err(lost()),
            Fault::Hang { .. } => {
                tokio::time::sleep(request.timeout).await;
                Err(Error::new(ErrorKind::OutcomeUnknown, "no complete reply within the time limit"))
            }
            Fault::TooMany(wait) => Ok(self.too_many(message.call, wait)),
            Fault::Status { status, .. } => {
                Ok(whole((status, json!({"error": {"type": "server_error", "message": "a bad day"}})), 0))
            }
            Fault::Html { .. } => Ok(whole((200, json!("<html><body>Please sign in to this network</body></html>")), 0)),
            Fault::Truncated => {
                let mut reply = whole(reply.unwrap_or_default(), 0);
                reply.body.truncate(reply.body.len() / 2);
                Ok(reply)
            }
            Fault::BadKey => Ok(self.refused(message.call, bad_key(message.call))),
            Fault::NoMoney => Ok(self.refused(message.call, no_money(message.call))),
            Fault::WithoutId => Ok(whole((200, json!({})), 0)),
            Fault::OldId => {
                let id = message.query.get("dataset_id").and_then(|dataset| self.world(|world| world.brightdata.old_id(dataset)));
                match id {
                    Some(id) => {
                        self.sim.count("wire: an old snapshot id");
                        Ok(whole((200, json!({"snapshot_id": id})), 0))
                    }
                    None => Err(lost()),
                }
            }
        }
    }

    /// The provider does its work.
    async fn serve(&self, message: &Message) -> Reply {
        let now = self.sim.now_ms();
        let reply = self.world(|world| match message.call {
            Call::Trigger => world.brightdata.trigger(&message.query, &message.body, now, &mut world.ledger),
            Call::OpenAi => world.direct.responses(&message.body, &mut world.ledger),
            Call::Anthropic => world.direct.messages(&message.body, &mut world.ledger),
            _ => {
                let path: Vec<&str> = message.path.iter().map(String::as_str).collect();
                world.brightdata.ask(&path, &message.query, now)
            }
        });
        match message.call {
            Call::Trigger => self.sim.at(Point::TriggerAccepted).await,
            call if call.is_direct() => self.sim.at(Point::DirectAccepted).await,
            _ => {}
        }
        reply
    }

    fn too_many(&self, call: Call, wait: Wait) -> HttpResponse {
        let now = self.sim.now_ms();
        if call.provider() == Provider::BrightData {
            let mut traffic = lock(&self.traffic);
            traffic.too_many.push(now);
            let recent = traffic.too_many.iter().filter(|at| now - **at < FIVE_MINUTES_MS).count();
            drop(traffic);
            if recent > TOO_MANY {
                self.sim.violation("I14", format!("{recent} answers of Bright Data were 429 within five minutes"));
            }
        }
        let body = match call {
            Call::OpenAi => {
                json!({"error": {"message": "Rate limit reached", "type": "requests", "param": null, "code": "rate_limit_exceeded"}})
            }
            Call::Anthropic => json!({"type": "error", "error": {"type": "rate_limit_error", "message": "Too many requests"}}),
            _ => json!("You have too many running jobs for this dataset. Running jobs: 100>=100"),
        };
        let mut reply = whole((429, body), now);
        let date = |ms: i64| httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_millis(ms.max(0) as u64));
        let said = match wait {
            Wait::Seconds(seconds) => Some(("retry-after", seconds.to_string())),
            Wait::Milliseconds(ms) => Some(("retry-after-ms", ms.to_string())),
            Wait::Date(seconds) => Some(("retry-after", date(now + seconds as i64 * 1_000))),
            Wait::Negative => Some(("retry-after", "-5".to_owned())),
            Wait::Words => Some(("retry-after", "soon".to_owned())),
            Wait::Hour => Some(("retry-after", "3600".to_owned())),
            Wait::Unsaid => None,
        };
        if let Some((name, value)) = said {
            reply.headers.insert(HeaderName::from_static(name), value.parse().expect("a header of ours"));
        }
        reply.headers.insert("date", date(now).parse().expect("a header of ours"));
        reply
    }

    /// Notes that this life knows now that it may send no more.
    fn refused(&self, call: Call, reply: Reply) -> HttpResponse {
        let now = self.sim.now_ms();
        lock(&self.traffic).refused.entry((self.sim.life(), call.provider())).or_insert(now);
        whole(reply, now)
    }

    fn take_off(&self, call: Call) -> Flight<'_> {
        let (life, now) = (self.sim.life(), self.sim.now_ms());
        let mut traffic = lock(&self.traffic);
        traffic.sent += 1;
        let count = traffic.in_flight.entry((life, call)).or_default();
        *count += 1;
        let (count, refused) = (*count, traffic.refused.get(&(life, call.provider())).copied());
        drop(traffic);
        if let Some(cap) = self.caps.get(&call).filter(|cap| count > **cap) {
            self.sim.violation("I15", format!("{count} requests at once to {call:?}, whose cap is {cap}"));
        }
        if refused.is_some_and(|at| now > at + 1_000) {
            self.sim.violation("I16", format!("{call:?} is sent more than a second after its provider refused key or money"));
        }
        Flight { network: self, life, call }
    }
}

/// A request that is on its way.
struct Flight<'a> {
    network: &'a Network,
    life: u64,
    call: Call,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if let Some(count) = lock(&self.network.traffic).in_flight.get_mut(&(self.life, self.call)) {
            *count -= 1;
        }
    }
}

impl HttpService for Network {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse>> {
        Box::pin(async move {
            let reply = self.exchange(request.clone()).await;
            let lost = reply.as_ref().is_err_and(|error| error.kind == ErrorKind::OutcomeUnknown);
            if lost && request.url.contains("/trigger") && self.sim.is_planted(Planted::BlindRetry) {
                return self.exchange(request).await;
            }
            reply
        })
    }
}

/// A request as a provider reads it.
struct Message {
    call: Call,
    path: Vec<String>,
    query: BTreeMap<String, String>,
    body: Value,
}

impl Message {
    fn read(request: &HttpRequest) -> Result<Self> {
        let url = url::Url::parse(&request.url).map_err(|error| Error::internal(format!("{}: {error}", request.url)))?;
        let path: Vec<String> = url.path_segments().into_iter().flatten().map(str::to_owned).collect();
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        let (call, skipped) = match words.as_slice() {
            ["v1", "responses"] => (Call::OpenAi, 0),
            ["v1", "messages"] => (Call::Anthropic, 0),
            ["datasets", "v3", "trigger"] => (Call::Trigger, 2),
            ["datasets", "v3", "progress", _] => (Call::Progress, 2),
            ["datasets", "v3", "snapshots"] => (Call::List, 2),
            ["datasets", "v3", "snapshot", _, "input"] => (Call::Inputs, 2),
            ["datasets", "v3", "snapshot", _] => (Call::Download, 2),
            _ => return Err(Error::internal(format!("the simulation knows no {}", url.path()))),
        };
        let body = if request.body.is_empty() { Value::Null } else { serde_json::from_slice(&request.body).unwrap_or_default() };
        let query = url.query_pairs().into_owned().collect();
        Ok(Self { call, path: path.into_iter().skip(skipped).collect(), query, body })
    }

    /// What a question to a model asks; `None` for everything else.
    fn about(&self) -> Option<About> {
        let question = match self.call {
            Call::OpenAi => self.body["input"].as_str()?,
            Call::Anthropic => self.body["messages"][0]["content"].as_str()?,
            _ => return None,
        };
        let country = self.body["tools"][0]["user_location"]["country"].as_str().unwrap_or_default();
        Some(About::Answer {
            model: self.body["model"].as_str().unwrap_or_default().to_owned(),
            question: question.to_owned(),
            country: country.to_owned(),
        })
    }
}

fn whole((status, body): Reply, now_ms: i64) -> HttpResponse {
    let body = match body {
        Value::String(text) => Bytes::from(text),
        other => Bytes::from(other.to_string()),
    };
    let mut headers = HeaderMap::new();
    headers.insert("x-request-id", HeaderValue::from(now_ms));
    HttpResponse { status, headers, body }
}

fn bad_key(call: Call) -> Reply {
    let body = match call {
        Call::OpenAi => {
            json!({"error": {"message": "Incorrect API key provided", "type": "invalid_request_error", "code": "invalid_api_key"}})
        }
        Call::Anthropic => json!({"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}),
        _ => json!("Invalid token"),
    };
    (401, body)
}

fn no_money(call: Call) -> Reply {
    match call {
        Call::OpenAi => (
            429,
            json!({"error": {"message": "You exceeded your current quota, please check your plan and billing details.", "type": "insufficient_quota", "param": null, "code": "insufficient_quota"}}),
        ),
        Call::Anthropic => {
            (402, json!({"type": "error", "error": {"type": "billing_error", "message": "Your credit balance is too low"}}))
        }
        _ => (402, json!({"error": "Insufficient funds"})),
    }
}

/// True when the reply tells all that was charged for. A paused turn is told, and may be given up later.
fn is_whole_bill(fault: Fault, reply: &HttpResponse) -> bool {
    let paused = || reply.body.windows(12).any(|words| words == b"\"pause_turn\"");
    matches!(fault, Fault::None | Fault::Slow) && reply.status == 200 && !paused()
}

/// The name of a fault in the table.
fn kind(fault: Fault) -> &'static str {
    match fault {
        Fault::None => "wire: undisturbed",
        Fault::Slow => "wire: slow",
        Fault::NotSent => "wire: not sent",
        Fault::Lost { accepted: false } => "wire: lost, not accepted",
        Fault::Lost { accepted: true } => "wire: accepted, reply lost",
        Fault::Hang { accepted: false } => "wire: hangs, not accepted",
        Fault::Hang { accepted: true } => "wire: accepted, hangs",
        Fault::TooMany(Wait::Seconds(_)) => "wire: 429, seconds",
        Fault::TooMany(Wait::Milliseconds(_)) => "wire: 429, milliseconds",
        Fault::TooMany(Wait::Date(_)) => "wire: 429, a date",
        Fault::TooMany(Wait::Negative) => "wire: 429, a negative wait",
        Fault::TooMany(Wait::Words) => "wire: 429, words",
        Fault::TooMany(Wait::Unsaid) => "wire: 429, no wait",
        Fault::TooMany(Wait::Hour) => "wire: 429, an hour",
        Fault::Status { accepted: false, .. } => "wire: 5xx, not accepted",
        Fault::Status { accepted: true, .. } => "wire: accepted, 5xx",
        Fault::Html { accepted: false } => "wire: HTML, not accepted",
        Fault::Html { accepted: true } => "wire: accepted, HTML",
        Fault::Truncated => "wire: truncated",
        Fault::BadKey => "wire: 401",
        Fault::NoMoney => "wire: out of money",
        Fault::WithoutId => "wire: trigger without an id",
        Fault::OldId => "wire: lost or an old id",
    }
}
