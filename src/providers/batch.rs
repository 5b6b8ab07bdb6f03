//! What a provider's native batch endpoint is: many structured requests handed over at once, answered within a day, at a
//! lower price, fetched later. Pure functions, as all of this module: no I/O, no clock.
//!
//! Contract, beside the one of the module: (1) a model made for batches has the price of a batch in `charge`, `worst_case` and
//! `expected`; (2) upload, progress, list and download are free and may be repeated, `create` is the one paid call; (3) results
//! carry our `custom_id`, their order says nothing; (4) a URL that a reply names is never followed.

use super::StructuredModel;
use crate::domain::StructuredRequest;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{HttpRequest, HttpResponse};

/// Longest `custom_id` both vendors take; its characters are `[A-Za-z0-9_-]`.
pub const MAX_CUSTOM_ID: usize = 64;
/// Longest id of a batch or file that is put into a URL.
const MAX_ID: usize = 128;

/// Where a batch stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchPhase {
    /// Not yet; every unknown word means this.
    Pending,
    /// Whatever was done can be downloaded: completed, expired or cancelled.
    Ended,
    /// It was refused as a whole: nothing was run, nothing is charged. The words say why.
    Failed(String),
    /// The same, and because more is enqueued at the provider than the account may have there: less of it, or later, may pass.
    TooMuch(String),
}

/// A batch as the provider tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchState {
    /// Where it stands.
    pub phase: BatchPhase,
    /// Requests that have ended, in whatever way.
    pub done: u64,
    /// Requests in it; 0: not told yet.
    pub total: u64,
    /// What to download, in the provider's own names; empty: nothing was done.
    pub files: Vec<String>,
}

/// A line of the provider's list of batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedBatch {
    /// Its id.
    pub id: String,
    /// The submission that `create` was told; `None`: the provider keeps no such thing, or it is another's.
    pub submission: Option<String>,
    /// Milliseconds since 1970 UTC; `None` when the list does not say.
    pub created_at_ms: Option<i64>,
    /// Where it stands.
    pub state: BatchState,
}

/// A page of the list, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchPage {
    /// Its lines.
    pub batches: Vec<ListedBatch>,
    /// What the next page begins after; `None`: this is the last.
    pub next: Option<String>,
}

/// What became of one request of a batch.
#[derive(Debug, Clone)]
pub enum LineReply {
    /// A reply as a direct call gives it: for [`StructuredModel::decode`] and [`StructuredModel::charge`].
    Answered(HttpResponse),
    /// A refusal as a direct call gives it, for [`StructuredModel::error`]; not charged.
    Refused(HttpResponse),
    /// It was not run (expired, cancelled), for this reason; not charged.
    Unprocessed(String),
}

/// A model whose provider takes batches of structured requests.
pub trait BatchModel: StructuredModel {
    /// Requests of one batch at most.
    fn max_requests(&self) -> usize;
    /// Bytes of one batch's lines at most.
    fn max_bytes(&self) -> usize;
    /// One request as a line, without its line end.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when it cannot be written.
    fn line(&self, custom_id: &str, request: &StructuredRequest) -> Result<Vec<u8>>;
    /// The upload of the lines (free); `None`: they go into `create`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the key cannot be sent.
    fn upload(&self, submission: &str, lines: &[u8]) -> Result<Option<HttpRequest>>;
    /// The id of the uploaded file.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`] when there is none.
    fn decode_upload(&self, reply: &HttpResponse) -> Result<String>;
    /// The batch (paid; on a fresh connection), of the uploaded file or of the lines. `submission` is our id of it, which the
    /// provider keeps where it can: see [`Self::keeps_submission`].
    ///
    /// # Errors
    /// As `upload`.
    fn create(&self, submission: &str, file: Option<&str>, lines: &[u8]) -> Result<HttpRequest>;
    /// The id of the new batch.
    ///
    /// # Errors
    /// [`ErrorKind::OutcomeUnknown`] when there is none: the batch may exist.
    fn decode_create(&self, reply: &HttpResponse) -> Result<String>;
    /// True when the list tells our id of a submission; else only the `custom_id`s of results do.
    fn keeps_submission(&self) -> bool;
    /// Where a batch stands (free).
    ///
    /// # Errors
    /// As `upload`, and [`ErrorKind::Protocol`] for an id that does not fit into a URL.
    fn progress(&self, id: &str) -> Result<HttpRequest>;
    /// Reads it.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`] when the reply is no JSON object.
    fn decode_progress(&self, reply: &HttpResponse) -> Result<BatchState>;
    /// A page of the list (free).
    ///
    /// # Errors
    /// As `progress`.
    fn batches(&self, after: Option<&str>) -> Result<HttpRequest>;
    /// Reads it.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`] when the reply is no list.
    fn decode_batches(&self, reply: &HttpResponse) -> Result<BatchPage>;
    /// One of [`BatchState::files`] (free).
    ///
    /// # Errors
    /// As `progress`.
    fn results(&self, file: &str) -> Result<HttpRequest>;
    /// Reads it line by line: `custom_id` and what became of the request. A line that cannot be read is left out.
    fn decode_results(&self, reply: &HttpResponse, each: &mut dyn FnMut(&str, LineReply));
}

/// An id that may be put into a URL.
///
/// # Errors
/// [`ErrorKind::Protocol`] for any other.
pub(super) fn plain_id(id: &str) -> Result<&str> {
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if plain && (1..=MAX_ID).contains(&id.len()) {
        return Ok(id);
    }
    Err(Error::new(ErrorKind::Protocol, "the provider's id of a batch or file is none that fits into a URL"))
}

/// A reply inside a line.
pub(super) fn inner(status: u16, body: &str) -> HttpResponse {
    HttpResponse { status, headers: http::HeaderMap::new(), body: bytes::Bytes::copy_from_slice(body.as_bytes()) }
}

/// Lines that are not blank.
pub(super) fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
}

/// A 2xx that names no batch: what was paid for may exist.
pub(super) fn no_id(error: Error) -> Error {
    Error { kind: ErrorKind::OutcomeUnknown, ..error.with(|context| context.maybe_charged = true) }
}
