//! An OpenAI model under a JSON schema: `text.format` of Responses, `response_format` of chat completions, both strict.
//!
//! The reply's JSON is handed on unread. Refusal and truncation are errors here; what they cost is told by `charge`.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Endpoint, chat, error, is_reasoning, responses};
use crate::config::Settings;
use crate::domain::{MicroUsd, Price, StructuredRequest, Usage};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{HttpRequest, HttpResponse};
use crate::providers::wire::{Caller, Spare};
use crate::providers::{StructuredModel, StructuredReply, estimates};

/// An OpenAI model as an extraction model.
#[derive(Debug)]
pub(crate) struct OpenAiStructured {
    pub(super) endpoint: Endpoint,
    price: Price,
    max_output_tokens: u32,
    /// Time limits of a batch's free calls.
    pub(super) poll: Duration,
    pub(super) download: Duration,
}

/// What both APIs say of a finished structured reply.
struct Finished {
    text: String,
    refusal: Option<String>,
    reason: Option<String>,
    usage: Usage,
}

impl OpenAiStructured {
    pub(crate) fn new(model: &str, price: Price, settings: &Settings) -> Self {
        Self {
            endpoint: Endpoint::new(model, settings),
            price,
            max_output_tokens: settings.extraction_max_output_tokens,
            poll: Duration::from_millis(settings.timeouts.poll_ms),
            download: Duration::from_millis(settings.timeouts.download_ms),
        }
    }

    pub(super) fn caller(&self) -> Caller<'_> {
        self.endpoint.caller()
    }

    pub(super) fn body(&self, request: &StructuredRequest) -> Value {
        let model = self.endpoint.model.as_str();
        let messages = json!([{"role": "system", "content": request.system}, {"role": "user", "content": request.user}]);
        let format = json!({"name": request.schema_name, "schema": request.schema, "strict": true});
        let mut body = if self.endpoint.chat {
            let (parameter, cap) = chat::token_cap(model, self.max_output_tokens);
            let format = json!({"type": "json_schema", "json_schema": format});
            json!({"model": model, "messages": messages, "response_format": format, parameter: cap})
        } else {
            let mut format = format;
            insert(&mut format, "type", "json_schema".into());
            let text = json!({"format": format});
            json!({"model": model, "input": messages, "text": text, "max_output_tokens": self.max_output_tokens, "store": false})
        };
        // The same prompt should give the same rows; models that reason refuse the parameter.
        if !is_reasoning(model) {
            insert(&mut body, "temperature", 0.into());
        }
        body
    }

    fn finished(&self, reply: &HttpResponse, strict: bool) -> Result<Finished> {
        let (spare, caller) = (Spare::new(), self.endpoint.caller());
        if self.endpoint.chat {
            let parsed = chat::Reply::read(&caller, reply, &spare)?;
            if strict {
                parsed.check(&caller, reply)?;
            }
            let (text, refusal) = parsed.words();
            Ok(Finished { text, refusal, reason: parsed.finish_reason(), usage: parsed.usage() })
        } else {
            let parsed = responses::Reply::read(&caller, reply, &spare)?;
            if strict {
                parsed.check(&caller, reply)?;
            }
            let (text, refusal) = parsed.words();
            Ok(Finished { text, refusal, reason: parsed.finish_reason(), usage: parsed.usage() })
        }
    }
}

fn insert(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

impl StructuredModel for OpenAiStructured {
    fn name(&self) -> &str {
        "openai"
    }

    fn model(&self) -> &str {
        &self.endpoint.model
    }

    fn request(&self, request: &StructuredRequest) -> Result<HttpRequest> {
        self.endpoint.post(&self.body(request))
    }

    fn decode(&self, reply: &HttpResponse) -> Result<StructuredReply> {
        let finished = self.finished(reply, true)?;
        let caller = self.endpoint.caller();
        let refuse = |code: &str, what: &str| Err(caller.content(reply, ErrorKind::Semantic, Some(code), what));
        if let Some(words) = finished.refusal {
            return refuse("refusal", &format!("the model declined: {words}"));
        }
        match finished.reason.as_deref() {
            None | Some("stop") => {}
            Some(reason) => return refuse("truncated", &format!("the structured reply is cut off ('{reason}')")),
        }
        if finished.text.trim().is_empty() {
            return refuse("empty_answer", "the structured reply is empty");
        }
        let cost_micro_usd = estimates::cost(&self.price, &finished.usage);
        Ok(StructuredReply { json: finished.text, usage: finished.usage, cost_micro_usd })
    }

    fn charge(&self, reply: &HttpResponse) -> (Usage, Option<MicroUsd>) {
        let usage = self.finished(reply, false).map(|finished| finished.usage).unwrap_or_default();
        let cost = estimates::cost(&self.price, &usage);
        (usage, cost)
    }

    fn error(&self, reply: &HttpResponse) -> Error {
        error::of_reply(&self.endpoint.caller(), reply)
    }

    fn worst_case(&self, request: &StructuredRequest) -> MicroUsd {
        let bytes = request.system.len() + request.user.len() + request.schema.to_string().len();
        estimates::worst_without_search(&self.price, bytes, self.max_output_tokens)
    }

    fn expected(&self, prompt_characters: usize) -> MicroUsd {
        estimates::expected_extraction(&self.price, prompt_characters)
    }
}
