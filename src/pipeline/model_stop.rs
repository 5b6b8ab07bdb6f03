//! A model that was charged more than was reserved for it: nothing new is asked of it in this start. Its price, or a cap of its tokens, is
//! wrong, and with it every further reservation. Its account and other models go on.

use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::budget::{OverReserved, Reservation};
use super::session::Session;
use crate::domain::MicroUsd;
use crate::error::{Error, ErrorKind};
use crate::host::Level;

/// In the error of a stop, so that a program can tell it from a spent `max_cost`.
pub(super) const CODE: &str = "over_reserved";

/// Whether a model was stopped. Answers and extraction have one each: what stops the one leaves the other at work.
#[derive(Debug, Default)]
pub(super) struct ModelStop {
    reason: Mutex<Option<Error>>,
    pub(super) halted: CancellationToken,
}

/// What a paid call is paid from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Purse<'a> {
    pub(super) reservation: &'a Reservation<'a>,
    /// The most that one attempt can be charged.
    pub(super) each: MicroUsd,
    pub(super) stop: &'a ModelStop,
}

impl ModelStop {
    /// Why the model was stopped; `None` while it works.
    pub(super) fn stopped(&self) -> Option<Error> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Purse<'_> {
    /// Sets the next attempt's most aside when the one before may have been charged: the reservation covers one.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`].
    pub(super) async fn cover_resend(&self, lost: u32) -> Result<(), Error> {
        if lost > 0 { self.reservation.extend(self.each).await } else { Ok(()) }
    }
}

impl Session {
    /// Stops the model. `what`: the cell, or the call in words.
    pub(super) fn over_reserved(&self, stop: &ModelStop, model: &str, what: &str, over: OverReserved) {
        let message = format!(
            "{model} was charged ${} for {what}, and ${} were reserved for it: the model is stopped. Correct its price in OVERHEARD_PRICES \
             (also max_input_tokens, the most it may read) or lower max_output_tokens, then resume",
            over.charged, over.reserved
        );
        let error = Error::new(ErrorKind::Budget, message).with(|context| {
            context.model = Some(model.to_owned());
            context.cell = Some(what.to_owned());
            context.code = Some(CODE.to_owned());
            context.field = Some("OVERHEARD_PRICES".to_owned());
        });
        let mut reason = stop.reason.lock().unwrap_or_else(PoisonError::into_inner);
        if reason.is_none() {
            self.host.log(Level::Error, &error.message);
            self.totals.error(error.clone());
            *reason = Some(error);
            stop.halted.cancel();
        }
    }
}
