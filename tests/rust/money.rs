//! Money over several starts: a charge above its reservation, charges that are not known, what belongs to no cell, the quote.

use std::sync::Arc;
use std::time::Duration;

use overheard::ErrorKind;
use overheard::domain::{MicroUsd, ModelRunStatus, Outcome, Summary};
use overheard::journal::disk::OsDisk;
use overheard::journal::{Journal, Overhead};
use overheard::pipeline::{RunSpec, quote_with_store, run_with_store};
use overheard::store::{MemoryStore, Store};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::direct_engine::{Scripted, response, settings};
use crate::support::{NoHttp, TestHost, answered, context, failing, spec};

const GPT: &str = "gpt-4.1";
const CLAUDE: &str = "claude-sonnet-4-5";

/// A reply of the Messages API of 10 + 20 tokens.
fn message() -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": CLAUDE, "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Acme is a company."}], "usage": {"input_tokens": 10, "output_tokens": 20},
    })
}

/// A response that read a hundred million tokens.
fn dear() -> Value {
    let mut reply = response();
    reply["usage"]["input_tokens"] = json!(100_000_000);
    reply
}

fn unpriced() -> Value {
    let mut reply = response();
    reply.as_object_mut().unwrap().remove("usage");
    reply
}

fn direct(questions: usize, models: &[&str], change: impl FnOnce(&mut Value)) -> RunSpec {
    spec(questions, |spec| {
        spec["locations"] = json!([{"country": "US"}]);
        spec["models"] = models.iter().map(|model| json!({"model": model, "run_id": format!("run-{model}")})).collect();
        spec["batch_size"] = json!(models.len());
        spec["web_search"] = json!(false);
        spec["settings"] = settings();
        spec["settings"]["openai"]["max_in_flight"] = json!(1);
        change(spec);
    })
}

async fn start(provider: &Arc<Scripted>, store: &Arc<MemoryStore>, spec: RunSpec) -> (Summary, String) {
    let host = TestHost::new(|_, _| panic!("no custom provider here"));
    let work = run_with_store(context(provider.clone()), spec, host.host.clone(), store.clone(), CancellationToken::new());
    let summary = tokio::time::timeout(Duration::from_secs(3_600), work).await.expect("a call waits for ever").unwrap();
    (summary, host.log())
}

async fn stored_cost(store: &MemoryStore) -> i64 {
    let rows = store.existing_keys("batch".into(), None, 10_000).await.unwrap();
    rows.iter().map(|row| row.cost_micro_usd).sum::<i64>()
        + store.model_runs("batch").iter().map(|run| run.overhead_micro_usd).sum::<i64>()
}

#[tokio::test(start_paused = true)]
async fn a_charge_above_its_reservation_stops_that_model_and_no_other() {
    let provider = Scripted::new(|path, _, _| Ok((200, if path.contains("messages") { message() } else { dear() })));
    let store = Arc::new(MemoryStore::default());
    let (summary, log) = start(&provider, &store, direct(10, &[GPT, CLAUDE], |_| {})).await;
    let asked = |part: &str| provider.calls().iter().filter(|(path, _, _)| path.contains(part)).count();
    assert_eq!((asked("responses"), asked("messages")), (1, 10), "nothing new is asked of the model, the other goes on");
    assert_eq!((summary.status.as_str(), summary.processed, summary.failed), ("partial", 11, 0));
    let charged = 100_000_000 * 2 + 100 * 8;
    let row = store.runs("batch").into_iter().find(|run| run.key.model == GPT).unwrap();
    assert_eq!(row.outcome.cost_micro_usd, Some(MicroUsd(charged)), "the answer is paid, so it is kept");
    assert!(summary.over_reserved_micro_usd > 199_000_000 && summary.over_reserved_micro_usd < charged);
    assert_eq!(summary.total_cost_micro_usd, stored_cost(&store).await);
    let reserved = MicroUsd(charged - summary.over_reserved_micro_usd);
    let [error] = summary.processing_errors.as_slice() else { panic!("{:?}", summary.processing_errors) };
    for part in [
        GPT,
        &row.key.to_string(),
        &format!("${}", MicroUsd(charged)),
        &format!("${reserved}"),
        "OVERHEARD_PRICES",
        "max_output_tokens",
    ] {
        assert!(error.message.contains(part), "{part} is missing: {}", error.message);
    }
    assert_eq!((error.kind, error.context.code.as_deref()), (ErrorKind::Budget, Some("over_reserved")));
    assert!(log.contains("the model is stopped"), "{log}");
    let status = |model: &str| store.model_runs("batch").into_iter().find(|run| run.model == model).unwrap().status;
    assert_eq!((status(GPT), status(CLAUDE)), (ModelRunStatus::Queued, ModelRunStatus::Completed));

    // The price is corrected: the next start asks what is open, and nothing else.
    let sound = Scripted::new(|_, _, _| Ok((200, response())));
    let (summary, _) = start(&sound, &store, direct(10, &[GPT, CLAUDE], |_| {})).await;
    assert_eq!((summary.status.as_str(), sound.calls().len(), summary.over_reserved_micro_usd), ("complete", 9, 0));
    assert_eq!(summary.total_cost_micro_usd, stored_cost(&store).await);
}

#[tokio::test(start_paused = true)]
async fn an_extraction_model_that_is_too_dear_stops_extraction_and_not_execution() {
    let provider = Scripted::new(|_, _, body| {
        let structured = body["text"]["format"]["schema"].is_object();
        Ok((200, if structured { dear() } else { response() }))
    });
    let store = Arc::new(MemoryStore::default());
    let (summary, _) = start(&provider, &store, direct(10, &[GPT], |spec| spec["extraction"] = json!("llm"))).await;
    assert_eq!((summary.answered, summary.evaluations), (10, 0));
    let structured = provider.calls().iter().filter(|(_, body, _)| body["text"]["format"]["schema"].is_object()).count();
    assert_eq!(structured, 1, "the call for name variations told it");
    assert_eq!(summary.total_cost_micro_usd, stored_cost(&store).await);
    assert!(summary.over_reserved_micro_usd > 0);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_charge_is_counted_over_all_starts_and_holds_its_most_of_the_cap() {
    let provider = Scripted::new(|_, number, _| Ok((200, if number == 0 { unpriced() } else { response() })));
    let store = Arc::new(MemoryStore::default());
    let worst = quote_with_store(&direct(1, &[GPT], |_| {}), &MemoryStore::default()).await.unwrap().worst_case_micro_usd;
    assert!(worst > 2_800);
    let capped = |cap: i64| direct(3, &[GPT], move |spec| spec["max_cost_micro_usd"] = json!(cap));
    // Room for the unknown charge at its most, and for less than another call at its most.
    let (summary, _) = start(&provider, &store, capped(worst * 2 - 1)).await;
    assert_eq!((provider.calls().len(), summary.unpriced, summary.total_cost_micro_usd), (1, 1, 0), "unknown is not zero");
    let (summary, log) = start(&provider, &store, capped(worst * 2 - 1)).await;
    assert_eq!((provider.calls().len(), summary.unpriced), (1, 1), "in a later start neither");
    assert!(log.contains("max_cost covers not even the first call"), "{log}");
    let (summary, _) = start(&provider, &store, capped(worst * 2 + 2_800)).await;
    assert_eq!((summary.status.as_str(), summary.unpriced, summary.total_cost_micro_usd), ("complete", 1, 5_600));
    let (again, _) = start(&provider, &store, capped(worst * 2 + 2_800)).await;
    assert_eq!((again.unpriced, again.total_cost_micro_usd, provider.calls().len()), (1, 5_600, 3));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_charge_that_failed_stays_as_what_may_have_been_charged_when_it_is_asked_again() {
    let store = Arc::new(MemoryStore::default());
    let run = async |spec, host: &TestHost| {
        run_with_store(context(Arc::new(NoHttp)), spec, host.host.clone(), store.clone(), CancellationToken::new()).await.unwrap()
    };
    let one = |spec: &mut Value| spec["locations"] = json!([{"country": "US"}]);
    let bad = TestHost::new(|_, asks| {
        Ok(asks.iter().map(|_| Outcome { cost_micro_usd: None, ..failing(ErrorKind::Record) }).collect())
    });
    let first = run(spec(2, one), &bad).await;
    assert_eq!((first.failed, first.unpriced, first.maybe_charged_micro_usd), (2, 2, 0));
    let good = TestHost::new(|_, asks| Ok(asks.iter().map(|_| answered("Acme")).collect()));
    let again = spec(2, |spec| {
        one(spec);
        spec["retry_failed"] = json!(true);
    });
    let second = run(again.clone(), &good).await;
    assert_eq!((second.answered, second.unpriced), (2, 0));
    assert_eq!((second.total_cost_micro_usd, second.maybe_charged_micro_usd), (2_000, 2_000));
    let third = run(again, &good).await;
    assert_eq!(Summary { requests_made: 0, ..second }, Summary { requests_made: 0, ..third });
}

#[tokio::test(start_paused = true)]
async fn what_failures_cost_has_a_line_of_its_own_until_they_are_mended() {
    let store = Arc::new(MemoryStore::default());
    let start = |resume: bool| {
        spec(4, move |spec| {
            spec["locations"] = json!([{"country": "US"}]);
            spec["retry_failed"] = json!(resume);
        })
    };
    let run = async |spec, host: &TestHost| {
        run_with_store(context(Arc::new(NoHttp)), spec, host.host.clone(), store.clone(), CancellationToken::new()).await.unwrap()
    };
    let charged = || Outcome { cost_micro_usd: Some(MicroUsd(700)), ..failing(ErrorKind::Record) };
    let bad = TestHost::new(move |_, asks| {
        Ok(asks.iter().map(|ask| if ask.question.contains('1') { charged() } else { answered("Acme") }).collect())
    });
    let first = run(start(false), &bad).await;
    assert_eq!((first.failed, first.total_cost_micro_usd, first.charged_failures_micro_usd), (1, 3_700, 700));
    let again = run(start(false), &bad).await;
    assert_eq!((again.total_cost_micro_usd, again.charged_failures_micro_usd), (3_700, 700), "over all starts");
    let good = TestHost::new(|_, asks| Ok(asks.iter().map(|_| answered("Acme")).collect()));
    let last = run(start(true), &good).await;
    assert_eq!((last.failed, last.total_cost_micro_usd, last.charged_failures_micro_usd), (0, 4_700, 0), "now it has an answer");
    assert_eq!(last.total_cost_micro_usd, stored_cost(&store).await);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_stops_a_users_provider_keeps_what_it_cost() {
    let store = Arc::new(MemoryStore::default());
    let host = TestHost::new(|_, asks| {
        Ok(asks.iter().map(|_| Outcome { cost_micro_usd: Some(MicroUsd(300)), ..failing(ErrorKind::QuotaExhausted) }).collect())
    });
    let one = spec(1, |spec| spec["locations"] = json!([{"country": "US"}]));
    let work = run_with_store(context(Arc::new(NoHttp)), one, host.host.clone(), store.clone(), CancellationToken::new());
    let summary = work.await.unwrap();
    assert_eq!((summary.total_cost_micro_usd, summary.charged_failures_micro_usd), (300, 300));
    assert_eq!(stored_cost(&store).await, 300);
}

#[tokio::test(start_paused = true)]
async fn a_quote_counts_what_is_open_by_account_and_tells_what_the_cap_does_not_cover() {
    let provider = Scripted::new(|path, _, _| Ok((200, if path.contains("messages") { message() } else { response() })));
    let store = Arc::new(MemoryStore::default());
    start(&provider, &store, direct(4, &[GPT], |_| {})).await;
    let both = |cap: i64| {
        direct(10, &[GPT, CLAUDE], move |spec| {
            spec["extraction"] = json!("llm");
            spec["max_cost_micro_usd"] = json!(cap);
        })
    };
    let quote = quote_with_store(&both(100_000_000), store.as_ref()).await.unwrap();
    assert_eq!((quote.cells, quote.stored, quote.spent_micro_usd), (16, 4, 4 * 2_800));
    let questions: Vec<u64> = quote.lines.iter().map(|line| line.questions).collect();
    assert_eq!(questions, [6, 10, 0, 0], "the models, then names and extraction");
    assert_eq!(quote.lines[3].calls, 32, "two calls an answer that is not extracted");
    let accounts: Vec<&str> = quote.accounts.iter().map(|account| account.provider.as_str()).collect();
    assert_eq!(accounts, ["openai", "anthropic"]);
    assert_eq!(quote.accounts.iter().map(|account| account.worst_case_micro_usd).sum::<i64>(), quote.worst_case_micro_usd);
    assert!(quote.uncovered.is_empty() && quote.expected_micro_usd <= quote.worst_case_micro_usd);
    let tight = quote_with_store(&both(4 * 2_800 + 100), store.as_ref()).await.unwrap();
    assert_eq!(tight.uncovered.len(), 2, "{:?}", tight.uncovered);
    assert_eq!(provider.calls().len(), 4, "a quote sends nothing");
}

#[tokio::test(start_paused = true)]
async fn overhead_is_kept_on_the_model_run_and_counts_for_the_whole_batch() {
    let provider = Scripted::new(|_, _, body| {
        let schema = &body["text"]["format"]["schema"];
        let json = if schema["properties"].as_object().is_some_and(|names| names.contains_key("competitors")) {
            "{\"competitors\": []}"
        } else {
            "{\"broken\": "
        };
        Ok((200, if schema.is_object() { crate::direct_engine::structured(json) } else { response() }))
    });
    let store = Arc::new(MemoryStore::default());
    let one = direct(2, &[GPT], |spec| {
        spec["extraction"] = json!("llm");
        spec["batch_overhead_micro_usd"] = json!(1_000); // of another model run, which another process works on
        spec["batch_overhead_maybe_charged_micro_usd"] = json!(30);
        spec["models"][0]["overhead_micro_usd"] = json!(400);
    });
    let (summary, _) = start(&provider, &store, one).await;
    let row = &store.model_runs("batch")[0];
    let names = row.overhead_micro_usd - 400;
    assert_eq!(names, 2 * 56, "two calls for name variations, both refused");
    let rows = stored_cost(&store).await - row.overhead_micro_usd;
    assert_eq!(summary.total_cost_micro_usd, rows + 1_000 + names);
    assert_eq!(summary.maybe_charged_micro_usd, 30);
}

#[tokio::test]
async fn a_journal_of_version_1_gives_what_the_batch_lacks_to_the_first_model_run_once() {
    let folder = crate::journal::Folder::new();
    let (journal, _) = Journal::open(Arc::new(OsDisk), &folder.0, "batch", &[GPT.to_owned()]).unwrap();
    journal.overhead(Overhead { model: Some("of nobody".into()), micro_usd: 1, ..Overhead::default() }).await.unwrap();
    journal.finish().await;
    drop(journal);
    let path = folder.journal();
    crate::journal::wait_for_lock(&path).await;
    let line = "{\"kind\":\"overhead\",\"micro_usd\":900}";
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend_from_slice(format!("{:08x} {line}\n", crc32fast::hash(line.as_bytes())).as_bytes());
    std::fs::write(&path, bytes).unwrap();

    let provider = Scripted::new(|_, _, _| Ok((200, response())));
    let store = Arc::new(MemoryStore::default());
    let with_journal = |of_the_run: i64| {
        direct(1, &[GPT], |spec| {
            spec["settings"]["journal"] = json!(folder.0);
            spec["overhead_micro_usd"] = json!(200);
            spec["models"][0]["overhead_micro_usd"] = json!(of_the_run);
            spec["batch_overhead_micro_usd"] = json!(200 + of_the_run);
        })
    };
    let (summary, _) = start(&provider, &store, with_journal(0)).await;
    assert_eq!(store.model_runs("batch")[0].overhead_micro_usd, 700);
    assert_eq!(summary.total_cost_micro_usd, 900 + 2_800);
    let (again, _) = start(&provider, &store, with_journal(700)).await;
    assert_eq!((store.model_runs("batch")[0].overhead_micro_usd, again.total_cost_micro_usd), (700, 3_700));
}
