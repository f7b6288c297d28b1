//! What the pipeline appends and shows, with a clock that the test moves.

mod permits;

use super::*;
use std::cell::Cell;

use bessai_domain::event::{Fault, FaultKind, Safety, Violation};
use bessai_domain::safety::age_limit;
use bessai_domain::site::{Channel, ChannelKind, Device, Source};
use bessai_domain::time::{MonotonicTime, Timestamp};
use proptest::prelude::*;
use tokio::sync::oneshot;

use crate::unstamped::UNSTAMPED_EVENTS;

const NEVER_SET: Timestamp = Timestamp::from_nanos(86_400_000_000_000);
const IN_2026: Timestamp = Timestamp::from_nanos(1_790_000_000_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

thread_local! {
    static NOW: Cell<Moment> = const {
        Cell::new(Moment { monotonic: MonotonicTime::from_nanos(0), wall: Timestamp::from_nanos(0) })
    };
}

/// Time that the test moves, and a wall clock that it sets.
fn start_at(wall: Timestamp) {
    NOW.set(Moment { monotonic: MonotonicTime::from_nanos(7), wall });
}

fn pass(time: Duration) {
    NOW.set(NOW.get().plus(time));
}

fn set_clock(wall: Timestamp) {
    NOW.set(Moment { wall, ..NOW.get() });
}

/// A pipeline, the events that it appends and the verdict that it shows.
struct Fixture {
    pipeline: Pipeline,
    events: Rc<RefCell<Vec<(Moment, EventBody)>>>,
    shown: Rc<Cell<SafetyState>>,
}

impl Fixture {
    fn new(site: Site) -> Self {
        let events = Rc::new(RefCell::new(Vec::new()));
        let shown = Rc::new(Cell::new(SafetyState::Unknown));
        let (appended, judged) = (Rc::clone(&events), Rc::clone(&shown));
        let sinks = Sinks {
            append: Box::new(move |at, body| appended.borrow_mut().push((at, body))),
            judged: Box::new(move |state| judged.set(state)),
            infer: Box::new(|_, _, _, _| {}),
            reports: Box::new(|_, _| None),
            failed: Box::new(|_| {}),
            missing: Box::new(|_| {}),
            discovered: Box::new(|_, _| {}),
        };
        let pipeline = Pipeline::new(Arc::new(site), &SafetyLimits::default(), Vec::new(), || NOW.get(), sinks);
        Self { pipeline, events, shown }
    }

    fn frame(&mut self, source: u32, values: &[f64]) {
        let missing = (0..).zip(values).filter(|(_, value)| value.is_nan());
        let faults = missing.map(|(channel, _)| Fault { channel, kind: FaultKind::Missing }).collect();
        let frame = Frame { source, values: values.to_vec(), faults, texts: Vec::new() };
        self.pipeline.handle(DeviceReport::Frame(NOW.get(), frame, Exchange::default()).into());
    }

    /// An operator resets the trips of a device, or all.
    fn reset(&mut self, device: Option<&str>) -> Result<Vec<Violation>, Violation> {
        let (answer, mut answered) = oneshot::channel();
        let device = device.map(str::to_owned);
        self.pipeline.handle(PipelineInput::ResetTrips(TripReset { device, answer }));
        answered.try_recv().unwrap()
    }

    fn verdicts(&self) -> Vec<(Moment, SafetyState)> {
        let events = self.events.borrow();
        let verdict = |(at, body): &(Moment, EventBody)| match body {
            EventBody::Safety(safety) => Some((*at, safety.state())),
            _ => None,
        };
        events.iter().filter_map(verdict).collect()
    }

    fn states(&self) -> Vec<SafetyState> {
        self.verdicts().into_iter().map(|(_, state)| state).collect()
    }

    fn kinds(&self) -> Vec<&'static str> {
        let kind = |(_, body): &(Moment, EventBody)| match body {
            EventBody::Site(_) => "site",
            EventBody::Frame(_) => "frame",
            EventBody::Safety(_) => "safety",
            EventBody::Heartbeat => "heartbeat",
            _ => "other",
        };
        self.events.borrow().iter().map(kind).collect()
    }
}

fn source(device: &str, channels: &[&str]) -> Source {
    let channel = |name: &&str| Channel {
        name: (*name).into(),
        unit: "1".into(),
        kind: ChannelKind::Gauge,
        writable: false,
        attributes: Vec::new(),
    };
    let channels = channels.iter().map(channel).collect();
    Source { device: device.into(), period: SECOND, channels, attributes: Vec::new() }
}

fn site(sources: Vec<Source>) -> Site {
    let devices = sources.iter().map(|source| Device { name: source.device.clone(), attributes: Vec::new() }).collect();
    Site { id: "S".into(), revision: 1, devices, sources, attributes: Vec::new() }
}

fn battery() -> Site {
    site(vec![source("battery", &["soc_pct", "temp_c"])])
}

#[test]
fn readings_before_the_clock_is_set_are_judged_and_get_their_time_when_it_is() {
    start_at(NEVER_SET);
    let mut fixture = Fixture::new(battery());
    fixture.frame(0, &[50.0, 25.0]);
    fixture.pipeline.tick();
    assert_eq!((fixture.kinds(), fixture.shown.get()), (vec![], SafetyState::Safe));
    pass(SECOND);
    fixture.frame(0, &[50.0, 90.0]);
    assert_eq!((fixture.kinds(), fixture.shown.get()), (vec![], SafetyState::Unsafe));
    pass(SECOND);
    set_clock(IN_2026);
    fixture.frame(0, &[50.0, 90.0]);
    let kinds = fixture.kinds();
    assert_eq!(kinds.iter().filter(|kind| **kind == "frame").count(), 3, "{kinds:?}");
    assert_eq!(kinds[0], "site");
    assert_eq!(fixture.states(), [SafetyState::Safe, SafetyState::Safe, SafetyState::Unsafe]);
    let times: Vec<_> = fixture.events.borrow().iter().map(|(at, _)| at.wall).collect();
    assert_eq!((times[0], *times.last().unwrap()), (IN_2026.minus(2 * SECOND), IN_2026));
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn the_oldest_readings_are_dropped_when_the_clock_stays_unset() {
    start_at(NEVER_SET);
    let mut fixture = Fixture::new(battery());
    for _ in 0..UNSTAMPED_EVENTS + 10 {
        fixture.frame(0, &[50.0, 25.0]);
    }
    set_clock(IN_2026);
    fixture.frame(0, &[60.0, 25.0]);
    let kinds = fixture.kinds();
    assert_eq!((kinds[0], kinds.len()), ("site", UNSTAMPED_EVENTS + 1));
}

#[test]
fn a_start_publishes_nothing_false() {
    start_at(IN_2026);
    let mut fixture = Fixture::new(site(vec![source("a", &["soc_pct"]), source("b", &["soc_pct"])]));
    fixture.pipeline.tick();
    fixture.frame(0, &[50.0]);
    assert_eq!((fixture.states(), fixture.shown.get()), (vec![], SafetyState::Unknown));
    fixture.frame(1, &[50.0]);
    assert_eq!((fixture.states(), fixture.shown.get()), (vec![SafetyState::Safe], SafetyState::Safe));
}

#[test]
fn a_start_without_readings_is_unknown_when_their_time_is_over() {
    start_at(IN_2026);
    let mut fixture = Fixture::new(battery());
    pass(age_limit(SECOND));
    fixture.pipeline.tick();
    assert_eq!(fixture.states(), []);
    pass(SECOND);
    fixture.pipeline.tick();
    assert_eq!(fixture.states(), [SafetyState::Unknown]);
}

#[test]
fn a_violation_at_the_start_is_reported_at_once() {
    start_at(IN_2026);
    let mut fixture = Fixture::new(battery());
    fixture.frame(0, &[99.0, f64::NAN]);
    assert_eq!(fixture.states(), [SafetyState::Unsafe]);
}

#[test]
fn a_verdict_is_not_older_than_the_one_before() {
    start_at(IN_2026);
    let mut fixture = Fixture::new(battery());
    fixture.frame(0, &[50.0, 25.0]);
    let read_at = NOW.get();
    pass(age_limit(SECOND) + SECOND);
    fixture.pipeline.tick();
    // A reading that was taken before the verdict and arrives after it.
    let frame = Frame { source: 0, values: vec![99.0, 25.0], faults: vec![], texts: vec![] };
    fixture.pipeline.handle(DeviceReport::Frame(read_at.plus(2 * SECOND), frame, Exchange::default()).into());
    let times: Vec<_> = fixture.verdicts().into_iter().map(|(at, _)| at.monotonic).collect();
    assert!(times.is_sorted() && times.len() >= 3, "{times:?}");
}

/// The rules of each verdict, with value and limit, from the `from`th event on.
fn rules_since(fixture: &Fixture, from: usize) -> Vec<Vec<(String, f64, f64)>> {
    let events = fixture.events.borrow();
    let rules = |(_, body): &(Moment, EventBody)| match body {
        EventBody::Safety(safety) => {
            Some(safety.violations.iter().map(|found| (found.rule.clone(), found.value, found.limit)).collect())
        }
        _ => None,
    };
    events[from..].iter().filter_map(rules).collect()
}

#[test]
fn every_change_of_a_rule_is_an_event_with_value_and_limit() {
    start_at(IN_2026);
    let mut fixture = Fixture::new(battery());
    for temperature in [25.0, 50.0, 51.0, 61.0, 30.0, 30.0] {
        pass(SECOND);
        fixture.frame(0, &[50.0, temperature]);
    }
    let rule = |rule: &str, value, limit| (rule.to_owned(), value, limit);
    let (derated, trip) = (rule("derate", 50.0, 45.0), rule("trip", 61.0, 60.0));
    let hot = vec![rule("max", 61.0, 60.0), trip.clone(), rule("derate", 61.0, 45.0)];
    assert_eq!(rules_since(&fixture, 0), [vec![], vec![derated], hot, vec![trip]]);
    use SafetyState::{Safe, Unsafe};
    assert_eq!(fixture.states(), [Safe, Safe, Unsafe, Unsafe]);
}

#[test]
fn a_trip_ends_by_a_reset_only_also_after_a_restart() {
    start_at(IN_2026);
    let mut fixture = Fixture::new(battery());
    fixture.frame(0, &[50.0, 61.0]);
    let EventBody::Safety(last) = fixture.events.borrow().last().unwrap().1.clone() else { panic!("no verdict") };
    let mut fixture = Fixture::new(battery());
    fixture.pipeline.restore_trips(&last);
    // Recorded at once, before there is a reading.
    assert_eq!((fixture.states(), fixture.shown.get()), (vec![SafetyState::Unsafe], SafetyState::Unsafe));
    assert_eq!(fixture.reset(None).unwrap_err().rule, "unread");
    fixture.frame(0, &[50.0, 30.0]);
    let seen = fixture.events.borrow().len();
    assert_eq!(fixture.reset(Some("meter")), Ok(vec![]));
    assert_eq!(fixture.reset(Some("battery")).unwrap().len(), 1);
    assert_eq!((rules_since(&fixture, seen), fixture.shown.get()), (vec![vec![]], SafetyState::Safe));
}

#[tokio::test(start_paused = true)]
async fn a_value_becomes_unknown_without_a_reading_or_a_tick() {
    start_at(IN_2026);
    let fixture = Fixture::new(battery());
    let (events, shown) = (Rc::clone(&fixture.events), Rc::clone(&fixture.shown));
    let (inputs, received) = mpsc::channel(1);
    let (_stop, stopped) = watch::channel(false);
    let frame = Frame { source: 0, values: vec![50.0, 25.0], faults: vec![], texts: vec![] };
    tokio::task::LocalSet::new()
        .run_until(async move {
            let running = tokio::task::spawn_local(fixture.pipeline.run(received, stopped));
            inputs.send(DeviceReport::Frame(NOW.get(), frame, Exchange::default()).into()).await.unwrap();
            while shown.get() != SafetyState::Safe {
                tokio::task::yield_now().await;
            }
            // Between two ticks of the timer.
            let half = Duration::from_millis(500);
            for _ in 0..62 {
                pass(half);
                tokio::time::advance(half).await;
                tokio::task::yield_now().await;
            }
            assert_eq!(shown.get(), SafetyState::Unknown);
            assert!(
                events.borrow().iter().any(|(_, body)| matches!(body, EventBody::Safety(safety) if !safety.is_safe))
            );
            running.abort();
        })
        .await;
}

/// What happens to a pipeline.
#[derive(Clone, Debug)]
enum Step {
    /// A reading of a source; NaN is a value that was not read.
    Frame {
        source: u32,
        values: Vec<f64>,
    },
    /// A device describes other channels.
    Redescribed {
        device: usize,
        channels: Vec<&'static str>,
    },
    /// Nothing is read for this time.
    Silence(Duration),
    /// The wall clock is set.
    ClockSet(Timestamp),
    Tick,
}

const DEVICES: [&str; 2] = ["a", "b"];
const CHANNELS: [&str; 3] = ["soc_pct", "temp_c", "power_kw"];

fn step() -> impl Strategy<Value = Step> {
    let value = prop_oneof![4 => 10.0..45.0_f64, 1 => 90.0..120.0_f64, 1 => Just(f64::NAN)];
    let channels = proptest::sample::subsequence(CHANNELS.to_vec(), 0..=3);
    let wall = prop_oneof![
        Just(NEVER_SET),
        Just(IN_2026),
        Just(IN_2026.minus(Duration::from_mins(2))),
        Just(IN_2026.plus(Duration::from_hours(1))),
        Just(IN_2026.plus(Duration::from_hours(24 * 3650))),
    ];
    prop_oneof![
        6 => (0..2_u32, proptest::collection::vec(value, 0..4)).prop_map(|(source, values)| Step::Frame { source, values }),
        1 => (0..2_usize, channels).prop_map(|(device, channels)| Step::Redescribed { device, channels }),
        4 => (0..40_u64).prop_map(|seconds| Step::Silence(Duration::from_secs(seconds))),
        1 => wall.prop_map(Step::ClockSet),
        3 => Just(Step::Tick),
    ]
}

/// What is known about the limited channels, kept apart from the monitor.
struct Knowledge {
    channels: [Vec<&'static str>; 2],
    /// Every limited channel that a device was described with, and its last good value.
    limited: BTreeMap<(usize, &'static str), Option<(MonotonicTime, f64)>>,
}

impl Knowledge {
    fn describe(&mut self, device: usize, channels: &[&'static str]) {
        // A description without channels is one of a device that is not discovered: it may have every channel.
        let limited = ["soc_pct", "temp_c"];
        for name in limited {
            let is_described = channels.contains(&name);
            let was_described = self.channels[device].contains(&name);
            if is_described || channels.is_empty() {
                self.limited.entry((device, name)).or_default();
            }
            if !is_described && was_described {
                self.limited.insert((device, name), None);
            }
        }
        self.channels[device] = channels.to_vec();
    }

    fn read(&mut self, device: usize, values: &[f64], at: MonotonicTime) {
        for (name, value) in self.channels[device].iter().zip(values).filter(|(_, value)| value.is_finite()) {
            if let Some(known) = self.limited.get_mut(&(device, *name)) {
                *known = Some((at, *value));
            }
        }
    }

    /// Whether each limited channel has a good young value within its limits.
    fn is_safe(&self, now: MonotonicTime) -> bool {
        let limits = SafetyLimits::default();
        self.limited.iter().all(|((_, name), newest)| {
            let bounds = limits.bounds[*name];
            newest.is_some_and(|(at, value)| {
                now.since(at) <= age_limit(SECOND)
                    && bounds.min.is_none_or(|min| value >= min)
                    && bounds.max.is_none_or(|max| value <= max)
            })
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    /// Over any readings, faults, descriptions, clock steps and silence: no verdict says safe while a limited channel lacks a
    /// good young value, and verdicts follow each other in time.
    #[test]
    fn never_safe_without_good_young_values(steps in proptest::collection::vec(step(), 1..60), wall in prop_oneof![Just(NEVER_SET), Just(IN_2026)]) {
        start_at(wall);
        let both = ["soc_pct", "temp_c"];
        let mut fixture = Fixture::new(site(vec![source(DEVICES[0], &both), source(DEVICES[1], &both)]));
        let mut knowledge = Knowledge { channels: [vec![], vec![]], limited: BTreeMap::new() };
        (0..2).for_each(|device| knowledge.describe(device, &both));
        for step in steps {
            // Distinguishes verdicts that waited for the clock from those of this step.
            pass(Duration::from_millis(1));
            let seen = fixture.events.borrow().len();
            let mut is_judged = true;
            match step {
                Step::Frame { source, values } => {
                    knowledge.read(source as usize, &values, NOW.get().monotonic);
                    fixture.frame(source, &values);
                }
                Step::Redescribed { device, channels } => {
                    knowledge.describe(device, &channels);
                    let mut site = Site::clone(&fixture.pipeline.site);
                    site.sources[device] = source(DEVICES[device], &channels);
                    fixture.pipeline.describe(NOW.get(), site);
                }
                Step::Silence(time) => {
                    pass(time);
                    is_judged = false;
                }
                Step::ClockSet(wall) => {
                    set_clock(wall);
                    is_judged = false;
                }
                Step::Tick => fixture.pipeline.tick(),
            }
            let now = NOW.get().monotonic;
            if is_judged {
                prop_assert!(fixture.shown.get() != SafetyState::Safe || knowledge.is_safe(now));
            }
            for (at, body) in &fixture.events.borrow()[seen..] {
                if let EventBody::Safety(safety) = body && at.monotonic == now {
                    prop_assert!(!safety.is_safe || knowledge.is_safe(now), "{safety:?}");
                }
            }
            let times: Vec<_> = fixture.verdicts().into_iter().map(|(at, _)| at.monotonic).collect();
            prop_assert!(times.is_sorted());
        }
        drop(fixture.pipeline);
    }
}
