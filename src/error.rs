//! One error, by meaning, with what the reader asks next: which cell, how many attempts, could it have been charged.
//!
//! Must not hold a secret, a request body or an unbounded reply: `body` is a bounded excerpt. Errors cross to Python and
//! into the store as data, so everything here serialises.

use std::any::Any;

use serde::{Deserialize, Serialize};

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. The doc line of each kind says what the retry policy does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// No byte of the request was accepted. Retried; nothing can have been charged.
    NotSent,
    /// The request was (or may have been) sent and no usable reply came. At most one paid re-send; never for a trigger.
    OutcomeUnknown,
    /// 429, too fast. Retried after the wait the provider names; the concurrency is halved.
    RateLimited,
    /// 5xx or 529. Retried.
    Overloaded,
    /// Out of money at the provider. Never retried; stops the provider.
    QuotaExhausted,
    /// The provider is down, or told us to stay away for longer than a start waits. Never retried; stops the provider, whose cells
    /// stay open for a resume.
    Unavailable,
    /// Bad key, missing permission, bad certificate. Never retried; stops the provider.
    Auth,
    /// The provider refused this request (4xx). Never retried.
    InvalidRequest,
    /// A reply that breaks the protocol (redirect, wrong content). Free calls are retried.
    Protocol,
    /// A reply larger than the cap. Never retried.
    TooLarge,
    /// A reply that cannot be decoded. As `OutcomeUnknown`.
    Undecodable,
    /// Decoded, but unusable (empty answer, invalid schema). See the call.
    Semantic,
    /// One row of a batch failed (auth wall, crawler error, missing row). The other rows are settled.
    Record,
    /// The snapshot ended without data.
    SnapshotFailed,
    /// The snapshot is not known to the provider any more.
    SnapshotGone,
    /// A callback of the user's store or provider failed. The user's exception is re-raised unchanged.
    Host,
    /// `max_cost` does not allow the next paid call.
    Budget,
    /// A deadline of ours passed; the work may still be finished by a resume.
    Deadline,
    /// The run was stopped on request.
    Cancelled,
    /// A setting, an org or a question is wrong. Names the variable, field or file to mend.
    Config,
    /// The provider cannot do what was asked (batching, a location, web search).
    Unsupported,
    /// Another start works on the model run. Nothing was begun.
    Locked,
    /// Another start took the model run over while this one worked on it: nothing more may be sent or written.
    LeaseLost,
    /// The journal cannot be written or read.
    Journal,
    /// A bug of ours, caught.
    Internal,
}

impl ErrorKind {
    /// True when the whole provider must stop: every further call would fail the same way.
    #[must_use]
    pub fn stops_provider(self) -> bool {
        matches!(self, Self::Auth | Self::QuotaExhausted | Self::Unavailable)
    }
}

/// An error with its context. Small to move: the context is boxed.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("{}", self.describe())]
pub struct Error {
    /// The meaning.
    pub kind: ErrorKind,
    /// One sentence: what failed and what to do about it.
    pub message: String,
    /// The facts.
    #[serde(default)]
    pub context: Box<Context>,
}

/// The facts behind an [`Error`]. `None` means not known or not applicable.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Context {
    /// `openai`, `anthropic`, `brightdata` or a custom provider's name.
    pub provider: Option<String>,
    /// The model the user named.
    pub model: Option<String>,
    /// Key of the cell (`question|model|location|repeat`).
    pub cell: Option<String>,
    /// HTTP status of the last reply.
    pub status_code: Option<u16>,
    /// The provider's own machine-readable code (`insufficient_quota`, `crawl_failed`, …).
    pub code: Option<String>,
    /// The provider's id of the request, for its support.
    pub request_id: Option<String>,
    /// Milliseconds the provider asked us to wait.
    pub retry_after_ms: Option<u64>,
    /// The provider's own verdict (`x-should-retry`).
    pub should_retry: Option<bool>,
    /// Attempts made, the failed one included. 0 = nothing was sent.
    pub attempts: u32,
    /// Milliseconds from the first attempt to the failure.
    pub elapsed_ms: u64,
    /// True when the provider may have charged for an attempt whose reply was lost.
    pub maybe_charged: bool,
    /// Bounded excerpt of the provider's reply.
    pub body: Option<String>,
    /// Setting, field or file to mend.
    pub field: Option<String>,
    /// Positions (0-based) of the inputs of a submission that the provider named as bad.
    pub bad_inputs: Vec<usize>,
    /// Number of the host call whose exception this is; the Python side holds the exception under it.
    pub host_call: Option<u64>,
}

/// Code of an error of the TLS handshake: no byte of the request was sent. Never together with a status.
pub const TLS_FAILED: &str = "tls_failed";

/// Longest excerpt of a provider's reply that an error keeps, in characters.
pub const BODY_EXCERPT: usize = 500;

impl Error {
    /// An error with an empty context.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), context: Box::default() }
    }

    /// A wrong setting: names the variable, field or file to mend.
    pub fn config(field: impl Into<String>, message: impl Into<String>) -> Self {
        let mut error = Self::new(ErrorKind::Config, message);
        error.context.field = Some(field.into());
        error
    }

    /// A bug of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// A bug of ours that showed as a panic.
    #[must_use]
    pub fn panicked(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let text: String = text.unwrap_or("no message").chars().take(BODY_EXCERPT).collect();
        Self::internal(format!("the core panicked: {text}"))
    }

    /// The same error with its context changed.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Context)) -> Self {
        change(&mut self.context);
        self
    }

    /// True when the TLS handshake failed: nothing was sent, so nothing can have been charged.
    #[must_use]
    pub fn is_before_sending(&self) -> bool {
        self.kind == ErrorKind::NotSent || self.context.status_code.is_none() && self.context.code.as_deref() == Some(TLS_FAILED)
    }

    /// Keeps a bounded excerpt of the provider's reply.
    #[must_use]
    pub fn with_body(mut self, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body.get(..body.len().min(BODY_EXCERPT * 4)).unwrap_or(body));
        self.context.body = Some(text.chars().take(BODY_EXCERPT).collect());
        self
    }

    fn describe(&self) -> String {
        let context = &self.context;
        let mut facts = Vec::new();
        if let Some(cell) = &context.cell {
            facts.push(format!("cell {cell}"));
        }
        if context.attempts > 0 {
            let plural = if context.attempts == 1 { "attempt" } else { "attempts" };
            facts.push(format!("{} {plural} in {:.1} s", context.attempts, context.elapsed_ms as f64 / 1000.0));
        }
        if context.maybe_charged {
            facts.push("may have been charged".to_owned());
        }
        if let Some(id) = &context.request_id {
            facts.push(format!("request id {id}"));
        }
        if facts.is_empty() { self.message.clone() } else { format!("{} ({})", self.message, facts.join(", ")) }
    }
}
