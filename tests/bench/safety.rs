//! The safety verdict: one frame of 20 channels recorded and judged, and a set-point permitted.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bessai_domain::event::Frame;
use bessai_domain::safety::{Bounds, SafetyLimits, SafetyMonitor, SetPoint, SetPointLimits};
use bessai_domain::site::{Channel, ChannelKind, Device, Site, Source};
use bessai_domain::time::MonotonicTime;

use crate::table::MeasuredFigure;

/// Channels of the frame.
const CHANNELS: u32 = 20;
/// Verdicts that one timing covers: the clock's resolution is near the time of one.
const BATCH: u32 = 1_000;
/// Timings; odd, so that the median is one of them.
const TIMINGS: usize = 301;
/// The first value of a frame that is safe; each of the others is larger by 1.
const SAFE: f64 = 20.0;
/// The first value of a frame in which no value is safe.
const UNSAFE: f64 = 200.0;
/// The device's name.
const DEVICE: &str = "battery";

/// Measures a verdict with the default limits, with every channel limited, and a permit.
pub(crate) fn measure() -> Vec<MeasuredFigure> {
    eprintln!("{TIMINGS} times {BATCH} safety verdicts on a frame of {CHANNELS} channels, and as many permits");
    let row = |figure: &str, target, measured: Duration| {
        let figure = figure.to_owned();
        let measured = format!("{:.2} µs", measured.as_secs_f64() * 1e6);
        MeasuredFigure { figure, target, measured, elsewhere: "" }
    };
    let by_default = SafetyLimits::default();
    let mut every_channel = by_default.clone();
    for channel in channels() {
        let limited = Bounds { min: Some(0.0), max: Some(100.0), ramp: Some(10.0), ..Bounds::default() };
        every_channel.bounds.entry(channel.name).or_insert(limited);
    }
    let max = Some(100.0);
    every_channel.set_points = SetPointLimits { max_charge_kw: max, max_discharge_kw: max, ramp_kw_per_s: Some(10.0) };
    vec![
        row("safety verdict on a frame of 20 channels, median", "≤ 2 µs", verdict(&by_default, &frame(SAFE))),
        row("the same, each of the 20 channels limited", "≤ 2 µs", verdict(&every_channel, &frame(SAFE))),
        row("the same, each value beyond a limit", "", verdict(&every_channel, &frame(UNSAFE))),
        row("whether a set-point is allowed, each of the 20 channels limited", "", permit(&every_channel)),
    ]
}

fn verdict(limits: &SafetyLimits, frame: &Frame) -> Duration {
    let mut monitor = SafetyMonitor::new(&site(), limits, MonotonicTime::default());
    let mut now = MonotonicTime::default();
    median(|| {
        now = now.plus(Duration::from_secs(1));
        monitor.record(now, black_box(frame));
        black_box(monitor.evaluate(now));
    })
}

fn permit(limits: &SafetyLimits) -> Duration {
    let now = MonotonicTime::default();
    let mut monitor = SafetyMonitor::new(&site(), limits, now);
    monitor.record(now, &frame(SAFE));
    let set_point = SetPoint { device: DEVICE, power_kw: 20.0, rated_kw: None, applied_kw: 0.0, applied_at: now };
    median(|| {
        let _ = black_box(monitor.permits(black_box(&set_point), now));
    })
}

/// The median time of one call.
fn median(mut call: impl FnMut()) -> Duration {
    let mut timing = || {
        let start = Instant::now();
        (0..BATCH).for_each(|_| call());
        start.elapsed() / BATCH
    };
    let mut timings: Vec<_> = (0..TIMINGS).map(|_| timing()).collect();
    timings.sort_unstable();
    timings.get(TIMINGS / 2).copied().unwrap_or_default()
}

fn channels() -> impl Iterator<Item = Channel> {
    let name = |index: u32| match index {
        0 => "soc_pct".to_owned(),
        1 => "temp_c".to_owned(),
        index => format!("channel_{index}"),
    };
    (0..CHANNELS).map(move |index| Channel {
        name: name(index),
        unit: "1".into(),
        kind: ChannelKind::Gauge,
        writable: false,
        attributes: Vec::new(),
    })
}

fn site() -> Site {
    let channels: Vec<_> = channels().collect();
    let (device, period) = (DEVICE.to_owned(), Duration::from_secs(1));
    let source = Source { device, period, channels: Arc::from(channels), attributes: Vec::new() };
    let devices = vec![Device { name: DEVICE.into(), attributes: Vec::new() }];
    Site { id: "S".into(), revision: 1, devices, sources: vec![source], attributes: Vec::new() }
}

fn frame(first: f64) -> Frame {
    let values = (0..CHANNELS).map(|index| first + f64::from(index)).collect();
    Frame { source: 0, values, faults: Vec::new(), texts: Vec::new() }
}
