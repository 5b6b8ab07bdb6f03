//! What the codec tests share: settings with keys, asks, replies, sample files. Asserts nothing itself.

use std::sync::Arc;

use http::HeaderMap;
use overheard::config::{Secret, Settings};
use overheard::domain::{Location, Outcome, Price};
use overheard::http::{HttpRequest, HttpResponse};
use overheard::providers::{Ask, DirectProvider, Download, Protocol, Provider, SnapshotProvider, Turn, provider_for};
use serde_json::Value;

/// Settings with three made-up keys.
pub fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.openai.api_key = Secret::new("test-openai-key");
    settings.anthropic.api_key = Secret::new("test-anthropic-key");
    settings.brightdata.api_key = Secret::new("test-brightdata-key");
    settings
}

/// The provider of a model, with [`settings`].
pub fn provider(model: &str) -> Arc<dyn Provider> {
    provider_for(model, &settings()).unwrap()
}

/// Its direct side.
pub fn direct(provider: &dyn Provider) -> &dyn DirectProvider {
    match provider.protocol() {
        Protocol::Direct(direct) => direct,
        other => panic!("not direct: {other:?}"),
    }
}

/// Its snapshot side.
pub fn snapshot(provider: &dyn Provider) -> &dyn SnapshotProvider {
    match provider.protocol() {
        Protocol::Snapshot(snapshot) => snapshot,
        other => panic!("no snapshots: {other:?}"),
    }
}

/// A question without a location, with web search.
pub fn ask(question: &str) -> Ask {
    Ask { key: "q1|model|anywhere|1".into(), question: question.into(), location: None, web_search: true }
}

/// A question from a country.
pub fn ask_from(question: &str, country: &str) -> Ask {
    Ask { location: Some(Arc::new(Location { country: country.into(), ..Location::default() })), ..ask(question) }
}

/// A reply without headers.
pub fn reply(status: u16, body: impl AsRef<[u8]>) -> HttpResponse {
    HttpResponse { status, headers: HeaderMap::new(), body: body.as_ref().to_vec().into() }
}

/// A reply with headers.
pub fn reply_with(status: u16, headers: &[(&'static str, &str)], body: impl AsRef<[u8]>) -> HttpResponse {
    let mut reply = reply(status, body);
    for (name, value) in headers {
        reply.headers.insert(*name, value.parse().unwrap());
    }
    reply
}

/// A reply of a JSON value; text values are sent as they are, as Bright Data does.
pub fn reply_json(status: u16, body: &Value) -> HttpResponse {
    match body {
        Value::String(text) => reply(status, text),
        other => reply(status, other.to_string()),
    }
}

/// A sample file as text.
pub fn sample_text(path: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/fixtures/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// A sample file as JSON.
pub fn sample(path: &str) -> Value {
    serde_json::from_str(&sample_text(path)).unwrap()
}

/// The body of a request as JSON.
pub fn body(request: &HttpRequest) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

/// Decodes one direct reply to its end.
pub fn decode(provider: &dyn Provider, ask: &Ask, reply: &HttpResponse) -> Outcome {
    match direct(provider).decode(ask, std::slice::from_ref(reply)).unwrap() {
        Turn::Done(outcome) => *outcome,
        Turn::Continue(request) => panic!("continues: {request:?}"),
    }
}

/// Decodes a download that has rows: outcomes, rows received, foreign rows.
pub fn rows(provider: &dyn Provider, asks: &[Ask], reply: &HttpResponse) -> (Vec<Outcome>, usize, usize) {
    match snapshot(provider).decode_download(asks, reply).unwrap() {
        Download::Rows { outcomes, received, foreign } => (outcomes, received, foreign),
        other => panic!("no rows: {other:?}"),
    }
}

/// The outcome of one question from a download of these rows.
pub fn row(model: &str, question: &str, rows_sent: &Value) -> Outcome {
    let provider = provider(model);
    let (mut outcomes, _, _) = rows(provider.as_ref(), &[ask(question)], &reply_json(200, rows_sent));
    outcomes.remove(0)
}

/// The text between two character offsets.
pub fn span(text: &str, start: Option<u32>, end: Option<u32>) -> String {
    let (start, end) = (start.unwrap() as usize, end.unwrap() as usize);
    text.chars().skip(start).take(end - start).collect()
}

/// A charge computed the plain way: tokens times dollars per million, plus searches; micro-dollars, rounded half up.
pub fn charged(price: &Price, plain: i64, cached: i64, written: i64, output: i64, searches: i64) -> i64 {
    let per_million = plain * price.input.unwrap()
        + cached * price.cached_input.unwrap_or(0)
        + written * price.cache_write.unwrap_or(0)
        + output * price.output.unwrap()
        + searches * price.search.unwrap_or(0) * 1_000_000;
    (per_million + 500_000) / 1_000_000
}
