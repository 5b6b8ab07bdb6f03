//! Anthropic: the Messages API with its web search tool. Wire facts: Anthropic's Python SDK types and web search guide.
//!
//! A paused turn (`pause_turn`) is continued by sending the assistant's content back unchanged, at most
//! `settings.max_continuations` times; usage and charge add up over the parts.

mod batch;
mod error;
mod message;
mod structured;

use std::time::Duration;

use http::header::HeaderName;
use serde::Serialize;
use serde_json::value::RawValue;

use super::estimates;
use super::wire::{Caller, Spare};
use super::{Ask, DirectProvider, Protocol, Provider, Turn, asking};
use crate::config::{Secret, Settings};
use crate::domain::{MicroUsd, Outcome, Price, RunStatus};
use crate::error::{Error, Result};
use crate::http::{ANSWER_CAP, HttpRequest, HttpResponse};
use asking::UserLocation;
use message::{Message, Turns};

pub(crate) use structured::AnthropicStructured;

/// The variable of the key.
pub(crate) const KEY_VARIABLE: &str = "ANTHROPIC_API_KEY";
/// The API version this codec was written against.
const VERSION: &str = "2023-06-01";
/// The web search tool this codec was written against.
const SEARCH_TOOL: &str = "web_search_20250305";

/// The account and the model.
#[derive(Debug, Clone)]
struct Endpoint {
    base_url: String,
    key: Secret,
    model: String,
    timeout: Duration,
}

impl Endpoint {
    fn new(model: &str, settings: &Settings) -> Self {
        Self {
            base_url: settings.anthropic.base_url.trim_end_matches('/').to_owned(),
            key: settings.anthropic.api_key.clone(),
            model: model.to_owned(),
            timeout: Duration::from_millis(settings.timeouts.answer_ms),
        }
    }

    fn caller(&self) -> Caller<'_> {
        Caller { provider: "anthropic", title: "Anthropic", key_variable: KEY_VARIABLE, key: self.key.reveal() }
    }

    fn post(&self, body: &impl Serialize) -> Result<HttpRequest> {
        let body =
            serde_json::to_vec(body).map_err(|error| Error::internal(format!("the request cannot be written: {error}")))?;
        HttpRequest::post(format!("{}/v1/messages", self.base_url), body, self.timeout, ANSWER_CAP)
            .with_header(HeaderName::from_static("anthropic-version"), VERSION)
            .with_secret(HeaderName::from_static("x-api-key"), self.key.reveal(), KEY_VARIABLE)
    }
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    max_tokens: u32,
    messages: Vec<Said<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<[Tool<'a>; 1]>,
}

#[derive(Serialize)]
struct Said<'a> {
    role: &'static str,
    content: Content<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(&'a str),
    /// Blocks of the model, byte for byte.
    Blocks(&'a RawValue),
}

#[derive(Serialize)]
struct Tool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'static str,
    max_uses: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_location: Option<UserLocation<'a>>,
}

/// An Anthropic model as a provider of answers.
#[derive(Debug)]
pub struct Anthropic {
    named: String,
    endpoint: Endpoint,
    price: Price,
    max_output_tokens: u32,
    max_searches: u32,
    max_continuations: u32,
}

impl Anthropic {
    /// `named` is the user's word for the model, `model` the id to send.
    #[must_use]
    pub fn new(named: &str, model: &str, price: Price, settings: &Settings) -> Self {
        Self {
            named: named.to_owned(),
            endpoint: Endpoint::new(model, settings),
            price,
            max_output_tokens: settings.max_output_tokens,
            max_searches: settings.max_searches,
            max_continuations: settings.max_continuations,
        }
    }

    fn searches(&self, ask: &Ask) -> bool {
        ask.web_search && self.max_searches > 0
    }

    /// The question and what the model said so far. `searched` counts against the cap of the turn; one search stays allowed,
    /// because a turn whose history names the tool is not accepted without it.
    fn say(&self, ask: &Ask, so_far: &[&RawValue], searched: u64) -> Result<HttpRequest> {
        let mut messages = vec![Said { role: "user", content: Content::Text(&ask.question) }];
        messages.extend(so_far.iter().map(|blocks| Said { role: "assistant", content: Content::Blocks(blocks) }));
        let left = u64::from(self.max_searches).saturating_sub(searched).max(1);
        let tool = || Tool {
            kind: SEARCH_TOOL,
            name: "web_search",
            max_uses: u32::try_from(left).unwrap_or(self.max_searches),
            user_location: UserLocation::of(ask),
        };
        let tools = self.searches(ask).then(|| [tool()]);
        self.endpoint.post(&Request { model: &self.endpoint.model, max_tokens: self.max_output_tokens, messages, tools })
    }
}

impl Provider for Anthropic {
    fn name(&self) -> &str {
        "anthropic"
    }

    fn title(&self) -> &str {
        "Anthropic"
    }

    fn model(&self) -> &str {
        &self.named
    }

    fn surface(&self) -> &str {
        "anthropic"
    }

    fn check(&self, ask: &Ask) -> Result<()> {
        asking::check("Anthropic", ask, None)
    }

    fn price(&self) -> &Price {
        &self.price
    }

    fn worst_case(&self, ask: &Ask) -> MicroUsd {
        if self.searches(ask) {
            estimates::worst_with_search(&self.price, None, self.max_output_tokens, self.max_searches)
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

impl DirectProvider for Anthropic {
    fn request(&self, ask: &Ask) -> Result<HttpRequest> {
        self.say(ask, &[], 0)
    }

    fn decode(&self, ask: &Ask, replies: &[HttpResponse]) -> Result<Turn> {
        let caller = self.endpoint.caller();
        let spares: Vec<Spare> = replies.iter().map(|_| Spare::new()).collect();
        let messages: Vec<Message<'_>> =
            replies.iter().zip(&spares).map(|(reply, spare)| Message::read(&caller, reply, spare)).collect::<Result<_>>()?;
        let last = messages.last().ok_or_else(|| Error::internal("decode was called without a reply"))?;
        if last.is_paused() && replies.len() as u64 <= u64::from(self.max_continuations) {
            let so_far: Vec<&RawValue> = messages.iter().filter_map(Message::blocks).collect();
            let searched = messages.iter().fold(0, |sum: u64, message| sum.saturating_add(message.usage().searches));
            return self.say(ask, &so_far, searched).map(Turn::Continue);
        }
        let turns = Turns::of(&messages);
        let search = self.searches(ask);
        let outcome = Outcome {
            citations: turns.citations,
            cost_micro_usd: messages.iter().map(|message| estimates::cost(&self.price, &message.usage())).sum(),
            served_model: last.model(),
            location_applied: search.then(|| asking::applied(ask)).flatten(),
            web_search_triggered: search.then_some(turns.usage.searches > 0 || !turns.queries.is_empty()),
            search_queries: turns.queries,
            finish_reason: turns.finish_reason,
            raw: message::raw(replies),
            usage: turns.usage,
            ..Outcome::empty(RunStatus::Answered)
        };
        Ok(Turn::Done(Box::new(super::answer::settle(outcome, turns.text, turns.refusal, &caller))))
    }

    fn error(&self, reply: &HttpResponse) -> Error {
        error::of_reply(&self.endpoint.caller(), reply)
    }
}
