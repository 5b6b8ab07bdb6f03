//! Reads and checks a messages request. Answers nothing.

use std::borrow::Cow;

use serde_json::Value;

use super::super::prices::{self, ModelPrice};
use super::super::schema;

/// Why a request is refused: status, error type, message.
pub(super) type Refused = (u16, &'static str, String);

/// A checked request.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) model: &'a str,
    pub(super) base: &'static str,
    pub(super) price: ModelPrice,
    pub(super) max_tokens: u64,
    /// The last thing the user says.
    pub(super) question: Cow<'a, str>,
    /// System prompt and user messages; what the assistant said is left out, so that a continued turn keeps its key.
    pub(super) whole: String,
    pub(super) searches: bool,
    pub(super) max_uses: usize,
    pub(super) country: Option<&'a str>,
    pub(super) thinking: bool,
    pub(super) schema: Option<&'a Value>,
    /// A tool the model must call: (name, schema).
    pub(super) forced: Option<(&'a str, &'a Value)>,
    /// Content blocks of a paused turn that is sent back.
    pub(super) paused: Option<&'a [Value]>,
}

fn invalid(message: impl Into<String>) -> Refused {
    (400, "invalid_request_error", message.into())
}

/// Reads and checks.
pub(super) fn read(body: &Value) -> Result<Request<'_>, Refused> {
    let Some(model) = body.get("model").and_then(Value::as_str) else { return Err(invalid("model: Field required")) };
    let Some((base, price)) = prices::lookup(model).filter(|(base, _)| base.starts_with("claude")) else {
        return Err((404, "not_found_error", format!("model: {model}")));
    };
    let max_tokens = match body.get("max_tokens").map(Value::as_u64) {
        Some(Some(number)) if number >= 1 => number,
        Some(Some(_)) => return Err(invalid("max_tokens: Input should be greater than or equal to 1")),
        Some(None) => return Err(invalid("max_tokens: Input should be a valid integer")),
        None => return Err(invalid("max_tokens: Field required")),
    };
    if body.get("stream").and_then(Value::as_bool) == Some(true) {
        return Err(invalid("stream: this server does not stream"));
    }
    let Some(messages) = body.get("messages").and_then(Value::as_array).filter(|all| !all.is_empty()) else {
        return Err(invalid("messages: at least one message is required"));
    };
    let role = |message: &Value| message.get("role").and_then(Value::as_str).unwrap_or("").to_owned();
    if let Some(position) = messages.iter().position(|message| !matches!(role(message).as_str(), "user" | "assistant")) {
        return Err(invalid(format!("messages.{position}.role: Input should be 'user' or 'assistant'")));
    }
    let users: Vec<&Value> = messages.iter().filter(|message| role(message) == "user").collect();
    let Some(question) = users.last().map(|message| text_of(message)) else { return Err(invalid("messages: first message must use the \"user\" role")) };
    if question.trim().is_empty() {
        return Err(invalid("messages.0: all messages must have non-empty content"));
    }
    let mut whole = match body.get("system") {
        Some(system @ (Value::String(_) | Value::Array(_))) => texts(system).into_owned(),
        _ => String::new(),
    };
    for message in &users {
        if !whole.is_empty() {
            whole.push_str("\n\n");
        }
        whole.push_str(&text_of(message));
    }
    let paused = messages.last().filter(|message| role(message) == "assistant").and_then(|message| message.get("content")).and_then(Value::as_array);
    let thinking = body.get("thinking").and_then(|thinking| thinking.get("type")).and_then(Value::as_str);
    if thinking == Some("enabled") {
        let budget = body.pointer("/thinking/budget_tokens").and_then(Value::as_u64).unwrap_or(0);
        if budget < 1_024 {
            return Err(invalid("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"));
        }
        if budget >= max_tokens {
            return Err(invalid("`max_tokens` must be greater than `thinking.budget_tokens`."));
        }
    }
    let mut request = Request {
        model,
        base,
        price,
        max_tokens,
        question,
        whole,
        searches: false,
        max_uses: 8,
        country: None,
        thinking: matches!(thinking, Some("enabled" | "adaptive")),
        schema: schema_of(body)?,
        forced: None,
        paused: paused.map(Vec::as_slice),
    };
    tools(body, &mut request)?;
    Ok(request)
}

fn schema_of(body: &Value) -> Result<Option<&Value>, Refused> {
    let format = body.pointer("/output_config/format").or_else(|| body.get("output_format")).filter(|format| !format.is_null());
    let Some(format) = format else { return Ok(None) };
    if format.get("type").and_then(Value::as_str) != Some("json_schema") {
        return Err(invalid("output_config.format.type: Input should be 'json_schema'"));
    }
    let Some(definition) = format.get("schema").filter(|schema| schema.is_object()) else {
        return Err(invalid("output_config.format.schema: Field required"));
    };
    schema::check_anthropic(definition).map_err(|reason| invalid(format!("output_config.format.schema: {reason}")))?;
    Ok(Some(definition))
}

fn tools<'a>(body: &'a Value, request: &mut Request<'a>) -> Result<(), Refused> {
    for (position, tool) in body.get("tools").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let kind = tool.get("type").and_then(Value::as_str).unwrap_or("custom");
        match kind {
            "web_search_20250305" | "web_search_20260209" | "web_search_20260318" => {
                if tool.get("name").and_then(Value::as_str) != Some("web_search") {
                    return Err(invalid(format!("tools.{position}.{kind}.name: Input should be 'web_search'")));
                }
                let set = |name: &str| tool.get(name).is_some_and(|value| !value.is_null());
                if set("allowed_domains") && set("blocked_domains") {
                    return Err(invalid(format!("tools.{position}.{kind}: only one of allowed_domains and blocked_domains may be given")));
                }
                if let Some(uses) = tool.get("max_uses").and_then(Value::as_u64) {
                    if uses == 0 {
                        return Err(invalid(format!("tools.{position}.{kind}.max_uses: Input should be greater than 0")));
                    }
                    request.max_uses = usize::try_from(uses).unwrap_or(usize::MAX);
                }
                request.country = tool.pointer("/user_location/country").and_then(Value::as_str);
                if request.country.is_some_and(|code| code.len() != 2) {
                    return Err(invalid(format!("tools.{position}.{kind}.user_location.country: String should have at most 2 characters")));
                }
                request.searches = true;
            }
            "custom" => {
                let name = tool.get("name").and_then(Value::as_str).unwrap_or("");
                let wanted = body.pointer("/tool_choice/name").and_then(Value::as_str);
                if wanted == Some(name)
                    && let Some(schema) = tool.get("input_schema")
                {
                    if request.thinking {
                        return Err(invalid("Thinking may not be enabled when tool_choice forces tool use."));
                    }
                    request.forced = Some((name, schema));
                }
            }
            other => return Err(invalid(format!("tools.{position}: Input tag '{other}' found using 'type' does not match any of the expected tags"))),
        }
    }
    Ok(())
}

fn text_of(message: &Value) -> Cow<'_, str> {
    message.get("content").map_or(Cow::Borrowed(""), texts)
}

fn texts(content: &Value) -> Cow<'_, str> {
    match content {
        Value::String(text) => Cow::Borrowed(text),
        Value::Array(blocks) => {
            let texts: Vec<&str> = blocks.iter().filter_map(|block| block.get("text").and_then(Value::as_str)).collect();
            Cow::Owned(texts.join("\n"))
        }
        _ => Cow::Borrowed(""),
    }
}
