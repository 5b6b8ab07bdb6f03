//! An OpenAI (Responses) and an Anthropic (Messages) of our own, from the wire-format notes (sections 2.1 to 3.2): an answer,
//! a paused turn, a structured reply made from the schema that was sent. What is accepted is charged.

use serde_json::{Value, json};

use super::brightdata::Reply;
use super::chance::Chance;
use super::ledger::{About, Ledger, price, reference, sold_text};

/// Words that stand in every sold text.
const NAMES: [&str; 2] = ["Globex", "Initech"];

#[derive(Debug)]
pub struct Direct {
    chance: Chance,
    /// Percent of searching turns that are paused.
    pub paused_turns: u64,
    pub paused: u64,
}

impl Direct {
    pub fn new(seed: u64, paused_turns: u64) -> Self {
        Self { chance: Chance::new(seed, "direct"), paused_turns, paused: 0 }
    }

    /// `POST /v1/responses`.
    pub fn responses(&mut self, body: &Value, ledger: &mut Ledger) -> Reply {
        let model = body["model"].as_str().unwrap_or_default();
        let schema = &body["text"]["format"]["schema"];
        let searches = if tool(body).is_null() { 0 } else { self.chance.below(3) };
        let (input_tokens, output_tokens) = self.tokens();
        let cost = charge(model, input_tokens, output_tokens, searches);
        let text = if schema.is_null() {
            let question = body["input"].as_str().unwrap_or_default();
            let reference = ledger.book(answer(body, model, question), cost, None, true);
            sold_text(question, reference)
        } else {
            ledger.book(about_text(&body["input"]), cost, None, true);
            self.fill(schema).to_string()
        };
        let mut output: Vec<Value> = (0..searches)
            .map(|number| json!({"type": "web_search_call", "id": format!("ws_{number}"), "status": "completed", "action": {"type": "search", "query": "crm"}}))
            .collect();
        output.push(json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": []}]}));
        let usage = json!({"input_tokens": input_tokens, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": input_tokens + output_tokens});
        (
            200,
            json!({"id": "resp_1", "object": "response", "status": "completed", "error": null, "incomplete_details": null,
            "model": format!("{model}-2025-04-14"), "output": output, "usage": usage}),
        )
    }

    /// `POST /v1/messages`.
    pub fn messages(&mut self, body: &Value, ledger: &mut Ledger) -> Reply {
        let model = body["model"].as_str().unwrap_or_default();
        let messages = body["messages"].as_array().cloned().unwrap_or_default();
        let question = messages.first().map(|message| text_of(&message["content"])).unwrap_or_default();
        let searching = !tool(body).is_null();
        let searches = if searching { self.chance.below(3) } else { 0 };
        let (input_tokens, output_tokens) = self.tokens();
        let cost = charge(model, input_tokens, output_tokens, searches);
        let reference = ledger.book(answer(body, model, &question), cost, None, true);
        let pauses = searching && messages.len() < 4 && self.chance.percent(self.paused_turns);
        self.paused += u64::from(pauses);
        let content = if pauses {
            json!([{"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "crm"}},
                {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}])
        } else {
            json!([{"type": "text", "text": sold_text(&question, reference)}])
        };
        let usage = json!({"input_tokens": input_tokens, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
            "output_tokens": output_tokens, "server_tool_use": {"web_search_requests": searches}, "service_tier": "standard"});
        (
            200,
            json!({"id": "msg_1", "type": "message", "role": "assistant", "model": format!("{model}-20250929"), "content": content,
            "stop_reason": if pauses { "pause_turn" } else { "end_turn" }, "stop_sequence": null, "usage": usage}),
        )
    }

    /// Counts whose price is a whole number of micro-dollars with every model.
    fn tokens(&mut self) -> (i64, i64) {
        (self.chance.between(20, 600) as i64 * 5, self.chance.between(10, 300) as i64 * 5)
    }

    /// Something that follows the schema.
    fn fill(&mut self, schema: &Value) -> Value {
        if let Some(values) = schema["enum"].as_array() {
            return self.chance.pick(values).clone();
        }
        match schema["type"].as_str().unwrap_or("string") {
            "object" => {
                let properties = schema["properties"].as_object().cloned().unwrap_or_default();
                properties.iter().map(|(name, schema)| (name.clone(), self.fill(schema))).collect()
            }
            "array" => NAMES.iter().take(self.chance.below(3) as usize).map(|name| json!(name)).collect(),
            "boolean" => json!(self.chance.percent(80)),
            "integer" | "number" => json!(1),
            _ => json!(NAMES[0]),
        }
    }
}

fn charge(model: &str, input_tokens: i64, output_tokens: i64, searches: u64) -> i64 {
    let (input, output, search) = price(model);
    (input_tokens * input + output_tokens * output) / 10 + search * searches as i64
}

fn tool(body: &Value) -> &Value {
    &body["tools"][0]
}

fn answer(body: &Value, model: &str, question: &str) -> About {
    let country = tool(body)["user_location"]["country"].as_str().unwrap_or_default().to_owned();
    About::Answer { model: model.to_owned(), question: question.to_owned(), country }
}

/// What a structured request is about: the sold text it quotes.
fn about_text(input: &Value) -> About {
    reference(&input.to_string()).map_or(About::Other, |reference| About::Text { reference })
}

fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks.iter().filter_map(|block| block["text"].as_str()).collect(),
        _ => String::new(),
    }
}
