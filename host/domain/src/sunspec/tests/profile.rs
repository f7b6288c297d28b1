//! Devices as profiles: names, units, kinds, sources, and values as a plan reads them.

use std::collections::BTreeSet;

use super::super::models::{self, PointType};
use super::super::{DeviceDescription, RegisterRange};
use super::device::MemoryDevice;
use crate::plan::Plan;
use crate::profile::{Access, Point, Profile, ReadLimits};
use crate::register::{MAX_READ, UnitId};
use crate::site::ChannelKind;

/// A hybrid inverter with a battery, whose registers are zero except these: model, point, words.
fn hybrid(values: &[(u16, &str, &[u16])]) -> MemoryDevice {
    let mut device = MemoryDevice::at(40_000);
    for id in [1, 103, 122, 123, 124, 160, 802, 803, 713, 704, 103] {
        device = device.with(id, &[("NStr", 1)][..usize::from(id == 803)], 2);
    }
    let mut device = device.ended();
    let found = device.found();
    for (model, name, words) in values {
        let model = found.models.iter().find(|found| found.id == *model).unwrap();
        let (offset, _) = models::model(model.id).unwrap().group.point(name).unwrap();
        let start = model.address + 2 + u16::try_from(offset).unwrap();
        device.registers.extend((start..).zip(words.iter().copied()));
    }
    device
}

fn point<'a>(profile: &'a Profile, channel: &str) -> &'a Point {
    profile.points.iter().find(|point| point.channel == channel).unwrap_or_else(|| panic!("no {channel}"))
}

/// A value of the device's own source, as the gateway's plan reads it.
fn value(device: &MemoryDevice, profile: &Profile, channel: &str) -> Option<f64> {
    let mut plan = Plan::new(profile.source(None), UnitId(1), ReadLimits::default());
    let mut reading = plan.reading();
    for request in plan.shared_requests() {
        assert!(request.count <= MAX_READ);
        let registers = device.read(RegisterRange { start: request.start, count: request.count }).unwrap();
        plan.decode(&request, &registers, &mut reading);
    }
    let position = profile.source(None).position(|point| point.channel == channel).unwrap();
    plan.finish(reading, 0).good(position)
}

#[test]
fn known_quantities_have_the_gateways_channels() {
    let device = hybrid(&[
        (713, "SoC", &[635]),
        (713, "Pct_SF", &[0xffff]),
        (802, "SoC", &[64]),
        (103, "W", &[0xff9c]),
        (103, "W_SF", &[1]),
        (802, "W", &[2500]),
        (803, "ModTmpAvg", &[215]),
        (803, "ModTmp_SF", &[0xffff]),
        (802, "NCyc", &[0, 312]),
    ]);
    let profile = device.found().profile(None);
    let value = |channel: &str| value(&device, &profile, channel);
    assert_eq!(value("soc_pct"), Some(63.5));
    assert_eq!(value("power_kw"), Some(-1.0));
    assert_eq!(value("battery_power_kw"), Some(2.5));
    assert_eq!(value("temp_c"), Some(21.5));
    assert_eq!(value("cycle_count"), Some(312.0));
    assert_eq!(value("m802_SoC"), Some(64.0));
    let units = ["soc_pct", "power_kw", "battery_power_kw", "temp_c", "cycle_count"].map(|channel| {
        let point = point(&profile, channel);
        (point.name.as_str(), point.unit.as_str())
    });
    assert_eq!(
        units,
        [("m713_SoC", "%"), ("m103_W", "kW"), ("m802_W", "kW"), ("m803_ModTmpAvg", "Cel"), ("m802_NCyc", "1")]
    );
    assert_eq!(point(&profile, "cycle_count").kind, ChannelKind::Counter);
    assert!(point(&profile, "battery_power_kw").description.contains("+ = discharge"));
    assert_eq!((profile.name.as_str(), profile.is_discovered), ("sunspec", true));
}

#[test]
fn points_that_are_not_implemented_are_not_chosen() {
    let chosen = |device: &MemoryDevice, channel: &str| {
        let profile = device.found().profile(None);
        profile.points.iter().find(|point| point.channel == channel).map(|point| point.name.clone())
    };
    let device = hybrid(&[(713, "SoC", &[0xffff]), (802, "SoC", &[0xffff]), (803, "ModTmpAvg", &[0x8000])]);
    assert_eq!(chosen(&device, "soc_pct").as_deref(), Some("m124_ChaState"));
    assert_eq!(chosen(&device, "temp_c").as_deref(), Some("m803_ModTmpMax"));
    let none = hybrid(&[
        (713, "SoC", &[0xffff]),
        (802, "SoC", &[0xffff]),
        (124, "ChaState", &[0xffff]),
        (103, "W", &[0x8000]),
    ]);
    assert_eq!(chosen(&none, "soc_pct").as_deref(), Some("m713_SoC"));
    assert_eq!(chosen(&none, "power_kw").as_deref(), Some("m103_2_W"));
    let meter = MemoryDevice::at(0).with(1, &[], 0).with(203, &[], 0).ended();
    assert_eq!(chosen(&meter, "power_kw"), None);
}

#[test]
fn a_profile_may_be_limited_to_some_models() {
    let found = hybrid(&[]).found();
    let profile = found.profile(Some(&[802, 160]));
    assert!(profile.points.iter().all(|point| point.name.starts_with("m802_") || point.name.starts_with("m160_")));
    assert_eq!(point(&profile, "soc_pct").name, "m802_SoC");
    assert!(found.profile(Some(&[])).points.is_empty());
}

#[test]
fn names_kinds_units_and_sources() {
    let profile = hybrid(&[]).found().profile(None);
    let check = |name: &str, kind: ChannelKind, unit: &str, slow: bool| {
        let point = point(&profile, name);
        let found = (point.kind, point.unit.as_str(), point.source.as_deref());
        assert_eq!(found, (kind, unit, slow.then_some("nameplate")), "{name}");
    };
    check("m1_Mn", ChannelKind::Text, "1", true);
    check("m1_DA", ChannelKind::Gauge, "1", true);
    check("m103_PhVphA", ChannelKind::Gauge, "V", false);
    check("m103_2_PhVphA", ChannelKind::Gauge, "V", false);
    check("m103_WH", ChannelKind::Counter, "Wh", false);
    check("m103_St", ChannelKind::State, "1", false);
    check("m103_Evt1", ChannelKind::Flag, "1", false);
    check("m103_TmpCab", ChannelKind::Gauge, "Cel", false);
    check("m160_module_2_DCA", ChannelKind::Gauge, "A", false);
    check("m160_module_2_IDStr", ChannelKind::Text, "1", true);
    check("m123_WMaxLimPct_WinTms", ChannelKind::Gauge, "s", false);
    check("m124_WChaGra", ChannelKind::Gauge, "%/s", false);
    check("m124_InWRte", ChannelKind::Gauge, "%", false);
    check("m704_PFWInj_PF", ChannelKind::Gauge, "1", false);
    check("m713_WHAvail", ChannelKind::Gauge, "Wh", false);
    assert_eq!(point(&profile, "m103_St").names[3], (4, "MPPT".to_owned()));
    assert_eq!(point(&profile, "m103_St").unavailable, [0xffff]);
    assert_eq!(point(&profile, "m103_WH").unavailable, [0]);
    assert_eq!(point(&profile, "m123_WMaxLimPct").access, Access::ReadWrite);
    let network = MemoryDevice::at(0).with(12, &[], 0).ended().found().profile(None);
    assert_eq!(point(&network, "m12_Addr").access, Access::Read, "strings are not written");
    assert_eq!(profile.sources.len(), 1);
}

#[test]
fn set_point_and_watchdog_are_found() {
    let profile = hybrid(&[(704, "WSet_SF", &[2])]).found().profile(None);
    let set_point = profile.set_point.as_ref().unwrap();
    let power = profile.point(set_point.power.as_deref().unwrap()).unwrap();
    assert_eq!((power.name.as_str(), power.unit.as_str()), ("m704_WSet", "kW"));
    assert_eq!(power.write(-2.5, Some(2), UnitId(1)).unwrap().words, [0xffff, 0xffe7]);
    assert_eq!(set_point.mode.as_deref(), Some("m704_WSetEna"));
    assert_eq!(profile.watchdog.as_deref(), Some("m802_CtrlHb"));
    let plain = MemoryDevice::at(0).with(1, &[], 0).with(103, &[], 0).with(715, &[], 0).ended().found().profile(None);
    assert_eq!((plain.set_point, plain.watchdog.as_deref()), (None, Some("m715_ControllerHb")));
}

#[test]
fn the_points_of_a_device_with_many_cells_are_limited() {
    let modules = (0..12).fold(MemoryDevice::at(0), |device, _| device.with(805, &[], 400));
    let found = modules.with(713, &[], 0).ended().found();
    let profile = found.profile(None);
    assert_eq!(profile.points.len(), 4_096 + 1);
    assert_eq!(profile.points.last().unwrap().channel, "soc_pct");
    let left_out = found.points.len() - profile.points.len();
    let total = found.points.len();
    let note =
        format!("the device has {total} SunSpec points; leaving out the last {left_out}: choose models with `models`");
    assert_eq!(profile.corrections, [note]);
    assert!(found.profile(Some(&[713])).corrections.is_empty());
    let absent = found.profile(Some(&[713, 103]));
    assert_eq!(absent.corrections, ["the device does not have SunSpec model 103, which `models` lists"]);
}

/// Every model twice, with groups repeated: all names are unique and all units are UCUM codes.
#[test]
fn channel_names_are_unique_and_units_are_known() {
    let ids: Vec<_> = models::ids().collect();
    let mut units = BTreeSet::new();
    for few in ids.chunks(20) {
        let mut device = MemoryDevice::at(0);
        for id in few.iter().chain(few) {
            let counts: Vec<_> = models::model(*id).unwrap().counts().into_iter().map(|name| (name, 2)).collect();
            device = device.with(*id, &counts, 2);
        }
        let found: DeviceDescription = device.ended().found();
        let profile = found.profile(None);
        let names: BTreeSet<_> = profile.points.iter().map(|point| point.channel.as_str()).collect();
        assert_eq!(names.len(), profile.points.len());
        let plain = |name: &&str| name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        assert!(names.iter().all(plain));
        units.extend(profile.points.iter().map(|point| point.unit.clone()));
        let left_out = [PointType::IpAddress, PointType::Ipv6Address, PointType::Eui48];
        let values = found.points.iter().filter(|point| !left_out.contains(&point.kind()));
        assert_eq!(values.count(), profile.points.len());
    }
    let expected = [
        "%", "%/Hz", "%/min", "%/s", "1", "A", "A.h", "A/s", "Cel", "Hz", "Hz/s", "Mbit/s", "Ohm", "S", "V", "V/m",
        "V/s", "VA", "VAh", "W", "W/m2", "W/s", "Wh", "bit/s", "d", "deg", "h", "hPa", "kA.h", "kOhm", "kW", "kWh",
        "m", "m/s", "mm", "ms", "s", "var", "varh",
    ];
    assert_eq!(units.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}
