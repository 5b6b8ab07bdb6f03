//! `/v1/messages/batches`: create, retrieve, list, cancel, delete, results. The requests are answered when the batch's time
//! has come, by the same code as single calls; token prices are halved, search fees are not.

use serde_json::{Value, json};

use super::super::faults::Fault;
use super::super::reply::Reply;
use super::super::rng::{self, Rng};
use super::super::sim::{Call, Sim, lock, now_ms};
use super::super::time::rfc3339;
use super::{error, error_value, headers, messages};

/// A message batch.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    id: String,
    requests: Vec<(String, Value)>,
    created_ms: u64,
    ready_ms: u64,
    canceled_ms: Option<u64>,
    /// The results file; `None`: not ended.
    results: Option<String>,
    /// Succeeded, errored, cancelled, expired.
    counts: [usize; 4],
    /// When it would have ended by itself.
    due_ms: u64,
    fault: Option<Fault>,
}

impl Batch {
    /// How many of its requests are run: all, or as many as there was time for before it expired or was cancelled.
    fn run_requests(&self) -> usize {
        let total = self.requests.len();
        if let Some(fault) = self.fault.as_ref().filter(|fault| fault.is("batch_expired")) {
            return fault.number(0).and_then(|requests| usize::try_from(requests).ok()).unwrap_or(0).min(total);
        }
        let Some(cancelled) = self.canceled_ms else { return total };
        let (passed, whole) = (cancelled.saturating_sub(self.created_ms), self.due_ms.saturating_sub(self.created_ms).max(1));
        usize::try_from(total as u64 * passed.min(whole) / whole).unwrap_or(total)
    }
}

pub(super) fn create(call: Call<'_>, body: &Value) -> Reply {
    let refuse = |message: &str| error(400, "invalid_request_error", message, rng::hash(message.as_bytes()));
    let Some(list) = body.get("requests").and_then(Value::as_array) else { return refuse("requests: Field required") };
    if list.is_empty() {
        return refuse("requests: List should have at least 1 item after validation, not 0");
    }
    let mut requests: Vec<(String, Value)> = Vec::with_capacity(list.len());
    let mut seen = std::collections::HashSet::new();
    for (position, request) in list.iter().enumerate() {
        let id = request.get("custom_id").and_then(Value::as_str).unwrap_or("");
        let valid =
            (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        if !valid {
            return refuse(&format!("requests.{position}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'"));
        }
        if !seen.insert(id) {
            return refuse(&format!("requests.{position}.custom_id: custom_id '{id}' is not unique in the batch"));
        }
        let Some(params) = request.get("params").filter(|params| params.is_object()) else {
            return refuse(&format!("requests.{position}.params: Field required"));
        };
        requests.push((id.to_owned(), params.clone()));
    }
    let sim = call.sim;
    let mut store = lock(&sim.anthropic);
    store.counter += 1;
    let id = format!("msgbatch_01{}", rng::hex(rng::join(&[sim.nonce, store.counter]), 22));
    let key = rng::hash(id.as_bytes());
    let batch = Batch {
        id,
        requests,
        created_ms: call.started_ms,
        ready_ms: call.started_ms + sim.varied(sim.config.snapshot_ms, key),
        canceled_ms: None,
        results: None,
        counts: [0; 4],
        due_ms: 0,
        fault: call.fault.cloned(),
    };
    let batch = Batch { due_ms: batch.ready_ms, ..batch };
    let reply = Reply::json(200, &object(sim, &batch));
    store.batches.push(batch);
    headers(reply, key)
}

fn object(sim: &Sim, batch: &Batch) -> Value {
    let ended = batch.results.is_some();
    let status = if ended {
        "ended"
    } else if batch.canceled_ms.is_some() {
        "canceling"
    } else {
        "in_progress"
    };
    let [succeeded, errored, canceled, expired] = batch.counts;
    let processing = if ended { 0 } else { batch.requests.len() };
    let end = batch.canceled_ms.unwrap_or(batch.ready_ms);
    json!({
        "id": batch.id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": {"processing": processing, "succeeded": succeeded, "errored": errored, "canceled": canceled, "expired": expired},
        "created_at": rfc3339(batch.created_ms),
        "expires_at": rfc3339(batch.created_ms + 86_400_000),
        "ended_at": ended.then(|| rfc3339(end)),
        "archived_at": null,
        "cancel_initiated_at": batch.canceled_ms.map(rfc3339),
        "results_url": ended.then(|| format!("{}/v1/messages/batches/{}/results", sim.url, batch.id)),
    })
}

/// Ends every batch whose time has come: answers its requests and books their charges.
pub(crate) fn settle(sim: &Sim) {
    let now = now_ms();
    loop {
        let batch = {
            let mut store = lock(&sim.anthropic);
            let ripe = |batch: &&mut Batch| batch.results.is_none() && batch.ready_ms <= now && batch.ready_ms > 0;
            let Some(batch) = store.batches.iter_mut().find(ripe) else { return };
            let copy = batch.clone();
            // Claimed, so that two observers at the same time do not answer it twice.
            batch.ready_ms = 0;
            copy
        };
        let (results, counts) = run(sim, &batch);
        let mut store = lock(&sim.anthropic);
        if let Some(stored) = store.batches.iter_mut().find(|stored| stored.id == batch.id) {
            stored.ready_ms = batch.ready_ms;
            stored.results = Some(results);
            stored.counts = counts;
        }
    }
}

fn run(sim: &Sim, batch: &Batch) -> (String, [usize; 4]) {
    let call = Call { sim, endpoint: "anthropic.batches.messages", started_ms: batch.created_ms, batch: true, fault: None };
    let mut counts = [0; 4];
    let [succeeded, errored, canceled, expired] = &mut counts;
    let run_requests = batch.run_requests();
    let mut lines: Vec<String> = Vec::with_capacity(batch.requests.len());
    for (number, (id, params)) in batch.requests.iter().enumerate() {
        let result = if number >= run_requests && batch.canceled_ms.is_some() {
            *canceled += 1;
            json!({"type": "canceled"})
        } else if number >= run_requests {
            *expired += 1;
            json!({"type": "expired"})
        } else {
            let reply = messages::answer(call, params);
            let body: Value =
                serde_json::from_slice(&reply.body).unwrap_or_else(|_| error_value("api_error", "Internal server error", 0));
            if reply.status < 400 {
                *succeeded += 1;
                json!({"type": "succeeded", "message": body})
            } else {
                *errored += 1;
                json!({"type": "errored", "error": body})
            }
        };
        lines.push(format!("{}\n", json!({"custom_id": id, "result": result})));
    }
    Rng::new(sim.config.seed, "message batch order").shuffle(&mut lines);
    spoil(batch.fault.as_ref(), &mut lines);
    (lines.concat(), counts)
}

/// What a bad day does to the lines of a results file.
fn spoil(fault: Option<&Fault>, lines: &mut Vec<String>) {
    let Some(fault) = fault else { return };
    let count = fault.number(0).and_then(|count| usize::try_from(count).ok()).unwrap_or(1);
    match fault.name {
        "drop_rows" => lines.truncate(lines.len().saturating_sub(count)),
        "duplicate_rows" => lines.extend_from_within(..count.min(lines.len())),
        "foreign_rows" => {
            let foreign = (0..count).map(|number| {
                format!("{}\n", json!({"custom_id": format!("somebody-else-{number}"), "result": {"type": "expired"}}))
            });
            lines.splice(0..0, foreign);
        }
        _ => {}
    }
}

fn missing(id: &str) -> Reply {
    error(404, "not_found_error", &format!("Batch {id} not found"), rng::hash(id.as_bytes()))
}

fn with(sim: &Sim, id: &str, then: impl FnOnce(&mut Batch) -> Reply) -> Reply {
    settle(sim);
    let mut store = lock(&sim.anthropic);
    match store.batches.iter_mut().find(|batch| batch.id == id) {
        Some(batch) => then(batch),
        None => missing(id),
    }
}

pub(super) fn retrieve(sim: &Sim, id: &str) -> Reply {
    with(sim, id, |batch| headers(Reply::json(200, &object(sim, batch)), rng::hash(id.as_bytes())).header("retry-after", "10"))
}

pub(super) fn list(sim: &Sim, query: &[(String, String)]) -> Reply {
    settle(sim);
    let word = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let limit = word("limit").and_then(|limit| limit.parse().ok()).unwrap_or(20usize).clamp(1, 1_000);
    let store = lock(&sim.anthropic);
    let mut batches: Vec<&Batch> = store.batches.iter().rev().collect();
    if let Some(after) = word("after_id")
        && let Some(position) = batches.iter().position(|batch| batch.id == after)
    {
        batches.drain(..=position);
    }
    let more = batches.len() > limit;
    let data: Vec<Value> = batches.iter().take(limit).map(|batch| object(sim, batch)).collect();
    let edge = |batch: Option<&Value>| batch.and_then(|batch| batch.get("id")).cloned();
    headers(
        Reply::json(200, &json!({"data": data, "first_id": edge(data.first()), "last_id": edge(data.last()), "has_more": more})),
        7,
    )
}

pub(super) fn cancel(sim: &Sim, id: &str) -> Reply {
    with(sim, id, |batch| {
        if batch.results.is_some() {
            return error(
                400,
                "invalid_request_error",
                &format!("Batch {id} cannot be canceled because it has already ended."),
                rng::hash(id.as_bytes()),
            );
        }
        let now = now_ms();
        batch.canceled_ms = batch.canceled_ms.or(Some(now));
        // The next look at it finds it ended.
        batch.ready_ms = now;
        headers(Reply::json(200, &object(sim, batch)), rng::hash(id.as_bytes()))
    })
}

pub(super) fn delete(sim: &Sim, id: &str) -> Reply {
    settle(sim);
    let mut store = lock(&sim.anthropic);
    let Some(position) = store.batches.iter().position(|batch| batch.id == id) else { return missing(id) };
    if store.batches.get(position).is_some_and(|batch| batch.results.is_none()) {
        return error(400, "invalid_request_error", "Batch must be canceled or ended before deletion.", rng::hash(id.as_bytes()));
    }
    store.batches.remove(position);
    headers(Reply::json(200, &json!({"id": id, "type": "message_batch_deleted"})), rng::hash(id.as_bytes()))
}

pub(super) fn results(sim: &Sim, id: &str) -> Reply {
    with(sim, id, |batch| match &batch.results {
        Some(lines) => headers(Reply::bytes(200, "application/x-jsonl", lines.clone().into_bytes()), rng::hash(id.as_bytes())),
        None => error(404, "not_found_error", &format!("Batch {id} has no results yet"), rng::hash(id.as_bytes())),
    })
}
