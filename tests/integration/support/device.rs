//! Simulated Modbus devices with known values.

use std::net::SocketAddr;

use bessai_domain::profile::{Point, Profile, built_in};
use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::Server;

/// The channel by which a [`Device::counting`] counts its readings.
const COUNTER: &str = "power_kw";

/// A simulated SUN2000 whose register values the test sets.
pub struct Device {
    pub server: Server,
    pub registers: Registers,
    profile: Profile,
}

impl Device {
    /// Unit 1 with 72.3 %, -85.5 kW and 28.1 °C; every other register reads 0.
    pub fn huawei() -> Self {
        let registers = Registers::new();
        registers.fill(1, Table::Holding, 0..=u16::MAX, 0);
        Self::with(registers)
    }

    /// As [`Device::huawei`], but the power starts at 0 and rises by 1 W with every reading, so that each differs from the
    /// others; see [`count`](super::readings::count).
    pub fn counting() -> Self {
        let device = Self::huawei();
        device.set(COUNTER, 0.0);
        device.registers.count_reads(1, Table::Holding, device.counter_address());
        device
    }

    /// As [`Device::huawei`], but only the profile's registers exist: a block read over a gap is refused.
    pub fn sparse_huawei() -> Self {
        let device = Self::with(Registers::new());
        for point in device.profile.points.clone() {
            if device.registers.get(1, Table::Holding, point.address, 1).is_none() {
                device.registers.set(1, Table::Holding, point.address, &point.layout.encode(0.0));
            }
        }
        device
    }

    fn with(registers: Registers) -> Self {
        let server = Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), registers.clone()).unwrap();
        let device = Self { server, registers, profile: built_in("huawei-sun2000").unwrap() };
        for (channel, value) in [("soc_pct", 72.3), ("power_kw", -85.5), ("temp_c", 28.1)] {
            device.set(channel, value);
        }
        device
    }

    /// Sets a channel's value, in its unit.
    pub fn set(&self, channel: &str, value: f64) {
        let point = self.point(channel);
        let words = point.layout.encode(point.scaling.to_raw(value));
        self.registers.set(1, Table::Holding, point.address, &words);
    }

    /// The number of readings so far of a [`Device::counting`]; the register wraps after 65535.
    pub fn readings(&self) -> u16 {
        self.registers.get(1, Table::Holding, self.counter_address(), 1).unwrap()[0]
    }

    /// The lower register of the counter's two.
    fn counter_address(&self) -> u16 {
        self.point(COUNTER).address + 1
    }

    fn point(&self, channel: &str) -> &Point {
        self.profile.points.iter().find(|point| point.channel == channel).unwrap()
    }

    pub fn port(&self) -> u16 {
        self.server.address().port()
    }
}
