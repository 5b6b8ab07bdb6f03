//! The leases of a start: taken for all of its model runs or none before anything else, renewed while it works, given back at
//! its end. Whoever is about to pay or to write asks here first whether they still hold. Writes no status.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Context;
use super::save;
use super::spec::RunSpec;
use crate::clock::Clock;
use crate::domain::{HeldLease, Lease, PreviousJournal, describe_owner};
use crate::error::{Error, ErrorKind, Result};
use crate::host::{Host, Level};
use crate::store::Store;

/// Leases are renewed this many times in their life.
const RENEWALS: u32 = 6;

/// The leases of a start; none when the store keeps none or nothing is written.
pub(super) struct Leases {
    owner: String,
    ttl: Duration,
    clock: Arc<dyn Clock>,
    store: Option<Arc<dyn Store>>,
    /// As granted, by model.
    held: BTreeMap<String, Lease>,
    state: Mutex<State>,
    renewing: tokio::sync::Mutex<()>,
}

/// Until when the leases hold by both clocks: one stands still while the machine sleeps, the other may be set.
struct State {
    until: Instant,
    until_ms: i64,
    lost: Option<Error>,
}

impl std::fmt::Debug for Leases {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Leases").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl Leases {
    /// No leases: everything is allowed.
    pub(super) fn none(context: &Context, owner: Option<String>, ttl_ms: u64) -> Self {
        Self {
            owner: owner.unwrap_or_else(|| format!("{}:{}", std::process::id(), uuid::Uuid::new_v4().simple())),
            ttl: Duration::from_millis(ttl_ms),
            clock: context.clock.clone(),
            store: None,
            held: BTreeMap::new(),
            state: Mutex::new(State { until: Instant::now(), until_ms: 0, lost: None }),
            renewing: tokio::sync::Mutex::default(),
        }
    }

    /// Takes the leases of all model runs of the spec.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] with who has one of them; then none is taken.
    pub(super) async fn acquire(context: &Context, spec: &RunSpec, store: &Arc<dyn Store>, host: &Host) -> Result<Self> {
        let mut leases = Self::none(context, spec.owner.clone(), spec.settings.lease_ms);
        if spec.owner.is_none() {
            return Ok(leases);
        }
        let run_ids: Vec<String> = spec.models.iter().map(|model| model.run_id.clone()).collect();
        let mut tries = save::Tries::default();
        let (asked, asked_ms, told) = loop {
            let (asked, asked_ms) = (Instant::now(), leases.clock.now_ms());
            match store.acquire_leases(run_ids.clone(), leases.owner.clone(), leases.ttl_ms()).await {
                Ok(told) => break (asked, asked_ms, told),
                // Nothing is at stake yet, and a database that another process holds is free in a moment.
                Err(error) => tries.wait(host, "acquire_lease", error).await?,
            }
        };
        let Some(told) = told else { return Ok(leases) };
        if told.len() != spec.models.len() {
            let message = format!("acquire_lease told of {} model runs, asked for {}", told.len(), spec.models.len());
            return Err(Error::new(ErrorKind::Host, message));
        }
        let refused = spec.models.iter().zip(&told).find(|(_, lease)| !lease.granted);
        let refused = refused.map(|(model, lease)| locked(&spec.batch_id, &model.model, lease));
        let granted = spec.models.iter().zip(told).filter(|(_, lease)| lease.granted);
        leases.held = granted.map(|(model, lease)| (model.model.clone(), lease)).collect();
        leases.store = Some(store.clone());
        if let Some(error) = refused {
            store.release_leases(leases.keys(), leases.owner.clone()).await?;
            return Err(error);
        }
        leases.extend(asked, asked_ms);
        Ok(leases)
    }

    /// Who works: `host/boot/process/session`.
    pub(super) fn owner(&self) -> &str {
        &self.owner
    }

    /// The host of the owner.
    pub(super) fn host(&self) -> Option<&str> {
        self.owner.split_once('/').map(|(host, _)| host)
    }

    /// True when the store keeps the leases of this start.
    pub(super) fn are_held(&self) -> bool {
        self.store.is_some()
    }

    /// The fencing number of a model's lease; 0 without leases.
    pub(super) fn fence(&self, model: &str) -> i64 {
        self.held.get(model).map_or(0, |lease| lease.fence)
    }

    /// Where a model was worked on before this start; `None`: nowhere, or the store has no leases.
    pub(super) fn previous(&self, model: &str) -> Option<PreviousJournal> {
        let lease = self.held.get(model)?;
        let journal_id = lease.journal_id.clone()?;
        Some(PreviousJournal { journal_id, host: lease.journal_host.clone(), last_alive_ms: lease.last_alive_ms })
    }

    /// The life of a lease, in milliseconds.
    pub(super) fn ttl_ms(&self) -> i64 {
        i64::try_from(self.ttl.as_millis()).unwrap_or(i64::MAX)
    }

    /// Between two renewals.
    pub(super) fn renew_every(&self) -> Duration {
        self.ttl / RENEWALS
    }

    /// True while nobody else can have them, as far as this process can know without asking.
    pub(super) fn hold(&self) -> bool {
        if !self.are_held() {
            return true;
        }
        let state = self.lock();
        state.lost.is_none() && Instant::now() < state.until && self.clock.now_ms() < state.until_ms
    }

    /// Why they are lost; `None`: they are not, as far as is known.
    pub(super) fn lost(&self) -> Option<Error> {
        self.lock().lost.clone()
    }

    /// Returns at once while the leases hold. A process that slept through their life asks the store first.
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`] with who has one of them now, or the store's failure: then this start may do nothing more.
    pub(super) async fn assured(&self) -> Result<()> {
        if self.hold() {
            return Ok(());
        }
        let renewed = self.renew().await;
        if let Err(error) = &renewed {
            self.lock().lost.get_or_insert_with(|| error.clone());
        }
        renewed
    }

    /// Renews them.
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`] for good with who has one of them now; the store's failure, which may pass.
    pub(super) async fn renew(&self) -> Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        let asked_first = Instant::now();
        let _one = self.renewing.lock().await;
        if let Some(error) = self.lost() {
            return Err(error);
        }
        if self.lock().until > asked_first + self.ttl && self.hold() {
            return Ok(()); // another task renewed them while this one waited for its turn
        }
        let (asked, asked_ms) = (Instant::now(), self.clock.now_ms());
        let told = store.renew_leases(self.keys(), self.owner.clone(), self.ttl_ms()).await?;
        if let Some((model, lease)) = self.held.keys().zip(&told).find(|(_, lease)| !lease.granted) {
            let error = taken_over(model, lease);
            self.lock().lost = Some(error.clone());
            return Err(error);
        }
        self.extend(asked, asked_ms);
        Ok(())
    }

    /// Gives them back. A failure is said and does not matter for long: they end by themselves.
    pub(super) async fn release(&self, host: &Host) {
        let Some(store) = &self.store else { return };
        if let Err(error) = store.release_leases(self.keys(), self.owner.clone()).await {
            let seconds = self.ttl.as_secs();
            host.log(Level::Warning, format!("the leases could not be given back, they end in {seconds} s: {}", error.message));
        }
    }

    fn keys(&self) -> Vec<HeldLease> {
        self.held.values().map(|lease| (lease.run_id.clone(), lease.fence)).collect()
    }

    /// Counted from before the store was asked: it counts from a later moment.
    fn extend(&self, asked: Instant, asked_ms: i64) {
        let mut state = self.lock();
        state.until = asked + self.ttl;
        state.until_ms = asked_ms + self.ttl_ms();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn locked(batch_id: &str, model: &str, lease: &Lease) -> Error {
    let message = match &lease.owner {
        Some(owner) => {
            let until = lease.expires_at_ms.map(|until| format!(", its lease ends at {} unless it is renewed", utc(until)));
            let until = until.unwrap_or_default();
            format!("batch {batch_id} is locked: {} works on {model}{until}", describe_owner(owner))
        }
        None => format!("batch {batch_id} is locked: the store gave no lease of {model}, and names nobody who has it"),
    };
    Error::new(ErrorKind::Locked, message).with(|context| context.model = Some(model.to_owned()))
}

fn taken_over(model: &str, lease: &Lease) -> Error {
    let who = lease.owner.as_deref().map_or_else(|| "another start that has ended since".to_owned(), describe_owner);
    let message = format!(
        "the lease of {model} ran out and was taken over by {who}: this start ends, and what it has paid for and could not store \
         waits in the journal"
    );
    Error::new(ErrorKind::LeaseLost, message).with(|context| context.model = Some(model.to_owned()))
}

/// A moment for a person, in UTC.
fn utc(milliseconds: i64) -> String {
    let at = std::time::UNIX_EPOCH + Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default());
    httpdate::fmt_http_date(at)
}
