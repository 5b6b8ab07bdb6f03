//! The money cap of a batch: reserve before a call, settle after it. Integer micro-dollars.
//!
//! A reservation is the most a call can cost and often many times what it will cost. So a call that does not fit waits for
//! others to settle, and is refused only when it would not fit although nothing else were reserved.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::MicroUsd;
use crate::error::{Error, ErrorKind, Result};

/// Booked, reserved, and the cap.
#[derive(Debug)]
pub(super) struct Budget {
    cap: Option<MicroUsd>,
    /// Charges are held against their reservations.
    watched: bool,
    state: Mutex<State>,
    settled: Notify,
}

#[derive(Debug, Default)]
struct State {
    booked: MicroUsd,
    reserved: MicroUsd,
    /// The part of `reserved` whose holders wait for more of it.
    waiting: MicroUsd,
    over_reserved: MicroUsd,
    exhausted: bool,
}

/// Money set aside for one call. Dropped without being settled, it is given back.
#[derive(Debug)]
pub(super) struct Reservation<'a> {
    budget: &'a Budget,
    amount: AtomicI64,
}

/// A charge above what was reserved for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OverReserved {
    pub(super) charged: MicroUsd,
    pub(super) reserved: MicroUsd,
}

impl OverReserved {
    /// `None` when the charge stayed within its reservation. Nothing is reserved where no price is known before the call
    /// (a provider of the user's that names none): such a charge cannot be above it.
    pub(super) fn of(charged: MicroUsd, reserved: MicroUsd) -> Option<Self> {
        (reserved > MicroUsd::ZERO && charged > reserved).then_some(Self { charged, reserved })
    }

    /// The part above.
    pub(super) fn excess(self) -> MicroUsd {
        MicroUsd(self.charged.0 - self.reserved.0)
    }
}

impl Budget {
    /// `booked`: what earlier starts of the batch were charged (and may have been). No cap: nothing is ever refused.
    pub(super) fn new(cap: Option<MicroUsd>, booked: MicroUsd) -> Self {
        Self { cap, watched: true, state: Mutex::new(State { booked, ..State::default() }), settled: Notify::new() }
    }

    /// Of a plain list of questions: nothing is refused, and no charge is held against what it could have been.
    pub(super) fn none() -> Self {
        Self { watched: false, ..Self::new(None, MicroUsd::ZERO) }
    }

    /// Sets `amount` aside; waits while it would fit but for what others have reserved.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] when booked + amount would pass the cap.
    pub(super) async fn reserve(&self, amount: MicroUsd) -> Result<Reservation<'_>> {
        self.when_it_fits(|state| state.try_reserve(self.cap, amount)).await?;
        Ok(Reservation { budget: self, amount: AtomicI64::new(amount.0) })
    }

    /// What could be reserved now without waiting; `None`: there is no cap.
    pub(super) fn room(&self) -> Option<MicroUsd> {
        let state = self.lock();
        self.cap.map(|cap| MicroUsd(cap.0.saturating_sub(state.booked.plus(state.reserved).0).max(0)))
    }

    /// Waits until `attempt` gives an answer; it is made again after each settlement.
    async fn when_it_fits(&self, mut attempt: impl FnMut(&mut State) -> Option<Result<()>>) -> Result<()> {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable(); // from here on no settlement is missed
            let answer = attempt(&mut self.lock());
            match answer {
                Some(answer) => return answer,
                None => settled.await,
            }
        }
    }

    /// Corrects what was booked, when the charge is known later than the call.
    pub(super) fn correct(&self, difference: MicroUsd) {
        let mut state = self.lock();
        state.booked = state.booked.plus(difference);
        drop(state);
        self.settled.notify_waiters();
    }

    /// Replaces what was `booked` for a call by its charge, which is known only now.
    pub(super) fn correct_charge(&self, charged: MicroUsd, booked: MicroUsd) -> Option<OverReserved> {
        let over = OverReserved::of(charged, booked).filter(|_| self.watched);
        let mut state = self.lock();
        state.booked = state.booked.plus(MicroUsd(charged.0 - booked.0));
        state.over_reserved = state.over_reserved.plus(over.map_or(MicroUsd::ZERO, OverReserved::excess));
        drop(state);
        self.settled.notify_waiters();
        over
    }

    /// True once a reservation was refused.
    pub(super) fn is_exhausted(&self) -> bool {
        self.lock().exhausted
    }

    /// What this start was charged above its reservations.
    pub(super) fn over_reserved(&self) -> MicroUsd {
        self.lock().over_reserved
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// `None`: not now.
    fn try_reserve(&mut self, cap: Option<MicroUsd>, amount: MicroUsd) -> Option<Result<()>> {
        if let Some(cap) = cap {
            if self.booked.plus(amount) > cap {
                return Some(Err(self.refuse(cap, amount)));
            }
            if self.booked.plus(self.reserved).plus(amount) > cap {
                return None;
            }
        }
        self.reserved = self.reserved.plus(amount);
        Some(Ok(()))
    }

    /// The same for more of a reservation of `held`. Refused, too, when everybody who has something reserved waits like this:
    /// nobody would ever settle.
    fn try_extend(&mut self, cap: Option<MicroUsd>, held: MicroUsd, more: MicroUsd) -> Option<Result<()>> {
        if let Some(cap) = cap
            && self.booked.plus(self.reserved).plus(more) > cap
        {
            if self.booked.plus(held).plus(more) > cap {
                return Some(Err(self.refuse(cap, more)));
            }
            let nobody_settles = self.waiting.plus(held) >= self.reserved;
            return nobody_settles.then(|| Err(self.too_little(cap, more)));
        }
        self.reserved = self.reserved.plus(more);
        Some(Ok(()))
    }

    fn refuse(&mut self, cap: MicroUsd, amount: MicroUsd) -> Error {
        self.exhausted = true;
        self.too_little(cap, amount)
    }

    fn too_little(&self, cap: MicroUsd, amount: MicroUsd) -> Error {
        let booked = self.booked;
        let message = format!(
            "max_cost ${cap} does not cover the next call: ${booked} spent, ${amount} needed at most. Raise max_cost and resume"
        );
        Error::new(ErrorKind::Budget, message).with(|context| context.field = Some("max_cost".into()))
    }
}

impl Reservation<'_> {
    /// Sets more aside for the same call, before it is sent once more: the attempt before may have been charged. Waits as
    /// [`Budget::reserve`] does.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`]; what was set aside before stays.
    pub(super) async fn extend(&self, more: MicroUsd) -> Result<()> {
        let held = MicroUsd(self.amount.load(Ordering::Relaxed));
        let mut waits = Waits { budget: self.budget, amount: None };
        let extended = self.budget.when_it_fits(|state| {
            waits.end(state);
            let answer = state.try_extend(self.budget.cap, held, more);
            if answer.is_none() {
                waits.begin(state, held);
            }
            answer
        });
        extended.await?;
        self.amount.fetch_add(more.0, Ordering::Relaxed);
        Ok(())
    }

    /// Replaces the reservation by what was charged and what may have been. Gives the excess, which stops the model.
    #[must_use = "a charge above its reservation stops the model"]
    pub(super) fn settle(mut self, charged: MicroUsd, maybe_charged: MicroUsd) -> Option<OverReserved> {
        let amount = std::mem::take(self.amount.get_mut());
        let charged = charged.plus(maybe_charged);
        let over = OverReserved::of(charged, MicroUsd(amount)).filter(|_| self.budget.watched);
        let mut state = self.budget.lock();
        state.reserved = MicroUsd(state.reserved.0 - amount);
        state.booked = state.booked.plus(charged);
        state.over_reserved = state.over_reserved.plus(over.map_or(MicroUsd::ZERO, OverReserved::excess));
        drop(state);
        over // the drop wakes who waits
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        state.reserved = MicroUsd(state.reserved.0 - *self.amount.get_mut());
        drop(state);
        if self.budget.cap.is_some() {
            self.budget.settled.notify_waiters();
        }
    }
}

/// Marks a reservation as waiting for more, until it is dropped: a call that is given up while it waits no longer does.
struct Waits<'a> {
    budget: &'a Budget,
    amount: Option<MicroUsd>,
}

impl Waits<'_> {
    fn begin(&mut self, state: &mut State, held: MicroUsd) {
        state.waiting = state.waiting.plus(held);
        self.amount = Some(held);
    }

    fn end(&mut self, state: &mut State) {
        if let Some(amount) = self.amount.take() {
            state.waiting = MicroUsd(state.waiting.0 - amount.0);
        }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if self.amount.is_some() {
            let budget = self.budget;
            self.end(&mut budget.lock());
        }
    }
}

#[cfg(test)]
mod tests;
