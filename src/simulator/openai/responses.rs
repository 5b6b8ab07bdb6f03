//! `POST /v1/responses`: the web search tool with reasoning, search, open-page and find items, annotations in characters,
//! structured text, refusals, truncation. One request in, one reply out; streaming is refused.

use serde_json::{Value, json};

use super::super::faults;
use super::super::ledger::Charge;
use super::super::prices::{self, Used};
use super::super::render::{self, Rendered, Style};
use super::super::reply::Reply;
use super::super::rng::{self, Rng};
use super::super::serve::{self, Kind};
use super::super::sim::{Asked, Call};
use super::super::structured::{self, StructuredCall};
use super::super::text::Answer;
use super::request::{self, Model};
use super::{headers, invalid};

const SEARCH_TOOLS: [&str; 4] = ["web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"];

struct Request<'a> {
    name: String,
    model: Model,
    tool: Option<&'a Value>,
    country: Option<&'a str>,
    sources: bool,
    cap: Option<u64>,
    schema: Option<(&'a str, &'a Value)>,
    prompt: request::Prompt<'a>,
}

/// Answers a request.
pub(super) fn answer(call: Call<'_>, body: &Value) -> Reply {
    let request = match read(body) {
        Ok(request) => request,
        Err(reply) => return headers(reply, rng::hash(body.to_string().as_bytes())),
    };
    let engine = format!("openai:{}", request.model.base);
    let asked = Asked { engine: &engine, prompt: &request.prompt.whole, country: request.country };
    let (key, occurrence) = call.sim.ask(asked);
    let made = if let Some((name, schema)) = request.schema {
        structured(call, &request, key, name, schema)
    } else {
        prose(call, &request, key, occurrence, asked)
    };
    finish(call, body, &request, key, made)
}

/// Output items and what they used.
struct Made {
    items: Vec<Value>,
    used: Used,
    reasoning: u64,
    incomplete: bool,
    kind: &'static str,
}

fn read(body: &Value) -> Result<Request<'_>, Reply> {
    let (name, model) = request::model(body)?;
    for (old, new) in [
        ("max_tokens", "max_output_tokens"),
        ("max_completion_tokens", "max_output_tokens"),
        ("messages", "input"),
        ("response_format", "text.format"),
    ] {
        if body.get(old).is_some() {
            let message = format!("Unsupported parameter: '{old}'. In the Responses API, this parameter has moved to '{new}'.");
            return Err(invalid(&message, Some(old), Some("unsupported_parameter")));
        }
    }
    request::common(body, model)?;
    let cap = request::cap(body, "max_output_tokens", 16)?;
    let instructions = body.get("instructions").and_then(Value::as_str);
    let prompt = match body.get("input") {
        Some(Value::String(text)) if !text.is_empty() => match instructions {
            None => request::Prompt { question: text.into(), whole: text.into() },
            Some(head) => request::Prompt { question: text.into(), whole: format!("{head}\n\n{text}").into() },
        },
        Some(Value::Array(items)) if !items.is_empty() => request::messages(instructions, items)
            .ok_or_else(|| invalid("Invalid type for 'input'.", Some("input"), Some("invalid_type")))?,
        _ => return Err(invalid("Missing required parameter: 'input'.", Some("input"), Some("missing_required_parameter"))),
    };
    let tools = body.get("tools").and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
    let kind = |tool: &Value| tool.get("type").and_then(Value::as_str).unwrap_or("").to_owned();
    if let Some(unknown) = tools.iter().map(kind).find(|kind| !SEARCH_TOOLS.contains(&kind.as_str()) && kind != "function") {
        let message = format!("Invalid value: '{unknown}'. Supported values are: 'function' and 'web_search'.");
        return Err(invalid(&message, Some("tools[0].type"), Some("invalid_value")));
    }
    let tool = tools.iter().find(|tool| SEARCH_TOOLS.contains(&kind(tool).as_str()));
    if tool.is_some() && matches!(request_base(model), "gpt-4.1-nano") {
        let message = format!("Hosted tool 'web_search' is not supported with {name}.");
        return Err(invalid(&message, Some("tools"), None));
    }
    if let Some(choice) = body.get("tool_choice").and_then(|choice| choice.get("type")).and_then(Value::as_str)
        && !tools.iter().any(|tool| kind(tool) == choice)
    {
        return Err(invalid(&format!("Tool choice '{choice}' not found in 'tools' parameter."), Some("tool_choice"), None));
    }
    let country = tool.and_then(|tool| tool.get("user_location")).and_then(|place| place.get("country")).and_then(Value::as_str);
    if country.is_some_and(|code| code.len() != 2 || !code.bytes().all(|byte| byte.is_ascii_alphabetic())) {
        let message = "Invalid 'tools[0].user_location.country': expected a two-letter ISO 3166-1 country code.";
        return Err(invalid(message, Some("tools[0].user_location.country"), Some("invalid_value")));
    }
    let include = body.get("include").and_then(Value::as_array);
    let sources = include.is_some_and(|all| all.iter().any(|name| name == "web_search_call.action.sources"));
    let format = body.get("text").and_then(|text| text.get("format"));
    let schema = request::json_schema(format, "text.format")?;
    Ok(Request { name, model, tool, country, sources, cap, schema, prompt })
}

fn request_base(model: Model) -> &'static str {
    model.base
}

fn structured(call: Call<'_>, request: &Request<'_>, key: u64, name: &str, schema: &Value) -> Made {
    let asked =
        StructuredCall { schema, name, data: &request.prompt.question, prompt: &request.prompt.whole, key, fault: call.fault };
    let (mut text, mut report) = structured::answer(call.sim, asked);
    let incomplete = serve::cut(&mut text, request.cap);
    report.broken_json |= incomplete;
    report.returned.clone_from(&text);
    serve::extraction(call, report, &request.name, key);
    let used = Used {
        input: request::tokens(request.prompt.whole.len()) + request::tokens(schema.to_string().len()),
        output: request::tokens(text.len()),
        ..Used::default()
    };
    let refused = faults::is(call.fault, "refusal");
    let part = if refused { refusal("I'm sorry, but I can't help with that.") } else { output_text(&text, &[]) };
    let status = if incomplete { "incomplete" } else { "completed" };
    let items =
        vec![json!({"id": id("msg", key, 1), "type": "message", "role": "assistant", "status": status, "content": [part]})];
    Made { items, used, reasoning: 0, incomplete, kind: if refused { "refusal" } else { "structured" } }
}

fn prose(call: Call<'_>, request: &Request<'_>, key: u64, occurrence: u32, asked: Asked<'_>) -> Made {
    let sim = call.sim;
    let rates = &sim.config.rates;
    let mut rng = Rng::new(key, "openai");
    let refused = rng.chance(rates.refusal) || faults::is(call.fault, "refusal");
    let searched = request.tool.is_some() && !refused && !rng.chance(rates.no_search);
    let bare = rng.chance(rates.empty_annotations);
    let reasoning = if request.model.reasoning { 64 * rng.between(1, 8) as u64 } else { 0 };
    let mut limit =
        request.cap.map_or(usize::MAX, |cap| usize::try_from(cap.saturating_sub(reasoning) * 4).unwrap_or(usize::MAX));
    if faults::is(call.fault, "incomplete") {
        limit = sim.config.answer_chars / 3;
    }
    let question = Asked { prompt: &request.prompt.question, ..asked };
    let answer = if refused { Answer::default() } else { sim.compose(key, question, searched) };
    let mut rendered = render::render(&sim.world, &answer, Style::OpenAi, limit);
    serve::odd_text(call.fault, &mut rendered);
    let declined = serve::refusal(&mut rng);
    let mut items = Vec::new();
    let mut searches = 0;
    if request.model.reasoning {
        items.push(json!({"id": id("rs", key, 0), "type": "reasoning", "summary": []}));
    }
    if searched {
        for (number, query) in answer.queries.iter().enumerate() {
            searches += 1;
            items.push(search_item(key, number, query, &answer, request));
            if request.model.reasoning {
                items.push(json!({"id": id("rs", key, number as u64 + 1), "type": "reasoning", "summary": []}));
            }
        }
        if let Some(source) = answer.sources.first().filter(|_| request.model.reasoning && rng.chance(0.4)) {
            items.push(json!({"id": id("ws", key, 80), "type": "web_search_call", "status": "completed", "action": {"type": "open_page", "url": source.url}}));
            let find = json!({"type": "find_in_page", "pattern": "pricing", "url": source.url});
            items.push(json!({"id": id("ws", key, 81), "type": "web_search_call", "status": "completed", "action": find}));
        }
    }
    let part = if refused { refusal(declined) } else { output_text(&rendered.text, &annotations(&answer, &rendered, bare)) };
    let status = if rendered.cut { "incomplete" } else { "completed" };
    items.push(json!({"id": id("msg", key, 1), "type": "message", "role": "assistant", "status": status, "content": [part]}));
    let text = if refused { declined } else { rendered.text.as_str() };
    let mut used = Used {
        input: request::tokens(request.prompt.whole.len()) + 8 + searches * 1_400,
        output: request::tokens(text.len()) + reasoning,
        searches,
        ..Used::default()
    };
    if used.input > 1_024 && rng.chance(0.3) {
        used.cached = (used.input - 512) / 128 * 128;
    }
    let kind = if refused { Kind::Refusal(declined) } else { Kind::Answer };
    let retrieved = searched && request.sources;
    serve::served(call, asked_truth(&request.name, request, occurrence), key, &answer, &rendered, kind, retrieved);
    let kind = if refused {
        "refusal"
    } else if rendered.cut {
        "incomplete"
    } else {
        "answer"
    };
    Made { items, used, reasoning, incomplete: rendered.cut, kind }
}

fn asked_truth<'a>(name: &'a str, request: &'a Request<'_>, occurrence: u32) -> serve::Facts<'a> {
    serve::Facts {
        engine: "openai",
        model: name,
        prompt: &request.prompt.question,
        country: request.country,
        occurrence,
        style: Style::OpenAi,
    }
}

fn search_item(key: u64, number: usize, query: &str, answer: &Answer, request: &Request<'_>) -> Value {
    let mut action = json!({"type": "search", "query": query});
    if request.sources
        && let Some(action) = action.as_object_mut()
    {
        // Every search found its own share of the sources.
        let count = answer.queries.len().max(1);
        let sources = answer.sources.iter().enumerate().filter(|(position, _)| position % count == number);
        action.insert("queries".to_owned(), json!([query]));
        action.insert("sources".to_owned(), sources.map(|(_, source)| json!({"type": "url", "url": source.url})).collect());
    }
    json!({"id": id("ws", key, number as u64), "type": "web_search_call", "status": "completed", "action": action})
}

fn annotations(answer: &Answer, rendered: &Rendered, bare: bool) -> Vec<Value> {
    if bare {
        return Vec::new();
    }
    let of = |link: &render::Link| {
        let title = answer.sources.get(link.source).map_or("", |source| source.title.as_str());
        json!({"type": "url_citation", "start_index": link.start, "end_index": link.end, "url": link.url, "title": title})
    };
    rendered.links.iter().map(of).collect()
}

fn output_text(text: &str, annotations: &[Value]) -> Value {
    json!({"type": "output_text", "text": text, "annotations": annotations, "logprobs": []})
}

fn refusal(text: &str) -> Value {
    json!({"type": "refusal", "refusal": text})
}

fn id(prefix: &str, key: u64, number: u64) -> String {
    format!("{prefix}_{}", rng::hex(rng::join(&[key, number, rng::hash(prefix.as_bytes())]), 50))
}

fn tool_echo(tool: &Value) -> Value {
    let mut echo = tool.clone();
    if let Some(object) = echo.as_object_mut()
        && object.get("type").and_then(Value::as_str) != Some("function")
    {
        if object.get("search_context_size").is_none_or(Value::is_null) {
            object.insert("search_context_size".to_owned(), json!("medium"));
        }
        let place = object.get("user_location").cloned().unwrap_or(Value::Null);
        let field = |name: &str| place.get(name).cloned().unwrap_or(Value::Null);
        let country = place.get("country").cloned().unwrap_or_else(|| json!("US"));
        let echo = json!({"type": "approximate", "country": country, "region": field("region"), "city": field("city"), "timezone": field("timezone")});
        object.insert("user_location".to_owned(), echo);
    }
    echo
}

fn finish(call: Call<'_>, body: &Value, request: &Request<'_>, key: u64, made: Made) -> Reply {
    let mut used = made.used;
    used.batch = call.batch;
    let delay = call.delay(key);
    let reply_id = id("resp", key, 0);
    if faults::is(call.fault, "failed_200") {
        let failed = json!({
            "id": reply_id, "object": "response", "created_at": call.started_ms / 1000, "status": "failed",
            "error": {"code": "server_error", "message": "The server had an error while processing your request."},
            "incomplete_details": null, "model": request.name, "output": [], "parallel_tool_calls": true, "tool_choice": "auto",
            "tools": [], "usage": null, "metadata": {},
        });
        return headers(Reply { delay_ms: delay, ..Reply::json(200, &failed) }, key);
    }
    call.sim.ledger().charge(Charge {
        endpoint: call.endpoint,
        model: request.name.clone(),
        id: reply_id.clone(),
        inputs: serve::inputs(call, &request.prompt.whole),
        micro_usd: prices::charge(request.model.price, used),
        used,
        records: 0,
        started_ms: call.started_ms,
        finished_ms: call.started_ms + delay,
        status: made.kind,
    });
    let model = if faults::is(call.fault, "other_model") {
        "gpt-4.1-2025-04-14".to_owned()
    } else {
        request::served_model(&request.name, request.model.base)
    };
    let format = body.get("text").and_then(|text| text.get("format")).cloned().unwrap_or_else(|| json!({"type": "text"}));
    let tools: Vec<Value> = body.get("tools").and_then(Value::as_array).into_iter().flatten().map(tool_echo).collect();
    let created = call.started_ms / 1000;
    let status = if made.incomplete { "incomplete" } else { "completed" };
    let told = call.fault.filter(|fault| fault.is("incomplete") && !fault.argument.is_empty());
    let reason = told.map_or("max_output_tokens", |fault| fault.argument.as_str());
    let details = if made.incomplete { json!({"reason": reason}) } else { Value::Null };
    let echo = |name: &str, default: Value| body.get(name).filter(|value| !value.is_null()).cloned().unwrap_or(default);
    let effort = body.get("reasoning").and_then(|reasoning| reasoning.get("effort")).cloned();
    let effort = effort.unwrap_or(if request.model.reasoning { json!("medium") } else { Value::Null });
    let reply = json!({
        "id": reply_id,
        "object": "response",
        "created_at": created,
        "status": status,
        "background": false,
        "completed_at": created + delay / 1000,
        "error": null,
        "incomplete_details": details,
        "instructions": echo("instructions", Value::Null),
        "max_output_tokens": request.cap,
        "max_tool_calls": null,
        "model": model,
        "output": made.items,
        "parallel_tool_calls": true,
        "previous_response_id": null,
        "prompt_cache_key": null,
        "reasoning": {"effort": effort, "summary": null},
        "safety_identifier": null,
        "service_tier": "default",
        "store": echo("store", json!(true)),
        "temperature": echo("temperature", json!(1.0)),
        "text": {"format": format, "verbosity": "medium"},
        "tool_choice": echo("tool_choice", json!("auto")),
        "tools": tools,
        "top_logprobs": 0,
        "top_p": echo("top_p", json!(1.0)),
        "truncation": "disabled",
        "usage": usage(call, used, made.reasoning),
        "user": null,
        "metadata": echo("metadata", json!({})),
    });
    headers(Reply { delay_ms: delay, ..Reply::json(200, &reply) }, key)
}

fn usage(call: Call<'_>, used: Used, reasoning: u64) -> Value {
    if faults::is(call.fault, "no_usage") {
        return Value::Null;
    }
    if faults::is(call.fault, "absurd_usage") {
        return json!({"input_tokens": -5, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 999_999_999_999_i64, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 0});
    }
    json!({
        "input_tokens": used.input,
        "input_tokens_details": {"cached_tokens": used.cached, "cache_write_tokens": 0},
        "output_tokens": used.output,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": used.input + used.output,
    })
}
