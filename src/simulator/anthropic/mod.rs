//! Anthropic as its vendor documents it: messages, token counts, message batches. Dispatch, errors and headers; the answers
//! are in the modules below. Must not know who is asking.

mod batches;
mod blocks;
mod messages;
mod request;

use axum::http::Method;
use serde_json::{Value, json};

use super::reply::Reply;
use super::rng;
use super::sim::{Call, Speed, now_ms};
use super::time;

pub(crate) use batches::settle;

/// Message batches.
#[derive(Debug, Default)]
pub(crate) struct Store {
    batches: Vec<batches::Batch>,
    counter: u64,
}

/// Names for the ledger.
pub(crate) fn endpoint(method: &Method, path: &[&str]) -> &'static str {
    match (method.as_str(), path) {
        ("POST", ["v1", "messages"]) => "anthropic.messages",
        ("POST", ["v1", "messages", "count_tokens"]) => "anthropic.count_tokens",
        (_, ["v1", "messages", "batches", ..]) => "anthropic.batches",
        _ => "anthropic.unknown",
    }
}

/// The error body as a value.
fn error_value(kind: &str, message: &str, key: u64) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id(key)})
}

/// The error reply.
pub(crate) fn error(status: u16, kind: &str, message: &str, key: u64) -> Reply {
    headers(Reply::json(status, &error_value(kind, message, key)), key)
}

fn request_id(key: u64) -> String {
    format!("req_01{}", rng::hex(key, 22))
}

/// The headers every reply carries.
pub(crate) fn headers(reply: Reply, key: u64) -> Reply {
    reply
        .header("request-id", request_id(key))
        .header("anthropic-organization-id", "00000000-0000-4000-8000-000000000000")
        .header("anthropic-ratelimit-requests-limit", "4000")
        .header("anthropic-ratelimit-requests-remaining", "3999")
        .header("anthropic-ratelimit-requests-reset", "2026-11-21T00:00:00Z")
        .header("anthropic-ratelimit-input-tokens-limit", "2000000")
        .header("anthropic-ratelimit-input-tokens-remaining", "1990000")
        .header("anthropic-ratelimit-input-tokens-reset", "2026-11-21T00:00:00Z")
}

/// The headers of a speed limit that is in force: the limit is per minute, whatever may be had at once.
pub(crate) fn speed(reply: Reply, speed: Speed) -> Reply {
    let full_in_ms = ((speed.capacity - speed.remaining) / speed.rate * 1_000.0).ceil() as u64;
    reply
        .header("anthropic-ratelimit-requests-limit", (speed.rate * 60.0).floor().to_string())
        .header("anthropic-ratelimit-requests-remaining", speed.remaining.floor().to_string())
        .header("anthropic-ratelimit-requests-reset", time::rfc3339(now_ms() + full_in_ms))
}

/// The reply to a call without a key.
pub(crate) fn unauthorized() -> Reply {
    error(401, "authentication_error", "x-api-key header is required", 401)
}

/// Answers a call.
pub(crate) fn answer(call: Call<'_>, method: &Method, path: &[&str], query: &[(String, String)], body: &[u8]) -> Reply {
    match (method.as_str(), path) {
        ("POST", ["v1", "messages"]) => with_json(body, |value| messages::answer(call, value)),
        ("POST", ["v1", "messages", "count_tokens"]) => with_json(body, messages::count_tokens),
        ("POST", ["v1", "messages", "batches"]) => with_json(body, |value| batches::create(call, value)),
        ("GET", ["v1", "messages", "batches"]) => batches::list(call.sim, query),
        ("GET", ["v1", "messages", "batches", id]) => batches::retrieve(call.sim, id),
        ("DELETE", ["v1", "messages", "batches", id]) => batches::delete(call.sim, id),
        ("GET", ["v1", "messages", "batches", id, "results"]) => batches::results(call.sim, id),
        ("POST", ["v1", "messages", "batches", id, "cancel"]) => batches::cancel(call.sim, id),
        _ => error(404, "not_found_error", "Not found", 404),
    }
}

fn with_json(body: &[u8], then: impl FnOnce(&Value) -> Reply) -> Reply {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) if value.is_object() => then(&value),
        _ => error(400, "invalid_request_error", "The request body is not valid JSON", rng::hash(body)),
    }
}
