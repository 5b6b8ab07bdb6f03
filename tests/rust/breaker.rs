//! The breaker as a state machine: when it opens, how long, who probes, what a probe changes.

use std::sync::Arc;
use std::time::Duration;

use overheard::http::breaker::{Breaker, Change};
use tokio::time::Instant;

const FIRST: Duration = Duration::from_secs(30);

fn breaker() -> Arc<Breaker> {
    Arc::default()
}

/// Reports these outcomes (true: failed) while it is closed; what the last one changed.
fn report(breaker: &Arc<Breaker>, outcomes: &[bool]) -> Option<Change> {
    outcomes.iter().fold(None, |_, failed| breaker.pass().unwrap().report(*failed, FIRST))
}

#[tokio::test(start_paused = true)]
async fn f03_half_of_the_last_twenty_and_ten_at_least() {
    let breaker = breaker();
    assert_eq!(report(&breaker, &[true; 9]), None, "nine are too few");
    assert_eq!(report(&breaker, &[true]), Some(Change::Opened(FIRST)));

    let breaker = self::breaker();
    assert_eq!(report(&breaker, &[false; 20]), None);
    assert_eq!(report(&breaker, &[true; 9]), None, "nine of the last twenty");
    assert_eq!(report(&breaker, &[true]), Some(Change::Opened(FIRST)));

    let breaker = self::breaker();
    for _ in 0..50 {
        assert_eq!(report(&breaker, &[false, true, false]), None, "a third");
    }
}

#[tokio::test(start_paused = true)]
async fn f04_waits_double_up_to_ten_times_and_an_answered_probe_closes() {
    let breaker = breaker();
    report(&breaker, &[true; 10]);
    for (failed, seconds) in [(1, 60), (2, 120), (3, 240), (4, 300), (5, 300)] {
        assert!(breaker.blocks());
        let before = Instant::now();
        while breaker.blocks() {
            breaker.changed().await;
        }
        assert!(before.elapsed() >= FIRST);
        let probe = breaker.pass().unwrap();
        assert!(breaker.pass().is_none() && breaker.blocks(), "one probe");
        assert_eq!(probe.report(true, FIRST), Some(Change::Opened(Duration::from_secs(seconds))));
        assert_eq!(breaker.failed_probes(), failed);
    }
    tokio::time::advance(Duration::from_secs(300)).await;
    assert_eq!(breaker.pass().unwrap().report(false, FIRST), Some(Change::Closed));
    assert_eq!((breaker.is_closed(), breaker.failed_probes()), (true, 0));
    assert_eq!(report(&breaker, &[true; 9]), None, "what was before is forgotten");
    assert_eq!(report(&breaker, &[true]), Some(Change::Opened(FIRST)), "and so is the long wait");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_given_up_leaves_the_next_one_its_turn() {
    let breaker = breaker();
    report(&breaker, &[true; 10]);
    tokio::time::advance(FIRST).await;
    let probe = breaker.pass().unwrap();
    let waiting = {
        let breaker = breaker.clone();
        async move {
            while breaker.blocks() {
                breaker.changed().await;
            }
        }
    };
    let given_up = async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        drop(probe);
    };
    tokio::join!(waiting, given_up);
    assert!(breaker.pass().is_some());
    assert_eq!(breaker.failed_probes(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_before_it_opened_changes_nothing_any_more() {
    let breaker = breaker();
    let (late_success, late_failure) = (breaker.pass().unwrap(), breaker.pass().unwrap());
    report(&breaker, &[true; 10]);
    assert_eq!(late_success.report(false, FIRST), None);
    assert_eq!(late_failure.report(true, FIRST), None);
    assert!(breaker.blocks());
    assert_eq!(breaker.failed_probes(), 0);
}
