//! Leases over a store in memory: who gets one, who is told what, and that who has lost one pays and writes nothing more.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use overheard::ErrorKind;
use overheard::clock::ManualClock;
use overheard::domain::{ModelRunStatus, Summary};
use overheard::journal::disk::OsDisk;
use overheard::journal::{Journal, Overhead};
use overheard::pipeline::{Context, RunSpec, run_with_store};
use overheard::providers::Ask;
use overheard::store::{MemoryStore, Store};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::journal::{Folder, wait_for_lock};
use crate::support::{NoHttp, TestHost, answered, context, spec};

const NOW: i64 = 1_700_000_000_000;
const HERE: &str = "host-a/boot/11+1/2026-11-22T08:00:00Z_a";
const THERE: &str = "host-b/boot/22+2/2026-11-22T09:00:00Z_b";

fn echo(_: usize, asks: &[Ask]) -> Result<Vec<overheard::domain::Outcome>, overheard::Error> {
    Ok(asks.iter().map(|ask| answered(&format!("Acme answers {}", ask.question))).collect())
}

fn owned(owner: &str, change: impl FnOnce(&mut Value)) -> RunSpec {
    spec(7, |spec| {
        spec["owner"] = json!(owner);
        change(spec);
    })
}

async fn run(spec: RunSpec, host: &TestHost, store: MemoryStore) -> Result<Summary, overheard::Error> {
    run_in(context(Arc::new(NoHttp)), spec, host, store).await
}

async fn run_in(context: Context, spec: RunSpec, host: &TestHost, store: MemoryStore) -> Result<Summary, overheard::Error> {
    run_with_store(context, spec, host.host.clone(), Arc::new(store), CancellationToken::new()).await
}

fn clocked() -> (Arc<ManualClock>, MemoryStore) {
    let clock = Arc::new(ManualClock::new(NOW, 1));
    (clock.clone(), MemoryStore::with_clock(clock))
}

#[tokio::test(start_paused = true)]
async fn f76_the_same_task_twice_at_the_same_moment_works_once() {
    let (_, store) = clocked();
    let (first, second) = (TestHost::new(echo), TestHost::new(echo));
    let (done, refused) =
        tokio::join!(run(owned(HERE, |_| {}), &first, store.for_owner()), run(owned(THERE, |_| {}), &second, store.for_owner()),);
    assert_eq!(done.unwrap().status, "complete");
    let error = refused.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Locked);
    let says =
        "batch batch is locked: process 11 on host-a (at work since 2026-11-22T08:00:00Z) works on echo, its lease ends at ";
    assert!(error.message.starts_with(says), "{error}");
    assert_eq!(second.calls.load(Ordering::SeqCst), 0);
    assert_eq!(first.asked().len(), 14);
}

#[tokio::test(start_paused = true)]
async fn f76_a_task_that_comes_late_asks_nothing_and_leases_nothing() {
    let (_, store) = clocked();
    run(owned(HERE, |_| {}), &TestHost::new(echo), store.for_owner()).await.unwrap();
    let rows = store.model_runs("batch");
    let host = TestHost::new(echo);
    let late = owned(THERE, |spec| spec["ended"] = json!(true));
    assert_eq!(run(late, &host, store.for_owner()).await.unwrap().status, "complete");
    assert_eq!(host.calls.load(Ordering::SeqCst), 0);
    assert_eq!(store.model_runs("batch"), rows);
    let next = store.acquire_leases(vec!["run-echo".into()], THERE.into(), 1).await.unwrap().unwrap();
    assert_eq!(next[0].fence, 2, "one lease was taken before, by the start that worked");
}

#[tokio::test(start_paused = true)]
async fn f76_after_the_loss_of_its_lease_a_task_pays_and_writes_nothing_more() {
    let (clock, store) = clocked();
    let local = Arc::new(ManualClock::new(NOW, 1));
    let (theirs, slept) = (store.for_owner(), local.clone());
    // The process sleeps in the middle of its first call, for longer than its lease lives; another takes over.
    let host = TestHost::new(move |number, asks| {
        if number == 0 {
            clock.set(NOW + 61_000);
            slept.set(NOW + 61_000);
            let lease = futures_now(theirs.acquire_leases(vec!["run-echo".into()], THERE.into(), 60_000));
            assert!(lease.unwrap().unwrap()[0].granted);
        }
        echo(number, asks)
    });
    let one_at_a_time = owned(HERE, |spec| spec["custom_providers"][0]["max_in_flight"] = json!(1));
    let context = Context { clock: local, ..context(Arc::new(NoHttp)) };
    let error = run_in(context, one_at_a_time, &host, store.for_owner()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::LeaseLost, "{error}");
    assert!(error.message.contains("taken over by process 22 on host-b"), "{error}");
    assert_eq!(host.calls.load(Ordering::SeqCst), 1, "nothing was paid after the loss");
    assert!(store.runs("batch").is_empty(), "nothing was written after the loss");
    assert_eq!(store.model_runs("batch")[0].status, ModelRunStatus::Running, "the status is the new owner's");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_slept_and_lost_nothing_goes_on() {
    let (clock, store) = clocked();
    let local = Arc::new(ManualClock::new(NOW, 1));
    let slept = local.clone();
    let host = TestHost::new(move |number, asks| {
        clock.set(NOW + 61_000);
        slept.set(NOW + 61_000);
        echo(number, asks)
    });
    let context = Context { clock: local, ..context(Arc::new(NoHttp)) };
    assert_eq!(run_in(context, owned(HERE, |_| {}), &host, store.for_owner()).await.unwrap().status, "complete");
}

#[tokio::test(start_paused = true)]
async fn all_model_runs_or_none() {
    let (_, store) = clocked();
    store.acquire_leases(vec!["run-b".into()], THERE.into(), 60_000).await.unwrap();
    let host = TestHost::new(echo);
    let two = owned(HERE, |spec| {
        spec["models"] = json!([{"model": "echo", "run_id": "run-a"}, {"model": "echo2", "run_id": "run-b"}]);
        let other = json!({"name": "echo2", "max_batch_size": 1, "max_in_flight": 1});
        spec["custom_providers"].as_array_mut().unwrap().push(other);
    });
    let error = run(two, &host, store.for_owner()).await.unwrap_err();
    assert_eq!((error.kind, error.context.model.as_deref()), (ErrorKind::Locked, Some("echo2")));
    assert_eq!(host.calls.load(Ordering::SeqCst), 0);
    let free = store.acquire_leases(vec!["run-a".into()], THERE.into(), 60_000).await.unwrap().unwrap();
    assert!(free[0].granted, "the one that was granted is given back");
}

#[tokio::test(start_paused = true)]
async fn extraction_alone_takes_the_leases_and_leaves_the_status() {
    let (_, store) = clocked();
    run(owned(HERE, |spec| spec["phase"] = json!("execute")), &TestHost::new(echo), store.for_owner()).await.unwrap();
    let rows = store.model_runs("batch");
    let extract = || owned(HERE, |spec| spec["phase"] = json!("extract"));
    store.acquire_leases(vec!["run-echo".into()], THERE.into(), 60_000).await.unwrap();
    let error = run(extract(), &TestHost::new(echo), store.for_owner()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Locked);
    store.end_leases();
    assert_eq!(run(extract(), &TestHost::new(echo), store.for_owner()).await.unwrap().evaluations, 14);
    assert_eq!(store.model_runs("batch"), rows);
}

#[tokio::test]
async fn the_journal_of_who_lost_the_lease_is_taken_over_though_its_process_is_halted() {
    let folder = Folder::new();
    let models = ["m".to_owned()];
    let (halted, _) = Journal::open(Arc::new(OsDisk), &folder.0, "b", &models).unwrap();
    let overhead = Overhead { model: Some("m".into()), micro_usd: 7, ..Overhead::default() };
    halted.overhead(overhead.clone()).await.unwrap();
    halted.finish().await;
    drop(halted);
    let path = folder.journal();
    wait_for_lock(&path).await;
    let theirs = std::fs::File::open(&path).unwrap();
    theirs.lock().unwrap(); // as a process that is halted holds it
    let (_mine, recovered) = Journal::open_leased(Arc::new(OsDisk), &folder.0, "b", &models, true).unwrap();
    assert_eq!(recovered.overhead, [overhead]);
    assert_eq!(folder.journals(), 1, "the loser's file is gone once its entries are durable in the new one");
}

/// The value of a future that is ready.
fn futures_now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("a store in memory never waits"),
    }
}
