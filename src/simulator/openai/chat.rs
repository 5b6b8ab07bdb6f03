//! `POST /v1/chat/completions`: plain answers, structured ones, the search models; the token parameter rules per model
//! family. Streaming is refused.

use serde_json::{Value, json};

use super::super::faults;
use super::super::ledger::Charge;
use super::super::prices::{self, Used};
use super::super::render::{self, Style};
use super::super::reply::Reply;
use super::super::rng::{self, Rng};
use super::super::serve::{self, Kind};
use super::super::sim::{Asked, Call};
use super::super::structured::{self, StructuredCall};
use super::super::text::Answer;
use super::request::{self, Model};
use super::{headers, invalid};

struct Request<'a> {
    name: String,
    model: Model,
    cap: Option<u64>,
    country: Option<&'a str>,
    schema: Option<(&'a str, &'a Value)>,
    prompt: request::Prompt<'a>,
}

/// Answers a request.
pub(super) fn answer(call: Call<'_>, body: &Value) -> Reply {
    let request = match read(body) {
        Ok(request) => request,
        Err(reply) => return headers(reply, rng::hash(body.to_string().as_bytes())),
    };
    let engine = format!("openai-chat:{}", request.model.base);
    let asked = Asked { engine: &engine, prompt: &request.prompt.whole, country: request.country };
    let (key, occurrence) = call.sim.ask(asked);
    let mut rng = Rng::new(key, "chat");
    let reasoning = if request.model.reasoning { 64 * rng.between(1, 6) as u64 } else { 0 };
    let searches = searches(request.model);
    let cap = request.cap.map(|cap| cap.saturating_sub(reasoning));
    let mut annotations = Vec::new();
    let mut kind = "answer";
    let mut declined = None;
    let (text, cut) = if let Some((name, schema)) = request.schema {
        kind = "structured";
        let asked = StructuredCall {
            schema,
            name,
            data: &request.prompt.question,
            prompt: &request.prompt.whole,
            key,
            fault: call.fault,
        };
        let (mut text, mut report) = structured::answer(call.sim, asked);
        let cut = serve::cut(&mut text, cap);
        report.broken_json |= cut;
        report.returned.clone_from(&text);
        serve::extraction(call, report, &request.name, key);
        (text, cut)
    } else {
        let refused = rng.chance(call.sim.config.rates.refusal) || faults::is(call.fault, "refusal");
        let question = Asked { prompt: &request.prompt.question, ..asked };
        let answer = if refused { Answer::default() } else { call.sim.compose(key, question, searches > 0) };
        let mut limit = cap.map_or(usize::MAX, |cap| usize::try_from(cap * 4).unwrap_or(usize::MAX));
        if faults::is(call.fault, "incomplete") {
            limit = call.sim.config.answer_chars / 3;
        }
        let mut rendered = render::render(&call.sim.world, &answer, Style::OpenAi, limit);
        serve::odd_text(call.fault, &mut rendered);
        for link in &rendered.links {
            let title = answer.sources.get(link.source).map_or("", |source| source.title.as_str());
            let citation = json!({"start_index": link.start, "end_index": link.end, "url": link.url, "title": title});
            annotations.push(json!({"type": "url_citation", "url_citation": citation}));
        }
        let words = serve::refusal(&mut rng);
        if refused {
            declined = Some(words);
            kind = "refusal";
        }
        let facts = serve::Facts {
            engine: "openai",
            model: &request.name,
            prompt: &request.prompt.question,
            country: request.country,
            occurrence,
            style: Style::OpenAi,
        };
        serve::served(call, facts, key, &answer, &rendered, declined.map_or(Kind::Answer, Kind::Refusal), false);
        (rendered.text, rendered.cut)
    };
    let produced = declined.map_or(text.len(), str::len);
    let used = Used {
        input: request::tokens(request.prompt.whole.len()) + 7 + searches * 1_400,
        output: request::tokens(produced) + reasoning,
        searches,
        batch: call.batch,
        cached: 0,
    };
    let delay = call.delay(key);
    let id = format!("chatcmpl-{}", rng::hex(key, 29));
    call.sim.ledger().charge(Charge {
        endpoint: call.endpoint,
        model: request.name.clone(),
        id: id.clone(),
        inputs: serve::inputs(call, &request.prompt.whole),
        micro_usd: prices::charge(request.model.price, used),
        used,
        records: 0,
        started_ms: call.started_ms,
        finished_ms: call.started_ms + delay,
        status: kind,
    });
    let content = if declined.is_some() { Value::Null } else { Value::String(text) };
    let model = if faults::is(call.fault, "other_model") {
        "gpt-4.1-2025-04-14".to_owned()
    } else {
        request::served_model(&request.name, request.model.base)
    };
    let message = json!({"role": "assistant", "content": content, "refusal": declined, "annotations": annotations});
    let finish = if cut { "length" } else { "stop" };
    let reply = json!({
        "id": id,
        "object": "chat.completion",
        "created": call.started_ms / 1000,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish}],
        "usage": usage(call, used, reasoning),
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    });
    headers(Reply { delay_ms: delay, ..Reply::json(200, &reply) }, key)
}

/// The search models search once for every request.
fn searches(model: Model) -> u64 {
    u64::from(is_search_model(model))
}

fn is_search_model(model: Model) -> bool {
    model.base.ends_with("-search-api") || model.base.ends_with("-search-preview")
}

fn read(body: &Value) -> Result<Request<'_>, Reply> {
    let (name, model) = request::model(body)?;
    if model.reasoning && body.get("max_tokens").is_some_and(|value| !value.is_null()) {
        let message =
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
        return Err(invalid(message, Some("max_tokens"), Some("unsupported_parameter")));
    }
    request::common(body, model)?;
    let cap = match request::cap(body, "max_completion_tokens", 1)? {
        Some(cap) => Some(cap),
        None => request::cap(body, "max_tokens", 1)?,
    };
    let options = body.get("web_search_options").filter(|options| !options.is_null());
    if options.is_some() && !is_search_model(model) {
        return Err(invalid("Web search options not supported with this model.", Some("web_search_options"), None));
    }
    let place = options.and_then(|options| options.get("user_location")).and_then(|place| place.get("approximate"));
    let country = place.and_then(|place| place.get("country")).and_then(Value::as_str);
    let Some(messages) = body.get("messages").and_then(Value::as_array).filter(|all| !all.is_empty()) else {
        return Err(invalid("Missing required parameter: 'messages'.", Some("messages"), Some("missing_required_parameter")));
    };
    let roles = ["system", "developer", "user", "assistant", "tool", "function"];
    let valid = |message: &Value| message.get("role").and_then(Value::as_str).is_some_and(|role| roles.contains(&role));
    if let Some(position) = messages.iter().position(|message| !valid(message)) {
        let param = format!("messages[{position}].role");
        return Err(invalid(&format!("Invalid value for '{param}'."), Some(&param), Some("invalid_value")));
    }
    let schema = request::json_schema(body.get("response_format"), "response_format")?;
    let prompt = request::messages(None, messages)
        .ok_or_else(|| invalid("Invalid 'messages'.", Some("messages"), Some("invalid_type")))?;
    Ok(Request { name, model, cap, country, schema, prompt })
}

fn usage(call: Call<'_>, used: Used, reasoning: u64) -> Value {
    if faults::is(call.fault, "no_usage") {
        return Value::Null;
    }
    if faults::is(call.fault, "absurd_usage") {
        return json!({"prompt_tokens": -5, "completion_tokens": 999_999_999_999_i64, "total_tokens": 0});
    }
    json!({
        "prompt_tokens": used.input,
        "completion_tokens": used.output,
        "total_tokens": used.input + used.output,
        "prompt_tokens_details": {"cached_tokens": used.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
    })
}
