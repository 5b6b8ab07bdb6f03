//! The provider's side of the bill: requests, replies, records, charges. Append-only; decides nothing about prices or
//! answers. Served at `/_sim/ledger`.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use super::prices::Used;

const FIVE_MINUTES_MS: u64 = 300_000;

/// One charge.
#[derive(Debug, Clone, Default)]
pub(crate) struct Charge {
    pub(crate) endpoint: &'static str,
    pub(crate) model: String,
    /// Id of the reply, snapshot or batch line.
    pub(crate) id: String,
    /// The prompts.
    pub(crate) inputs: Vec<String>,
    pub(crate) micro_usd: u64,
    pub(crate) used: Used,
    /// Bright Data records charged.
    pub(crate) records: u64,
    /// Milliseconds since 1970.
    pub(crate) started_ms: u64,
    pub(crate) finished_ms: u64,
    /// `answer`, `refusal`, `structured`, …
    pub(crate) status: &'static str,
}

/// All counters.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Single charges are kept, not only summed.
    keep: bool,
    requests: BTreeMap<&'static str, u64>,
    replies: BTreeMap<(&'static str, u16), u64>,
    in_flight: BTreeMap<&'static str, (u64, u64)>,
    /// The same by provider, over all its endpoints.
    of_provider: BTreeMap<&'static str, (u64, u64)>,
    refusals: BTreeMap<&'static str, Refusals>,
    faults: BTreeMap<String, u64>,
    records: u64,
    charged: u64,
    charges: Vec<Charge>,
    counted: u64,
}

impl Ledger {
    /// An empty ledger; `keep`: single charges are kept, not only summed.
    pub(crate) fn new(keep: bool) -> Self {
        Self { keep, ..Self::default() }
    }

    /// A request arrived.
    pub(crate) fn arrived(&mut self, endpoint: &'static str) {
        *self.requests.entry(endpoint).or_default() += 1;
        let (now, peak) = self.in_flight.entry(endpoint).or_default();
        *now += 1;
        *peak = (*peak).max(*now);
        let (now, peak) = self.of_provider.entry(provider_of(endpoint)).or_default();
        *now += 1;
        *peak = (*peak).max(*now);
    }

    /// Its reply is on the way (0: the connection was cut without one).
    pub(crate) fn left(&mut self, endpoint: &'static str, status: u16, now_ms: u64) {
        *self.replies.entry((endpoint, status)).or_default() += 1;
        if let Some((now, _)) = self.in_flight.get_mut(endpoint) {
            *now = now.saturating_sub(1);
        }
        if let Some((now, _)) = self.of_provider.get_mut(provider_of(endpoint)) {
            *now = now.saturating_sub(1);
        }
        if status == 429 {
            self.refusals.entry(provider_of(endpoint)).or_default().add(now_ms);
        }
    }

    /// A fault was applied.
    pub(crate) fn fault(&mut self, name: &str) {
        *self.faults.entry(name.to_owned()).or_default() += 1;
    }

    /// Books a charge.
    pub(crate) fn charge(&mut self, charge: Charge) {
        self.records += charge.records;
        self.charged += charge.micro_usd;
        self.counted += 1;
        if self.keep {
            self.charges.push(charge);
        }
    }

    /// The whole ledger; without the single charges when `charges` is false.
    pub(crate) fn to_json(&self, charges: bool) -> Value {
        let mut replies: BTreeMap<&str, BTreeMap<String, u64>> = BTreeMap::new();
        for ((endpoint, status), count) in &self.replies {
            replies.entry(endpoint).or_default().insert(status.to_string(), *count);
        }
        let peaks: BTreeMap<&str, u64> = self.in_flight.iter().map(|(name, (_, peak))| (*name, *peak)).collect();
        let of_provider: BTreeMap<&str, u64> = self.of_provider.iter().map(|(name, (_, peak))| (*name, *peak)).collect();
        let refusals: BTreeMap<&str, usize> = self.refusals.iter().map(|(name, refusals)| (*name, refusals.most)).collect();
        let mut value = json!({
            "simulated": true,
            "requests": self.requests,
            "replies": replies,
            "peak_in_flight": peaks,
            "peak_in_flight_of_provider": of_provider,
            "most_429_in_five_minutes": refusals,
            "faults": self.faults,
            "records": self.records,
            "charged_micro_usd": self.charged,
            "charge_count": self.counted,
        });
        if charges && let Some(object) = value.as_object_mut() {
            object.insert("charges".to_owned(), self.charges.iter().map(single).collect());
        }
        value
    }
}

/// Answers 429 of one provider.
#[derive(Debug, Default)]
struct Refusals {
    /// Those of the last five minutes, in milliseconds since 1970.
    recent: VecDeque<u64>,
    most: usize,
}

impl Refusals {
    fn add(&mut self, now_ms: u64) {
        self.recent.push_back(now_ms);
        while self.recent.front().is_some_and(|first| now_ms.saturating_sub(*first) >= FIVE_MINUTES_MS) {
            self.recent.pop_front();
        }
        self.most = self.most.max(self.recent.len());
    }
}

/// `brightdata` of `brightdata.trigger`.
fn provider_of(endpoint: &'static str) -> &'static str {
    endpoint.split('.').next().unwrap_or(endpoint)
}

fn single(charge: &Charge) -> Value {
    json!({
        "endpoint": charge.endpoint,
        "model": charge.model,
        "id": charge.id,
        "inputs": charge.inputs,
        "micro_usd": charge.micro_usd,
        "input_tokens": charge.used.input,
        "cached_input_tokens": charge.used.cached,
        "output_tokens": charge.used.output,
        "searches": charge.used.searches,
        "batch": charge.used.batch,
        "records": charge.records,
        "started_ms": charge.started_ms,
        "finished_ms": charge.finished_ms,
        "status": charge.status,
    })
}
