//! Every gotcha of the wire-format notes (section 6) that these providers can meet, by its number: what is stored, what is
//! charged.
//!
//! Cannot be met here:
//! - 26, redirect links of the Gemini API: Gemini is asked through Bright Data, whose rows carry the real URLs;
//! - 38, unreliable domain filters, and 39, a function tool called "web": neither is ever sent (39 has a test that says so);
//! - 43, an absent AI Overview: that engine is not built;
//! - 46, undiscounted search fees in Anthropic's batches: they are not used.
//!
//! Engine part missing (this file covers what the codec and the policy say; the exchange itself is the engine's): 7 (split on
//! 400), 8 (circuit breaker), 13 (download again), 14 (cancel on give-up), 15 (poll window), 29 (once more without the country),
//! 32 (global limiter), 33 (list before re-sending), 47, 48, 49 (go on polling; grace after the trigger).

use overheard::ErrorKind;
use overheard::config::Settings;
use overheard::domain::{MicroUsd, Outcome, RunStatus};
use overheard::http::retry::{CallKind, Decision, decide};
use overheard::providers::{Ask, Download, Progress, provider_for};
use serde_json::{Value, json};

use crate::providers_support::*;

const QUESTION: &str = "Best CRM for a bakery?";
const ANSWER: &str = "Acme is the best CRM for small bakeries.";

fn asks(count: usize) -> Vec<Ask> {
    (1..=count).map(|number| ask_from(&format!("Question number {number}?"), "US")).collect()
}

/// A full row for the n-th of [`asks`].
fn full(number: usize) -> Value {
    json!({"prompt": format!("Question number {number}?"), "country": "US", "index": number,
           "answer_text_markdown": format!("This is the answer number {number}.")})
}

fn join(asks: &[Ask], sent: &Value) -> (Vec<Outcome>, usize, usize) {
    rows(provider("chatgpt").as_ref(), asks, &reply_json(200, sent))
}

fn texts(outcomes: &[Outcome]) -> Vec<&str> {
    outcomes.iter().map(|outcome| outcome.text.as_deref().unwrap_or("-")).collect()
}

fn charge(outcomes: &[Outcome]) -> i64 {
    outcomes.iter().map(|outcome| outcome.cost_micro_usd.unwrap().0).sum()
}

/// A one-question row with these fields beside the answer.
fn with_fields(fields: Value) -> Outcome {
    let mut sent = json!({"prompt": QUESTION, "answer_text_markdown": ANSWER});
    sent.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    row("chatgpt", QUESTION, &json!([sent]))
}

#[test]
fn gotcha_01_rows_out_of_order() {
    let (outcomes, received, foreign) = join(&asks(3), &json!([full(3), full(1), full(2)]));
    assert_eq!(
        texts(&outcomes),
        ["This is the answer number 1.", "This is the answer number 2.", "This is the answer number 3."]
    );
    assert_eq!((received, foreign, charge(&outcomes)), (3, 0, 4_500));
    let mut bare = [full(2), full(1)];
    for row in &mut bare {
        row.as_object_mut().unwrap().remove("index");
    }
    let (outcomes, _, foreign) = join(&asks(2), &json!(bare));
    assert_eq!(
        (texts(&outcomes), foreign),
        (vec!["This is the answer number 1.", "This is the answer number 2."], 0),
        "by prompt"
    );
}

#[test]
fn gotcha_02_error_rows_without_prompt_or_index() {
    let error = json!({"error": "Request timeout", "input": {"prompt": "Question number 2?", "country": "US", "index": 2}});
    let (outcomes, _, foreign) = join(&asks(2), &json!([error, full(1)]));
    assert_eq!((outcomes[0].status, outcomes[1].status, foreign), (RunStatus::Answered, RunStatus::Failed, 0));
    assert_eq!(charge(&outcomes), 1_500, "the error row costs nothing");
    let by_prompt = json!({"error": "Request timeout", "input": {"prompt": "question  number 2?"}});
    let (outcomes, _, _) = join(&asks(2), &json!([by_prompt, full(1)]));
    assert_eq!(outcomes[1].error.as_ref().unwrap().context.code.as_deref(), Some("timeout"));
}

#[test]
fn gotcha_03_fewer_rows_than_inputs() {
    let (outcomes, received, _) = join(&asks(3), &json!([full(1), full(3)]));
    assert_eq!(received, 2);
    let error = outcomes[1].error.as_ref().unwrap();
    assert_eq!(
        (outcomes[1].status, error.kind, error.context.code.as_deref()),
        (RunStatus::Failed, ErrorKind::Record, Some("missing_row"))
    );
    assert!(
        error.message.starts_with("Batch returned 2 responses but expected 3: no row for this question"),
        "{}",
        error.message
    );
    assert_eq!(charge(&outcomes), 3_000, "a missing row costs nothing");
}

#[test]
fn gotcha_04_duplicate_prompts_in_a_batch() {
    let twice = [ask("Same question?"), ask("Same question?")];
    let answer = |index: Value, text: &str| json!({"prompt": "Same question?", "index": index, "answer_text": text});
    let indexed = json!([answer(json!(2), "The second of two answers."), answer(json!(1), "The first of two answers.")]);
    let (outcomes, _, foreign) = join(&twice, &indexed);
    assert_eq!((texts(&outcomes), foreign), (vec!["The first of two answers.", "The second of two answers."], 0));
    // Without the index both rows still find a place, and neither is used twice.
    let bare = json!([answer(json!(null), "The first of two answers."), answer(json!(null), "The second of two answers.")]);
    let (outcomes, _, foreign) = join(&twice, &bare);
    assert_eq!((texts(&outcomes).len(), foreign, charge(&outcomes)), (2, 0, 3_000));
    assert_ne!(outcomes[0].text, outcomes[1].text);
    let (outcomes, _, _) = join(&twice, &json!([answer(json!(null), "The only answer of two.")]));
    assert_eq!(outcomes.iter().filter(|outcome| outcome.status == RunStatus::Answered).count(), 1);
}

#[test]
fn gotcha_05_index_null_zero_or_text() {
    let sent = |index: Value| {
        let mut row = full(2);
        row["index"] = index;
        row
    };
    for index in [json!(null), json!(0), json!("2"), json!(2.0), json!(""), json!([2]), json!(99), json!(-1)] {
        let (outcomes, _, foreign) = join(&asks(2), &json!([sent(index.clone()), full(1)]));
        assert_eq!(
            (texts(&outcomes), foreign),
            (vec!["This is the answer number 1.", "This is the answer number 2."], 0),
            "{index}"
        );
    }
    let provider = provider("gemini");
    let request = snapshot(provider.as_ref()).trigger(&asks(2)).unwrap();
    assert_eq!(body(&request)[0]["index"], 1, "ours starts at 1");
}

#[test]
fn gotcha_06_one_missing_row_does_not_fail_the_batch() {
    let sent: Vec<Value> = (1..=20).filter(|number| *number != 7).map(full).collect();
    let (outcomes, _, _) = join(&asks(20), &json!(sent));
    let answered: Vec<_> = outcomes.iter().filter(|outcome| outcome.status == RunStatus::Answered).collect();
    assert_eq!((answered.len(), outcomes[6].status, charge(&outcomes)), (19, RunStatus::Failed, 19 * 1_500));
}

#[test]
fn gotcha_07_one_invalid_input_rejects_the_whole_trigger() {
    let provider = provider("chatgpt");
    let asks = asks(4);
    let bad = |body: Value| {
        let error = snapshot(provider.as_ref()).error(&asks, &reply_json(400, &body));
        assert_eq!(error.kind, ErrorKind::InvalidRequest);
        error.context.bad_inputs
    };
    let errors = |list: Value| bad(json!({"validation_errors": list}));
    assert_eq!(errors(json!([{"index": 2, "message": "prompt is too long"}])), [1], "our own index, from 1");
    assert_eq!(errors(json!([{"index": "2"}, {"input": {"index": 4}}])), [1, 3]);
    assert_eq!(errors(json!([{"index": 0}, {"index": 2}])), [0, 2], "a 0 shows that the list counts from 0");
    assert_eq!(errors(json!([{"line": 3, "error": "x"}])), [2]);
    assert_eq!(errors(json!([{"prompt": "Question number 3?", "message": "x"}])), [2]);
    assert_eq!(errors(json!([{"input": {"prompt": "Question number 1?", "index": 1}}])), [0]);
    assert_eq!(errors(json!(["input 2: prompt must not be empty", "Line 4: bad country"])), [1, 3]);
    assert_eq!(errors(json!(["[2].prompt must be a string"])), [2], "a path counts from 0");
    assert_eq!(errors(json!(["'Question number 4?' is not allowed"])), [3]);
    assert_eq!(errors(json!(["something is wrong", {"message": "no idea"}, 7, null])), [] as [usize; 0], "halve it");
    assert_eq!(errors(json!([{"index": 5}, {"index": 99}])), [] as [usize; 0], "names none of ours");
    // Before sending: what the provider would refuse is refused here, for nothing.
    assert!(provider.check(&ask(&"x".repeat(4_097))).is_err());
}

#[test]
fn gotcha_08_auth_walls_have_one_code() {
    for code in ["AUTH_WALL", "crawl_failed", "blocked"] {
        let sent = json!([{"error": "Auth wall: sign-up prompt detected", "error_code": code, "input": {"index": 1}}]);
        let outcome = row("chatgpt", QUESTION, &sent);
        assert_eq!((outcome.status, outcome.cost_micro_usd), (RunStatus::Failed, Some(MicroUsd::ZERO)));
        assert_eq!(outcome.error.unwrap().context.code.as_deref(), Some("auth_wall"), "what a breaker counts");
    }
    let unknown = row("chatgpt", QUESTION, &json!([{"error": "Something new", "error_code": "New_Code", "input": {"index": 1}}]));
    assert_eq!(unknown.error.unwrap().context.code.as_deref(), Some("new_code"));
}

#[test]
fn gotcha_09_login_words_in_a_good_answer() {
    let outcome = with_fields(json!({"answer_text_markdown": "Log in or sign up at Acme, the best CRM. Auth wall? No."}));
    assert_eq!((outcome.status, outcome.usage.records), (RunStatus::Answered, 1));
    let both = with_fields(json!({"error": "login button visible", "error_code": "warning"}));
    assert_eq!((both.status, both.error), (RunStatus::Answered, None), "an error beside an answer is none");
}

#[test]
fn gotcha_10_junk_is_no_answer() {
    for junk in ["", "  ", QUESTION, "best crm  for a BAKERY?", "★★★★★", "Sure!", "2026-09-24T12:00:00.000Z", "Give feedback\n"]
    {
        let outcome = with_fields(json!({"answer_text_markdown": junk}));
        assert_eq!((outcome.status, outcome.text.as_deref()), (RunStatus::NoAnswer, None), "{junk}");
        assert_eq!(outcome.error.unwrap().context.code.as_deref(), Some("empty_answer"));
        assert_eq!(outcome.cost_micro_usd, Some(MicroUsd(1_500)), "the record was delivered");
    }
    let second = with_fields(json!({"answer_text_markdown": "★★★★★", "answer_text": ANSWER}));
    assert_eq!(second.text.as_deref(), Some(ANSWER), "the other field holds it");
}

#[test]
fn gotcha_11_a_notice_in_a_200_is_no_answer() {
    let provider = provider("chatgpt");
    let notice = json!({"status": "building", "message": "Dataset is not ready yet, try again in 30s"});
    for body in [notice.clone(), json!([notice]), json!({"message": "Job is not finished"}), json!({"status": "running"})] {
        let decoded = snapshot(provider.as_ref()).decode_download(&[ask(QUESTION)], &reply_json(200, &body)).unwrap();
        assert!(matches!(decoded, Download::NotReady(_)), "{body}");
    }
}

#[test]
fn gotcha_12_unknown_status_words_mean_pending() {
    let provider = provider("chatgpt");
    for word in ["starting", "building", "scheduled", "collecting", "digesting", "pondering"] {
        let body = json!({"status": word, "snapshot_id": "s_1"});
        assert_eq!(snapshot(provider.as_ref()).decode_progress(&reply_json(200, &body)).unwrap(), Progress::Pending, "{word}");
    }
    assert_eq!(snapshot(provider.as_ref()).decode_progress(&reply(200, "{\"status\": 7}")).unwrap(), Progress::Pending);
    assert!(snapshot(provider.as_ref()).decode_progress(&reply(200, "<html>")).is_err());
}

#[test]
fn gotcha_13_ready_and_then_202() {
    let provider = provider("chatgpt");
    let body = json!({"status": "building", "message": "Snapshot is building, try again in 10s"});
    let decoded = snapshot(provider.as_ref()).decode_download(&[ask(QUESTION)], &reply_json(202, &body)).unwrap();
    assert!(matches!(decoded, Download::NotReady(Some(10_000))));
}

#[test]
fn gotcha_14_a_snapshot_that_is_given_up_can_be_cancelled() {
    let provider = provider("perplexity");
    let request = snapshot(provider.as_ref()).cancel("s_1").unwrap();
    assert_eq!(request.url, "https://api.brightdata.com/datasets/v3/snapshot/s_1/cancel");
}

#[test]
fn gotcha_15_a_snapshot_gets_at_least_twenty_minutes() {
    assert!(Settings::default().datasets.snapshot_deadline_ms >= 20 * 60_000);
}

#[test]
fn gotcha_16_megabytes_of_html_are_not_stored() {
    let page = "<html>".to_owned() + &"<div>menu</div>".repeat(200_000) + "</html>";
    let outcome = with_fields(json!({"answer_html": page, "answer_section_html": page, "source_html": page, "model": "m"}));
    assert_eq!((outcome.status, outcome.text.as_deref()), (RunStatus::Answered, Some(ANSWER)));
    assert!(outcome.raw.len() < 1_000, "{}", outcome.raw.len());
    let kept: Value = serde_json::from_slice(&outcome.raw).unwrap();
    assert_eq!(kept, json!({"prompt": QUESTION, "answer_text_markdown": ANSWER, "model": "m"}), "everything else is");
    let only = with_fields(json!({"answer_text_markdown": "", "answer_html": page}));
    assert_eq!(only.status, RunStatus::NoAnswer, "a whole page is no answer");
}

#[test]
fn gotcha_17_lines_although_an_array_was_asked_for() {
    let provider = provider("chatgpt");
    for separator in ["\n", "\r\n", "\n\n", " "] {
        let lines = [full(2).to_string(), full(1).to_string()].join(separator);
        let (outcomes, received, _) = rows(provider.as_ref(), &asks(2), &reply(200, lines));
        assert_eq!((received, texts(&outcomes)), (2, vec!["This is the answer number 1.", "This is the answer number 2."]));
        assert_eq!(serde_json::from_slice::<Value>(&outcomes[0].raw).unwrap(), full(1));
    }
}

#[test]
fn gotcha_18_rows_wrapped_in_data() {
    let (outcomes, received, _) = join(&asks(2), &json!({"data": [full(1), full(2)]}));
    assert_eq!((received, charge(&outcomes)), (2, 3_000));
}

#[test]
fn gotcha_19_one_object_in_the_place_of_an_array() {
    let outcome = row("chatgpt", "Question number 1?", &full(1));
    assert_eq!((outcome.status, outcome.usage.records), (RunStatus::Answered, 1));
}

#[test]
fn gotcha_20_citations_in_every_form() {
    for (citations, expected) in [
        (json!(null), vec![]),
        (json!([]), vec![]),
        (json!(["https://a.example", "https://b.example/"]), vec!["https://a.example", "https://b.example/"]),
        (json!("https://a.example"), vec!["https://a.example"]),
        (json!({"url": "https://a.example"}), vec!["https://a.example"]),
        (
            json!([{"url": "https://a.example"}, {"url": "not a url"}, {"title": "no url"}, null, 7, [], {"url": "https://a.example"}]),
            vec!["https://a.example"],
        ),
        (json!(7), vec![]),
    ] {
        let outcome = with_fields(json!({"citations": citations}));
        let urls: Vec<_> = outcome.citations.iter().map(|citation| citation.url.as_str()).collect();
        assert_eq!(urls, expected);
        assert_eq!(outcome.status, RunStatus::Answered);
    }
    assert!(with_fields(json!({})).citations.is_empty());
}

#[test]
fn gotcha_21_position_as_text_or_number() {
    let cited = json!([{"url": "https://a.example", "position": "3"}, {"url": "https://b.example", "position": 4}, {"url": "https://c.example", "position": "x"}]);
    let positions: Vec<_> = with_fields(json!({"citations": cited})).citations.iter().map(|citation| citation.position).collect();
    assert_eq!(positions, [Some(3), Some(4), None]);
}

#[test]
fn gotcha_22_cited_is_three_valued() {
    let cited = json!([{"url": "https://a.example", "cited": true}, {"url": "https://b.example", "cited": false}, {"url": "https://c.example"}]);
    let flags: Vec<_> = with_fields(json!({"citations": cited})).citations.iter().map(|citation| citation.cited).collect();
    assert_eq!(flags, [Some(true), Some(false), None]);
    let more = json!([{"url": "https://a.example", "cited": false}]);
    let linked =
        with_fields(json!({"citations": more, "links_attached": [{"url": "https://a.example/?utm_source=chatgpt.com"}]}));
    assert_eq!((linked.citations.len(), linked.citations[0].cited), (1, Some(true)), "a link in the text settles it");
}

#[test]
fn gotcha_23_domain_is_a_display_name() {
    let cited = json!([{"url": "https://couloir3.com/", "title": "C", "domain": "Couloir3"}, {"url": "https://a.example", "domain": "https://b.example"}]);
    let outcome = with_fields(json!({"citations": cited}));
    let urls: Vec<_> = outcome.citations.iter().map(|citation| citation.url.as_str()).collect();
    assert_eq!(urls, ["https://couloir3.com/", "https://a.example"], "the URL alone is stored");
}

#[test]
fn gotcha_24_text_fragments_on_urls() {
    let cited = json!([{"url": "https://a.example/x#:~:text=Best%20for%20bakeries"}, {"url": "https://a.example/x"}]);
    let outcome = with_fields(json!({"citations": cited}));
    assert_eq!(outcome.citations.len(), 1, "one page");
    assert_eq!(outcome.citations[0].cited_text.as_deref(), Some("Best for bakeries"));
}

#[test]
fn gotcha_25_tracking_parameters_do_not_make_two_sources() {
    let body = json!({"status": "completed", "output": [
        {"type": "web_search_call", "action": {"type": "search", "sources": [{"url": "https://a.example/x"}, {"url": "https://b.example/?utm_source=openai"}]}},
        {"type": "message", "content": [{"type": "output_text", "text": "A is good.", "annotations": [
            {"type": "url_citation", "url": "https://a.example/x?utm_source=chatgpt.com", "start_index": 0, "end_index": 1}]}]}]});
    let outcome = decode(provider("gpt-4.1").as_ref(), &ask("Q?"), &reply_json(200, &body));
    let stored: Vec<_> = outcome.citations.iter().map(|citation| (citation.url.as_str(), citation.cited)).collect();
    assert_eq!(
        stored,
        [("https://a.example/x?utm_source=chatgpt.com", Some(true)), ("https://b.example/?utm_source=openai", Some(false))]
    );
}

#[test]
fn gotcha_27_feedback_label_and_escaped_brackets() {
    let outcome = with_fields(json!({"answer_text_markdown": "Give feedback\n\nAcme is good \\[1\\] and cheap \\[2\\]."}));
    assert_eq!(outcome.text.as_deref(), Some("Acme is good [1] and cheap [2]."));
}

#[test]
fn gotcha_28_search_triggered_is_a_hint() {
    let outcome = with_fields(json!({"web_search_triggered": false, "web_search_query": ["crm bakery"]}));
    assert_eq!(outcome.web_search_triggered, Some(false));
    assert_eq!(outcome.search_queries, ["crm bakery"], "both are stored as they came");
    assert_eq!(with_fields(json!({})).web_search_triggered, None);
}

#[test]
fn gotcha_29_a_country_can_make_perplexity_fail() {
    let sent = json!([{"error": "Crawler error: waiting for selector … timeout 30000ms exceeded", "input": {"index": 1}}]);
    let outcome = row("perplexity", QUESTION, &sent);
    assert_eq!(outcome.error.unwrap().context.code.as_deref(), Some("selector_timeout"));
    let mut settings = settings();
    settings.datasets.without_country = vec!["Perplexity".into()];
    let provider = provider_for("perplexity", &settings).unwrap();
    let asks = [ask_from(QUESTION, "US")];
    assert_eq!(body(&snapshot(provider.as_ref()).trigger(&asks).unwrap())[0].get("country"), None);
    let sent = json!([{"prompt": QUESTION, "country": "", "index": 1, "answer_text": ANSWER}]);
    let (outcomes, _, _) = rows(provider.as_ref(), &asks, &reply_json(200, &sent));
    assert_eq!((outcomes[0].status, outcomes[0].location_applied.as_deref()), (RunStatus::Answered, None), "recorded as dropped");
}

#[test]
fn gotcha_30_a_country_can_be_refused() {
    let provider = provider("chatgpt");
    let asks = [ask_from("A question?", "KP"), ask_from("Another question?", "KP")];
    let body = json!({"error": "country is not available for this scraper"});
    let error = snapshot(provider.as_ref()).error(&asks, &reply_json(400, &body));
    assert_eq!(
        (error.kind, error.context.code.as_deref(), error.context.field.as_deref()),
        (ErrorKind::InvalidRequest, Some("country_not_available"), Some("country"))
    );
    assert_eq!(error.context.bad_inputs, [0, 1], "all inputs of the trigger share it");
    assert!(error.message.contains("without_country"), "{}", error.message);
}

#[test]
fn gotcha_31_countries_go_out_in_upper_case() {
    for model in ["chatgpt", "perplexity", "gemini"] {
        let provider = provider(model);
        let request = snapshot(provider.as_ref()).trigger(&[ask_from(QUESTION, "kr")]).unwrap();
        assert_eq!(body(&request)[0]["country"], "KR");
        let (outcomes, _, _) = rows(
            provider.as_ref(),
            &[ask_from(QUESTION, "kr")],
            &reply_json(200, &json!([{"index": 1, "country": "kr", "answer_text": ANSWER}])),
        );
        assert_eq!(outcomes[0].location_applied.as_deref(), Some("KR"));
    }
}

#[test]
fn gotcha_32_a_429_names_itself_and_its_wait() {
    let provider = provider("chatgpt");
    let error = snapshot(provider.as_ref()).error(&[], &reply_with(429, &[("retry-after", "9")], "Running jobs: 100>=100"));
    assert_eq!((error.kind, error.context.retry_after_ms), (ErrorKind::RateLimited, Some(9_000)));
    let settings = Settings::default().retry;
    assert!(matches!(decide(&error, CallKind::Free, 1, 0, &settings, 0.0), Decision::Retry { after } if after.as_secs() == 9));
    assert_eq!(decide(&error, CallKind::Trigger, 3, 0, &settings, 0.0), Decision::GiveUp);
}

#[test]
fn gotcha_33_an_ambiguous_trigger_is_never_sent_again() {
    let provider = provider("chatgpt");
    let side = snapshot(provider.as_ref());
    let settings = Settings::default().retry;
    let lost = overheard::Error::new(ErrorKind::OutcomeUnknown, "no reply");
    for error in [
        lost,
        side.error(&[], &reply(502, "")),
        side.error(&[], &reply(408, "")),
        side.decode_trigger(&reply(200, "{}")).unwrap_err(),
    ] {
        assert_eq!(decide(&error, CallKind::Trigger, 1, 0, &settings, 0.0), Decision::GiveUp, "{:?}", error.kind);
    }
    let asks = asks(2);
    let inputs = snapshot(provider.as_ref()).trigger(&asks).unwrap().body;
    assert!(side.match_inputs(&asks, &reply(200, inputs)).unwrap().are_all(2), "the orphan is recognised by its inputs");
}

#[test]
fn gotcha_34_search_query_as_text_or_list() {
    for (sent, expected) in [
        (json!("crm bakery"), vec!["crm bakery"]),
        (json!(["crm", "bakery"]), vec!["crm", "bakery"]),
        (json!(null), vec![]),
        (json!(""), vec![]),
        (json!(["", 7, null, "crm"]), vec!["crm"]),
    ] {
        assert_eq!(with_fields(json!({"web_search_query": sent})).search_queries, expected);
    }
}

#[test]
fn gotcha_35_booleans_as_text() {
    for (sent, expected) in [
        (json!("true"), Some(true)),
        (json!("False"), Some(false)),
        (json!(1), Some(true)),
        (json!("perhaps"), None),
        (json!([]), None),
    ] {
        assert_eq!(with_fields(json!({"web_search_triggered": sent})).web_search_triggered, expected);
        let citations = json!([{"url": "https://a.example", "cited": sent}]);
        assert_eq!(with_fields(json!({"citations": citations})).citations[0].cited, expected);
    }
}

#[test]
fn gotcha_36_an_echoed_prompt_that_is_not_the_question() {
    let mut localised = full(2);
    localised["prompt"] = json!("Question number 2? Ensure your response is localized to the United States");
    let (outcomes, _, foreign) = join(&asks(2), &json!([localised, full(1)]));
    assert_eq!(
        (texts(&outcomes), foreign),
        (vec!["This is the answer number 1.", "This is the answer number 2."], 0),
        "by index"
    );
}

#[test]
fn gotcha_37_annotations_empty_after_a_search() {
    let body = json!({"status": "completed", "output": [
        {"type": "web_search_call", "action": {"type": "search", "query": "crm", "sources": [{"type": "url", "url": "https://a.example/x"}]}},
        {"type": "message", "content": [{"type": "output_text", "text": "See [Acme](https://acme.example).", "annotations": []}]}]});
    let outcome = decode(provider("gpt-4.1").as_ref(), &ask("Q?"), &reply_json(200, &body));
    assert_eq!(outcome.text.as_deref(), Some("See [Acme](https://acme.example)."), "the inline link stays for the text analysis");
    let stored: Vec<_> = outcome.citations.iter().map(|citation| (citation.url.as_str(), citation.cited)).collect();
    assert_eq!(stored, [("https://a.example/x", Some(false))]);
}

#[test]
fn gotcha_39_no_function_tool_is_ever_sent() {
    for model in ["gpt-4.1", "claude-sonnet-4-5"] {
        let provider = provider(model);
        let sent = body(&direct(provider.as_ref()).request(&ask(QUESTION)).unwrap());
        let kinds: Vec<_> = sent["tools"].as_array().unwrap().iter().map(|tool| tool["type"].as_str().unwrap()).collect();
        assert!(kinds.len() == 1 && kinds[0].starts_with("web_search"), "{kinds:?}");
    }
}

#[test]
fn gotcha_40_searches_of_a_turn_are_capped() {
    let provider = provider("claude-sonnet-4-5");
    let sent = body(&direct(provider.as_ref()).request(&ask(QUESTION)).unwrap());
    assert_eq!(sent["tools"][0]["max_uses"], 5);
    let openai = crate::providers_support::provider("gpt-4.1");
    assert_eq!(body(&direct(openai.as_ref()).request(&ask(QUESTION)).unwrap())["max_tool_calls"], 5);
    let mut settings = settings();
    settings.max_continuations = 0;
    let capped = provider_for("claude-sonnet-4-5", &settings).unwrap();
    let paused = sample("anthropic/anthropic-pause-turn.recorded.trimmed.json")[0].clone();
    let outcome = decode(capped.as_ref(), &ask(QUESTION), &reply_json(200, &paused));
    assert_eq!(outcome.finish_reason.as_deref(), Some("pause_turn"), "what there is, is kept");
    assert_eq!(outcome.cost_micro_usd, Some(MicroUsd(401_468 * 3 + 792 * 15 + 10 * 10_000)));
}

#[test]
fn gotcha_41_an_anthropic_search_error_inside_a_200() {
    let failure = sample("anthropic/anthropic-error-bodies.json")[4]["body"].clone();
    let message = |content: Value| {
        json!({"content": content, "stop_reason": "end_turn", "model": "m",
               "usage": {"input_tokens": 100, "output_tokens": 10, "server_tool_use": {"web_search_requests": 0}}})
    };
    let provider = provider("claude-sonnet-4-5");
    let answered = message(json!([failure, {"type": "text", "text": "From memory: Acme."}]));
    let outcome = decode(provider.as_ref(), &ask(QUESTION), &reply_json(200, &answered));
    assert_eq!((outcome.status, outcome.text.as_deref(), outcome.error), (RunStatus::Answered, Some("From memory: Acme."), None));
    assert_eq!(outcome.finish_reason.as_deref(), Some("end_turn (web_search: max_uses_exceeded)"));
    assert_eq!((outcome.usage.searches, outcome.cost_micro_usd), (0, Some(MicroUsd(450))), "a failed search is not charged");
    let silent = decode(provider.as_ref(), &ask(QUESTION), &reply_json(200, &message(json!([failure]))));
    assert_eq!(silent.status, RunStatus::NoAnswer);
    assert!(silent.error.unwrap().message.contains("max_uses_exceeded"));
}

#[test]
fn gotcha_42_insufficient_quota_is_a_429_and_fatal() {
    let body = sample("openai/openai-error-bodies.json")[0]["body"].clone();
    let provider = provider("gpt-4.1");
    let error = direct(provider.as_ref()).error(&reply_json(429, &body));
    assert!(error.kind.stops_provider());
    assert_eq!(decide(&error, CallKind::Paid, 1, 0, &Settings::default().retry, 0.0), Decision::GiveUp);
}

#[test]
fn gotcha_44_response_raw_is_never_an_answer() {
    let stream = "event: message\ndata: {\"text\": \"Acme is the best CRM for small bakeries.\"}\n".repeat(100);
    for model in ["chatgpt", "perplexity", "gemini"] {
        let outcome = row(model, QUESTION, &json!([{"prompt": QUESTION, "answer_text": "", "response_raw": stream}]));
        assert_eq!((outcome.status, outcome.text, outcome.usage.records), (RunStatus::NoAnswer, None, 1), "{model}");
    }
}

#[test]
fn gotcha_45_search_and_schema_are_two_calls() {
    let provider = provider("claude-sonnet-4-5");
    let answer = body(&direct(provider.as_ref()).request(&ask(QUESTION)).unwrap());
    assert_eq!((answer.get("output_config"), answer.get("tool_choice")), (None, None));
    let model = overheard::providers::structured_model("claude-sonnet-4-5", &settings()).unwrap();
    let request =
        overheard::domain::StructuredRequest { schema_name: "s".into(), schema: json!({}), system: "s".into(), user: "u".into() };
    let extraction = body(&model.request(&request).unwrap());
    assert_eq!((extraction.get("tools"), extraction.get("tool_choice")), (None, None));
}

#[test]
fn gotcha_47_an_empty_200_is_not_ready() {
    let provider = provider("chatgpt");
    for body in ["", "\n", "  \r\n"] {
        let decoded = snapshot(provider.as_ref()).decode_download(&[ask(QUESTION)], &reply(200, body)).unwrap();
        assert!(matches!(decoded, Download::NotReady(None)));
    }
    assert!(snapshot(provider.as_ref()).download("s").unwrap().url.ends_with("format=json"));
}

#[test]
fn gotcha_48_collecting_then_building_with_a_message() {
    let provider = provider("chatgpt");
    let side = snapshot(provider.as_ref());
    for (status, message) in [("collecting", "Job is not finished"), ("building", "Almost there")] {
        let body = json!({"status": status, "message": message});
        assert_eq!(side.decode_progress(&reply_json(200, &body)).unwrap(), Progress::Pending);
        assert!(matches!(side.decode_download(&[ask(QUESTION)], &reply_json(200, &body)).unwrap(), Download::NotReady(_)));
    }
}

#[test]
fn gotcha_49_not_ready_as_404() {
    let provider = provider("chatgpt");
    let error = snapshot(provider.as_ref()).error(&[], &reply(404, "Snapshot does not exist"));
    assert_eq!(
        (error.kind, error.context.status_code),
        (ErrorKind::SnapshotGone, Some(404)),
        "the engine knows when it triggered"
    );
    let waiting = snapshot(provider.as_ref()).error(&[], &reply(404, "Snapshot is not ready yet"));
    assert_eq!(waiting.kind, ErrorKind::Overloaded, "where the words say so, it is asked again");
}

#[test]
fn gotcha_50_text_in_the_place_of_title() {
    let cited = json!([{"url": "https://a.example", "text": "Acme"}, {"url": "https://b.example", "title": "B", "text": "x"}]);
    let outcome = with_fields(json!({"citations": cited}));
    let titles: Vec<_> = outcome.citations.iter().map(|citation| citation.title.as_deref()).collect();
    assert_eq!(titles, [Some("Acme"), Some("B")]);
}

#[test]
fn gotcha_51_missing_evidence_is_unknown_and_never_a_crash() {
    for sent in [json!("perhaps"), json!(null), json!({}), json!([1])] {
        let citations = json!([{"url": "https://a.example", "cited": sent, "title": sent, "position": sent}]);
        let outcome = with_fields(json!({"citations": citations, "search_sources": sent, "links_attached": sent, "model": sent}));
        assert_eq!((outcome.status, outcome.citations[0].cited), (RunStatus::Answered, None));
    }
}

#[test]
fn gotcha_52_omitted_inputs_come_back_empty() {
    let sent = json!({"country": "", "index": "", "model": "", "web_search_query": "", "error": "", "error_code": "",
                      "input": {"country": "", "index": "", "additional_prompt": ""}});
    let outcome = with_fields(sent);
    assert_eq!(
        (outcome.status, outcome.error, outcome.served_model, outcome.location_applied),
        (RunStatus::Answered, None, None, None)
    );
    assert!(outcome.search_queries.is_empty());
}
