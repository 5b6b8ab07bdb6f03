//! `/v1/messages/batches`: requests answered within 24 hours at half the token price. Wire facts: Anthropic's guide "Batch
//! processing" and recorded batches.
//!
//! The API keeps nothing of ours beside the `custom_id`s, and shows these only in the results of an ended batch. Errored,
//! cancelled and expired requests are not charged. The `results_url` of a reply is not used: the key goes to our base URL only.

use http::header::HeaderName;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::structured::AnthropicStructured;
use super::{KEY_VARIABLE, VERSION};
use crate::domain::StructuredRequest;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{DOWNLOAD_CAP, HttpRequest, HttpResponse, SMALL_CAP};
use crate::providers::batch::{
    BatchModel, BatchPage, BatchPhase, BatchState, LineReply, ListedBatch, inner, lines, no_id, plain_id,
};
use crate::providers::wire::{Count, Flag, List, Maybe, Spare, Text, ms_of_iso, object};

/// Lines of the list a page.
const PAGE: usize = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Batch<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    processing_status: Text<'a>,
    request_counts: Maybe<Counts>,
    #[serde(borrow)]
    created_at: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    processing: Count,
    succeeded: Count,
    errored: Count,
    canceled: Count,
    expired: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Page<'a> {
    #[serde(borrow)]
    data: Option<List<Maybe<Batch<'a>>>>,
    has_more: Flag,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line<'a> {
    #[serde(borrow)]
    custom_id: Text<'a>,
    #[serde(borrow)]
    result: Maybe<Outcome<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Outcome<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// The error of a line: a whole error body.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal<'a> {
    #[serde(borrow)]
    error: Maybe<Named<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
}

impl Batch<'_> {
    fn state(&self) -> BatchState {
        let ended = self.processing_status.as_str() == "ended";
        let none = Counts::default();
        let counts = self.request_counts.0.as_ref().unwrap_or(&none);
        let sum = |counts: &[&Count]| counts.iter().fold(0u64, |sum, count| sum.saturating_add(count.0.unwrap_or(0)));
        let done = sum(&[&counts.succeeded, &counts.errored, &counts.canceled, &counts.expired]);
        BatchState {
            phase: if ended { BatchPhase::Ended } else { BatchPhase::Pending },
            done,
            total: done.saturating_add(sum(&[&counts.processing])),
            files: if ended { self.id.owned().into_iter().collect() } else { Vec::new() },
        }
    }
}

/// The status that a direct call has with an error of this type.
fn status_of(body: &str) -> u16 {
    let spare = Spare::new();
    let refusal: Refusal<'_> = object(body.as_bytes(), &spare).unwrap_or_default();
    match refusal.error.0.unwrap_or_default().kind.as_str() {
        "authentication_error" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "request_too_large" => 413,
        "invalid_request_error" => 400,
        "rate_limit_error" => 429,
        // Not charged here, whatever it is: as one that says that nothing was done.
        _ => 529,
    }
}

impl AnthropicStructured {
    fn secured(&self, request: HttpRequest) -> Result<HttpRequest> {
        request.with_header(HeaderName::from_static("anthropic-version"), VERSION).with_secret(
            HeaderName::from_static("x-api-key"),
            self.endpoint.key.reveal(),
            KEY_VARIABLE,
        )
    }

    fn free(&self, path: &str, download: bool) -> Result<HttpRequest> {
        let (timeout, cap) = if download { (self.download, DOWNLOAD_CAP) } else { (self.poll, SMALL_CAP) };
        self.secured(HttpRequest::get(format!("{}/v1/messages/batches{path}", self.endpoint.base_url), timeout, cap))
    }
}

impl BatchModel for AnthropicStructured {
    fn max_requests(&self) -> usize {
        100_000
    }

    fn max_bytes(&self) -> usize {
        256_000_000
    }

    fn line(&self, custom_id: &str, request: &StructuredRequest) -> Result<Vec<u8>> {
        let line = json!({"custom_id": custom_id, "params": self.params(request)});
        serde_json::to_vec(&line).map_err(|error| Error::internal(format!("the request cannot be written: {error}")))
    }

    fn upload(&self, _submission: &str, _lines: &[u8]) -> Result<Option<HttpRequest>> {
        Ok(None)
    }

    fn decode_upload(&self, _reply: &HttpResponse) -> Result<String> {
        Err(Error::internal("nothing is uploaded here"))
    }

    fn create(&self, _submission: &str, _file: Option<&str>, requests: &[u8]) -> Result<HttpRequest> {
        let mut body = Vec::with_capacity(requests.len() + 32);
        body.extend_from_slice(b"{\"requests\":[");
        for (place, line) in lines(requests).enumerate() {
            if place > 0 {
                body.push(b',');
            }
            body.extend_from_slice(line);
        }
        body.extend_from_slice(b"]}");
        let url = format!("{}/v1/messages/batches", self.endpoint.base_url);
        let request = HttpRequest::post(url, body, self.download, SMALL_CAP);
        self.secured(HttpRequest { fresh_connection: true, ..request })
    }

    fn decode_create(&self, reply: &HttpResponse) -> Result<String> {
        let spare = Spare::new();
        let batch: Option<Batch<'_>> = object(&reply.body, &spare);
        let id = batch.and_then(|batch| batch.id.owned()).filter(|id| plain_id(id).is_ok());
        id.ok_or_else(|| no_id(self.endpoint.caller().content(reply, ErrorKind::Protocol, None, "the reply names no batch")))
    }

    fn keeps_submission(&self) -> bool {
        false
    }

    fn progress(&self, id: &str) -> Result<HttpRequest> {
        self.free(&format!("/{}", plain_id(id)?), false)
    }

    fn decode_progress(&self, reply: &HttpResponse) -> Result<BatchState> {
        let spare = Spare::new();
        let batch: Option<Batch<'_>> = object(&reply.body, &spare);
        let refuse = || self.endpoint.caller().content(reply, ErrorKind::Protocol, None, "the batch is no JSON object");
        batch.map(|batch| batch.state()).ok_or_else(refuse)
    }

    fn batches(&self, after: Option<&str>) -> Result<HttpRequest> {
        let after = after.map(plain_id).transpose()?.map_or_else(String::new, |after| format!("&after_id={after}"));
        self.free(&format!("?limit={PAGE}{after}"), false)
    }

    fn decode_batches(&self, reply: &HttpResponse) -> Result<BatchPage> {
        let spare = Spare::new();
        let page: Option<Page<'_>> = object(&reply.body, &spare);
        let refuse = || self.endpoint.caller().content(reply, ErrorKind::Protocol, None, "the reply is no list of batches");
        let page = page.ok_or_else(refuse)?;
        let data = page.data.ok_or_else(refuse)?;
        let listed = |batch: &Batch<'_>| {
            let created_at_ms = batch.created_at.filled().and_then(ms_of_iso);
            Some(ListedBatch { id: batch.id.owned()?, submission: None, created_at_ms, state: batch.state() })
        };
        let batches: Vec<ListedBatch> = data.into_iter().filter_map(|batch| listed(batch.0.as_ref()?)).collect();
        let more = page.has_more.0 == Some(true);
        Ok(BatchPage { next: batches.last().filter(|_| more).map(|batch| batch.id.clone()), batches })
    }

    fn results(&self, file: &str) -> Result<HttpRequest> {
        self.free(&format!("/{}/results", plain_id(file)?), true)
    }

    fn decode_results(&self, reply: &HttpResponse, each: &mut dyn FnMut(&str, LineReply)) {
        for bytes in lines(&reply.body) {
            let spare = Spare::new();
            let Some(line) = object::<Line<'_>>(bytes, &spare) else { continue };
            let Some(id) = line.custom_id.filled() else { continue };
            let outcome = line.result.0.unwrap_or_default();
            let reply = match (outcome.kind.as_str(), outcome.message, outcome.error) {
                ("succeeded", Some(message), _) => LineReply::Answered(inner(200, message.get())),
                ("errored", _, Some(error)) => LineReply::Refused(inner(status_of(error.get()), error.get())),
                (kind, _, _) => LineReply::Unprocessed(self.endpoint.caller().words(kind)),
            };
            each(id, reply);
        }
    }
}
