//! An Anthropic model under a JSON schema: `output_config.format`. Never together with search: a citation and a schema
//! exclude each other, and a forced finish after a search leaks raw citation markup.

use std::time::Duration;

use serde_json::{Value, json};

use super::message::Message;
use super::{Endpoint, error};
use crate::config::Settings;
use crate::domain::{MicroUsd, Price, StructuredRequest, Usage};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{HttpRequest, HttpResponse};
use crate::providers::wire::Spare;
use crate::providers::{StructuredModel, StructuredReply, estimates};

/// An Anthropic model as an extraction model.
#[derive(Debug)]
pub(crate) struct AnthropicStructured {
    pub(super) endpoint: Endpoint,
    price: Price,
    max_output_tokens: u32,
    /// Time limits of a batch's free calls.
    pub(super) poll: Duration,
    pub(super) download: Duration,
}

impl AnthropicStructured {
    pub(crate) fn new(model: &str, price: Price, settings: &Settings) -> Self {
        Self {
            endpoint: Endpoint::new(model, settings),
            price,
            max_output_tokens: settings.extraction_max_output_tokens,
            poll: Duration::from_millis(settings.timeouts.poll_ms),
            download: Duration::from_millis(settings.timeouts.download_ms),
        }
    }

    pub(super) fn params(&self, request: &StructuredRequest) -> Value {
        // No temperature: newer models refuse it.
        json!({
            "model": self.endpoint.model,
            "max_tokens": self.max_output_tokens,
            "system": request.system,
            "messages": [{"role": "user", "content": request.user}],
            "output_config": {"format": {"type": "json_schema", "schema": request.schema}},
        })
    }
}

impl StructuredModel for AnthropicStructured {
    fn name(&self) -> &str {
        "anthropic"
    }

    fn model(&self) -> &str {
        &self.endpoint.model
    }

    fn request(&self, request: &StructuredRequest) -> Result<HttpRequest> {
        self.endpoint.post(&self.params(request))
    }

    fn decode(&self, reply: &HttpResponse) -> Result<StructuredReply> {
        let (spare, caller) = (Spare::new(), self.endpoint.caller());
        let message = Message::read(&caller, reply, &spare)?;
        let refuse = |code: &str, what: &str| Err(caller.content(reply, ErrorKind::Semantic, Some(code), what));
        match message.stop_reason() {
            "end_turn" | "stop_sequence" | "" => {}
            "refusal" => return refuse("refusal", &format!("the model declined: {}", message.text())),
            reason => return refuse("truncated", &format!("the structured reply is cut off ('{reason}')")),
        }
        let json = message.text();
        if json.trim().is_empty() {
            return refuse("empty_answer", "the structured reply is empty");
        }
        let usage = message.usage();
        Ok(StructuredReply { json, cost_micro_usd: estimates::cost(&self.price, &usage), usage })
    }

    fn charge(&self, reply: &HttpResponse) -> (Usage, Option<MicroUsd>) {
        let spare = Spare::new();
        let usage = Message::read(&self.endpoint.caller(), reply, &spare).map(|message| message.usage()).unwrap_or_default();
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
