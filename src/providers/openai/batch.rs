//! `/v1/files` and `/v1/batches`: a file of requests, one model a file, answered within 24 hours at half the token price.
//! Wire facts: OpenAI's OpenAPI file and recorded batches.
//!
//! An ended batch has an output file, an error file, or both; an expired or cancelled one still has what was done.

use http::HeaderValue;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::KEY_VARIABLE;
use super::structured::OpenAiStructured;
use crate::domain::StructuredRequest;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{DOWNLOAD_CAP, HttpRequest, HttpResponse, SMALL_CAP};
use crate::providers::batch::{
    BatchModel, BatchPage, BatchPhase, BatchState, LineReply, ListedBatch, inner, lines, no_id, plain_id,
};
use crate::providers::wire::{Count, Flag, List, Maybe, Spare, Text, object};

/// The key of our submission's id in a batch's metadata.
const TAG: &str = "overheard_submission";
/// Lines of the list a page.
const PAGE: usize = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Batch<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    output_file_id: Text<'a>,
    #[serde(borrow)]
    error_file_id: Text<'a>,
    #[serde(borrow)]
    errors: Maybe<Problems<'a>>,
    request_counts: Maybe<Counts>,
    created_at: Count,
    #[serde(borrow)]
    metadata: Maybe<Metadata<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata<'a> {
    #[serde(borrow)]
    overheard_submission: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    total: Count,
    completed: Count,
    failed: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problems<'a> {
    #[serde(borrow)]
    data: List<Maybe<Problem<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem<'a> {
    #[serde(borrow)]
    code: Text<'a>,
    #[serde(borrow)]
    message: Text<'a>,
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
    response: Maybe<Response<'a>>,
    #[serde(borrow)]
    error: Maybe<Problem<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Response<'a> {
    status_code: Count,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

impl Problem<'_> {
    fn words(&self) -> String {
        [self.code.filled(), self.message.filled()].into_iter().flatten().collect::<Vec<_>>().join(": ")
    }
}

impl Batch<'_> {
    fn state(&self, model: &OpenAiStructured) -> BatchState {
        let phase = match self.status.as_str() {
            "completed" | "expired" | "cancelled" => BatchPhase::Ended,
            "failed" => {
                let problems = self.errors.0.as_ref().map(|errors| &errors.data);
                let words: Vec<String> =
                    problems.into_iter().flatten().filter_map(|problem| problem.0.as_ref()).take(3).map(Problem::words).collect();
                let words = model.caller().words(&words.join("; "));
                let too_much = problems.into_iter().flatten().filter_map(|problem| problem.0.as_ref());
                if too_much.into_iter().any(|problem| problem.code.as_str() == "token_limit_exceeded") {
                    BatchPhase::TooMuch(words)
                } else {
                    BatchPhase::Failed(words)
                }
            }
            _ => BatchPhase::Pending,
        };
        let none = Counts::default();
        let counts = self.request_counts.0.as_ref().unwrap_or(&none);
        let count = |count: &Count| count.0.unwrap_or(0);
        BatchState {
            phase,
            done: count(&counts.completed).saturating_add(count(&counts.failed)),
            total: count(&counts.total),
            files: [&self.output_file_id, &self.error_file_id].into_iter().filter_map(Text::owned).collect(),
        }
    }
}

impl OpenAiStructured {
    fn secured(&self, request: HttpRequest) -> Result<HttpRequest> {
        request.with_secret(AUTHORIZATION, &format!("Bearer {}", self.endpoint.key.reveal()), KEY_VARIABLE)
    }

    fn free(&self, path: &str, download: bool) -> Result<HttpRequest> {
        let (timeout, cap) = if download { (self.download, DOWNLOAD_CAP) } else { (self.poll, SMALL_CAP) };
        self.secured(HttpRequest::get(format!("{}/{path}", self.endpoint.base_url), timeout, cap))
    }

    fn path(&self) -> &'static str {
        if self.endpoint.chat { "/v1/chat/completions" } else { "/v1/responses" }
    }

    fn id_of(&self, reply: &HttpResponse, what: &str) -> Result<String> {
        let spare = Spare::new();
        let batch: Option<Batch<'_>> = object(&reply.body, &spare);
        let id = batch.and_then(|batch| batch.id.owned()).filter(|id| plain_id(id).is_ok());
        id.ok_or_else(|| self.caller().content(reply, ErrorKind::Protocol, None, &format!("the reply names no {what}")))
    }
}

impl BatchModel for OpenAiStructured {
    fn max_requests(&self) -> usize {
        50_000
    }

    fn max_bytes(&self) -> usize {
        200_000_000
    }

    fn line(&self, custom_id: &str, request: &StructuredRequest) -> Result<Vec<u8>> {
        let line = json!({"custom_id": custom_id, "method": "POST", "url": self.path(), "body": self.body(request)});
        serde_json::to_vec(&line).map_err(|error| Error::internal(format!("the request cannot be written: {error}")))
    }

    fn upload(&self, submission: &str, lines: &[u8]) -> Result<Option<HttpRequest>> {
        let boundary = format!("overheard-{}", uuid::Uuid::new_v4().simple());
        let mut body = Vec::with_capacity(lines.len() + 512);
        body.extend_from_slice(
            format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--{boundary}\r\nContent-Disposition: \
                 form-data; name=\"file\"; filename=\"overheard-{}.jsonl\"\r\nContent-Type: application/jsonl\r\n\r\n",
                plain_id(submission)?
            )
            .as_bytes(),
        );
        body.extend_from_slice(lines);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let mut request = HttpRequest::post(format!("{}/files", self.endpoint.base_url), body, self.download, SMALL_CAP);
        let kind = HeaderValue::from_str(&format!("multipart/form-data; boundary={boundary}"))
            .map_err(|_| Error::internal("a boundary that fits into no header"))?;
        request.headers.insert(CONTENT_TYPE, kind);
        self.secured(request).map(Some)
    }

    fn decode_upload(&self, reply: &HttpResponse) -> Result<String> {
        self.id_of(reply, "file")
    }

    fn create(&self, submission: &str, file: Option<&str>, _lines: &[u8]) -> Result<HttpRequest> {
        let file = file.ok_or_else(|| Error::internal("a batch without its file"))?;
        let body = json!({
            "input_file_id": file, "endpoint": self.path(), "completion_window": "24h", "metadata": {TAG: submission},
        });
        let url = format!("{}/batches", self.endpoint.base_url);
        let request = HttpRequest::post(url, body.to_string(), self.poll, SMALL_CAP);
        self.secured(HttpRequest { fresh_connection: true, ..request })
    }

    fn decode_create(&self, reply: &HttpResponse) -> Result<String> {
        self.id_of(reply, "batch").map_err(no_id)
    }

    fn keeps_submission(&self) -> bool {
        true
    }

    fn progress(&self, id: &str) -> Result<HttpRequest> {
        self.free(&format!("batches/{}", plain_id(id)?), false)
    }

    fn decode_progress(&self, reply: &HttpResponse) -> Result<BatchState> {
        let spare = Spare::new();
        let batch: Option<Batch<'_>> = object(&reply.body, &spare);
        let refuse = || self.caller().content(reply, ErrorKind::Protocol, None, "the batch is no JSON object");
        batch.map(|batch| batch.state(self)).ok_or_else(refuse)
    }

    fn batches(&self, after: Option<&str>) -> Result<HttpRequest> {
        let after = after.map(plain_id).transpose()?.map_or_else(String::new, |after| format!("&after={after}"));
        self.free(&format!("batches?limit={PAGE}{after}"), false)
    }

    fn decode_batches(&self, reply: &HttpResponse) -> Result<BatchPage> {
        let spare = Spare::new();
        let page: Option<Page<'_>> = object(&reply.body, &spare);
        let refuse = || self.caller().content(reply, ErrorKind::Protocol, None, "the reply is no list of batches");
        let page = page.ok_or_else(refuse)?;
        let data = page.data.ok_or_else(refuse)?;
        let listed = |batch: &Batch<'_>| {
            let tag = batch.metadata.0.as_ref().and_then(|metadata| metadata.overheard_submission.owned());
            let created_at_ms = batch.created_at.0.and_then(|at| i64::try_from(at).ok()).map(|at| at.saturating_mul(1_000));
            Some(ListedBatch { id: batch.id.owned()?, submission: tag, created_at_ms, state: batch.state(self) })
        };
        let batches: Vec<ListedBatch> = data.into_iter().filter_map(|batch| listed(batch.0.as_ref()?)).collect();
        let more = page.has_more.0 == Some(true);
        Ok(BatchPage { next: batches.last().filter(|_| more).map(|batch| batch.id.clone()), batches })
    }

    fn results(&self, file: &str) -> Result<HttpRequest> {
        self.free(&format!("files/{}/content", plain_id(file)?), true)
    }

    fn decode_results(&self, reply: &HttpResponse, each: &mut dyn FnMut(&str, LineReply)) {
        for bytes in lines(&reply.body) {
            let spare = Spare::new();
            let Some(line) = object::<Line<'_>>(bytes, &spare) else { continue };
            let Some(id) = line.custom_id.filled() else { continue };
            let response = line.response.0.as_ref().and_then(|response| Some((response.status_code.0?, response.body?.get())));
            let reply = match response {
                Some((status @ 200..=299, body)) => LineReply::Answered(inner(status as u16, body)),
                Some((status @ 400..=599, body)) => LineReply::Refused(inner(status as u16, body)),
                _ => {
                    let words = line.error.0.as_ref().map_or_else(|| "no reply in it".to_owned(), Problem::words);
                    LineReply::Unprocessed(self.caller().words(&words))
                }
            };
            each(id, reply);
        }
    }
}
