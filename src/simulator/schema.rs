//! The vendors' rules for schemas of structured outputs. Checks only; answers nothing.

use serde_json::Value;

/// OpenAI strict mode: objects closed, every property required, the root an object.
pub(crate) fn check_openai(schema: &Value) -> Result<(), String> {
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err("schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'.".to_owned());
    }
    walk(schema, "()", true, 0)
}

/// Anthropic: objects closed; `required` may be partial.
pub(crate) fn check_anthropic(schema: &Value) -> Result<(), String> {
    walk(schema, "()", false, 0)
}

fn walk(node: &Value, context: &str, strict: bool, depth: usize) -> Result<(), String> {
    if depth > 40 {
        return Err(format!("In context={context}, the schema is nested too deeply."));
    }
    let Some(object) = node.as_object() else { return Ok(()) };
    if strict && let Some(word) = ["allOf", "not", "if", "then", "else", "default", "oneOf"].iter().find(|word| object.contains_key(**word)) {
        return Err(format!("In context={context}, '{word}' is not permitted."));
    }
    if let Some(properties) = object.get("properties").and_then(Value::as_object) {
        if object.get("additionalProperties") != Some(&Value::Bool(false)) {
            return Err(format!("In context={context}, 'additionalProperties' is required to be supplied and to be false."));
        }
        let required = object.get("required").and_then(Value::as_array);
        let missing = properties.keys().find(|key| !required.is_some_and(|all| all.iter().any(|name| name == key.as_str())));
        if strict && let Some(missing) = missing {
            return Err(format!(
                "In context={context}, 'required' is required to be supplied and to be an array including every key in properties. Missing '{missing}'."
            ));
        }
        for (name, child) in properties {
            walk(child, &format!("('properties', '{name}')"), strict, depth + 1)?;
        }
    }
    if let Some(items) = object.get("items") {
        walk(items, "('items',)", strict, depth + 1)?;
    }
    for key in ["anyOf", "oneOf"] {
        for child in object.get(key).and_then(Value::as_array).into_iter().flatten() {
            walk(child, &format!("('{key}',)"), strict, depth + 1)?;
        }
    }
    for key in ["$defs", "definitions"] {
        for (name, child) in object.get(key).and_then(Value::as_object).into_iter().flatten() {
            walk(child, &format!("('{key}', '{name}')"), strict, depth + 1)?;
        }
    }
    Ok(())
}

/// The name of a schema: `[A-Za-z0-9_-]{1,64}`.
pub(crate) fn valid_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}
