//! OpenAI: the Responses API, or chat completions for compatible servers. Wire facts: OpenAI's OpenAPI file.
//!
//! This file holds what both APIs share: the account, the model's family, prices. It sends nothing and decodes nothing itself.

mod batch;
mod chat;
mod error;
mod responses;
mod structured;

use std::time::Duration;

use http::header::AUTHORIZATION;
use serde::Serialize;

use super::estimates::{self, OPENAI_SEARCH_CONTEXT};
use super::wire::Caller;
use super::{Ask, DirectProvider, Protocol, Provider, Turn, asking};
use crate::config::{Secret, Settings};
use crate::domain::{MicroUsd, Price};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{ANSWER_CAP, HttpRequest, HttpResponse};

pub(crate) use structured::OpenAiStructured;

/// The variable of the key.
pub(crate) const KEY_VARIABLE: &str = "OPENAI_API_KEY";

/// The account and the model: what a request needs besides the question.
#[derive(Debug, Clone)]
struct Endpoint {
    base_url: String,
    key: Secret,
    model: String,
    chat: bool,
    timeout: Duration,
}

impl Endpoint {
    fn new(model: &str, settings: &Settings) -> Self {
        Self {
            base_url: settings.openai.base_url.trim_end_matches('/').to_owned(),
            key: settings.openai.api_key.clone(),
            model: model.to_owned(),
            chat: settings.openai_chat_completions,
            timeout: Duration::from_millis(settings.timeouts.answer_ms),
        }
    }

    fn caller(&self) -> Caller<'_> {
        Caller { provider: "openai", title: "OpenAI", key_variable: KEY_VARIABLE, key: self.key.reveal() }
    }

    fn post(&self, body: &impl Serialize) -> Result<HttpRequest> {
        let path = if self.chat { "chat/completions" } else { "responses" };
        let body =
            serde_json::to_vec(body).map_err(|error| Error::internal(format!("the request cannot be written: {error}")))?;
        HttpRequest::post(format!("{}/{path}", self.base_url), body, self.timeout, ANSWER_CAP).with_secret(
            AUTHORIZATION,
            &format!("Bearer {}", self.key.reveal()),
            KEY_VARIABLE,
        )
    }
}

/// An OpenAI model as a provider of answers.
#[derive(Debug)]
pub struct OpenAi {
    named: String,
    endpoint: Endpoint,
    price: Price,
    max_output_tokens: u32,
    max_searches: u32,
}

impl OpenAi {
    /// `named` is the user's word for the model, `model` the id to send.
    #[must_use]
    pub fn new(named: &str, model: &str, price: Price, settings: &Settings) -> Self {
        Self {
            named: named.to_owned(),
            endpoint: Endpoint::new(model, settings),
            price,
            max_output_tokens: settings.max_output_tokens,
            max_searches: settings.max_searches,
        }
    }

    /// True when this question may search: it asks for it and a search is allowed at all.
    fn searches(&self, ask: &Ask) -> bool {
        ask.web_search && self.max_searches > 0
    }
}

impl Provider for OpenAi {
    fn name(&self) -> &str {
        "openai"
    }

    fn title(&self) -> &str {
        "OpenAI"
    }

    fn model(&self) -> &str {
        &self.named
    }

    fn surface(&self) -> &str {
        "openai"
    }

    fn check(&self, ask: &Ask) -> Result<()> {
        asking::check("OpenAI", ask, None)?;
        let model = &self.endpoint.model;
        let unsupported = |why: String| {
            Err(Error::new(ErrorKind::Unsupported, why).with(|context| {
                context.field = Some("web_search".to_owned());
                context.model = Some(self.named.clone());
                context.cell = Some(ask.key.to_string());
            }))
        };
        if !self.searches(ask) {
            return Ok(());
        }
        if self.endpoint.chat && !chat::searches(model) {
            return unsupported(format!(
                "model '{model}' cannot search the web through chat completions (only *-search-preview and *-search-api models \
                 can): ask without web search, or use the Responses API"
            ));
        }
        if !self.endpoint.chat && !responses::searches(model) {
            return unsupported(format!("model '{model}' has no web search: ask without web search, or use another model"));
        }
        Ok(())
    }

    fn price(&self) -> &Price {
        &self.price
    }

    fn worst_case(&self, ask: &Ask) -> MicroUsd {
        // A search model of chat completions searches whether asked to or not.
        if self.searches(ask) || (self.endpoint.chat && chat::searches(&self.endpoint.model)) {
            let searches = if self.endpoint.chat { 1 } else { self.max_searches };
            estimates::worst_with_search(&self.price, Some(OPENAI_SEARCH_CONTEXT), self.max_output_tokens, searches)
        } else {
            estimates::worst_without_search(&self.price, ask.question.len(), self.max_output_tokens)
        }
    }

    fn expected(&self, ask: &Ask) -> MicroUsd {
        estimates::expected_answer(&self.price, ask.question.chars().count(), self.searches(ask), self.max_output_tokens)
    }

    fn protocol(&self) -> Protocol<'_> {
        Protocol::Direct(self)
    }
}

impl DirectProvider for OpenAi {
    fn request(&self, ask: &Ask) -> Result<HttpRequest> {
        if self.endpoint.chat { chat::request(self, ask) } else { responses::request(self, ask) }
    }

    fn decode(&self, ask: &Ask, replies: &[HttpResponse]) -> Result<Turn> {
        // OpenAI never pauses a turn: the last reply is the only one.
        let reply = replies.last().ok_or_else(|| Error::internal("decode was called without a reply"))?;
        let outcome = if self.endpoint.chat { chat::decode(self, ask, reply) } else { responses::decode(self, ask, reply) }?;
        Ok(Turn::Done(Box::new(outcome)))
    }

    fn error(&self, reply: &HttpResponse) -> Error {
        error::of_reply(&self.endpoint.caller(), reply)
    }
}

/// The generation of a `gpt-N…` id: 4 for `gpt-4.1`, 5 for `gpt-5-mini`; `None` for other names.
fn gpt_generation(model: &str) -> Option<u32> {
    let digits = family(model).strip_prefix("gpt-")?;
    let end = digits.find(|character: char| !character.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end)?.parse().ok()
}

/// True for the reasoning o-series: `o1`, `o3-mini`, `o4-mini`.
fn is_o_series(model: &str) -> bool {
    let mut characters = family(model).chars();
    characters.next() == Some('o') && characters.next().is_some_and(|character| character.is_ascii_digit())
}

/// True for models that reason: they take no temperature, and in chat completions `max_completion_tokens`.
fn is_reasoning(model: &str) -> bool {
    is_o_series(model) || gpt_generation(model).is_some_and(|generation| generation >= 5)
}

/// The id without the `ft:` of a fine-tuned model.
fn family(model: &str) -> &str {
    model.strip_prefix("ft:").unwrap_or(model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_families() {
        for (model, reasoning) in [
            ("gpt-3.5-turbo", false),
            ("gpt-4", false),
            ("gpt-4.1-mini", false),
            ("gpt-4o-search-preview", false),
            ("ft:gpt-4.1-mini:acme", false),
            ("gpt-5", true),
            ("gpt-5.6-luna", true),
            ("gpt-10", true),
            ("o1", true),
            ("o4-mini", true),
            ("ft:o4-mini:acme", true),
            ("olmo-2", false),
            ("llama-5", false),
        ] {
            assert_eq!(is_reasoning(model), reasoning, "{model}");
        }
    }
}
