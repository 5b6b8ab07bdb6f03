//! What all tasks of a run share: settings, money, journal, counters, the accounts and who is stopped. Sends nothing; call.rs does.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::Context;
use super::account::Account;
use super::boards::Boards;
use super::budget::Budget;
use super::learned::Learned;
use super::totals::Totals;
use crate::config::Settings;
use crate::error::Error;
use crate::host::{Host, Level};
use crate::http::retry::RetryBudget;
use crate::journal::Journal;

/// Shared by all tasks of a run.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) context: Context,
    pub(super) settings: Settings,
    pub(super) host: Host,
    /// The graceful stop: nothing new starts.
    pub(super) stop: CancellationToken,
    /// The end of the grace after a stop: calls in flight are given up and booked as what they may have cost.
    pub(super) abort: CancellationToken,
    pub(super) budget: Budget,
    pub(super) journal: Journal,
    pub(super) learned: Learned,
    pub(super) totals: Totals,
    pub(super) boards: Boards,
    requests: AtomicU64,
    /// Cells of the plan, for the size of retry budgets.
    planned: u64,
    accounts: Mutex<HashMap<String, Arc<Account>>>,
}

impl Session {
    #[expect(clippy::too_many_arguments, reason = "called once; a builder would say the same twice")]
    pub(super) fn new(
        context: Context,
        settings: Settings,
        host: Host,
        stop: CancellationToken,
        budget: Budget,
        journal: Journal,
        totals: Totals,
        question_set: String,
        planned: u64,
    ) -> Self {
        Self {
            context,
            settings,
            host,
            stop,
            abort: CancellationToken::new(),
            budget,
            journal,
            learned: Learned::new(question_set),
            totals,
            boards: Boards::default(),
            requests: AtomicU64::new(0),
            planned,
            accounts: Mutex::default(),
        }
    }

    pub(super) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// HTTP requests this start made.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The account a provider's calls belong to. Custom providers have one each, capped by `max_in_flight`.
    pub(super) fn account(&self, name: &str, custom_max_in_flight: Option<usize>) -> Arc<Account> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.get(name) {
            return account.clone();
        }
        let own = crate::config::Account { max_in_flight: custom_max_in_flight.unwrap_or(1), ..Default::default() };
        let settings = match name {
            "openai" => &self.settings.openai,
            "anthropic" => &self.settings.anthropic,
            "brightdata" => &self.settings.brightdata,
            _ => &own,
        };
        let account = Arc::new(Account {
            name: name.to_owned(),
            limits: self.context.limits.account(name, settings),
            retries: RetryBudget::new(self.planned),
            stopped: Mutex::default(),
            halted: CancellationToken::new(),
            guarded: name == "brightdata",
        });
        accounts.insert(name.to_owned(), account.clone());
        account
    }

    /// A key or money problem: nothing more is sent to this provider in this run.
    pub(super) fn stop_provider(&self, account: &Account, error: &Error) {
        let mut stopped = account.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        if stopped.is_none() {
            self.host.log(Level::Error, format!("{} is stopped: {error}", account.name));
            self.totals.error(error.clone());
            *stopped = Some(error.clone());
            account.halted.cancel();
        }
    }
}
