//! Anthropic's error body `{"type":"error","error":{"type","message"},"request_id"}`, and the same object inside a 200.

use serde::Deserialize;

use crate::error::{Error, ErrorKind};
use crate::http::HttpResponse;
use crate::providers::wire::{Caller, Failure, Maybe, Spare, Text, parse};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow)]
    error: Maybe<ApiError<'a>>,
    #[serde(borrow)]
    request_id: Text<'a>,
}

/// The error object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ApiError<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    message: Text<'a>,
    #[serde(borrow)]
    details: Maybe<Details<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details<'a> {
    #[serde(borrow)]
    error_code: Text<'a>,
}

impl ApiError<'_> {
    fn code(&self) -> Option<String> {
        self.details.0.as_ref().and_then(|details| details.error_code.owned()).or_else(|| self.kind.owned())
    }

    /// True for the codes and texts that mean: out of money, or at a spend limit.
    fn is_money(&self) -> bool {
        let code = self.code().unwrap_or_default();
        let message = self.message.as_str();
        matches!(code.as_str(), "billing_error" | "enforced_spend_limit_reached")
            || ["reached your specified API usage limits", "credit balance is too low", "spend limit"]
                .iter()
                .any(|words| message.contains(words))
    }

    /// What the object's own type means; `None`: the status decides.
    fn meaning(&self) -> Option<ErrorKind> {
        if self.is_money() {
            return Some(ErrorKind::QuotaExhausted);
        }
        Some(match self.kind.as_str() {
            "authentication_error" | "permission_error" => ErrorKind::Auth,
            "rate_limit_error" => ErrorKind::RateLimited,
            "overloaded_error" | "api_error" | "timeout_error" => ErrorKind::Overloaded,
            "invalid_request_error" | "not_found_error" | "request_too_large" => ErrorKind::InvalidRequest,
            _ => return None,
        })
    }

    /// The error of a 200 whose body says it failed.
    pub(super) fn inside_a_200(&self, caller: &Caller<'_>, reply: &HttpResponse) -> Error {
        let kind = self.meaning().unwrap_or(ErrorKind::Semantic);
        let what =
            format!("a reply of status {} says it failed: {}", reply.status, self.message.filled().unwrap_or("no reason given"));
        caller.content(reply, kind, self.code().as_deref(), &what)
    }
}

/// What a reply that is not 2xx means. A 500, 502 or 504 may come from a gateway after the model answered, so it may have been
/// charged; a 429, 503 or 529 says that nothing was done.
pub(super) fn of_reply(caller: &Caller<'_>, reply: &HttpResponse) -> Error {
    let spare = Spare::new();
    let body: Body<'_> = parse(&reply.body, &spare).unwrap_or_default();
    let failure = match &body.error.0 {
        Some(error) => Failure {
            // The body refines the status and does not contradict it, except about money.
            kind: error.is_money().then_some(ErrorKind::QuotaExhausted).filter(|_| reply.status < 500),
            code: error.code(),
            message: error.message.owned(),
            request_id: body.request_id.owned(),
        },
        None => Failure::default(),
    };
    caller.error(reply, failure).with(|context| context.maybe_charged = matches!(reply.status, 500 | 502 | 504))
}
