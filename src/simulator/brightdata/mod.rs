//! Bright Data's scraper API as its vendor documents it: trigger, scrape, progress, snapshot with parts, inputs and cancel,
//! list. Dispatch and small replies; snapshots live in `snapshots`, rows in `rows`. Must not know who is asking.

mod engines;
mod rows;
mod snapshots;
mod trigger;

use axum::http::Method;
use serde_json::{Value, json};

use super::faults;
use super::reply::Reply;
use super::rng;
use super::sim::{Call, Sim, lock, now_ms};
use super::time;

pub(crate) use snapshots::{Store, settle};

/// Names for the ledger.
pub(crate) fn endpoint(method: &Method, path: &[&str]) -> &'static str {
    match (method.as_str(), path) {
        ("POST", ["datasets", "v3", "trigger"]) => "brightdata.trigger",
        ("POST", ["datasets", "v3", "scrape"]) => "brightdata.scrape",
        ("GET", ["datasets", "v3", "progress", _]) => "brightdata.progress",
        ("GET", ["datasets", "v3", "snapshots"]) => "brightdata.list",
        ("GET", ["datasets", "v3", "snapshot", _]) => "brightdata.snapshot",
        ("GET", ["datasets", "v3", "snapshot", _, "parts"]) => "brightdata.parts",
        ("GET", ["datasets", "v3", "snapshot", _, "input"]) => "brightdata.input",
        ("POST", ["datasets", "v3", "snapshot", _, "cancel"]) => "brightdata.cancel",
        _ => "brightdata.unknown",
    }
}

/// The reply to a call without a valid key.
pub(crate) fn unauthorized() -> Reply {
    Reply::text(401, "Invalid credentials")
}

/// The prompts of a snapshot, for faults that match by prompt on calls that name only its id.
pub(crate) fn prompts(sim: &Sim, path: &[&str]) -> String {
    let id = match path {
        ["datasets", "v3", "progress", id] | ["datasets", "v3", "snapshot", id, ..] => id,
        _ => return String::new(),
    };
    lock(&sim.brightdata).get(id).map(|snapshot| snapshot.prompts().join("\n")).unwrap_or_default()
}

/// True when this address asked too often: 25 times 429 in five minutes.
pub(crate) fn banned(sim: &Sim) -> bool {
    lock(&sim.brightdata).banned(now_ms())
}

/// Counts a 429.
pub(crate) fn count_refusal(sim: &Sim) {
    lock(&sim.brightdata).refused(now_ms());
}

/// The reply after the ban; the vendor does not document its form.
pub(crate) fn ban() -> Reply {
    Reply::text(403, "Your IP is blocked: too many 429 responses. Please contact support.")
}

/// Answers a call.
pub(crate) fn answer(call: Call<'_>, method: &Method, path: &[&str], query: &[(String, String)], body: &[u8]) -> Reply {
    settle(call.sim);
    match (method.as_str(), path) {
        ("POST", ["datasets", "v3", "trigger"]) => trigger::trigger(call, query, body),
        ("POST", ["datasets", "v3", "scrape"]) => trigger::scrape(call, query, body),
        ("GET", ["datasets", "v3", "progress", id]) => progress(call, id),
        ("GET", ["datasets", "v3", "snapshots"]) => list(call, query),
        ("GET", ["datasets", "v3", "snapshot", id]) => snapshots::download(call, id, query),
        ("GET", ["datasets", "v3", "snapshot", id, "parts"]) => parts(call.sim, id, query),
        ("GET", ["datasets", "v3", "snapshot", id, "input"]) => input(call, id),
        ("POST", ["datasets", "v3", "snapshot", id, "cancel"]) => cancel(call.sim, id),
        _ => Reply::text(404, "Not found"),
    }
}

/// The value of a query parameter.
fn parameter<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn missing() -> Reply {
    Reply::text(404, "Snapshot does not exist")
}

fn expired() -> Reply {
    Reply::text(400, "Snapshot is expired")
}

fn progress(call: Call<'_>, id: &str) -> Reply {
    if faults::is(call.fault, "snapshot_expired") {
        return expired();
    }
    let mut store = lock(&call.sim.brightdata);
    let Some(snapshot) = store.get_mut(id).filter(|_| !faults::is(call.fault, "snapshot_gone")) else { return missing() };
    let fault = call.fault.or(snapshot.fault.as_ref());
    let status = snapshot.status(now_ms(), fault);
    let mut body = json!({"snapshot_id": id, "dataset_id": snapshot.dataset, "status": status});
    if let Some(object) = body.as_object_mut() {
        match status.as_str() {
            "ready" => {
                let (records, errors) = snapshot.counts();
                object.insert("records".to_owned(), json!(records));
                object.insert("errors".to_owned(), json!(errors));
                object.insert("collection_duration".to_owned(), json!(snapshot.ready_ms.saturating_sub(snapshot.created_ms)));
            }
            "failed" => {
                let words = fault.map(|fault| fault.argument.as_str()).filter(|words| !words.is_empty());
                object.insert("error_message".to_owned(), json!(words.unwrap_or("Snapshot is empty")));
            }
            _ => {}
        }
    }
    Reply::json(200, &body)
}

fn list(call: Call<'_>, query: &[(String, String)]) -> Reply {
    let Some(dataset) = parameter(query, "dataset_id") else {
        return Reply::json(400, &json!({"error": "dataset_id is required"}));
    };
    let number = |name: &str, default: usize| parameter(query, name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (skip, limit) = (number("skip", 0), number("limit", 1_000));
    if limit > 5_000 {
        return Reply::json(400, &json!({"validation_errors": ["limit must be less than or equal to 5000"]}));
    }
    let now = now_ms();
    let lag = call.fault.filter(|fault| fault.is("lagging_list")).map_or(0, |fault| fault.number(0).unwrap_or(60) * 1_000);
    let date = |name: &str| parameter(query, name).and_then(time::parse);
    let (from, to) = (date("from_date").unwrap_or(0), date("to_date").unwrap_or(u64::MAX));
    let wanted = parameter(query, "status");
    let store = lock(&call.sim.brightdata);
    let lines = store.newest_first().filter(|snapshot| {
        snapshot.dataset == dataset
            && snapshot.created_ms >= from
            && snapshot.created_ms <= to
            && snapshot.created_ms + lag <= now
    });
    let lines = lines.map(|snapshot| (snapshot, snapshot.status(now, snapshot.fault.as_ref())));
    let lines = lines.filter(|(_, status)| wanted.is_none_or(|wanted| wanted == status));
    let lines: Vec<Value> = lines
        .skip(skip)
        .take(limit)
        .map(|(snapshot, status)| {
            let size = if status == "ready" { snapshot.counts().0 } else { 0 };
            json!({
                "id": snapshot.id, "created": time::rfc3339(snapshot.created_ms), "status": status,
                "dataset_id": snapshot.dataset, "dataset_size": size,
            })
        })
        .collect();
    Reply::json(200, &Value::Array(lines))
}

fn parts(sim: &Sim, id: &str, query: &[(String, String)]) -> Reply {
    let store = lock(&sim.brightdata);
    let Some(snapshot) = store.get(id) else { return missing() };
    let size = parameter(query, "batch_size").and_then(|text| text.parse::<usize>().ok()).unwrap_or(1_000).max(1);
    let (records, errors) = snapshot.counts();
    Reply::json(200, &json!({"parts": (records + errors).div_ceil(size).max(1)}))
}

fn input(call: Call<'_>, id: &str) -> Reply {
    if faults::is(call.fault, "inputs_expired") {
        return Reply::text(400, "Snapshot inputs storage is expired");
    }
    let store = lock(&call.sim.brightdata);
    let Some(snapshot) = store.get(id) else { return missing() };
    let mut inputs: Vec<Value> = snapshot.inputs().cloned().collect();
    if faults::is(call.fault, "inputs_reordered") {
        inputs.reverse();
    }
    Reply::json(200, &Value::Array(inputs))
}

fn cancel(sim: &Sim, id: &str) -> Reply {
    let now = now_ms();
    let mut store = lock(&sim.brightdata);
    let Some(snapshot) = store.get_mut(id) else { return missing() };
    if !snapshot.running(now) {
        return Reply::text(400, "Snapshot is not running");
    }
    snapshot.canceled_ms = Some(now);
    drop(store);
    settle(sim);
    Reply::text(200, "OK")
}

/// The id of a snapshot.
fn snapshot_id(sim: &Sim, counter: u64) -> String {
    let key = rng::join(&[sim.nonce, counter]);
    format!("{}_m{}", if key.is_multiple_of(3) { "sd" } else { "s" }, rng::hex(key, 16))
}
