//! What all tasks of a run share: settings, money, journal, counters, the accounts and who is stopped. Sends nothing; call.rs does.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::account::Account;
use super::boards::Boards;
use super::budget::Budget;
use super::health::StoreHealth;
use super::learned::Learned;
use super::leases::Leases;
use super::model_stop::ModelStop;
use super::overhead::Overhead;
use super::totals::Totals;
use crate::config::Settings;
use crate::domain::{MicroUsd, PreviousJournal};
use crate::error::Error;
use crate::host::{Host, Level};
use crate::journal::Journal;
use crate::providers;

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
    pub(super) leases: Arc<Leases>,
    pub(super) learned: Learned,
    pub(super) totals: Totals,
    pub(super) boards: Boards,
    pub(super) store_health: StoreHealth,
    /// What ends the run as an error when its tasks have ended: a panic, or a journal that takes nothing more.
    fatal: Mutex<Option<Error>>,
    pub(super) overhead: Overhead,
    /// Calls of earlier starts that no reply followed, by their id in the journal: what they may have been charged.
    pub(super) unreplied: HashMap<String, MicroUsd>,
    /// Models whose work in flight another journal knows, with the pairs that have not found it yet.
    unseen: Mutex<HashMap<String, usize>>,
    /// Models that answered in place of another, as (asked, served).
    served: Mutex<HashSet<(String, String)>>,
    /// Snapshots that belong to a submission we know of: nobody else may adopt them.
    known_snapshots: Mutex<HashSet<String>>,
    requests: AtomicU64,
    /// Cells of the plan, for the size of retry budgets.
    planned: u64,
    accounts: Mutex<HashMap<String, Arc<Account>>>,
    /// By model.
    stops: Mutex<HashMap<String, Arc<ModelStop>>>,
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
        leases: Arc<Leases>,
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
            leases,
            learned: Learned::new(question_set),
            totals,
            boards: Boards::default(),
            store_health: StoreHealth::default(),
            fatal: Mutex::default(),
            overhead: Overhead::default(),
            unreplied: HashMap::new(),
            unseen: Mutex::default(),
            known_snapshots: Mutex::default(),
            served: Mutex::default(),
            requests: AtomicU64::new(0),
            planned,
            accounts: Mutex::default(),
            stops: Mutex::default(),
        }
    }

    /// What a task of ours gave. `None`: it panicked, which ends the run, or was ended with it.
    pub(super) fn ended<T>(&self, joined: Result<T, JoinError>) -> Option<T> {
        let lost = match joined {
            Ok(value) => return Some(value),
            Err(lost) => lost.try_into_panic().ok()?,
        };
        let error = Error::panicked(lost.as_ref());
        self.fail(error);
        None
    }

    /// Nothing new is started, and the run ends with this error, the first one that is told so.
    pub(super) fn fail(&self, error: Error) {
        let mut fatal = self.fatal.lock().unwrap_or_else(PoisonError::into_inner);
        if fatal.is_none() {
            self.host.log(Level::Error, format!("{error}. Nothing new is started"));
            *fatal = Some(error);
        }
        self.stop.cancel();
    }

    /// Lets `work` end. After a stop, what is in flight when the grace is over is given up and booked.
    pub(super) async fn within_grace<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        let grace = async {
            self.stop.cancelled().await;
            tokio::time::sleep(Duration::from_millis(self.settings.grace_ms)).await;
        };
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = grace => self.abort.cancel(),
        }
        work.await
    }

    /// What the run must end with.
    pub(super) fn fatal(&self) -> Option<Error> {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Where a model was worked on with a journal that cannot be seen here; `None` once all its pairs have found what it bought.
    pub(super) fn unseen_journal(&self, model: &str) -> Option<PreviousJournal> {
        let found = self.unseen.lock().unwrap_or_else(PoisonError::into_inner).get(model) == Some(&0);
        self.leases.previous(model).filter(|previous| !found && Some(previous.journal_id.as_str()) != self.journal.folder_id())
    }

    /// `pairs` of a model look for what another journal knows; each calls [`Self::found_unseen`] when it is done.
    pub(super) fn looks_for_unseen(&self, model: &str, pairs: usize) {
        self.unseen.lock().unwrap_or_else(PoisonError::into_inner).insert(model.to_owned(), pairs);
    }

    /// A pair has found everything.
    pub(super) fn found_unseen(&self, model: &str) {
        if let Some(pairs) = self.unseen.lock().unwrap_or_else(PoisonError::into_inner).get_mut(model) {
            *pairs = pairs.saturating_sub(1);
        }
    }

    /// Takes a snapshot for a submission; false when it belongs to one already.
    pub(super) fn claim_snapshot(&self, id: &str) -> bool {
        self.known_snapshots.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned())
    }

    /// True when the snapshot belongs to a submission.
    pub(super) fn is_known_snapshot(&self, id: &str) -> bool {
        self.known_snapshots.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// Says once that another model answers than the one that was asked.
    pub(super) fn served(&self, asked: &str, served: &str) {
        let told = !providers::is_same_model(asked, served)
            && self.served.lock().unwrap_or_else(PoisonError::into_inner).insert((asked.to_owned(), served.to_owned()));
        if told {
            self.host.log(Level::Warning, format!("{asked} was asked and {served} answers; both are stored"));
        }
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
        // Bright Data bans an address that ignores its 429s.
        let guard = (name == "brightdata").then_some(self.settings.host_folder.as_str());
        let limits = self.context.limits.account(name, settings, guard, &self.context.clock);
        // A name says nothing about whose object it is: only the cap of a user's own provider is shared with other runs.
        let limits = if custom_max_in_flight.is_some() { limits.with_own_state() } else { limits };
        if let Some(trouble) = &limits.guard_trouble {
            let line = format!("{name}: other processes of this host do not see our 429s, nor we theirs ({trouble})");
            self.host.log(Level::Warning, line);
        }
        let account = Arc::new(Account::new(name, limits, self.planned));
        accounts.insert(name.to_owned(), account.clone());
        account
    }

    /// Whether a model's answers are stopped; shared by its pairs.
    pub(super) fn model_stop(&self, model: &str) -> Arc<ModelStop> {
        self.stops.lock().unwrap_or_else(PoisonError::into_inner).entry(model.to_owned()).or_default().clone()
    }

    /// A key or money problem, or an outage: nothing more is sent to this provider in this run.
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
