//! Bright Data's dataset API: trigger, progress, list, inputs, download, cancel. Wire facts: the vendor's dataset API guides.
//!
//! A row is joined to its question by what it says of itself, never by its place; each question settles on its own.

mod chatgpt;
mod citations;
mod download;
mod engine;
mod error;
mod gemini;
mod join;
mod listing;
mod perplexity;
mod rows;
mod text;

use std::time::Duration;

use http::header::AUTHORIZATION;
use serde::Deserialize;

use text::same_words;

use super::estimates;
use super::wire::{Caller, Spare, Text, iso_of_ms, object, retry_after_ms};
use super::{Ask, Download, Inputs, Listed, Progress, Protocol, Provider, SnapshotProvider, asking};
use crate::config::{Secret, Settings, Timeouts};
use crate::domain::{MicroUsd, Price, Usage};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{DOWNLOAD_CAP, HttpRequest, HttpResponse, SMALL_CAP};

pub use engine::{CHATGPT, Engine, GEMINI, PERPLEXITY};

/// The variable of the key.
pub(crate) const KEY_VARIABLE: &str = "BRIGHTDATA_API_KEY";
/// Inputs of a trigger at most: with more, a snapshot falls into a class with far fewer concurrent ones.
const MAX_BATCH: usize = 20;
/// Snapshots of a list call at most (the vendor's own maximum).
const LIST_LIMIT: usize = 5_000;

/// An engine behind Bright Data.
#[derive(Debug)]
pub struct BrightData {
    named: String,
    engine: &'static Engine,
    base_url: String,
    key: Secret,
    dataset: String,
    with_country: bool,
    charge_error_rows: bool,
    price: Price,
    timeouts: Timeouts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Triggered<'a> {
    #[serde(borrow)]
    snapshot_id: Text<'a>,
    #[serde(borrow)]
    id: Text<'a>,
}

/// Milliseconds a reply that is not ready asks us to wait, from its header or its words.
fn wait_hint(reply: &HttpResponse) -> Option<u64> {
    let start = reply.body.get(..reply.body.len().min(512)).unwrap_or_default();
    retry_after_ms(reply)
        .or_else(|| (reply.status == 202).then(|| error::try_again_in(&String::from_utf8_lossy(start))).flatten())
}

impl BrightData {
    /// `named` is the user's word for the model.
    #[must_use]
    pub fn new(named: &str, engine: &'static Engine, price: Price, settings: &Settings) -> Self {
        let without = &settings.datasets.without_country;
        Self {
            named: named.to_owned(),
            engine,
            base_url: settings.brightdata.base_url.trim_end_matches('/').to_owned(),
            key: settings.brightdata.api_key.clone(),
            dataset: engine.dataset(&settings.datasets).to_owned(),
            with_country: !without.iter().any(|surface| surface.trim().eq_ignore_ascii_case(engine.surface)),
            charge_error_rows: settings.datasets.charge_error_rows,
            price,
            timeouts: settings.timeouts.clone(),
        }
    }

    fn caller(&self) -> Caller<'_> {
        Caller { provider: "brightdata", title: "BrightData", key_variable: KEY_VARIABLE, key: self.key.reveal() }
    }

    /// `{base}/datasets/v3/{path…}?{query}`; every part is percent-encoded.
    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Result<String> {
        let refuse = || Error::config("BRIGHTDATA_BASE_URL", "BRIGHTDATA_BASE_URL: is not a URL");
        let mut url = url::Url::parse(&self.base_url).map_err(|_| refuse())?;
        url.path_segments_mut().map_err(|()| refuse())?.pop_if_empty().extend(["datasets", "v3"]).extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url.into())
    }

    fn signed(&self, request: HttpRequest) -> Result<HttpRequest> {
        request.with_secret(AUTHORIZATION, &format!("Bearer {}", self.key.reveal()), KEY_VARIABLE)
    }

    fn get(&self, path: &[&str], query: &[(&str, &str)], timeout_ms: u64, cap: usize) -> Result<HttpRequest> {
        self.signed(HttpRequest::get(self.url(path, query)?, Duration::from_millis(timeout_ms), cap))
    }

    fn record(&self) -> MicroUsd {
        estimates::cost(&self.price, &Usage { records: 1, ..Usage::default() }).unwrap_or_default()
    }
}

impl Provider for BrightData {
    fn name(&self) -> &str {
        "brightdata"
    }

    fn title(&self) -> &str {
        "BrightData"
    }

    fn model(&self) -> &str {
        &self.named
    }

    fn surface(&self) -> &str {
        self.engine.surface
    }

    fn max_batch_size(&self) -> usize {
        MAX_BATCH
    }

    fn check(&self, ask: &Ask) -> Result<()> {
        asking::check("BrightData", ask, self.engine.longest_question)
    }

    fn price(&self) -> &Price {
        &self.price
    }

    /// One record: exact, whatever the row says.
    fn worst_case(&self, _: &Ask) -> MicroUsd {
        self.record()
    }

    fn expected(&self, _: &Ask) -> MicroUsd {
        self.record()
    }

    fn protocol(&self) -> Protocol<'_> {
        Protocol::Snapshot(self)
    }
}

impl SnapshotProvider for BrightData {
    fn trigger(&self, asks: &[Ask]) -> Result<HttpRequest> {
        let body = serde_json::to_vec(&self.engine.inputs(asks, self.with_country))
            .map_err(|error| Error::internal(format!("the request cannot be written: {error}")))?;
        let fields = self.engine.fields.join("|");
        let query = [
            ("dataset_id", self.dataset.as_str()),
            ("format", "json"),
            ("include_errors", "true"), // without it a failed input gives no row at all
            ("custom_output_fields", &fields),
        ];
        let url = self.url(&["trigger"], &query)?;
        let request = HttpRequest::post(url, body, Duration::from_millis(self.timeouts.trigger_ms), SMALL_CAP);
        self.signed(HttpRequest { fresh_connection: true, ..request })
    }

    fn decode_trigger(&self, reply: &HttpResponse) -> Result<String> {
        let spare = Spare::new();
        let triggered: Triggered<'_> = object(&reply.body, &spare).unwrap_or_default();
        triggered.snapshot_id.owned().or_else(|| triggered.id.owned()).ok_or_else(|| {
            let what = "the trigger's reply names no snapshot: the work may have been started";
            self.caller().content(reply, ErrorKind::OutcomeUnknown, None, what).with(|context| context.maybe_charged = true)
        })
    }

    fn progress(&self, id: &str) -> Result<HttpRequest> {
        self.get(&["progress", id], &[], self.timeouts.poll_ms, SMALL_CAP)
    }

    fn decode_progress(&self, reply: &HttpResponse) -> Result<Progress> {
        listing::decode_progress(&self.caller(), reply)
    }

    fn list(&self, from_ms: i64) -> Result<HttpRequest> {
        let (from, limit) = (iso_of_ms(from_ms), LIST_LIMIT.to_string());
        let query = [("dataset_id", self.dataset.as_str()), ("from_date", &from), ("limit", &limit)];
        // 5,000 lines do not fit into the cap of a poll.
        self.get(&["snapshots"], &query, self.timeouts.poll_ms, SMALL_CAP * 4)
    }

    fn decode_list(&self, reply: &HttpResponse) -> Result<Vec<Listed>> {
        listing::decode_list(&self.caller(), reply)
    }

    fn inputs(&self, id: &str) -> Result<HttpRequest> {
        self.get(&["snapshot", id, "input"], &[], self.timeouts.poll_ms, SMALL_CAP)
    }

    fn match_inputs(&self, asks: &[Ask], reply: &HttpResponse) -> Result<Inputs> {
        let (inputs, numbered) = listing::decode_inputs(&self.caller(), reply)?;
        let mut free: Vec<(usize, &Ask)> = asks.iter().enumerate().collect();
        let take = |input: &listing::Input| {
            let country = |ask: &Ask| self.engine.country(ask, self.with_country).unwrap_or_default();
            let is = |ask: &Ask| same_words(&ask.question, &input.prompt) && country(ask).eq_ignore_ascii_case(&input.country);
            let place = free.iter().position(|(_, ask)| is(ask))?;
            Some(free.remove(place).0)
        };
        Ok(Inputs { asks: inputs.iter().map(take).collect(), numbered })
    }

    fn download(&self, id: &str) -> Result<HttpRequest> {
        self.get(&["snapshot", id], &[("format", "json")], self.timeouts.download_ms, DOWNLOAD_CAP)
    }

    fn decode_download(&self, asks: &[Ask], reply: &HttpResponse) -> Result<Download> {
        download::decode(self, asks, reply)
    }

    fn cancel(&self, id: &str) -> Result<HttpRequest> {
        let url = self.url(&["snapshot", id, "cancel"], &[])?;
        self.signed(HttpRequest::post(url, "", Duration::from_millis(self.timeouts.poll_ms), SMALL_CAP))
    }

    fn error(&self, asks: &[Ask], reply: &HttpResponse) -> Error {
        error::of_reply(&self.caller(), self.engine.dataset_variable, asks, reply)
    }
}
