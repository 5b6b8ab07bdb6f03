//! The engine over a store in memory and a custom provider: every cell once, resume, retry, money, a store that fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use overheard::ErrorKind;
use overheard::domain::{Batch, ExistingKey, Extraction, ModelRun, ModelRunStatus, QuestionRun, RunStatus, Summary};
use overheard::http::BoxFuture;
use overheard::pipeline::{RunSpec, run_with_store};
use overheard::store::{MemoryStore, Store};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::journal::{Folder, wait_for_lock};
use crate::support::{NoHttp, TestHost, answered, context, failing, spec};

async fn run(spec: RunSpec, host: &TestHost, store: &Arc<MemoryStore>) -> Summary {
    run_with_store(context(Arc::new(NoHttp)), spec, host.host.clone(), store.clone(), CancellationToken::new()).await.unwrap()
}

fn echo(_: usize, asks: &[overheard::providers::Ask]) -> Result<Vec<overheard::domain::Outcome>, overheard::Error> {
    Ok(asks.iter().map(|ask| answered(&format!("Acme answers {}", ask.question))).collect())
}

#[tokio::test(start_paused = true)]
async fn every_cell_once_in_chunks_of_the_providers_size() {
    let (host, store) = (TestHost::new(echo), Arc::new(MemoryStore::default()));
    let summary = run(spec(7, |_| {}), &host, &store).await;
    assert_eq!((summary.total, summary.processed, summary.answered, summary.evaluations), (14, 14, 14, 14));
    assert_eq!(summary.total_cost_micro_usd, 14_000);
    assert_eq!(summary.status, "complete");
    assert_eq!(host.calls.load(Ordering::SeqCst), 6, "7 questions are 3 + 3 + 1, twice");
    let mut asked = host.asked();
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 14);
    assert_eq!(store.model_runs("batch")[0].status, ModelRunStatus::Completed);
    assert_eq!((summary.citations, summary.competitors), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_second_start_asks_nothing_and_counts_the_same() {
    let store = Arc::new(MemoryStore::default());
    let first = run(spec(5, |_| {}), &TestHost::new(echo), &store).await;
    let again = TestHost::new(echo);
    let second = run(spec(5, |_| {}), &again, &store).await;
    assert_eq!(again.calls.load(Ordering::SeqCst), 0);
    assert_eq!(Summary { requests_made: 0, ..first }, Summary { requests_made: 0, ..second });
}

#[tokio::test(start_paused = true)]
async fn what_may_succeed_is_tried_again_three_times_and_what_may_not_once() {
    let store = Arc::new(MemoryStore::default());
    let host = TestHost::new(|_, asks| {
        let outcome = |text: &str| match text {
            "Question 1?" => failing(ErrorKind::Overloaded),
            "Question 2?" => failing(ErrorKind::InvalidRequest),
            _ => answered("Acme"),
        };
        Ok(asks.iter().map(|ask| outcome(&ask.question)).collect())
    });
    let summary = run(spec(3, |spec| spec["locations"] = json!([{"country": "US"}])), &host, &store).await;
    let attempts = |number: usize| host.asked().iter().filter(|key| key.starts_with(&format!("q{number}|"))).count();
    assert_eq!((attempts(1), attempts(2), attempts(3)), (3, 1, 1));
    assert_eq!((summary.processed, summary.failed, summary.total_cost_micro_usd), (3, 2, 1_000));
    assert_eq!(summary.processing_error_count, 2);
    let failed = &store.runs("batch")[0].outcome;
    assert_eq!((failed.status, failed.attempts), (RunStatus::Failed, 3));
    let error = failed.error.as_ref().unwrap().to_string();
    assert!(error.contains("cell q1|echo|US|1") && error.contains("3 attempts"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn resume_asks_failures_again_but_not_bad_input() {
    let store = Arc::new(MemoryStore::default());
    let bad_day = TestHost::new(|_, asks| {
        let outcome = |text: &str| match text {
            "Question 1?" => failing(ErrorKind::Record),
            "Question 2?" => failing(ErrorKind::InvalidRequest),
            _ => answered("Acme"),
        };
        Ok(asks.iter().map(|ask| outcome(&ask.question)).collect())
    });
    let one = |spec: &mut serde_json::Value| spec["locations"] = json!([{"country": "US"}]);
    run(spec(3, one), &bad_day, &store).await;
    let host = TestHost::new(echo);
    let resumed = spec(3, |spec| {
        one(spec);
        spec["retry_failed"] = json!(true);
    });
    let summary = run(resumed, &host, &store).await;
    assert_eq!(host.asked(), ["q1|echo|US|1"]);
    assert_eq!((summary.processed, summary.failed, summary.total_cost_micro_usd), (3, 1, 2_000));
}

#[tokio::test(start_paused = true)]
async fn a_key_problem_stops_the_provider_and_leaves_its_cells_open() {
    let store = Arc::new(MemoryStore::default());
    let host = TestHost::new(|_, asks| Ok(asks.iter().map(|_| failing(ErrorKind::Auth)).collect()));
    let summary = run(spec(30, |_| {}), &host, &store).await;
    assert_eq!((summary.processed, summary.status.as_str()), (0, "partial"));
    assert!(host.calls.load(Ordering::SeqCst) <= 8, "those in flight, no more");
    assert_eq!(summary.processing_error_count, 1, "one error for the provider, not one a cell");
    let row = &store.model_runs("batch")[0];
    assert_eq!((row.status, row.error_message.as_deref()), (ModelRunStatus::Failed, Some("a bad day")));
}

#[tokio::test(start_paused = true)]
async fn max_cost_is_never_passed_and_a_higher_one_continues() {
    let store = Arc::new(MemoryStore::default());
    let capped = |dollars: i64| spec(10, |spec| spec["max_cost_micro_usd"] = json!(dollars));
    let host = TestHost::new(echo);
    let summary = run(capped(8_500), &host, &store).await;
    assert!(summary.total_cost_micro_usd <= 8_500 && summary.total_cost_micro_usd >= 6_000, "{}", summary.total_cost_micro_usd);
    assert_eq!(summary.status, "partial");
    assert_eq!(summary.processing_error_count, 1);
    assert_eq!(summary.processing_errors[0].kind, ErrorKind::Budget);
    let summary = run(capped(20_000), &TestHost::new(echo), &store).await;
    assert_eq!((summary.status.as_str(), summary.processed, summary.total_cost_micro_usd), ("complete", 20, 20_000));
}

#[tokio::test(start_paused = true)]
async fn a_stop_starts_nothing_new_and_the_next_start_does_the_rest() {
    let store = Arc::new(MemoryStore::default());
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let host = TestHost::new(move |number, asks| {
        if number == 2 {
            stopping.cancel();
        }
        echo(number, asks)
    });
    let first =
        run_with_store(context(Arc::new(NoHttp)), spec(60, |_| {}), host.host.clone(), store.clone(), stop).await.unwrap();
    assert!(first.interrupted && first.status == "partial" && first.processed < 120, "{first:?}");
    assert_eq!(store.model_runs("batch")[0].status, ModelRunStatus::Queued);
    let rest = TestHost::new(echo);
    let second = run(spec(60, |_| {}), &rest, &store).await;
    assert_eq!((second.processed, second.status.as_str()), (120, "complete"));
    assert_eq!(host.asked().len() + rest.asked().len(), 120, "nothing is asked twice");
}

/// A store whose `save_question_runs` fails while `failures` lasts.
struct Failing {
    inner: Arc<MemoryStore>,
    failures: AtomicUsize,
}

impl Store for Failing {
    fn save_batch(&self, batch: Batch) -> BoxFuture<'_, overheard::Result<()>> {
        self.inner.save_batch(batch)
    }
    fn save_model_runs(&self, rows: Vec<ModelRun>) -> BoxFuture<'_, overheard::Result<()>> {
        self.inner.save_model_runs(rows)
    }
    fn save_question_runs(&self, runs: Vec<Arc<QuestionRun>>) -> BoxFuture<'_, overheard::Result<()>> {
        let left = self.failures.load(Ordering::SeqCst);
        if left > 0 {
            self.failures.store(left - 1, Ordering::SeqCst);
            return Box::pin(std::future::ready(Err(overheard::Error::new(
                ErrorKind::Host,
                "save_question_runs raised OSError",
            ))));
        }
        self.inner.save_question_runs(runs)
    }
    fn save_extractions(&self, rows: Vec<Arc<Extraction>>) -> BoxFuture<'_, overheard::Result<()>> {
        self.inner.save_extractions(rows)
    }
    fn existing_keys(
        &self,
        batch: String,
        after: Option<String>,
        limit: usize,
    ) -> BoxFuture<'_, overheard::Result<Vec<ExistingKey>>> {
        self.inner.existing_keys(batch, after, limit)
    }
    fn unextracted_runs(
        &self,
        batch: String,
        after: Option<String>,
        limit: usize,
    ) -> BoxFuture<'_, overheard::Result<Vec<QuestionRun>>> {
        self.inner.unextracted_runs(batch, after, limit)
    }
    fn load_fact(&self, name: String) -> BoxFuture<'_, overheard::Result<Option<String>>> {
        self.inner.load_fact(name)
    }
    fn save_fact(&self, name: String, value: String) -> BoxFuture<'_, overheard::Result<()>> {
        self.inner.save_fact(name, value)
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_for_a_while_loses_nothing() {
    let inner = Arc::new(MemoryStore::default());
    let store = Arc::new(Failing { inner: inner.clone(), failures: AtomicUsize::new(4) });
    let host = TestHost::new(echo);
    let summary = run_with_store(context(Arc::new(NoHttp)), spec(4, |_| {}), host.host.clone(), store, CancellationToken::new())
        .await
        .unwrap();
    assert_eq!((summary.processed, inner.runs("batch").len()), (8, 8));
    assert_eq!(host.asked().len(), 8);
    assert!(host.log().contains("save_question_runs failed (attempt 1 of 6)"), "{}", host.log());
}

#[tokio::test]
async fn a_store_that_never_works_leaves_the_answers_in_the_journal_and_the_next_start_stores_them() {
    let folder = Folder::new();
    let with_journal = || spec(40, |spec| spec["settings"] = json!({"journal": folder.0}));
    let inner = Arc::new(MemoryStore::default());
    let broken = Arc::new(Failing { inner: inner.clone(), failures: AtomicUsize::new(usize::MAX) });
    let host = TestHost::new(echo);
    tokio::time::pause();
    let error =
        run_with_store(context(Arc::new(NoHttp)), with_journal(), host.host.clone(), broken, CancellationToken::new()).await;
    tokio::time::resume();
    assert_eq!(error.unwrap_err().kind, ErrorKind::Host);
    assert!(inner.runs("batch").is_empty());
    wait_for_lock(&folder.journal()).await;
    let rest = TestHost::new(echo);
    let summary = run(with_journal(), &rest, &inner).await;
    assert_eq!((summary.processed, summary.total_cost_micro_usd), (80, 80_000));
    assert_eq!(
        host.asked().len() + rest.asked().len(),
        with_journal().questions.len() * 2,
        "each is asked once, over both starts"
    );
    assert_eq!(folder.journals(), 0);
}
