//! The conversation with a language model: what schemas and prompts share, reading a JSON reply that may come wrapped.
//!
//! Sends nothing and trusts nothing: every field read here is checked by the module that asked for it.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorKind, Result};

/// A strict schema: every property required, no other allowed.
pub(super) fn strict_object(properties: Value) -> Value {
    let names: Vec<String> = properties.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default();
    json!({"type": "object", "properties": properties, "required": names, "additionalProperties": false})
}

/// The schema of a list of strings.
pub(super) fn string_list(description: &str) -> Value {
    json!({"type": "array", "items": {"type": "string"}, "description": description})
}

/// The org by its names, the first one apart. JSON strings: a name cannot break out of its line.
pub(super) fn introduced(names: &[String]) -> String {
    let (name, others) = names.split_first().map_or(("", names), |(name, others)| (name.as_str(), others));
    format!("The organisation: {}\nAlso written: {}", json!(name), json!(others))
}

/// Reads the first JSON object of a reply: a Markdown fence or words around it, and anything after it, are ignored.
///
/// # Errors
/// [`ErrorKind::Semantic`] when there is no object of the expected shape, with a bounded excerpt beside the message. The message
/// itself holds no word of the reply: it goes into the prompt of the repair, where words of a stranger have no place.
pub(super) fn parse<T: DeserializeOwned>(reply: &str, what: &str) -> Result<T> {
    let start = reply.find('{').and_then(|start| reply.get(start..)).unwrap_or_default();
    match serde_json::Deserializer::from_str(start).into_iter::<Map<String, Value>>().next() {
        Some(Ok(object)) => serde_json::from_value(Value::Object(object))
            .map_err(|_| unusable(what, "a field is missing or is not of the type that the schema asks for", reply)),
        // Of the category and the place only: an error of the parser may quote what it has read.
        Some(Err(error)) => {
            let end = if error.is_eof() { "it ends too early" } else { "it is no valid JSON" };
            Err(unusable(what, &format!("{end} (line {}, column {})", error.line(), error.column()), reply))
        }
        None => Err(unusable(what, "no JSON object in it", reply)),
    }
}

/// The error of a reply that cannot be used; `why` in our own words.
pub(super) fn unusable(what: &str, why: &str, reply: &str) -> Error {
    Error::new(ErrorKind::Semantic, format!("the model's {what} cannot be used: {why}")).with_body(reply.as_bytes())
}

/// A value that may be a list, a single string or nothing.
pub(super) fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        Value::String(_) => std::slice::from_ref(value),
        _ => &[],
    }
}

/// The strings of a list that may be null, a single string, or hold other things.
pub(super) fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        Value::String(text) => vec![text],
        _ => Vec::new(),
    }
}
