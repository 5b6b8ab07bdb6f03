//! The money cap of a batch: reserve before a call, settle after it. Integer micro-dollars.
//!
//! A reservation is the most a call can cost and often many times what it will cost. So a call that does not fit waits for
//! others to settle, and is refused only when it would not fit although nothing else were reserved.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::domain::MicroUsd;
use crate::error::{Error, ErrorKind, Result};

/// Booked, reserved, and the cap.
#[derive(Debug)]
pub(super) struct Budget {
    cap: Option<MicroUsd>,
    state: Mutex<State>,
    settled: Notify,
}

#[derive(Debug, Default)]
struct State {
    booked: MicroUsd,
    reserved: MicroUsd,
    over_reserved: MicroUsd,
    exhausted: bool,
}

/// Money set aside for one call. Dropped without being settled, it is given back.
#[derive(Debug)]
pub(super) struct Reservation<'a> {
    budget: &'a Budget,
    amount: MicroUsd,
}

impl Budget {
    /// `booked`: what earlier starts of the batch were charged (and may have been).
    pub(super) fn new(cap: Option<MicroUsd>, booked: MicroUsd) -> Self {
        Self { cap, state: Mutex::new(State { booked, ..State::default() }), settled: Notify::new() }
    }

    /// Sets `amount` aside; waits while it would fit but for what others have reserved.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] when booked + amount would pass the cap.
    pub(super) async fn reserve(&self, amount: MicroUsd) -> Result<Reservation<'_>> {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable(); // from here on no settlement is missed
            if let Some(reserved) = self.try_reserve(amount) {
                return reserved.map(|()| Reservation { budget: self, amount });
            }
            settled.await;
        }
    }

    /// `None`: not now.
    fn try_reserve(&self, amount: MicroUsd) -> Option<Result<()>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cap) = self.cap {
            if state.booked.plus(amount) > cap {
                state.exhausted = true;
                let message = format!(
                    "max_cost ${cap} does not cover the next call: ${} spent, ${amount} needed at most. Raise it and resume",
                    state.booked
                );
                return Some(Err(Error::new(ErrorKind::Budget, message)));
            }
            if state.booked.plus(state.reserved).plus(amount) > cap {
                return None;
            }
        }
        state.reserved = state.reserved.plus(amount);
        Some(Ok(()))
    }

    /// Corrects what was booked, when the charge is known later than the call.
    pub(super) fn correct(&self, difference: MicroUsd) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.booked = state.booked.plus(difference);
        drop(state);
        self.settled.notify_waiters();
    }

    /// True once a reservation was refused.
    pub(super) fn is_exhausted(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).exhausted
    }

    /// What was charged above its reservations.
    pub(super) fn over_reserved(&self) -> MicroUsd {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).over_reserved
    }
}

impl Reservation<'_> {
    /// Replaces the reservation by what was (or may have been) charged.
    pub(super) fn settle(mut self, charged: MicroUsd) {
        let mut state = self.budget.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.reserved = MicroUsd(state.reserved.0 - self.amount.0);
        state.booked = state.booked.plus(charged);
        state.over_reserved = state.over_reserved.plus(MicroUsd((charged.0 - self.amount.0).max(0)));
        self.amount = MicroUsd::ZERO; // the drop wakes who waits
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.reserved = MicroUsd(state.reserved.0 - self.amount.0);
        drop(state);
        if self.budget.cap.is_some() {
            self.budget.settled.notify_waiters();
        }
    }
}
