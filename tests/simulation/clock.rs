//! The clocks of the simulated machine: a monotonic one, which follows virtual time since its boot, and a wall clock, which
//! anybody may set.

use std::cell::Cell;
use std::time::Duration;

use bessai_domain::time::{Moment, MonotonicTime, Timestamp};
use tokio::time::Instant;

/// The right wall-clock time at the start of a run, 2026-09-21.
const START: i64 = 1_790_000_000_000_000_000;
/// What the monotonic clock shows when the gateway starts after a boot.
const BOOT_TIME: Duration = Duration::from_secs(7);

thread_local! {
    static MACHINE: Cell<Option<Machine>> = const { Cell::new(None) };
}

/// The state of the machine's clocks.
#[derive(Clone, Copy)]
struct Machine {
    start: Instant,
    booted: Instant,
    /// By how much the wall clock is wrong, in nanoseconds.
    error: i64,
    /// Wall clock minus monotonic clock when this process last saw a plausible time, as the gateway's clock keeps it.
    plausible_offset: Option<i64>,
    /// Counts the boots.
    boots: u32,
}

fn change(change: impl FnOnce(&mut Machine)) {
    let now = Instant::now();
    let new = Machine { start: now, booted: now, error: 0, plausible_offset: None, boots: 0 };
    let mut machine = MACHINE.get().unwrap_or(new);
    change(&mut machine);
    MACHINE.set(Some(machine));
}

/// The machine boots: its monotonic clock starts again.
pub(crate) fn boot() {
    change(|machine| (machine.booted, machine.boots) = (Instant::now(), machine.boots + 1));
}

/// Identifies the current boot.
pub(crate) fn boot_id() -> String {
    MACHINE.get().map_or_else(String::new, |machine| format!("boot {}", machine.boots))
}

/// The process starts: it knows nothing about the wall clock yet.
pub(crate) fn start_process() {
    change(|machine| machine.plausible_offset = None);
}

/// The wall clock is set to the right time plus this error.
pub(crate) fn set_error(nanos: i64) {
    change(|machine| machine.error = nanos);
}

/// The wall clock is set to shortly after 1970, as without a battery.
pub(crate) fn set_to_1970() {
    let since = i64::try_from(elapsed().as_nanos()).unwrap();
    set_error(-START - since + 60_000_000_000);
}

/// Virtual time since the start of the run.
pub(crate) fn elapsed() -> Duration {
    MACHINE.get().map_or(Duration::ZERO, |machine| machine.start.elapsed())
}

/// Both clocks, as the gateway reads them: a wall clock before 2025 is replaced by the time since it was right.
pub(crate) fn now() -> Moment {
    let mut moment = Moment::default();
    change(|machine| {
        let monotonic = nanos(BOOT_TIME + machine.booted.elapsed());
        let wall = START.saturating_add(nanos(machine.start.elapsed())).saturating_add(machine.error).max(0);
        let shown = timestamp(wall);
        let wall = match machine.plausible_offset {
            _ if shown.is_plausible() => {
                machine.plausible_offset = Some(wall - monotonic);
                shown
            }
            Some(offset) => timestamp(monotonic + offset),
            None => shown,
        };
        moment = Moment { monotonic: MonotonicTime::from_nanos(monotonic), wall };
    });
    moment
}

/// The same with a monotonic clock that stands still: what a gateway would use that forgets to count ages.
pub(crate) fn frozen() -> Moment {
    Moment { monotonic: MonotonicTime::from_nanos(nanos(BOOT_TIME)), ..now() }
}

fn timestamp(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap()
}
