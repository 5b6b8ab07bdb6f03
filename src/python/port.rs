//! Where Rust leaves events and Python fetches them: a queue and a socket pair, one port for each event loop.
//!
//! No Rust thread ever attaches to the interpreter. A task pushes plain data; the first event into an empty queue writes
//! one byte, which the loop's reader sees; `drain` makes Python objects, after the lock is let go. Both ends of the pair
//! live in the `Arc` that tasks hold, so no descriptor is closed or reused under a writer.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use super::{calls, engine};
use crate::domain::{Extraction, Outcome, Summary};
use crate::error::Error;
use crate::host::{Event, HostPort, Level};
use crate::pipeline::{Quote, StructuredOutcome};

/// Log lines below a warning are dropped while this many events wait: a blocked loop must not fill the memory.
const CROWDED: usize = 4096;

/// What a session tells Python.
pub(super) enum Signal {
    /// Something while it runs.
    Event(Event),
    /// A run's end.
    Summary(Box<Summary>),
    /// A quote's end.
    Quote(Box<Quote>),
    /// The end of a plain list of questions.
    Outcomes(Vec<Outcome>),
    /// The end of a list of answers to extract from.
    Extractions(Vec<Extraction>),
    /// The end of a structured call, whatever came of it.
    Structured(Box<StructuredOutcome>),
    /// The end by an error.
    Failed(Error),
    /// The end without a word: cancelled, or the task is gone.
    Gone,
}

impl Signal {
    /// How many records it carries, for the cap of a drain.
    fn weight(&self) -> usize {
        match self {
            Self::Event(Event::Call(_, call)) => calls::weight(call),
            Self::Outcomes(outcomes) => outcomes.len(),
            Self::Extractions(extractions) => extractions.len(),
            _ => 1,
        }
    }
}

struct Queue {
    signals: VecDeque<(u64, Signal)>,
    closed: bool,
}

pub(super) struct Shared {
    queue: Mutex<Queue>,
    read: UnixStream,
    write: UnixStream,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, token: u64, signal: Signal) {
        let first = {
            let mut queue = self.lock();
            if queue.closed {
                return;
            }
            let (first, crowded) = (queue.signals.is_empty(), queue.signals.len() > CROWDED);
            match (queue.signals.back_mut(), signal) {
                // Only the latest progress is of interest.
                (Some((last, Signal::Event(Event::Progress(shown)))), Signal::Event(Event::Progress(pairs)))
                    if *last == token =>
                {
                    *shown = pairs;
                }
                (_, Signal::Event(Event::Log(Level::Debug | Level::Info, _))) if crowded => {}
                (_, signal) => queue.signals.push_back((token, signal)),
            }
            first
        };
        if first {
            self.wake();
        }
    }

    /// A full socket means that a wake-up is on its way.
    fn wake(&self) {
        let _ = (&self.write).write(&[1]);
    }

    /// Takes signals of at most `limit` records, and at least one signal.
    fn take(&self, limit: usize) -> Vec<(u64, Signal)> {
        // The socket first, the queue second: the other order can swallow the byte of an event that is left behind.
        let mut bytes = [0; 64];
        while matches!((&self.read).read(&mut bytes), Ok(count) if count == bytes.len()) {}
        let mut queue = self.lock();
        let (mut records, mut count) = (0, 0);
        for (_, signal) in &queue.signals {
            if count > 0 && records + signal.weight() > limit {
                break;
            }
            records += signal.weight();
            count += 1;
        }
        let taken = queue.signals.drain(..count).collect();
        let more = !queue.signals.is_empty();
        drop(queue);
        if more {
            self.wake();
        }
        taken
    }

    fn close(&self) {
        let waiting = {
            let mut queue = self.lock();
            queue.closed = true;
            std::mem::take(&mut queue.signals)
        };
        drop(waiting);
    }
}

/// A session's way to its port: adds the session's number, and remembers which answer each open call wants.
pub(super) struct Line {
    port: Arc<Shared>,
    token: u64,
    open: Mutex<HashMap<u64, calls::Wanted>>,
}

impl Line {
    pub(super) fn new(port: Arc<Shared>, token: u64) -> Self {
        Self { port, token, open: Mutex::default() }
    }

    pub(super) fn send(&self, signal: Signal) {
        self.port.push(self.token, signal);
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, calls::Wanted>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer an open call wants; `None` when it is answered or withdrawn.
    pub(super) fn wanted(&self, call: u64) -> Option<calls::Wanted> {
        self.open().get(&call).copied()
    }

    /// The call is answered.
    pub(super) fn settle(&self, call: u64) {
        self.open().remove(&call);
    }
}

impl HostPort for Line {
    fn push(&self, event: Event) {
        match &event {
            Event::Call(id, call) => {
                self.open().insert(*id, calls::Wanted::by(call));
            }
            Event::Forget(id) => self.settle(*id),
            Event::Log(..) | Event::Progress(_) => {}
        }
        self.send(Signal::Event(event));
    }
}

/// The events of one event loop.
#[pyclass(frozen, module = "overheard._core", name = "Port")]
pub(super) struct PyPort {
    pub(super) shared: Arc<Shared>,
}

#[pymethods]
impl PyPort {
    #[new]
    fn new() -> PyResult<Self> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        write.set_nonblocking(true)?;
        let queue = Mutex::new(Queue { signals: VecDeque::new(), closed: false });
        Ok(Self { shared: Arc::new(Shared { queue, read, write }) })
    }

    /// The descriptor that becomes readable when events wait.
    fn fileno(&self) -> i32 {
        self.shared.read.as_raw_fd()
    }

    /// Takes events, in order, with about `max_records` records in them; becomes readable again when more wait.
    #[pyo3(signature = (max_records, /))]
    fn drain<'py>(&self, py: Python<'py>, max_records: usize) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        if engine::is_closed() || engine::is_foreign() {
            return Ok(list);
        }
        for (token, signal) in self.shared.take(max_records) {
            list.append(to_tuple(py, token, signal)?)?;
        }
        Ok(list)
    }

    /// Drops what waits and what still comes.
    fn close(&self) {
        if !engine::is_foreign() {
            self.shared.close();
        }
    }
}

impl Drop for PyPort {
    fn drop(&mut self) {
        self.close();
    }
}

fn to_tuple(py: Python<'_>, token: u64, signal: Signal) -> PyResult<Bound<'_, PyTuple>> {
    match signal {
        Signal::Event(Event::Call(id, call)) => {
            let name = call.name();
            (token, "call", id, name, calls::arguments(py, call)?).into_pyobject(py)
        }
        Signal::Event(Event::Forget(id)) => (token, "forget", id).into_pyobject(py),
        Signal::Event(Event::Log(level, line)) => (token, "log", level as u8, line).into_pyobject(py),
        Signal::Event(Event::Progress(pairs)) => (token, "progress", super::convert::to_python(py, &pairs)?).into_pyobject(py),
        Signal::Summary(summary) => (token, "done", super::convert::to_python(py, &*summary)?).into_pyobject(py),
        Signal::Quote(quote) => (token, "done", super::convert::to_python(py, &*quote)?).into_pyobject(py),
        Signal::Structured(outcome) => (token, "done", super::convert::to_python(py, &*outcome)?).into_pyobject(py),
        Signal::Outcomes(outcomes) => (token, "done", calls::outcomes(py, outcomes)?).into_pyobject(py),
        Signal::Extractions(extractions) => (token, "done", calls::extractions(py, extractions)?).into_pyobject(py),
        Signal::Failed(error) => (token, "failed", super::error::fields(py, &error)?, error.context.host_call).into_pyobject(py),
        Signal::Gone => (token, "gone").into_pyobject(py),
    }
}
