//! Settings, checked once at the edge. A key lives in [`Secret`], which cannot be printed.

mod secret;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::domain::Price;
use crate::error::{Error, Result};

pub use secret::{Redactor, Secret};

/// One provider account.
#[derive(Debug, Clone)]
pub struct Account {
    /// The API key; empty when not set.
    pub api_key: Secret,
    /// Base URL as the provider's SDK has it, without a trailing slash.
    pub base_url: String,
    /// Calls (or open snapshots) in flight at most.
    pub max_in_flight: usize,
    /// Triggers in flight at most (Bright Data).
    pub max_triggers: usize,
    /// Requests a minute at most; 0: as many as the provider allows.
    pub requests_per_minute: u64,
    /// Tokens a minute at most, in and out together; 0: as many as the provider allows.
    pub tokens_per_minute: u64,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            api_key: Secret::default(),
            base_url: String::new(),
            max_in_flight: 64,
            max_triggers: 8,
            requests_per_minute: 0,
            tokens_per_minute: 0,
        }
    }
}

/// What of an account is told; the rest stays as the provider's defaults have it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AccountChanges {
    api_key: Option<Secret>,
    base_url: Option<String>,
    max_in_flight: Option<usize>,
    max_triggers: Option<usize>,
    requests_per_minute: Option<u64>,
    tokens_per_minute: Option<u64>,
}

impl Account {
    fn new(base_url: &str, max_in_flight: usize) -> Self {
        Self { base_url: base_url.into(), max_in_flight, ..Self::default() }
    }

    /// `https://api.openai.com/v1`, 64 calls in flight.
    #[must_use]
    pub fn openai() -> Self {
        Self::new("https://api.openai.com/v1", 64)
    }

    /// `https://api.anthropic.com`, 32 calls in flight.
    #[must_use]
    pub fn anthropic() -> Self {
        Self::new("https://api.anthropic.com", 32)
    }

    /// `https://api.brightdata.com`, 100 open snapshots, 8 triggers in flight.
    #[must_use]
    pub fn brightdata() -> Self {
        Self::new("https://api.brightdata.com", 100)
    }

    fn changed(self, changes: AccountChanges) -> Self {
        Self {
            api_key: changes.api_key.unwrap_or(self.api_key),
            base_url: changes.base_url.unwrap_or(self.base_url),
            max_in_flight: changes.max_in_flight.unwrap_or(self.max_in_flight),
            max_triggers: changes.max_triggers.unwrap_or(self.max_triggers),
            requests_per_minute: changes.requests_per_minute.unwrap_or(self.requests_per_minute),
            tokens_per_minute: changes.tokens_per_minute.unwrap_or(self.tokens_per_minute),
        }
    }
}

fn openai<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Account, D::Error> {
    AccountChanges::deserialize(deserializer).map(|changes| Account::openai().changed(changes))
}

fn anthropic<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Account, D::Error> {
    AccountChanges::deserialize(deserializer).map(|changes| Account::anthropic().changed(changes))
}

fn brightdata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Account, D::Error> {
    AccountChanges::deserialize(deserializer).map(|changes| Account::brightdata().changed(changes))
}

/// The three Bright Data datasets and how to talk to them.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BrightDataSettings {
    /// ChatGPT (`BRIGHTDATA_DATASET_ID`).
    pub chatgpt_dataset_id: String,
    /// Perplexity (`PERPLEXITY_DATASET_ID`).
    pub perplexity_dataset_id: String,
    /// Gemini (`GEMINI_DATASET_ID`).
    pub gemini_dataset_id: String,
    /// Engines (`chatgpt`, `perplexity`, `gemini`) that must not be sent a country.
    pub without_country: Vec<String>,
    /// Book error rows as charged.
    pub charge_error_rows: bool,
    /// First poll of a snapshot when nothing is learned, in milliseconds.
    pub first_poll_ms: u64,
    /// Shortest time between two polls of a snapshot, in milliseconds.
    pub min_poll_ms: u64,
    /// Give a snapshot this long before the batch goes on without it, in milliseconds.
    pub snapshot_deadline_ms: u64,
}

impl Default for BrightDataSettings {
    fn default() -> Self {
        Self {
            chatgpt_dataset_id: "gd_m7aof0k82r803d5bjm".into(),
            perplexity_dataset_id: "gd_m7dhdot1vw9a7gc1n".into(),
            gemini_dataset_id: "gd_mbz66arm2mf9cu856y".into(),
            without_country: Vec::new(),
            charge_error_rows: false,
            first_poll_ms: 10_000,
            min_poll_ms: 1_000,
            snapshot_deadline_ms: 60 * 60 * 1000,
        }
    }
}

/// Attempts and waits of the one retry layer.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetrySettings {
    /// Attempts of a paid call, the first included.
    pub attempts: u32,
    /// Attempts of a free call (poll, list, download), the first included.
    pub free_attempts: u32,
    /// First backoff after a transient failure, in milliseconds.
    pub base_ms: u64,
    /// First backoff after being throttled, in milliseconds.
    pub throttle_base_ms: u64,
    /// Longest backoff, in milliseconds.
    pub cap_ms: u64,
    /// A retry-after up to this is waited for by the call that got it; a longer one parks the provider. In milliseconds.
    pub max_retry_after_ms: u64,
    /// A parked provider is waited for this long; one that stays away longer is stopped for this start. In milliseconds.
    pub max_park_ms: u64,
    /// A provider that fails half of its calls is left alone this long at first, then up to ten times as long, in milliseconds.
    pub breaker_ms: u64,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            attempts: 3,
            free_attempts: 9,
            base_ms: 500,
            throttle_base_ms: 2_000,
            cap_ms: 20_000,
            max_retry_after_ms: 120_000,
            max_park_ms: 900_000,
            breaker_ms: 30_000,
        }
    }
}

/// Time limits of a call, in milliseconds.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// Name, TCP and TLS together.
    pub connect_ms: u64,
    /// Between two pieces of a body.
    pub idle_ms: u64,
    /// A direct call, body included.
    pub answer_ms: u64,
    /// A Bright Data trigger.
    pub trigger_ms: u64,
    /// A poll or a list.
    pub poll_ms: u64,
    /// A download.
    pub download_ms: u64,
    /// A store or provider callback.
    pub host_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect_ms: 5_000,
            idle_ms: 60_000,
            answer_ms: 180_000,
            trigger_ms: 60_000,
            poll_ms: 30_000,
            download_ms: 900_000,
            host_ms: 30_000,
        }
    }
}

/// Everything the engine can be told.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// OpenAI (`OPENAI_API_KEY`, `OPENAI_BASE_URL` with `/v1`).
    #[serde(deserialize_with = "openai")]
    pub openai: Account,
    /// Anthropic (`ANTHROPIC_API_KEY`, `ANTHROPIC_BASE_URL` without `/v1`).
    #[serde(deserialize_with = "anthropic")]
    pub anthropic: Account,
    /// Bright Data (`BRIGHTDATA_API_KEY`, `BRIGHTDATA_BASE_URL`).
    #[serde(deserialize_with = "brightdata")]
    pub brightdata: Account,
    /// HTTP proxy for everything that does not go to this machine (`OVERHEARD_PROXY`); it may carry a password. Empty: none;
    /// the proxy variables of other programs are never read.
    pub proxy: Secret,
    /// Its datasets.
    pub datasets: BrightDataSettings,
    /// Extraction model (`OVERHEARD_EXTRACTION_MODEL`).
    pub extraction_model: String,
    /// Extraction calls in flight at most.
    pub extraction_in_flight: usize,
    /// Answers of one submission to the extraction model's batch endpoint at most.
    pub extraction_batch_answers: usize,
    /// Submissions to that endpoint in flight at most.
    pub extraction_batches_open: usize,
    /// Output cap of an answer, in tokens.
    pub max_output_tokens: u32,
    /// Output cap of an extraction call, in tokens.
    pub extraction_max_output_tokens: u32,
    /// Searches a direct call may make.
    pub max_searches: u32,
    /// Continuations of a paused turn at most.
    pub max_continuations: u32,
    /// Use chat completions instead of Responses for OpenAI models (compatible servers).
    pub openai_chat_completions: bool,
    /// Retry policy.
    pub retry: RetrySettings,
    /// Time limits.
    pub timeouts: Timeouts,
    /// The user's prices by model, over the packaged ones.
    pub prices: BTreeMap<String, Price>,
    /// Journal folder; empty: none.
    pub journal: String,
    /// What to do about a submission whose snapshot id was lost.
    pub on_unknown: OnUnknown,
    /// A lost submission is triggered again only when the provider's list does not have it this long after its intent, in
    /// milliseconds.
    pub unknown_grace_ms: u64,
    /// Folder of what all processes of the host share about an account (its 429s); empty: this process alone.
    pub host_folder: String,
    /// A lease of a model run lives this long without renewal, in milliseconds; it is renewed six times as often.
    pub lease_ms: u64,
    /// Seconds that paid work in flight gets after a stop.
    pub grace_ms: u64,
    /// Question runs per hand-over to the store at most.
    pub group_commit: usize,
    /// True when a simulator answers: said in log lines and summary.
    pub simulated: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            openai: Account::openai(),
            anthropic: Account::anthropic(),
            brightdata: Account::brightdata(),
            proxy: Secret::default(),
            datasets: BrightDataSettings::default(),
            extraction_model: "gpt-4.1-mini".into(),
            extraction_in_flight: 64,
            extraction_batch_answers: 1_000,
            extraction_batches_open: 16,
            max_output_tokens: 4_000,
            extraction_max_output_tokens: 4_000,
            max_searches: 5,
            max_continuations: 4,
            openai_chat_completions: false,
            retry: RetrySettings::default(),
            timeouts: Timeouts::default(),
            prices: BTreeMap::new(),
            journal: String::new(),
            on_unknown: OnUnknown::Reconcile,
            unknown_grace_ms: 120_000,
            host_folder: String::new(),
            lease_ms: 60_000,
            grace_ms: 10_000,
            group_commit: 200,
            simulated: false,
        }
    }
}

impl Settings {
    /// Takes every key out of a text.
    #[must_use]
    pub fn redactor(&self) -> Redactor {
        let secrets = [&self.openai.api_key, &self.anthropic.api_key, &self.brightdata.api_key, &self.proxy];
        Redactor::new(secrets.map(Secret::reveal))
    }

    /// Checks what the types cannot: base URLs, positive bounds.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] with the variable to mend.
    pub fn check(&self) -> Result<()> {
        for (variable, account) in [
            ("OPENAI_BASE_URL", &self.openai),
            ("ANTHROPIC_BASE_URL", &self.anthropic),
            ("BRIGHTDATA_BASE_URL", &self.brightdata),
        ] {
            check_base_url(variable, &account.base_url)?;
            if account.max_in_flight == 0 || account.max_triggers == 0 {
                return Err(Error::config("max_in_flight", "max_in_flight and max_triggers must be at least 1"));
            }
        }
        check_proxy(&self.proxy)?;
        for (field, value) in [
            ("timeouts.connect_ms", self.timeouts.connect_ms as usize),
            ("timeouts.idle_ms", self.timeouts.idle_ms as usize),
            ("extraction_in_flight", self.extraction_in_flight),
            ("extraction_batch_answers", self.extraction_batch_answers),
            ("extraction_batches_open", self.extraction_batches_open),
            ("group_commit", self.group_commit),
            ("retry.attempts", self.retry.attempts as usize),
            ("retry.free_attempts", self.retry.free_attempts as usize),
        ] {
            if value == 0 {
                return Err(Error::config(field, format!("{field} must be at least 1")));
            }
        }
        if self.lease_ms < 1_000 {
            return Err(Error::config("lease_ms", "lease_ms must be at least 1000: a store may take that long to renew it"));
        }
        Ok(())
    }
}

/// https, or http to a loopback host; no user info, no query, no fragment, nothing that a URL parser silently drops.
///
/// # Errors
/// [`crate::ErrorKind::Config`] naming `variable`, without the value: a key may have been pasted into it.
pub fn check_base_url(variable: &str, base_url: &str) -> Result<()> {
    let refuse = |why: &str| Err(Error::config(variable, format!("{variable}: {why}")));
    // The parser drops tabs and line ends, and takes a backslash for a slash: what is checked must be what was written.
    if base_url.contains(|character: char| character.is_control() || character.is_whitespace() || character == '\\') {
        return refuse("contains a space, a control character or a backslash");
    }
    let Ok(url) = url::Url::parse(base_url) else { return refuse("is not a URL") };
    // It also finds a host in `https:host` and `https:///host`, where other readers find none.
    let authority = base_url.split_once("://").and_then(|(_, rest)| rest.split('/').next()).unwrap_or_default();
    if authority.is_empty() {
        return refuse("has no host");
    }
    let loopback = match url.host() {
        Some(url::Host::Domain(domain)) => domain == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => return refuse("has no host"),
    };
    if !(url.scheme() == "https" || (url.scheme() == "http" && loopback)) {
        return refuse("must be https (http is allowed to a loopback address only)");
    }
    // `https://@host` has an empty user name, which the parser drops too.
    if authority.contains('@') || url.query().is_some() || url.fragment().is_some() {
        return refuse("must not carry a user name, a query or a fragment");
    }
    Ok(())
}

/// An http(s) URL of a host; a user name and a password are allowed.
fn check_proxy(proxy: &Secret) -> Result<()> {
    if proxy.is_empty() {
        return Ok(());
    }
    match url::Url::parse(proxy.reveal()) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.host().is_some() => Ok(()),
        _ => Err(Error::config("OVERHEARD_PROXY", "OVERHEARD_PROXY: is not an http(s) URL such as http://proxy.example:3128")),
    }
}

/// What to do about a submission that may exist at the provider and whose snapshot id was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// Look for it in the provider's list; hold it when that gives no clear answer.
    Reconcile,
    /// Do not look; hold it and say so.
    Hold,
    /// Book it as lost and buy it again.
    Retrigger,
}

/// How extraction is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExtractionMode {
    /// Rules only.
    Local,
    /// Rules, then the extraction model where they found something.
    Llm,
    /// The same, through the native batch endpoint of the model's provider: half the token price, answered within a day.
    #[serde(rename = "llm-batch")]
    LlmBatch,
}

impl ExtractionMode {
    /// True when a language model is asked.
    #[must_use]
    pub fn asks_a_model(self) -> bool {
        matches!(self, Self::Llm | Self::LlmBatch)
    }
}
