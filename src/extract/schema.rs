//! Holds a model's reply against the schema it was asked under: vendors promise it, and a broken promise is asked again once.
//! Checks form only, and only the words of a strict schema that we send; what the values mean is checked by who asked.

use serde_json::{Map, Value};

use super::reply;
use crate::error::{Error, ErrorKind, Result};

/// Deepest nesting that is looked at; our own schemas have five levels.
const MAX_DEPTH: usize = 32;

/// The JSON object of a reply, when it follows the schema: types, required and unknown properties, `enum`, `anyOf`.
///
/// # Errors
/// [`ErrorKind::Semantic`] naming the first place that does not.
pub fn conforming(text: &str, schema: &Value) -> Result<Value> {
    let value = Value::Object(reply::parse::<Map<String, Value>>(text, "reply")?);
    match breach(&value, schema, "the reply", 0) {
        None => Ok(value),
        Some(why) => {
            let why: String = why.chars().take(200).collect();
            Err(Error::new(ErrorKind::Semantic, format!("the model's reply breaks the schema: {why}")).with_body(text.as_bytes()))
        }
    }
}

/// The first breach, in words; `None`: there is none.
fn breach(value: &Value, schema: &Value, place: &str, depth: usize) -> Option<String> {
    if depth > MAX_DEPTH {
        return Some(format!("{place} is nested too deeply"));
    }
    if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
        let fits = choices.iter().any(|choice| breach(value, choice, place, depth + 1).is_none());
        return (!fits).then(|| format!("{place} is none of what is allowed"));
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        return Some(format!("{place} is none of the words that are allowed"));
    }
    if let Some(wanted) = schema.get("type")
        && !is_of(value, wanted)
    {
        return Some(format!("{place} is not of type {wanted}"));
    }
    match value {
        Value::Object(fields) => object_breach(fields, schema, place, depth),
        Value::Array(items) => {
            let wanted = schema.get("items")?;
            items
                .iter()
                .zip(0..)
                .find_map(|(item, number): (_, usize)| breach(item, wanted, &format!("{place}[{number}]"), depth + 1))
        }
        _ => None,
    }
}

fn object_breach(fields: &Map<String, Value>, schema: &Value, place: &str, depth: usize) -> Option<String> {
    let properties = schema.get("properties").and_then(Value::as_object)?;
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    if let Some(missing) = required.into_iter().find(|name| !fields.contains_key(*name)) {
        return Some(format!("{place} lacks '{missing}'"));
    }
    let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
    fields.iter().find_map(|(name, value)| match properties.get(name) {
        Some(wanted) => breach(value, wanted, &format!("{place}.{name}"), depth + 1),
        None => closed.then(|| format!("{place} has a property that is not asked for")),
    })
}

fn is_of(value: &Value, wanted: &Value) -> bool {
    match wanted {
        Value::Array(types) => types.iter().any(|each| is_of(value, each)),
        Value::String(name) => match name.as_str() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "null" => value.is_null(),
            _ => true,
        },
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        let item = json!({"type": "object", "additionalProperties": false, "required": ["word", "number"], "properties": {
            "word": {"type": "string", "enum": ["up", "down"]},
            "number": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        }});
        json!({"type": "object", "additionalProperties": false, "required": ["items"], "properties": {
            "items": {"type": "array", "items": item},
        }})
    }

    fn why(text: &str) -> String {
        conforming(text, &schema()).map_or_else(|error| error.message, |value| value.to_string())
    }

    #[test]
    fn takes_what_follows_the_schema_with_words_around_it() {
        let text =
            "Here it is:\n```json\n{\"items\": [{\"word\": \"up\", \"number\": null}, {\"word\": \"down\", \"number\": 2}]}\n```";
        assert_eq!(why(text), r#"{"items":[{"number":null,"word":"up"},{"number":2,"word":"down"}]}"#);
    }

    #[test]
    fn names_the_place_of_a_breach() {
        for (text, wanted) in [
            ("no object at all", "no JSON object"),
            (r#"{"items": ["#, "cannot be used"),
            (r#"{"unexpected_property": true}"#, "lacks 'items'"),
            (r#"{"items": [], "more": 1}"#, "not asked for"),
            (r#"{"items": {}}"#, "the reply.items is not of type \"array\""),
            (r#"{"items": [{"word": "sideways", "number": 1}]}"#, "the reply.items[0].word is none of the words"),
            (r#"{"items": [{"word": "up", "number": "1"}]}"#, "the reply.items[0].number is none of what is allowed"),
        ] {
            assert!(why(text).contains(wanted), "{text}: {}", why(text));
        }
    }

    proptest! {
        /// Whatever a model says is taken or refused, and what is taken has the form.
        #[test]
        fn any_text_is_taken_or_refused(text in "[{}\\[\\]\":,a-z0-9. ]{0,200}") {
            if let Ok(value) = conforming(&text, &schema()) {
                prop_assert!(value.get("items").is_some_and(Value::is_array));
            }
        }
    }
}
