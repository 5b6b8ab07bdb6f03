//! `/v1/batches`: create, retrieve, list, cancel. A batch passes through its states by the clock; its lines are answered when
//! it is finished, by the same code as single calls, at half the token price.

use serde_json::{Map, Value, json};

use super::super::faults::{self, Fault};
use super::super::reply::Reply;
use super::super::rng::{self, Rng};
use super::super::sim::{Call, Sim, lock, now_ms};
use super::{chat, error, files, invalid, responses};

/// A batch.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    id: String,
    endpoint: String,
    input_file: String,
    window: String,
    metadata: Value,
    created_ms: u64,
    ready_ms: u64,
    total: usize,
    model: Option<String>,
    problem: Option<Problem>,
    cancelling_ms: Option<u64>,
    fault: Option<Fault>,
    /// Somebody answers its lines: it is not ended before they are done.
    claimed: bool,
    done: Option<Done>,
}

impl Batch {
    /// How many of its lines are run: all, or as many as there was time for before it expired or was cancelled.
    fn run_lines(&self) -> usize {
        if let Some(fault) = self.fault.as_ref().filter(|fault| fault.is("batch_expired")) {
            return fault.number(0).and_then(|lines| usize::try_from(lines).ok()).unwrap_or(0).min(self.total);
        }
        let Some(cancelled) = self.cancelling_ms else { return self.total };
        let (passed, whole) = (cancelled.saturating_sub(self.created_ms), self.ready_ms.saturating_sub(self.created_ms).max(1));
        usize::try_from(self.total as u64 * passed.min(whole) / whole).unwrap_or(self.total)
    }
}

/// Why a file cannot be run: code, line from 1, message.
type Problem = (&'static str, Option<usize>, String);

#[derive(Debug, Clone, Default)]
struct Done {
    output: Option<String>,
    errors: Option<String>,
    completed: usize,
    failed: usize,
    usage: [u64; 4],
}

const ENDPOINTS: [&str; 2] = ["/v1/responses", "/v1/chat/completions"];

pub(super) fn create(call: Call<'_>, body: &Value) -> Reply {
    let sim = call.sim;
    let word = |name: &str| body.get(name).and_then(Value::as_str);
    let missing =
        |name: &str| invalid(&format!("Missing required parameter: '{name}'."), Some(name), Some("missing_required_parameter"));
    let Some(input) = word("input_file_id") else { return missing("input_file_id") };
    let Some(endpoint) = word("endpoint") else { return missing("endpoint") };
    let Some(window) = word("completion_window") else { return missing("completion_window") };
    if !ENDPOINTS.contains(&endpoint) {
        return invalid(
            &format!("Invalid value: '{endpoint}'. Supported values are: '/v1/responses' and '/v1/chat/completions'."),
            Some("endpoint"),
            Some("invalid_value"),
        );
    }
    if window != "24h" {
        return invalid(
            &format!("Invalid value: '{window}'. Value must be '24h'."),
            Some("completion_window"),
            Some("invalid_value"),
        );
    }
    let mut store = lock(&sim.openai);
    let Some(file) = store.files.iter().find(|file| file.id == input && file.purpose == "batch").cloned() else {
        return invalid(
            &format!("Invalid 'input_file_id': no such file with purpose 'batch': {input}"),
            Some("input_file_id"),
            None,
        );
    };
    let (total, model, mut problem) = examine(&file.bytes, endpoint);
    if faults::is(call.fault, "batch_failed") {
        let message =
            "Enqueued token limit reached for this model. Please try again once some in_progress batches have been completed.";
        problem = Some(("token_limit_exceeded", None, message.to_owned()));
    }
    let id = store.id(sim.nonce, "batch_");
    let created_ms = call.started_ms;
    let batch = Batch {
        ready_ms: created_ms + sim.varied(sim.config.snapshot_ms, rng::hash(id.as_bytes())),
        id,
        endpoint: endpoint.to_owned(),
        input_file: input.to_owned(),
        window: window.to_owned(),
        metadata: body.get("metadata").cloned().unwrap_or(Value::Null),
        created_ms,
        total,
        model,
        problem,
        cancelling_ms: None,
        fault: call.fault.cloned(),
        claimed: false,
        done: None,
    };
    let reply = Reply::json(200, &object(&batch, "validating"));
    store.batches.push(batch);
    reply
}

/// Checks every line of the input file.
fn examine(bytes: &[u8], endpoint: &str) -> (usize, Option<String>, Option<Problem>) {
    let text = String::from_utf8_lossy(bytes);
    let mut seen = std::collections::HashSet::new();
    let mut model: Option<String> = None;
    let mut total = 0;
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        total += 1;
        let at = Some(number + 1);
        let Ok(line) = serde_json::from_str::<Value>(line) else {
            return (0, None, Some(("invalid_json_line", at, "This line is not parseable as valid JSON.".to_owned())));
        };
        let word = |name: &str| line.get(name).and_then(Value::as_str);
        if !word("custom_id").is_some_and(|id| seen.insert(id.to_owned())) {
            return (
                0,
                None,
                Some((
                    "duplicate_custom_id",
                    at,
                    "The custom_id for this request is missing or a duplicate of another request.".to_owned(),
                )),
            );
        }
        if word("url") != Some(endpoint) {
            return (
                0,
                None,
                Some(("invalid_url", at, "The URL provided for this request does not match the batch endpoint.".to_owned())),
            );
        }
        let named = line.get("body").and_then(|body| body.get("model")).and_then(Value::as_str).map(str::to_owned);
        if model.is_some() && named != model {
            return (
                0,
                None,
                Some(("mismatched_model", at, "The provided model does not match the model of the other requests.".to_owned())),
            );
        }
        model = named;
    }
    if total == 0 {
        return (0, None, Some(("empty_file", None, "The batch file is empty.".to_owned())));
    }
    (total, model, None)
}

fn status(batch: &Batch, now: u64) -> &'static str {
    if batch.problem.is_some() {
        return "failed";
    }
    if batch.cancelling_ms.is_some() {
        return if batch.done.is_some() { "cancelled" } else { "cancelling" };
    }
    if batch.done.is_some() && batch.fault.as_ref().is_some_and(|fault| fault.is("batch_expired")) {
        return "expired";
    }
    let total = batch.ready_ms.saturating_sub(batch.created_ms);
    let passed = now.saturating_sub(batch.created_ms);
    match passed {
        _ if batch.done.is_some() => "completed",
        _ if passed * 10 < total => "validating",
        _ if passed * 10 < total * 9 => "in_progress",
        _ => "finalizing",
    }
}

fn object(batch: &Batch, status: &str) -> Value {
    let seconds = |milliseconds: u64| milliseconds / 1000;
    let created = seconds(batch.created_ms);
    let at =
        |states: &[&str], milliseconds: u64| if states.contains(&status) { json!(seconds(milliseconds)) } else { Value::Null };
    let validating = status == "validating" || status == "failed";
    let done = batch.done.clone().unwrap_or_default();
    let total = if validating { 0 } else { batch.total };
    let errors = batch.problem.as_ref().map(|(code, line, message)| {
        json!({"object": "list", "data": [{"code": code, "line": line, "message": message, "param": null}]})
    });
    let cancelling = batch.cancelling_ms.unwrap_or(0);
    let mut value = json!({
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": errors,
        "input_file_id": batch.input_file,
        "completion_window": batch.window,
        "status": status,
        "output_file_id": done.output,
        "error_file_id": done.errors,
        "created_at": created,
        "in_progress_at": at(&["in_progress", "finalizing", "completed"], batch.created_ms),
        "expires_at": created + 86_400,
        "finalizing_at": at(&["finalizing", "completed"], batch.ready_ms),
        "completed_at": at(&["completed"], batch.ready_ms),
        "failed_at": at(&["failed"], batch.created_ms),
        "expired_at": at(&["expired"], batch.ready_ms),
        "cancelling_at": at(&["cancelling", "cancelled"], cancelling),
        "cancelled_at": at(&["cancelled"], cancelling),
        "request_counts": {"total": total, "completed": done.completed, "failed": done.failed},
        "metadata": batch.metadata,
        "model": batch.model,
    });
    if batch.done.is_some()
        && let Some(object) = value.as_object_mut()
    {
        let [input, cached, output, reasoning] = done.usage;
        let usage = json!({
            "input_tokens": input, "input_tokens_details": {"cached_tokens": cached}, "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": reasoning}, "total_tokens": input + output,
        });
        object.insert("usage".to_owned(), usage);
    }
    value
}

/// Finishes every batch whose time has come: answers its lines and books their charges.
pub(crate) fn settle(sim: &Sim) {
    let now = now_ms();
    loop {
        let next = {
            let mut store = lock(&sim.openai);
            let ripe = |batch: &&mut Batch| {
                let ends = batch.cancelling_ms.map_or(batch.ready_ms, |cancelled| cancelled + 1);
                !batch.claimed && batch.problem.is_none() && ends <= now
            };
            let Some(batch) = store.batches.iter_mut().find(ripe) else { return };
            // Claimed here, so that two observers at the same time do not answer it twice.
            batch.claimed = true;
            let batch = batch.clone();
            let bytes =
                store.files.iter().find(|file| file.id == batch.input_file).map(|file| file.bytes.clone()).unwrap_or_default();
            (batch, bytes)
        };
        let (batch, bytes) = next;
        let done = run(sim, &batch, &bytes);
        let mut store = lock(&sim.openai);
        if let Some(stored) = store.batches.iter_mut().find(|stored| stored.id == batch.id) {
            stored.done = Some(done);
        }
    }
}

fn run(sim: &Sim, batch: &Batch, bytes: &[u8]) -> Done {
    let chats = batch.endpoint == "/v1/chat/completions";
    let endpoint = if chats { "openai.batches.chat_completions" } else { "openai.batches.responses" };
    let call = Call { sim, endpoint, started_ms: batch.created_ms, batch: true, fault: None };
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let mut done = Done::default();
    let text = String::from_utf8_lossy(bytes);
    let run_lines = batch.run_lines();
    for (number, line) in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).enumerate() {
        let custom = line.get("custom_id").cloned().unwrap_or(Value::Null);
        if number >= run_lines {
            // What a cancelled batch did not run has no row at all.
            if batch.cancelling_ms.is_none() {
                errors.push(expired(batch, &custom));
            }
            continue;
        }
        let body = line.get("body").cloned().unwrap_or_else(|| Value::Object(Map::new()));
        let reply = if chats { chat::answer(call, &body) } else { responses::answer(call, &body) };
        let answer: Value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
        let id = rng::hex(rng::join(&[rng::hash(batch.id.as_bytes()), rng::hash(custom.to_string().as_bytes())]), 32);
        count(&mut done.usage, &answer);
        let record = json!({
            "id": format!("batch_req_{id}"),
            "custom_id": custom,
            "response": {"status_code": reply.status, "request_id": id, "body": answer},
            "error": null,
        });
        if reply.status < 400 { output.push(record) } else { errors.push(record) }
    }
    done.completed = output.len();
    done.failed = errors.len();
    Rng::new(sim.config.seed, "batch order").shuffle(&mut output);
    spoil(batch.fault.as_ref(), &mut output);
    let keep = |records: Vec<Value>, kind: &str| {
        if records.is_empty() {
            return None;
        }
        let lines: Vec<String> = records.iter().map(|record| format!("{record}\n")).collect();
        let name = format!("{}_{kind}.jsonl", batch.id);
        Some(files::store(sim, name, "batch_output".to_owned(), lines.concat().into_bytes()).id)
    };
    done.output = keep(output, "output");
    done.errors = keep(errors, "error");
    done
}

fn expired(batch: &Batch, custom: &Value) -> Value {
    let id = rng::hex(rng::join(&[rng::hash(batch.id.as_bytes()), rng::hash(custom.to_string().as_bytes())]), 32);
    let message = "This request could not be executed before the completion window expired.";
    json!({
        "id": format!("batch_req_{id}"), "custom_id": custom, "response": null,
        "error": {"code": "batch_expired", "message": message},
    })
}

/// What a bad day does to the rows of a results file.
fn spoil(fault: Option<&Fault>, rows: &mut Vec<Value>) {
    let Some(fault) = fault else { return };
    let count = fault.number(0).and_then(|count| usize::try_from(count).ok()).unwrap_or(1);
    match fault.name {
        "drop_rows" => rows.truncate(rows.len().saturating_sub(count)),
        "duplicate_rows" => rows.extend_from_within(..count.min(rows.len())),
        "foreign_rows" => {
            let mut foreign: Vec<Value> = rows.iter().take(count).cloned().collect();
            for (number, row) in foreign.iter_mut().enumerate() {
                if let Some(row) = row.as_object_mut() {
                    row.insert("custom_id".to_owned(), json!(format!("somebody-else-{number}")));
                }
            }
            rows.splice(0..0, foreign);
        }
        _ => {}
    }
}

fn count(usage: &mut [u64; 4], answer: &Value) {
    let field = |path: &[&str]| path.iter().find_map(|path| answer.pointer(path)).and_then(Value::as_u64).unwrap_or(0);
    let counts = [
        field(&["/usage/input_tokens", "/usage/prompt_tokens"]),
        field(&["/usage/input_tokens_details/cached_tokens", "/usage/prompt_tokens_details/cached_tokens"]),
        field(&["/usage/output_tokens", "/usage/completion_tokens"]),
        field(&["/usage/output_tokens_details/reasoning_tokens", "/usage/completion_tokens_details/reasoning_tokens"]),
    ];
    for (sum, count) in usage.iter_mut().zip(counts) {
        *sum += count;
    }
}

fn missing(id: &str) -> Reply {
    error(404, "invalid_request_error", None, None, &format!("No batch found with id '{id}'."))
}

pub(super) fn retrieve(sim: &Sim, id: &str) -> Reply {
    settle(sim);
    let now = now_ms();
    let store = lock(&sim.openai);
    let batch = store.batches.iter().find(|batch| batch.id == id);
    batch.map_or_else(|| missing(id), |batch| Reply::json(200, &object(batch, status(batch, now))))
}

pub(super) fn list(sim: &Sim, query: &[(String, String)]) -> Reply {
    settle(sim);
    let now = now_ms();
    let word = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let limit = word("limit").and_then(|limit| limit.parse().ok()).unwrap_or(20usize).clamp(1, 100);
    let store = lock(&sim.openai);
    let mut batches: Vec<&Batch> = store.batches.iter().rev().collect();
    if let Some(after) = word("after")
        && let Some(position) = batches.iter().position(|batch| batch.id == after)
    {
        batches.drain(..=position);
    }
    let more = batches.len() > limit;
    let data: Vec<Value> = batches.iter().take(limit).map(|batch| object(batch, status(batch, now))).collect();
    let edge = |batch: Option<&Value>| batch.and_then(|batch| batch.get("id")).cloned();
    Reply::json(
        200,
        &json!({"object": "list", "data": data, "first_id": edge(data.first()), "last_id": edge(data.last()), "has_more": more}),
    )
}

pub(super) fn cancel(sim: &Sim, id: &str) -> Reply {
    settle(sim);
    let now = now_ms();
    let mut store = lock(&sim.openai);
    let Some(batch) = store.batches.iter_mut().find(|batch| batch.id == id) else { return missing(id) };
    if batch.claimed || batch.problem.is_some() {
        let message = format!("Cannot cancel a batch with status '{}'.", status(batch, now));
        return error(409, "invalid_request_error", None, None, &message);
    }
    batch.cancelling_ms = batch.cancelling_ms.or(Some(now));
    Reply::json(200, &object(batch, "cancelling"))
}
