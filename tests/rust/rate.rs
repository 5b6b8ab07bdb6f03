//! Requests and tokens a minute: what is reserved, what headers correct, what is settled.

use std::sync::Arc;
use std::time::Duration;

use overheard::http::rate::{Rates, Share, Tokens, Told, Window};
use tokio::time::Instant;

const LONGEST: Duration = Duration::from_secs(900);

async fn sent(rates: &Arc<Rates>, tokens: Tokens) -> Share {
    let mut share = rates.reserve(tokens, LONGEST).await.unwrap();
    share.sent();
    share
}

async fn send(rates: &Arc<Rates>, count: usize) -> Duration {
    let begun = Instant::now();
    for _ in 0..count {
        drop(sent(rates, Tokens::default()).await);
    }
    begun.elapsed()
}

fn requests(limit: f64, remaining: f64, full_in_ms: Option<u64>) -> Told {
    let full_in = full_in_ms.map(Duration::from_millis);
    Told { requests: Some(Window { limit, remaining, full_in }), ..Told::default() }
}

#[tokio::test(start_paused = true)]
async fn without_headers_and_caps_nothing_waits() {
    assert_eq!(send(&Rates::new(None, None), 10_000).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_users_cap_holds_in_every_minute() {
    for cap in [1_u64, 7, 60, 61, 600] {
        let rates = Rates::new(Some(cap), None);
        let mut times = Vec::new();
        for _ in 0..(cap * 2 + 2) {
            drop(sent(&rates, Tokens::default()).await);
            times.push(Instant::now());
        }
        let minute = Duration::from_secs(60);
        let most =
            times.iter().map(|first| times.iter().filter(|time| **time >= *first && **time < *first + minute).count()).max();
        assert!(most.unwrap() <= cap as usize, "{most:?} of {cap}");
        let all = times.last().unwrap().duration_since(times[0]).as_secs_f64();
        assert!(all < 125.0 + 60.0 / cap as f64, "and what it allows is used: {cap} took {all} s");
    }
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_learned_from_when_the_provider_is_full_again() {
    // 50 at once, 50 a second: 10 used are there again in 200 ms.
    let rates = Rates::new(None, None);
    let first = sent(&rates, Tokens::default()).await;
    rates.told(&requests(50.0, 40.0, Some(200)), &first);
    drop(first);
    let took = send(&rates, 39 + 500).await;
    assert!((9.9..10.2).contains(&took.as_secs_f64()), "{took:?}");
    // Without a time, a limit is per minute.
    let rates = Rates::new(None, None);
    let first = sent(&rates, Tokens::default()).await;
    rates.told(&requests(600.0, 0.0, None), &first);
    drop(first);
    let took = send(&rates, 100).await;
    assert!((9.9..10.3).contains(&took.as_secs_f64()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn headers_correct_in_both_directions() {
    let rates = Rates::new(None, None);
    let first = sent(&rates, Tokens::default()).await;
    rates.told(&requests(600.0, 300.0, Some(30_000)), &first);
    drop(first);
    assert_eq!(send(&rates, 200).await, Duration::ZERO);
    // Somebody else uses the account: less is left than we think.
    let share = sent(&rates, Tokens::default()).await;
    rates.told(&requests(600.0, 0.0, Some(60_000)), &share);
    drop(share);
    assert!(send(&rates, 10).await >= Duration::from_millis(800));
    // The provider's count says that much more is left.
    let share = sent(&rates, Tokens::default()).await;
    rates.told(&requests(600.0, 600.0, Some(0)), &share);
    drop(share);
    assert_eq!(send(&rates, 500).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn f33_a_429_that_no_header_explains_makes_bursts_smaller() {
    let rates = Rates::new(None, None);
    let share = sent(&rates, Tokens::default()).await;
    rates.told(&requests(600.0, 599.0, Some(100)), &share);
    drop(share);
    rates.refused();
    let took = send(&rates, 10).await;
    assert!((0.9..1.1).contains(&took.as_secs_f64()), "ten a second, from nothing: {took:?}");
    tokio::time::advance(Duration::from_secs(600)).await;
    assert_eq!(send(&rates, 300).await, Duration::ZERO);
    assert!(send(&rates, 10).await > Duration::from_millis(900), "half of the burst that was told");
}

#[tokio::test(start_paused = true)]
async fn tokens_are_reserved_by_estimate_and_settled_by_usage() {
    let rates = Rates::new(None, None);
    assert_eq!(rates.estimate(4_000), Tokens { input: 1_000.0, output: 500.0 });
    let first = sent(&rates, Tokens::default()).await;
    let window = Window { limit: 60_000.0, remaining: 3_000.0, full_in: None };
    rates.told(&Told { tokens: Some(window), ..Told::default() }, &first);
    drop(first);
    let tokens = Tokens { input: 1_000.0, output: 1_000.0 };
    let begun = Instant::now();
    drop(sent(&rates, tokens).await);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    // 1,000 left, a thousand more a second.
    drop(sent(&rates, tokens).await);
    assert!((0.9..1.1).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
    // It took 100 in place of 2,000: 1,900 are there again.
    rates.settle(tokens, Tokens { input: 50.0, output: 50.0 });
    let begun = Instant::now();
    drop(sent(&rates, Tokens { input: 1_000.0, output: 800.0 }).await);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(rates.estimate(0).output, 50.0);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_sent_is_given_back_and_what_cannot_be_had_soon_is_refused() {
    let rates = Rates::new(Some(1), None);
    drop(rates.reserve(Tokens::default(), LONGEST).await.unwrap()); // never sent
    assert_eq!(send(&rates, 1).await, Duration::ZERO);
    let refused = rates.reserve(Tokens::default(), Duration::from_secs(10)).await;
    assert!(refused.unwrap_err() > Duration::from_secs(50));
    assert!(send(&rates, 1).await > Duration::from_secs(50));
    // A call larger than the whole limit waits for all of it, not for ever.
    let rates = Rates::new(None, Some(6_000));
    let begun = Instant::now();
    drop(sent(&rates, Tokens { input: 50_000.0, output: 0.0 }).await);
    assert_eq!(begun.elapsed(), Duration::ZERO);
}
