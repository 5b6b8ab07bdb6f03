//! All chance of a simulated run, from its seed: a generator for our own draws, and the process's source of entropy for the
//! code under test (ids, hash maps, the order in which `tokio::select!` looks at its branches). Decides nothing itself.

use std::hash::Hasher;

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// A stream of its own for each purpose: a draw more in one leaves the others as they were.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut hash = Fingerprint::default();
        hash.write(purpose.as_bytes());
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ hash.finish())
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From `0` to `below - 1`.
    pub fn below(&mut self, below: u64) -> u64 {
        self.next() % below.max(1)
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    /// Fisher and Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

/// FNV-1a: the same on every machine and in every version of Rust.
#[derive(Debug, Clone)]
pub struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Runs `work` in a thread of its own whose entropy is drawn from `seed`. A panic comes back as one.
pub fn seeded<T: Send>(seed: u64, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            entropy::seed(seed);
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The operating system's entropy, replaced in threads that ask for it. Both Rust's standard library and the crate `getrandom`
/// look this symbol up before they make the system call, to allow exactly this.
#[cfg(target_os = "linux")]
mod entropy {
    use std::cell::RefCell;
    use std::ffi::{c_long, c_uint, c_void};

    use super::Chance;

    thread_local! {
        static SEEDED: RefCell<Option<Chance>> = const { RefCell::new(None) };
    }

    pub(super) fn seed(seed: u64) {
        SEEDED.with(|seeded| *seeded.borrow_mut() = Some(Chance::new(seed, "entropy")));
    }

    #[cfg(target_arch = "x86_64")]
    const GETRANDOM: c_long = 318;
    #[cfg(not(target_arch = "x86_64"))]
    const GETRANDOM: c_long = 278;

    #[expect(unsafe_code, reason = "the C library's own declaration")]
    unsafe extern "C" {
        fn syscall(number: c_long, ...) -> c_long;
    }

    /// As `getrandom(2)`.
    ///
    /// # Safety
    /// `buffer` holds `length` writable bytes.
    #[expect(unsafe_code, reason = "stands in for the C library's function of this name, whose contract it keeps")]
    #[unsafe(no_mangle)]
    unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
        let filled = SEEDED.try_with(|seeded| {
            let mut seeded = seeded.try_borrow_mut().ok()?;
            let chance = seeded.as_mut()?;
            // SAFETY: the caller owns `length` bytes at `buffer`.
            let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
            for piece in bytes.chunks_mut(8) {
                piece.copy_from_slice(&chance.next().to_le_bytes()[..piece.len()]);
            }
            Some(length as isize)
        });
        match filled {
            Ok(Some(length)) => length,
            // SAFETY: the system call has the signature of this function.
            _ => unsafe { syscall(GETRANDOM, buffer, length, flags) as isize },
        }
    }
}

/// Elsewhere a seed replays its faults, but not the order of what happens at the same instant.
#[cfg(not(target_os = "linux"))]
mod entropy {
    pub(super) fn seed(_: u64) {}
}
