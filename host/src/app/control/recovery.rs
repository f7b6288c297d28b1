//! What control has to know after a restart whose file is lost: the journal has the register writes of previous runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bessai_control::{ControlRoom, ControlSettings, Memory, SET_POINT};
use bessai_domain::proposal::{SetValue, WriteOutcome, WriteStep};
use bessai_domain::time::{Moment, Timestamp};
use bessai_journal::Journal;

/// The time in which writes of a point in flash count.
const DAY: Duration = Duration::from_hours(24);

/// The last register write of a point.
struct LastWrite {
    value: f64,
    is_taken: bool,
    proposer: String,
}

/// The register writes of control in the journal.
#[derive(Default)]
struct RecordedWrites {
    last: BTreeMap<(String, String), LastWrite>,
    /// The values that were proposed for each device: any other value that is written gives a point back.
    proposed: BTreeSet<(String, u64)>,
    /// When each point was written within the last day.
    at: BTreeMap<(String, String), Vec<Timestamp>>,
}

/// What previous runs have left set, as far as the journal shows it, and the writes of points in flash.
pub(super) fn recovered(journal: &Journal, room: &ControlRoom, settings: &ControlSettings, at: Moment) -> Memory {
    let mut writes = RecordedWrites::default();
    journal.for_each_write(|recorded, step| writes.add(recorded, step, at.wall));
    let mut memory = Memory::default();
    for device in settings.devices.keys().filter(|device| writes.has_set(device, room)) {
        memory.held.insert((device.clone(), SET_POINT.to_owned()), None);
        tracing::warn!(%device, "the journal shows that the previous run set {device}; releasing it");
    }
    writes.warn_of_single_points(room, settings);
    let persistent = writes.at.into_iter().filter(|((device, point), _)| room.is_persistent(device, point));
    memory.writes = persistent
        .map(|(key, times)| {
            let ends = times.into_iter().map(|time| at.monotonic.plus(time.plus(DAY).since(at.wall)));
            (key, ends.collect())
        })
        .collect();
    memory
}

impl RecordedWrites {
    fn add(&mut self, recorded: Timestamp, step: &WriteStep, now: Timestamp) {
        let is_direct = step.proposer == WriteStep::DEVICE_WRITE || step.proposer.starts_with(WriteStep::MODBUS_CLIENT);
        let Some(SetValue::Number(value)) = step.proposal.value else { return };
        let key = (step.proposal.device.clone(), step.proposal.channel.clone());
        if step.announces_register_write() && !is_direct {
            let proposer = step.proposer.clone();
            self.last.insert(key.clone(), LastWrite { value, is_taken: false, proposer });
            if now.since(recorded) < DAY {
                self.at.entry(key).or_default().push(recorded);
            }
            return;
        }
        if step.proposed.is_none() && !step.is_of_register_write() {
            self.proposed.insert((key.0, value.to_bits()));
            return;
        }
        let is_taken = matches!(step.outcome, Some(WriteOutcome::Verified(_) | WriteOutcome::Acknowledged));
        // The outcome of a proposal has another reference.
        if step.is_of_register_write()
            && let Some(last) = self.last.get_mut(&key).filter(|last| last.value.to_bits() == value.to_bits())
        {
            last.is_taken |= is_taken;
        }
    }

    /// Whether the last writes of a device have not released it.
    fn has_set(&self, device: &str, room: &ControlRoom) -> bool {
        let was_written = self.last.keys().any(|(of, _)| of == device);
        let Some(release) = room.release_of(device) else {
            // Its points are not known yet; to release it once more does no harm.
            return was_written;
        };
        release.iter().any(|(point, value)| {
            let last = self.last.get(&(device.to_owned(), point.clone()));
            last.is_some_and(|last| !last.is_taken || last.value.to_bits() != value.to_bits())
        })
    }

    /// Nothing tells which value a single point had before.
    fn warn_of_single_points(&self, room: &ControlRoom, settings: &ControlSettings) {
        let others = self.last.iter().filter(|((device, point), last)| {
            let is_proposed = self.proposed.contains(&(device.clone(), last.value.to_bits()));
            is_proposed
                && settings.devices.get(device).is_some_and(|controlled| {
                    !controlled.profile.is_discovered
                        && bessai_control::reserved_by_profile(device, &controlled.profile, point).is_none()
                        && room.controls(device)
                })
        });
        for ((device, point), LastWrite { value, proposer, .. }) in others {
            tracing::warn!(
                %device, %point,
                "{device}/{point} was last set to {value} for {proposer}; the value that it had before is lost with the file, \
                 so that it is not set back"
            );
        }
    }
}
