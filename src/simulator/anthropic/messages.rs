//! `POST /v1/messages`: answers with the web search tool, paused turns, structured outputs, forced tools, refusals.

use serde_json::{Value, json};

use super::super::faults;
use super::super::ledger::Charge;
use super::super::prices::{self, Used};
use super::super::render::{self, Style};
use super::super::reply::Reply;
use super::super::rng::{self, Rng};
use super::super::serve::{self, Kind};
use super::super::sim::{Asked, Call, Sim};
use super::super::structured::{self, StructuredCall};
use super::super::text::Answer;
use super::request::{self, Request};
use super::{blocks, error, headers};

/// What a reply holds.
struct Made {
    content: Vec<Value>,
    stop: &'static str,
    used: Used,
    kind: &'static str,
    /// Of the message id: a continued turn has another.
    part: u64,
}

/// Answers a request.
pub(super) fn answer(call: Call<'_>, body: &Value) -> Reply {
    let request = match request::read(body) {
        Ok(request) => request,
        Err((status, kind, message)) => return error(status, kind, &message, rng::hash(body.to_string().as_bytes())),
    };
    let engine = format!("anthropic:{}", request.base);
    let asked = Asked { engine: &engine, prompt: &request.whole, country: request.country };
    let ids =
        request.paused.into_iter().flatten().filter(|block| block.get("type").and_then(Value::as_str) == Some("server_tool_use"));
    let ids: Vec<&str> = ids.filter_map(|block| block.get("id").and_then(Value::as_str)).collect();
    let continued = ids.first().and_then(|id| blocks::occurrence_of(id));
    let (key, occurrence) = match continued {
        Some(occurrence) => (Sim::occurrence_key(call.sim.base_key(asked), occurrence), occurrence),
        None => call.sim.ask(asked),
    };
    let made = if let Some(schema) = request.schema {
        structured(call, &request, key, "output_format", schema, None)
    } else if let Some((name, schema)) = request.forced {
        structured(call, &request, key, name, schema, Some(name))
    } else {
        prose(call, &request, (key, occurrence), asked, ids.len())
    };
    finish(call, &request, key, made)
}

/// `POST /v1/messages/count_tokens`.
pub(super) fn count_tokens(body: &Value) -> Reply {
    let length = body.get("messages").map_or(0, |messages| messages.to_string().len());
    headers(Reply::json(200, &json!({"input_tokens": tokens(length)})), rng::hash(body.to_string().as_bytes()))
}

fn tokens(bytes: usize) -> u64 {
    bytes.div_ceil(4) as u64
}

fn structured(call: Call<'_>, request: &Request<'_>, key: u64, name: &str, schema: &Value, tool: Option<&str>) -> Made {
    let asked = StructuredCall { schema, name, data: &request.question, prompt: &request.whole, key, fault: call.fault };
    let (mut text, mut report) = structured::answer(call.sim, asked);
    let cut = serve::cut(&mut text, Some(request.max_tokens));
    report.broken_json |= cut;
    report.returned.clone_from(&text);
    serve::extraction(call, report, request.model, key);
    let used = Used {
        input: tokens(request.whole.len()) + tokens(schema.to_string().len()) + 12,
        output: tokens(text.len()),
        ..Used::default()
    };
    if faults::is(call.fault, "refusal") {
        return Made { content: Vec::new(), stop: "refusal", used, kind: "refusal", part: 0 };
    }
    let (content, stop) = match tool {
        Some(name) => {
            let input = serde_json::from_str::<Value>(&text).unwrap_or_else(|_| json!({}));
            (
                json!({"type": "tool_use", "id": format!("toolu_01{}", rng::hex(key, 22)), "name": name, "input": input}),
                "tool_use",
            )
        }
        None => (json!({"type": "text", "text": text}), "end_turn"),
    };
    Made { content: vec![content], stop: if cut { "max_tokens" } else { stop }, used, kind: "structured", part: 0 }
}

fn prose(call: Call<'_>, request: &Request<'_>, (key, occurrence): (u64, u32), asked: Asked<'_>, done: usize) -> Made {
    let sim = call.sim;
    let rates = &sim.config.rates;
    let mut rng = Rng::new(key, "anthropic");
    let refused = rng.chance(rates.refusal) || faults::is(call.fault, "refusal");
    let mut searched = request.searches && !refused && !rng.chance(rates.no_search);
    let fails = searched && (rng.chance(rates.search_error) || faults::is(call.fault, "search_error"));
    let pauses = searched && done == 0 && rng.chance(rates.pause) || searched && faults::is(call.fault, "pause");
    let thinks = request.thinking || (!refused && rng.chance(rates.thinking));
    let words = serve::refusal(&mut rng);
    let question = Asked { prompt: &request.question, ..asked };
    let mut answer = if refused { Answer::default() } else { sim.compose(key, question, searched) };
    answer.queries.truncate(request.max_uses);
    let queries = answer.queries.clone();
    if fails && queries.len() < 2 {
        // Nothing was found, so nothing can be cited.
        searched = false;
        answer = sim.compose(key, question, false);
    }
    let mut content = Vec::new();
    if thinks && done == 0 {
        content.push(blocks::thinking(key, &request.question));
    }
    let code = call
        .fault
        .filter(|fault| fault.is("search_error") && !fault.argument.is_empty())
        .map_or("unavailable", |fault| fault.argument.as_str());
    let mut searches = 0;
    let mut number = done;
    while number < queries.len() || (pauses && number == done) {
        let query = queries.get(number).map_or("more sources", String::as_str);
        content.push(blocks::search(key, occurrence, number, query));
        if fails && number == 0 {
            content.push(blocks::search_error(key, occurrence, number, code));
        } else {
            searches += 1;
            let first = usize::from(fails);
            let share = (number.saturating_sub(first), queries.len().saturating_sub(first));
            content.push(blocks::search_result(key, occurrence, number, share, &answer));
        }
        number += 1;
        if pauses {
            break;
        }
    }
    let mut used = Used {
        input: tokens(request.whole.len()) + 14 + 1_800 * (searches + done as u64),
        output: 40 * searches + if thinks { 60 } else { 0 },
        searches,
        ..Used::default()
    };
    if pauses {
        return Made { content, stop: "pause_turn", used, kind: "paused", part: done as u64 };
    }
    let mut limit = usize::try_from(request.max_tokens.saturating_mul(4)).unwrap_or(usize::MAX);
    if faults::is(call.fault, "incomplete") {
        limit = sim.config.answer_chars / 3;
    }
    let mut rendered = render::render(&sim.world, &answer, Style::Anthropic, limit);
    serve::odd_text(call.fault, &mut rendered);
    content.extend(blocks::text(key, &answer, &rendered));
    let kind = if refused { Kind::Refusal(words) } else { Kind::Answer };
    if refused {
        content.push(json!({"type": "text", "text": words}));
    }
    used.output += tokens(rendered.text.len().max(if refused { words.len() } else { 0 }));
    let facts = serve::Facts {
        engine: "anthropic",
        model: request.model,
        prompt: &request.question,
        country: request.country,
        occurrence,
        style: Style::Anthropic,
    };
    serve::served(call, facts, key, &answer, &rendered, kind, searched);
    let stop = if refused {
        "refusal"
    } else if rendered.cut {
        "max_tokens"
    } else {
        "end_turn"
    };
    let kind = if refused {
        "refusal"
    } else if rendered.cut {
        "incomplete"
    } else {
        "answer"
    };
    Made { content, stop, used, kind, part: done as u64 }
}

fn finish(call: Call<'_>, request: &Request<'_>, key: u64, made: Made) -> Reply {
    let mut used = made.used;
    used.batch = call.batch;
    let delay = call.delay(key);
    let id = format!("msg_01{}", rng::hex(rng::join(&[key, made.part]), 22));
    call.sim.ledger().charge(Charge {
        endpoint: call.endpoint,
        model: request.model.to_owned(),
        id: id.clone(),
        inputs: serve::inputs(call, &request.whole),
        micro_usd: prices::charge(request.price, used),
        used,
        records: 0,
        started_ms: call.started_ms,
        finished_ms: call.started_ms + delay,
        status: made.kind,
    });
    let model = if faults::is(call.fault, "other_model") {
        "claude-haiku-4-5-20251001".to_owned()
    } else if request.model == request.base {
        format!("{}-20250929", request.base)
    } else {
        request.model.to_owned()
    };
    let usage = if faults::is(call.fault, "absurd_usage") {
        json!({"input_tokens": -5, "output_tokens": 999_999_999_999_i64})
    } else {
        json!({
            "input_tokens": used.input,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": used.output,
            "server_tool_use": if request.searches { json!({"web_search_requests": used.searches, "web_fetch_requests": 0}) } else { Value::Null },
            "service_tier": if call.batch { "batch" } else { "standard" },
        })
    };
    let mut message = json!({
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": made.content,
        "stop_reason": made.stop,
        "stop_sequence": null,
        "usage": usage,
    });
    if faults::is(call.fault, "no_usage")
        && let Some(object) = message.as_object_mut()
    {
        object.remove("usage");
    }
    headers(Reply { delay_ms: delay, ..Reply::json(200, &message) }, key)
}
