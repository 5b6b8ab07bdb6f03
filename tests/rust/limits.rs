//! Speed caps: what may be in flight, the cut, the growth, the pause.

use std::sync::Arc;
use std::time::Duration;

use overheard::clock::{Clock, ManualClock};
use overheard::config::{Account, Secret};
use overheard::http::limit::{LimitRegistry, Limiter};
use overheard::http::throttle::Throttle;
use proptest::prelude::*;

#[tokio::test(start_paused = true)]
async fn a_cut_halves_at_most_once_a_second_and_success_grows_back() {
    let limiter = Limiter::new(8);
    limiter.throttled(Duration::ZERO);
    limiter.throttled(Duration::ZERO);
    assert_eq!(limiter.limit(), 4);
    tokio::time::advance(Duration::from_secs(2)).await;
    limiter.throttled(Duration::ZERO);
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
    limiter.throttled(Duration::ZERO);
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
                        limiter.throttled(Duration::ZERO);
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
async fn f36_overload_takes_three_tenths_and_a_slow_round_trip_makes_cuts_rarer() {
    let limiter = Limiter::new(10);
    limiter.overloaded(Duration::ZERO);
    assert_eq!(limiter.limit(), 7);
    tokio::time::advance(Duration::from_secs(2)).await;
    limiter.overloaded(Duration::from_secs(3));
    assert_eq!(limiter.limit(), 7, "sent before the last cut");
    tokio::time::advance(Duration::from_secs(1)).await;
    limiter.throttled(Duration::from_secs(3));
    assert_eq!(limiter.limit(), 3);
    for _ in 0..9 {
        tokio::time::advance(Duration::from_secs(2)).await;
        limiter.overloaded(Duration::ZERO);
    }
    assert_eq!(limiter.limit(), 1, "one call always gets through");
}

#[tokio::test(start_paused = true)]
async fn f34_a_pause_never_gets_shorter_and_never_lasts_longer_than_a_day() {
    let throttle = Throttle::default();
    assert_eq!(throttle.paused_for(), None);
    throttle.refused(Duration::from_secs(7));
    throttle.refused(Duration::from_secs(2));
    assert_eq!(throttle.paused_for(), Some(Duration::from_secs(7)));
    tokio::time::advance(Duration::from_secs(7)).await;
    assert_eq!(throttle.paused_for(), None);
    throttle.pause(Duration::MAX);
    assert_eq!(throttle.paused_for(), Some(Duration::from_secs(24 * 60 * 60)));
}

#[tokio::test(start_paused = true)]
async fn an_account_that_only_refuses_for_five_minutes_says_so() {
    let throttle = Throttle::default();
    for _ in 0..20 {
        throttle.refused(Duration::ZERO);
    }
    assert_eq!(throttle.only_refuses(), None, "not for long");
    tokio::time::advance(Duration::from_secs(300)).await;
    assert_eq!(throttle.only_refuses(), Some(20));
    throttle.accepted();
    assert_eq!(throttle.only_refuses(), None);
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::new(1_700_000_000_000, 7))
}

#[test]
fn the_same_key_shares_its_caps_and_another_does_not() {
    let (registry, clock) = (LimitRegistry::default(), clock());
    let account = |key: &str| Account { api_key: Secret::new(key), ..Account::openai() };
    let limits = |provider, account| registry.account(provider, &account, None, &clock);
    let first = limits("openai", account("k1"));
    assert!(Arc::ptr_eq(&first, &limits("openai", account("k1"))));
    assert!(!Arc::ptr_eq(&first, &limits("openai", account("k2"))));
    assert!(!Arc::ptr_eq(&first, &limits("anthropic", account("k1"))));
}

#[test]
fn other_caps_are_the_same_account_with_the_same_pause_breaker_and_guard() {
    let (registry, clock) = (LimitRegistry::default(), clock());
    let account = |max_in_flight| Account { api_key: Secret::new("k"), max_in_flight, ..Account::brightdata() };
    let limits = |max_in_flight| registry.account("brightdata", &account(max_in_flight), Some(""), &clock);
    let (first, second) = (limits(3), limits(5));
    assert_eq!((first.calls.limit(), second.calls.limit()), (3, 5));
    assert!(Arc::ptr_eq(&first.throttle, &second.throttle));
    assert!(Arc::ptr_eq(&first.breaker, &second.breaker));
    assert!(Arc::ptr_eq(first.guard.as_ref().unwrap(), second.guard.as_ref().unwrap()));
    let elsewhere = Account { base_url: "http://127.0.0.1:1".into(), ..account(3) };
    assert!(!Arc::ptr_eq(&first.throttle, &registry.account("brightdata", &elsewhere, Some(""), &clock).throttle));
}
