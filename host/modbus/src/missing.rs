//! Which channels of a source have no values although the device answers, why, and since when: for the log and `/health`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::device::{MissingBlock, MissingPoints};
use bessai_domain::plan::BlockFault;
use bessai_domain::profile::Point;
use tokio::time::Instant;

use crate::{DeviceSettings, SourceSettings};

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

/// The reads of one cycle that brought no values: what the device answered, by channel.
#[derive(Debug, Default)]
pub(crate) struct FailedReads(BTreeMap<usize, (BlockFault, Arc<str>)>);

impl FailedReads {
    pub(crate) fn add(&mut self, channels: Vec<usize>, fault: BlockFault, reason: &str) {
        let reason: Arc<str> = reason.into();
        self.0.extend(channels.into_iter().map(|channel| (channel, (fault, Arc::clone(&reason)))));
    }

    /// Why a channel has no value, if it was asked for.
    fn own(&self, channel: usize, fault: BlockFault) -> Option<Arc<str>> {
        let own = self.0.get(&channel).filter(|(known, _)| *known == fault);
        own.map(|(_, reason)| Arc::clone(reason))
    }

    /// The reason of any channel with that fault.
    fn other(&self, fault: BlockFault) -> Option<Arc<str>> {
        self.0.values().find(|(known, _)| *known == fault).map(|(_, reason)| Arc::clone(reason))
    }

    /// Keeps the reasons of a further cycle.
    fn extend(&mut self, newer: &Self) {
        self.0.extend(newer.0.iter().map(|(&channel, (fault, reason))| (channel, (*fault, Arc::clone(reason)))));
    }
}

/// The channels of a source without values.
#[derive(Debug, Default)]
pub(crate) struct MissingChannels {
    channels: BTreeMap<usize, MissingChannel>,
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
    /// It is certain that this channel has no value, not only another one of its block.
    is_certain: bool,
    is_logged: bool,
}

impl MissingChannels {
    /// Takes over which channels are absent from the plan, and why. `next_try`: when those are asked for next, and at which
    /// intervals, whose attempts are costly or not.
    pub(crate) fn update(
        &mut self,
        device: &DeviceSettings,
        source: &SourceSettings,
        absent: &BTreeMap<usize, (BlockFault, bool)>,
        failed: &FailedReads,
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
            let own = failed.own(channel, fault).or_else(|| self.last_failed.own(channel, fault));
            let reason = own.or_else(known_reason).or_else(|| failed.other(fault));
            let was_logged = known.is_some_and(|known| known.is_logged && known.fault == fault);
            let missing = MissingChannel {
                fault,
                reason: reason.unwrap_or_default(),
                since,
                // While it is asked for again, it stays what it was.
                is_certain: is_certain || known.is_some_and(|known| known.is_certain && known.fault == fault),
                is_logged: was_logged,
            };
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

    /// Keeps why reads of a cycle failed, also of one that shows nothing yet.
    pub(crate) fn remember(&mut self, failed: &FailedReads) {
        if !failed.0.is_empty() {
            self.last_failed.extend(failed);
        }
    }

    /// Whether every channel has values.
    pub(crate) fn is_empty(&self) -> bool {
        self.channels.is_empty()
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
        if self.channels.is_empty() { Some("") } else { self.status.as_deref() }
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
        let mut missing: Vec<(&Point, &MissingChannel)> =
            self.channels.iter().filter_map(|(&channel, missing)| Some((*points.get(channel)?, missing))).collect();
        missing.sort_by_key(|(point, _)| place(point));
        let is_same = |a: &(&Point, &MissingChannel), b: &(&Point, &MissingChannel)| {
            (a.1.fault, a.1.is_certain) == (b.1.fault, b.1.is_certain) && follows(a.0, b.0)
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
                next_try: cause.is_certain.then(|| next_try(cause.fault).into_std()),
            });
        }
        self.status = self.channels.values().all(|missing| missing.is_certain).then(|| status(&report));
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
    let device = &device.name;
    match points {
        [] => {}
        [point] => tracing::info!(%device, "the device answers the read of {} at {} again", point.name, point.address),
        [first, ..] => tracing::info!(
            %device,
            "the device answers the read of {} points again, from {} at {}",
            points.len(),
            first.name,
            first.address
        ),
    }
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
