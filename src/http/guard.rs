//! The 429 guard of a provider that bans addresses that ignore its 429s, whatever the key: never more than eight in five minutes.
//!
//! Eight slots; a request needs one while it is in flight, and a slot whose request got a 429 is burnt for five minutes. So
//! the figure holds whatever is in flight when the first 429 comes, without counting. With a folder that the processes of a
//! host share, a slot is a locked file: its lock ends with its process, what is written in it outlives restarts.

mod slots;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::Clock;
use slots::{Mark, SlotFiles};

/// Answers 429 in any [`GUARD_WINDOW`]; Bright Data warns at 10 and bans an address at 25.
pub const GUARD_LIMIT: usize = 8;
/// The window.
pub const GUARD_WINDOW: Duration = Duration::from_secs(300);
/// A slot stays burnt this much longer: clocks tick differently.
const MARGIN: Duration = Duration::from_secs(1);
/// From this many answers 429 on: one request at a time, and polls four times rarer.
const GUARD_CAREFUL: usize = 4;
/// A pause that another process noted is not waited for longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);
/// Between two looks at slots that other processes hold.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The guard of one server, for all accounts that we have there.
#[derive(Debug)]
pub struct Guard {
    state: Mutex<State>,
    files: Option<SlotFiles>,
    clock: Arc<dyn Clock>,
    /// Whoever waits for a slot waits in line here.
    turn: tokio::sync::Mutex<()>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    slots: [SlotState; GUARD_LIMIT],
    paused_until: Option<Instant>,
}

#[derive(Debug, Default, Clone, Copy)]
struct SlotState {
    /// A request of this process holds it.
    busy: bool,
    burnt_until: Option<Instant>,
    /// What the file said when it was last read.
    seen: Mark,
}

/// The right to have one request in flight.
#[derive(Debug)]
pub struct Slot {
    guard: Arc<Guard>,
    number: usize,
    burnt: Option<(Mark, Duration)>,
}

enum Take {
    Slot(usize),
    /// Nobody may send for this long.
    Paused(Duration),
    /// Look again after this, or when a slot comes free.
    Wait(Duration),
}

impl Guard {
    /// A guard for this process alone.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), files: None, clock, turn: tokio::sync::Mutex::default(), freed: Notify::new() })
    }

    /// A guard that every process shares which uses the same `folder`.
    ///
    /// # Errors
    /// The folder or its files cannot be made.
    pub fn shared(folder: &Path, clock: Arc<dyn Clock>) -> std::io::Result<Arc<Self>> {
        let files = Some(SlotFiles::open(folder, GUARD_LIMIT)?);
        Ok(Arc::new(Self { state: Mutex::default(), files, clock, turn: tokio::sync::Mutex::default(), freed: Notify::new() }))
    }

    /// Waits for a slot while others hold them all, first come first served within this process.
    ///
    /// # Errors
    /// What is left of a pause or of the silence: whether to wait that long is for the caller to say.
    pub async fn acquire(self: &Arc<Self>) -> Result<Slot, Duration> {
        let _turn = self.turn.lock().await;
        loop {
            match self.take() {
                Take::Slot(number) => return Ok(Slot { guard: self.clone(), number, burnt: None }),
                Take::Paused(pause) => return Err(pause),
                Take::Wait(wait) => {
                    tokio::select! {
                        biased;
                        () = self.freed.notified() => {}
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
    }

    /// Answers 429 within the window, those of other processes included.
    #[must_use]
    pub fn refusals(&self) -> usize {
        let mut state = self.lock();
        self.refresh(&mut state);
        state.burnt(Instant::now())
    }

    /// What is left of the pause that a process of the host noted, or of the silence after the eighth 429; `None`: we
    /// may send.
    #[must_use]
    pub fn paused_for(&self) -> Option<Duration> {
        let mut state = self.lock();
        self.refresh(&mut state);
        state.pause(Instant::now())
    }

    /// 4 once half of what the guard allows is used up, else 1: polls become that much rarer.
    #[must_use]
    pub fn poll_factor(&self) -> u32 {
        if self.refusals() >= GUARD_CAREFUL { 4 } else { 1 }
    }

    fn take(&self) -> Take {
        let now = Instant::now();
        let mut state = self.lock();
        self.refresh(&mut state);
        if let Some(pause) = state.pause(now) {
            return Take::Paused(pause);
        }
        let burnt = state.burnt(now);
        let busy = state.slots.iter().any(|slot| slot.busy);
        if burnt >= GUARD_CAREFUL && busy {
            return Take::Wait(GUARD_WINDOW);
        }
        // All processes agree on which slot is the first, so one at a time holds for the host.
        let candidates = if burnt >= GUARD_CAREFUL { 1 } else { GUARD_LIMIT };
        let whole: Vec<usize> =
            (0..GUARD_LIMIT).filter(|number| state.slots.get(*number).is_some_and(|slot| !slot.is_burnt(now))).collect();
        for number in whole.into_iter().take(candidates) {
            if self.lock_slot(&mut state, number, now) {
                return Take::Slot(number);
            }
        }
        Take::Wait(if self.files.is_some() { LOOK_AGAIN } else { GUARD_WINDOW })
    }

    /// True when the slot is ours now. Whether it is burnt is read again under its lock: another process may have burnt it a
    /// moment ago.
    fn lock_slot(&self, state: &mut State, number: usize, now: Instant) -> bool {
        let Some(slot) = state.slots.get_mut(number).filter(|slot| !slot.busy) else { return false };
        if let Some(files) = &self.files {
            if !files.try_lock(number) {
                return false;
            }
            slot.read(files.read(number), now, self.clock.now_ms());
            if slot.is_burnt(now) {
                files.unlock(number);
                return false;
            }
        }
        slot.busy = true;
        true
    }

    fn refresh(&self, state: &mut State) {
        let Some(files) = &self.files else { return };
        let (now, now_ms) = (Instant::now(), self.clock.now_ms());
        for (number, slot) in state.slots.iter_mut().enumerate().filter(|(_, slot)| !slot.busy) {
            let mark = files.read(number);
            if mark != slot.seen {
                let paused = until(mark.paused_until_ms, now, now_ms, LONGEST_PAUSE);
                state.paused_until = state.paused_until.max(paused);
            }
            slot.read(mark, now, now_ms);
        }
    }

    fn release(&self, number: usize, burnt: Option<(Mark, Duration)>) {
        let now = Instant::now();
        let mut state = self.lock();
        if let Some((_, pause)) = burnt {
            state.paused_until = state.paused_until.max(Some(now + pause.min(LONGEST_PAUSE)));
        }
        if let Some(slot) = state.slots.get_mut(number) {
            slot.busy = false;
            if let Some((mark, _)) = burnt {
                slot.seen = mark;
                slot.burnt_until = Some(now + GUARD_WINDOW + MARGIN);
            }
        }
        if let Some(files) = &self.files {
            if let Some((mark, _)) = burnt {
                files.write(number, mark);
            }
            files.unlock(number);
        }
        drop(state);
        self.freed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// The request got a 429: the slot is burnt, and nobody on the host sends for `pause`.
    pub fn refused(mut self, pause: Duration) {
        let now_ms = self.guard.clock.now_ms();
        let after = |duration: Duration| now_ms.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX));
        self.burnt = Some((Mark { burnt_until_ms: after(GUARD_WINDOW + MARGIN), paused_until_ms: after(pause) }, pause));
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.guard.release(self.number, self.burnt);
    }
}

impl State {
    fn burnt(&self, now: Instant) -> usize {
        self.slots.iter().filter(|slot| slot.is_burnt(now)).count()
    }

    fn pause(&self, now: Instant) -> Option<Duration> {
        let until = self.paused_until.max(self.silent_until(now));
        until.filter(|until| *until > now).map(|until| until - now)
    }

    /// All slots are burnt: until the first of them is whole again.
    fn silent_until(&self, now: Instant) -> Option<Instant> {
        if self.burnt(now) < GUARD_LIMIT {
            return None;
        }
        self.slots.iter().filter_map(|slot| slot.burnt_until).min()
    }
}

impl SlotState {
    fn is_burnt(&self, now: Instant) -> bool {
        self.burnt_until.is_some_and(|until| until > now)
    }

    /// Takes over what the file says. What this process knows itself is never shortened, whatever the wall clock does.
    fn read(&mut self, mark: Mark, now: Instant, now_ms: i64) {
        if mark != self.seen {
            self.seen = mark;
            self.burnt_until = self.burnt_until.max(until(mark.burnt_until_ms, now, now_ms, GUARD_WINDOW + MARGIN));
        }
    }
}

/// A point of the wall clock as one of ours, at most `longest` away: a clock that was set back must not stop us for days.
fn until(milliseconds: i64, now: Instant, now_ms: i64, longest: Duration) -> Option<Instant> {
    let left = u64::try_from(milliseconds.saturating_sub(now_ms)).ok().filter(|left| *left > 0)?;
    Some(now + Duration::from_millis(left).min(longest))
}
