//! Bright Data: every call as it goes out, every sample decoded, errors by meaning. The join and the rows' oddities are in
//! `gotchas.rs`.

use overheard::ErrorKind;
use overheard::domain::{MicroUsd, RunStatus};
use overheard::providers::{Ask, Download, Progress, provider_for};
use serde_json::{Value, json};

use crate::providers_support::*;

fn query(url: &str) -> std::collections::HashMap<String, String> {
    url::Url::parse(url).unwrap().query_pairs().into_owned().collect()
}

#[test]
fn the_trigger_of_each_engine() {
    for (model, url, dataset, web_search) in [
        ("chatgpt", "https://chatgpt.com/", "gd_m7aof0k82r803d5bjm", true),
        ("perplexity", "https://www.perplexity.ai", "gd_m7dhdot1vw9a7gc1n", false),
        ("gemini", "https://gemini.google.com/", "gd_mbz66arm2mf9cu856y", false),
    ] {
        let provider = provider(model);
        let asks = [ask_from("Was ist „gut“?", "de"), Ask { web_search: false, ..ask("B?") }];
        let request = snapshot(provider.as_ref()).trigger(&asks).unwrap();
        assert!(request.url.starts_with("https://api.brightdata.com/datasets/v3/trigger?"));
        let query = query(&request.url);
        assert_eq!(
            (query["dataset_id"].as_str(), query["format"].as_str(), query["include_errors"].as_str()),
            (dataset, "json", "true")
        );
        let fields: Vec<_> = query["custom_output_fields"].split('|').collect();
        for needed in
            ["answer_text_markdown", "citations", "error", "error_code", "input", "index", "timestamp", "prompt", "country"]
        {
            assert!(fields.contains(&needed), "{model}: {needed}");
        }
        assert!(!fields.iter().any(|field| field.contains("html") || *field == "response_raw"));
        let mut inputs = json!([
            {"url": url, "prompt": "Was ist „gut“?", "country": "DE", "index": 1},
            {"url": url, "prompt": "B?", "index": 2}
        ]);
        if web_search {
            inputs[0]["web_search"] = json!(true);
            inputs[1]["web_search"] = json!(false);
        }
        assert_eq!(body(&request), inputs);
        assert!(request.fresh_connection, "a trigger must not meet a stale connection");
        assert_eq!(request.headers["authorization"], "Bearer test-brightdata-key");
        assert!(!format!("{request:?}").contains("test-brightdata-key"));
    }
}

#[test]
fn the_free_calls() {
    let provider = provider("chatgpt");
    let side = snapshot(provider.as_ref());
    let base = "https://api.brightdata.com/datasets/v3";
    assert_eq!(side.progress("s_1").unwrap().url, format!("{base}/progress/s_1"));
    assert_eq!(side.download("s_1").unwrap().url, format!("{base}/snapshot/s_1?format=json"));
    assert_eq!(side.inputs("s_1").unwrap().url, format!("{base}/snapshot/s_1/input"));
    let cancel = side.cancel("s_1").unwrap();
    assert_eq!((cancel.method.as_str(), cancel.url), ("POST", format!("{base}/snapshot/s_1/cancel")));
    let list = side.list(1_795_293_720_000).unwrap();
    assert!(list.url.starts_with(&format!("{base}/snapshots?")));
    let query = query(&list.url);
    assert_eq!(
        (query["dataset_id"].as_str(), query["from_date"].as_str()),
        ("gd_m7aof0k82r803d5bjm", "2026-11-21T20:42:00.000Z")
    );
    assert_eq!(
        side.progress("../../trigger?x=1").unwrap().url,
        format!("{base}/progress/..%2F..%2Ftrigger%3Fx=1"),
        "an id stays in its place"
    );
    for request in [side.progress("s").unwrap(), side.download("s").unwrap(), side.list(0).unwrap(), side.inputs("s").unwrap()] {
        assert_eq!((request.method.as_str(), request.fresh_connection), ("GET", false));
        assert_eq!(request.headers["authorization"], "Bearer test-brightdata-key");
    }
}

#[test]
fn the_id_of_a_trigger_is_opaque_and_its_absence_an_unknown_outcome() {
    let provider = provider("chatgpt");
    let side = snapshot(provider.as_ref());
    for (body, id) in [
        (r#"{"snapshot_id":"s_m4x7enmven8djfqak"}"#, "s_m4x7enmven8djfqak"),
        (r#"{"snapshot_id":"sd_1"}"#, "sd_1"),
        (r#"{"id":"x"}"#, "x"),
    ] {
        assert_eq!(side.decode_trigger(&reply(200, body)).unwrap(), id);
    }
    for body in ["", "{}", "OK", r#"{"snapshot_id":7}"#, r#"{"snapshot_id":""}"#, r#"{"snapshot_id":null}"#, "[]"] {
        let error = side.decode_trigger(&reply(200, body)).unwrap_err();
        assert_eq!((error.kind, error.context.maybe_charged), (ErrorKind::OutcomeUnknown, true), "{body}");
    }
}

#[test]
fn the_list_and_the_inputs_find_an_orphan() {
    let provider = provider("chatgpt");
    let side = snapshot(provider.as_ref());
    let listed = side
        .decode_list(&reply(200, r#"[{"id":"s_1","status":"ready","created":"2026-11-21T20:42:00.000Z"},{"snapshot_id":"s_2","status":"new word"},{"status":"ready"},7]"#))
        .unwrap();
    let brief: Vec<_> = listed.iter().map(|line| (line.id.as_str(), line.progress.clone(), line.created_at_ms)).collect();
    assert_eq!(brief, [("s_1", Progress::Ready, Some(1_795_293_720_000)), ("s_2", Progress::Pending, None)]);
    assert_eq!(side.decode_list(&reply(200, r#"{"snapshots":[{"id":"s_1","status":"failed"}]}"#)).unwrap().len(), 1);
    assert!(side.decode_list(&reply(200, "[]")).unwrap().is_empty());
    for body in ["", "{}", "<html>", "[{"] {
        assert_eq!(side.decode_list(&reply(200, body)).unwrap_err().kind, ErrorKind::Protocol, "{body}");
    }

    let asks = [ask_from("A?", "us"), ask_from("B?", "us")];
    let found = |value: Value| side.match_inputs(&asks, &reply_json(200, &value)).unwrap();
    let inputs = |value: Value| found(value).are_all(2);
    let sent: Value = body(&side.trigger(&asks).unwrap());
    let reversed = json!([sent[1], sent[0]]);
    assert!(inputs(sent.clone()) && inputs(reversed.clone()) && inputs(json!({"input": reversed})), "in any order");
    assert!(!inputs(json!([sent[0]])), "one less");
    assert!(!inputs(json!([sent[0], sent[1], sent[1]])), "one more");
    for (field, value) in [("prompt", json!("C?")), ("country", json!("DE"))] {
        let mut other = sent.clone();
        other[1][field] = value;
        assert!(!inputs(other), "another {field}");
    }
    assert!(found(sent.clone()).are_in_order() && found(reversed).are_in_order(), "the numbers tell the order, not the list");
    let mut swapped = sent.clone();
    (swapped[0]["index"], swapped[1]["index"]) = (json!(2), json!(1));
    assert!(!found(swapped).are_in_order(), "the same questions, sent in another order");
    let mut unnumbered = sent;
    unnumbered[1]["index"] = json!(9);
    assert!(!found(unnumbered.clone()).numbered && inputs(unnumbered), "a number out of range says nothing about the order");
    assert!(side.match_inputs(&asks, &reply(200, "<html>")).is_err());
}

#[test]
fn every_http_body_sample() {
    let provider = provider("chatgpt");
    let side = snapshot(provider.as_ref());
    let asks = [ask_from("Best CRM for a bakery?", "US")];
    let bodies = sample("brightdata/brightdata-http-bodies.json");
    let mut seen = Vec::new();
    for sample in bodies.as_array().unwrap() {
        let status = u16::try_from(sample["status"].as_u64().unwrap()).unwrap();
        let reply = reply_json(status, &sample["body"]);
        let call = sample["call"].as_str().unwrap();
        seen.push(match (call, status) {
            (_, 400..) => format!("{:?}", side.error(&asks, &reply).kind),
            ("POST /datasets/v3/trigger", _) => side.decode_trigger(&reply).unwrap(),
            ("GET /datasets/v3/progress/{id}", _) => format!("{:?}", side.decode_progress(&reply).unwrap()),
            ("GET /datasets/v3/snapshot/{id}", _) => match side.decode_download(&asks, &reply).unwrap() {
                Download::NotReady(hint) => format!("NotReady({hint:?})"),
                rows => panic!("{rows:?}"),
            },
            _ => "not ours".to_owned(),
        });
    }
    assert_eq!(
        seen,
        [
            "s_m4x7enmven8djfqak",
            "InvalidRequest",
            "InvalidRequest",
            "InvalidRequest",
            "RateLimited",
            "not ours",
            "Pending",
            "Ready",
            "Failed(\"failed: Snapshot is empty\")",
            "SnapshotGone",
            "NotReady(Some(10000))",
            "NotReady(Some(10000))",
            "NotReady(None)",
            "NotReady(Some(30000))",
            "not ours",
            "InvalidRequest",
            "not ours",
        ]
    );
}

#[test]
fn errors_by_meaning_in_the_documented_words() {
    let provider = provider("chatgpt");
    let side = snapshot(provider.as_ref());
    let asks = [ask_from("Best CRM for a bakery?", "US")];
    for (status, body, kind) in [
        (401, json!("Invalid token"), ErrorKind::Auth),
        (403, json!({"error": "Account is suspended"}), ErrorKind::Auth),
        (400, json!({"error": "Customer is not active"}), ErrorKind::Auth),
        (402, json!("Payment required"), ErrorKind::QuotaExhausted),
        (400, json!("Insufficient funds, please top up"), ErrorKind::QuotaExhausted),
        (429, json!({"message": "Usage limit reached"}), ErrorKind::QuotaExhausted),
        (429, json!("You have too many running jobs for this dataset."), ErrorKind::RateLimited),
        (404, json!("Snapshot does not exist"), ErrorKind::SnapshotGone),
        (404, json!(""), ErrorKind::SnapshotGone),
        (404, json!("dataset does not exist"), ErrorKind::InvalidRequest),
        (400, json!("Snapshot is expired"), ErrorKind::SnapshotGone),
        (400, json!("Snapshot is empty"), ErrorKind::SnapshotFailed),
        (409, json!({"status": "building", "message": "Snapshot is building, try again in 10s"}), ErrorKind::Overloaded),
        (400, json!("No data to trigger"), ErrorKind::InvalidRequest),
        (500, json!("oops"), ErrorKind::Overloaded),
        (502, json!("<html>"), ErrorKind::Overloaded),
        (301, json!(""), ErrorKind::Protocol),
    ] {
        let error = side.error(&asks, &reply_json(status, &body));
        assert_eq!((error.kind, error.context.status_code), (kind, Some(status)), "{status} {body}");
        assert!(error.message.starts_with(&format!("BrightData API returned status {status}")), "{}", error.message);
        assert_eq!(error.message.contains("BRIGHTDATA_API_KEY"), kind.stops_provider(), "{}", error.message);
    }
    let usage = side.error(&asks, &reply_with(403, &[("x-brd-err-code", "client_10100")], "limit"));
    assert_eq!((usage.kind, usage.context.code.as_deref()), (ErrorKind::QuotaExhausted, Some("client_10100")));
    let dataset = side.error(&asks, &reply(404, "dataset does not exist"));
    assert_eq!(dataset.context.field.as_deref(), Some("BRIGHTDATA_DATASET_ID"));
    let waiting = side.error(&asks, &reply(409, "Snapshot is building, try again in 10s"));
    assert_eq!((waiting.context.retry_after_ms, waiting.context.code.as_deref()), (Some(10_000), Some("not_ready")));
    let leaked = side.error(&asks, &reply(401, "token test-brightdata-key is invalid"));
    assert_eq!(leaked.message, "BrightData API returned status 401: token *** is invalid; check BRIGHTDATA_API_KEY");
}

#[test]
fn what_a_download_may_look_like_and_what_it_may_not() {
    let provider = provider("chatgpt");
    let side = snapshot(provider.as_ref());
    let asks = [ask("Best CRM for a bakery?")];
    for broken in ["<html>", "[{\"prompt\":", "[1,", "{\"prompt\": \"x\"}\n{\"pro", "nonsense", "{}", "{\"hello\": 1}"] {
        let error = side.decode_download(&asks, &reply(200, broken)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Undecodable, "a cut-off download is fetched again: {broken}");
    }
    assert!(matches!(side.decode_download(&asks, &reply(202, "wait")).unwrap(), Download::NotReady(None)));
    let hinted = reply_with(202, &[("retry-after", "3")], "{}");
    assert!(matches!(side.decode_download(&asks, &hinted).unwrap(), Download::NotReady(Some(3_000))));
    let ended = side.decode_download(&asks, &reply(200, r#"{"status":"failed","message":"Snapshot is empty"}"#)).unwrap_err();
    assert_eq!(ended.kind, ErrorKind::SnapshotFailed);
    let (outcomes, received, foreign) = rows(provider.as_ref(), &asks, &reply(200, "[]"));
    assert_eq!((outcomes.len(), received, foreign), (1, 0, 0));
    assert_eq!(outcomes[0].error.as_ref().unwrap().context.code.as_deref(), Some("missing_row"));
}

fn ours(question: &str, file: &str, model: &str) -> overheard::domain::Outcome {
    row(model, question, &sample(&format!("brightdata/{file}")))
}

#[test]
fn the_chatgpt_samples() {
    let docs = ours("Top hotels in New York", "brightdata-chatgpt-1.docs.json", "chatgpt");
    assert_eq!(docs.status, RunStatus::Answered);
    assert!(docs.text.as_deref().unwrap().starts_with("## Top Hotels in New York City"), "Markdown before plain text");
    assert_eq!(docs.served_model.as_deref(), Some("gpt-4o"));
    let urls: Vec<_> = docs.citations.iter().map(|citation| (citation.url.as_str(), citation.cited, citation.position)).collect();
    assert_eq!(
        urls,
        [("https://www.travelandleisure.com/best-hotels-nyc", None, Some(1)), ("https://www.theplazany.com", Some(true), None)],
        "the search source is the cited page; the link in the text is cited"
    );
    assert_eq!((docs.usage.records, docs.cost_micro_usd), (1, Some(MicroUsd(1_500))));

    for example in sample("brightdata/brightdata-chatgpt-2.docs-examples.json").as_array().unwrap() {
        let question = example["request_body"][0]["prompt"].as_str().unwrap();
        let outcome = row("chatgpt", question, &example["response_body"]);
        assert_eq!((outcome.status, outcome.citations.len()), (RunStatus::Answered, 1), "{question}");
        assert_eq!(outcome.web_search_triggered, Some(true));
        let sent: Value = serde_json::from_slice(&outcome.raw).unwrap();
        assert_eq!(sent, example["response_body"][0], "the row as received");
    }

    let french = ours("Best video agency in Paris?", "brightdata-chatgpt-3.community-fixture.json", "chatgpt");
    assert_eq!(french.text.as_deref(), Some("**Couloir 3** is a strong option."));
    assert_eq!(french.search_queries, ["video agency paris"]);
    let cited: Vec<_> = french.citations.iter().map(|citation| (citation.url.as_str(), citation.cited)).collect();
    assert_eq!(
        cited,
        [
            ("https://couloir3.com/?utm_source=chatgpt.com", Some(true)),
            ("https://candidate.example/work", Some(false)),
            ("https://search.example/page", Some(false))
        ]
    );
}

#[test]
fn the_chatgpt_batch_sample() {
    let provider = provider("chatgpt");
    let asks = [
        ask_from("What are the top credit unions?", "US"),
        ask_from("Which banks have the best rates?", "US"),
        ask_from("What is the average loan interest rate?", "US"),
    ];
    let (outcomes, received, foreign) =
        rows(provider.as_ref(), &asks, &reply(200, sample_text("brightdata/brightdata-chatgpt-4.community-batch.json")));
    assert_eq!((received, foreign), (3, 0));
    for (outcome, (start, citations)) in
        outcomes.iter().zip([("Here are the top", 1), ("The banks with", 1), ("The average personal", 0)])
    {
        assert_eq!(outcome.status, RunStatus::Answered);
        assert!(outcome.text.as_deref().unwrap().starts_with(start));
        assert_eq!((outcome.citations.len(), outcome.location_applied.as_deref()), (citations, Some("US")));
    }
    assert_eq!(outcomes.iter().map(|outcome| outcome.cost_micro_usd.unwrap().0).sum::<i64>(), 4_500);
}

#[test]
fn the_perplexity_samples() {
    // The constructed record's answer is "…[1][2]": everything is read, and the text is too short to be an answer.
    let constructed = ours("What are the latest AI trends?", "brightdata-perplexity-1.fieldlist-constructed.json", "perplexity");
    assert_eq!((constructed.status, constructed.usage.records), (RunStatus::NoAnswer, 1));
    let mut longer = sample("brightdata/brightdata-perplexity-1.fieldlist-constructed.json");
    longer[0]["answer_text_markdown"] = json!("The latest trends are agents and small models \\[1\\]\\[2\\].");
    let outcome = row("perplexity", "What are the latest AI trends?", &longer);
    assert_eq!(outcome.text.as_deref(), Some("The latest trends are agents and small models [1][2]."));
    let citations: Vec<_> =
        outcome.citations.iter().map(|citation| (citation.url.as_str(), citation.cited, citation.position)).collect();
    assert_eq!(
        citations,
        [("https://www.usaii.org/", None, Some(1)), ("https://news.microsoft.com/", None, Some(2))],
        "a source beside its citation is one"
    );
    assert_eq!(outcome.search_queries, ["latest AI trends 2026"]);

    let fixture = sample("brightdata/brightdata-perplexity-2.community-fixture.json");
    let html = row("perplexity", "Where to eat in Bali?", &json!([fixture[0]]));
    assert_eq!(html.text.as_deref(), Some("AVLI Bali is mentioned.\nSources are shown below."), "a fragment, where no text came");
    let text = row("perplexity", "Where to eat in Bali?", &json!([fixture[1]]));
    assert_eq!((text.text.as_deref(), text.citations.len()), (Some("AVLI is recommended for Greek dining."), 1));
    let provider = provider("perplexity");
    let (outcomes, received, foreign) = rows(provider.as_ref(), &[ask("Where to eat in Bali?")], &reply_json(200, &fixture));
    assert_eq!((received, foreign), (2, 2), "two rows without identity: neither is taken by its place");
    assert_eq!(outcomes[0].status, RunStatus::Failed);
}

#[test]
fn the_gemini_samples() {
    let doc = ours("Your question", "brightdata-gemini-1.community-doc.json", "gemini");
    assert_eq!(
        (doc.status, doc.text.as_deref()),
        (RunStatus::Answered, Some("The response text...")),
        "an empty error is no error"
    );
    let korean = ours("라네즈는 어떤 브랜드인가요?", "brightdata-gemini-2.community-fixture.json", "gemini");
    assert_eq!(korean.text.as_deref(), Some("라네즈는 대표적인 한국 화장품입니다."));
    assert_eq!(korean.served_model.as_deref(), Some("Flash-Lite"));
    assert_eq!(korean.citations.len(), 1, "duplicate, non-URL and missing URL fall away");
    assert_eq!(korean.citations[0].cited, Some(true));
}

#[test]
fn the_error_row_samples() {
    let samples = sample("brightdata/brightdata-error-rows.json");
    let codes: Vec<_> = samples
        .as_array()
        .unwrap()
        .iter()
        .map(|sample| {
            let mut row_sent = sample["row"].clone();
            if row_sent.get("input").is_none_or(|input| input.get("index").is_none()) {
                row_sent["input"] = json!({"index": 1});
            }
            let outcome = row("chatgpt", "What are the top credit unions?", &json!([row_sent]));
            assert_eq!(
                (outcome.status, outcome.usage.records, outcome.cost_micro_usd),
                (RunStatus::Failed, 0, Some(MicroUsd::ZERO))
            );
            let error = outcome.error.unwrap();
            assert_eq!(error.kind, ErrorKind::Record);
            assert!(
                error.message.contains(sample["row"]["error"].as_str().unwrap()),
                "the provider's words stay: {}",
                error.message
            );
            error.context.code.unwrap()
        })
        .collect();
    assert_eq!(codes, ["auth_wall", "auth_wall", "auth_wall", "timeout", "selector_timeout", "browser_disconnected", "aborted"]);
}

#[test]
fn error_rows_are_charged_only_on_request() {
    let mut settings = settings();
    settings.datasets.charge_error_rows = true;
    let provider = provider_for("chatgpt", &settings).unwrap();
    let body = json!([{"error": "Request timeout", "input": {"index": 1}}]);
    let (outcomes, _, _) = rows(provider.as_ref(), &[ask("Best CRM for a bakery?")], &reply_json(200, &body));
    assert_eq!((outcomes[0].usage.records, outcomes[0].cost_micro_usd), (1, Some(MicroUsd(1_500))));
}

#[test]
fn several_rows_for_one_question() {
    let provider = provider("chatgpt");
    let asks = [ask("Best CRM for a bakery?")];
    let row = |text: &str, time: Option<&str>| json!({"index": 1, "answer_text": text, "timestamp": time});
    let error = json!({"error": "Request timeout", "input": {"index": 1}, "timestamp": "2026-01-01T00:00:00Z"});
    let empty = json!({"index": 1, "answer_text": "", "timestamp": "2026-01-01T00:00:00Z"});
    let first = "The first answer is Acme CRM.";
    let second = "The second answer is Bolt CRM.";
    for (sent, expected) in [
        (json!([error, empty, row(second, None)]), second),
        (json!([row(first, None), row(second, None)]), first),
        (json!([row(second, Some("2026-01-02T00:00:00Z")), row(first, Some("2026-01-01T00:00:00Z"))]), first),
        (json!([{"index": 9, "prompt": "Not ours?", "answer_text": second}, row(first, None)]), first),
    ] {
        let foreign_expected = usize::from(sent[0]["index"] == 9);
        let (outcomes, received, foreign) = rows(provider.as_ref(), &asks, &reply_json(200, &sent));
        assert_eq!((outcomes[0].text.as_deref(), foreign), (Some(expected), foreign_expected), "{sent}");
        assert_eq!(received, sent.as_array().unwrap().len());
        assert_eq!(outcomes[0].cost_micro_usd, Some(MicroUsd(1_500)), "one record a question");
    }
}

#[test]
fn bytes_that_are_almost_json_keep_the_answers() {
    let provider = provider("chatgpt");
    let asks = [ask("Question number 1?"), ask("Question number 2?")];
    let surrogate = r#"{"index": 1, "answer_text": "An answer with half a smile \ud83d."}"#;
    let doubled = r#"{"index": 2, "index": 2, "answer_text": "old", "answer_text": "An answer under a doubled key."}"#;
    for body in [format!("[{surrogate},{doubled}]"), format!("{surrogate}\n{doubled}\n")] {
        let (outcomes, received, _) = rows(provider.as_ref(), &asks, &reply(200, &body));
        assert_eq!(received, 2);
        assert_eq!(outcomes[0].text.as_deref(), Some("An answer with half a smile \u{fffd}."));
        assert_eq!(outcomes[1].text.as_deref(), Some("An answer under a doubled key."));
    }
    let mut invalid = br#"[{"index": 1, "answer_text": "An answer with a broken byte "#.to_vec();
    invalid.extend_from_slice(b"\xff.\"}]");
    let (outcomes, _, _) = rows(provider.as_ref(), &asks[..1], &reply(200, invalid));
    assert_eq!(outcomes[0].text.as_deref(), Some("An answer with a broken byte \u{fffd}."));
    let openai = crate::providers_support::provider("gpt-4.1");
    let body = r#"{"status":"completed","usage":{"input_tokens":1e999,"output_tokens":-5},
        "output":[{"type":"message","content":[{"type":"output_text","text":"Nul \u0000 and \udc00 stay readable."}]}]}"#;
    let outcome = decode(openai.as_ref(), &ask("Q?"), &reply(200, body));
    assert_eq!(outcome.text.as_deref(), Some("Nul \u{0} and \u{fffd} stay readable."));
    assert_eq!(
        (outcome.usage.input_tokens, outcome.usage.output_tokens, outcome.cost_micro_usd),
        (None, None, None),
        "absurd is unknown, not zero"
    );
    assert_eq!(outcome.raw, body.as_bytes(), "the bytes as received");
}
