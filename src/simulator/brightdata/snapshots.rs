//! Snapshots: what was triggered, where it stands, and its download in all the forms it takes. Rows are made again for every
//! download (they are a pure function of their keys), so a snapshot holds only its inputs.

use std::collections::{HashMap, VecDeque};

use serde_json::{Value, json};

use super::super::faults::{self, Fault};
use super::super::ledger::Charge;
use super::super::prices::{RECORD, Used};
use super::super::reply::Reply;
use super::super::rng::{self, Rng};
use super::super::sim::{Call, Sim, lock, now_ms};
use super::engines::Engine;
use super::rows::{self, Row};
use super::{missing, parameter};

/// Snapshots kept when nothing is recorded.
const KEPT: usize = 2_000;

/// A snapshot.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(super) id: String,
    pub(super) engine: Engine,
    pub(super) dataset: String,
    pub(super) rows: Vec<Row>,
    pub(super) include_errors: bool,
    /// Fields to keep; empty = all.
    pub(super) fields: Vec<String>,
    pub(super) created_ms: u64,
    pub(super) ready_ms: u64,
    pub(super) canceled_ms: Option<u64>,
    /// From the trigger: stays with the snapshot.
    pub(super) fault: Option<Fault>,
    /// Downloads that still answer "not yet" after the progress said ready.
    pub(super) late: u64,
    pub(super) settled: bool,
}

impl Snapshot {
    /// The word of the progress call.
    pub(super) fn status(&self, now: u64, fault: Option<&Fault>) -> String {
        let word = match fault {
            Some(fault) if fault.is("snapshot_forever_running") => "running",
            Some(fault) if fault.is("snapshot_failed") && now >= self.ready_ms => "failed",
            Some(fault) if fault.is("snapshot_canceled") && now >= self.ready_ms => "canceled",
            Some(fault) if fault.is("snapshot_unknown_word") => {
                return if fault.argument.is_empty() { "reticulating".to_owned() } else { fault.argument.clone() };
            }
            _ if self.canceled_ms.is_some() => "canceled",
            _ if now >= self.ready_ms => "ready",
            _ => {
                let (passed, total) = (now.saturating_sub(self.created_ms), self.ready_ms.saturating_sub(self.created_ms));
                if passed * 10 < total {
                    "starting"
                } else if passed * 10 < total * 9 {
                    "running"
                } else {
                    "building"
                }
            }
        };
        word.to_owned()
    }

    /// True while it can be cancelled and counts against the limits.
    pub(super) fn running(&self, now: u64) -> bool {
        now < self.ready_ms && self.canceled_ms.is_none()
    }

    /// Rows delivered with an answer, and error rows.
    pub(super) fn counts(&self) -> (usize, usize) {
        let records = self.rows.iter().filter(|row| row.outcome.charged()).count();
        let errors = self.rows.iter().filter(|row| row.outcome.is_error()).count();
        (records, errors)
    }

    /// The inputs as they were sent.
    pub(super) fn inputs(&self) -> impl Iterator<Item = &Value> {
        self.rows.iter().map(|row| &row.input)
    }

    /// The prompts of the rows that are charged: an error row is free.
    fn charged_prompts(&self) -> Vec<String> {
        self.rows.iter().filter(|row| row.outcome.charged()).map(|row| row.prompt().to_owned()).collect()
    }

    /// The prompts.
    pub(crate) fn prompts(&self) -> Vec<String> {
        self.rows.iter().map(|row| row.prompt().to_owned()).collect()
    }
}

/// All snapshots, and how often this address was told to slow down.
#[derive(Debug, Default)]
pub(crate) struct Store {
    snapshots: HashMap<String, Snapshot>,
    order: VecDeque<String>,
    open: Vec<String>,
    refusals: VecDeque<u64>,
    banned: bool,
    pub(super) counter: u64,
}

impl Store {
    pub(crate) fn get(&self, id: &str) -> Option<&Snapshot> {
        self.snapshots.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Snapshot> {
        self.snapshots.get_mut(id)
    }

    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Snapshot> {
        self.order.iter().rev().filter_map(|id| self.snapshots.get(id))
    }

    /// The id that was given out last.
    pub(super) fn last(&self) -> Option<&String> {
        self.order.back()
    }

    /// Running snapshots: (with at most 20 inputs, with more).
    pub(super) fn running(&self, now: u64) -> (usize, usize) {
        let running = self.open.iter().filter_map(|id| self.snapshots.get(id)).filter(|snapshot| snapshot.running(now));
        running.fold(
            (0, 0),
            |(small, large), snapshot| if snapshot.rows.len() <= 20 { (small + 1, large) } else { (small, large + 1) },
        )
    }

    pub(super) fn insert(&mut self, snapshot: Snapshot, record: bool) {
        self.open.push(snapshot.id.clone());
        self.order.push_back(snapshot.id.clone());
        self.snapshots.insert(snapshot.id.clone(), snapshot);
        if !record && self.order.len() > KEPT {
            let oldest = self.order.front().cloned().unwrap_or_default();
            if self.snapshots.get(&oldest).is_none_or(|snapshot| snapshot.settled) {
                self.order.pop_front();
                self.snapshots.remove(&oldest);
            }
        }
    }

    pub(super) fn refused(&mut self, now: u64) {
        self.refusals.push_back(now);
        while self.refusals.front().is_some_and(|first| now.saturating_sub(*first) > 300_000) {
            self.refusals.pop_front();
        }
        self.banned |= self.refusals.len() >= 25;
    }

    pub(super) fn banned(&self, _now: u64) -> bool {
        self.banned
    }
}

/// Books what became ready or was cancelled since the last look: one charge a snapshot, error rows free.
pub(crate) fn settle(sim: &Sim) {
    let now = now_ms();
    let mut charges = Vec::new();
    {
        let mut store = lock(&sim.brightdata);
        let open = std::mem::take(&mut store.open);
        for id in open {
            let Some(snapshot) = store.snapshots.get_mut(&id) else { continue };
            if snapshot.running(now) {
                store.open.push(id);
                continue;
            }
            if !std::mem::replace(&mut snapshot.settled, true) {
                charges.extend(charge(sim, snapshot));
            }
        }
    }
    if !charges.is_empty() {
        let mut ledger = sim.ledger();
        charges.into_iter().for_each(|charge| ledger.charge(charge));
    }
}

fn charge(sim: &Sim, snapshot: &mut Snapshot) -> Option<Charge> {
    let never = ["snapshot_failed", "snapshot_canceled", "snapshot_forever_running"];
    if never.iter().any(|name| faults::is(snapshot.fault.as_ref(), name)) {
        return None;
    }
    if let Some(canceled) = snapshot.canceled_ms {
        let total = snapshot.ready_ms.saturating_sub(snapshot.created_ms);
        for row in &mut snapshot.rows {
            row.abort_after(canceled.saturating_sub(snapshot.created_ms), total);
        }
    }
    let records = snapshot.rows.iter().filter(|row| row.outcome.charged()).count() as u64;
    for row in &snapshot.rows {
        rows::note(sim, snapshot, row);
    }
    (records > 0).then(|| Charge {
        endpoint: "brightdata.trigger",
        model: snapshot.engine.name().to_owned(),
        id: snapshot.id.clone(),
        inputs: if sim.config.record { snapshot.charged_prompts() } else { Vec::new() },
        micro_usd: records * RECORD,
        used: Used::default(),
        records,
        started_ms: snapshot.created_ms,
        finished_ms: snapshot.canceled_ms.unwrap_or(snapshot.ready_ms),
        status: "records",
    })
}

/// `GET /snapshot/{id}`.
pub(super) fn download(call: Call<'_>, id: &str, query: &[(String, String)]) -> Reply {
    if faults::is(call.fault, "snapshot_expired") {
        return super::expired();
    }
    let now = now_ms();
    let snapshot = {
        let mut store = lock(&call.sim.brightdata);
        let Some(snapshot) = store.get_mut(id).filter(|_| !faults::is(call.fault, "snapshot_gone")) else { return missing() };
        let late = snapshot.late > 0 && !snapshot.running(now);
        if late {
            snapshot.late -= 1;
        }
        let fault = call.fault.cloned().or_else(|| snapshot.fault.clone());
        let own = ["ready_then_building", "ready_then_200"].iter().any(|name| faults::is(call.fault, name));
        if let Some(reply) = not_ready(call.sim, snapshot, now, late || own, fault.as_ref()) {
            return reply;
        }
        Snapshot { fault, ..snapshot.clone() }
    };
    let size = parameter(query, "batch_size").and_then(|text| text.parse::<usize>().ok());
    if size.is_some_and(|size| size < 1_000) {
        return Reply::json(400, &json!({"validation_errors": ["batch_size must be larger than or equal to 1000"]}));
    }
    let mut rows = rows::all(call.sim, &snapshot);
    if let Some(size) = size {
        let part = parameter(query, "part").and_then(|text| text.parse::<usize>().ok()).unwrap_or(1).max(1);
        rows = rows.into_iter().skip((part - 1) * size).take(size).collect();
    }
    body(rows, parameter(query, "format").unwrap_or("json"), snapshot.fault.as_ref())
}

/// Seconds that the vendor asks to wait, in the time of this world: its snapshots take 49 s in the median.
fn hint(sim: &Sim, real_seconds: u64) -> u64 {
    (real_seconds * sim.config.snapshot_ms / 49_000).clamp(1, real_seconds)
}

fn not_ready(sim: &Sim, snapshot: &Snapshot, now: u64, late: bool, fault: Option<&Fault>) -> Option<Reply> {
    let status = snapshot.status(now, fault);
    let wait = |word: &str, message: &str| {
        let seconds = hint(sim, 10);
        let message = format!("{message}, try again in {seconds}s");
        Some(Reply::json(202, &json!({"status": word, "message": message})).header("retry-after", seconds.to_string()))
    };
    match status.as_str() {
        "failed" => return Some(Reply::text(400, "Snapshot is empty")),
        "canceled" if snapshot.canceled_ms.is_none() => return Some(Reply::text(400, "Snapshot is empty")),
        "ready" | "canceled" => {}
        "building" => return wait("building", "Snapshot is building"),
        _ => return wait("running", "Snapshot is not ready yet"),
    }
    if !late {
        return None;
    }
    let early = json!({"status": "building", "message": format!("Dataset is not ready yet, try again in {}s", hint(sim, 30))});
    if faults::is(fault, "ready_then_200") {
        return Some(Reply::json(200, &early));
    }
    if faults::is(fault, "ready_then_building") {
        return wait("building", "Snapshot is building");
    }
    match Rng::new(rng::hash(snapshot.id.as_bytes()), "late").below(3) {
        0 => wait("building", "Snapshot is building"),
        1 => Some(Reply::json(200, &early)),
        _ => Some(Reply::json(200, &json!([early]))),
    }
}

/// The rows in the form asked for.
pub(super) fn body(rows: Vec<Value>, format: &str, fault: Option<&Fault>) -> Reply {
    let lines = || rows.iter().map(|row| format!("{row}\n")).collect::<String>().into_bytes();
    match format {
        "ndjson" | "jsonl" => Reply::bytes(200, "application/jsonl", lines()),
        _ if faults::is(fault, "ndjson") => Reply::bytes(200, "application/jsonl", lines()),
        "json" if faults::is(fault, "data_wrapper") => Reply::json(200, &json!({"data": rows})),
        "json" if faults::is(fault, "single_object") && rows.len() == 1 => Reply::json(200, rows.first().unwrap_or(&Value::Null)),
        "json" => Reply::json(200, &Value::Array(rows)),
        other => {
            Reply::json(400, &json!({"validation_errors": [format!("format must be one of [json, ndjson, jsonl], got {other}")]}))
        }
    }
}
