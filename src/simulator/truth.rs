//! What the served answers really contain, and what the extraction calls got wrong. Knows no wire form. Also finds an
//! answer again inside a prompt. Served at `/_sim/truth`.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::render::Mention;
use super::rng;
use super::world::World;

/// Bytes of the start of an answer that index it.
const ANCHOR: usize = 160;

/// A source as served.
#[derive(Debug, Clone)]
pub(crate) struct TruthCitation {
    pub(crate) url: String,
    pub(crate) canonical: String,
    /// Cited in the answer, or only retrieved.
    pub(crate) cited: bool,
}

/// A served answer.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) id: String,
    pub(crate) endpoint: &'static str,
    pub(crate) engine: &'static str,
    pub(crate) model: String,
    pub(crate) country: Option<String>,
    pub(crate) prompt: String,
    /// 1 for the first time this was asked.
    pub(crate) occurrence: u32,
    pub(crate) text: String,
    pub(crate) mentions: Vec<Mention>,
    pub(crate) absences: Vec<u16>,
    pub(crate) citations: Vec<TruthCitation>,
    /// `answer`, `refusal`, `error_row`, `missing_row`, `incomplete`, `paused`.
    pub(crate) status: &'static str,
}

/// What an extraction call was given back, and what was wrong with it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extraction {
    pub(crate) id: String,
    pub(crate) endpoint: &'static str,
    pub(crate) model: String,
    /// The answer found in the prompt; `None`: none was served by this simulator.
    pub(crate) answer: Option<String>,
    /// The org the call was about; `None`: none was recognised.
    pub(crate) target: Option<String>,
    /// Name of the schema.
    pub(crate) schema: String,
    /// Top-level properties of the schema.
    pub(crate) properties: Vec<String>,
    /// The text given back.
    pub(crate) returned: String,
    pub(crate) missed_names: Vec<String>,
    pub(crate) invented_names: Vec<String>,
    pub(crate) invented_quotes: Vec<String>,
    /// Sentences that the table of the prompt does not hold.
    pub(crate) false_statements: Vec<String>,
    /// A mention that is there was denied.
    pub(crate) missed_mention: bool,
    pub(crate) broken_json: bool,
}

/// Everything served.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    answers: Vec<Arc<Served>>,
    extractions: Vec<Extraction>,
    index: HashMap<u64, Vec<Arc<Served>>>,
}

impl Truth {
    /// Keeps an answer.
    pub(crate) fn served(&mut self, served: Served) {
        let served = Arc::new(served);
        self.answers.push(Arc::clone(&served));
        let text = served.text.trim();
        if text.is_empty() {
            return;
        }
        let bucket = self.index.entry(anchor(text)).or_default();
        if !bucket.iter().any(|known| known.text == served.text) {
            bucket.push(Arc::clone(&served));
        }
    }

    /// Keeps an extraction.
    pub(crate) fn extracted(&mut self, extraction: Extraction) {
        self.extractions.push(extraction);
    }

    /// The answer that stands in a prompt, with where: the longest one wins.
    pub(crate) fn find(&self, prompt: &str) -> Option<(Arc<Served>, usize, usize)> {
        let mut best: Option<(Arc<Served>, usize, usize)> = None;
        let mut start = 0;
        for line in prompt.split_inclusive('\n') {
            let lead = start + (line.len() - line.trim_start().len());
            start += line.len();
            let rest = prompt.get(lead..).unwrap_or("");
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            for key in [anchor(rest), rng::hash(line.as_bytes())] {
                for served in self.index.get(&key).into_iter().flatten() {
                    let text = served.text.trim();
                    let longer = best.as_ref().is_none_or(|(known, _, _)| known.text.trim().len() < text.len());
                    if longer && rest.starts_with(text) {
                        best = Some((Arc::clone(served), lead, lead + text.len()));
                    }
                }
            }
        }
        best
    }

    /// All of it.
    pub(crate) fn to_json(&self, world: &World) -> Value {
        let answers: Vec<Value> = self.answers.iter().map(|served| answer_json(world, served)).collect();
        let extractions: Vec<Value> = self.extractions.iter().map(extraction_json).collect();
        json!({"simulated": true, "answers": answers, "extractions": extractions})
    }
}

/// The key of a text: a hash of its first bytes, of all of it when it is shorter.
fn anchor(text: &str) -> u64 {
    let bytes = text.as_bytes();
    rng::hash(bytes.get(..ANCHOR).unwrap_or(bytes))
}

fn answer_json(world: &World, served: &Served) -> Value {
    let name = |number: u16| world.brand(number).map_or("", |brand| brand.name);
    let brands: Vec<Value> = served
        .mentions
        .iter()
        .map(|mention| {
            json!({
                "name": name(mention.brand),
                "written": mention.written,
                "domain": world.brand(mention.brand).map(|brand| brand.domain),
                "sentiment": mention.sentiment.as_str(),
                "quotes": mention.quotes,
            })
        })
        .collect();
    let citations: Vec<Value> = served
        .citations
        .iter()
        .map(|citation| json!({"url": citation.url, "canonical_url": citation.canonical, "cited": citation.cited}))
        .collect();
    json!({
        "id": served.id,
        "endpoint": served.endpoint,
        "engine": served.engine,
        "model": served.model,
        "country": served.country,
        "prompt": served.prompt,
        "occurrence": served.occurrence,
        "status": served.status,
        "text": served.text,
        "text_hash": format!("{:016x}", rng::hash(served.text.as_bytes())),
        "brands": brands,
        "absences": served.absences.iter().map(|number| name(*number)).collect::<Vec<_>>(),
        "citations": citations,
    })
}

fn extraction_json(extraction: &Extraction) -> Value {
    json!({
        "id": extraction.id,
        "endpoint": extraction.endpoint,
        "model": extraction.model,
        "answer_id": extraction.answer,
        "target": extraction.target,
        "schema": extraction.schema,
        "properties": extraction.properties,
        "returned": extraction.returned,
        "missed_names": extraction.missed_names,
        "invented_names": extraction.invented_names,
        "invented_quotes": extraction.invented_quotes,
        "false_statements": extraction.false_statements,
        "missed_mention": extraction.missed_mention,
        "broken_json": extraction.broken_json,
    })
}
