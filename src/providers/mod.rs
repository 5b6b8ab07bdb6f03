//! What a provider is: pure functions from a question to an HTTP request, and from an HTTP reply to an [`Outcome`].
//!
//! No I/O, no retry, no clock here. Contract:
//! 1. `check` refuses what the provider would refuse (length, country), before anything is sent, naming the field.
//! 2. `request`/`trigger` put the question in unchanged and the location into the provider's own field, never into the text.
//! 3. A decoder never panics and never fails the batch for one row: a bad row is that cell's [`Outcome`].
//! 4. `decode_*` is called for 2xx replies; `error` for all others, and turns status, headers and body into an [`Error`] by
//!    meaning (429 is three errors: rate, overload, out of money).
//! 5. `Outcome.cost_micro_usd` follows from the reply's own usage and the [`Price`]; it is `None` where the reply lacks it.
//! 6. The engine fills `attempts`, `started_at_ms`, `finished_at_ms` and `maybe_charged_micro_usd`.

mod answer;
pub mod anthropic;
mod asking;
mod batch;
pub mod brightdata;
mod estimates;
pub mod openai;
mod prices;
mod routing;
mod wire;

use std::sync::Arc;

use crate::domain::{Location, MicroUsd, Outcome, Price, StructuredRequest, Usage};
use crate::error::{Error, Result};
use crate::http::{HttpRequest, HttpResponse};

pub use batch::{BatchModel, BatchPage, BatchPhase, BatchState, LineReply, ListedBatch, MAX_CUSTOM_ID};
pub use prices::{is_same_model, known_models, price_of};
pub(crate) use wire::told as limits_told;

pub use routing::{Route, batch_model, provider_for, route, structured_model};

/// One question on its way to a provider.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The cell key, or the position in a plain batch; for errors and logs.
    pub key: Arc<str>,
    /// The text, sent as it is.
    pub question: Arc<str>,
    /// Where from; `None`: no location is sent.
    pub location: Option<Arc<Location>>,
    /// Let the model search the web, where the provider leaves the choice.
    pub web_search: bool,
}

/// How a provider is spoken to.
#[derive(Debug, Clone, Copy)]
pub enum Protocol<'a> {
    /// One request a question.
    Direct(&'a dyn DirectProvider),
    /// A submission of many questions, fetched later.
    Snapshot(&'a dyn SnapshotProvider),
    /// A provider the user wrote; asked through the host under this name.
    Host(&'a str),
}

/// What every provider tells about itself.
pub trait Provider: Send + Sync + std::fmt::Debug {
    /// `openai`, `anthropic`, `brightdata`, or a custom name: the account that limits and errors belong to.
    fn name(&self) -> &str;
    /// As log lines name it: `OpenAI`, `Anthropic`, `BrightData`.
    fn title(&self) -> &str;
    /// The model the user named.
    fn model(&self) -> &str;
    /// `chatgpt`, `perplexity`, `gemini`, `openai`, `anthropic`, …: the column `surface` of `geo_runs`.
    fn surface(&self) -> &str;
    /// Questions per submission at most; 1 = no batching.
    fn max_batch_size(&self) -> usize {
        1
    }
    /// Refuses what the provider would refuse.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidRequest`] or [`crate::ErrorKind::Unsupported`], naming the field.
    fn check(&self, ask: &Ask) -> Result<()>;
    /// What it costs.
    fn price(&self) -> &Price;
    /// The most that one question can be charged: the reservation.
    fn worst_case(&self, ask: &Ask) -> MicroUsd;
    /// What one question is expected to cost.
    fn expected(&self, ask: &Ask) -> MicroUsd;
    /// How it is spoken to.
    fn protocol(&self) -> Protocol<'_>;
}

/// A step of a direct call.
#[derive(Debug)]
pub enum Turn {
    /// Done.
    Done(Box<Outcome>),
    /// The turn was paused: send this too, then decode again with both replies.
    Continue(HttpRequest),
}

/// One request a question.
pub trait DirectProvider: Send + Sync + std::fmt::Debug {
    /// The request.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] when the key cannot be sent.
    fn request(&self, ask: &Ask) -> Result<HttpRequest>;
    /// Decodes all replies of the turn so far (2xx, in order; at least one).
    ///
    /// # Errors
    /// [`crate::ErrorKind::Undecodable`], [`crate::ErrorKind::Semantic`], or what an error inside a 200 means.
    fn decode(&self, ask: &Ask, replies: &[HttpResponse]) -> Result<Turn>;
    /// What a reply that is not 2xx means.
    fn error(&self, reply: &HttpResponse) -> Error;
}

/// Where a submission stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Not yet; every unknown word means this.
    Pending,
    /// Rows can be downloaded.
    Ready,
    /// It ended without data; the words say why.
    Failed(String),
}

/// What a download gave.
#[derive(Debug)]
pub enum Download {
    /// "Ready" was too early; ask again after this many milliseconds (`None`: no hint).
    NotReady(Option<u64>),
    /// One outcome per ask, in the order of the asks. A missing row is that ask's failed outcome.
    Rows {
        /// One per ask.
        outcomes: Vec<Outcome>,
        /// Rows received.
        received: usize,
        /// Rows that belong to no ask.
        foreign: usize,
    },
}

/// A line of the provider's list of submissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The snapshot id.
    pub id: String,
    /// Where it stands.
    pub progress: Progress,
    /// Milliseconds since 1970 UTC; `None` when the list does not say.
    pub created_at_ms: Option<i64>,
}

/// The inputs of a submission, told by the asks they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    /// Per input, the position of its ask.
    pub asks: Vec<Option<usize>>,
    /// True when the provider numbered them, so that their order is the one they were sent in.
    pub numbered: bool,
}

impl Inputs {
    /// True when these are all `count` asks and nothing else, in any order.
    #[must_use]
    pub fn are_all(&self, count: usize) -> bool {
        self.asks.len() == count && self.asks.iter().all(Option::is_some)
    }

    /// True when they are the asks in their own order.
    #[must_use]
    pub fn are_in_order(&self) -> bool {
        self.asks.iter().enumerate().all(|(place, ask)| *ask == Some(place))
    }
}

/// A submission of many questions: trigger, progress, download.
pub trait SnapshotProvider: Send + Sync + std::fmt::Debug {
    /// The trigger (paid; on a fresh connection).
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] when the key cannot be sent.
    fn trigger(&self, asks: &[Ask]) -> Result<HttpRequest>;
    /// The snapshot id of a 2xx reply.
    ///
    /// # Errors
    /// [`crate::ErrorKind::OutcomeUnknown`] when there is none: the work may exist.
    fn decode_trigger(&self, reply: &HttpResponse) -> Result<String>;
    /// The progress call (free).
    ///
    /// # Errors
    /// As `trigger`.
    fn progress(&self, id: &str) -> Result<HttpRequest>;
    /// Where it stands.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Protocol`] when the reply is no JSON.
    fn decode_progress(&self, reply: &HttpResponse) -> Result<Progress>;
    /// The list call (free): submissions of this dataset since `from_ms`.
    ///
    /// # Errors
    /// As `trigger`.
    fn list(&self, from_ms: i64) -> Result<HttpRequest>;
    /// The list.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Protocol`] when the reply is no list.
    fn decode_list(&self, reply: &HttpResponse) -> Result<Vec<Listed>>;
    /// The inputs call (free): what a submission was asked. For adopting an orphan after a trigger whose reply was lost.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] when the provider has no such call; else as `trigger`.
    fn inputs(&self, id: &str) -> Result<HttpRequest> {
        Err(Error::new(crate::ErrorKind::Unsupported, format!("the inputs of submission '{id}' cannot be asked for")))
    }
    /// Which ask each input of the reply is, in the order of the submission: its position among `asks` (each is taken once), `None`
    /// for an input that is none of them.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Protocol`] when the reply is no list of inputs.
    fn match_inputs(&self, asks: &[Ask], reply: &HttpResponse) -> Result<Inputs>;
    /// The download (free).
    ///
    /// # Errors
    /// As `trigger`.
    fn download(&self, id: &str) -> Result<HttpRequest>;
    /// The rows.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Undecodable`] when the body is no JSON array, object or line sequence.
    fn decode_download(&self, asks: &[Ask], reply: &HttpResponse) -> Result<Download>;
    /// The cancel call (free), for a submission that is given up.
    ///
    /// # Errors
    /// As `trigger`.
    fn cancel(&self, id: &str) -> Result<HttpRequest>;
    /// What a reply that is not 2xx means. For a 400 that names bad inputs, `context.bad_inputs` holds their positions.
    fn error(&self, asks: &[Ask], reply: &HttpResponse) -> Error;
}

/// What a structured call gave.
#[derive(Debug, Clone)]
pub struct StructuredReply {
    /// The JSON text; not yet parsed or checked.
    pub json: String,
    /// Counts.
    pub usage: Usage,
    /// The charge; `None`: unpriced.
    pub cost_micro_usd: Option<MicroUsd>,
}

/// A model that answers under a schema.
pub trait StructuredModel: Send + Sync + std::fmt::Debug {
    /// The account.
    fn name(&self) -> &str;
    /// The model.
    fn model(&self) -> &str;
    /// The request.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] when the key cannot be sent.
    fn request(&self, request: &StructuredRequest) -> Result<HttpRequest>;
    /// The reply of a 2xx.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Semantic`] on a refusal or truncation (with what it cost in neither case lost: see `charge`).
    fn decode(&self, reply: &HttpResponse) -> Result<StructuredReply>;
    /// What a 2xx reply cost, also when `decode` refuses it; `None`: unpriced.
    fn charge(&self, reply: &HttpResponse) -> (Usage, Option<MicroUsd>);
    /// What a reply that is not 2xx means.
    fn error(&self, reply: &HttpResponse) -> Error;
    /// The most that one call can be charged.
    fn worst_case(&self, request: &StructuredRequest) -> MicroUsd;
    /// What one call is expected to cost, for a prompt of this many characters.
    fn expected(&self, prompt_characters: usize) -> MicroUsd;
}
