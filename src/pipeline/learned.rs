//! What a run learns for the next: how long answers are (so how many go into a batch) and how long snapshots take (so when
//! to poll first). Kept in the store as facts; never needed, only useful.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::store::Store;

/// Answers averaging more than this many tokens are asked in smaller batches.
const LONG_ANSWER_TOKENS: u64 = 1_000;
/// Batch size for long answers.
const LONG_ANSWER_BATCH: usize = 10;
/// Answers needed before their average means something.
const ENOUGH_ANSWERS: u64 = 5;
/// Characters per token, where the provider counts none.
const CHARACTERS_PER_TOKEN: u64 = 4;
/// Durations kept per dataset.
const DURATIONS: usize = 50;

/// Facts of one batch's models, by model.
#[derive(Debug)]
pub(super) struct Learned {
    question_set: String,
    models: Mutex<HashMap<String, ModelFacts>>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct ModelFacts {
    answers: u64,
    tokens: u64,
    durations_ms: Vec<u64>,
    #[serde(skip)]
    changed: bool,
}

impl Learned {
    pub(super) fn new(question_set: String) -> Self {
        Self { question_set, models: Mutex::default() }
    }

    fn name(&self, model: &str) -> String {
        format!("learned:{model}:{}", self.question_set)
    }

    /// Reads what earlier runs learned. A fact that cannot be read counts as not there.
    pub(super) async fn load(&self, store: &dyn Store, model: &str) {
        let fact = store.load_fact(self.name(model)).await.ok().flatten();
        if let Some(facts) = fact.and_then(|json| serde_json::from_str::<ModelFacts>(&json).ok()) {
            self.with(model, |known| *known = facts);
        }
    }

    /// Keeps what changed. A store that cannot keep it loses speed, nothing else.
    pub(super) async fn save(&self, store: &dyn Store) {
        let changed: Vec<(String, ModelFacts)> = {
            let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
            models.iter().filter(|(_, facts)| facts.changed).map(|(model, facts)| (model.clone(), facts.clone())).collect()
        };
        for (model, facts) in changed {
            if let Ok(json) = serde_json::to_string(&facts) {
                let _ = store.save_fact(self.name(&model), json).await;
            }
        }
    }

    /// Questions per submission: the provider's most, or fewer where answers are long.
    pub(super) fn batch_size(&self, model: &str, most: usize) -> usize {
        self.with(model, |facts| {
            let long = facts.answers >= ENOUGH_ANSWERS && facts.tokens > facts.answers * LONG_ANSWER_TOKENS;
            if long { most.min(LONG_ANSWER_BATCH) } else { most }
        })
    }

    /// The learned 10th percentile of snapshot durations; `None` before anything is learned.
    pub(super) fn first_poll(&self, model: &str) -> Option<Duration> {
        self.with(model, |facts| {
            let mut durations = facts.durations_ms.clone();
            durations.sort_unstable();
            durations.get(durations.len() / 10).map(|milliseconds| Duration::from_millis(*milliseconds))
        })
    }

    /// An answer came, of this many output tokens if the provider counts them.
    pub(super) fn answered(&self, model: &str, output_tokens: Option<u64>, text: &str) {
        let tokens = output_tokens.unwrap_or(text.len() as u64 / CHARACTERS_PER_TOKEN);
        self.with(model, |facts| {
            facts.answers += 1;
            facts.tokens += tokens;
            facts.changed = true;
        });
    }

    /// A snapshot was ready after this long.
    pub(super) fn took(&self, model: &str, duration: Duration) {
        self.with(model, |facts| {
            if facts.durations_ms.len() >= DURATIONS {
                facts.durations_ms.remove(0);
            }
            facts.durations_ms.push(duration.as_millis() as u64);
            facts.changed = true;
        });
    }

    fn with<T>(&self, model: &str, work: impl FnOnce(&mut ModelFacts) -> T) -> T {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        match models.get_mut(model) {
            Some(facts) => work(facts),
            None => work(models.entry(model.to_owned()).or_default()),
        }
    }
}
