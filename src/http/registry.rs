//! The limits of all accounts of the process: every run that uses a key shares them. Keeps a key's hash, never the key.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::Digest;

use super::breaker::Breaker;
use super::guard::Guard;
use super::limit::Limiter;
use super::rate::Rates;
use super::throttle::Throttle;
use crate::clock::Clock;
use crate::config::Account;

/// Folders of servers on this machine itself (simulators, proxies) are removed after this long.
const LOCAL_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// All that limits one account's speed.
#[derive(Debug)]
pub struct AccountLimits {
    /// Direct calls, or open snapshots.
    pub calls: Arc<Limiter>,
    /// Triggers.
    pub triggers: Arc<Limiter>,
    /// Requests and tokens a minute.
    pub rates: Arc<Rates>,
    /// The pause after a refusal.
    pub throttle: Arc<Throttle>,
    /// Whether the provider works at all.
    pub breaker: Arc<Breaker>,
    /// For a provider that bans addresses; `None`: it does not.
    pub guard: Option<Arc<Guard>>,
    /// Why the guard is not shared with the host's other processes, though it should be.
    pub guard_trouble: Option<String>,
}

impl AccountLimits {
    /// The same caps with a pause and a breaker of their own.
    #[must_use]
    pub fn with_own_state(&self) -> Arc<Self> {
        Arc::new(Self {
            calls: self.calls.clone(),
            triggers: self.triggers.clone(),
            rates: self.rates.clone(),
            throttle: Arc::default(),
            breaker: Arc::default(),
            guard: self.guard.clone(),
            guard_trouble: None,
        })
    }

    /// True after a refusal within the guard's window: polls become rare.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.guard.as_ref().is_some_and(|guard| guard.refusals() > 0)
    }

    /// How many times rarer than that; 1 or 4.
    #[must_use]
    pub fn poll_factor(&self) -> u32 {
        self.guard.as_ref().map_or(1, |guard| guard.poll_factor())
    }
}

/// The accounts by their identity, and by the caps that a run has for them; the guards by what bans this host.
#[derive(Debug, Default)]
pub struct LimitRegistry {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    identities: HashMap<Identity, Arc<Shared>>,
    accounts: HashMap<(Identity, Caps), Arc<AccountLimits>>,
    guards: HashMap<Server, ServerGuard>,
}

/// Same provider, server and key: same account.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Identity {
    server: Server,
    key: [u8; 32],
}

/// It bans an address, whatever keys that has used: its guard is one for all of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Server {
    provider: String,
    base_url: String,
    /// Where the guard's files are; `None`: the provider bans nobody.
    guard: Option<String>,
}

/// See [`AccountLimits`].
#[derive(Debug, Clone, Default)]
struct ServerGuard {
    guard: Option<Arc<Guard>>,
    trouble: Option<String>,
}

/// In flight, triggers, requests a minute, tokens a minute.
type Caps = (usize, usize, u64, u64);

/// What runs share whatever their caps are: the provider sees one account.
#[derive(Debug, Default)]
struct Shared {
    throttle: Arc<Throttle>,
    breaker: Arc<Breaker>,
}

impl LimitRegistry {
    /// The limits of an account, made on first use. `guard`: for a provider that bans addresses, the folder that the processes
    /// of this host share; empty: this process alone.
    #[must_use]
    pub fn account(&self, provider: &str, account: &Account, guard: Option<&str>, clock: &Arc<dyn Clock>) -> Arc<AccountLimits> {
        let server =
            Server { provider: provider.to_owned(), base_url: account.base_url.clone(), guard: guard.map(str::to_owned) };
        let identity = Identity { server, key: sha2::Sha256::digest(account.api_key.reveal().as_bytes()).into() };
        let (requests, tokens) = (account.requests_per_minute, account.tokens_per_minute);
        let caps = (account.max_in_flight, account.max_triggers, requests, tokens);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(limits) = state.accounts.get(&(identity.clone(), caps)) {
            return limits.clone();
        }
        let shared = state.identities.entry(identity.clone()).or_default().clone();
        let guard = state.guards.entry(identity.server.clone()).or_insert_with_key(|server| server.guard(clock)).clone();
        let cap = |number: u64| (number > 0).then_some(number);
        let limits = Arc::new(AccountLimits {
            calls: Limiter::new(account.max_in_flight),
            triggers: Limiter::new(account.max_triggers),
            rates: Rates::new(cap(requests), cap(tokens)),
            throttle: shared.throttle.clone(),
            breaker: shared.breaker.clone(),
            guard: guard.guard,
            guard_trouble: guard.trouble,
        });
        state.accounts.insert((identity, caps), limits.clone());
        limits
    }
}

impl Server {
    fn guard(&self, clock: &Arc<dyn Clock>) -> ServerGuard {
        let Some(host_folder) = self.guard.as_deref() else { return ServerGuard::default() };
        let (guard, trouble) = match host_folder {
            "" => (Guard::new(clock.clone()), None),
            _ => match Guard::shared(&self.folder(Path::new(host_folder)), clock.clone()) {
                Ok(guard) => (guard, None),
                Err(error) => (Guard::new(clock.clone()), Some(format!("{host_folder}: {error}"))),
            },
        };
        ServerGuard { guard: Some(guard), trouble }
    }

    /// Named by a hash, so that the server cannot be read from it.
    fn folder(&self, host_folder: &Path) -> std::path::PathBuf {
        let local = ["http://127.", "http://localhost", "http://[::1]"].iter().any(|start| self.base_url.starts_with(start));
        if local {
            remove_old(host_folder);
        }
        let mut hash = sha2::Sha256::new();
        for part in [&self.provider, &self.base_url] {
            hash.update(part);
            hash.update([0]);
        }
        let name: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        host_folder.join(if local { format!("local-{name}") } else { name })
    }
}

/// Every simulator has a port of its own, hence a folder of its own: those of yesterday are rubbish.
fn remove_old(host_folder: &Path) {
    let Ok(entries) = std::fs::read_dir(host_folder) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("local-")) {
        let modified = entry.metadata().and_then(|facts| facts.modified()).unwrap_or_else(|_| SystemTime::now());
        if modified.elapsed().is_ok_and(|age| age > LOCAL_KEPT) {
            let _ = std::fs::remove_dir_all(entry.path()); // somebody else may be at it
        }
    }
}
