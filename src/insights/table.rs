//! The question runs of one or more batches, kept compactly: numbers for texts, lists in common pools, about 160 bytes a
//! run beside them. Measures nothing.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value};

use super::names::{Interner, name_key};
use super::read::{self, Reading};
use crate::domain::{CellKey, RunStatus, Sentiment, SiteClass};

/// A question run; `None`: not known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) batch: u32,
    pub(super) question: Option<u32>,
    pub(super) model: Option<u32>,
    pub(super) location: Option<u32>,
    pub(super) repeat: Option<u16>,
    pub(super) status: Option<RunStatus>,
    pub(super) extracted: Option<bool>,
    pub(super) mentioned: Option<bool>,
    pub(super) own_cited: Option<bool>,
    pub(super) sentiment: Option<Sentiment>,
    pub(super) rank: Option<u32>,
    pub(super) share: Option<f64>,
    pub(super) occurrences: Option<u32>,
    pub(super) competitor_occurrences: Option<u32>,
    pub(super) prominence: Option<f64>,
    pub(super) list_position: Option<u32>,
    pub(super) words: Option<f64>,
    pub(super) position_adjusted: Option<f64>,
    competitors: Option<(u32, u32)>,
    citations: Option<(u32, u32)>,
}

/// A citation in the pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub(super) domain: Option<u32>,
    pub(super) own: bool,
    pub(super) retrieved_only: bool,
    pub(super) class: Option<SiteClass>,
}

/// Charges of question runs, in micro-dollars.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Spent {
    pub(super) cost: i64,
    pub(super) maybe_charged: i64,
    /// Question runs whose charge is not known.
    pub(super) not_known: u64,
}

impl Spent {
    pub(super) fn add(&mut self, other: Self) {
        self.cost = self.cost.saturating_add(other.cost);
        self.maybe_charged = self.maybe_charged.saturating_add(other.maybe_charged);
        self.not_known += other.not_known;
    }
}

/// Where question runs are added, and what the metrics read.
#[derive(Debug, Default)]
pub struct Table {
    pub(super) seed: u64,
    pub(super) rows: Vec<Row>,
    pub(super) batches: Interner,
    pub(super) questions: Interner,
    pub(super) texts: HashMap<u32, String>,
    pub(super) models: Interner,
    pub(super) locations: Interner,
    /// Keys of competitors' names, the configured ones first.
    pub(super) brands: Interner,
    /// The spellings of the configured ones.
    configured: Vec<String>,
    spellings: Vec<BTreeMap<String, u64>>,
    own: HashSet<String>,
    pub(super) domains: Interner,
    /// By (model, location), as the rows have them.
    pub(super) spent: HashMap<(Option<u32>, Option<u32>), Spent>,
    pub(super) served: HashMap<Option<u32>, HashSet<String>>,
    odd_keys: HashMap<usize, String>,
    competitor_pool: Vec<u32>,
    citation_pool: Vec<Source>,
}

impl Table {
    /// An empty table.
    ///
    /// `org` has `name`, `aliases` and `competitors`, as an org file has them; what is missing counts as empty. `seed`
    /// decides the bootstrap's draws: the same seed and rows give the same intervals.
    #[must_use]
    pub fn new(org: &Value, seed: u64) -> Self {
        let mut table = Self { seed, ..Self::default() };
        let listed = |name: &str| org.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        table.own = listed("aliases").chain(org.get("name").and_then(Value::as_str)).map(name_key).collect();
        // A competitor is a name, or a mapping with one.
        let entries = org.get("competitors").and_then(Value::as_array).into_iter().flatten();
        for name in entries.filter_map(|entry| entry.as_str().or_else(|| entry.get("name").and_then(Value::as_str))) {
            if table.brand(name).is_some() && table.configured.len() < table.brands.len() {
                table.configured.push(one_line(name));
            }
        }
        table
    }

    /// Adds a question run of a batch; fields as `InsightStore.insight_rows` names them. Nothing in it is an error.
    pub fn add(&mut self, batch_id: &str, fields: &Map<String, Value>) {
        let read = Reading::of(fields);
        let model = read.model.as_deref().map(|text| self.models.number(text));
        let location = read.location.as_deref().map(|text| self.locations.number(text));
        let question = read.question_id.as_deref().map(|text| self.questions.number(text));
        if let (Some(question), Some(text)) = (question, read.question) {
            self.texts.insert(question, text);
        }
        if let Some(served) = read.served_model {
            self.served.entry(model).or_default().insert(served);
        }
        self.spent.entry((model, location)).or_default().add(Spent {
            cost: read.cost.unwrap_or(0).saturating_add(read.other_cost),
            maybe_charged: read.maybe_charged,
            not_known: u64::from(read.cost.is_none()),
        });
        let competitors = read.competitors.map(|names| self.add_competitors(&names));
        let citations = read.citations.map(|sources| {
            let start = self.citation_pool.len();
            for source in sources {
                let domain = source.domain.as_deref().map(|text| self.domains.number(text));
                let read::Source { own, retrieved_only, class, .. } = source;
                self.citation_pool.push(Source { domain, own, retrieved_only, class });
            }
            span(start, self.citation_pool.len())
        });
        if let (None, Some(key)) = (key_of(&read.question_id, &read.model, &read.location, read.repeat), read.cell_key) {
            self.odd_keys.insert(self.rows.len(), key);
        }
        let batch = self.batches.number(batch_id);
        self.rows.push(Row {
            batch,
            question,
            model,
            location,
            repeat: read.repeat,
            status: read.status,
            extracted: read.extracted,
            mentioned: read.mentioned,
            own_cited: read.own_cited,
            sentiment: read.sentiment,
            rank: read.rank,
            share: read.share,
            occurrences: read.occurrences,
            competitor_occurrences: read.competitor_occurrences,
            prominence: read.prominence,
            list_position: read.list_position,
            words: read.words,
            position_adjusted: read.position_adjusted,
            competitors,
            citations,
        });
    }

    /// How many question runs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True when nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The brand's number; `None` when the name is empty or the org's own.
    fn brand(&mut self, name: &str) -> Option<u32> {
        let key = name_key(name);
        if key.is_empty() || self.own.contains(&key) {
            return None;
        }
        let number = self.brands.number(&key);
        if self.spellings.len() <= number as usize {
            self.spellings.push(BTreeMap::new());
        }
        Some(number)
    }

    fn add_competitors(&mut self, names: &[String]) -> (u32, u32) {
        let start = self.competitor_pool.len();
        for name in names {
            let Some(brand) = self.brand(name) else { continue };
            let known = self.competitor_pool.get(start..).is_some_and(|this| this.contains(&brand));
            if !known {
                self.competitor_pool.push(brand);
                if let Some(spellings) = self.spellings.get_mut(brand as usize) {
                    *spellings.entry(one_line(name)).or_insert(0) += 1;
                }
            }
        }
        span(start, self.competitor_pool.len())
    }

    /// The spelling that most answers use; among equals the configured one, then the first in the order of the letters.
    pub(super) fn brand_name(&self, brand: u32) -> &str {
        let configured = self.configured.get(brand as usize);
        let spellings = self.spellings.get(brand as usize).into_iter().flatten().rev();
        let best = spellings.max_by_key(|(name, count)| (**count, configured == Some(*name)));
        best.map(|(name, _)| name).or(configured).map_or(self.brands.text(brand), String::as_str)
    }

    /// The competitors an answer names, each once, in its order; `None`: not known.
    pub(super) fn competitors(&self, row: &Row) -> Option<&[u32]> {
        row.competitors.and_then(|(start, end)| self.competitor_pool.get(start as usize..end as usize))
    }

    /// The sources of an answer, in its order; `None`: not known.
    pub(super) fn citations(&self, row: &Row) -> Option<&[Source]> {
        row.citations.and_then(|(start, end)| self.citation_pool.get(start as usize..end as usize))
    }

    /// The cell key of a row; `None` when the row had neither it nor its parts.
    pub(super) fn cell_key(&self, index: usize, row: &Row) -> Option<String> {
        let text = |names: &Interner, number: Option<u32>| number.map(|number| names.text(number).to_owned());
        let (question, model) = (text(&self.questions, row.question), text(&self.models, row.model));
        key_of(&question, &model, &text(&self.locations, row.location), row.repeat).or_else(|| self.odd_keys.get(&index).cloned())
    }
}

fn key_of(question: &Option<String>, model: &Option<String>, location: &Option<String>, repeat: Option<u16>) -> Option<String> {
    let (question_id, model, location) = (question.clone()?, model.clone()?, location.clone()?);
    Some(CellKey { question_id, model, location, repeat: repeat? }.to_string())
}

fn one_line(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn span(start: usize, end: usize) -> (u32, u32) {
    let number = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
    (number(start), number(end))
}
