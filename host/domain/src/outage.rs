//! When the log says again that something is still out of reach: with growing distance, so that it is neither silent nor full.

use std::time::Duration;

/// How long an outage has lasted when the first reminders are due.
const FIRST: [Duration; 3] = [Duration::from_mins(1), Duration::from_mins(5), Duration::from_mins(15)];
/// The distance of the later ones.
const LATER: Duration = Duration::from_hours(1);

/// The reminders of one outage.
#[derive(Clone, Debug, Default)]
pub struct Reminders {
    /// How long the outage had lasted at the last one.
    last: Duration,
}

impl Reminders {
    /// Whether one is due in an outage that has lasted this long; at most once for each of their times.
    pub fn is_due(&mut self, lasting: Duration) -> bool {
        let next = FIRST.into_iter().find(|first| *first > self.last);
        let is_due = lasting >= next.unwrap_or_else(|| after_hours(self.last));
        if is_due {
            self.last = lasting;
        }
        is_due
    }
}

/// The next full hour of an outage.
fn after_hours(lasting: Duration) -> Duration {
    let hours = lasting.as_secs() / LATER.as_secs();
    Duration::from_secs(hours.saturating_add(1).saturating_mul(LATER.as_secs()))
}

/// How long an outage has lasted, as log lines say it: `40 s`, `15 min`, `3 h`.
pub fn outage_text(lasting: Duration) -> String {
    let seconds = lasting.as_secs();
    match (seconds / 3600, seconds / 60) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours, _) => format!("{hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reminders_have_a_growing_distance() {
        let mut reminders = Reminders::default();
        // Attempts are made every ten seconds.
        let due: Vec<_> = (0..=4 * 360)
            .map(|attempt| Duration::from_secs(10 * attempt))
            .filter(|lasting| reminders.is_due(*lasting))
            .map(outage_text)
            .collect();
        assert_eq!(due, ["1 min", "5 min", "15 min", "1 h", "2 h", "3 h", "4 h"]);
    }

    #[test]
    fn missed_reminders_are_given_once() {
        let mut reminders = Reminders::default();
        assert!(reminders.is_due(Duration::from_mins(200)));
        assert!(!reminders.is_due(Duration::from_mins(239)));
        assert!(reminders.is_due(Duration::from_mins(240)));
    }

    #[test]
    fn an_outage_is_told_in_its_largest_unit() {
        let check = |seconds, expected: &str| assert_eq!(outage_text(Duration::from_secs(seconds)), expected);
        check(0, "0 s");
        check(59, "59 s");
        check(60, "1 min");
        check(3599, "59 min");
        check(3600, "1 h");
        check(200_000, "55 h");
    }
}
