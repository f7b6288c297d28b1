//! The simulated devices: the simulator's Modbus servers behind links that fail, with registers that change all the time.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::profile::{self, Point, Profile};
use bessai_domain::register::{Table, UnitId};
use bessai_domain::report::{ReportFilter, ReportRule};
use bessai_domain::safety::{Bounds, SafetyLimits, age_limit};
use bessai_domain::site::{Device, SOURCE_NAME, Site, Source};
use bessai_modbus::{DeviceSettings, SourceSettings};
use bessai_simulator::registers::Registers;
use bessai_simulator::server::{FaultRule, Framing, Server};

use crate::clock;
use crate::link::{Link, LinkState};
use crate::observer::LimitedChannel;
use crate::scenario::DevicePlan;
use crate::world::World;

/// The points of a device; state of charge and temperature are limited.
const POINTS: &str = r#"timeout = "500ms"
sources = { slow = "60s" }
[points]
soc_pct = { address = 0, type = "uint16", scale = 0.1, unit = "%" }
temp_c = { address = 1, type = "int16", scale = 0.1, unit = "Cel" }
power_kw = { address = 40, type = "int16", scale = 0.1, unit = "kW" }
"#;
/// Points that are read less often.
const SLOW_POINTS: &str = r#"cycle_count = { address = 80, type = "uint16", scale = 1, unit = "cycles", source = "slow" }
"#;
/// The limits of the state of charge and of the temperature, in the order of the points.
const SAFE: [(f64, f64); 2] = [(10.0, 95.0), (f64::NEG_INFINITY, 45.0)];
/// The temperature above which the battery trips.
const TRIP_ABOVE: f64 = 60.0;

/// The limits that the gateway judges by.
pub(crate) fn limits() -> SafetyLimits {
    let mut limits = SafetyLimits::default();
    for (name, (min, max)) in ["soc_pct", "temp_c"].into_iter().zip(SAFE) {
        let bound = |value: f64| Some(value).filter(|value| value.is_finite());
        let trip_above = (name == "temp_c").then_some(TRIP_ABOVE);
        limits.bounds.insert(name.into(), Bounds { min: bound(min), max: bound(max), trip_above, ..Bounds::default() });
    }
    limits
}

/// The name of the slower source.
const SLOW: &str = "slow";

/// One device.
pub(crate) struct SimDevice {
    pub(crate) plan: DevicePlan,
    pub(crate) link: Rc<Link>,
    server: Server,
    registers: Registers,
    index: usize,
    profile: Arc<Profile>,
    /// The index of its first source.
    first_source: u32,
}

impl SimDevice {
    /// All devices of the scenario, whose channels the observer watches from here on.
    pub(crate) fn all(world: &World) -> Vec<Rc<Self>> {
        let mut first_source = 0;
        let mut devices = Vec::new();
        for (index, plan) in world.scenario.devices.iter().enumerate() {
            let device = Self::new(index, plan, first_source, world);
            first_source += u32::try_from(device.sources().len()).unwrap();
            devices.push(Rc::new(device));
        }
        let channels = devices.iter().flat_map(|device| device.limited_channels()).collect();
        world.watch(channels, devices.len());
        devices.iter().for_each(|device| device.drift(world));
        devices
    }

    fn new(index: usize, plan: &DevicePlan, first_source: u32, world: &World) -> Self {
        let points = [POINTS, if plan.slow_period.is_some() { SLOW_POINTS } else { "" }].concat();
        let profile = profile::toml::read(&plan.name, &points).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        let registers = Registers::new();
        registers.fill(1, Table::Holding, 0..=99, 0);
        let server = Server::start_detached(registers.clone()).unwrap();
        let link = Rc::new(Link::new(world.choose(|random| random.fork())));
        Self { plan: plan.clone(), link, server, registers, index, profile: Arc::new(profile), first_source }
    }

    fn sources(&self) -> Vec<SourceSettings> {
        let own = (None, self.plan.period);
        let slow = self.plan.slow_period.map(|period| (Some(SLOW.to_owned()), period));
        let sources = [own].into_iter().chain(slow).zip(self.first_source..);
        sources.map(|((name, period), index)| SourceSettings { name, period, index }).collect()
    }

    fn limited_channels(&self) -> impl Iterator<Item = LimitedChannel> {
        let (limit, source) = (age_limit(self.plan.period), self.first_source);
        SAFE.into_iter().enumerate().map(move |(position, range)| {
            let channel = LimitedChannel::new(self.index, source, position, range, limit);
            if position == 1 { channel.tripping_above(TRIP_ABOVE) } else { channel }
        })
    }

    /// How the gateway reads it.
    pub(crate) fn settings(&self) -> DeviceSettings {
        DeviceSettings {
            name: self.plan.name.clone(),
            unit: UnitId(1),
            unit_is_configured: true,
            models: None,
            timeout: self.profile.timeout,
            pacing: self.profile.pacing,
            read_limits: self.profile.read_limits,
            sources: self.sources(),
            profile: Arc::clone(&self.profile),
        }
    }

    pub(crate) fn is_serial(&self) -> bool {
        self.plan.framing == Framing::Rtu
    }

    /// Opens a connection to it.
    pub(crate) async fn connect(self: Rc<Self>, world: Rc<World>) -> Result<tokio::io::DuplexStream, String> {
        let index = self.index;
        let heard = move || world.safety.borrow_mut().heard(index, clock::elapsed());
        let (gateway, device) = self.link.connect(heard).await.map_err(|error| error.to_string())?;
        self.server.attach(device, self.plan.framing);
        Ok(gateway)
    }

    /// Its registers take these values.
    pub(crate) fn hold(&self, world: &World, values: [f64; 2]) {
        let words = values.map(|value| (value * 10.0).round() as i16 as u16);
        self.registers.set(1, Table::Holding, 0, &words);
        for (position, word) in words.into_iter().enumerate() {
            let value = f64::from(word as i16) * 0.1;
            world.safety.borrow_mut().device_holds(self.index, position, value, clock::elapsed());
        }
    }

    /// Its registers take other values, most of them safe.
    pub(crate) fn drift(&self, world: &World) {
        let (soc, temperature) = world.choose(|random| {
            let soc = if random.chance(0.1) { random.number(960..1000) } else { random.number(100..951) };
            let temperature = match random.number(0..100) {
                0..2 => random.number(601..800),
                2..12 => random.number(451..600),
                _ => random.number(100..451),
            };
            (soc as f64 * 0.1, temperature as f64 * 0.1)
        });
        let power = world.choose(|random| random.number(0..1000));
        self.registers.set(1, Table::Holding, 40, &[u16::try_from(power).unwrap()]);
        self.hold(world, [soc, temperature]);
    }

    /// The server misbehaves in one way, or behaves again.
    pub(crate) fn set_fault(&self, rule: Option<FaultRule>) {
        self.server.set_fault_rules(rule);
    }

    /// Everything about it works.
    pub(crate) fn recover(&self) {
        self.link.set(LinkState::Works);
        self.set_fault(None);
    }

    fn device(&self) -> Device {
        Device { name: self.plan.name.clone(), attributes: self.profile.attributes() }
    }

    fn described_sources(&self) -> impl Iterator<Item = Source> {
        self.sources().into_iter().map(|source| {
            let name = source.name.as_deref();
            let attributes = name.map(|name| (SOURCE_NAME.to_owned(), name.to_owned())).into_iter().collect();
            let channels = self.profile.source(name).map(Point::to_channel).collect();
            Source { device: self.plan.name.clone(), period: source.period, channels, attributes }
        })
    }

    fn report_filters(&self) -> impl Iterator<Item = ReportFilter> {
        let rule = ReportRule { deadband: 5.0, max_silence: Duration::from_secs(60) };
        let rule = self.plan.reduces.then_some(rule);
        self.sources()
            .into_iter()
            .map(move |source| ReportFilter::new(self.profile.source(source.name.as_deref()).map(|_| rule)))
    }
}

/// The site's description.
pub(crate) fn site(devices: &[Rc<SimDevice>], revision: u64) -> Site {
    Site {
        id: "SITE".into(),
        revision,
        devices: devices.iter().map(|device| device.device()).collect(),
        sources: devices.iter().flat_map(|device| device.described_sources()).collect(),
        attributes: Vec::new(),
    }
}

/// The filters of all sources.
pub(crate) fn report_filters(devices: &[Rc<SimDevice>]) -> Vec<ReportFilter> {
    devices.iter().flat_map(|device| device.report_filters()).collect()
}
