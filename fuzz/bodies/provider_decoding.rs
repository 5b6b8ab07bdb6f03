//! What `provider_decoding` does with an input: every decoder reads it as a reply, and what comes out must hold.
//!
//! An input looks like HTTP: a status, header lines, an empty line, the body; `=====` on a line of its own begins the next
//! reply of the same turn. Any bytes are an input: what cannot be read is a status of 200 or part of the body. Decoders see
//! every status, also those that the engine would not hand to them. Shared by the fuzzer and by `tests/rust/fuzz_seeds.rs`.

use std::sync::{Arc, LazyLock};

use http::{HeaderName, HeaderValue};
use overheard::config::{Secret, Settings};
use overheard::domain::{Location, MicroUsd, Outcome, RunStatus};
use overheard::error::{BODY_EXCERPT, Error};
use overheard::http::{HttpRequest, HttpResponse};
use overheard::providers::{
    Ask, DirectProvider, Download, Inputs, Protocol, Provider, SnapshotProvider, StructuredModel, Turn, provider_for,
    structured_model,
};

/// Between two replies of one turn.
const NEXT: &[u8] = b"\n=====\n";
/// Replies of a turn at most: more would only repeat.
const MOST_REPLIES: usize = 3;
/// Characters of an error's message, its cell and advice included; the provider's words in it are cut.
const LONGEST_MESSAGE: usize = 1_000;

const KEY: &str = "sk-fuzz-Zx81mQ7TtY4vB2nK9cD3";

struct Codecs {
    providers: Vec<Arc<dyn Provider>>,
    structured: Vec<Arc<dyn StructuredModel>>,
    asks: Vec<Ask>,
}

static CODECS: LazyLock<Codecs> = LazyLock::new(|| {
    let mut settings = Settings::default();
    for account in [&mut settings.openai, &mut settings.anthropic, &mut settings.brightdata] {
        account.api_key = Secret::new(KEY);
    }
    let mut chat = settings.clone();
    chat.openai_chat_completions = true;
    let mut providers: Vec<Arc<dyn Provider>> = ["gpt-4.1", "claude-sonnet-4-5", "chatgpt", "perplexity", "gemini"]
        .iter()
        .map(|model| provider_for(model, &settings).unwrap())
        .collect();
    providers.push(provider_for("gpt-4.1", &chat).unwrap());
    let structured =
        ["gpt-4.1-mini", "claude-haiku-4-5"].iter().map(|model| structured_model(model, &settings).unwrap()).collect();
    // Two equal questions: the join deals their rows out.
    let asks = [("Top hotels in New York", ""), ("Best local restaurants", "JP"), ("Best local restaurants", "JP")]
        .iter()
        .zip(1..)
        .map(|((question, country), number)| Ask {
            key: format!("q{number}|model|anywhere|1").into(),
            question: (*question).into(),
            location: (!country.is_empty()).then(|| Arc::new(Location { country: (*country).into(), ..Location::default() })),
            web_search: true,
        })
        .collect();
    Codecs { providers, structured, asks }
});

/// Reads the input as replies and gives them to every decoder.
///
/// # Panics
/// When a decoder panics or gives what its contract excludes.
pub(crate) fn check(input: &[u8]) {
    let replies = replies(input);
    for provider in &CODECS.providers {
        match provider.protocol() {
            Protocol::Direct(direct) => check_direct(direct, &replies),
            Protocol::Snapshot(snapshot) => replies.iter().for_each(|reply| check_snapshot(snapshot, reply)),
            Protocol::Host(name) => panic!("{name} is no built-in provider"),
        }
    }
    for model in &CODECS.structured {
        replies.iter().for_each(|reply| check_structured(model.as_ref(), reply));
    }
}

fn replies(input: &[u8]) -> Vec<HttpResponse> {
    let (mut replies, mut rest) = (Vec::new(), input);
    while replies.len() < MOST_REPLIES {
        let end = rest.windows(NEXT.len()).position(|window| window == NEXT);
        replies.push(reply(end.map_or(rest, |end| &rest[..end])));
        match end {
            Some(end) => rest = &rest[end + NEXT.len()..],
            None => break,
        }
    }
    replies
}

fn reply(input: &[u8]) -> HttpResponse {
    let (head, body) = match input.windows(2).position(|window| window == b"\n\n") {
        Some(end) => (&input[..end], &input[end + 2..]),
        None => (&[][..], input),
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let status = lines.next().and_then(|line| std::str::from_utf8(line).ok()?.trim().parse().ok()).unwrap_or(200);
    let mut reply = HttpResponse { status, headers: http::HeaderMap::new(), body: body.to_vec().into() };
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(line[..colon].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii())) {
            reply.headers.append(name, value);
        }
    }
    reply
}

fn check_direct(direct: &dyn DirectProvider, replies: &[HttpResponse]) {
    let ask = &CODECS.asks[1];
    for count in 1..=replies.len() {
        match direct.decode(ask, &replies[..count]) {
            Ok(Turn::Done(outcome)) => check_outcome(&outcome),
            Ok(Turn::Continue(request)) => check_request(&request),
            Err(error) => check_error(&error),
        }
    }
    check_error(&direct.error(&replies[0]));
}

fn check_snapshot(snapshot: &dyn SnapshotProvider, reply: &HttpResponse) {
    match snapshot.decode_trigger(reply) {
        Ok(id) => check_id(snapshot, &id),
        Err(error) => check_error(&error),
    }
    if let Err(error) = snapshot.decode_progress(reply) {
        check_error(&error);
    }
    match snapshot.decode_list(reply) {
        Ok(listed) => listed.iter().take(10).for_each(|listed| check_id(snapshot, &listed.id)),
        Err(error) => check_error(&error),
    }
    for count in [1, CODECS.asks.len()] {
        let asks = &CODECS.asks[..count];
        match snapshot.match_inputs(asks, reply) {
            Ok(inputs) => check_inputs(&inputs, count),
            Err(error) => check_error(&error),
        }
        match snapshot.decode_download(asks, reply) {
            Ok(Download::Rows { outcomes, received, foreign }) => {
                assert_eq!(outcomes.len(), count, "one outcome an ask");
                assert!(foreign <= received);
                outcomes.iter().for_each(check_outcome);
                let answered = outcomes.iter().filter(|outcome| outcome.status == RunStatus::Answered).count();
                assert!(answered + foreign <= received, "no row answers two questions");
            }
            Ok(Download::NotReady(_)) => {}
            Err(error) => check_error(&error),
        }
        let error = snapshot.error(asks, reply);
        assert!(error.context.bad_inputs.iter().all(|place| *place < count) && error.context.bad_inputs.is_sorted());
        check_error(&error);
    }
}

fn check_structured(model: &dyn StructuredModel, reply: &HttpResponse) {
    let (usage, cost) = model.charge(reply);
    assert!(cost.is_none_or(|cost| cost >= MicroUsd::ZERO));
    match model.decode(reply) {
        Ok(decoded) => assert_eq!((decoded.usage, decoded.cost_micro_usd), (usage, cost), "one charge, told twice"),
        Err(error) => check_error(&error),
    }
    check_error(&model.error(reply));
}

fn check_outcome(outcome: &Outcome) {
    let text = outcome.text.as_deref();
    assert!(text.is_none_or(|text| !text.trim().is_empty()), "no text is None, not blank");
    match outcome.status {
        RunStatus::Answered => assert!(text.is_some() && outcome.error.is_none()),
        RunStatus::Refused => assert!(outcome.error.is_none()),
        RunStatus::NoAnswer | RunStatus::Failed => assert!(outcome.error.is_some(), "a run without an answer says why"),
    }
    outcome.error.iter().for_each(check_error);
    assert!(outcome.cost_micro_usd.is_none_or(|cost| cost >= MicroUsd::ZERO));
    let length = text.map_or(0, |text| text.chars().count());
    for citation in &outcome.citations {
        assert!(!citation.url.trim().is_empty());
        let (Some(start), Some(end)) = (citation.start, citation.end) else {
            assert_eq!(citation.start, citation.end, "both or neither");
            continue;
        };
        assert!(start <= end);
        if outcome.status == RunStatus::Answered {
            assert!(end as usize <= length, "offsets are characters of the answer");
        }
    }
    // It goes through the journal as JSON.
    let written = serde_json::to_string(outcome).unwrap();
    let read: Outcome = serde_json::from_str(&written).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), written);
}

fn check_error(error: &Error) {
    assert!(!error.message.trim().is_empty());
    assert!(error.message.chars().count() <= LONGEST_MESSAGE, "{} characters", error.message.chars().count());
    assert!(!error.message.contains(char::is_control), "messages end on terminals: {:?}", error.message);
    assert!(error.context.body.as_deref().is_none_or(|body| body.chars().count() <= BODY_EXCERPT + 1));
    let told = format!("{error} {error:?}");
    assert!(!told.contains(&KEY[8..]), "the key stands in an error");
}

fn check_request(request: &HttpRequest) {
    assert!(request.url.starts_with("https://"));
    assert!(serde_json::from_slice::<serde_json::Value>(&request.body).is_ok(), "a continued turn is JSON");
}

/// The provider chose the id: it may change neither host nor call nor query.
fn check_id(snapshot: &dyn SnapshotProvider, id: &str) {
    assert!(!id.trim().is_empty());
    let plain = snapshot.progress("plain").unwrap().url;
    let prefix = plain.strip_suffix("/plain").unwrap();
    for request in [snapshot.progress(id), snapshot.download(id), snapshot.inputs(id), snapshot.cancel(id)] {
        let url = request.unwrap().url;
        let path = url.split('?').next().unwrap();
        assert!(!url.contains(['#', '\n', ' ']) && path.matches('/').count() <= prefix.matches('/').count() + 2, "{url}");
    }
    let url = snapshot.progress(id).unwrap().url;
    assert!(url.starts_with(prefix) && !url.contains('?'), "{url}");
}

fn check_inputs(inputs: &Inputs, asks: usize) {
    let mut taken: Vec<usize> = inputs.asks.iter().flatten().copied().collect();
    taken.sort_unstable();
    assert!(taken.iter().all(|ask| *ask < asks) && taken.windows(2).all(|pair| pair[0] != pair[1]), "each ask once");
}
