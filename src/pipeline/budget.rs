//! The money cap of a batch: reserve before a call, settle after it. Integer micro-dollars; never blocks.

use std::sync::{Mutex, PoisonError};

use crate::domain::MicroUsd;
use crate::error::{Error, ErrorKind, Result};

/// Booked, reserved, and the cap.
#[derive(Debug)]
pub(super) struct Budget {
    cap: Option<MicroUsd>,
    state: Mutex<State>,
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
        Self { cap, state: Mutex::new(State { booked, ..State::default() }) }
    }

    /// Sets `amount` aside.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] when booked + reserved + amount would pass the cap.
    pub(super) fn reserve(&self, amount: MicroUsd) -> Result<Reservation<'_>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cap) = self.cap
            && state.booked.plus(state.reserved).plus(amount) > cap
        {
            state.exhausted = true;
            let message = format!(
                "max_cost ${cap} does not cover the next call: ${} spent, ${} reserved, ${amount} needed. Raise it and resume",
                state.booked, state.reserved
            );
            return Err(Error::new(ErrorKind::Budget, message));
        }
        state.reserved = state.reserved.plus(amount);
        Ok(Reservation { budget: self, amount })
    }

    /// Corrects what was booked, when the charge is known later than the call.
    pub(super) fn correct(&self, difference: MicroUsd) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.booked = state.booked.plus(difference);
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
        self.amount = MicroUsd::ZERO;
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.reserved = MicroUsd(state.reserved.0 - self.amount.0);
    }
}
