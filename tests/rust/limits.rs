//! Speed caps: what may be in flight, the cut, the growth, the pause.

use std::sync::Arc;
use std::time::Duration;

use overheard::config::{Account, Secret};
use overheard::http::limit::{LimitRegistry, Limiter, Throttle};
use proptest::prelude::*;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_cut_halves_at_most_once_a_second_and_success_grows_back() {
    let limiter = Limiter::new(8);
    limiter.throttled();
    limiter.throttled();
    assert_eq!(limiter.limit(), 4);
    tokio::time::advance(Duration::from_secs(2)).await;
    limiter.throttled();
    assert_eq!(limiter.limit(), 2);
    for _ in 0..2 + 3 {
        limiter.succeeded();
    }
    assert_eq!(limiter.limit(), 4, "2 successes at 2, then 3 at 3");
}

#[tokio::test(start_paused = true)]
async fn a_cut_below_what_is_in_flight_is_paid_back_by_those_who_leave() {
    let limiter = Limiter::new(4);
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(limiter.acquire().await);
    }
    limiter.throttled();
    held.pop();
    held.pop();
    assert!(
        tokio::time::timeout(Duration::from_millis(1), limiter.acquire()).await.is_err(),
        "two are still in flight: the limit"
    );
    held.pop();
    assert!(tokio::time::timeout(Duration::from_millis(1), limiter.acquire()).await.is_ok());
}

proptest! {
    /// Whatever happens, no more than the maximum is ever in flight, and one call always gets through.
    #[test]
    fn in_flight_never_passes_the_maximum(max in 1usize..20, steps in proptest::collection::vec(0u8..4, 0..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let limiter = Limiter::new(max);
            let mut held = Vec::new();
            for step in steps {
                match step {
                    0 => {
                        if let Ok(permit) = tokio::time::timeout(Duration::ZERO, limiter.acquire()).await {
                            held.push(permit);
                        }
                    }
                    1 => drop(held.pop()),
                    2 => limiter.succeeded(),
                    _ => {
                        tokio::time::advance(Duration::from_secs(2)).await;
                        limiter.throttled();
                    }
                }
                assert!(held.len() <= max);
                assert!((1..=max).contains(&limiter.limit()));
            }
            held.clear();
            let mut free = Vec::new();
            while let Ok(permit) = tokio::time::timeout(Duration::ZERO, limiter.acquire()).await {
                free.push(permit);
            }
            assert_eq!(free.len(), limiter.limit(), "all places come back, no more and no fewer");
        });
    }
}

#[tokio::test(start_paused = true)]
async fn eight_429_in_five_minutes_silence_the_account_for_five_minutes() {
    let throttle = Throttle::default();
    for _ in 0..7 {
        throttle.throttled(Duration::from_secs(1), true);
        throttle.wait().await;
    }
    let before = Instant::now();
    throttle.throttled(Duration::from_secs(1), true);
    throttle.wait().await;
    assert_eq!(before.elapsed().as_secs(), 300);
}

#[test]
fn the_same_key_shares_its_caps_and_another_does_not() {
    let registry = LimitRegistry::default();
    let account = |key: &str| Account { api_key: Secret::new(key), ..Account::openai() };
    let first = registry.account("openai", &account("k1"));
    assert!(Arc::ptr_eq(&first, &registry.account("openai", &account("k1"))));
    assert!(!Arc::ptr_eq(&first, &registry.account("openai", &account("k2"))));
    assert!(!Arc::ptr_eq(&first, &registry.account("anthropic", &account("k1"))));
}
