//! OpenAI's error body `{"error":{"message","type","param","code"}}`, and the same object inside a 200.
//!
//! Must tell the three 429s apart: too fast, overloaded, out of money (`insufficient_quota` and the spend limits).

use serde::Deserialize;

use crate::error::{Error, ErrorKind};
use crate::http::HttpResponse;
use crate::providers::wire::{Caller, Failure, Maybe, Spare, Text, parse};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow)]
    error: Maybe<ApiError<'a>>,
}

/// The error object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ApiError<'a> {
    #[serde(borrow)]
    message: Text<'a>,
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    code: Text<'a>,
}

/// Codes and types that mean: out of money, or at a spend limit. Waiting does not help.
const MONEY: [&str; 7] = [
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "credit_balance_exhausted",
    "organization_usage_limit_exceeded",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
];

impl ApiError<'_> {
    /// True when the object says anything at all.
    pub(super) fn is_filled(&self) -> bool {
        [&self.message, &self.kind, &self.code].into_iter().any(|text| text.filled().is_some())
    }

    /// What its own words mean; `None`: the status decides.
    fn meaning(&self) -> Option<ErrorKind> {
        let words = [self.code.filled(), self.kind.filled()];
        let is = |names: &[&str]| words.iter().flatten().any(|word| names.contains(word));
        if is(&MONEY) || is_spend_limit(self.message.as_str()) {
            Some(ErrorKind::QuotaExhausted)
        } else if is(&["invalid_api_key", "account_deactivated"]) {
            Some(ErrorKind::Auth)
        } else {
            None
        }
    }

    fn failure(&self, kind: Option<ErrorKind>) -> Failure {
        Failure { kind, code: self.code.owned().or_else(|| self.kind.owned()), message: self.message.owned(), request_id: None }
    }

    /// The error of a 200 whose body says it failed.
    pub(super) fn inside_a_200(&self, caller: &Caller<'_>, reply: &HttpResponse) -> Error {
        let kind = self.meaning().unwrap_or_else(|| match self.code.filled().or(self.kind.filled()).unwrap_or_default() {
            "server_error" | "vector_store_timeout" | "slow_down" => ErrorKind::Overloaded,
            "rate_limit_exceeded" | "requests" | "tokens" => ErrorKind::RateLimited,
            "invalid_prompt" | "invalid_request_error" | "unsupported_parameter" | "model_not_found" => ErrorKind::InvalidRequest,
            _ => ErrorKind::Semantic,
        });
        let what =
            format!("a reply of status {} says it failed: {}", reply.status, self.message.filled().unwrap_or("no reason given"));
        caller.content(reply, kind, self.failure(None).code.as_deref(), &what)
    }
}

/// "You have reached your specified API usage limits" and the like.
fn is_spend_limit(message: &str) -> bool {
    ["exceeded your current quota", "reached your specified API usage limits", "spend limit", "credit balance"]
        .iter()
        .any(|words| message.contains(words))
}

/// What a reply that is not 2xx means. A 500, 502 or 504 may come from a gateway after the model answered, so it may have been
/// charged; a 429, 503 or 529 says that nothing was done.
pub(super) fn of_reply(caller: &Caller<'_>, reply: &HttpResponse) -> Error {
    let spare = Spare::new();
    let body: Option<Body<'_>> = parse(&reply.body, &spare);
    let failure = match body.and_then(|body| body.error.0) {
        // A money code means money on the statuses OpenAI sends it with, not on a 5xx of some gateway.
        Some(error) => error.failure(error.meaning().filter(|_| reply.status < 500)),
        None => Failure::default(),
    };
    caller.error(reply, failure).with(|context| context.maybe_charged = matches!(reply.status, 500 | 502 | 504))
}
