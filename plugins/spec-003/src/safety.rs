//! Safety events: what changed in the verdict, with the battery's state at that time.

use bessai_plugin::{Failure, Safety, Timestamp, Violation, json, log, metrics, state};

/// The state's key of the last verdict: a [`Level`], and the number of violated rules.
const VERDICT: &str = "safety";
/// The state's key of the last state of charge and temperature.
const BATTERY: &str = "battery";
/// The state's key of the events that wait for the first reading, one per line.
const WAITING: &str = "waiting";
/// The most events that wait: a site without a reading changes its verdict rarely.
const WAITING_MAX: usize = 32;
/// The temperatures in °C beyond which SPEC-002 puts a battery into its Safe State.
const SAFE_STATE: (f64, f64) = (-20.0, 60.0);

/// How far the last verdict went, as it is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Safe,
    Blocked,
    /// Kept until the site is safe again.
    SafeState,
}

/// A kind of safety event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Blocked,
    Stale,
    SafeState,
    Cleared,
}

/// A change of the verdict.
#[derive(Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) at: Timestamp,
    kind: Kind,
    /// The number of violated rules.
    violations: u32,
    condition: String,
}

/// The last state of charge and temperature.
#[derive(Clone, Copy)]
pub(crate) struct Battery {
    pub(crate) soc: f64,
    pub(crate) temperature: f64,
}

/// Keeps a verdict; the change since the one before, if there is any. A site that is safe from the start has none.
pub(crate) fn change(at: Timestamp, safety: &Safety) -> Result<Option<Change>, Failure> {
    let before = state::get(VERDICT);
    let was = before.as_ref().and_then(|stored| stored.first()).map_or(Level::Safe, |byte| Level::stored(*byte));
    let is = match Level::of(safety) {
        Level::Blocked if was == Level::SafeState => was,
        level => level,
    };
    let violations = u32::try_from(safety.violations.len()).unwrap_or(u32::MAX);
    let now = format!("{} {violations}", is.digit());
    if before.as_deref() != Some(now.as_bytes()) {
        state::set(VERDICT, now.as_bytes())?;
    }
    if was == is {
        return Ok(None);
    }
    let cause = match is {
        Level::SafeState => safety.violations.iter().find(|violation| is_critical(violation)),
        _ => safety.violations.first(),
    };
    let is_stale = |violation: &Violation| matches!(violation.rule.as_str(), "stale" | "unread");
    let kind = match is {
        Level::Safe => Kind::Cleared,
        Level::SafeState => Kind::SafeState,
        Level::Blocked if cause.is_some_and(is_stale) => Kind::Stale,
        Level::Blocked => Kind::Blocked,
    };
    let condition = cause.map_or("no rule is violated".to_owned(), condition);
    Ok(Some(Change { at, kind, violations, condition }))
}

/// The rules of safety that were violated at the last verdict.
pub(crate) fn violations() -> u32 {
    let stored = state::get(VERDICT).and_then(|stored| String::from_utf8(stored).ok()).unwrap_or_default();
    stored.split_once(' ').and_then(|(_, count)| count.parse().ok()).unwrap_or(0)
}

fn condition(violation: &Violation) -> String {
    let Violation { device, channel, rule, value, limit } = violation;
    if value.is_finite() {
        format!("{device} {channel} {rule}: {value}, limit {limit}")
    } else {
        format!("{device} {channel} {rule}")
    }
}

fn is_critical(violation: &Violation) -> bool {
    let is_value = matches!(violation.rule.as_str(), "min" | "max");
    let is_temperature = matches!(violation.channel.as_str(), "temp_c" | "temperature_c");
    let is_beyond = violation.value < SAFE_STATE.0 || violation.value > SAFE_STATE.1;
    // A trip ends by an operator only, as the Safe State does.
    violation.rule == "trip" || (is_value && is_temperature && is_beyond)
}

impl Level {
    fn of(safety: &Safety) -> Self {
        match safety.is_safe {
            true => Self::Safe,
            false if safety.violations.iter().any(is_critical) => Self::SafeState,
            false => Self::Blocked,
        }
    }

    fn stored(digit: u8) -> Self {
        match digit {
            b'0' => Self::Blocked,
            b'2' => Self::SafeState,
            _ => Self::Safe,
        }
    }

    fn digit(self) -> char {
        match self {
            Self::Blocked => '0',
            Self::Safe => '1',
            Self::SafeState => '2',
        }
    }
}

impl Kind {
    const ALL: [Self; 4] = [Self::Blocked, Self::Stale, Self::SafeState, Self::Cleared];

    fn name(self) -> &'static str {
        match self {
            Self::Blocked => "DISPATCH_BLOCKED",
            Self::Stale => "STALE_DATA_BLOCK",
            Self::SafeState => "SAFE_STATE_ENTERED",
            Self::Cleared => "SAFE_STATE_CLEARED",
        }
    }
}

impl Change {
    /// The payload of `safety_event`.
    pub(crate) fn payload(&self, battery: Battery) -> Vec<u8> {
        let is_safe = self.kind == Kind::Cleared;
        let action = if is_safe { "set-points are allowed again" } else { "set-points are refused" };
        let mut payload = json::Writer::default();
        payload.text(&json::Key::new("event_type"), self.kind.name());
        payload.text(&json::Key::new("trigger_condition"), &self.condition);
        payload.number(&json::Key::new("soc_pct"), battery.soc);
        payload.number(&json::Key::new("temperature_c"), battery.temperature);
        payload.text(&json::Key::new("action_taken"), action);
        payload.integer(&json::Key::new("alarm_code"), f64::from(self.violations));
        payload.boolean(&json::Key::new("resolution_required"), !is_safe);
        payload.finish()
    }

    /// Keeps it until there is a reading: the payload requires a state of charge and a temperature.
    pub(crate) fn wait(&self) -> Result<(), Failure> {
        let name = self.kind.name();
        log::warn(&format!(
            "{name} is published after the first reading: SPEC-003 requires a state of charge and a temperature, and neither was read yet"
        ));
        let mut lines = waiting_lines();
        if lines.len() >= WAITING_MAX {
            lines.remove(0);
            metrics::counter("dropped_safety_events_total", &[], 1.0);
        }
        lines.push(format!("{} {name} {} {}", self.at, self.violations, self.condition.replace('\n', " ")));
        Ok(state::set(WAITING, lines.join("\n").as_bytes())?)
    }

    fn read(line: &str) -> Option<Self> {
        let mut words = line.splitn(4, ' ');
        let (at, name) = (words.next()?.parse().ok()?, words.next()?);
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name)?;
        Some(Self { at, kind, violations: words.next()?.parse().ok()?, condition: words.next()?.into() })
    }
}

/// The events that waited for a reading, in their order; afterwards there are none.
pub(crate) fn take_waiting() -> Vec<Change> {
    let lines = waiting_lines();
    state::delete(WAITING);
    lines.iter().filter_map(|line| Change::read(line)).collect()
}

fn waiting_lines() -> Vec<String> {
    let stored = state::get(WAITING).and_then(|stored| String::from_utf8(stored).ok()).unwrap_or_default();
    stored.lines().map(str::to_owned).collect()
}

impl Battery {
    /// None before the first reading.
    pub(crate) fn last() -> Option<Self> {
        let stored = String::from_utf8(state::get(BATTERY)?).ok()?;
        let (soc, temperature) = stored.split_once(' ')?;
        Some(Self { soc: soc.parse().ok()?, temperature: temperature.parse().ok()? })
    }

    pub(crate) fn keep(self) -> Result<(), Failure> {
        Ok(state::set(BATTERY, format!("{} {}", self.soc, self.temperature).as_bytes())?)
    }
}
