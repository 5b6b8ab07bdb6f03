//! A reply of the Messages API: many blocks to one text, with offsets counted while joining.
//!
//! Text blocks are joined without separators, over all parts of a paused turn. A block with citations is the cited span. What
//! a search found is kept as retrieved (`cited = false`) unless the answer cites it. A failed search is a block of a 200: the
//! answer stays, the codes stand in the finish reason (`end_turn (web_search: unavailable)`).

use std::collections::HashSet;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::ApiError;
use crate::domain::{Citation, Usage};
use crate::error::{ErrorKind, Result};
use crate::http::HttpResponse;
use crate::providers::answer::same_page;
use crate::providers::wire::{Caller, Count, List, Maybe, Spare, Text, repaired};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow)]
    error: Maybe<ApiError<'a>>,
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    stop_reason: Text<'a>,
    usage: Maybe<TokenUsage>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TokenUsage {
    input_tokens: Count,
    cache_creation_input_tokens: Count,
    cache_read_input_tokens: Count,
    output_tokens: Count,
    server_tool_use: Maybe<ToolUsage>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ToolUsage {
    web_search_requests: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    citations: List<Maybe<Cited<'a>>>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    input: Maybe<Input<'a>>,
    /// Results of a search as a list, or one error object, which reads as a list of one.
    #[serde(borrow)]
    content: List<Maybe<Found<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Input<'a> {
    #[serde(borrow)]
    query: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cited<'a> {
    #[serde(borrow)]
    url: Text<'a>,
    #[serde(borrow)]
    title: Text<'a>,
    #[serde(borrow)]
    cited_text: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Found<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    url: Text<'a>,
    #[serde(borrow)]
    title: Text<'a>,
    #[serde(borrow)]
    error_code: Text<'a>,
}

/// One reply, read.
#[derive(Debug)]
pub(super) struct Message<'a> {
    body: Body<'a>,
    blocks: Vec<Maybe<Block<'a>>>,
}

impl<'a> Message<'a> {
    /// Reads a 2xx reply.
    ///
    /// # Errors
    /// [`ErrorKind::Undecodable`] when it is no JSON object; what an error object inside it means;
    /// [`ErrorKind::Semantic`] when it is no message.
    pub(super) fn read(caller: &Caller<'_>, reply: &'a HttpResponse, spare: &'a Spare) -> Result<Self> {
        let Some((body, blocks)) = both(&reply.body, spare) else {
            let error = caller.content(reply, ErrorKind::Undecodable, None, "the reply is no JSON object");
            return Err(error.with(|context| context.maybe_charged = true));
        };
        let charged = body.usage.0.is_some();
        if let Some(error) = &body.error.0 {
            return Err(error.inside_a_200(caller, reply).with(|context| context.maybe_charged = charged));
        }
        if body.content.is_none() {
            let error =
                caller.content(reply, ErrorKind::Semantic, Some("no_content"), "the reply is no message: it has no 'content'");
            return Err(error.with(|context| context.maybe_charged = charged));
        }
        Ok(Self { body, blocks: blocks.0 })
    }

    /// True when the turn goes on after the content was sent back.
    pub(super) fn is_paused(&self) -> bool {
        self.body.stop_reason.as_str() == "pause_turn"
    }

    /// The content, byte for byte.
    pub(super) fn blocks(&self) -> Option<&'a RawValue> {
        self.body.content
    }

    /// The model that answered.
    pub(super) fn model(&self) -> Option<String> {
        self.body.model.owned()
    }

    /// Why it ended.
    pub(super) fn stop_reason(&self) -> &str {
        self.body.stop_reason.as_str()
    }

    /// All text blocks joined.
    pub(super) fn text(&self) -> String {
        self.items().filter(|block| block.kind.as_str() == "text").map(|block| block.text.as_str()).collect()
    }

    fn items(&self) -> impl Iterator<Item = &Block<'a>> {
        self.blocks.iter().filter_map(|block| block.0.as_ref())
    }

    /// Anthropic's counts in ours: its `input_tokens` holds neither cache reads nor writes. Searches come from the usage, or
    /// from the searches that found something where the usage does not tell.
    pub(super) fn usage(&self) -> Usage {
        let none = TokenUsage::default();
        let tokens = self.body.usage.0.as_ref().unwrap_or(&none);
        let cached = tokens.cache_read_input_tokens.0.unwrap_or(0);
        let counted = tokens.server_tool_use.0.as_ref().and_then(|tools| tools.web_search_requests.0);
        let found = || self.items().filter(|block| block.is_search_result() && block.failures().next().is_none()).count() as u64;
        Usage {
            input_tokens: tokens.input_tokens.0.map(|input| input.saturating_add(cached)),
            cached_input_tokens: cached,
            cache_write_tokens: tokens.cache_creation_input_tokens.0.unwrap_or(0),
            output_tokens: tokens.output_tokens.0,
            searches: counted.unwrap_or_else(found),
            ..Usage::default()
        }
    }
}

impl<'a> Block<'a> {
    fn is_search_result(&self) -> bool {
        self.kind.as_str() == "web_search_tool_result"
    }

    fn found(&self) -> impl Iterator<Item = &Found<'a>> {
        self.content.into_iter().filter_map(|found| found.0.as_ref())
    }

    fn failures(&self) -> impl Iterator<Item = &str> {
        self.found().filter(|found| found.kind.as_str() == "web_search_tool_result_error").map(|found| found.error_code.as_str())
    }
}

/// The body and its blocks. The content is read from its raw bytes, which a continuation sends back.
fn both<'a>(body: &'a [u8], spare: &'a Spare) -> Option<(Body<'a>, List<Maybe<Block<'a>>>)> {
    let read = |bytes: &'a [u8]| -> Option<(Body<'a>, List<Maybe<Block<'a>>>)> {
        let body: Body<'a> = serde_json::from_slice(bytes).ok()?;
        let blocks = body.content.map_or_else(|| Some(List::default()), |content| serde_json::from_str(content.get()).ok())?;
        Some((body, blocks))
    };
    read(body).or_else(|| {
        let mended = repaired(body)?;
        read(spare.get_or_init(|| mended))
    })
}

/// All parts of a turn, joined.
#[derive(Debug, Default)]
pub(super) struct Turns {
    pub(super) text: String,
    pub(super) refusal: Option<String>,
    pub(super) citations: Vec<Citation>,
    pub(super) queries: Vec<String>,
    pub(super) usage: Usage,
    pub(super) finish_reason: Option<String>,
}

impl Turns {
    pub(super) fn of(messages: &[Message<'_>]) -> Self {
        let mut turns = Self::default();
        let (mut characters, mut failures) = (0, Vec::new());
        for block in messages.iter().flat_map(Message::items) {
            match block.kind.as_str() {
                "text" => {
                    let start = characters;
                    characters += block.text.as_str().chars().count();
                    turns.text.push_str(block.text.as_str());
                    turns
                        .citations
                        .extend(block.citations.into_iter().filter_map(|cited| cited.0.as_ref()?.citation(start, characters)));
                }
                "server_tool_use" if block.name.as_str() == "web_search" => {
                    turns.queries.extend(block.input.0.as_ref().and_then(|input| input.query.owned()));
                }
                "web_search_tool_result" => failures.extend(block.failures().map(str::to_owned)),
                _ => {}
            }
        }
        let mut seen: HashSet<String> = turns.citations.iter().map(|citation| same_page(&citation.url)).collect();
        for found in messages.iter().flat_map(Message::items).filter(|block| block.is_search_result()).flat_map(Block::found) {
            if let Some(url) = found.url.filled().filter(|url| seen.insert(same_page(url))) {
                let (url, title) = (url.to_owned(), found.title.owned());
                turns.citations.push(Citation { url, title, cited: Some(false), ..Citation::default() });
            }
        }
        turns.usage = messages.iter().map(Message::usage).fold(None, add).unwrap_or_default();
        let reason = messages.last().map(Message::stop_reason).unwrap_or_default();
        if reason == "refusal" {
            turns.refusal = Some(turns.text.clone());
            turns.text.clear();
        }
        failures.dedup();
        let failures = if failures.is_empty() { String::new() } else { format!(" (web_search: {})", failures.join(", ")) };
        turns.finish_reason = Some(format!("{reason}{failures}")).filter(|reason| !reason.is_empty());
        turns
    }
}

impl Cited<'_> {
    fn citation(&self, start: usize, end: usize) -> Option<Citation> {
        Some(Citation {
            url: self.url.filled()?.to_owned(),
            title: self.title.owned(),
            cited: Some(true),
            position: None,
            start: u32::try_from(start).ok(),
            end: u32::try_from(end).ok(),
            cited_text: self.cited_text.owned(),
        })
    }
}

/// Sums usage; a missing count of one part makes the sum unknown.
fn add(sum: Option<Usage>, part: Usage) -> Option<Usage> {
    let Some(sum) = sum else { return Some(part) };
    let both = |one: Option<u64>, other: Option<u64>| Some(one?.saturating_add(other?));
    Some(Usage {
        input_tokens: both(sum.input_tokens, part.input_tokens),
        cached_input_tokens: sum.cached_input_tokens.saturating_add(part.cached_input_tokens),
        cache_write_tokens: sum.cache_write_tokens.saturating_add(part.cache_write_tokens),
        output_tokens: both(sum.output_tokens, part.output_tokens),
        reasoning_tokens: sum.reasoning_tokens.saturating_add(part.reasoning_tokens),
        searches: sum.searches.saturating_add(part.searches),
        records: sum.records.saturating_add(part.records),
    })
}

/// The bodies as received; several, one a line. A line break of JSON stands between values only, so leaving it out changes
/// nothing.
pub(super) fn raw(replies: &[HttpResponse]) -> Bytes {
    if let [only] = replies {
        return only.body.clone();
    }
    let mut lines = Vec::with_capacity(replies.iter().map(|reply| reply.body.len() + 1).sum());
    for (number, reply) in replies.iter().enumerate() {
        if number > 0 {
            lines.push(b'\n');
        }
        lines.extend(reply.body.iter().filter(|byte| !matches!(byte, b'\n' | b'\r')));
    }
    lines.into()
}
