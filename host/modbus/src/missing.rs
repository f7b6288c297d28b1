//! Which channels of a source have no values, or only sometimes, although the device answers, why, and since when: for the log
//! and `/health`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::device::{MissingBlock, MissingPoints, MissingState};
use bessai_domain::event::Frame;
use bessai_domain::plan::BlockFault;
use bessai_domain::profile::Point;
use tokio::time::Instant;

use self::intermittent::{Intermittent, IntermittentChannels};
use crate::{DeviceSettings, SourceSettings};

mod failed;
mod intermittent;

pub(crate) use failed::FailedReads;

/// Blocks that a report names; the points of the others are only counted.
const MAX_REPORTED_BLOCKS: usize = 16;
/// Points of a block that a report names.
const MAX_REPORTED_POINTS: usize = 8;
/// Adjacent points up to which each has a line of its own in the log.
const MAX_SINGLE_LINES: usize = 3;
/// Blocks that a device's status names.
const MAX_STATUS_BLOCKS: usize = 3;
/// Time after which a point that fails again in the same way is logged again.
const LOG_AGAIN_AFTER: Duration = Duration::from_hours(1);

/// The channels of a source without values.
#[derive(Debug, Default)]
pub(crate) struct MissingChannels {
    channels: BTreeMap<usize, MissingChannel>,
    intermittent: IntermittentChannels,
    /// When each of those was logged.
    logged_intermittent: BTreeMap<usize, Instant>,
    /// The last failed read of each channel, while one has no value or is searched for.
    last_failed: FailedReads,
    /// The faults that were logged, and when.
    logged: BTreeMap<usize, (BlockFault, Instant)>,
    /// What is to be reported.
    report: Option<MissingPoints>,
    /// The report in few words; empty if nothing is missing, none while that is not certain.
    status: Option<String>,
}

#[derive(Clone, Debug)]
struct MissingChannel {
    fault: BlockFault,
    reason: Arc<str>,
    since: Instant,
    state: MissingState,
    is_logged: bool,
}

impl MissingChannel {
    /// Whether it is certain that this channel has no value, not only another one of its block.
    fn is_certain(&self) -> bool {
        self.state == MissingState::Missing
    }

    fn intermittent(Intermittent { fault, reason, since }: &Intermittent) -> Self {
        let state = MissingState::Intermittent;
        Self { fault: *fault, reason: Arc::clone(reason), since: *since, state, is_logged: true }
    }
}

impl MissingChannels {
    /// Takes over which channels are absent from the plan, and why. `next_try`: when those are asked for next, and at which
    /// intervals, whose attempts are costly or not.
    pub(crate) fn update(
        &mut self,
        device: &DeviceSettings,
        source: &SourceSettings,
        absent: &BTreeMap<usize, (BlockFault, bool)>,
        next_try: impl Fn(bool) -> (Instant, Duration),
    ) {
        let points: Vec<&Point> = device.profile.source(source.name.as_deref()).collect();
        let now = Instant::now();
        let healed: Vec<usize> =
            self.channels.keys().copied().filter(|channel| !absent.contains_key(channel)).collect();
        let mut answered = Vec::new();
        for channel in healed {
            if self.channels.remove(&channel).is_some_and(|missing| missing.is_logged) {
                answered.extend(points.get(channel));
            }
        }
        log_answered(device, &answered);
        let mut new = Vec::new();
        for (&channel, &(fault, is_certain)) in absent {
            let known = self.channels.get(&channel);
            let since = known.map_or(now, |known| known.since);
            let known_reason = || known.filter(|known| known.fault == fault).map(|known| Arc::clone(&known.reason));
            let own = self.last_failed.own(channel, fault);
            let reason = own.or_else(known_reason).or_else(|| self.last_failed.other(fault));
            let was_logged = known.is_some_and(|known| known.is_logged && known.fault == fault);
            // While it is asked for again, it stays what it was.
            let is_known = is_certain || known.is_some_and(|known| known.is_certain() && known.fault == fault);
            let state = if is_known { MissingState::Missing } else { MissingState::Searched };
            let missing =
                MissingChannel { fault, reason: reason.unwrap_or_default(), since, state, is_logged: was_logged };
            if is_known {
                self.intermittent.remove(channel);
            }
            if is_certain && !was_logged {
                new.push(channel);
            }
            self.channels.insert(channel, missing);
        }
        if absent.is_empty() {
            self.last_failed = FailedReads::default();
        }
        self.log_new(device, &points, &new, |fault: BlockFault| next_try(fault.is_costly()).1);
        self.report(device, source, &points, |fault: BlockFault| next_try(fault.is_costly()).0);
    }

    /// Records which reads failed in a cycle in which the device answered others, and logs the channels that are answered only
    /// sometimes, and those that are answered again.
    pub(crate) fn note_cycle(
        &mut self,
        device: &DeviceSettings,
        source: &SourceSettings,
        failed: &FailedReads,
        frame: &Frame,
        next_try: impl Fn(bool) -> (Instant, Duration),
    ) {
        let changes = self.intermittent.record(failed, frame);
        if changes.begun.is_empty() && changes.ended.is_empty() {
            return;
        }
        let points: Vec<&Point> = device.profile.source(source.name.as_deref()).collect();
        let mut steady: Vec<&Point> =
            changes.ended.iter().filter_map(|&channel| points.get(channel).copied()).collect();
        steady.sort_by_key(|point| place(point));
        log_steady(device, &steady);
        self.log_intermittent(device, &points, &changes.begun);
        self.report(device, source, &points, |fault: BlockFault| next_try(fault.is_costly()).0);
    }

    fn log_intermittent(&mut self, device: &DeviceSettings, points: &[&Point], begun: &[usize]) {
        let now = Instant::now();
        let mut unlogged = Vec::new();
        for &channel in begun {
            let last = self.logged_intermittent.get(&channel);
            if last.is_none_or(|at| now.duration_since(*at) >= LOG_AGAIN_AFTER) {
                self.logged_intermittent.insert(channel, now);
                unlogged.extend(points.get(channel).copied().zip(self.intermittent.get(channel)));
            }
        }
        unlogged.sort_by_key(|(point, _)| place(point));
        let is_same = |a: &(&Point, &Intermittent), b: &(&Point, &Intermittent)| {
            a.1.reason == b.1.reason && (a.0.unit_id, a.0.table) == (b.0.unit_id, b.0.table)
        };
        for block in unlogged.chunk_by(is_same) {
            let (Some((first, noted)), Some((last, _))) = (block.first(), block.last()) else { continue };
            let (device, point, address, reason) = (&device.name, first.name.as_str(), first.address, &noted.reason);
            let points = match block.len() {
                1 => format!("{point} at {address}"),
                count => format!("{count} points, from {point} at {address} to {} at {},", last.name, last.address),
            };
            tracing::warn!(%device, point, address, "the read of {points} is {reason}; asking again in each cycle");
        }
    }

    /// Keeps why reads of a cycle failed, also of one that shows nothing yet.
    pub(crate) fn remember(&mut self, failed: &FailedReads) {
        if !failed.is_empty() {
            self.last_failed.extend(failed);
        }
    }

    /// Whether every channel has values.
    pub(crate) fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.intermittent.noted().next().is_none()
    }

    /// The channels of a device whose points were discovered anew, in place of these.
    pub(crate) fn replaced(&self, device: &DeviceSettings, source: &SourceSettings) -> Self {
        let report =
            MissingPoints { device: device.name.clone(), source: source.index, blocks: Vec::new(), further: 0 };
        Self { report: (!self.is_empty()).then_some(report), ..Self::default() }
    }

    /// What is to be reported since the last call.
    pub(crate) fn take_report(&mut self) -> Option<MissingPoints> {
        self.report.take()
    }

    /// The points without values in few words; empty if there are none, none while that is not certain.
    pub(crate) fn status(&self) -> Option<&str> {
        if self.is_empty() { Some("") } else { self.status.as_deref() }
    }

    fn log_new(
        &mut self,
        device: &DeviceSettings,
        points: &[&Point],
        new: &[usize],
        pause: impl Fn(BlockFault) -> Duration,
    ) {
        let now = Instant::now();
        let mut unlogged = Vec::new();
        for &channel in new {
            let Some(missing) = self.channels.get_mut(&channel) else { continue };
            let last = self.logged.get(&channel).filter(|(fault, _)| *fault == missing.fault);
            if last.is_none_or(|(_, at)| now.duration_since(*at) >= LOG_AGAIN_AFTER) {
                missing.is_logged = true;
                self.logged.insert(channel, (missing.fault, now));
                unlogged.extend(points.get(channel).map(|point| (*point, missing.clone())));
            }
        }
        unlogged.sort_by_key(|(point, _)| place(point));
        let is_same = |a: &(&Point, MissingChannel), b: &(&Point, MissingChannel)| {
            a.1.fault == b.1.fault && (a.0.unit_id, a.0.table) == (b.0.unit_id, b.0.table)
        };
        for run in unlogged.chunk_by(is_same) {
            let blocks = if run.len() > MAX_SINGLE_LINES { run.chunks(run.len()) } else { run.chunks(1) };
            blocks.for_each(|block| log_missing(device, block, &pause));
        }
    }

    fn report(
        &mut self,
        device: &DeviceSettings,
        source: &SourceSettings,
        points: &[&Point],
        next_try: impl Fn(BlockFault) -> Instant,
    ) {
        // One that is answered sometimes stays that while it is searched for.
        let mut channels = self.channels.clone();
        channels
            .extend(self.intermittent.noted().map(|(channel, noted)| (channel, MissingChannel::intermittent(noted))));
        let mut missing: Vec<(&Point, &MissingChannel)> =
            channels.iter().filter_map(|(&channel, missing)| Some((*points.get(channel)?, missing))).collect();
        missing.sort_by_key(|(point, _)| place(point));
        let is_same = |a: &(&Point, &MissingChannel), b: &(&Point, &MissingChannel)| {
            (a.1.fault, a.1.state) == (b.1.fault, b.1.state) && follows(a.0, b.0)
        };
        let mut report =
            MissingPoints { device: device.name.clone(), source: source.index, blocks: Vec::new(), further: 0 };
        for run in missing.chunk_by(is_same) {
            let (Some((first, cause)), Some((last, _))) = (run.first(), run.last()) else { continue };
            if report.blocks.len() == MAX_REPORTED_BLOCKS {
                report.further += run.len();
                continue;
            }
            report.blocks.push(MissingBlock {
                unit: first.unit_id.unwrap_or(device.unit),
                table: first.table,
                first: first.address,
                last: u16::try_from(last.end().saturating_sub(1)).unwrap_or(u16::MAX),
                points: run.iter().take(MAX_REPORTED_POINTS).map(|(point, _)| point.name.clone()).collect(),
                count: run.len(),
                cause: cause.reason.to_string(),
                since: run.iter().map(|(_, missing)| missing.since).min().unwrap_or(cause.since).into_std(),
                next_try: cause.is_certain().then(|| next_try(cause.fault).into_std()),
                state: cause.state,
            });
        }
        let is_known = channels.values().all(|missing| missing.state != MissingState::Searched);
        self.status = is_known.then(|| status(&report));
        self.report = Some(report);
    }
}

/// In the order of the registers.
fn place(point: &Point) -> (Option<bessai_domain::register::UnitId>, bessai_domain::register::Table, u16) {
    (point.unit_id, point.table, point.address)
}

/// Whether a point is in the same table and not far behind another one.
fn follows(before: &Point, after: &Point) -> bool {
    /// Registers that may be between points of one line.
    const MAX_GAP: u32 = 16;
    (before.unit_id, before.table) == (after.unit_id, after.table) && u32::from(after.address) <= before.end() + MAX_GAP
}

fn log_answered(device: &DeviceSettings, points: &[&Point]) {
    if let Some(points) = again(points) {
        let device = &device.name;
        tracing::info!(%device, "the device answers the read of {points}");
    }
}

fn log_steady(device: &DeviceSettings, points: &[&Point]) {
    if let Some(points) = again(points) {
        let device = &device.name;
        tracing::info!(%device, "the device answers each read of {points}");
    }
}

/// A point and its register, or how many points there are and the first of them, which have values again.
fn again(points: &[&Point]) -> Option<String> {
    let first = points.first()?;
    let (count, point, address) = (points.len(), &first.name, first.address);
    Some(match count {
        1 => format!("{point} at {address} again"),
        _ => format!("{count} points again, from {point} at {address}"),
    })
}

fn log_missing(device: &DeviceSettings, block: &[(&Point, MissingChannel)], pause: impl Fn(BlockFault) -> Duration) {
    let (Some((first, missing)), Some((last, _))) = (block.first(), block.last()) else { return };
    let (device, reason, pause) = (&device.name, &missing.reason, pause(missing.fault));
    let (point, address) = (first.name.as_str(), first.address);
    let verb = match missing.fault {
        BlockFault::Function | BlockFault::Refused | BlockFault::Failing => "refuses to read",
        BlockFault::Invalid => "sends no valid reply to the read of",
        BlockFault::Busy => "is busy at each read of",
        BlockFault::Unreachable => "is not reached by its gateway at the read of",
        BlockFault::Silent => "does not answer the read of",
        BlockFault::Disconnected => "gives no valid reply to the read of",
    };
    if block.len() == 1 {
        tracing::warn!(
            %device, point, address,
            "the device {verb} {point} at {address}: {reason}; retrying in {pause:?}"
        );
        return;
    }
    let (count, last, end) = (block.len(), &last.name, last.address);
    tracing::warn!(
        %device, point, address,
        "the device {verb} {count} points, from {point} at {address} to {last} at {end}: {reason}; retrying in {pause:?}"
    );
}

/// A report in few words; empty if nothing is missing.
fn status(report: &MissingPoints) -> String {
    let named = report.blocks.iter().take(MAX_STATUS_BLOCKS).map(|block| {
        let others = if block.count > 1 { format!(" and {} more", block.count - 1) } else { String::new() };
        let first = block.points.first().map(String::as_str).unwrap_or_default();
        format!("{first} at {}{others}: {}", block.first, block.cause)
    });
    let text = named.collect::<Vec<_>>().join("; ");
    let unnamed = report.blocks.iter().skip(MAX_STATUS_BLOCKS).map(|block| block.count).sum::<usize>() + report.further;
    if unnamed > 0 { format!("{text}; and {unnamed} points more") } else { text }
}
