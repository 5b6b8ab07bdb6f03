//! Reads and checks what both text endpoints share: the model, the prompt, the schema, the token cap. Answers nothing.

use std::borrow::Cow;

use serde_json::Value;

use super::super::prices::{self, ModelPrice};
use super::super::reply::Reply;
use super::super::schema;
use super::{invalid, unknown_model};

/// A model the provider knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Model {
    pub(super) base: &'static str,
    pub(super) price: ModelPrice,
    /// Thinks before it answers: reasoning tokens, other parameters.
    pub(super) reasoning: bool,
}

/// Reads and checks `model`.
pub(super) fn model(body: &Value) -> Result<(String, Model), Reply> {
    let Some(name) = body.get("model").and_then(Value::as_str).filter(|name| !name.is_empty()) else {
        return Err(invalid("you must provide a model parameter", None, None));
    };
    match prices::lookup(name).filter(|(base, _)| !base.starts_with("claude")) {
        Some((base, price)) => Ok((name.to_owned(), Model { base, price, reasoning: !base.starts_with("gpt-4") })),
        None => Err(unknown_model(name)),
    }
}

/// The dated id a reply names.
pub(super) fn served_model(name: &str, base: &str) -> String {
    if name != base {
        return name.to_owned();
    }
    let date = match base {
        _ if base.starts_with("gpt-4.1") => "2025-04-14",
        "gpt-4o" => "2024-08-06",
        "gpt-4o-mini" => "2024-07-18",
        "o3" | "o4-mini" => "2025-04-16",
        _ => "2025-08-07",
    };
    format!("{base}-{date}")
}

/// Refuses a stream and the parameters reasoning models do not take.
pub(super) fn common(body: &Value, model: Model) -> Result<(), Reply> {
    if body.get("stream").and_then(Value::as_bool) == Some(true) {
        let message = "Unsupported value: 'stream' does not support true here: this server does not stream.";
        return Err(invalid(message, Some("stream"), Some("unsupported_value")));
    }
    let temperature = body.get("temperature").and_then(Value::as_f64);
    if model.reasoning && temperature.is_some_and(|value| value != 1.0) {
        return Err(invalid("Unsupported parameter: 'temperature' is not supported with this model.", Some("temperature"), None));
    }
    if temperature.is_some_and(|value| !(0.0..=2.0).contains(&value)) {
        let message = "Invalid 'temperature': decimal above maximum value. Expected a value <= 2.";
        return Err(invalid(message, Some("temperature"), Some("decimal_above_max_value")));
    }
    Ok(())
}

/// Reads a positive whole number.
pub(super) fn cap(body: &Value, name: &str, least: u64) -> Result<Option<u64>, Reply> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(number) if number >= least => Ok(Some(number)),
            Some(number) => {
                let message = format!("Invalid '{name}': integer below minimum value. Expected a value >= {least}, but got {number} instead.");
                Err(invalid(&message, Some(name), Some("integer_below_min_value")))
            }
            None => {
                let message = format!("Invalid type for '{name}': expected an integer.");
                Err(invalid(&message, Some(name), Some("invalid_type")))
            }
        },
    }
}

/// The text of a content value: a string, or parts with `text`.
pub(super) fn text_of(content: &Value) -> Cow<'_, str> {
    match content {
        Value::String(text) => Cow::Borrowed(text),
        Value::Array(parts) => {
            let texts: Vec<&str> = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect();
            match texts.as_slice() {
                [one] => Cow::Borrowed(*one),
                _ => Cow::Owned(texts.join("\n")),
            }
        }
        _ => Cow::Borrowed(""),
    }
}

/// What is asked, and everything the model reads.
#[derive(Debug, Clone)]
pub(super) struct Prompt<'a> {
    /// The last thing the user says.
    pub(super) question: Cow<'a, str>,
    /// Instructions and all messages.
    pub(super) whole: Cow<'a, str>,
}

/// Reads messages: `{role, content}`.
pub(super) fn messages<'a>(instructions: Option<&'a str>, messages: &'a [Value]) -> Option<Prompt<'a>> {
    let content = |message: &'a Value| text_of(message.get("content").unwrap_or(&Value::Null));
    let role = |message: &Value, wanted: &str| message.get("role").and_then(Value::as_str) == Some(wanted);
    let question = messages.iter().rev().find(|message| role(message, "user")).or(messages.last()).map(content)?;
    let whole = if instructions.is_none() && messages.len() == 1 {
        question.clone()
    } else {
        let mut whole = instructions.unwrap_or("").to_owned();
        for message in messages {
            whole.push_str("\n\n");
            whole.push_str(&content(message));
        }
        Cow::Owned(whole)
    };
    Some(Prompt { question, whole })
}

/// A JSON schema format: name and schema. `format` is `{type: json_schema, name, schema}` or holds it under `json_schema`.
pub(super) fn json_schema<'a>(format: Option<&'a Value>, param: &str) -> Result<Option<(&'a str, &'a Value)>, Reply> {
    let Some(format) = format.filter(|format| !format.is_null()) else { return Ok(None) };
    match format.get("type").and_then(Value::as_str) {
        Some("json_schema") => {}
        Some("text" | "json_object") => return Ok(None),
        _ => return Err(invalid(&format!("Invalid value for '{param}.type'."), Some(param), Some("invalid_value"))),
    }
    let inner = format.get("json_schema").unwrap_or(format);
    let name = inner.get("name").and_then(Value::as_str).unwrap_or("");
    if !schema::valid_name(name) {
        let message = format!("Invalid '{param}.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.");
        return Err(invalid(&message, Some(param), Some("invalid_value")));
    }
    let Some(definition) = inner.get("schema").filter(|schema| schema.is_object()) else {
        return Err(invalid(&format!("Missing required parameter: '{param}.schema'."), Some(param), Some("missing_required_parameter")));
    };
    if inner.get("strict").and_then(Value::as_bool) == Some(true)
        && let Err(reason) = schema::check_openai(definition)
    {
        let message = format!("Invalid schema for response_format '{name}': {reason}");
        return Err(invalid(&message, Some(param), Some("invalid_json_schema")));
    }
    Ok(Some((name, definition)))
}

/// Tokens of a text: four characters each.
pub(super) fn tokens(characters: usize) -> u64 {
    characters.div_ceil(4) as u64
}
