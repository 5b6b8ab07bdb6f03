//! OpenAI as its vendor documents it: responses, chat completions, models, files and batches. Dispatch, errors and headers;
//! the answers are in the modules below. Must not know who is asking.

mod batches;
mod chat;
mod files;
mod request;
mod responses;

use axum::http::Method;
use serde_json::{Value, json};

use super::prices;
use super::reply::Reply;
use super::rng;
use super::sim::{Call, Sim, Speed};

pub(crate) use batches::settle;
pub(crate) use files::Upload;

/// Files and batches.
#[derive(Debug, Default)]
pub(crate) struct Store {
    files: Vec<files::File>,
    batches: Vec<batches::Batch>,
    counter: u64,
}

impl Store {
    /// An id that never repeats.
    fn id(&mut self, nonce: u64, prefix: &str) -> String {
        self.counter += 1;
        format!("{prefix}{}", rng::hex(rng::join(&[nonce, self.counter, rng::hash(prefix.as_bytes())]), 24))
    }
}

/// Names for the ledger.
pub(crate) fn endpoint(method: &Method, path: &[&str]) -> &'static str {
    match (method.as_str(), path) {
        ("POST", ["v1", "responses"]) => "openai.responses",
        ("POST", ["v1", "chat", "completions"]) => "openai.chat_completions",
        (_, ["v1", "models", ..]) => "openai.models",
        (_, ["v1", "files", ..]) => "openai.files",
        (_, ["v1", "batches", ..]) => "openai.batches",
        _ => "openai.unknown",
    }
}

/// The error body.
pub(crate) fn error(status: u16, kind: &str, code: Option<&str>, param: Option<&str>, message: &str) -> Reply {
    Reply::json(status, &json!({"error": {"message": message, "type": kind, "param": param, "code": code}}))
}

/// A 400.
fn invalid(message: &str, param: Option<&str>, code: Option<&str>) -> Reply {
    error(400, "invalid_request_error", code, param, message)
}

/// The headers every reply carries.
pub(crate) fn headers(reply: Reply, key: u64) -> Reply {
    let processing = reply.delay_ms.to_string();
    reply
        .header("x-request-id", format!("req_{}", rng::hex(key, 32)))
        .header("openai-version", "2020-10-01")
        .header("openai-organization", "simulated-org")
        .header("openai-project", "proj_simulated")
        .header("openai-processing-ms", processing)
        .header("x-ratelimit-limit-requests", "10000")
        .header("x-ratelimit-remaining-requests", "9999")
        .header("x-ratelimit-reset-requests", "6ms")
        .header("x-ratelimit-limit-tokens", "2000000")
        .header("x-ratelimit-remaining-tokens", "1999000")
        .header("x-ratelimit-reset-tokens", "30ms")
}

/// The headers of a speed limit that is in force: what may be had at once, and when all of it is there again.
pub(crate) fn speed(reply: Reply, speed: Speed) -> Reply {
    let full_in = ((speed.capacity - speed.remaining) / speed.rate * 1_000.0).ceil();
    reply
        .header("x-ratelimit-limit-requests", speed.capacity.floor().to_string())
        .header("x-ratelimit-remaining-requests", speed.remaining.floor().to_string())
        .header("x-ratelimit-reset-requests", format!("{full_in}ms"))
}

/// The reply to a call without a valid key.
pub(crate) fn unauthorized() -> Reply {
    let message = "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth \
                   (i.e. Authorization: Bearer YOUR_KEY). You can obtain an API key from https://platform.openai.com/account/api-keys.";
    error(401, "invalid_request_error", Some("invalid_api_key"), None, message)
}

/// The reply to a body that is no JSON object.
fn unparsed() -> Reply {
    let message = "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library \
                   correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)";
    error(400, "invalid_request_error", None, None, message)
}

/// Answers a call.
pub(crate) fn answer(call: Call<'_>, method: &Method, path: &[&str], query: &[(String, String)], body: &[u8]) -> Reply {
    match (method.as_str(), path) {
        ("POST", ["v1", "responses"]) => with_json(body, |value| responses::answer(call, value)),
        ("POST", ["v1", "chat", "completions"]) => with_json(body, |value| chat::answer(call, value)),
        ("GET", ["v1", "models"]) => {
            Reply::json(200, &json!({"object": "list", "data": prices::names().filter(served).map(model).collect::<Vec<_>>()}))
        }
        ("GET", ["v1", "models", name]) => match prices::lookup(name) {
            Some(_) => Reply::json(200, &model(name)),
            None => unknown_model(name),
        },
        ("GET", ["v1", "files"]) => files::list(call.sim, query),
        ("GET", ["v1", "files", id]) => files::retrieve(call.sim, id),
        ("GET", ["v1", "files", id, "content"]) => files::content(call.sim, id),
        ("DELETE", ["v1", "files", id]) => files::delete(call.sim, id),
        ("POST", ["v1", "batches"]) => with_json(body, |value| batches::create(call, value)),
        ("GET", ["v1", "batches"]) => batches::list(call.sim, query),
        ("GET", ["v1", "batches", id]) => batches::retrieve(call.sim, id),
        ("POST", ["v1", "batches", id, "cancel"]) => batches::cancel(call.sim, id),
        _ => error(404, "invalid_request_error", None, None, &format!("Invalid URL ({method} /{})", path.join("/"))),
    }
}

/// Stores an uploaded file.
pub(crate) fn upload(sim: &Sim, upload: Upload) -> Reply {
    files::create(sim, upload)
}

fn with_json(body: &[u8], then: impl FnOnce(&Value) -> Reply) -> Reply {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) if value.is_object() => then(&value),
        _ => unparsed(),
    }
}

fn served(name: &&str) -> bool {
    !name.starts_with("claude")
}

fn model(name: &str) -> Value {
    json!({"id": name, "object": "model", "created": 1_740_000_000, "owned_by": "system"})
}

fn unknown_model(name: &str) -> Reply {
    let message = format!("The model `{name}` does not exist or you do not have access to it.");
    error(404, "invalid_request_error", Some("model_not_found"), None, &message)
}
