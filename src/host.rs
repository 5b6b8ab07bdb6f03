//! How the core asks the embedding program for something: it emits [`HostCall`]s, the program posts replies.
//!
//! Rust never runs user code. A call waits on a oneshot until [`Host::complete`] answers it; at most [`WINDOW`] calls are
//! open, which is the back-pressure. What is pushed goes through [`HostPort`], one wake-up for many events. Nothing here
//! names Python.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use crate::config::Redactor;
use crate::domain::{Batch, ExistingKey, Extraction, HeldLease, Lease, ModelRun, Outcome, PairProgress, QuestionRun};
use crate::error::{Error, ErrorKind, Result};
use crate::providers::Ask;

/// Host calls open at the same time, [`HostCall::Ask`] aside: those are bounded by their provider's own limit, and a slow
/// provider must not keep the store waiting.
pub const WINDOW: usize = 8;

/// A request to the embedding program.
#[derive(Debug, Clone)]
pub enum HostCall {
    /// Upsert the batch.
    SaveBatch(Box<Batch>),
    /// Upsert model runs.
    SaveModelRuns(Vec<ModelRun>),
    /// Upsert question runs, in one transaction.
    SaveQuestionRuns(Vec<Arc<QuestionRun>>),
    /// Write extractions, in one transaction: all rows of a run or none.
    SaveExtractions(Vec<Arc<Extraction>>),
    /// A page of what the store has, ordered by key, after `after`.
    ExistingKeys {
        /// The batch.
        batch_id: String,
        /// Last key of the page before.
        after: Option<String>,
        /// Page size.
        limit: usize,
    },
    /// A page of question runs without an extraction, ordered by key, after `after`.
    QuestionRuns {
        /// The batch.
        batch_id: String,
        /// Last key of the page before.
        after: Option<String>,
        /// Page size.
        limit: usize,
    },
    /// Ask a provider that the user wrote.
    Ask {
        /// Its registered name.
        provider: String,
        /// What to ask.
        asks: Vec<Ask>,
    },
    /// A small fact kept across runs (name variations, learned batch size).
    LoadFact(String),
    /// Keep a fact.
    SaveFact(String, String),
    /// Take the leases of model runs, each for itself.
    AcquireLeases {
        /// The model runs.
        run_ids: Vec<String>,
        /// For whom.
        owner: String,
        /// Life without renewal, in milliseconds.
        ttl_ms: i64,
    },
    /// Renew leases that are held.
    RenewLeases {
        /// Which.
        leases: Vec<HeldLease>,
        /// Whose.
        owner: String,
        /// Life without renewal, in milliseconds.
        ttl_ms: i64,
    },
    /// Give leases back.
    ReleaseLeases {
        /// Which.
        leases: Vec<HeldLease>,
        /// Whose.
        owner: String,
    },
}

impl HostCall {
    /// The callback's name, as errors and warnings use it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::SaveBatch(_) => "save_batch",
            Self::SaveModelRuns(_) => "save_model_runs",
            Self::SaveQuestionRuns(_) => "save_question_runs",
            Self::SaveExtractions(_) => "save_extractions",
            Self::ExistingKeys { .. } => "existing_keys",
            Self::QuestionRuns { .. } => "question_runs",
            Self::Ask { .. } => "ask",
            Self::LoadFact(_) => "load_fact",
            Self::SaveFact(..) => "save_fact",
            Self::AcquireLeases { .. } => "acquire_lease",
            Self::RenewLeases { .. } => "renew_lease",
            Self::ReleaseLeases { .. } => "release_lease",
        }
    }
}

/// The answer to a [`HostCall`].
#[derive(Debug, Clone)]
pub enum HostReply {
    /// Done; nothing to say.
    Done,
    /// A page; shorter than asked only at the end.
    Keys(Vec<ExistingKey>),
    /// A page; shorter than asked only at the end.
    Runs(Vec<QuestionRun>),
    /// One per ask, in order.
    Outcomes(Vec<Outcome>),
    /// The fact, if kept.
    Fact(Option<String>),
    /// One per lease asked for, in order; `None`: the store has no leases.
    Leases(Option<Vec<Lease>>),
}

/// Severity of a log line, as Python's `logging` counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Level {
    /// 10
    Debug = 10,
    /// 20
    Info = 20,
    /// 30
    Warning = 30,
    /// 40
    Error = 40,
}

/// What the core tells the embedding program.
#[derive(Debug)]
pub enum Event {
    /// Please do this and answer under the number.
    Call(u64, HostCall),
    /// The call's reply is no longer awaited (timeout): cancel it.
    Forget(u64),
    /// A log line; one line, control characters escaped.
    Log(Level, String),
    /// Where every pair stands.
    Progress(Vec<PairProgress>),
}

/// Takes events to the embedding program. Must not block.
pub trait HostPort: Send + Sync {
    /// Hands over an event.
    fn push(&self, event: Event);
}

type Pending = HashMap<u64, oneshot::Sender<Result<HostReply>>>;

/// The core's side of the conversation. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
    redactor: Arc<Redactor>,
}

struct Inner {
    port: Arc<dyn HostPort>,
    pending: Mutex<Pending>,
    next: AtomicU64,
    window: Semaphore,
    timeout: Duration,
    ask_timeout: Duration,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Host").finish_non_exhaustive()
    }
}

impl Host {
    /// A host behind `port`; a call not answered within `timeout` fails.
    #[must_use]
    pub fn new(port: Arc<dyn HostPort>, timeout: Duration) -> Self {
        Self::with_ask_timeout(port, timeout, timeout)
    }

    /// The same, with a limit of its own for [`HostCall::Ask`]: a provider may think longer than a store may hang.
    #[must_use]
    pub fn with_ask_timeout(port: Arc<dyn HostPort>, timeout: Duration, ask_timeout: Duration) -> Self {
        let (pending, next, window) = (Mutex::default(), AtomicU64::new(1), Semaphore::new(WINDOW));
        let inner = Arc::new(Inner { port, pending, next, window, timeout, ask_timeout });
        Self { inner, redactor: Arc::default() }
    }

    /// The same host, in whose log lines these keys do not stand.
    #[must_use]
    pub fn redacting(self, redactor: Redactor) -> Self {
        Self { redactor: Arc::new(redactor), ..self }
    }

    /// Asks and waits for the answer. Dropping the future withdraws the call.
    ///
    /// # Errors
    /// [`ErrorKind::Host`] when the callback raised (with `context.host_call`), or did not answer in time.
    pub async fn call(&self, call: HostCall) -> Result<HostReply> {
        let name = call.name();
        let (timeout, _permit) = if matches!(call, HostCall::Ask { .. }) {
            (self.inner.ask_timeout, None)
        } else {
            let permit = self.inner.window.acquire().await;
            (self.inner.timeout, Some(permit.map_err(|_| Error::new(ErrorKind::Cancelled, "the run was stopped"))?))
        };
        let id = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(id, sender);
        let guard = Withdraw { host: self, id };
        self.inner.port.push(Event::Call(id, call));
        let answer = tokio::time::timeout(timeout, receiver).await;
        match answer {
            Ok(Ok(reply)) => {
                std::mem::forget(guard);
                reply
            }
            Ok(Err(_)) => Err(Error::new(ErrorKind::Cancelled, format!("{name} was withdrawn"))),
            Err(_) => Err(Error::new(
                ErrorKind::Host,
                format!("{name} did not return within {:.0} s: is it blocked, or waiting for a lock?", timeout.as_secs_f64()),
            )),
        }
    }

    /// Answers a call. A late or unknown number is ignored.
    pub fn complete(&self, id: u64, reply: Result<HostReply>) {
        if let Some(sender) = self.lock().remove(&id) {
            let _ = sender.send(reply);
        }
    }

    /// Sends a log line. Keys are masked; control characters (from answers, names) are escaped, so a line stays a line.
    pub fn log(&self, level: Level, line: impl AsRef<str>) {
        self.inner.port.push(Event::Log(level, one_line(&self.redactor.clean(line.as_ref()))));
    }

    /// Sends the progress of all pairs.
    pub fn progress(&self, pairs: Vec<PairProgress>) {
        self.inner.port.push(Event::Progress(pairs));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.inner.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Withdraw<'a> {
    host: &'a Host,
    id: u64,
}

impl Drop for Withdraw<'_> {
    fn drop(&mut self) {
        self.host.lock().remove(&self.id);
        self.host.inner.port.push(Event::Forget(self.id));
    }
}

/// Escapes control and bidirectional formatting characters.
fn one_line(text: &str) -> String {
    let unsafe_character = |character: char| {
        character.is_control() || matches!(character, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
    };
    if !text.contains(unsafe_character) {
        return text.to_owned();
    }
    text.chars()
        .flat_map(|character| {
            let escaped = unsafe_character(character);
            character.escape_default().take(if escaped { usize::MAX } else { 0 }).chain((!escaped).then_some(character))
        })
        .collect()
}
