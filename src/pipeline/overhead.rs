//! Charges that belong to no cell: name variations, submissions that were lost or bought twice. Each is kept by a model run whose lease
//! this start holds, as a total over all starts that nobody else writes.

use std::sync::{Mutex, PoisonError};

use super::session::Session;
use super::spec::RunSpec;
use super::totals::Money;
use crate::error::Result;
use crate::journal::Overhead as Noted;

/// By model, in the order of the start. Constant after it is made, but for the amounts.
#[derive(Debug, Default)]
pub(super) struct Overhead {
    models: Mutex<Vec<(String, Money)>>,
}

impl Overhead {
    /// What the model runs of a start have so far.
    pub(super) fn of_start(spec: &RunSpec) -> Self {
        let known = spec
            .models
            .iter()
            .map(|model| (model.model.clone(), (model.overhead_micro_usd, model.overhead_maybe_charged_micro_usd)));
        Self { models: Mutex::new(known.collect()) }
    }

    /// The totals of a model run.
    pub(super) fn of(&self, model: &str) -> Money {
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        models.iter().find(|(name, _)| name == model).map(|(_, money)| *money).unwrap_or_default()
    }

    /// Adds to a model run (`None`, or none of this start: the first) and gives its name and totals.
    fn add(&self, model: Option<&str>, (charged, maybe): Money) -> Option<(String, Money)> {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        let place = models.iter().position(|(name, _)| Some(name.as_str()) == model).unwrap_or(0);
        let (name, money) = models.get_mut(place)?;
        *money = (money.0 + charged, money.1 + maybe);
        Some((name.clone(), *money))
    }
}

impl Session {
    /// Books money that belongs to no cell, durably. The budget is the caller's business. `model`: whose it is; `None`: the
    /// batch's, for its call for name variations.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Journal`]: it is counted all the same, and reaches the store with the next save of the model runs.
    pub(super) async fn book_overhead(&self, model: Option<&str>, money: Money) -> Result<()> {
        self.totals.overhead(money.0, money.1);
        let Some((name, (micro_usd, maybe_charged_micro_usd))) = self.overhead.add(model, money) else { return Ok(()) };
        let names = model.is_none();
        self.journal.overhead(Noted { model: Some(name), micro_usd, maybe_charged_micro_usd, names }).await
    }
}
