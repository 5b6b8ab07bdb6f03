//! `POST /trigger` and `POST /scrape`: checks the inputs, decides what becomes of each, and opens a snapshot.

use serde_json::{Value, json};

use super::super::faults;
use super::super::reply::Reply;
use super::super::rng;
use super::super::sim::{Call, lock, now_ms};
use super::engines::Engine;
use super::rows::{self, Row};
use super::snapshots::{self, Snapshot};
use super::{count_refusal, parameter, snapshot_id};

/// Longest prompt, in characters.
const LONGEST_PROMPT: usize = 4_096;

/// Countries no scraper serves.
const CLOSED: [&str; 4] = ["KP", "CU", "SY", "IR"];

/// Opens a snapshot; `Err` is the refusal.
fn open(call: Call<'_>, query: &[(String, String)], body: &[u8]) -> Result<Snapshot, Reply> {
    let sim = call.sim;
    let Some(dataset) = parameter(query, "dataset_id").filter(|id| !id.is_empty()) else {
        return Err(Reply::json(400, &json!({"error": "dataset_id is required"})));
    };
    let Some(engine) = Engine::of_dataset(dataset) else { return Err(Reply::text(404, "dataset does not exist")) };
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return Err(Reply::text(400, "Invalid JSON")) };
    let (inputs, fields) = match body {
        Value::Array(inputs) => (inputs, None),
        Value::Object(mut object) => {
            let fields = object.get("custom_output_fields").map(field_list);
            match object.remove("input") {
                Some(Value::Array(inputs)) => (inputs, fields),
                _ => return Err(Reply::json(400, &json!({"validation_errors": ["input: Required field"]}))),
            }
        }
        _ => return Err(Reply::text(400, "Invalid JSON")),
    };
    if inputs.is_empty() {
        return Err(Reply::text(400, "No data to trigger"));
    }
    let wrong: Vec<String> = inputs.iter().enumerate().flat_map(|(position, input)| check(engine, position, input)).collect();
    if !wrong.is_empty() {
        return Err(Reply::json(400, &json!({"validation_errors": wrong})));
    }
    let country = |input: &Value| input.get("country").and_then(Value::as_str).map(str::to_owned);
    if inputs.iter().filter_map(country).any(|code| CLOSED.contains(&code.as_str())) {
        return Err(Reply::json(400, &json!({"error": "country is not available for this scraper"})));
    }
    too_many(call, inputs.len())?;
    let include_errors = parameter(query, "include_errors") == Some("true");
    let fields = parameter(query, "custom_output_fields").map(split_fields).or(fields).unwrap_or_default();
    let mut rows: Vec<Row> = inputs.into_iter().map(|input| rows::plan(sim, engine, input)).collect();
    if let Some(fault) = call.fault {
        rows::apply_at_trigger(&mut rows, fault);
    }
    let late = match call.fault {
        Some(fault) if fault.is("ready_then_building") || fault.is("ready_then_200") => fault.number(0).unwrap_or(2),
        _ => u64::from(rows.first().is_some_and(|row| row.late(sim.config.rates.late_ready))),
    };
    let mut store = lock(&sim.brightdata);
    store.counter += 1;
    let id = snapshot_id(sim, store.counter);
    let key = rows.iter().fold(rng::hash(dataset.as_bytes()), |key, row| rng::join(&[key, row.key]));
    let created_ms = call.started_ms;
    let ready_ms = created_ms + sim.varied(sim.config.snapshot_ms, key);
    let snapshot = Snapshot {
        id,
        engine,
        dataset: dataset.to_owned(),
        rows,
        include_errors,
        fields,
        created_ms,
        ready_ms,
        canceled_ms: None,
        fault: call.fault.cloned(),
        late,
        settled: false,
    };
    store.insert(snapshot.clone(), sim.config.record);
    Ok(snapshot)
}

fn too_many(call: Call<'_>, inputs: usize) -> Result<(), Reply> {
    let config = &call.sim.config;
    let (small, large) = lock(&call.sim.brightdata).running(call.started_ms);
    let (running, limit) = if inputs <= 20 { (small, config.running_small) } else { (large, config.running_large) };
    if running < limit {
        return Ok(());
    }
    count_refusal(call.sim);
    Err(Reply::text(
        429,
        format!(
            "You have too many running jobs for this dataset. Please wait until some of them finish or consider combining multiple \
             inputs into a single request. Running jobs: {running}>={limit}"
        ),
    ))
}

fn split_fields(text: &str) -> Vec<String> {
    text.split(['|', ',']).map(str::trim).filter(|field| !field.is_empty()).map(str::to_owned).collect()
}

fn field_list(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => split_fields(text),
        Value::Array(fields) => fields.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// What is wrong with an input, each line naming its position (from 0) and field.
fn check(engine: Engine, position: usize, input: &Value) -> Vec<String> {
    let Some(object) = input.as_object() else { return vec![format!("input[{position}]: must be an object")] };
    let mut wrong = Vec::new();
    for key in object.keys().filter(|key| !engine.inputs().contains(&key.as_str())) {
        wrong.push(format!("input[{position}].{key}: This input should not contain a {key} field"));
    }
    match object.get("url").and_then(Value::as_str) {
        Some(url) if url.starts_with(engine.url()) => {}
        Some(_) => wrong.push(format!("input[{position}].url: must begin with {}", engine.url())),
        None => wrong.push(format!("input[{position}].url: Required field")),
    }
    match object.get("prompt").and_then(Value::as_str) {
        Some(prompt) if prompt.trim().is_empty() => wrong.push(format!("input[{position}].prompt: Required field")),
        Some(prompt) if prompt.chars().count() > LONGEST_PROMPT => {
            wrong.push(format!("input[{position}].prompt: should NOT be longer than {LONGEST_PROMPT} characters"));
        }
        Some(_) => {}
        None => wrong.push(format!("input[{position}].prompt: Required field")),
    }
    match object.get("country") {
        None | Some(Value::Null) => {}
        Some(Value::String(code)) if code.is_empty() || (code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase())) => {}
        Some(code) => wrong.push(format!("input[{position}].country: {code} is not an ISO 3166-1 alpha-2 code")),
    }
    wrong
}

/// `POST /trigger`.
pub(super) fn trigger(call: Call<'_>, query: &[(String, String)], body: &[u8]) -> Reply {
    if faults::is(call.fault, "same_snapshot_id")
        && let Some(id) = lock(&call.sim.brightdata).last()
    {
        return Reply::json(200, &json!({"snapshot_id": id}));
    }
    match open(call, query, body) {
        Err(refusal) => refusal,
        Ok(_) if faults::is(call.fault, "no_snapshot_id") => Reply::json(200, &json!({"status": "ok"})),
        Ok(_) if faults::is(call.fault, "snapshot_id_number") => Reply::json(200, &json!({"snapshot_id": 12_345})),
        Ok(snapshot) => Reply::json(200, &json!({"snapshot_id": snapshot.id})),
    }
}

/// `POST /scrape`: waits up to a minute.
pub(super) fn scrape(call: Call<'_>, query: &[(String, String)], body: &[u8]) -> Reply {
    let snapshot = match open(call, query, body) {
        Err(refusal) => return refusal,
        Ok(snapshot) => snapshot,
    };
    if snapshot.rows.len() > 20 {
        return Reply::json(400, &json!({"validation_errors": ["input: should NOT have more than 20 items"]}));
    }
    let wait = snapshot.ready_ms.saturating_sub(now_ms());
    if wait > 60_000 {
        let body = json!({"snapshot_id": snapshot.id, "status": "running", "message": "Snapshot is not ready yet, try again in 10s"});
        return Reply { delay_ms: 60_000, ..Reply::json(202, &body).header("retry-after", "10") };
    }
    let rows = rows::all(call.sim, &snapshot);
    Reply { delay_ms: wait, ..snapshots::body(rows, parameter(query, "format").unwrap_or("json"), snapshot.fault.as_ref()) }
}
