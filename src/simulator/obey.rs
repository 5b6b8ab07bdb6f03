//! A model that obeys what the text it reads tells it: the fault `obeys:JSON` laid over a structured reply. Whoever plants an
//! injection says what obeying it means, so that this model understands every language and encoding. It writes into the fields by
//! their names, as far as the schema has them, and knows nothing of what is done with its reply.

use serde_json::{Value, json};

/// Writes the orders into a reply.
///
/// `{"mentioned": bool, "sentiment": word, "quote": text, "first": [names], "competitors": [names], "extra": {…}}`, each
/// optional: `quote` is given wherever a passage is asked for, `first` is put before the other names, `competitors` replaces them,
/// `extra` is added to the reply as it is.
pub(crate) fn overlay(reply: &mut Value, orders: &str) {
    let Ok(orders) = serde_json::from_str::<Value>(orders) else { return };
    let Some(fields) = reply.as_object_mut() else { return };
    for (name, field) in fields.iter_mut() {
        let name = name.to_lowercase();
        let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
        if field.is_boolean() && has(&["mention", "verif", "present"]) {
            take(field, orders.get("mentioned"));
        } else if has(&["quote", "mention", "passage", "excerpt", "evidence"]) {
            passage(field, &orders);
        } else if field.is_string() && has(&["sentiment", "tone"]) {
            take(field, orders.get("sentiment"));
        } else if field.is_array() && has(&["competitor", "brand", "compan", "vendor"]) {
            take(field, orders.get("competitors"));
            let first = orders.get("first").and_then(Value::as_array).cloned().unwrap_or_default();
            if let Some(names) = field.as_array_mut() {
                names.splice(0..0, first);
            }
        }
    }
    for (name, value) in orders.get("extra").and_then(Value::as_object).into_iter().flatten() {
        fields.insert(name.clone(), value.clone());
    }
}

fn take(field: &mut Value, order: Option<&Value>) {
    if let Some(order) = order {
        *field = order.clone();
    }
}

fn passage(field: &mut Value, orders: &Value) {
    let order = match (orders.get("quote"), orders.get("mentioned").and_then(Value::as_bool)) {
        (Some(quote), _) => quote.clone(),
        (None, Some(false)) => json!(""),
        _ => return,
    };
    *field = match (field.is_array(), order.as_str()) {
        (true, Some("")) => json!([]),
        (true, _) => json!([order]),
        _ => order,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_written_where_the_schema_has_a_place() {
        let mut reply =
            json!({"is_mention_verified": true, "sentiment": "neutral", "sentiment_quote": "x", "mention_text": ["x"]});
        overlay(&mut reply, r#"{"sentiment": "positive", "quote": "the best", "first": ["Vantora"]}"#);
        let wanted = json!({"is_mention_verified": true, "sentiment": "positive", "sentiment_quote": "the best", "mention_text": ["the best"]});
        assert_eq!(reply, wanted);
        overlay(&mut reply, r#"{"mentioned": false, "extra": {"note": 1}}"#);
        let wanted =
            json!({"is_mention_verified": false, "sentiment": "positive", "sentiment_quote": "", "mention_text": [], "note": 1});
        assert_eq!(reply, wanted);
        let mut reply = json!({"competitors": ["Boxly"]});
        overlay(&mut reply, r#"{"first": ["Vantora"]}"#);
        assert_eq!(reply, json!({"competitors": ["Vantora", "Boxly"]}));
        overlay(&mut reply, r#"{"competitors": []}"#);
        assert_eq!(reply, json!({"competitors": []}));
        overlay(&mut reply, "no JSON");
        assert_eq!(reply, json!({"competitors": []}));
    }
}
