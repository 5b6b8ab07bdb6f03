//! A Bright Data of our own, from the wire-format notes (sections 1.1 to 1.14): trigger, progress, list, inputs, download.
//! Speaks in statuses and bodies; what happens to them on the way is the network's business.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::chance::Chance;
use super::ledger::{About, Ledger, RECORD, sold_text};
use super::weather::Traits;

/// A status and a body.
pub type Reply = (u16, Value);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Ready,
    /// Runs until the provider is well again.
    Never,
    Failed,
    /// Known for a while, then forgotten.
    Gone,
}

#[derive(Debug)]
struct Snapshot {
    dataset: String,
    inputs: Vec<Value>,
    rows: Vec<Value>,
    created_ms: i64,
    ready_ms: i64,
    fate: Fate,
    /// Downloads that are told "building".
    building: u64,
    fields: Option<Vec<String>>,
}

#[derive(Debug)]
pub struct BrightData {
    chance: Chance,
    traits: Traits,
    snapshots: BTreeMap<String, Snapshot>,
    /// In the order of their making.
    order: Vec<String>,
    /// How often a fate or a kind of row was dealt.
    pub dealt: BTreeMap<&'static str, u64>,
}

impl BrightData {
    pub fn new(seed: u64, traits: Traits) -> Self {
        let (snapshots, order, dealt) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        Self { chance: Chance::new(seed, "brightdata"), traits, snapshots, order, dealt }
    }

    /// The provider is well again: what hung is ready now, and nothing new goes wrong.
    pub fn recover(&mut self, now_ms: i64) {
        for snapshot in self.snapshots.values_mut().filter(|snapshot| snapshot.fate == Fate::Never) {
            (snapshot.fate, snapshot.ready_ms) = (Fate::Ready, now_ms);
        }
        let Traits { list_lag_ms, inputs_expired, inputs_rewritten, row_echo, .. } = self.traits;
        self.traits = Traits { list_lag_ms, inputs_expired, inputs_rewritten, row_echo, ..Traits::default() };
    }

    /// True for a snapshot that was worked on and forgotten.
    pub fn is_gone(&self, id: &str) -> bool {
        self.snapshots.get(id).is_some_and(|snapshot| snapshot.fate == Fate::Gone)
    }

    /// An id that was given out before, of this dataset if there is one.
    pub fn old_id(&mut self, dataset: &str) -> Option<String> {
        let same: Vec<&String> = self.order.iter().filter(|id| self.snapshots[*id].dataset == dataset).collect();
        let known = if same.is_empty() { self.order.iter().collect() } else { same };
        (!known.is_empty()).then(|| (*self.chance.pick(&known)).clone())
    }

    /// Accepts inputs, works on them, charges for the records.
    pub fn trigger(&mut self, query: &BTreeMap<String, String>, body: &Value, now_ms: i64, ledger: &mut Ledger) -> Reply {
        let Some(dataset) = query.get("dataset_id") else { return (400, json!({"error": "dataset_id is missing"})) };
        let inputs = body.get("input").unwrap_or(body).as_array().cloned().unwrap_or_default();
        if inputs.is_empty() {
            return (400, json!({"error": "No data to trigger"}));
        }
        let fields = query.get("custom_output_fields").map(|list| list.split('|').map(str::to_owned).collect());
        if self.traits.twins && self.chance.percent(50) {
            self.deal("brightdata: twin submission");
            self.make(dataset, &inputs, None, now_ms, ledger, false);
        }
        if self.chance.percent(20) {
            self.deal("brightdata: foreign snapshot");
            let other = [json!({"url": "https://chatgpt.com/", "prompt": "What is the tallest tree?", "index": 1})];
            self.make(dataset, &other, None, now_ms, ledger, false);
        }
        let id = self.make(dataset, &inputs, fields, now_ms, ledger, true);
        (200, json!({"snapshot_id": id}))
    }

    fn make(
        &mut self,
        dataset: &str,
        inputs: &[Value],
        fields: Option<Vec<String>>,
        now_ms: i64,
        ledger: &mut Ledger,
        ours: bool,
    ) -> String {
        let id = format!("s_{:010x}", self.chance.next() >> 24);
        let draw = self.chance.below(100);
        let traits = self.traits;
        let fate = match draw {
            draw if draw < traits.never_ready => Fate::Never,
            draw if draw < traits.never_ready + traits.failed => Fate::Failed,
            draw if draw < traits.never_ready + traits.failed + traits.gone => Fate::Gone,
            _ => Fate::Ready,
        };
        match fate {
            Fate::Never => self.deal("brightdata: never ready"),
            Fate::Failed => self.deal("brightdata: failed"),
            Fate::Gone => self.deal("brightdata: gone"),
            Fate::Ready => {}
        }
        let building = if self.chance.percent(traits.building) { self.chance.between(1, 3) } else { 0 };
        let ready_ms = now_ms + self.chance.between(5_000, 240_000) as i64;
        let mut rows = Vec::new();
        if fate != Fate::Failed {
            for input in inputs {
                self.work_on(dataset, input, &id, &mut rows, ledger, ours);
            }
        }
        self.chance.shuffle(&mut rows);
        let (dataset, inputs) = (dataset.to_owned(), inputs.to_vec());
        let snapshot = Snapshot { dataset, inputs, rows, created_ms: now_ms, ready_ms, fate, building, fields };
        self.snapshots.insert(id.clone(), snapshot);
        self.order.push(id.clone());
        id
    }

    /// The records of one input: usually one, which is charged.
    fn work_on(&mut self, dataset: &str, input: &Value, id: &str, rows: &mut Vec<Value>, ledger: &mut Ledger, ours: bool) {
        let traits = self.traits;
        if self.chance.percent(traits.missing_rows) {
            return self.deal("brightdata: missing row");
        }
        if self.chance.percent(traits.error_rows) {
            self.deal("brightdata: error row");
            let (error, code) = *self.chance.pick(&[
                ("Auth wall: sign-up prompt detected", "crawl_failed"),
                ("Request timeout", "timeout"),
                ("Crawl aborted on job cancel", "aborted_page"),
            ]);
            rows.push(json!({"timestamp": "2026-09-24T12:00:00.000Z", "input": input, "error": error, "error_code": code}));
            return;
        }
        let text = |key: &str| input[key].as_str().unwrap_or_default().to_owned();
        let (prompt, country) = (text("prompt"), text("country"));
        let about = About::Record { dataset: dataset.to_owned(), prompt: prompt.clone(), country };
        let reference = ledger.book(about, RECORD, Some(id), ours);
        let mut answer = json!(sold_text(&prompt, reference));
        if self.chance.percent(traits.empty_rows) {
            self.deal("brightdata: row without an answer");
            answer = Value::Null;
        }
        let echoed = if traits.row_echo { format!("  {} ", prompt.to_uppercase()) } else { prompt };
        let row = json!({
            "url": input["url"], "prompt": echoed, "country": input["country"], "index": input["index"], "input": input,
            "answer_text": answer, "answer_text_markdown": answer, "model": "gpt-5-5", "web_search_triggered": true,
            "citations": [{"url": "https://www.globex.example/crm", "title": "Globex", "domain": "globex.example", "cited": true, "position": 1}],
            "timestamp": "2026-09-24T12:00:00.000Z", "error": "", "answer_html": "<html></html>",
        });
        if self.chance.percent(traits.double_rows) {
            self.deal("brightdata: double row");
            rows.push(row.clone());
        }
        if self.chance.percent(traits.foreign_rows) {
            self.deal("brightdata: foreign row");
            rows.push(json!({"prompt": "What is the tallest tree?", "index": 77, "answer_text": "The redwood.", "answer_text_markdown": "The redwood."}));
        }
        rows.push(row);
    }

    fn deal(&mut self, what: &'static str) {
        *self.dealt.entry(what).or_default() += 1;
    }

    /// Every other endpoint; `path` is what follows `/datasets/v3/`.
    pub fn ask(&mut self, path: &[&str], query: &BTreeMap<String, String>, now_ms: i64) -> Reply {
        match path {
            ["progress", id] => self.progress(id, now_ms),
            ["snapshots"] => (200, self.list(query, now_ms)),
            ["snapshot", id] => self.download(id, now_ms),
            ["snapshot", id, "input"] => self.inputs(id),
            _ => (404, json!("Cannot find the page")),
        }
    }

    fn status(&self, snapshot: &Snapshot, now_ms: i64) -> &'static str {
        match snapshot.fate {
            Fate::Never => "running",
            _ if now_ms < snapshot.ready_ms => {
                if now_ms - snapshot.created_ms < 3_000 {
                    "starting"
                } else {
                    "running"
                }
            }
            Fate::Failed => "failed",
            Fate::Ready | Fate::Gone => "ready",
        }
    }

    fn progress(&self, id: &str, now_ms: i64) -> Reply {
        let Some(snapshot) = self.known(id, now_ms) else { return (404, json!("Snapshot does not exist")) };
        let status = self.status(snapshot, now_ms);
        let mut reply = json!({"snapshot_id": id, "dataset_id": snapshot.dataset, "status": status});
        match status {
            "failed" => reply["error_message"] = json!("Snapshot is empty"),
            "ready" => reply["records"] = json!(snapshot.rows.len()),
            _ => {}
        }
        (200, reply)
    }

    fn known(&self, id: &str, now_ms: i64) -> Option<&Snapshot> {
        self.snapshots.get(id).filter(|snapshot| snapshot.fate != Fate::Gone || now_ms < snapshot.ready_ms)
    }

    fn list(&self, query: &BTreeMap<String, String>, now_ms: i64) -> Value {
        let from = query.get("from_date").cloned().unwrap_or_default();
        let lag = self.traits.list_lag_ms as i64;
        let listed = self.order.iter().rev().filter_map(|id| {
            let snapshot = self.known(id, now_ms)?;
            let created = iso(snapshot.created_ms);
            let status = self.status(snapshot, now_ms);
            let wanted = query.get("dataset_id").is_none_or(|dataset| *dataset == snapshot.dataset)
                && query.get("status").is_none_or(|wanted| wanted == status)
                && created >= from
                && snapshot.created_ms + lag <= now_ms;
            wanted.then(|| json!({"id": id, "dataset_id": snapshot.dataset, "status": status, "created": created}))
        });
        listed.collect()
    }

    fn inputs(&mut self, id: &str) -> Reply {
        let Some(snapshot) = self.snapshots.get(id) else { return (404, json!("Snapshot does not exist")) };
        if self.traits.inputs_expired {
            return (400, json!({"error": "inputs storage is expired"}));
        }
        let mut inputs = snapshot.inputs.clone();
        if self.traits.inputs_rewritten {
            for input in &mut inputs {
                input["prompt"] = json!(format!("{} (localized)", input["prompt"].as_str().unwrap_or_default()));
            }
        }
        self.chance.shuffle(&mut inputs);
        (200, json!(inputs))
    }

    fn download(&mut self, id: &str, now_ms: i64) -> Reply {
        let Some(snapshot) = self.known(id, now_ms) else { return (404, json!("Snapshot does not exist")) };
        match self.status(snapshot, now_ms) {
            "ready" => {}
            "failed" => return (400, json!("Snapshot is empty")),
            _ => return (202, json!({"status": "running", "message": "Snapshot is not ready yet, try again in 10s"})),
        }
        let Some(snapshot) = self.snapshots.get_mut(id) else { return (404, json!("Snapshot does not exist")) };
        if snapshot.building > 0 {
            snapshot.building -= 1;
            let status = if snapshot.building % 2 == 0 { 202 } else { 200 };
            self.deal("brightdata: building");
            return (status, json!({"status": "building", "message": "Dataset is not ready yet, try again in 30s"}));
        }
        let filtered = snapshot.rows.iter().map(|row| {
            let mut row = row.clone();
            if let (Some(fields), Some(columns)) = (&snapshot.fields, row.as_object_mut()) {
                columns.retain(|name, _| fields.contains(name));
            }
            row
        });
        (200, filtered.collect())
    }
}

/// `2026-11-21T00:00:00.000Z` (the calendar after Howard Hinnant, "chrono-compatible low-level date algorithms").
fn iso(ms: i64) -> String {
    let (days, rest) = (ms.div_euclid(86_400_000) + 719_468, ms.rem_euclid(86_400_000));
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (month, day) = (shifted.rem_euclid(12), day_of_year - (153 * shifted + 2) / 5 + 1);
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hours, minutes, seconds) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", rest % 1_000)
}
