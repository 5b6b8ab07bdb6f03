//! The 429 guard: at most eight answers 429 in any five minutes, whatever is in flight, in one process and in several.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overheard::clock::{Clock, ManualClock, SystemClock};
use overheard::config::{Account, Secret};
use overheard::http::guard::{GUARD_LIMIT, GUARD_WINDOW, Guard, Slot};
use overheard::http::limit::LimitRegistry;
use proptest::prelude::*;
use tokio::task::JoinSet;
use tokio::time::Instant;

const NOW_MS: i64 = 1_700_000_000_000;
const PAUSE: Duration = Duration::from_secs(2);

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("overheard-guard-{}", uuid::Uuid::new_v4())))
    }

    fn guard(&self, clock: &Arc<ManualClock>) -> Arc<Guard> {
        Guard::shared(&self.0, clock.clone()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(NOW_MS, 7))
}

/// Ends on its own with the paused clock: `None` when no slot is to be had.
async fn at_once(guard: &Arc<Guard>) -> Option<Slot> {
    tokio::time::timeout(Duration::from_millis(1), guard.acquire()).await.ok()?.ok()
}

/// Waits out every pause.
async fn acquire(guard: &Arc<Guard>) -> Slot {
    loop {
        match guard.acquire().await {
            Ok(slot) => return slot,
            Err(pause) => tokio::time::sleep(pause).await,
        }
    }
}

/// The most of these within the guard's window.
fn most(times: &[Instant]) -> usize {
    let within = |first: &Instant| times.iter().filter(|time| **time >= *first && **time < *first + GUARD_WINDOW).count();
    times.iter().map(within).max().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn f35_eight_in_flight_at_a_time_so_eight_can_fail_together() {
    let guard = Guard::new(clock());
    let mut held = Vec::new();
    while let Some(slot) = at_once(&guard).await {
        held.push(slot);
    }
    assert_eq!(held.len(), GUARD_LIMIT);
    held.drain(..).for_each(|slot| slot.refused(PAUSE));
    assert_eq!(guard.refusals(), GUARD_LIMIT);
    let silent = Instant::now();
    assert!(guard.paused_for().unwrap() >= GUARD_WINDOW - Duration::from_secs(1));
    let slot = acquire(&guard).await;
    assert!(silent.elapsed() >= GUARD_WINDOW, "{:?}", silent.elapsed());
    drop(slot);
}

#[tokio::test(start_paused = true)]
async fn f35_the_first_429_pauses_all_and_the_fourth_leaves_one_at_a_time() {
    let guard = Guard::new(clock());
    for number in 0..4_u32 {
        assert_eq!((guard.refusals(), guard.poll_factor()), (number as usize, 1));
        acquire(&guard).await.refused(PAUSE);
        assert!(at_once(&guard).await.is_none(), "a pause for all");
        tokio::time::advance(PAUSE).await;
    }
    assert_eq!(guard.poll_factor(), 4);
    let slot = at_once(&guard).await.unwrap();
    assert!(at_once(&guard).await.is_none(), "one at a time");
    drop(slot);
    assert!(at_once(&guard).await.is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    /// Tasks that send as fast as they may, to an account that refuses a share of all requests, from two processes.
    #[test]
    fn f35_never_more_than_eight_whatever_is_sent(tasks in 1usize..24, share in 0u64..101, takes in 0u64..500, pause in 0u64..40) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let refused: Vec<Instant> = runtime.block_on(async {
            let folder = Folder::new();
            let (begun, clock) = (Instant::now(), clock());
            let guards = [folder.guard(&clock), folder.guard(&clock)];
            let refused = Arc::new(Mutex::new(Vec::new()));
            let mut senders = JoinSet::new();
            for task in 0..tasks {
                let (guard, refused, clock) = (guards[task % 2].clone(), Arc::clone(&refused), clock.clone());
                senders.spawn(async move {
                    for number in 0..30 {
                        clock.set(NOW_MS + begun.elapsed().as_millis() as i64);
                        let slot = acquire(&guard).await;
                        tokio::time::sleep(Duration::from_millis(takes * (1 + number % 3))).await;
                        if (number * 37 + task as u64 * 11) % 100 < share {
                            clock.set(NOW_MS + begun.elapsed().as_millis() as i64);
                            refused.lock().unwrap().push(Instant::now());
                            slot.refused(Duration::from_secs(pause));
                        }
                    }
                });
            }
            let _ = tokio::time::timeout(Duration::from_secs(1_000), async { while senders.join_next().await.is_some() {} }).await;
            senders.shutdown().await;
            let refused = refused.lock().unwrap();
            refused.clone()
        });
        prop_assert!(most(&refused) <= GUARD_LIMIT, "{} of {}", most(&refused), refused.len());
        if share == 100 {
            prop_assert!(refused.len() >= GUARD_LIMIT, "the guard must not be what stops them before");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn f35_what_one_process_was_refused_the_others_and_the_next_know() {
    let (folder, clock) = (Folder::new(), clock());
    let (first, second) = (folder.guard(&clock), folder.guard(&clock));
    let held = [acquire(&first).await, acquire(&first).await, acquire(&first).await];
    let mut others = Vec::new();
    while let Some(slot) = at_once(&second).await {
        others.push(slot);
    }
    assert_eq!(others.len(), GUARD_LIMIT - 3, "in flight together");
    others.clear();
    held.into_iter().for_each(|slot| slot.refused(PAUSE));
    assert_eq!(second.refusals(), 3);
    assert!(at_once(&second).await.is_none(), "the pause is everybody's");
    drop((first, second));
    let next = folder.guard(&clock);
    assert_eq!(next.refusals(), 3, "kept over a restart");
    clock.set(NOW_MS + 302_000);
    assert_eq!(folder.guard(&clock).refusals(), 0);
}

#[tokio::test(start_paused = true)]
async fn f70_a_clock_that_jumps_neither_forgets_a_429_nor_stops_us_for_days() {
    let (folder, clock) = (Folder::new(), clock());
    let guard = folder.guard(&clock);
    acquire(&guard).await.refused(PAUSE);
    clock.set(NOW_MS + 24 * 3_600_000);
    assert_eq!(guard.refusals(), 1, "it is known here by the clock that cannot be set");
    clock.set(NOW_MS - 24 * 3_600_000);
    let late = folder.guard(&clock);
    assert_eq!(late.refusals(), 1);
    tokio::time::advance(GUARD_WINDOW + Duration::from_secs(2)).await;
    assert_eq!((guard.refusals(), late.refusals()), (0, 0));
}

#[test]
fn files_of_garbage_say_nothing() {
    let (folder, clock) = (Folder::new(), clock());
    drop(folder.guard(&clock));
    for (number, text) in ["", "x", "-9223372036854775808 9223372036854775807", "\0\0\0\0", "99999999999999999999999 1", "🦀"]
        .into_iter()
        .enumerate()
    {
        std::fs::write(folder.0.join(format!("slot-{number}")), text).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { assert!(folder.guard(&clock).refusals() <= 1) });
}

#[tokio::test(start_paused = true)]
async fn f35_the_keys_of_one_host_share_what_bans_its_address_and_nothing_else() {
    let (folder, clock): (_, Arc<dyn Clock>) = (Folder::new(), clock());
    let here = LimitRegistry::default();
    let limits = |registry: &LimitRegistry, host_folder: &str, key: &str| {
        let account = Account { api_key: Secret::new(key), ..Account::brightdata() };
        registry.account("brightdata", &account, Some(host_folder), &clock)
    };
    let another_process = LimitRegistry::default();
    let shared = folder.0.to_str().unwrap();
    for (first, second) in [
        (limits(&here, "", "k1"), limits(&here, "", "k2")),
        (limits(&here, shared, "k1"), limits(&another_process, shared, "k2")),
    ] {
        let (mine, theirs) = (first.guard.as_ref().unwrap(), second.guard.as_ref().unwrap());
        for _ in 0..GUARD_LIMIT {
            acquire(mine).await.refused(PAUSE);
        }
        assert_eq!(theirs.refusals(), GUARD_LIMIT);
        assert!(theirs.acquire().await.is_err(), "a sixteenth 429 would be on its way to the ban");
        assert!(!Arc::ptr_eq(&first.throttle, &second.throttle) && !Arc::ptr_eq(&first.breaker, &second.breaker));
        assert!(!Arc::ptr_eq(&first.rates, &second.rates));
    }
}

#[cfg(unix)]
#[test]
fn the_files_are_the_users_alone_and_name_neither_key_nor_server() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let account = Account { api_key: Secret::new("canary-key-1234"), ..Account::brightdata() };
    let limits = LimitRegistry::default().account("brightdata", &account, folder.0.to_str(), &clock);
    assert_eq!(limits.guard_trouble, None);
    let mut seen = 0;
    let mut check = |path: &Path, mode: u32| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(!name.contains("canary") && !name.contains("brightdata"), "{name}");
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, mode, "{name}");
        seen += 1;
    };
    let accounts: Vec<PathBuf> = std::fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(accounts.len(), 1);
    check(&accounts[0], 0o700);
    for entry in std::fs::read_dir(&accounts[0]).unwrap() {
        check(&entry.unwrap().path(), 0o600);
    }
    assert_eq!(seen, 1 + GUARD_LIMIT);
}

#[test]
fn a_folder_that_cannot_be_used_is_told_and_leaves_the_guard_of_this_process() {
    let folder = Folder::new();
    std::fs::write(&folder.0, "a file").unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let limits = LimitRegistry::default().account("brightdata", &Account::brightdata(), folder.0.to_str(), &clock);
    assert!(limits.guard_trouble.as_deref().unwrap().contains("overheard-guard-"));
    assert!(limits.guard.is_some());
    std::fs::remove_file(&folder.0).unwrap();
}
