//! Simulated Modbus devices with known values.

use std::net::SocketAddr;

use bessai_domain::profile::{Point, Profile, read};
use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::Server;

/// The built-in profile with a counter, which no SUN2000 has, so that each reading can be told from the others.
pub const PROFILE: &str = concat!(
    include_str!("../../../host/domain/profiles/huawei-sun2000.toml"),
    "\n[points.luna_cycle_count]\nchannel = \"cycle_count\"\naddress = 37768\ntype = \"uint16\"\nscale = 1\n",
    "unit = \"cycles\"\nunavailable = 0xffff\n",
);

/// A simulated SUN2000 whose register values the test sets.
pub struct Device {
    pub server: Server,
    pub registers: Registers,
    profile: Profile,
}

impl Device {
    /// Unit 1 with 72.3 %, -85.5 kW, 28.1 °C and 312 cycles; every other register reads 0.
    pub fn huawei() -> Self {
        let registers = Registers::new();
        registers.fill(1, Table::Holding, 0..=u16::MAX, 0);
        Self::with(registers)
    }

    /// As [`Device::huawei`], but the cycle count starts at 0 and rises by one with every reading.
    pub fn counting() -> Self {
        let device = Self::huawei();
        device.set("cycle_count", 0.0);
        device.registers.count_reads(1, Table::Holding, device.address("cycle_count"));
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
        let device =
            Self { server, registers, profile: read("huawei-sun2000", "huawei-sun2000.toml", PROFILE).unwrap() };
        for (channel, value) in [("soc_pct", 72.3), ("power_kw", -85.5), ("temp_c", 28.1), ("cycle_count", 312.0)] {
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
        self.registers.get(1, Table::Holding, self.address("cycle_count"), 1).unwrap()[0]
    }

    fn address(&self, channel: &str) -> u16 {
        self.point(channel).address
    }

    fn point(&self, channel: &str) -> &Point {
        self.profile.points.iter().find(|point| point.channel == channel).unwrap()
    }

    pub fn port(&self) -> u16 {
        self.server.address().port()
    }
}
