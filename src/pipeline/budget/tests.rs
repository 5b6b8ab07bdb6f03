//! The cap under 1,000 calls at once, on real threads and under paused time: never passed, and nobody waits for ever.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::*;
use crate::clock::{Clock, ManualClock};

const CALLS: u64 = 1_000;
/// Far above what a run takes: whoever still waits then was not woken.
const PATIENCE: Duration = Duration::from_secs(120);

/// What one call did.
#[derive(Debug, Clone, Copy)]
enum Ended {
    Settled { charged: i64 },
    Refused { amount: i64 },
    GaveBack,
}

fn below(clock: &dyn Clock, limit: i64) -> i64 {
    (clock.random() * limit as f64) as i64
}

/// booked + reserved never pass the cap, but for what was charged above its reservation.
fn assert_within_the_cap(budget: &Budget, seed: u64) {
    let state = budget.lock();
    let cap = budget.cap.unwrap();
    let taken = state.booked.plus(state.reserved);
    assert!(taken <= cap.plus(state.over_reserved), "seed {seed}: {state:?} passes the cap {cap}");
    assert!(state.waiting <= state.reserved, "seed {seed}: {state:?}");
}

/// One call: reserves, perhaps a second time as a paused turn does, is charged less, exactly that, or more, or is never sent.
async fn call(budget: Arc<Budget>, seed: u64, number: u64, most: i64) -> Ended {
    let chance = ManualClock::new(0, seed * 1_000_003 + number);
    let amount = 1 + below(&chance, most);
    let pause = async |limit| match below(&chance, limit) {
        0 => tokio::task::yield_now().await,
        micros => tokio::time::sleep(Duration::from_micros(micros as u64)).await,
    };
    pause(300).await;
    let Ok(reservation) = budget.reserve(MicroUsd(amount)).await else { return Ended::Refused { amount } };
    assert_within_the_cap(&budget, seed);
    pause(300).await;
    let mut reserved = amount;
    if below(&chance, 4) == 0 && reservation.extend(MicroUsd(amount)).await.is_ok() {
        reserved += amount;
        assert_within_the_cap(&budget, seed);
        pause(300).await;
    }
    let charged = match below(&chance, 20) {
        0 => return Ended::GaveBack,
        1 => reserved + below(&chance, most), // more than reserved
        2 | 3 => reserved,
        _ => below(&chance, reserved + 1),
    };
    let maybe = if charged <= reserved { below(&chance, reserved - charged + 1) } else { 0 };
    let over = reservation.settle(MicroUsd(charged), MicroUsd(maybe));
    assert_eq!(over.map(OverReserved::excess), (charged > reserved).then_some(MicroUsd(charged - reserved)), "seed {seed}");
    assert_within_the_cap(&budget, seed);
    Ended::Settled { charged: charged + maybe }
}

/// A thousand calls at once against a cap that covers some of them.
async fn thousand(seed: u64) {
    let chance = ManualClock::new(0, seed);
    let most = 1 + below(&chance, 5_000);
    let before = below(&chance, 10_000);
    let cap = before + most + below(&chance, most * CALLS as i64 / 2);
    let budget = Arc::new(Budget::new(Some(MicroUsd(cap)), MicroUsd(before)));
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        calls.spawn(call(budget.clone(), seed, number, most));
    }
    let ended = tokio::time::timeout(PATIENCE, calls.join_all()).await;
    let ended = ended.unwrap_or_else(|_| panic!("seed {seed}: calls wait for ever: {budget:?}"));
    assert_eq!(ended.len() as u64, CALLS);
    let state = budget.lock();
    assert_eq!((state.reserved, state.waiting), (MicroUsd::ZERO, MicroUsd::ZERO), "seed {seed}");
    let charged: i64 = ended.iter().map(|ended| if let Ended::Settled { charged } = ended { *charged } else { 0 }).sum();
    assert_eq!(state.booked, MicroUsd(before + charged), "seed {seed}");
    // Refused only where it would not have fitted although nothing else were reserved; what is booked only grows.
    for ended in &ended {
        if let Ended::Refused { amount } = ended {
            assert!(state.booked.0 + amount > cap, "seed {seed}: {amount} was refused, {state:?} of {cap}");
        }
    }
}

#[test]
fn a_thousand_calls_on_real_threads_never_pass_the_cap_and_all_end() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    for seed in 1..=8 {
        runtime.block_on(thousand(seed));
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_calls_under_paused_time_never_pass_the_cap_and_all_end() {
    for seed in 1..=25 {
        thousand(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_that_wait_for_more_of_each_others_money_do_not_wait_for_ever() {
    let budget = Budget::new(Some(MicroUsd(250)), MicroUsd::ZERO);
    let (first, second) = (budget.reserve(MicroUsd(100)).await.unwrap(), budget.reserve(MicroUsd(100)).await.unwrap());
    let both = async {
        tokio::join!(
            async {
                let extended = first.extend(MicroUsd(100)).await;
                let _ = first.settle(MicroUsd(50), MicroUsd::ZERO);
                extended.is_ok()
            },
            async {
                let extended = second.extend(MicroUsd(100)).await;
                let _ = second.settle(MicroUsd(50), MicroUsd::ZERO);
                extended.is_ok()
            }
        )
    };
    let ended = tokio::time::timeout(PATIENCE, both).await.unwrap();
    assert_eq!(ended, (true, false), "the later one is refused at once, and its settlement lets the other go on");
    assert!(!budget.is_exhausted(), "others still fit");
}

#[tokio::test]
async fn a_charge_above_its_reservation_is_told_and_a_call_without_a_price_cannot_be_above() {
    let budget = Budget::new(None, MicroUsd::ZERO);
    let over = budget.reserve(MicroUsd(100)).await.unwrap().settle(MicroUsd(130), MicroUsd(5)).unwrap();
    assert_eq!((over.charged, over.reserved, over.excess()), (MicroUsd(135), MicroUsd(100), MicroUsd(35)));
    assert_eq!(budget.reserve(MicroUsd::ZERO).await.unwrap().settle(MicroUsd(7), MicroUsd::ZERO), None);
    assert_eq!(budget.correct_charge(MicroUsd(30), MicroUsd(20)).map(OverReserved::excess), Some(MicroUsd(10)));
    assert_eq!((budget.over_reserved(), budget.lock().booked), (MicroUsd(45), MicroUsd(152)));
}
