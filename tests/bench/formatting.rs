//! Formats figures.

use std::time::Duration;

use crate::process::Memory;

/// The median of an odd number of times, with the lowest and the highest in parentheses.
pub(crate) fn range(mut times: Vec<Duration>) -> String {
    times.sort();
    match (times.get(times.len() / 2), times.as_slice()) {
        (Some(median), [lowest, .., highest]) => {
            format!("{} ({} to {})", time(*median), time(*lowest), time(*highest))
        }
        (Some(median), _) => time(*median),
        (None, _) => String::new(),
    }
}

pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        1.0.. => format!("{seconds:.2} s"),
        0.01.. => format!("{:.0} ms", seconds * 1e3),
        0.001.. => format!("{:.2} ms", seconds * 1e3),
        _ => format!("{:.0} µs", seconds * 1e6),
    }
}

/// Resident memory, with its anonymous part in parentheses.
pub(crate) fn memory(memory: Memory) -> String {
    format!("{:.1} MB ({:.1} MB)", memory.resident / 1e6, memory.anonymous / 1e6)
}
