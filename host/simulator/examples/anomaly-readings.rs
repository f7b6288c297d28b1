//! Prints readings of the simulated battery as `bessai-edge journal export` writes them, for scripts/train-anomaly:
//! `anomaly-readings SEED DAYS` without anomalies, `anomaly-readings SEED DAYS labelled` with some, named in `note`.

#![allow(clippy::disallowed_methods, reason = "an example is not the gateway")]

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{Anomaly, Event, EventBody, Frame, Sequence};
use bessai_domain::exchange::Exchange;
use bessai_domain::plan::Plan;
use bessai_domain::profile::{self, Point, Profile};
use bessai_domain::record::write_event;
use bessai_domain::site::{Device, Site, Source};
use bessai_domain::time::Timestamp;
use bessai_simulator::battery::DEMO_DAY;
use bessai_simulator::plant::{Distortion, Plant};
use bessai_simulator::registers::Registers;
use fastrand::Rng;

/// Time between two readings, as in the demo.
const PERIOD_MS: u64 = 1000;
/// How late a reading is at most.
const LATEST_MS: u64 = 20;
/// Time between two steps of the battery, as in the demo.
const STEP_MS: u64 = 100;
/// The first reading, in ms since 1970.
const START_MS: u64 = 1_767_225_600_000;
/// The battery's registers: the resolution is that of many devices.
const PROFILE: &str = "[points]
    soc = { channel = \"soc_pct\", address = 0, type = \"uint16\", scale = 0.1, unit = \"%\" }
    power = { channel = \"power_kw\", address = 1, type = \"int32\", scale = 0.001, unit = \"kW\" }
    temperature = { channel = \"temp_c\", address = 3, type = \"int16\", scale = 0.1, unit = \"Cel\" }";

/// What is wrong with the exchanges.
#[derive(Clone, Copy)]
enum Interference {
    /// Somebody in between delays each reply.
    SlowReplies,
    /// Another master sends requests on the bus.
    OtherMaster,
    /// Requests are refused.
    Refusals,
}

/// What an anomaly is.
#[derive(Clone, Copy)]
enum Fake {
    Measurements(Distortion),
    Exchanges(Interference),
}

/// The readings until the next change, and what is wrong with them.
struct Phase {
    left: u32,
    fake: Option<(&'static str, Fake)>,
}

/// The simulated site.
struct Readings {
    random: Rng,
    plant: Plant,
    profile: Profile,
    registers: Registers,
    plan: Plan,
    now_ms: u64,
    stepped_ms: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (seed, days, is_labelled) = match arguments.as_slice() {
        [seed, days] => (seed.parse()?, days.parse::<u64>()?, false),
        [seed, days, word] if word == "labelled" => (seed.parse()?, days.parse::<u64>()?, true),
        _ => return Err("usage: anomaly-readings SEED DAYS [labelled]".into()),
    };
    let mut readings = Readings::new(seed)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut sequence = Sequence::default();
    let mut print = |at, body, note: Option<&str>| {
        sequence = sequence.next();
        writeln!(out, "{}", write_event(&Event { sequence, at, body }, note))
    };
    print(time(START_MS), EventBody::Site(Arc::new(readings.site())), None)?;
    let mut phase = Phase { left: 0, fake: None };
    for _ in 0..days * DEMO_DAY.as_secs() {
        if phase.left == 0 {
            phase = readings.next_phase(is_labelled && phase.fake.is_none());
        }
        phase.left -= 1;
        let frame = readings.next_frame();
        let (at, note) = (time(readings.now_ms), readings.label(&phase));
        print(at, EventBody::Frame(frame), note)?;
        print(at, EventBody::Anomaly(anomaly(readings.exchange(&phase))), note)?;
    }
    Ok(())
}

fn time(ms: u64) -> Timestamp {
    Timestamp::from_nanos(ms * 1_000_000)
}

/// The event of a gateway whose model says nothing yet.
fn anomaly(exchange: Exchange) -> Anomaly {
    let (model, device) = ("anomaly".to_owned(), "battery".to_owned());
    Anomaly { model, device, score: 0.0, alert_count: 0, trained: true, alarm: false, exchange: Some(exchange) }
}

impl Readings {
    fn new(seed: u64) -> Result<Self, String> {
        let profile = profile::toml::read("battery", PROFILE).map_err(|mistakes| format!("{mistakes:?}"))?;
        let registers = Registers::new();
        let plant = Plant::new(profile.clone(), registers.clone(), DEMO_DAY);
        let plan = Plan::new(profile.readable(), profile.unit, profile.read_limits);
        let random = Rng::with_seed(seed);
        Ok(Self { random, plant, profile, registers, plan, now_ms: START_MS, stepped_ms: START_MS })
    }

    fn site(&self) -> Site {
        let device = "battery".to_owned();
        Site {
            id: "SITE-CL-001".into(),
            revision: 1,
            devices: vec![Device { name: device.clone(), attributes: Vec::new() }],
            sources: vec![Source {
                device,
                period: Duration::from_millis(PERIOD_MS),
                channels: self.profile.readable().map(Point::to_channel).collect(),
                attributes: Vec::new(),
            }],
            attributes: Vec::new(),
        }
    }

    /// Usual readings, mostly of the schedule and sometimes of another plan; or an anomaly.
    fn next_phase(&mut self, is_unusual: bool) -> Phase {
        self.plant.distort(None);
        if is_unusual {
            let measurements = Distortion::ALL.map(|(name, distortion)| (name, Fake::Measurements(distortion)));
            let exchanges = [
                ("slow-replies", Fake::Exchanges(Interference::SlowReplies)),
                ("other-master", Fake::Exchanges(Interference::OtherMaster)),
                ("refusals", Fake::Exchanges(Interference::Refusals)),
            ];
            let fakes: Vec<_> = measurements.into_iter().chain(exchanges).collect();
            let fake = self.random.choice(fakes);
            if let Some((_, Fake::Measurements(distortion))) = fake {
                self.plant.distort(Some(distortion));
            }
            return Phase { left: self.random.u32(10..40), fake };
        }
        let is_planned = self.random.u8(0..10) < 3;
        let power_kw = f64::from(self.random.i32(-80..80));
        self.plant.plan(is_planned.then_some(power_kw));
        Phase { left: self.random.u32(30..120), fake: None }
    }

    /// The anomaly, if it shows.
    fn label(&self, phase: &Phase) -> Option<&'static str> {
        let (name, fake) = phase.fake?;
        let shows = matches!(fake, Fake::Exchanges(_)) || self.plant.is_distorted();
        shows.then_some(name)
    }

    fn next_frame(&mut self) -> Frame {
        let grid_ms = self.now_ms / PERIOD_MS * PERIOD_MS;
        self.now_ms = grid_ms + PERIOD_MS + self.random.u64(0..LATEST_MS);
        while self.stepped_ms + STEP_MS <= self.now_ms {
            self.plant.advance(Duration::from_millis(STEP_MS));
            self.stepped_ms += STEP_MS;
        }
        let mut reading = self.plan.reading();
        for request in self.plan.shared_requests() {
            let words = self.registers.get(request.unit.0, request.table, request.start, request.count);
            self.plan.decode(&request, &words.unwrap_or_default(), &mut reading);
        }
        self.plan.finish(reading, 0)
    }

    /// What the requests of a reading met.
    fn exchange(&mut self, phase: &Phase) -> Exchange {
        let is_rare = self.random.u8(0..200) == 0;
        let jitter = (0..4).map(|_| self.random.f64()).sum::<f64>();
        let mut exchange = Exchange { requests: 3, reply_ms: Some(6.0 + jitter), ..Exchange::default() };
        // A busy machine, and a lost reply.
        if self.random.u8(0..100) < 2 {
            exchange.reply_ms = Some(6.0 + self.random.f64() * 150.0);
        }
        exchange.failed = is_rare.into();
        if let Some((_, Fake::Exchanges(interference))) = phase.fake {
            match interference {
                Interference::SlowReplies => exchange.reply_ms = exchange.reply_ms.map(|reply_ms| reply_ms + 30.0),
                Interference::OtherMaster => {
                    exchange.irregular = self.random.u32(4..9);
                    exchange.failed += self.random.u32(0..2);
                }
                Interference::Refusals => exchange.failed = self.random.u32(4..8),
            }
        }
        exchange
    }
}
