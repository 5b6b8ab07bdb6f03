//! Rows of a snapshot: what becomes of each input, the record each scraper makes of an answer, error rows, and the faults of
//! rows. No HTTP, no state: a row is a pure function of its key.

use serde_json::{Map, Value, json};
use unicode_normalization::UnicodeNormalization;

use super::super::faults::Fault;
use super::super::render::{self, Rendered, Style, tracked_url};
use super::super::rng::{self, Rng};
use super::super::serve::{self, Facts, Kind};
use super::super::sim::{Asked, Call, Sim};
use super::super::text::Answer;
use super::super::time::rfc3339;
use super::super::truth::Served;
use super::engines::Engine;
use super::snapshots::Snapshot;

/// What becomes of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A record.
    Answer,
    /// A record whose text declines.
    Refusal,
    /// A sign-up wall; free.
    AuthWall,
    /// A crawler error; free.
    Failure,
    /// Cut by a cancel; free.
    Aborted,
    /// No row at all; free.
    Missing,
}

impl Outcome {
    /// A delivered record.
    pub(super) fn charged(self) -> bool {
        matches!(self, Self::Answer | Self::Refusal)
    }

    /// A row that says what went wrong.
    pub(super) fn is_error(self) -> bool {
        matches!(self, Self::AuthWall | Self::Failure | Self::Aborted)
    }
}

/// An input and its fate.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(super) input: Value,
    pub(super) key: u64,
    pub(super) occurrence: u32,
    pub(super) outcome: Outcome,
}

impl Row {
    /// The question.
    pub(super) fn prompt(&self) -> &str {
        self.input.get("prompt").and_then(Value::as_str).unwrap_or("")
    }

    fn country(&self) -> Option<&str> {
        self.input.get("country").and_then(Value::as_str).filter(|code| !code.is_empty())
    }

    /// True when the download of its snapshot is late.
    pub(super) fn late(&self, rate: f64) -> bool {
        Rng::new(self.key, "late ready").chance(rate)
    }

    /// Rows finish one after another; those after the cancel are aborted.
    pub(super) fn abort_after(&mut self, passed: u64, total: u64) {
        let finished = (total as f64 * (0.3 + 0.7 * Rng::new(self.key, "finish").unit())) as u64;
        if finished > passed {
            self.outcome = Outcome::Aborted;
        }
    }
}

/// Decides the fate of an input.
pub(super) fn plan(sim: &Sim, engine: Engine, input: Value) -> Row {
    let mut row = Row { input, key: 0, occurrence: 0, outcome: Outcome::Answer };
    let asked = Asked { engine: engine.name(), prompt: row.prompt(), country: row.country() };
    let (key, occurrence) = sim.ask(asked);
    let rates = &sim.config.rates;
    let mut rng = Rng::new(key, "row");
    let (wall, failure, lost, refusal) =
        (rng.chance(rates.auth_wall), rng.chance(rates.error_row), rng.chance(rates.missing_row), rng.chance(rates.refusal));
    row.outcome = match () {
        () if wall => Outcome::AuthWall,
        () if failure => Outcome::Failure,
        () if lost => Outcome::Missing,
        () if refusal => Outcome::Refusal,
        () => Outcome::Answer,
    };
    row.key = key;
    row.occurrence = occurrence;
    row
}

/// Faults of a trigger that change fates, and so what is charged.
pub(super) fn apply_at_trigger(rows: &mut [Row], fault: &Fault) {
    let all = usize::MAX;
    let (outcome, count) = match fault.name {
        "error_rows" => (Outcome::Failure, fault.number(0).map_or(all, |count| usize::try_from(count).unwrap_or(all))),
        "auth_wall_all" => (Outcome::AuthWall, all),
        "drop_rows" => (Outcome::Missing, usize::try_from(fault.number(0).unwrap_or(1)).unwrap_or(1)),
        "refusal" => (Outcome::Refusal, all),
        _ => return,
    };
    rows.iter_mut().take(count).for_each(|row| row.outcome = outcome);
}

struct Made {
    answer: Answer,
    rendered: Rendered,
    words: &'static str,
    searched: bool,
}

fn make(sim: &Sim, engine: Engine, row: &Row) -> Made {
    let asked = Asked { engine: engine.name(), prompt: row.prompt(), country: row.country() };
    let mut rng = Rng::new(row.key, "record");
    let words = serve::refusal(&mut rng);
    let allowed = row.input.get("web_search").and_then(Value::as_bool) != Some(false);
    let searched = allowed && !rng.chance(sim.config.rates.no_search);
    let answer = if row.outcome == Outcome::Answer { sim.compose(row.key, asked, searched) } else { Answer::default() };
    let rendered = render::render(&sim.world, &answer, engine.style(), usize::MAX);
    Made { answer, rendered, words, searched }
}

/// Notes the truth of a row, once, when its snapshot is settled.
pub(super) fn note(sim: &Sim, snapshot: &Snapshot, row: &Row) {
    if !sim.config.record {
        return;
    }
    let engine = snapshot.engine;
    if !row.outcome.charged() {
        let status = if row.outcome == Outcome::Missing || !snapshot.include_errors { "missing_row" } else { "error_row" };
        sim.truth().served(Served {
            id: serve::answer_id(row.key),
            endpoint: "brightdata.snapshot",
            engine: engine.name(),
            model: engine.name().to_owned(),
            country: row.country().map(str::to_owned),
            prompt: row.prompt().to_owned(),
            occurrence: row.occurrence,
            text: String::new(),
            mentions: Vec::new(),
            absences: Vec::new(),
            citations: Vec::new(),
            status,
        });
        return;
    }
    let made = make(sim, engine, row);
    let call = Call { sim, endpoint: "brightdata.snapshot", started_ms: 0, batch: false, fault: None };
    let facts = Facts {
        engine: engine.name(),
        model: engine.name(),
        prompt: row.prompt(),
        country: row.country(),
        occurrence: row.occurrence,
        style: engine.style(),
    };
    let kind = if row.outcome == Outcome::Refusal { Kind::Refusal(made.words) } else { Kind::Answer };
    serve::served(call, facts, row.key, &made.answer, &made.rendered, kind, true);
}

/// All rows of a snapshot, in seeded disorder, filtered to the fields asked for.
pub(super) fn all(sim: &Sim, snapshot: &Snapshot) -> Vec<Value> {
    let fault = snapshot.fault.as_ref();
    let mut rows = Vec::with_capacity(snapshot.rows.len());
    for row in &snapshot.rows {
        let outcome = match fault {
            Some(fault) if fault.is("auth_wall_all") => Outcome::AuthWall,
            Some(fault) if fault.is("error_rows") && fault.argument.is_empty() => Outcome::Failure,
            _ => row.outcome,
        };
        match outcome {
            Outcome::Missing => {}
            Outcome::Answer | Outcome::Refusal => rows.push(record(sim, snapshot, row)),
            error if snapshot.include_errors => rows.push(error_row(snapshot, row, error)),
            _ => {}
        }
    }
    let mut rng = Rng::new(rng::hash(snapshot.id.as_bytes()), "order");
    rng.shuffle(&mut rows);
    if let Some(fault) = fault {
        spoil(&mut rows, fault, &mut rng);
    }
    if !snapshot.fields.is_empty() {
        for row in &mut rows {
            if let Some(object) = row.as_object_mut() {
                object.retain(|key, _| snapshot.fields.contains(key));
            }
        }
    }
    rows
}

fn spoil(rows: &mut Vec<Value>, fault: &Fault, rng: &mut Rng) {
    let count = usize::try_from(fault.number(0).unwrap_or(1)).unwrap_or(1);
    let each = |rows: &mut Vec<Value>, change: &dyn Fn(&mut Map<String, Value>)| {
        rows.iter_mut().filter_map(Value::as_object_mut).for_each(change);
    };
    match fault.name {
        "drop_rows" if fault.argument == "all" => rows.clear(),
        "duplicate_rows" => rows.extend(rows.iter().take(count).cloned().collect::<Vec<_>>()),
        "foreign_rows" => rows.extend((0..count).map(|number| {
            let prompt = format!("a question nobody asked {number}");
            json!({"prompt": prompt, "index": 900_000 + number, "answer_text_markdown": "An answer to somebody else's question.", "input": {"prompt": prompt}})
        })),
        "shuffle_rows" => rng.shuffle(rows),
        "changed_echo" => each(rows, &|row| {
            if let Some(Value::String(prompt)) = row.get_mut("prompt") {
                *prompt = prompt.to_uppercase();
            }
        }),
        "no_index" => each(rows, &without_index),
        "decomposed_echo" => each(rows, &|row| {
            without_index(row);
            decompose(row);
            if let Some(Value::Object(input)) = row.get_mut("input") {
                decompose(input);
            }
        }),
        "string_index" => each(rows, &|row| {
            if let Some(index) = row.get_mut("index") {
                *index = Value::String(index.to_string());
            }
        }),
        "empty_answer" => each(rows, &|row| blank(row, "")),
        "sse_only" => each(rows, &|row| {
            row.remove("answer_text");
            row.remove("answer_text_markdown");
            row.insert("response_raw".to_owned(), json!("event: message\ndata: {\"delta\": \"raw stream, not an answer\"}\n\n".repeat(40)));
        }),
        "odd_text" => each(rows, &|row| {
            if let Some(Value::String(text)) = row.get_mut("answer_text_markdown") {
                text.push_str("\n\nOdd: \u{0} \u{202e}abc\u{202c} \u{1F980} e\u{301} \u{FFFD}");
            }
        }),
        "null_citations" => each(rows, &|row| {
            row.insert("citations".to_owned(), Value::Null);
        }),
        "string_citations" => each(rows, &|row| {
            if let Some(Value::Array(citations)) = row.get_mut("citations") {
                citations.iter_mut().for_each(|citation| *citation = citation.get("url").cloned().unwrap_or(Value::Null));
            }
        }),
        "junk_citations" => each(rows, &|row| {
            if let Some(Value::Array(citations)) = row.get_mut("citations") {
                citations.extend([json!({"url": "not a url"}), json!({"title": "no url"}), json!({"url": null}), json!(17)]);
            }
        }),
        _ => {}
    }
}

fn without_index(row: &mut Map<String, Value>) {
    row.insert("index".to_owned(), Value::Null);
    if let Some(Value::Object(input)) = row.get_mut("input") {
        input.remove("index");
    }
}

fn decompose(object: &mut Map<String, Value>) {
    if let Some(Value::String(prompt)) = object.get_mut("prompt") {
        *prompt = prompt.nfd().collect();
    }
}

fn blank(row: &mut Map<String, Value>, text: &str) {
    for field in ["answer_text", "answer_text_markdown"] {
        if row.contains_key(field) {
            row.insert(field.to_owned(), json!(text));
        }
    }
}

/// The input as the scraper echoes it: what was left out comes back as `""`.
fn echo(engine: Engine, row: &Row) -> Value {
    let mut input = row.input.as_object().cloned().unwrap_or_default();
    for field in engine.inputs().iter().filter(|field| matches!(**field, "country" | "additional_prompt")) {
        input.entry((*field).to_owned()).or_insert_with(|| json!(""));
    }
    Value::Object(input)
}

fn error_row(snapshot: &Snapshot, row: &Row, outcome: Outcome) -> Value {
    let mut rng = Rng::new(row.key, "error");
    let (message, code) = match outcome {
        Outcome::AuthWall => ("Auth wall: sign-up prompt detected", rng.word(&["AUTH_WALL", "crawl_failed", "blocked"])),
        Outcome::Aborted => ("Crawl aborted on job cancel", "aborted_page"),
        _ => match rng.below(3) {
            0 => ("Request timeout", ""),
            1 => ("Crawler error: waiting for selector \"main\" failed: timeout 30000ms exceeded", "crawl_failed"),
            _ => ("Browser disconnected", "crawl_failed"),
        },
    };
    let mut value = json!({"timestamp": rfc3339(snapshot.ready_ms), "input": echo(snapshot.engine, row), "error": message});
    if !code.is_empty()
        && let Some(object) = value.as_object_mut()
    {
        object.insert("error_code".to_owned(), json!(code));
    }
    value
}

fn record(sim: &Sim, snapshot: &Snapshot, row: &Row) -> Value {
    let engine = snapshot.engine;
    let made = make(sim, engine, row);
    let refused = row.outcome == Outcome::Refusal;
    let text = if refused { made.words } else { made.rendered.text.as_str() };
    let plain: String = text.replace("**", "").replace("## ", "").replace("# ", "");
    let feedback = engine == Engine::ChatGpt && Rng::new(row.key, "feedback").chance(sim.config.rates.feedback_line);
    let markdown = if feedback { format!("Give feedback\n\n{text}") } else { text.to_owned() };
    let mut value = json!({
        "url": format!("{}/", engine.url()),
        "prompt": row.prompt(),
        "answer_text": plain,
        "answer_text_markdown": markdown,
        "answer_html": format!("<html><body><main>{}</main></body></html>", plain.replace('&', "&amp;").replace('<', "&lt;")),
        "answer_section_html": "<div class=\"markdown\"></div>",
        "response_raw": "event: message\ndata: {\"v\": \"simulated stream\"}\n\n",
        "country": row.country().unwrap_or(""),
        "index": row.input.get("index").cloned().unwrap_or(Value::Null),
        "timestamp": rfc3339(snapshot.ready_ms),
        "input": echo(engine, row),
    });
    if let Some(object) = value.as_object_mut() {
        match engine {
            Engine::ChatGpt => chatgpt(object, &made, row, snapshot),
            Engine::Perplexity => perplexity(object, &made),
            Engine::Gemini => gemini(object, &made),
        }
    }
    value
}

fn put(object: &mut Map<String, Value>, name: &str, value: Value) {
    object.insert(name.to_owned(), value);
}

fn chatgpt(object: &mut Map<String, Value>, made: &Made, row: &Row, snapshot: &Snapshot) {
    let mut citations = Vec::new();
    for link in &made.rendered.links {
        if let Some(source) = made.answer.sources.get(link.source) {
            citations.push(json!({
                "url": link.url, "title": source.title, "description": "", "domain": source.site, "icon": null,
                "cited": true, "position": citations.len() + 1, "answer_position": link.start,
            }));
        }
    }
    for (_, source) in uncited(made) {
        let url = tracked_url(source, Style::ChatGpt, true);
        let position = citations.len() + 1;
        citations.push(json!({"url": url, "title": source.title, "description": "", "domain": source.site, "cited": false, "position": position}));
    }
    let citations = if citations.is_empty() { Value::Null } else { Value::Array(citations) };
    put(object, "citations", citations);
    put(object, "links_attached", links(made));
    let ranked = made.answer.sources.iter().enumerate();
    put(
        object,
        "search_sources",
        ranked.map(|(rank, source)| json!({"url": source.url, "title": source.title, "rank": rank + 1})).collect(),
    );
    put(object, "search_sources_more", json!([]));
    put(object, "model", json!("gpt-5-5"));
    put(object, "web_search", row.input.get("web_search").cloned().unwrap_or(json!(true)));
    put(object, "web_search_triggered", json!(made.searched));
    let queries = match made.answer.queries.as_slice() {
        [one] => json!(one),
        all => json!(all),
    };
    put(object, "web_search_query", queries);
    put(object, "prompt_sent_at", json!(rfc3339(snapshot.created_ms)));
    for name in ["references", "recommendations", "shopping"] {
        put(object, name, json!([]));
    }
    for name in ["is_map", "shopping_visible", "require_sources"] {
        put(object, name, json!(false));
    }
    put(object, "additional_prompt", row.input.get("additional_prompt").cloned().unwrap_or(json!("")));
    put(object, "error", json!(""));
}

fn uncited(made: &Made) -> impl Iterator<Item = (usize, &super::super::text::Source)> {
    let cited = |position: &usize| made.rendered.links.iter().any(|link| link.source == *position);
    made.answer.sources.iter().enumerate().filter(move |(position, _)| !cited(position))
}

fn links(made: &Made) -> Value {
    let own = made.rendered.own_links.iter().map(|url| (url.clone(), "link"));
    let cited = made.rendered.links.iter().map(|link| (link.url.clone(), "source"));
    own.chain(cited)
        .enumerate()
        .map(|(position, (url, text))| json!({"url": url, "text": text, "position": position + 1}))
        .collect()
}

fn perplexity(object: &mut Map<String, Value>, made: &Made) {
    let sources = made.answer.sources.iter().enumerate();
    let listed: Value = sources
        .clone()
        .map(
            |(position, source)| json!({"title": source.title, "url": source.url, "description": null, "position": position + 1}),
        )
        .collect();
    let citations: Value = sources
        .map(|(position, source)| {
            let host = source.url.trim_start_matches("https://").split('/').next().unwrap_or("");
            let position = (position + 1).to_string();
            json!({"url": source.url, "title": source.title, "domain": format!("https://{host}"), "position": position})
        })
        .collect();
    put(object, "sources", listed);
    put(object, "citations", citations);
    put(object, "source_html", json!("<html></html>"));
    put(object, "related_prompts", json!(["What does it cost?", "Which one is easiest to learn?"]));
    put(object, "web_search_query", json!(made.answer.queries));
    put(object, "is_shopping_data", json!(false));
    put(object, "shopping_data", Value::Null);
    put(object, "exported_markdown", Value::Null);
}

fn gemini(object: &mut Map<String, Value>, made: &Made) {
    let mut citations: Vec<Value> = Vec::new();
    let host = |url: &str| url.trim_start_matches("https://").split('/').next().unwrap_or("").to_owned();
    for link in &made.rendered.links {
        if let Some(source) = made.answer.sources.get(link.source) {
            let position = citations.len() + 1;
            citations.push(
                json!({"url": link.url, "title": source.title, "domain": host(&source.url), "cited": true, "position": position}),
            );
        }
    }
    for (_, source) in uncited(made) {
        let url = tracked_url(source, Style::Gemini, true);
        let position = citations.len() + 1;
        citations
            .push(json!({"url": url, "title": source.title, "domain": host(&source.url), "cited": false, "position": position}));
    }
    put(object, "citations", Value::Array(citations));
    put(object, "links_attached", links(made));
    put(object, "sources_not_required", json!(true));
    put(object, "web_search_triggered", json!(made.searched));
    put(object, "additional_prompt", json!(""));
    put(object, "model", json!("Flash-Lite"));
    put(object, "error", json!(""));
}
