//! Properties: no decoder panics, whatever comes; offsets lie on characters of the text; the join does not depend on the order.

use overheard::domain::{Outcome, RunStatus};
use overheard::providers::{Ask, Download, Protocol, Turn, structured_model};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::providers_support::*;

/// JSON values with the keys that the decoders look for.
fn any_json() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "type",
        "text",
        "content",
        "output",
        "status",
        "error",
        "message",
        "annotations",
        "url",
        "start_index",
        "end_index",
        "usage",
        "input_tokens",
        "output_tokens",
        "action",
        "sources",
        "citations",
        "prompt",
        "index",
        "input",
        "answer_text",
        "data",
        "choices",
        "refusal",
        "stop_reason",
        "snapshot_id",
        "id",
        "validation_errors",
        "cited",
        "position",
        "web_search_query",
        "country",
    ]);
    let word = prop::sample::select(vec![
        "message",
        "output_text",
        "url_citation",
        "web_search_call",
        "search",
        "refusal",
        "completed",
        "failed",
        "pause_turn",
        "text",
        "web_search_tool_result",
        "end_turn",
        "ready",
        "https://a.example/#:~:text=%ff,-",
        "Ünïcödé 😀 text",
        "\u{0}",
        "",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..8)
                .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())),
        ]
    })
}

fn offsets_lie_in_the_text(outcome: &Outcome) {
    let length = outcome.text.as_deref().map_or(0, |text| text.chars().count()) as u32;
    for citation in &outcome.citations {
        assert_eq!(citation.start.is_some(), citation.end.is_some());
        if outcome.status == RunStatus::Answered {
            assert!(citation.start <= citation.end && citation.end.is_none_or(|end| end <= length), "{citation:?}");
        }
    }
}

/// Everything that reads a reply, on one reply.
fn decode_everything(status: u16, bytes: &[u8]) {
    let asks = [ask_from("Question number 1?", "US"), ask("Question number 2?")];
    let mut chat = settings();
    chat.openai_chat_completions = true;
    let reply = reply(status, bytes);
    let providers = ["gpt-4.1", "claude-sonnet-4-5", "chatgpt", "perplexity", "gemini"].map(provider);
    let chat = overheard::providers::provider_for("gpt-4.1", &chat).unwrap();
    for provider in providers.iter().chain([&chat]) {
        match provider.protocol() {
            Protocol::Direct(side) => {
                if let Ok(Turn::Done(outcome)) = side.decode(&asks[0], std::slice::from_ref(&reply)) {
                    offsets_lie_in_the_text(&outcome);
                }
                let _ = side.error(&reply);
            }
            Protocol::Snapshot(side) => {
                let _ = (
                    side.decode_trigger(&reply),
                    side.decode_progress(&reply),
                    side.decode_list(&reply),
                    side.error(&asks, &reply),
                );
                let _ = side.match_inputs(&asks, &reply);
                if let Ok(Download::Rows { outcomes, .. }) = side.decode_download(&asks, &reply) {
                    assert_eq!(outcomes.len(), asks.len());
                }
            }
            Protocol::Host(name) => panic!("{name}"),
        }
    }
    for model in ["gpt-4.1-mini", "claude-haiku-4-5"] {
        let model = structured_model(model, &settings()).unwrap();
        let _ = (model.decode(&reply), model.charge(&reply), model.error(&reply));
    }
}

fn every_sample() -> Vec<String> {
    let root = format!("{}/tests/fixtures", env!("CARGO_MANIFEST_DIR"));
    let folders = ["openai", "anthropic", "brightdata"].map(|folder| std::fs::read_dir(format!("{root}/{folder}")).unwrap());
    let samples: Vec<_> =
        folders.into_iter().flatten().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    assert!(samples.len() >= 20);
    samples
}

/// What a cell got: status, text, code of its error.
type Got = (RunStatus, Option<String>, Option<String>);

/// The cells of the join, and the number of foreign rows.
fn joined(asks: &[Ask], rows_sent: &[Value]) -> (Vec<Got>, usize) {
    let (outcomes, received, foreign) = rows(provider("chatgpt").as_ref(), asks, &reply_json(200, &json!(rows_sent)));
    assert_eq!(received, rows_sent.len());
    let brief = |outcome: Outcome| (outcome.status, outcome.text, outcome.error.and_then(|error| error.context.code));
    (outcomes.into_iter().map(brief).collect(), foreign)
}

/// Rows for up to six asks, two of them with the same prompt: indexed, by input, by prompt, errors, foreign.
fn any_rows() -> impl Strategy<Value = Vec<Value>> {
    let one = (0usize..8, 0usize..6, 0u32..1_000_000).prop_map(|(number, kind, unique)| {
        let prompt = if number == 6 { "Question number 5?".to_owned() } else { format!("Question number {number}?") };
        let answer = format!("Answer {unique} to number {number}.");
        let time = format!("2026-11-21T00:00:00.{unique:06}Z");
        match kind {
            0 => json!({"index": number, "answer_text": answer, "timestamp": time}),
            1 => json!({"input": {"index": number.to_string()}, "error": "Request timeout", "timestamp": time}),
            2 => json!({"prompt": prompt, "answer_text": answer, "timestamp": time}),
            3 => json!({"input": {"prompt": prompt}, "error": "Auth wall", "timestamp": time}),
            4 => json!({"index": number, "prompt": prompt, "answer_text": "", "timestamp": time}),
            _ => json!({"prompt": "Somebody else's question?", "answer_text": answer, "timestamp": time}),
        }
    });
    prop::collection::vec(one, 0..10).prop_filter("times are unique", |rows| {
        let times: std::collections::HashSet<_> = rows.iter().map(|row| row["timestamp"].to_string()).collect();
        times.len() == rows.len()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_decoder_panics_on_json(value in any_json(), status in prop::sample::select(vec![200u16, 202, 400, 429, 500])) {
        decode_everything(status, value.to_string().as_bytes());
    }

    #[test]
    fn no_decoder_panics_on_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), status in prop::sample::select(vec![200u16, 202, 404])) {
        decode_everything(status, &bytes);
    }

    #[test]
    fn no_decoder_panics_on_broken_samples(cut in 0.0f64..1.0, flip in any::<u8>(), which in any::<prop::sample::Index>()) {
        let samples = every_sample();
        let text = which.get(&samples).as_bytes();
        let end = (text.len() as f64 * cut) as usize;
        decode_everything(200, &text[..end]);
        let mut flipped = text.to_vec();
        if let Some(byte) = flipped.get_mut(end) {
            *byte = flip;
        }
        decode_everything(200, &flipped);
    }

    #[test]
    fn offsets_are_counted_in_characters(blocks in prop::collection::vec((".{0,20}", any::<bool>()), 0..12)) {
        let content: Vec<Value> = blocks
            .iter()
            .map(|(text, cited)| {
                let citations = if *cited { json!([{"url": "https://a.example", "cited_text": "x"}]) } else { json!(null) };
                json!({"type": "text", "text": text, "citations": citations})
            })
            .collect();
        let provider = provider("claude-sonnet-4-5");
        let outcome = decode(provider.as_ref(), &ask("Q?"), &reply_json(200, &json!({"content": content, "stop_reason": "end_turn"})));
        let whole: String = blocks.iter().map(|(text, _)| text.as_str()).collect();
        if !whole.trim().is_empty() {
            prop_assert_eq!(outcome.text.as_deref(), Some(whole.as_str()));
        }
        let cited: Vec<&str> = blocks.iter().filter(|(_, cited)| *cited).map(|(text, _)| text.as_str()).collect();
        let spans: Vec<String> = outcome.citations.iter().map(|citation| span(&whole, citation.start, citation.end)).collect();
        prop_assert_eq!(spans, cited);
    }

    #[test]
    fn the_join_does_not_depend_on_the_order((rows, shuffled) in any_rows().prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle()))) {
        let asks: Vec<Ask> = [1, 2, 3, 4, 5, 5].iter().map(|number| ask(&format!("Question number {number}?"))).collect();
        prop_assert_eq!(joined(&asks, &rows), joined(&asks, &shuffled));
    }

    #[test]
    fn a_row_is_used_at_most_once(rows in any_rows()) {
        let asks: Vec<Ask> = [1, 2, 3, 4, 5, 5].iter().map(|number| ask(&format!("Question number {number}?"))).collect();
        let (cells, foreign) = joined(&asks, &rows);
        let texts: Vec<_> = cells.iter().filter_map(|(_, text, _)| text.as_deref()).collect();
        let different: std::collections::HashSet<_> = texts.iter().collect();
        prop_assert!(different.len() == texts.len() && foreign <= rows.len());
    }
}
