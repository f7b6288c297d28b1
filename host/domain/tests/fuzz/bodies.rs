//! Properties that hold for any input bytes. `cargo test` runs them with random bytes, `scripts/fuzz` with those that a
//! fuzzer finds.

use std::collections::BTreeSet;
use std::time::Duration;

use bessai_domain::event::Frame;
use bessai_domain::plan::{BlockFault, Plan, ReadRequest};
use bessai_domain::profile::{Access, Point, Profile, ReadLimits, json, toml};
use bessai_domain::register::{Format, Layout, Scaling, Table, TextLayout, UnitId};

mod discovery;
mod texts;

pub use discovery::discovery;
pub use texts::{recorded_events, texts};

/// The longest timeout of a profile.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
/// The most requests of one cycle, whatever the responses, because each search halves its block.
const MAX_REQUESTS: usize = 20_000;
/// The most points of a plan.
const MAX_POINTS: usize = 64;

/// Any text as a TOML profile.
pub fn profile_toml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match toml::read("fuzz", text) {
        Ok(profile) => assert_valid(&profile),
        Err(mistakes) => assert!(!mistakes.is_empty()),
    }
}

/// Any text as a profile of the Python gateway.
pub fn profile_json(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match json::read("fuzz", text) {
        Ok(profile) => assert_valid(&profile),
        Err(mistakes) => assert!(!mistakes.is_empty()),
    }
}

/// What is guaranteed for every profile that is read without a mistake.
fn assert_valid(profile: &Profile) {
    assert!(profile.timeout > Duration::ZERO && profile.timeout <= MAX_TIMEOUT, "{:?}", profile.timeout);
    let channels: BTreeSet<_> = profile.points.iter().map(|point| &point.channel).collect();
    assert_eq!(channels.len(), profile.points.len(), "two points have the same channel");
    for point in &profile.points {
        assert!(point.end() <= 65_536 && point.layout.format.width() > 0, "{point:?}");
        assert!(point.access == Access::Read || point.table == Table::Coil || point.table == Table::Holding);
        let _ = point.to_channel();
        assert_writable(point);
    }
    let set_point = profile.set_point.iter();
    let named = set_point.flat_map(|it| [&it.power, &it.charge, &it.discharge, &it.mode]).chain([&profile.watchdog]);
    for name in named.flatten() {
        assert!(profile.points.iter().any(|point| point.name == *name && point.access != Access::Read), "{name}");
    }
    for source in profile.sources.iter().map(|(name, _)| Some(name.as_str())).chain([None]) {
        let plan = Plan::new(profile.source(source), profile.unit, profile.read_limits);
        plan.requests().for_each(within_limits);
    }
}

/// A value is written within the limits, or refused.
fn assert_writable(point: &Point) {
    for value in [0.0, 1.0, -1.0, 0.1, 50.0, 1e9, f64::MAX, f64::MIN_POSITIVE, f64::NAN, f64::INFINITY] {
        for exponent in [None, Some(-10), Some(10)] {
            let Ok(write) = point.write(value, exponent, UnitId(1)) else { continue };
            assert!(point.access != Access::Read && value.is_finite(), "{point:?} takes {value}");
            assert_eq!(write.words.len(), usize::from(point.layout.format.width()), "{point:?}");
            assert!(point.min.is_none_or(|min| value >= min) && point.max.is_none_or(|max| value <= max), "{point:?}");
            assert_eq!(write.function.incompatibility(point.table, point.layout.format.width()), None, "{point:?}");
        }
    }
}

fn within_limits(request: &ReadRequest) {
    assert!(request.count >= 1 && request.count <= request.table.max_read(), "{request:?}");
    assert!(u32::from(request.start) + u32::from(request.count) <= 65_536, "{request:?}");
}

/// Reads bytes one by one; zeros when they are used up.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }
}

/// Any bytes as a device's responses to a plan in three cycles; points and limits are made from them too.
pub fn reply(data: &[u8]) {
    let bytes = &mut Bytes(data);
    let count = usize::from(bytes.byte()) % MAX_POINTS + 1;
    let read_limits = ReadLimits {
        registers: u16::from(bytes.byte()) % 126,
        bits: bytes.word() % 2001,
        bridged_gap: u16::from(bytes.byte()) % 121,
    };
    let points: Vec<Point> = (0..count).filter_map(|index| point(index, bytes)).collect();
    let mut plan = Plan::new(points.iter(), UnitId(1), read_limits);
    for _ in 0..3 {
        let frame = cycle(&mut plan, bytes);
        assert_good_or_faulty(&frame, &points);
        plan.requests().for_each(within_limits);
        let is_left_out = |is_costly| plan.excludes(is_costly) || plan.is_searching(is_costly);
        let will_be_asked = plan.requests().len() > 0 || is_left_out(false) || is_left_out(true);
        assert!(will_be_asked || points.is_empty(), "no point is asked for, and none is left out");
    }
    let requested: BTreeSet<usize> = plan.requests().flat_map(|request| plan.channels(request)).collect();
    let absent = plan.absent_channels();
    assert!((0..points.len()).all(|channel| requested.contains(&channel) || absent.contains_key(&channel)));
    plan.retry_excluded(false, 0);
    plan.retry_excluded(true, 0);
    assert!(!plan.excludes(true) && !plan.excludes(false), "each point is asked for once again");
}

fn point(index: usize, bytes: &mut Bytes<'_>) -> Option<Point> {
    let table = [Table::Holding, Table::Input, Table::Coil, Table::Discrete][usize::from(bytes.byte() % 4)];
    let format = match bytes.byte() {
        _ if table.is_bits() => Format::Bool,
        choice @ 0..200 => Format::NAMES[usize::from(choice) % Format::NAMES.len()].1,
        choice => Format::Text(u16::from(bytes.byte()) % 125 + 1, TextLayout::NAMES[usize::from(choice) % 4].1),
    };
    let options = bytes.byte();
    let letters: String = Layout::plain(format).byte_order().chars().rev().collect();
    let layout = Layout::plain(format);
    let layout = if options & 1 == 1 { layout.with_byte_order(&letters).unwrap_or(layout) } else { layout };
    let scale = [1.0, 0.1, -0.001, 1e300, 1e-300, 12.5, 1e9, -1.0][usize::from(options >> 5)];
    let point = Point {
        scaling: Scaling::new(scale, 0.0)?,
        scale_register: (options & 2 == 2 && !table.is_bits() && !format.is_text()).then(|| bytes.word()),
        min: (options & 4 == 4).then_some(-100.0),
        max: (options & 8 == 8).then_some(100.0),
        unavailable: if options & 16 == 16 { vec![0x8000, 0xffff] } else { Vec::new() },
        unit_id: (options & 6 == 6).then_some(UnitId(2)),
        ..Point::new(&format!("p{index}"), table, bytes.word(), layout)
    };
    (point.end() <= 65_536).then_some(point)
}

fn cycle(plan: &mut Plan, bytes: &mut Bytes<'_>) -> Frame {
    let search_requests = usize::from(bytes.byte());
    let (mut cycle, mut reading) = (plan.polling_cycle(search_requests), plan.reading());
    let mut sent = 0;
    while let Some(request) = cycle.request(plan) {
        sent += 1;
        assert!(sent <= MAX_REQUESTS, "the cycle does not end");
        within_limits(&request);
        match bytes.byte() {
            0..120 => {
                // Mostly as many as requested; the client refuses other responses, but here they must do no harm.
                let count = if bytes.byte() == 255 { bytes.word() % 200 } else { request.count };
                let words: Vec<u16> = (0..count).map(|_| bytes.word()).collect();
                cycle.answered(plan, &request, &words, &mut reading);
            }
            120..220 => assert_known(&cycle.refused(plan), plan),
            220..230 => assert_known(&cycle.function_refused(plan), plan),
            230..235 => assert_known(&cycle.fail(plan, BlockFault::Failing), plan),
            235..240 => assert_known(&cycle.fail(plan, BlockFault::Silent), plan),
            240..243 => assert_known(&cycle.fail(plan, BlockFault::Unreachable), plan),
            243..245 => cycle.leave_suspects(plan),
            245 => cycle.stop(plan),
            _ => cycle.skip(plan),
        }
    }
    cycle.finish(plan);
    plan.finish(reading, 0)
}

fn assert_known(channels: &[usize], plan: &Plan) {
    let all = plan.finish(plan.reading(), 0).values.len();
    assert!(channels.iter().all(|channel| *channel < all), "{channels:?}");
}

/// Each channel has a number, a text or a fault.
fn assert_good_or_faulty(frame: &Frame, points: &[Point]) {
    assert_eq!(frame.values.len(), points.len());
    for (channel, (value, point)) in (0_u32..).zip(frame.values.iter().zip(points)) {
        let faults = frame.faults.iter().filter(|fault| fault.channel == channel).count();
        let texts = frame.texts.iter().filter(|text| text.channel == channel).count();
        assert!(texts == 0 || point.layout.format.is_text(), "{point:?} has a text");
        assert!(faults <= 1 && texts <= 1, "{point:?}: {faults} faults, {texts} texts");
        let is_good = if point.layout.format.is_text() { texts == 1 } else { value.is_finite() };
        assert!(is_good || faults == 1, "{point:?} is {value} without a fault");
        let in_range = point.min.is_none_or(|min| *value >= min) && point.max.is_none_or(|max| *value <= max);
        assert!(faults == 1 || point.layout.format.is_text() || in_range, "{point:?} is {value} without a fault");
    }
}
