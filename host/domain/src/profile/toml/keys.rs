//! Keys that profiles, points and the settings of a device have in common.

use std::time::Duration;

use crate::profile::requests::{MAX_WAIT, Pacing, ReadLimits};
use crate::register::{MAX_READ, MAX_READ_BITS};
use crate::report::{DEFAULT_MAX_SILENCE, ReportRule};
use crate::settings::SettingsTable;

/// The widest gap that may be bridged; a request holds 125 registers.
const MAX_BRIDGED_GAP: u16 = 120;
/// The longest `max_silence`: a day.
const MAX_SILENCE: Duration = Duration::from_hours(24);

/// `request_gap`, `connect_pause` and `reconnect_after`.
pub fn read_pacing(table: &SettingsTable<'_>) -> Pacing {
    Pacing {
        request_gap: table.duration("request_gap", Duration::ZERO..=MAX_WAIT),
        connect_pause: table.duration("connect_pause", Duration::ZERO..=MAX_WAIT),
        reconnect_after: table.integer("reconnect_after", 1..=1_000_000),
    }
}

/// `max_registers`, `max_bits` and `bridged_gap`; what is not given is taken from `otherwise`.
pub fn read_limits(table: &SettingsTable<'_>, otherwise: ReadLimits) -> ReadLimits {
    ReadLimits {
        registers: table.integer("max_registers", 1..=MAX_READ).unwrap_or(otherwise.registers),
        bits: table.integer("max_bits", 1..=MAX_READ_BITS).unwrap_or(otherwise.bits),
        bridged_gap: table.integer("bridged_gap", 0..=MAX_BRIDGED_GAP).unwrap_or(otherwise.bridged_gap),
    }
}

/// `deadband` and `max_silence`; none if there is no deadband.
pub fn read_report_rule(table: &SettingsTable<'_>) -> Option<ReportRule> {
    let deadband = table.number("deadband");
    let silence = table.duration("max_silence", Duration::from_millis(1)..=MAX_SILENCE);
    if deadband.is_some_and(|deadband| deadband < 0.0) {
        table.add_mistake("deadband", "write 0 to report every change, or how far the value may move without a report");
    }
    if deadband.is_none() && silence.is_some() {
        table.add_mistake("max_silence", "has no effect without a deadband; write deadband = 0 to report every change");
    }
    Some(ReportRule { deadband: deadband?, max_silence: silence.unwrap_or(DEFAULT_MAX_SILENCE) })
}
