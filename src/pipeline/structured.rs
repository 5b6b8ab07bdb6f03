//! One call under a JSON schema, made with the extraction model for somebody outside a batch's run: under the account's limits,
//! with the retries and the one repair of an extraction, and under a cap of its own. Knows no store and keeps no journal: whoever
//! asks notes beforehand what it may cost, and is told what it did cost whatever came of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::Context;
use super::budget::Budget;
use super::extract::{self, ModelCalls};
use super::leases::Leases;
use super::session::Session;
use super::totals::Totals;
use crate::config::Settings;
use crate::domain::{MicroUsd, StructuredRequest, Usage};
use crate::error::{Error, Result};
use crate::extract::conforming;
use crate::host::Host;
use crate::journal::{Call, Journal};
use crate::providers::{StructuredModel, structured_model};

/// Longest name of a schema that both vendors take.
const MAX_NAME: usize = 64;
/// Bytes that a repair adds to the prompt: the words around the error, and the error, which is bounded.
const REPAIR_BYTES: usize = 1_000;
/// Requests that the largest bill has: two asks, each sent a second time because the first reply was lost.
const MOST_REQUESTS: u64 = 4;

/// A structured call.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StructuredSpec {
    /// `[A-Za-z0-9_-]{1,64}`.
    pub schema_name: String,
    /// A strict JSON schema: an object, every property required, no additional properties.
    pub schema: serde_json::Value,
    /// Instructions.
    pub system: String,
    /// The data, what is untrusted inside a fence.
    pub user: String,
    /// Most it may cost with all its requests, micro-dollars; `None`: no cap.
    #[serde(default)]
    pub max_cost_micro_usd: Option<i64>,
    /// The model is the extraction model of these.
    #[serde(default)]
    pub settings: Settings,
}

/// What came of a structured call.
#[derive(Debug, Clone, Serialize)]
pub struct StructuredOutcome {
    /// The reply's JSON object, which follows the schema; `None`: it failed.
    pub json: Option<String>,
    /// The account that was asked.
    pub provider: String,
    /// The model that was asked.
    pub model: String,
    /// Counts of all replies.
    pub usage: Usage,
    /// The charge of all replies, micro-dollars; `None`: unpriced.
    pub cost_micro_usd: Option<i64>,
    /// What requests whose reply was lost may have been charged, micro-dollars.
    pub maybe_charged_micro_usd: i64,
    /// Requests sent.
    pub attempts: u64,
    /// Why it failed.
    pub error: Option<Error>,
}

/// Who would answer, and what it can cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StructuredQuote {
    /// The account that pays.
    pub provider: String,
    /// The model.
    pub model: String,
    /// One request at most, micro-dollars.
    pub worst_case_micro_usd: i64,
    /// All requests at most: a repair, and each sent a second time, micro-dollars.
    pub most_micro_usd: i64,
}

impl StructuredSpec {
    fn resolved(&self) -> Result<(Arc<dyn StructuredModel>, StructuredRequest)> {
        self.settings.check()?;
        let named = self.schema_name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        if self.schema_name.is_empty() || self.schema_name.len() > MAX_NAME || !named {
            let message = "schema_name: must be 1 to 64 ASCII letters, digits, '_' or '-'";
            return Err(Error::config("schema_name", message.to_owned()));
        }
        let model = structured_model(&self.settings.extraction_model, &self.settings)?;
        let request = StructuredRequest {
            schema_name: self.schema_name.clone().into(),
            schema: self.schema.clone(),
            system: self.system.clone(),
            user: self.user.clone(),
        };
        Ok((model, request))
    }
}

/// Who would answer, and what it can cost, without asking.
///
/// # Errors
/// [`crate::ErrorKind::Config`]: a missing key, an unknown price; [`crate::ErrorKind::Unsupported`]: no structured output.
pub fn quote_structured(spec: &StructuredSpec) -> Result<StructuredQuote> {
    let (model, mut request) = spec.resolved()?;
    let worst = model.worst_case(&request);
    request.system.push_str(&" ".repeat(REPAIR_BYTES));
    Ok(StructuredQuote {
        provider: model.name().to_owned(),
        model: model.model().to_owned(),
        worst_case_micro_usd: worst.0,
        most_micro_usd: model.worst_case(&request).times(MOST_REQUESTS).0,
    })
}

/// Makes the call. `stop` is the graceful way: what is in flight gets its grace, nothing is sent again.
///
/// # Errors
/// As [`quote_structured`], before anything is sent. What fails later stands in [`StructuredOutcome::error`] beside its bill.
pub async fn structured(
    context: Context,
    spec: StructuredSpec,
    host: Host,
    stop: CancellationToken,
) -> Result<StructuredOutcome> {
    let (model, request) = spec.resolved()?;
    let host = host.redacting(spec.settings.redactor());
    let budget = Budget::new(spec.max_cost_micro_usd.map(MicroUsd), MicroUsd::ZERO);
    let leases = Arc::new(Leases::none(&context, None, spec.settings.lease_ms)); // the call belongs to no model run
    let (journal, totals) = (Journal::none(), Totals::default());
    let session = Session::new(context, spec.settings, host, stop, budget, journal, leases, totals, String::new(), 1);
    let calls = ModelCalls { lost_at_worst: true, ..ModelCalls::new(&session, model.clone()) };
    let schema = request.schema.clone();
    let call = extract::structured(&session, &calls, (None, Call::Structured), request, |json| conforming(json, &schema));
    let (result, bill) = session.within_grace(call).await;
    let (json, error) = match result {
        Ok(value) => (Some(value.to_string()), None),
        Err(error) => (None, Some(error)),
    };
    Ok(StructuredOutcome {
        json,
        provider: model.name().to_owned(),
        model: model.model().to_owned(),
        cost_micro_usd: bill.cost().map(|cost| cost.0),
        maybe_charged_micro_usd: bill.maybe_charged().0,
        usage: bill.into_usage(),
        attempts: session.requests(),
        error,
    })
}
