//! The only source of randomness of a simulated run: its seed, also for what takes its randomness from the operating system,
//! such as `tokio::select!` and the keys of hash tables.

use std::cell::Cell;
use std::ffi::c_void;
use std::time::Duration;

thread_local! {
    /// The state of the generator that replaces the operating system's in this thread; none in threads that simulate nothing.
    static SYSTEM_RANDOM: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From here on this thread's system randomness follows from the seed. To be called before anything asks for some.
pub(crate) fn seed_system(seed: u64) {
    SYSTEM_RANDOM.set(Some(seed));
}

/// Takes the place of the C library's function, from which the standard library takes the keys of its hash tables and tokio
/// the order in which `select!` looks at its branches.
#[allow(unsafe_code, reason = "the linker finds the function by its unmangled name; it fills a buffer of its caller")]
#[unsafe(no_mangle)]
extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: u32) -> isize {
    let Some(mut state) = SYSTEM_RANDOM.get() else {
        // SAFETY: the caller's arguments go unchanged to the system call that they are made for.
        let filled = unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) };
        return isize::try_from(filled).unwrap_or(-1);
    };
    for index in 0..length {
        state = step(state);
        // SAFETY: the caller guarantees `length` writable bytes, as it does to the C library.
        unsafe { buffer.cast::<u8>().add(index).write(state.to_le_bytes()[7]) };
    }
    SYSTEM_RANDOM.set(Some(state));
    isize::try_from(length).unwrap_or(-1)
}

/// Knuth's linear congruential generator: its high bytes are random enough for keys of hash tables.
const fn step(state: u64) -> u64 {
    state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

/// The choices of a run.
#[derive(Clone, Debug)]
pub(crate) struct Random(fastrand::Rng);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Another generator, which follows from this one.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.0.fork())
    }

    /// True with this probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.0.f64() < probability
    }

    /// A number of the range.
    pub(crate) fn number(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.0.u64(range)
    }

    /// Less than this much time, in milliseconds.
    pub(crate) fn below(&mut self, time: Duration) -> Duration {
        self.between(Duration::ZERO, time)
    }

    /// A time of the range, in milliseconds.
    pub(crate) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let [least, most] = [least, most].map(|time| u64::try_from(time.as_millis()).unwrap());
        Duration::from_millis(if least >= most { least } else { self.0.u64(least..most) })
    }

    /// A time with this mean and an exponential distribution, as between events that are independent of each other.
    pub(crate) fn around(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.0.f64()).ln()).min(mean * 5)
    }

    /// One of them.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.0.usize(0..choices.len())]
    }
}
