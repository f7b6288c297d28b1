//! The results of a benchmark as a table.

use std::fmt::Write;
use std::time::Duration;

/// Numbers of channels that the frames of a benchmark have, one column each.
pub(super) const CHANNELS: [usize; 4] = [1, 10, 100, 1000];

/// The results of one plugin.
pub(super) struct BenchRow {
    /// The plugin's name and how it runs.
    pub(super) name: String,
    /// Time of a call without events.
    pub(super) empty: Duration,
    /// Time of a call with one frame, for each number of [`CHANNELS`].
    pub(super) frames: Vec<Duration>,
    /// Linear memory in bytes after all calls; none for native code.
    pub(super) memory: Option<usize>,
}

/// The results of a benchmark.
pub(crate) struct BenchReport {
    /// The plugin, then the built-in plugin in the sandbox and as native code.
    pub(super) rows: Vec<BenchRow>,
    /// Time from the cached machine code to the end of the first call.
    pub(super) first_call: Duration,
}

impl BenchReport {
    /// The results as a table.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{:<28}{:>10}", "time of a call, median", "empty");
        for channels in CHANNELS {
            let _ = write!(text, "{:>12}", format!("{channels} ch"));
        }
        let _ = writeln!(text, "{:>16}{:>12}", "calls/s, 100", "memory");
        for row in &self.rows {
            let _ = write!(text, "{:<28}{:>10}", row.name, duration_text(row.empty));
            row.frames.iter().for_each(|time| {
                let _ = write!(text, "{:>12}", duration_text(*time));
            });
            let per_second = row.frames.get(2).map_or(0.0, |time| 1.0 / time.as_secs_f64());
            let memory = row.memory.map_or_else(String::new, |bytes| format!("{} KiB", bytes >> 10));
            let line = format!("{per_second:>16.0}{memory:>12}");
            let _ = writeln!(text, "{}", line.trim_end());
        }
        if let [_, sandboxed, native] = self.rows.as_slice() {
            let _ = write!(text, "{:<28}{:>10}", "sandboxed / native", "");
            for (sandboxed, native) in sandboxed.frames.iter().zip(&native.frames) {
                let _ = write!(text, "{:>11.2}×", sandboxed.as_secs_f64() / native.as_secs_f64());
            }
            text.push('\n');
        }
        let _ = writeln!(
            text,
            "live from the cache in {}: loaded, configured, first call made",
            duration_text(self.first_call)
        );
        text
    }
}

pub(super) fn duration_text(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        1000.0.. => format!("{:.2} ms", micros / 1e3),
        _ => format!("{micros:.2} µs"),
    }
}
