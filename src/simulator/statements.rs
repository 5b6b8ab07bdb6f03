//! A comparison written from a table of figures: what a language model would say of numbers it is shown. Works from the rows
//! that stand in the prompt and from the names of the schema's properties, and now and then says something that the table does
//! not hold. Knows no prompt of anybody, and nothing of how such a comparison is checked.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::rng::Rng;
use super::structured::{Shape, shape};

/// Most sentences of each kind.
const MOST: usize = 8;

/// A figure of the table: a JSON object on a line of its own.
#[derive(Debug, Clone)]
struct Row {
    name: String,
    value: f64,
    interval: Option<(f64, f64)>,
    /// The first rank is the best one.
    rank: bool,
}

/// What is to be said, before it takes the schema's form.
#[derive(Debug, Clone, Default)]
struct Said {
    id: String,
    text: String,
    relation: &'static str,
    left: String,
    right: Option<String>,
    /// Metric and value.
    cited: Vec<(String, f64)>,
    /// Place among all sentences, agreements first, and id of what it rests on.
    rests_on: Vec<(usize, String)>,
}

/// The comparison under this schema, and the sentences that are not true; `None`: the schema asks for none, or there is no table.
pub(crate) fn compare(data: &str, schema: &Value, key: u64, rate: f64) -> Option<(Value, Vec<String>)> {
    let rows = rows(data);
    let properties = schema.get("properties").and_then(Value::as_object)?;
    let cites = |node: &Value| {
        let items = shape(schema, node).node.get("items").map(|items| shape(schema, items));
        let inner = items.and_then(|items| items.node.get("properties").and_then(Value::as_object));
        inner.is_some_and(|inner| inner.keys().any(|name| has(name, &["metric", "evidence"])))
    };
    if rows.is_empty() || !properties.values().any(cites) {
        return None;
    }
    let mut rng = Rng::new(key, "statements");
    let (mut agreements, mut disagreements) = compared(&rows);
    let mut wrong = Vec::new();
    for said in agreements.iter_mut().chain(&mut disagreements) {
        if rng.chance(rate) {
            falsify(said, &mut rng);
            wrong.push(said.text.clone());
        }
    }
    let mut actions = actions(&agreements, &disagreements);
    for said in &mut actions {
        if rng.chance(rate) {
            said.text.push_str(" It will add 37 points within 3 months.");
            wrong.push(said.text.clone());
        }
    }
    let mut made = Map::new();
    for (name, node) in properties {
        let plain = name.to_lowercase();
        let said = if plain.contains("disagree") || plain.contains("differ") {
            &disagreements
        } else if plain.contains("agree") {
            &agreements
        } else if has(&plain, &["action", "recommend", "step"]) {
            &actions
        } else {
            made.insert(name.clone(), Value::Array(Vec::new()));
            continue;
        };
        let items = shape(schema, node).node.get("items").unwrap_or(&Value::Null);
        made.insert(name.clone(), said.iter().map(|said| form(schema, items, said)).collect());
    }
    Some((Value::Object(made), wrong))
}

fn has(name: &str, parts: &[&str]) -> bool {
    let name = name.to_lowercase();
    parts.iter().any(|part| name.contains(part))
}

fn rows(data: &str) -> Vec<Row> {
    let read = |line: &str| {
        let value: Value = serde_json::from_str(line.trim().trim_end_matches(',')).ok()?;
        let fields = value.as_object()?;
        let name = ["metric", "path", "key", "name"].iter().find_map(|name| fields.get(*name)?.as_str())?.to_owned();
        let interval = fields.get("interval").and_then(Value::as_array);
        let bound = |at: usize| interval.and_then(|bounds| bounds.get(at)).and_then(Value::as_f64);
        let rank = fields.get("unit").and_then(Value::as_str).is_some_and(|unit| unit.contains("rank"));
        Some(Row { rank, name, value: fields.get("value")?.as_f64()?, interval: bound(0).zip(bound(1)) })
    };
    data.lines().filter(|line| line.trim_start().starts_with('{')).filter_map(read).collect()
}

/// What agrees and what does not. Rows are compared when the first and the last part of their names are the same.
fn compared(rows: &[Row]) -> (Vec<Said>, Vec<Said>) {
    let mut families: BTreeMap<(&str, &str), Vec<&Row>> = BTreeMap::new();
    for row in rows {
        let (Some((head, _)), Some((_, tail))) = (row.name.split_once('.'), row.name.rsplit_once('.')) else { continue };
        families.entry((head, tail)).or_default().push(row);
    }
    let (mut agreements, mut disagreements) = (Vec::new(), Vec::new());
    for mut family in families.into_values().filter(|family| family.len() > 1) {
        family.sort_by(|first, second| second.value.total_cmp(&first.value));
        if let Some(best) = if family.iter().any(|row| row.rank) { family.last() } else { family.first() } {
            let text = format!("{} stands first with {}.", best.name, best.value);
            agreements.push(said(text, "top", best, None));
        }
        for (first, second) in family.iter().zip(family.iter().skip(1)) {
            let apart = match (first.interval, second.interval) {
                (Some((low, _)), Some((_, high))) => low > high,
                _ => first.value > second.value,
            };
            let (left, right) = (format!("{} ({})", first.name, first.value), format!("{} ({})", second.name, second.value));
            if apart {
                disagreements.push(said(format!("{left} is above {right}."), "higher", first, Some(second)));
            } else {
                agreements.push(said(format!("{left} and {right} cannot be told apart."), "equal", first, Some(second)));
            }
        }
    }
    for row in rows.iter().filter(|row| row.value == 0.0) {
        agreements.push(said(format!("{} was not seen at all.", row.name), "absent", row, None));
    }
    for (list, letter) in [(&mut agreements, 'a'), (&mut disagreements, 'd')] {
        list.truncate(MOST);
        for (said, number) in list.iter_mut().zip(1..) {
            said.id = format!("{letter}{number}");
        }
    }
    (agreements, disagreements)
}

fn said(text: String, relation: &'static str, left: &Row, right: Option<&&Row>) -> Said {
    let mut cited = vec![(left.name.clone(), left.value)];
    cited.extend(right.map(|right| (right.name.clone(), right.value)));
    Said { text, relation, left: left.name.clone(), right: right.map(|right| right.name.clone()), cited, ..Said::default() }
}

fn actions(agreements: &[Said], disagreements: &[Said]) -> Vec<Said> {
    let because = |(said, at): (&Said, usize)| Said {
        id: format!("r{}", at + 1),
        text: format!("Look into what lies behind {}.", said.left),
        cited: said.cited.clone(),
        rests_on: vec![(at, said.id.clone())],
        ..Said::default()
    };
    // Disagreements first, as a model would that was not listening.
    let from = agreements.len();
    let first = disagreements.iter().zip(from..).take(2).map(because);
    first.chain(agreements.iter().zip(0..).take(2).map(because)).collect()
}

fn falsify(said: &mut Said, rng: &mut Rng) {
    match rng.below(5) {
        0 => {
            if let Some((_, value)) = said.cited.first_mut() {
                *value += 7.3;
            }
        }
        1 => {
            if let Some((name, _)) = said.cited.first_mut() {
                name.push_str("Depth");
                said.left.clone_from(name);
            }
        }
        2 => said.cited.clear(),
        3 => said.relation = if said.relation == "higher" { "lower" } else { "higher" },
        _ => said.text.push_str(" That is 93.7 percent of the market."),
    }
}

/// An object of the schema filled with what is said.
fn form(root: &Value, node: &Value, said: &Said) -> Value {
    let mut made = Map::new();
    for (name, child) in shape(root, node).node.get("properties").and_then(Value::as_object).into_iter().flatten() {
        made.insert(name.clone(), field(root, name, child, said));
    }
    Value::Object(made)
}

fn field(root: &Value, name: &str, node: &Value, said: &Said) -> Value {
    let Shape { node, kind, nullable } = shape(root, node);
    let items = node.get("items").unwrap_or(&Value::Null);
    match kind {
        "array" if has(name, &["rest", "because", "basis"]) => {
            let whole = shape(root, items).kind != "string";
            said.rests_on.iter().map(|(at, id)| if whole { json!(at) } else { json!(id) }).collect()
        }
        "array" if has(name, &["metric", "evidence"]) => {
            said.cited.iter().map(|(metric, value)| cited(root, items, metric, *value)).collect()
        }
        "array" if has(name, &["claim", "relation"]) => json!([form(root, items, said)]),
        "array" => json!([]),
        "object" => form(root, node, said),
        "string" => match node.get("enum").and_then(Value::as_array) {
            Some(choices) => {
                choices.iter().find(|choice| *choice == said.relation).or(choices.first()).cloned().unwrap_or_default()
            }
            None if has(name, &["left", "subject"]) => json!(said.left),
            None if has(name, &["right", "object"]) => match &said.right {
                Some(right) => json!(right),
                None if nullable => Value::Null,
                None => json!(""),
            },
            None if name == "id" => json!(said.id),
            None if has(name, &["impact", "effect"]) => json!("More answers that name the organisation."),
            None => json!(said.text),
        },
        "integer" | "number" => json!(0),
        "boolean" => json!(false),
        _ => Value::Null,
    }
}

fn cited(root: &Value, items: &Value, metric: &str, value: f64) -> Value {
    let mut made = Map::new();
    for (name, child) in shape(root, items).node.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let number = matches!(shape(root, child).kind, "number" | "integer");
        made.insert(name.clone(), if number { json!(value) } else { json!(metric) });
    }
    if made.is_empty() { json!(metric) } else { Value::Object(made) }
}
