//! Content blocks: thinking, searches with their results, and the answer cut into many text blocks with citations.

use serde_json::{Value, json};

use super::super::render::Rendered;
use super::super::rng;
use super::super::text::Answer;

/// Id of the search `number` of an occurrence. The occurrence stands in it, so a continued turn needs no memory.
pub(super) fn tool_id(key: u64, occurrence: u32, number: usize) -> String {
    format!("srvtoolu_01{occurrence:08x}{}", rng::hex(rng::join(&[key, number as u64]), 14))
}

/// The occurrence inside an id of [`tool_id`].
pub(super) fn occurrence_of(id: &str) -> Option<u32> {
    u32::from_str_radix(id.strip_prefix("srvtoolu_01")?.get(..8)?, 16).ok()
}

/// A thinking block.
pub(super) fn thinking(key: u64, question: &str) -> Value {
    let start: String = question.chars().take(60).collect();
    json!({
        "type": "thinking",
        "thinking": format!("The user asks: {start}. I should look for current, reliable sources before I answer."),
        "signature": format!("Es4D{}", rng::hex(key, 64)),
    })
}

/// The search itself.
pub(super) fn search(key: u64, occurrence: u32, number: usize, query: &str) -> Value {
    json!({"type": "server_tool_use", "id": tool_id(key, occurrence, number), "name": "web_search", "input": {"query": query}})
}

/// A failed search, inside a 200.
pub(super) fn search_error(key: u64, occurrence: u32, number: usize, code: &str) -> Value {
    let content = json!({"type": "web_search_tool_result_error", "error_code": code});
    json!({"type": "web_search_tool_result", "tool_use_id": tool_id(key, occurrence, number), "content": content})
}

/// What a search found: the share of the sources that belongs to it. `of`: searches that found anything.
pub(super) fn search_result(key: u64, occurrence: u32, number: usize, share: (usize, usize), answer: &Answer) -> Value {
    let (part, of) = share;
    let sources = answer.sources.iter().enumerate().filter(|(position, _)| position % of.max(1) == part);
    let content: Vec<Value> = sources
        .map(|(position, source)| {
            let age = if position % 3 == 0 { Value::Null } else { json!(format!("{} days ago", position + 2)) };
            json!({
                "type": "web_search_result",
                "url": source.url,
                "title": source.title,
                "encrypted_content": format!("EroT{}", rng::hex(rng::join(&[key, position as u64]), 80)),
                "page_age": age,
            })
        })
        .collect();
    json!({"type": "web_search_tool_result", "tool_use_id": tool_id(key, occurrence, number), "content": content})
}

/// The answer as text blocks: a cited span is a block of its own, everything between is joined.
pub(super) fn text(key: u64, answer: &Answer, rendered: &Rendered) -> Vec<Value> {
    let mut blocks = Vec::new();
    let mut plain = String::new();
    let flush = |plain: &mut String, blocks: &mut Vec<Value>| {
        if !plain.is_empty() {
            blocks.push(json!({"type": "text", "text": std::mem::take(plain)}));
        }
    };
    for span in answer.spans.iter().take(rendered.spans) {
        let piece = answer.buffer.get(span.start..span.end).unwrap_or("");
        if span.cites.is_empty() {
            plain.push_str(piece);
            continue;
        }
        flush(&mut plain, &mut blocks);
        let citations: Vec<Value> = span
            .cites
            .iter()
            .filter_map(|cite| {
                let source = answer.sources.get(*cite)?;
                let quote: String = piece.chars().filter(|character| *character != '*').take(150).collect();
                Some(json!({
                    "type": "web_search_result_location",
                    "url": source.url,
                    "title": source.title,
                    "cited_text": quote,
                    "encrypted_index": format!("Eo8B{}", rng::hex(rng::join(&[key, *cite as u64]), 40)),
                }))
            })
            .collect();
        blocks.push(json!({"type": "text", "text": piece, "citations": citations}));
    }
    // Whatever a fault appended to the text.
    let served: usize = answer.spans.get(rendered.spans.wrapping_sub(1)).map_or(0, |span| span.end);
    plain.push_str(rendered.text.get(served..).unwrap_or(""));
    flush(&mut plain, &mut blocks);
    blocks
}
