//! The batch of a seed: which models, locations, questions and settings. Small, so that many seeds fit into a minute.

use std::collections::BTreeMap;

use overheard::domain::ModelRun;
use overheard::pipeline::RunSpec;
use serde_json::{Value, json};

use super::chance::Chance;
use super::weather::Call;

#[derive(Debug, Clone)]
pub struct Plan {
    pub models: Vec<&'static str>,
    pub countries: Vec<&'static str>,
    pub questions: usize,
    pub repeats: usize,
    pub web_search: bool,
    pub llm: bool,
    pub max_cost: Option<i64>,
    /// Lives that may end in a crash.
    pub lives: u64,
    pub in_flight: usize,
    pub triggers: usize,
    pub group_commit: usize,
    pub deadline_ms: u64,
}

pub const BATCH: &str = "batch";

impl Plan {
    pub fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed, "plan");
        let mut models = vec!["chatgpt", "perplexity", "gemini", "gpt-4.1", "claude-sonnet-4-5"];
        chance.shuffle(&mut models);
        models.truncate(chance.between(1, 3) as usize);
        let mut countries = vec!["US", "DE"];
        countries.truncate(chance.between(1, 2) as usize);
        let large = chance.percent(12);
        let max_cost = chance.percent(15).then(|| chance.between(3_000, 1_500_000) as i64);
        Self {
            models,
            countries,
            questions: if large { 12 } else { chance.between(1, 6) as usize },
            repeats: if large { 2 } else { 1 },
            web_search: chance.percent(70),
            llm: chance.percent(30),
            max_cost,
            lives: chance.below(6),
            in_flight: chance.between(2, 4) as usize,
            triggers: chance.between(1, 2) as usize,
            group_commit: *chance.pick(&[1, 3, 200]),
            deadline_ms: chance.between(6, 20) * 60_000,
        }
    }

    pub fn cells(&self) -> usize {
        self.models.len() * self.countries.len() * self.questions * self.repeats
    }

    /// All of one length, so that the expected cost of each is the same.
    pub fn question(number: usize) -> String {
        format!("Which CRM suits bakery number {number:03}?")
    }

    /// Most requests at once that the engine was told to allow.
    pub fn caps(&self) -> BTreeMap<Call, usize> {
        [(Call::Trigger, self.triggers), (Call::OpenAi, self.in_flight), (Call::Anthropic, self.in_flight)].into()
    }

    /// `known`: the model runs as the store has them.
    pub fn spec(&self, folder: &str, on_unknown: &str, retry_failed: bool, known: &[ModelRun]) -> RunSpec {
        let questions: Vec<Value> =
            (1..=self.questions).map(|number| json!({"id": format!("q{number}"), "text": Self::question(number)})).collect();
        let models: Vec<Value> = self.models.iter().map(|model| model_spec(model, known)).collect();
        let account = |base: &str| json!({"api_key": "key", "base_url": format!("http://127.0.0.1:1{base}"), "max_in_flight": self.in_flight, "max_triggers": self.triggers});
        let spec = json!({
            "phase": "run", "batch_id": BATCH, "batch_size": self.models.len(), "repeats": self.repeats,
            "extraction": if self.llm { "llm" } else { "local" },
            "org": {"id": "acme", "name": "Acme Cloud", "websites": ["https://acme.example"], "questions": questions},
            "models": models,
            "locations": self.countries.iter().map(|country| json!({"country": country})).collect::<Vec<_>>(),
            "questions": questions,
            "web_search": self.web_search,
            "retry_failed": retry_failed,
            "max_cost_micro_usd": self.max_cost,
            "batch_overhead_micro_usd": known.iter().map(|run| run.overhead_micro_usd).sum::<i64>(),
            "batch_overhead_maybe_charged_micro_usd": known.iter().map(|run| run.overhead_maybe_charged_micro_usd).sum::<i64>(),
            "settings": {
                "openai": account("/v1"), "anthropic": account(""), "brightdata": account(""),
                "extraction_in_flight": self.in_flight, "group_commit": self.group_commit, "journal": folder,
                "on_unknown": on_unknown, "datasets": {"snapshot_deadline_ms": self.deadline_ms},
            },
        });
        serde_json::from_value(spec).expect("the plan is a spec")
    }
}

fn model_spec(model: &str, known: &[ModelRun]) -> Value {
    let mut spec = json!({"model": model, "run_id": format!("run-{model}")});
    if let Some(row) = known.iter().find(|run| run.model == model) {
        spec["overhead_micro_usd"] = json!(row.overhead_micro_usd);
        spec["overhead_maybe_charged_micro_usd"] = json!(row.overhead_maybe_charged_micro_usd);
        spec["row"] = json!(row);
    }
    spec
}
