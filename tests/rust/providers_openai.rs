//! OpenAI: requests as they go out, every sample decoded, errors by meaning.

use overheard::domain::{MicroUsd, RunStatus, StructuredRequest};
use overheard::providers::{price_of, provider_for, structured_model};
use overheard::{ErrorKind, domain::Location};
use serde_json::{Value, json};

use crate::providers_support::*;

const ANNOTATED: &str = "openai/openai-responses-web-search.annotated.recorded.json";
const GPT_5: &str = "openai/openai-responses-web-search.gpt-5.recorded.json";
const EXAMPLE: &str = "openai/openai-responses-web-search.openapi-example.json";

#[test]
fn a_question_goes_out_unchanged_and_the_location_in_its_own_field() {
    let provider = provider("gpt-4.1");
    let location = Location { country: "de".into(), region: None, city: Some("Berlin".into()) };
    let ask = overheard::providers::Ask { location: Some(location.into()), ..ask("Best CRM for a bakery?") };
    let request = direct(provider.as_ref()).request(&ask).unwrap();
    assert_eq!(request.url, "https://api.openai.com/v1/responses");
    assert_eq!(request.headers["authorization"], "Bearer test-openai-key");
    assert!(!format!("{request:?}").contains("test-openai-key"), "the key is hidden");
    assert_eq!(
        body(&request),
        json!({
            "model": "gpt-4.1", "input": "Best CRM for a bakery?", "max_output_tokens": 4000, "store": false,
            "tools": [{"type": "web_search", "user_location": {"type": "approximate", "country": "DE", "city": "Berlin"}}],
            "max_tool_calls": 5, "include": ["web_search_call.action.sources"]
        })
    );
}

#[test]
fn without_web_search_there_is_no_tool_and_no_location() {
    let provider = provider("gpt-4.1");
    let ask = overheard::providers::Ask { web_search: false, ..ask_from("Best CRM for a bakery?", "US") };
    let sent = body(&direct(provider.as_ref()).request(&ask).unwrap());
    assert_eq!(sent, json!({"model": "gpt-4.1", "input": "Best CRM for a bakery?", "max_output_tokens": 4000, "store": false}));
    let outcome = decode(provider.as_ref(), &ask, &reply(200, sample_text(EXAMPLE)));
    assert_eq!(outcome.location_applied, None, "there was no field to put it in");
    assert_eq!(outcome.web_search_triggered, None);
}

#[test]
fn the_annotated_sample() {
    let (provider, ask) = (provider("gpt-5-mini"), ask_from("What happened today?", "us"));
    let outcome = decode(provider.as_ref(), &ask, &reply(200, sample_text(ANNOTATED)));
    assert_eq!(outcome.status, RunStatus::Answered);
    let text = outcome.text.unwrap();
    assert!(text.starts_with("Short answer first — yes."));
    assert_eq!(outcome.served_model.as_deref(), Some("gpt-5-mini-2025-08-07"));
    assert_eq!(outcome.location_applied.as_deref(), Some("US"));
    assert_eq!(outcome.finish_reason.as_deref(), Some("stop"));
    assert_eq!(outcome.search_queries, ["tech news today December 5 2025"]);
    assert_eq!(outcome.web_search_triggered, Some(true));

    let cited: Vec<_> = outcome.citations.iter().filter(|citation| citation.cited == Some(true)).collect();
    let retrieved: Vec<_> = outcome.citations.iter().filter(|citation| citation.cited == Some(false)).collect();
    assert_eq!((cited.len(), cited.len() + retrieved.len()), (10, outcome.citations.len()));
    for citation in &cited {
        let inline = span(&text, citation.start, citation.end);
        assert!(inline.starts_with("([") && inline.contains(citation.url.split('?').next().unwrap()), "{inline}");
    }
    assert!(cited.iter().any(|citation| citation.url.ends_with("?utm_source=openai")), "stored as sent");
    // 16 sources, of which the answer cites 8 pages (one of them by an address with a tracking parameter).
    let pages: std::collections::HashSet<_> = cited.iter().map(|citation| citation.url.split('?').next().unwrap()).collect();
    assert_eq!(retrieved.len(), 16 - pages.len());
    assert!(retrieved.iter().all(|citation| !pages.contains(citation.url.as_str()) && citation.start.is_none()));

    let usage = &outcome.usage;
    assert_eq!((usage.input_tokens, usage.cached_input_tokens, usage.output_tokens), (Some(19_681), 3_712, Some(3_773)));
    assert_eq!((usage.reasoning_tokens, usage.searches), (3_136, 1), "open_page and find_in_page are no searches");
    let expected = charged(&price_of("gpt-5-mini", &settings()).unwrap(), 19_681 - 3_712, 3_712, 0, 3_773, 1);
    assert_eq!(outcome.cost_micro_usd, Some(MicroUsd(expected)));
    assert_eq!(expected, 21_631, "15,969 × 0.25 + 3,712 × 0.025 + 3,773 × 2 per million, and one search at 0.01");
}

#[test]
fn the_gpt_5_sample_without_annotations() {
    let recorded = sample(GPT_5);
    let provider = provider("gpt-5");
    let outcome = decode(provider.as_ref(), &ask("What is the weather?"), &reply_json(200, &recorded["response_body"]));
    assert_eq!(outcome.status, RunStatus::Answered);
    assert!(outcome.text.as_deref().unwrap().starts_with("Today (Tuesday"));
    assert!(outcome.citations.is_empty());
    assert_eq!(outcome.search_queries, ["weather: San Francisco, CA"]);
    assert_eq!((outcome.usage.searches, outcome.usage.cached_input_tokens), (1, 8_448));
    assert_eq!(outcome.cost_micro_usd, Some(MicroUsd(17_890)), "851 × 1.25 + 8,448 × 0.125 + 577 × 10, and one search at 0.01");
    assert_eq!(outcome.raw, recorded["response_body"].to_string().into_bytes());
}

#[test]
fn the_documented_example_has_a_search_without_an_action_and_offsets_past_its_text() {
    let provider = provider("gpt-5.4");
    let outcome = decode(provider.as_ref(), &ask("Good news?"), &reply(200, sample_text(EXAMPLE)));
    assert_eq!(outcome.status, RunStatus::Answered);
    assert_eq!(outcome.usage.searches, 1);
    assert_eq!(outcome.citations.len(), 3, "the sources stay");
    assert!(
        outcome
            .citations
            .iter()
            .all(|citation| citation.cited == Some(true) && citation.start.is_none() && citation.end.is_none())
    );
}

fn response(output: Value) -> Value {
    json!({"status": "completed", "model": "gpt-4.1", "output": output,
           "usage": {"input_tokens": 10, "output_tokens": 20}})
}

#[test]
fn refusal_incomplete_and_empty() {
    let provider = provider("gpt-4.1");
    let outcome_of = |body: Value| decode(provider.as_ref(), &ask("Q?"), &reply_json(200, &body));
    let refused =
        outcome_of(response(json!([{"type": "message", "content": [{"type": "refusal", "refusal": "I can't help."}]}])));
    assert_eq!((refused.status, refused.text.as_deref()), (RunStatus::Refused, Some("I can't help.")));
    assert_eq!(refused.cost_micro_usd, Some(MicroUsd(180)), "10 × 2 + 20 × 8: a refusal is charged");

    let mut cut = response(json!([{"type": "message", "content": [{"type": "output_text", "text": "Half an ans"}]}]));
    cut["status"] = json!("incomplete");
    cut["incomplete_details"] = json!({"reason": "max_output_tokens"});
    let outcome = outcome_of(cut.clone());
    assert_eq!((outcome.status, outcome.finish_reason.as_deref()), (RunStatus::Answered, Some("max_output_tokens")));
    cut["output"] = json!([{"type": "reasoning"}]);
    let outcome = outcome_of(cut);
    assert_eq!(
        (outcome.status, outcome.text, outcome.finish_reason.as_deref()),
        (RunStatus::NoAnswer, None, Some("max_output_tokens"))
    );
    assert_eq!(outcome.error.unwrap().context.code.as_deref(), Some("empty_answer"));
    assert_eq!(outcome.cost_micro_usd, Some(MicroUsd(180)), "it was charged all the same");
}

#[test]
fn several_parts_are_joined_and_their_offsets_shifted_by_characters() {
    let note = |start: u32, end: u32| json!([{"type": "url_citation", "url": "https://a.example", "start_index": start, "end_index": end}]);
    let output = json!([
        {"type": "message", "content": [{"type": "output_text", "text": "Zwölf 😀 eins. ", "annotations": note(6, 7)}]},
        {"type": "mystery", "content": [{"type": "output_text", "text": "unread"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "é zwei", "annotations": note(2, 6)}, 7, null]}
    ]);
    let provider = provider("gpt-4.1");
    let outcome = decode(provider.as_ref(), &ask("Q?"), &reply_json(200, &response(output)));
    let text = outcome.text.unwrap();
    assert_eq!(text, "Zwölf 😀 eins. é zwei");
    let spans: Vec<_> = outcome.citations.iter().map(|citation| span(&text, citation.start, citation.end)).collect();
    assert_eq!(spans, ["😀", "zwei"]);
}

#[test]
fn a_failure_inside_a_200_is_an_error_by_its_code() {
    let provider = provider("gpt-4.1");
    for (body, kind) in [
        (json!({"status": "failed", "error": {"code": "server_error", "message": "x"}, "output": []}), ErrorKind::Overloaded),
        (
            json!({"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "x"}, "output": []}),
            ErrorKind::RateLimited,
        ),
        (
            json!({"status": "failed", "error": {"code": "invalid_prompt", "message": "x"}, "output": []}),
            ErrorKind::InvalidRequest,
        ),
        (json!({"status": "failed", "error": {"code": "insufficient_quota", "message": "x"}}), ErrorKind::QuotaExhausted),
        (json!({"error": {"type": "server_error", "message": "x"}}), ErrorKind::Overloaded),
        (json!({"status": "failed", "error": null, "output": []}), ErrorKind::Semantic),
        (json!({"status": "cancelled", "output": []}), ErrorKind::Semantic),
        (json!({}), ErrorKind::Semantic),
    ] {
        let error = direct(provider.as_ref()).decode(&ask("Q?"), &[reply_json(200, &body)]).unwrap_err();
        assert_eq!((error.kind, error.context.status_code), (kind, Some(200)), "{body}");
        assert_eq!(error.context.maybe_charged, body == json!({}), "the reply says it failed and counts no tokens: {body}");
    }
    let counted = json!({"status": "failed", "error": {"code": "server_error", "message": "x"}, "usage": {"input_tokens": 1}});
    let error = direct(provider.as_ref()).decode(&ask("Q?"), &[reply_json(200, &counted)]).unwrap_err();
    assert!(error.context.maybe_charged);
    for broken in ["", "<html>captive portal</html>", "{\"output\": [", "[]", "null"] {
        let error = direct(provider.as_ref()).decode(&ask("Q?"), &[reply(200, broken)]).unwrap_err();
        assert_eq!((error.kind, error.context.maybe_charged), (ErrorKind::Undecodable, true), "{broken}");
    }
}

#[test]
fn the_error_samples_and_the_rest_of_the_statuses() {
    let provider = provider("gpt-4.1");
    let error_of = |reply| direct(provider.as_ref()).error(&reply);
    let samples = sample("openai/openai-error-bodies.json");
    let kinds: Vec<_> = samples
        .as_array()
        .unwrap()
        .iter()
        .map(|sample| {
            let status = u16::try_from(sample["status"].as_u64().unwrap()).unwrap();
            let error = error_of(reply_json(status, &sample["body"]));
            assert!(error.message.starts_with(&format!("OpenAI API returned status {status}: ")), "{}", error.message);
            assert!(error.message.contains(&sample["body"]["error"]["message"].as_str().unwrap()[..40]));
            error.kind
        })
        .collect();
    assert_eq!(kinds[0], ErrorKind::QuotaExhausted);
    assert!(kinds[1..].iter().all(|kind| *kind == ErrorKind::InvalidRequest));

    let coded = |code: &str| json!({"error": {"message": "m", "type": "t", "code": code}});
    for (status, body, kind, charged) in [
        (401, coded("invalid_api_key"), ErrorKind::Auth, false),
        (403, json!("nope"), ErrorKind::Auth, false),
        (402, json!(""), ErrorKind::QuotaExhausted, false),
        (404, coded("model_not_found"), ErrorKind::InvalidRequest, false),
        (408, json!(""), ErrorKind::Overloaded, false),
        (409, json!(""), ErrorKind::Overloaded, false),
        (429, coded("rate_limit_exceeded"), ErrorKind::RateLimited, false),
        (429, coded("credit_balance_exhausted"), ErrorKind::QuotaExhausted, false),
        (429, coded("organization_usage_limit_exceeded"), ErrorKind::QuotaExhausted, false),
        (429, coded("organization_spend_limit_exceeded"), ErrorKind::QuotaExhausted, false),
        (429, coded("project_spend_limit_exceeded"), ErrorKind::QuotaExhausted, false),
        (429, json!("<html>"), ErrorKind::RateLimited, false),
        (
            400,
            json!({"error": {"message": "You have reached your specified API usage limits."}}),
            ErrorKind::QuotaExhausted,
            false,
        ),
        (500, coded("server_error"), ErrorKind::Overloaded, true),
        (502, json!("<html>bad gateway</html>"), ErrorKind::Overloaded, true),
        (503, coded("slow_down"), ErrorKind::Overloaded, false),
        (504, json!(""), ErrorKind::Overloaded, true),
        (302, json!(""), ErrorKind::Protocol, false),
    ] {
        let error = error_of(reply_json(status, &body));
        assert_eq!((error.kind, error.context.maybe_charged), (kind, charged), "{status} {body}");
        assert_eq!(error.message.contains("OPENAI_API_KEY"), matches!(kind, ErrorKind::Auth | ErrorKind::QuotaExhausted));
    }
    let headers = [("x-request-id", "req_1"), ("retry-after", "7"), ("x-should-retry", "false")];
    let context = error_of(reply_with(429, &headers, "{}")).context;
    assert_eq!(
        (context.request_id.as_deref(), context.retry_after_ms, context.should_retry),
        (Some("req_1"), Some(7_000), Some(false))
    );
}

#[test]
fn chat_completions_for_compatible_servers() {
    let mut settings = settings();
    settings.openai_chat_completions = true;
    settings.openai.base_url = "http://127.0.0.1:9/v1/".into();
    let plain = |question: &str| overheard::providers::Ask { web_search: false, ..ask(question) };
    for (model, parameter) in [
        ("gpt-4.1", "max_tokens"),
        ("gpt-4o-2024-08-06", "max_tokens"),
        ("gpt-5", "max_completion_tokens"),
        ("gpt-5.1-2025-11-13", "max_completion_tokens"),
        ("gpt-6-sol", "max_completion_tokens"),
        ("o4-mini", "max_completion_tokens"),
    ] {
        let provider = provider_for(model, &settings).unwrap();
        let request = direct(provider.as_ref()).request(&plain("Q?")).unwrap();
        assert_eq!(request.url, "http://127.0.0.1:9/v1/chat/completions");
        assert_eq!(body(&request), json!({"model": model, "messages": [{"role": "user", "content": "Q?"}], parameter: 4000}));
        let error = provider.check(&ask("Q?")).unwrap_err();
        assert_eq!((error.kind, error.context.field.as_deref()), (ErrorKind::Unsupported, Some("web_search")), "{model}");
        assert!(provider.check(&plain("Q?")).is_ok());
    }
    let searching = provider_for("gpt-4o-search-preview", &settings).unwrap();
    assert!(searching.check(&ask("Q?")).is_ok());
    let sent = body(&direct(searching.as_ref()).request(&ask_from("Q?", "us")).unwrap());
    assert_eq!(sent["web_search_options"], json!({"user_location": {"type": "approximate", "approximate": {"country": "US"}}}));
    let body = json!({"model": "m", "choices": [{"finish_reason": "stop", "message": {"content": "Acme is good.", "refusal": null,
        "annotations": [{"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "A", "start_index": 0, "end_index": 4}}]}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10}});
    let outcome = decode(searching.as_ref(), &ask_from("Q?", "us"), &reply_json(200, &body));
    assert_eq!(span(outcome.text.as_deref().unwrap(), outcome.citations[0].start, outcome.citations[0].end), "Acme");
    assert_eq!((outcome.usage.searches, outcome.location_applied.as_deref()), (1, Some("US")));
    assert_eq!(outcome.cost_micro_usd, Some(MicroUsd(25_350)), "100 × 2.5 + 10 × 10, and the fee of the request");

    let provider = provider_for("gpt-4.1", &settings).unwrap();
    let outcome_of = |message: Value, reason: &str| {
        let body = json!({"choices": [{"finish_reason": reason, "message": message}]});
        decode(provider.as_ref(), &plain("Q?"), &reply_json(200, &body))
    };
    let parts = outcome_of(json!({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}), "length");
    assert_eq!((parts.text.as_deref(), parts.finish_reason.as_deref()), (Some("ab"), Some("length")));
    assert_eq!(parts.cost_micro_usd, None, "no usage: unpriced, not free");
    assert_eq!(outcome_of(json!({"content": null, "refusal": "No."}), "stop").status, RunStatus::Refused);
    assert_eq!(outcome_of(json!({"content": ""}), "content_filter").status, RunStatus::NoAnswer);
    let error = direct(provider.as_ref()).decode(&plain("Q?"), &[reply(200, "{\"choices\": []}")]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Semantic);
}

#[test]
fn the_chat_bodies_of_the_batch_output_sample() {
    let mut settings = settings();
    settings.openai_chat_completions = true;
    let provider = provider_for("gpt-3.5-turbo", &settings).unwrap();
    let ask = overheard::providers::Ask { web_search: false, ..ask("Q?") };
    let text = sample_text("openai/openai-batch-output.recorded.jsonl");
    let outcomes: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| decode(provider.as_ref(), &ask, &reply_json(200, &line["response"]["body"])))
        .collect();
    assert_eq!(outcomes.len(), 3);
    assert!(outcomes[0].text.as_deref().unwrap().starts_with("Spaghetti is a type of pasta"));
    assert_eq!((outcomes[0].usage.input_tokens, outcomes[0].usage.output_tokens), (Some(10), Some(72)));
    assert_eq!(outcomes[0].cost_micro_usd, Some(MicroUsd(113)), "10 × 0.5 + 72 × 1.5");
    assert_eq!(outcomes[2].served_model.as_deref(), Some("gpt-3.5-turbo-0125"));
}

fn structured_request() -> StructuredRequest {
    let schema =
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false});
    StructuredRequest { schema_name: "evaluation".into(), schema, system: "Read.".into(), user: "Answer.".into() }
}

#[test]
fn structured_output_over_both_apis() {
    let request = structured_request();
    let model = structured_model("gpt-4.1-mini", &settings()).unwrap();
    let sent = body(&model.request(&request).unwrap());
    assert_eq!(
        sent["text"]["format"],
        json!({"type": "json_schema", "name": "evaluation", "schema": request.schema, "strict": true})
    );
    assert_eq!((&sent["max_output_tokens"], &sent["temperature"], &sent["store"]), (&json!(4000), &json!(0), &json!(false)));
    let good = response(json!([{"type": "message", "content": [{"type": "output_text", "text": "{\"a\":\"b\"}"}]}]));
    let parsed = model.decode(&reply_json(200, &good)).unwrap();
    assert_eq!((parsed.json.as_str(), parsed.cost_micro_usd), ("{\"a\":\"b\"}", Some(MicroUsd(36))));

    let refusal = response(json!([{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}]));
    let mut cut = good.clone();
    cut["status"] = json!("incomplete");
    cut["incomplete_details"] = json!({"reason": "max_output_tokens"});
    for (body, code) in [(refusal, "refusal"), (cut, "truncated"), (response(json!([])), "empty_answer")] {
        let error = model.decode(&reply_json(200, &body)).unwrap_err();
        assert_eq!((error.kind, error.context.code.as_deref()), (ErrorKind::Semantic, Some(code)));
        assert_eq!(model.charge(&reply_json(200, &body)).1, Some(MicroUsd(36)), "charged all the same");
    }
    assert_eq!(model.charge(&reply(200, "{}")).1, None, "unknown is not zero");

    let mut settings = settings();
    settings.openai_chat_completions = true;
    let model = structured_model("gpt-5-mini", &settings).unwrap();
    let sent = body(&model.request(&request).unwrap());
    let schema = json!({"name": "evaluation", "schema": request.schema, "strict": true});
    assert_eq!(sent["response_format"], json!({"type": "json_schema", "json_schema": schema}));
    assert_eq!((&sent["max_completion_tokens"], sent.get("temperature")), (&json!(4000), None));
    let body = json!({"choices": [{"finish_reason": "length", "message": {"content": "{\"a\""}}]});
    assert_eq!(model.decode(&reply_json(200, &body)).unwrap_err().context.code.as_deref(), Some("truncated"));
    assert!(model.worst_case(&request) > model.expected(100));
}

#[test]
fn what_a_call_can_cost() {
    let provider = provider("gpt-4.1");
    let search = provider.worst_case(&ask("Q?")).0;
    assert_eq!(search, 128_000 * 2 + 4_000 * 8 + 5 * 25_000, "the search tool's context, the output cap, five searches");
    let plain = overheard::providers::Ask { web_search: false, ..ask("Q?") };
    assert_eq!(provider.worst_case(&plain).0, (2 + 1_000) * 2 + 4_000 * 8, "a token per byte and the framing");
    assert!(provider.expected(&ask("Q?")).0 < search && provider.expected(&plain).0 > 0);
}

#[test]
fn models_without_web_search_say_so_before_anything_is_sent() {
    for model in ["gpt-4.1-nano", "gpt-4", "o1", "o3-mini"] {
        let provider = provider(model);
        assert_eq!(provider.check(&ask("Q?")).unwrap_err().kind, ErrorKind::Unsupported, "{model}");
        assert!(provider.check(&overheard::providers::Ask { web_search: false, ..ask("Q?") }).is_ok());
    }
}

#[test]
fn the_batch_objects_of_the_sample_are_no_answers() {
    let provider = provider("gpt-4.1");
    let objects = sample("openai/openai-batch-objects.recorded.json");
    let states: Vec<_> = objects
        .as_array()
        .unwrap()
        .iter()
        .map(|object| {
            let error = direct(provider.as_ref()).decode(&ask("Q?"), &[reply_json(200, &object["body"])]).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Semantic, "never stored as an answer: {}", object["body"]["status"]);
            error.context.code.unwrap()
        })
        .collect();
    assert_eq!(states, ["no_output", "in_progress", "no_output", "no_output", "no_output"]);
}
