//! `POST /v1/chat/completions`, for servers that speak OpenAI's older API: request and reply.
//!
//! The token parameter follows the model's family: `max_completion_tokens` for GPT-5 and later and the o-series, `max_tokens`
//! for all others. Web search exists here only on the search models, which search on their own: one charged search a reply.

use serde::Deserialize;
use serde_json::json;

use super::error::ApiError;
use super::responses::{Annotation, InputDetails, OutputDetails, usage_of};
use super::{OpenAi, is_reasoning};
use crate::domain::{Citation, Outcome, RunStatus, Usage};
use crate::error::{ErrorKind, Result};
use crate::http::{HttpRequest, HttpResponse};
use crate::providers::asking::{UserLocation, applied};
use crate::providers::wire::{Caller, Count, Either, List, Maybe, Spare, Text, parse};
use crate::providers::{Ask, answer, estimates};

/// True for `gpt-4o-search-preview`, `gpt-5-search-api` and their dated ids.
pub(super) fn searches(model: &str) -> bool {
    model.contains("-search-preview") || model.contains("-search-api")
}

/// The token cap under the name the model's family takes.
pub(super) fn token_cap(model: &str, max_output_tokens: u32) -> (&'static str, u32) {
    (if is_reasoning(model) { "max_completion_tokens" } else { "max_tokens" }, max_output_tokens)
}

pub(super) fn request(provider: &OpenAi, ask: &Ask) -> Result<HttpRequest> {
    let model = provider.endpoint.model.as_str();
    let (parameter, cap) = token_cap(model, provider.max_output_tokens);
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": &*ask.question}], parameter: cap});
    if provider.searches(ask) && searches(model) {
        // Here the place is one level deeper than in Responses: {"type":"approximate","approximate":{…}}.
        let location = UserLocation::of(ask).map(|location| location.nested());
        let options = location.map_or_else(|| json!({}), |location| json!({"user_location": location}));
        if let Some(object) = body.as_object_mut() {
            object.insert("web_search_options".to_owned(), options);
        }
    }
    provider.endpoint.post(&body)
}

/// The reply, as far as it is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Reply<'a> {
    #[serde(borrow)]
    error: Maybe<ApiError<'a>>,
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow)]
    choices: Option<List<Maybe<Choice<'a>>>>,
    usage: Maybe<TokenUsage>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Choice<'a> {
    #[serde(borrow)]
    message: Maybe<Message<'a>>,
    #[serde(borrow)]
    finish_reason: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    content: List<Words<'a>>,
    #[serde(borrow)]
    refusal: Text<'a>,
    #[serde(borrow)]
    annotations: List<Maybe<Note<'a>>>,
}

/// `content` is a text, or on some servers a list of `{"type":"text","text":…}`.
type Words<'a> = Either<'a, Part<'a>>;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Part<'a> {
    #[serde(borrow)]
    text: Text<'a>,
}

fn as_str<'a>(words: &'a Words<'_>) -> &'a str {
    match words {
        Either::Object(part) => part.text.as_str(),
        Either::Text(text) => text.as_str(),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Note<'a> {
    #[serde(borrow)]
    url_citation: Maybe<Annotation<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TokenUsage {
    prompt_tokens: Count,
    prompt_tokens_details: Maybe<InputDetails>,
    completion_tokens: Count,
    completion_tokens_details: Maybe<OutputDetails>,
}

impl<'a> Reply<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// [`ErrorKind::Undecodable`] when it is no JSON object.
    pub(super) fn read(caller: &Caller<'_>, reply: &'a HttpResponse, spare: &'a Spare) -> Result<Self> {
        parse(&reply.body, spare).ok_or_else(|| {
            caller.content(reply, ErrorKind::Undecodable, None, "the reply is no JSON object").with(|c| c.maybe_charged = true)
        })
    }

    /// Token counts; no searches.
    pub(super) fn usage(&self) -> Usage {
        let none = (InputDetails::default(), OutputDetails::default(), TokenUsage::default());
        let tokens = self.usage.0.as_ref().unwrap_or(&none.2);
        let input = tokens.prompt_tokens_details.0.as_ref().unwrap_or(&none.0);
        let output = tokens.completion_tokens_details.0.as_ref().unwrap_or(&none.1);
        usage_of(tokens.prompt_tokens, input, tokens.completion_tokens, output.reasoning_tokens)
    }

    fn choice(&self) -> Option<&Choice<'a>> {
        self.choices.iter().flatten().find_map(|choice| choice.0.as_ref())
    }

    fn message(&self) -> Option<&Message<'a>> {
        self.choice().and_then(|choice| choice.message.0.as_ref())
    }

    /// What the body says of a failure, if it does.
    ///
    /// # Errors
    /// The failure by its code; [`ErrorKind::Semantic`] when the body is none of a completion.
    pub(super) fn check(&self, caller: &Caller<'_>, reply: &HttpResponse) -> Result<()> {
        let error = match &self.error.0 {
            Some(error) if error.is_filled() => error.inside_a_200(caller, reply),
            _ if self.choice().is_none() => {
                caller.content(reply, ErrorKind::Semantic, Some("no_choices"), "the reply is no completion: it has no 'choices'")
            }
            _ => return Ok(()),
        };
        Err(error.with(|context| context.maybe_charged = self.usage.0.is_some()))
    }

    /// The answer's text and the refusal's words.
    pub(super) fn words(&self) -> (String, Option<String>) {
        let Some(message) = self.message() else { return (String::new(), None) };
        let text = message.content.into_iter().map(as_str).collect();
        (text, message.refusal.owned())
    }

    /// `stop`, `length`, `content_filter`, …; `None` when the reply does not say.
    pub(super) fn finish_reason(&self) -> Option<String> {
        self.choice().and_then(|choice| choice.finish_reason.owned())
    }

    fn citations(&self, length: usize) -> Vec<Citation> {
        let notes = self.message().into_iter().flat_map(|message| &message.annotations).filter_map(|note| note.0.as_ref());
        notes.filter_map(|note| note.url_citation.0.as_ref()?.citation(0, length)).collect()
    }
}

pub(super) fn decode(provider: &OpenAi, ask: &Ask, reply: &HttpResponse) -> Result<Outcome> {
    let (spare, caller) = (Spare::new(), provider.endpoint.caller());
    let parsed = Reply::read(&caller, reply, &spare)?;
    parsed.check(&caller, reply)?;
    let searched = searches(&provider.endpoint.model);
    let usage = Usage { searches: u64::from(searched), ..parsed.usage() };
    let (text, refusal) = parsed.words();
    let outcome = Outcome {
        citations: parsed.citations(text.chars().count()),
        cost_micro_usd: estimates::cost(&provider.price, &usage),
        served_model: parsed.model.owned(),
        location_applied: (searched && provider.searches(ask)).then(|| applied(ask)).flatten(),
        web_search_triggered: searched.then_some(true),
        finish_reason: parsed.finish_reason(),
        raw: reply.body.clone(),
        usage,
        ..Outcome::empty(RunStatus::Answered)
    };
    Ok(answer::settle(outcome, text, refusal, &caller))
}
