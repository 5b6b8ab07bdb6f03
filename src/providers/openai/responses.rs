//! `POST /v1/responses` with the web search tool: request and reply.
//!
//! Cited sources (annotations, with character offsets) and retrieved ones (`action.sources`) stay apart. Inline Markdown links
//! of an answer without annotations are left in the text, where the text analysis finds them. Charged searches are the
//! `search` actions; `open_page` and `find_in_page` are not known to be charged.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::{OpenAi, gpt_generation, is_o_series};
use crate::domain::{Citation, Outcome, RunStatus, Usage};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{HttpRequest, HttpResponse};
use crate::providers::asking::{UserLocation, applied};
use crate::providers::wire::{Caller, Count, List, Maybe, Spare, Text, parse};
use crate::providers::{Ask, answer, estimates};

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    input: &'a str,
    max_output_tokens: u32,
    store: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tool_calls: Option<u32>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    include: &'a [&'a str],
}

#[derive(Serialize)]
struct Tool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_location: Option<UserLocation<'a>>,
}

/// False for the models OpenAI documents without web search: `gpt-4.1-nano`, `gpt-5-chat*`, `gpt-4` and older, `o1`, `o3-mini`.
pub(super) fn searches(model: &str) -> bool {
    let old = gpt_generation(model).is_some_and(|generation| generation < 4)
        || model == "gpt-4"
        || ["gpt-4-", "gpt-4.1-nano", "gpt-5-chat", "o3-mini"].iter().any(|without| model.starts_with(without))
        || (is_o_series(model) && model.starts_with("o1"));
    !old
}

pub(super) fn request(provider: &OpenAi, ask: &Ask) -> Result<HttpRequest> {
    let search = provider.searches(ask);
    let tool = || Tool { kind: "web_search", user_location: UserLocation::of(ask) };
    provider.endpoint.post(&Request {
        model: &provider.endpoint.model,
        input: &ask.question,
        max_output_tokens: provider.max_output_tokens,
        store: false,
        tools: search.then(tool).into_iter().collect(),
        max_tool_calls: search.then_some(provider.max_searches),
        include: if search { &["web_search_call.action.sources"] } else { &[] },
    })
}

/// The reply, as far as it is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Reply<'a> {
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    error: Maybe<ApiError<'a>>,
    #[serde(borrow)]
    incomplete_details: Maybe<Incomplete<'a>>,
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow)]
    output: Option<List<Maybe<Item<'a>>>>,
    usage: Maybe<TokenUsage>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Incomplete<'a> {
    #[serde(borrow)]
    reason: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Item<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    action: Maybe<Action<'a>>,
    #[serde(borrow)]
    content: List<Maybe<Part<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Action<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    query: Text<'a>,
    #[serde(borrow)]
    queries: List<Text<'a>>,
    #[serde(borrow)]
    sources: List<Maybe<Source<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Source<'a> {
    #[serde(borrow)]
    url: Text<'a>,
    #[serde(borrow)]
    title: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Part<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    refusal: Text<'a>,
    #[serde(borrow)]
    annotations: List<Maybe<Annotation<'a>>>,
}

/// A citation of the answer; also the shape inside chat completions.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Annotation<'a> {
    #[serde(borrow)]
    url: Text<'a>,
    #[serde(borrow)]
    title: Text<'a>,
    start_index: Count,
    end_index: Count,
}

impl Annotation<'_> {
    /// As a citation of a text of `length` characters that starts `base` characters into the answer. Offsets outside the text
    /// are dropped, the source is kept. `None` when the annotation is of a file or names no URL.
    pub(super) fn citation(&self, base: usize, length: usize) -> Option<Citation> {
        let url = self.url.filled()?;
        let span = match (self.start_index.0, self.end_index.0) {
            (Some(start), Some(end)) if start < end && end <= length as u64 => {
                let shifted = |offset: u64| u32::try_from(offset + base as u64).ok();
                shifted(start).zip(shifted(end))
            }
            _ => None,
        };
        Some(Citation {
            url: url.to_owned(),
            title: self.title.owned(),
            cited: Some(true),
            start: span.map(|(start, _)| start),
            end: span.map(|(_, end)| end),
            ..Citation::default()
        })
    }
}

/// `usage` of Responses.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TokenUsage {
    input_tokens: Count,
    input_tokens_details: Maybe<InputDetails>,
    output_tokens: Count,
    output_tokens_details: Maybe<OutputDetails>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct InputDetails {
    pub(super) cached_tokens: Count,
    pub(super) cache_write_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OutputDetails {
    pub(super) reasoning_tokens: Count,
}

/// OpenAI's counts in ours: cache writes are part of its `input_tokens` and not of ours.
pub(super) fn usage_of(input: Count, details: &InputDetails, output: Count, reasoning: Count) -> Usage {
    let cached = details.cached_tokens.0.unwrap_or(0);
    let uncached = input.0.map_or(0, |input| input.saturating_sub(cached));
    let written = details.cache_write_tokens.0.unwrap_or(0).min(uncached);
    Usage {
        input_tokens: input.0.map(|input| input.saturating_sub(written)),
        cached_input_tokens: cached,
        cache_write_tokens: written,
        output_tokens: output.0,
        reasoning_tokens: reasoning.0.unwrap_or(0),
        ..Usage::default()
    }
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

    /// Counts, searches included.
    pub(super) fn usage(&self) -> Usage {
        let none = (InputDetails::default(), OutputDetails::default(), TokenUsage::default());
        let tokens = self.usage.0.as_ref().unwrap_or(&none.2);
        let input = tokens.input_tokens_details.0.as_ref().unwrap_or(&none.0);
        let output = tokens.output_tokens_details.0.as_ref().unwrap_or(&none.1);
        Usage {
            searches: self.search_actions().count() as u64,
            ..usage_of(tokens.input_tokens, input, tokens.output_tokens, output.reasoning_tokens)
        }
    }

    fn items(&self) -> impl Iterator<Item = &Item<'a>> {
        self.output.iter().flatten().filter_map(|item| item.0.as_ref())
    }

    /// The parts of all messages, in order.
    fn parts(&self) -> impl Iterator<Item = &Part<'a>> {
        self.items()
            .filter(|item| item.kind.as_str() == "message")
            .flat_map(|item| &item.content)
            .filter_map(|part| part.0.as_ref())
    }

    /// Search calls that were carried out. Older replies have no `action`; then the call was a search.
    fn search_actions(&self) -> impl Iterator<Item = &Item<'a>> {
        self.items().filter(|item| {
            let search = item.action.0.as_ref().is_none_or(|action| matches!(action.kind.as_str(), "search" | ""));
            item.kind.as_str() == "web_search_call" && item.status.as_str() != "failed" && search
        })
    }

    /// What the body says of a failure, if it does; also when there is no output at all.
    ///
    /// # Errors
    /// The failure by its code; [`ErrorKind::Semantic`] when the body is none of a response.
    pub(super) fn check(&self, caller: &Caller<'_>, reply: &HttpResponse) -> Result<()> {
        let failed = match &self.error.0 {
            Some(error) if error.is_filled() => Some(error.inside_a_200(caller, reply)),
            _ => match self.status.as_str() {
                "failed" | "cancelled" | "queued" | "in_progress" => {
                    let what = format!("a reply of status {} has state '{}' and no answer", reply.status, self.status.as_str());
                    Some(caller.content(reply, ErrorKind::Semantic, Some(self.status.as_str()), &what))
                }
                _ if self.output.is_none() => Some(caller.content(
                    reply,
                    ErrorKind::Semantic,
                    Some("no_output"),
                    "the reply is no response: it has no 'output'",
                )),
                _ => None,
            },
        };
        // Tokens were counted, so they may be on the bill although there is no answer.
        failed.map_or(Ok(()), |error: Error| Err(error.with(|context| context.maybe_charged = self.usage.0.is_some())))
    }

    /// The text of all `output_text` parts joined, and the refusal's words.
    pub(super) fn words(&self) -> (String, Option<String>) {
        let (mut text, mut refusal) = (String::new(), None);
        for part in self.parts() {
            match part.kind.as_str() {
                "refusal" => refusal = refusal.or_else(|| Some(part.refusal.as_str().to_owned())),
                "output_text" => text.push_str(part.text.as_str()),
                _ => {}
            }
        }
        (text, refusal)
    }

    /// `stop`, or why the reply is incomplete; `None` when it does not say.
    pub(super) fn finish_reason(&self) -> Option<String> {
        match self.status.as_str() {
            "completed" => Some("stop".to_owned()),
            "incomplete" => {
                let reason = self.incomplete_details.0.as_ref().and_then(|details| details.reason.owned());
                Some(reason.unwrap_or_else(|| "incomplete".to_owned()))
            }
            _ => None,
        }
    }

    fn citations(&self) -> Vec<Citation> {
        let (mut citations, mut base) = (Vec::new(), 0);
        for part in self.parts().filter(|part| part.kind.as_str() == "output_text") {
            let length = part.text.as_str().chars().count();
            citations.extend(part.annotations.into_iter().filter_map(|note| note.0.as_ref()?.citation(base, length)));
            base += length;
        }
        let mut seen: HashSet<String> = citations.iter().map(|citation| answer::same_page(&citation.url)).collect();
        let retrieved = self.items().filter_map(|item| item.action.0.as_ref()).flat_map(|action| &action.sources);
        for source in retrieved.filter_map(|source| source.0.as_ref()) {
            if let Some(url) = source.url.filled().filter(|url| seen.insert(answer::same_page(url))) {
                let (url, title) = (url.to_owned(), source.title.owned());
                citations.push(Citation { url, title, cited: Some(false), ..Citation::default() });
            }
        }
        citations
    }

    fn queries(&self) -> Vec<String> {
        let mut queries = Vec::new();
        for action in self.search_actions().filter_map(|item| item.action.0.as_ref()) {
            let listed = action.queries.into_iter().filter_map(Text::owned);
            let before = queries.len();
            queries.extend(listed);
            if queries.len() == before {
                queries.extend(action.query.owned());
            }
        }
        queries
    }
}

pub(super) fn decode(provider: &OpenAi, ask: &Ask, reply: &HttpResponse) -> Result<Outcome> {
    let (spare, caller) = (Spare::new(), provider.endpoint.caller());
    let parsed = Reply::read(&caller, reply, &spare)?;
    parsed.check(&caller, reply)?;
    let usage = parsed.usage();
    let (text, refusal) = parsed.words();
    let search = provider.searches(ask);
    let outcome = Outcome {
        citations: parsed.citations(),
        cost_micro_usd: estimates::cost(&provider.price, &usage),
        served_model: parsed.model.owned(),
        location_applied: search.then(|| applied(ask)).flatten(),
        web_search_triggered: search.then_some(usage.searches > 0),
        search_queries: parsed.queries(),
        finish_reason: parsed.finish_reason(),
        raw: reply.body.clone(),
        usage,
        ..Outcome::empty(RunStatus::Answered)
    };
    Ok(answer::settle(outcome, text, refusal, &caller))
}

#[cfg(test)]
mod tests {
    use super::searches;

    #[test]
    fn which_models_search() {
        for model in ["gpt-4.1", "gpt-4.1-mini", "gpt-4o", "gpt-5", "gpt-5.1", "gpt-6-sol", "o3", "o4-mini", "my-own"] {
            assert!(searches(model), "{model}");
        }
        for model in [
            "gpt-3.5-turbo",
            "gpt-4",
            "gpt-4-turbo",
            "gpt-4.1-nano",
            "gpt-4.1-nano-2025-04-14",
            "gpt-5-chat-latest",
            "o1",
            "o3-mini",
        ] {
            assert!(!searches(model), "{model}");
        }
    }
}
