//! Anthropic: requests as they go out, every sample decoded, paused turns, errors by meaning.

use overheard::ErrorKind;
use overheard::domain::{MicroUsd, RunStatus, StructuredRequest};
use overheard::providers::{Ask, Turn, price_of, provider_for, structured_model};
use serde_json::{Value, json};

use crate::providers_support::*;

const SEARCH: &str = "anthropic/anthropic-web-search.recorded.json";
const PAUSED: &str = "anthropic/anthropic-pause-turn.recorded.trimmed.json";

#[test]
fn a_question_goes_out_unchanged_with_the_search_tool_and_its_cap() {
    let provider = provider("Claude-Sonnet-4-5");
    let request = direct(provider.as_ref()).request(&ask_from("Best CRM for a bakery?", "fr")).unwrap();
    assert_eq!(request.url, "https://api.anthropic.com/v1/messages");
    assert_eq!(
        (&request.headers["x-api-key"], &request.headers["anthropic-version"]),
        (&"test-anthropic-key".parse().unwrap(), &"2023-06-01".parse().unwrap())
    );
    assert!(!format!("{request:?}").contains("test-anthropic-key"), "the key is hidden");
    assert_eq!(
        body(&request),
        json!({
            "model": "claude-sonnet-4-5", "max_tokens": 4000, "messages": [{"role": "user", "content": "Best CRM for a bakery?"}],
            "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 5,
                       "user_location": {"type": "approximate", "country": "FR"}}]
        })
    );
    let plain = Ask { web_search: false, ..ask_from("Q?", "FR") };
    let sent = body(&direct(provider.as_ref()).request(&plain).unwrap());
    assert_eq!(sent, json!({"model": "claude-sonnet-4-5", "max_tokens": 4000, "messages": [{"role": "user", "content": "Q?"}]}));
}

#[test]
fn the_web_search_sample_many_blocks_one_text() {
    let recorded = sample(SEARCH);
    let provider = provider("claude-sonnet-4-5");
    let outcome = decode(provider.as_ref(), &ask_from("Weather?", "US"), &reply_json(200, &recorded["response_body"]));
    assert_eq!((outcome.status, outcome.finish_reason.as_deref()), (RunStatus::Answered, Some("end_turn")));
    let text = outcome.text.as_deref().unwrap();
    assert!(text.contains("- Temperature: 66°F with clear skies\n- Wind: W at 3 mph"), "joined without separators");
    assert_eq!(outcome.served_model.as_deref(), Some("claude-sonnet-4-20250514"));
    assert_eq!((outcome.search_queries.len(), outcome.web_search_triggered), (1, Some(true)));
    assert_eq!(outcome.location_applied.as_deref(), Some("US"));

    let cited: Vec<_> = outcome.citations.iter().filter(|citation| citation.cited == Some(true)).collect();
    assert_eq!(cited.len(), 9);
    let spans: Vec<_> = cited.iter().map(|citation| span(text, citation.start, citation.end)).collect();
    assert_eq!(spans[0], "Temperature: 66°F with clear skies");
    assert_eq!(spans[8], "Winds W at 10 to 20 mph");
    assert_eq!(cited[4].cited_text.as_deref(), Some("Winds W at 10 to 20 mph."));
    let retrieved: Vec<_> = outcome.citations.iter().filter(|citation| citation.cited == Some(false)).collect();
    assert_eq!(retrieved.len(), 10 - 3, "ten results, three pages of them cited");

    let usage = &outcome.usage;
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.searches), (Some(8_984), Some(520), 1));
    assert_eq!(outcome.cost_micro_usd, Some(MicroUsd(44_752)), "8,984 × 3 + 520 × 15, and one search at 0.01");
}

#[test]
fn a_paused_turn_is_continued_with_its_content_unchanged() {
    let parts = sample(PAUSED);
    let provider = provider("claude-sonnet-4-5");
    let ask = ask("Run 15 searches.");
    // With white space inside: the content must travel byte for byte.
    let first = reply(200, serde_json::to_string_pretty(&parts[0]).unwrap());
    let Turn::Continue(request) = direct(provider.as_ref()).decode(&ask, std::slice::from_ref(&first)).unwrap() else {
        panic!("a paused turn must be continued")
    };
    let sent = body(&request);
    assert_eq!(sent["messages"][0], json!({"role": "user", "content": "Run 15 searches."}));
    assert_eq!(sent["messages"][1], json!({"role": "assistant", "content": parts[0]["content"]}));
    let content =
        serde_json::from_slice::<std::collections::HashMap<String, Box<serde_json::value::RawValue>>>(&first.body).unwrap();
    let sent_bytes = String::from_utf8(request.body.to_vec()).unwrap();
    assert!(sent_bytes.contains(content["content"].get()), "byte for byte");
    assert_eq!(sent["tools"][0]["max_uses"], json!(1), "10 searches were made of 5 allowed");

    let second = reply_json(200, &parts[1]);
    let Turn::Done(outcome) = direct(provider.as_ref()).decode(&ask, &[first, second]).unwrap() else { panic!("the turn ended") };
    assert_eq!(outcome.status, RunStatus::Answered);
    assert_eq!(
        outcome.text.as_deref(),
        Some("I'll run these searches for you one at a time. Let me begin:Let me complete the final searches:")
    );
    assert_eq!(outcome.search_queries, ["San Francisco weather today", "latest news events San Francisco this week"]);
    let usage = &outcome.usage;
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.searches), (Some(896_017), Some(2_037), 15));
    let price = price_of("claude-sonnet-4-5", &settings()).unwrap();
    let expected = charged(&price, 401_468, 0, 0, 792, 10) + charged(&price, 494_549, 0, 0, 1_245, 5);
    assert_eq!(outcome.cost_micro_usd, Some(MicroUsd(expected)));
    let lines: Vec<Value> = outcome.raw.split(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect();
    assert_eq!(lines, [parts[0].clone(), parts[1].clone()], "both bodies, one a line");
}

#[test]
fn continuations_are_capped() {
    let mut settings = settings();
    settings.max_continuations = 2;
    let provider = provider_for("claude-sonnet-4-5", &settings).unwrap();
    let part = |text: &str| {
        reply_json(
            200,
            &json!({"content": [{"type": "text", "text": text}], "stop_reason": "pause_turn",
                                "usage": {"input_tokens": 10, "output_tokens": 1}}),
        )
    };
    let replies = [part("a"), part("b"), part("c")];
    for sent in 1..=2 {
        let Turn::Continue(request) = direct(provider.as_ref()).decode(&ask("Q?"), &replies[..sent]).unwrap() else {
            panic!("{sent}")
        };
        assert_eq!(body(&request)["messages"].as_array().unwrap().len(), 1 + sent);
    }
    let Turn::Done(outcome) = direct(provider.as_ref()).decode(&ask("Q?"), &replies).unwrap() else { panic!("capped") };
    assert_eq!((outcome.text.as_deref(), outcome.finish_reason.as_deref()), (Some("abc"), Some("pause_turn")));
    assert_eq!(outcome.usage.input_tokens, Some(30));
}

fn message(content: Value, reason: &str) -> Value {
    json!({"model": "claude-sonnet-4-5", "content": content, "stop_reason": reason,
           "usage": {"input_tokens": 100, "output_tokens": 10, "cache_read_input_tokens": 1_000, "cache_creation_input_tokens": 200}})
}

#[test]
fn refusal_truncation_and_cached_tokens() {
    let provider = provider("claude-sonnet-4-5");
    let outcome_of = |body: Value| decode(provider.as_ref(), &ask("Q?"), &reply_json(200, &body));
    let text = json!([{"type": "text", "text": "I cannot help with that."}]);
    let refused = outcome_of(message(text.clone(), "refusal"));
    assert_eq!((refused.status, refused.text.as_deref()), (RunStatus::Refused, Some("I cannot help with that.")));
    let cut = outcome_of(message(text, "max_tokens"));
    assert_eq!((cut.status, cut.finish_reason.as_deref()), (RunStatus::Answered, Some("max_tokens")));
    let empty = outcome_of(message(json!([]), "max_tokens"));
    assert_eq!((empty.status, empty.text), (RunStatus::NoAnswer, None));
    assert_eq!(empty.usage.input_tokens, Some(1_100), "ours holds the cache reads, not the writes");
    assert_eq!(empty.cost_micro_usd, Some(MicroUsd(1_500)), "100 × 3 + 1,000 × 0.3 + 200 × 3.75 + 10 × 15");
}

#[test]
fn the_error_samples_and_the_rest_of_the_statuses() {
    let provider = provider("claude-sonnet-4-5");
    let error_of = |reply| direct(provider.as_ref()).error(&reply);
    let samples = sample("anthropic/anthropic-error-bodies.json");
    let kinds: Vec<_> = samples
        .as_array()
        .unwrap()
        .iter()
        .take(4)
        .map(|sample| {
            let status = u16::try_from(sample["status"].as_u64().unwrap()).unwrap();
            let error = error_of(reply_json(status, &sample["body"]));
            assert!(error.message.starts_with(&format!("Anthropic API returned status {status}: ")), "{}", error.message);
            assert_eq!(error.context.request_id.as_deref(), sample["body"]["request_id"].as_str());
            error.kind
        })
        .collect();
    assert_eq!(kinds, [ErrorKind::InvalidRequest, ErrorKind::InvalidRequest, ErrorKind::RateLimited, ErrorKind::Overloaded]);

    let typed = |kind: &str, message: &str| json!({"type": "error", "error": {"type": kind, "message": message}});
    let spend = json!({"type": "error", "error": {"type": "rate_limit_error", "message": "x", "details": {"error_code": "enforced_spend_limit_reached"}}});
    for (status, body, kind, charged) in [
        (401, typed("authentication_error", "invalid x-api-key"), ErrorKind::Auth, false),
        (403, typed("permission_error", "x"), ErrorKind::Auth, false),
        (402, typed("billing_error", "x"), ErrorKind::QuotaExhausted, false),
        (429, spend, ErrorKind::QuotaExhausted, false),
        (
            400,
            typed("invalid_request_error", "You have reached your specified API usage limits."),
            ErrorKind::QuotaExhausted,
            false,
        ),
        (
            400,
            typed("invalid_request_error", "Your credit balance is too low to access the API."),
            ErrorKind::QuotaExhausted,
            false,
        ),
        (413, typed("request_too_large", "x"), ErrorKind::InvalidRequest, false),
        (500, typed("api_error", "x"), ErrorKind::Overloaded, true),
        (504, typed("timeout_error", "x"), ErrorKind::Overloaded, true),
        (529, json!("<html>"), ErrorKind::Overloaded, false),
        (307, json!(""), ErrorKind::Protocol, false),
    ] {
        let error = error_of(reply_json(status, &body));
        assert_eq!((error.kind, error.context.maybe_charged), (kind, charged), "{status} {body}");
        assert_eq!(error.message.contains("ANTHROPIC_API_KEY"), matches!(kind, ErrorKind::Auth | ErrorKind::QuotaExhausted));
    }
    let overloaded = typed("overloaded_error", "Overloaded");
    let error = direct(provider.as_ref()).decode(&ask("Q?"), &[reply_json(200, &overloaded)]).unwrap_err();
    assert_eq!((error.kind, error.context.status_code), (ErrorKind::Overloaded, Some(200)), "an error inside a 200");
    for (broken, kind) in [("", ErrorKind::Undecodable), ("{}", ErrorKind::Semantic), ("{\"content\": [", ErrorKind::Undecodable)]
    {
        let error = direct(provider.as_ref()).decode(&ask("Q?"), &[reply(200, broken)]).unwrap_err();
        assert_eq!(error.kind, kind, "{broken}");
    }
}

#[test]
fn the_messages_of_the_batch_output_sample() {
    let provider = provider("claude-haiku-4-5");
    let ask = Ask { web_search: false, ..ask("Q?") };
    let text = sample_text("anthropic/anthropic-batch-output.recorded.jsonl");
    let outcomes: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| decode(provider.as_ref(), &ask, &reply_json(200, &line["result"]["message"])))
        .collect();
    assert_eq!(outcomes.len(), 3);
    assert!(outcomes[1].text.as_deref().unwrap().starts_with("Sushi is a Japanese dish"));
    assert_eq!(
        (outcomes[1].usage.input_tokens, outcomes[1].usage.output_tokens, outcomes[1].usage.searches),
        (Some(10), Some(259), 0)
    );
    assert_eq!(outcomes[1].cost_micro_usd, Some(MicroUsd(1_305)), "10 × 1 + 259 × 5");
}

#[test]
fn structured_output_and_its_sample() {
    let schema = json!({"type": "object", "properties": {}, "required": [], "additionalProperties": false});
    let request = StructuredRequest {
        schema_name: "evaluation".into(),
        schema: schema.clone(),
        system: "Read.".into(),
        user: "Text.".into(),
    };
    let model = structured_model("claude-sonnet-4-5-20250929", &settings()).unwrap();
    assert_eq!(
        body(&model.request(&request).unwrap()),
        json!({"model": "claude-sonnet-4-5-20250929", "max_tokens": 4000, "system": "Read.",
               "messages": [{"role": "user", "content": "Text."}], "output_config": {"format": {"type": "json_schema", "schema": schema}}}),
        "no search tool beside a schema"
    );
    let parsed = model.decode(&reply(200, sample_text("anthropic/anthropic-output-format-json.recorded.json"))).unwrap();
    assert!(parsed.json.starts_with("{\"recipe\":{\"name\":\"Classic Lasagna\""));
    assert_eq!(parsed.cost_micro_usd, Some(MicroUsd(10_548)), "371 × 3 + 629 × 15");
    for (reason, code) in [("max_tokens", "truncated"), ("refusal", "refusal"), ("tool_use", "truncated")] {
        let cut = reply_json(200, &message(json!([{"type": "text", "text": "{"}]), reason));
        assert_eq!(model.decode(&cut).unwrap_err().context.code.as_deref(), Some(code));
        assert_eq!(model.charge(&cut).1, Some(MicroUsd(1_500)), "charged all the same");
    }
    assert!(model.worst_case(&request) > model.expected(100));
}

#[test]
fn what_a_call_can_cost() {
    let provider = provider("claude-sonnet-4-5");
    assert_eq!(
        provider.worst_case(&ask("Q?")).0,
        200_000 * 3_750_000 / 1_000_000 + 4_000 * 15 + 5 * 10_000,
        "all input as cache writes"
    );
    assert!(provider.worst_case(&Ask { web_search: false, ..ask("Q?") }).0 < 70_000);
}

#[test]
fn the_batch_objects_of_the_sample_are_no_answers() {
    let provider = provider("claude-sonnet-4-5");
    let objects = sample("anthropic/anthropic-batch-objects.recorded.json");
    for object in objects.as_array().unwrap() {
        let error = direct(provider.as_ref()).decode(&ask("Q?"), &[reply_json(200, &object["body"])]).unwrap_err();
        assert_eq!(
            (error.kind, error.context.code.as_deref()),
            (ErrorKind::Semantic, Some("no_content")),
            "{}",
            object["request"]
        );
    }
}
