//! Settings, checked once at the edge. A key lives in [`Secret`], which cannot be printed.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::domain::Price;
use crate::error::{Error, Result};

/// A key. `Debug` shows `***`; there is no `Display` and no `Serialize`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a key.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The key itself: only for the header that carries it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// True when no key is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(if self.0.is_empty() { "Secret(unset)" } else { "Secret(***)" })
    }
}

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
}

impl Default for Account {
    fn default() -> Self {
        Self { api_key: Secret::default(), base_url: String::new(), max_in_flight: 64, max_triggers: 8 }
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
    /// A longer retry-after than this is not waited for, in milliseconds.
    pub max_retry_after_ms: u64,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self { attempts: 3, free_attempts: 9, base_ms: 500, throttle_base_ms: 2_000, cap_ms: 20_000, max_retry_after_ms: 120_000 }
    }
}

/// Time limits of a call, in milliseconds.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// TCP and TLS.
    pub connect_ms: u64,
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
        Self { connect_ms: 5_000, answer_ms: 180_000, trigger_ms: 60_000, poll_ms: 30_000, download_ms: 900_000, host_ms: 30_000 }
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
    /// Its datasets.
    pub datasets: BrightDataSettings,
    /// Extraction model (`OVERHEARD_EXTRACTION_MODEL`).
    pub extraction_model: String,
    /// Extraction calls in flight at most.
    pub extraction_in_flight: usize,
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
    /// Journal file; empty: none.
    pub journal: String,
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
            datasets: BrightDataSettings::default(),
            extraction_model: "gpt-4.1-mini".into(),
            extraction_in_flight: 64,
            max_output_tokens: 4_000,
            extraction_max_output_tokens: 4_000,
            max_searches: 5,
            max_continuations: 4,
            openai_chat_completions: false,
            retry: RetrySettings::default(),
            timeouts: Timeouts::default(),
            prices: BTreeMap::new(),
            journal: String::new(),
            grace_ms: 10_000,
            group_commit: 200,
            simulated: false,
        }
    }
}

impl Settings {
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
        for (field, value) in [
            ("extraction_in_flight", self.extraction_in_flight),
            ("group_commit", self.group_commit),
            ("retry.attempts", self.retry.attempts as usize),
            ("retry.free_attempts", self.retry.free_attempts as usize),
        ] {
            if value == 0 {
                return Err(Error::config(field, format!("{field} must be at least 1")));
            }
        }
        Ok(())
    }
}

/// https, or http to a loopback host; no user info, no query, no fragment.
fn check_base_url(variable: &str, base_url: &str) -> Result<()> {
    let refuse = |why: &str| Err(Error::config(variable, format!("{variable}: {why}")));
    let Ok(url) = url::Url::parse(base_url) else { return refuse("is not a URL") };
    let loopback = match url.host() {
        Some(url::Host::Domain(domain)) => domain == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => return refuse("has no host"),
    };
    if !(url.scheme() == "https" || (url.scheme() == "http" && loopback)) {
        return refuse("must be https (http is allowed to a loopback address only)");
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return refuse("must not carry a user name, a query or a fragment");
    }
    Ok(())
}

/// How extraction is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExtractionMode {
    /// Rules only.
    Local,
    /// Rules, then the extraction model where they found something.
    Llm,
}
