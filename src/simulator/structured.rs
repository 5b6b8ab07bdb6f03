//! Answers under a JSON schema: what a language model would say when it is asked to extract. Works from the answer text
//! found in the prompt and from the names of the schema's properties; knows no prompt of anybody and no provider's form.

use serde_json::{Map, Value, json};

use super::faults::{self, Fault};
use super::obey;
use super::rng::Rng;
use super::sim::Sim;
use super::statements;
use super::subject::{Entity, Subject};
use super::text::Sentiment;
use super::truth::Extraction;
use super::world_data::INVENTED;

/// A structured call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StructuredCall<'a> {
    pub(crate) schema: &'a Value,
    pub(crate) name: &'a str,
    /// The last thing the user says: the data.
    pub(crate) data: &'a str,
    /// Everything the model reads: instructions and messages.
    pub(crate) prompt: &'a str,
    pub(crate) key: u64,
    pub(crate) fault: Option<&'a Fault>,
}

/// The text to give back, and what is wrong with it.
pub(crate) fn answer(sim: &Sim, call: StructuredCall<'_>) -> (String, Extraction) {
    let subject = Subject::read(sim, call.data, call.prompt);
    let rates = &sim.config.rates;
    let mut rng = Rng::new(call.key, "structured");
    let misses = rng.chance(rates.structured_miss);
    let invents_name = rng.chance(rates.structured_invented_name);
    let invents_quote = rng.chance(rates.structured_invented_quote);
    let breaks = rng.chance(rates.structured_broken_json);
    let mut report = Extraction {
        answer: subject.answer.clone(),
        target: subject.target.as_ref().map(|target| target.name.clone()),
        schema: call.name.to_owned(),
        properties: call
            .schema
            .get("properties")
            .and_then(Value::as_object)
            .map(|all| all.keys().cloned().collect())
            .unwrap_or_default(),
        ..Extraction::default()
    };
    let mut focus = subject.focus();
    if misses && focus.mentioned {
        focus.mentioned = false;
        report.missed_mention = true;
    }
    let false_rate = if faults::is(call.fault, "false_statements") { 1.0 } else { rates.false_statements };
    let comparison = statements::compare(call.data, call.schema, call.key, false_rate);
    let mut maker =
        Maker { root: call.schema, subject: &subject, rng, report, misses, invents_name, invents_quote, denied: false };
    let mut value = if faults::is(call.fault, "invalid_schema") {
        json!({"unexpected_property": true})
    } else if let Some((written, wrong)) = comparison {
        maker.report.false_statements = wrong;
        written
    } else {
        maker.object(call.schema, &focus)
    };
    if let Some(fault) = call.fault.filter(|fault| fault.is("obeys")) {
        obey::overlay(&mut value, &fault.argument);
    }
    let denied = maker.denied;
    let mut report = maker.report;
    // A denial that no property of the schema could express did not happen.
    report.missed_mention &= denied;
    let mut text = value.to_string();
    if breaks || faults::is(call.fault, "broken_json") {
        let cut = text.char_indices().nth(text.chars().count() * 6 / 10).map_or(text.len(), |(at, _)| at);
        text.truncate(cut);
        report.broken_json = true;
    }
    report.returned.clone_from(&text);
    (text, report)
}

struct Maker<'a> {
    root: &'a Value,
    subject: &'a Subject,
    rng: Rng,
    report: Extraction,
    misses: bool,
    invents_name: bool,
    invents_quote: bool,
    denied: bool,
}

/// What a schema node allows.
pub(crate) struct Shape<'a> {
    pub(crate) node: &'a Value,
    pub(crate) kind: &'a str,
    pub(crate) nullable: bool,
}

/// What a node of the schema `root` allows, references and choices followed.
pub(crate) fn shape<'a>(root: &'a Value, node: &'a Value) -> Shape<'a> {
    let mut node = node;
    let mut nullable = false;
    for _ in 0..16 {
        if let Some(path) = node.get("$ref").and_then(Value::as_str) {
            node = root.pointer(path.trim_start_matches('#')).unwrap_or(&Value::Null);
            continue;
        }
        let choices = node.get("anyOf").or_else(|| node.get("oneOf")).and_then(Value::as_array);
        let Some(choices) = choices else { break };
        let is_null = |choice: &&Value| choice.get("type").and_then(Value::as_str) == Some("null");
        nullable |= choices.iter().any(|choice| is_null(&choice));
        node = choices.iter().find(|choice| !is_null(choice)).unwrap_or(&Value::Null);
    }
    let kind = match node.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(Value::Array(kinds)) => {
            nullable |= kinds.iter().any(|kind| kind == "null");
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("null")
        }
        _ if node.get("properties").is_some() => "object",
        _ => "string",
    };
    Shape { node, kind, nullable }
}

fn has(name: &str, parts: &[&str]) -> bool {
    parts.iter().any(|part| name.contains(part))
}

impl<'a> Maker<'a> {
    fn shape(&self, node: &'a Value) -> Shape<'a> {
        shape(self.root, node)
    }

    fn object(&mut self, node: &'a Value, focus: &Entity) -> Value {
        let shape = self.shape(node);
        let mut made = Map::new();
        for (name, child) in shape.node.get("properties").and_then(Value::as_object).into_iter().flatten() {
            made.insert(name.clone(), self.value(name, child, focus));
        }
        Value::Object(made)
    }

    fn value(&mut self, name: &str, node: &'a Value, focus: &Entity) -> Value {
        let plain: String = name.chars().filter(|character| character.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        let shape = self.shape(node);
        if let Some(fixed) = shape.node.get("const") {
            return fixed.clone();
        }
        match shape.kind {
            "object" => self.object(node, focus),
            "array" => self.array(&plain, &shape, focus),
            "boolean" => self.boolean(&plain, focus),
            "integer" | "number" => self.number(&plain, &shape, focus),
            "null" => Value::Null,
            _ => self.string(&plain, &shape, focus),
        }
    }

    fn boolean(&mut self, name: &str, focus: &Entity) -> Value {
        if has(name, &["citat", "cited"]) {
            return Value::Bool(focus.mentioned && self.subject.text.contains(&focus.domain) && !focus.domain.is_empty());
        }
        if has(name, &["mention", "verif", "present", "appear", "found", "named"]) {
            self.denied |= !focus.mentioned;
            return Value::Bool(focus.mentioned);
        }
        Value::Bool(has(name, &["recommend", "positive"]) && focus.mentioned && focus.sentiment == Sentiment::Positive)
    }

    fn number(&mut self, name: &str, shape: &Shape<'_>, focus: &Entity) -> Value {
        if has(name, &["rank", "position", "order"]) {
            return if focus.mentioned {
                json!(focus.position)
            } else if shape.nullable {
                Value::Null
            } else {
                json!(0)
            };
        }
        if has(name, &["count", "mentions"]) {
            return json!(if focus.mentioned { focus.quotes.len() } else { 0 });
        }
        let bound = |key: &str| shape.node.get(key).and_then(Value::as_f64);
        let (low, high) = (bound("minimum").unwrap_or(0.0), bound("maximum").unwrap_or(1.0));
        let share = match focus.sentiment {
            _ if !focus.mentioned => 0.0,
            Sentiment::Positive => 0.9,
            Sentiment::Neutral => 0.5,
            Sentiment::Negative => 0.2,
        };
        let number = low + (high - low) * share;
        if shape.kind == "integer" { json!(number.round() as i64) } else { json!(number) }
    }

    fn string(&mut self, name: &str, shape: &Shape<'_>, focus: &Entity) -> Value {
        if let Some(choices) = shape.node.get("enum").and_then(Value::as_array) {
            return self.choice(choices, shape.nullable, focus);
        }
        let absent = |nullable: bool| if nullable { Value::Null } else { json!("") };
        let asks_quote = has(name, &["quote", "passage", "excerpt", "snippet"]);
        if !asks_quote && has(name, &["sentiment", "tone", "polarity"]) {
            return if focus.mentioned { json!(focus.sentiment.as_str()) } else { absent(shape.nullable) };
        }
        if has(name, &["reason", "explan", "summary", "rationale", "comment", "insight", "analysis", "narrative", "title"]) {
            return json!(self.remark(focus));
        }
        if asks_quote || has(name, &["mention", "evidence", "text", "sentence"]) {
            return match (focus.mentioned, self.quotes(focus).first()) {
                (true, Some(quote)) => json!(quote),
                _ => absent(shape.nullable),
            };
        }
        if has(name, &["domain", "website", "url"]) {
            return if focus.domain.is_empty() { absent(shape.nullable) } else { json!(focus.domain) };
        }
        if has(name, &["name", "brand", "compan", "competitor", "organi", "product"]) {
            return json!(focus.name);
        }
        json!(self.remark(focus))
    }

    fn remark(&self, focus: &Entity) -> String {
        let count = self.subject.entities.len();
        if focus.mentioned {
            format!(
                "{} is named in a {} way beside {} other names.",
                focus.name,
                focus.sentiment.as_str(),
                count.saturating_sub(1)
            )
        } else {
            format!(
                "The text names {count} brands and says nothing of {}.",
                if focus.name.is_empty() { "the subject" } else { &focus.name }
            )
        }
    }

    fn choice(&self, choices: &[Value], nullable: bool, focus: &Entity) -> Value {
        let word = focus.sentiment.as_str();
        let matching = |wanted: &str| {
            choices.iter().find(|choice| choice.as_str().is_some_and(|choice| choice.to_lowercase().contains(wanted))).cloned()
        };
        if !focus.mentioned {
            if nullable || choices.contains(&Value::Null) {
                return Value::Null;
            }
            let none = ["none", "not_mentioned", "absent", "unknown", "neutral"].iter().find_map(|wanted| matching(wanted));
            return none.or_else(|| choices.first().cloned()).unwrap_or(Value::Null);
        }
        matching(word).or_else(|| choices.first().cloned()).unwrap_or(Value::Null)
    }

    fn quotes(&mut self, focus: &Entity) -> Vec<String> {
        if self.invents_quote && focus.mentioned {
            let invented = format!("{} changed the whole market overnight, say all experts.", focus.name);
            if !self.report.invented_quotes.contains(&invented) {
                self.report.invented_quotes.push(invented.clone());
            }
            return vec![invented];
        }
        focus.quotes.clone()
    }

    fn array(&mut self, name: &str, shape: &Shape<'a>, focus: &Entity) -> Value {
        let items = shape.node.get("items").unwrap_or(&Value::Null);
        let of_strings = self.shape(items).kind == "string";
        let names_org = self.subject.answer.is_none() && self.subject.entities.is_empty();
        if of_strings
            && (has(name, &["variation", "alias", "variant", "spelling"]) || (names_org && has(name, &["name", "form"])))
        {
            return Value::from(self.variations(focus));
        }
        if has(name, &["competitor", "brand", "compan", "organi", "alternative", "product", "vendor", "rival", "name", "entit"]) {
            let entities = self.others();
            return entities
                .iter()
                .map(|entity| if of_strings { json!(entity.name) } else { self.value("item", items, entity) })
                .collect();
        }
        if has(name, &["citation", "source", "url", "link"]) && of_strings {
            return Value::from(self.subject.urls());
        }
        if has(name, &["quote", "mention", "excerpt", "passage", "evidence", "snippet"]) && of_strings {
            return if focus.mentioned { Value::from(self.quotes(focus)) } else { json!([]) };
        }
        let least = shape.node.get("minItems").and_then(Value::as_u64).unwrap_or(0).clamp(0, 8);
        let count = least.max(u64::from(of_strings));
        (0..count).map(|_| self.value("item", items, focus)).collect()
    }

    /// All brands of the text but the target, with this call's mistakes.
    fn others(&mut self) -> Vec<Entity> {
        let target = self.subject.target.as_ref().map(|target| target.name.clone()).unwrap_or_default();
        let mut entities: Vec<Entity> = self.subject.entities.iter().filter(|entity| !entity.is(&target)).cloned().collect();
        if self.misses && !entities.is_empty() {
            let missed = entities.remove(self.rng.below(entities.len()));
            self.report.missed_names.push(missed.name);
        }
        if self.invents_name {
            let name = self.rng.word(INVENTED).to_owned();
            self.report.invented_names.push(name.clone());
            let quotes = vec![format!("{name} is a further option.")];
            let position = entities.len() + 1;
            entities.push(Entity { name, quotes, position, mentioned: true, ..Entity::default() });
        }
        entities
    }

    /// Ways to write the target's name.
    fn variations(&mut self, focus: &Entity) -> Vec<String> {
        let name = focus.name.clone();
        let mut forms = vec![name.clone()];
        forms.extend(focus.variants.iter().cloned());
        forms.push(name.to_lowercase());
        forms.push(name.replace([' ', '&', '.', '!', '+'], ""));
        if !focus.domain.is_empty() {
            forms.push(focus.domain.clone());
        }
        if self.invents_name {
            let invented = self.rng.word(INVENTED).to_owned();
            self.report.invented_names.push(invented.clone());
            forms.push(invented);
        }
        let mut distinct: Vec<String> = Vec::new();
        for form in forms {
            if !form.is_empty() && !distinct.contains(&form) {
                distinct.push(form);
            }
        }
        distinct
    }
}
