//! Every profile read back with the plan that the gateway makes of it.

use super::*;
use crate::battery::DEMO_DAY;
use crate::sunspec::battery_inverter;
use bessai_domain::event::Frame;
use bessai_domain::plan::Plan;
use bessai_domain::profile;

/// The frame of all readable points, in the profile's order, as a gateway would read it.
fn read(profile: &Profile, registers: &Registers) -> Frame {
    let mut plan = Plan::new(profile.readable(), profile.unit, profile.read_limits);
    let mut reading = plan.reading();
    for request in plan.shared_requests() {
        // The gaps between the points read as zero.
        let words: Vec<u16> = (request.start..request.start + request.count)
            .map(|address| registers.get(request.unit.0, request.table, address, 1).map_or(0, |words| words[0]))
            .collect();
        plan.decode(&request, &words, &mut reading);
    }
    plan.finish(reading, 0)
}

fn index(profile: &Profile, channel: &str) -> usize {
    profile.readable().position(|point| point.channel == channel).unwrap()
}

fn parsed(text: &str) -> Profile {
    profile::toml::read("box", text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

#[test]
fn a_profile_reads_back_the_batterys_state() {
    let profile = profile::built_in("huawei-sun2000").unwrap();
    let (registers, state) = (Registers::new(), Battery::new(DEMO_DAY).state());
    write_state(&state, &profile, &registers);
    let values = read(&profile, &registers).values;
    let read = |name: &str| values[index(&profile, name)];
    assert!((read("soc_pct") - state.soc_pct).abs() <= 0.05);
    assert!((read("power_kw") - state.power_kw).abs() <= 0.0005);
    assert!((read("temp_c") - state.temp_c).abs() <= 0.05);
    assert!((225.0..235.0).contains(&read("ac_voltage")), "{}", read("ac_voltage"));
    assert!((690.0..810.0).contains(&read("luna_voltage")), "{}", read("luna_voltage"));
}

#[test]
fn every_built_in_profile_reads_changing_values_without_faults() {
    for name in profile::built_in_names() {
        let registers = Registers::new();
        let profile = match profile::built_in(name).unwrap() {
            discovered if discovered.is_discovered => battery_inverter(&registers, discovered.unit.0).unwrap(),
            known => known,
        };
        assert!(profile.readable().count() > 0, "{name}");
        let mut plant = Plant::new(profile.clone(), registers.clone(), DEMO_DAY);
        let mut frames = Vec::new();
        for _ in 0..240 {
            plant.advance(Duration::from_secs(1));
            frames.push(read(&profile, &registers));
        }
        for frame in &frames {
            assert_eq!(frame.faults, [], "{name}");
        }
        let (mut changing, mut gauges) = (0, 0);
        for (index, point) in profile.readable().enumerate() {
            if point.kind == bessai_domain::site::ChannelKind::Gauge && point.access == Access::Read {
                gauges += 1;
                changing += i32::from(frames.iter().any(|frame| frame.values[index] != frames[0].values[index]));
            }
        }
        assert!(2 * changing >= gauges, "{name}: of {gauges} gauges only {changing} change");
    }
}

#[test]
fn formats_of_every_kind_are_written() {
    let profile = parsed(
        "[points]
        w = { address = 0, type = \"int16\", scale_register = 1, unit = \"W\", channel = \"power_kw_raw\" }
        w_sf = { address = 1, type = \"int16\", scale = 1 }
        low = { address = 2, type = \"uint16\", bits = [0, 3], names = { 5 = \"off\", 6 = \"on\" } }
        high = { address = 2, type = \"uint16\", bits = [12, 15], names = { 9 = \"off\", 12 = \"on\" } }
        model = { address = 10, type = \"string\", count = 4 }
        battery_voltage = { address = 20, type = \"uint16\", scale = 0.01, unit = \"V\" }
        open = { address = 3, table = \"discrete\" }
        soc = { address = 30, type = \"bcd16\", scale = 0.1, unit = \"%\", table = \"input\", max = 20 }",
    );
    let registers = Registers::new();
    let mut plant = Plant::new(profile.clone(), registers.clone(), DEMO_DAY);
    plant.advance(DEMO_DAY / 12);
    let frame = read(&profile, &registers);
    assert_eq!(frame.faults, []);
    let value = |name: &str| frame.values[index(&profile, name)];
    let power_w = plant.battery.state().power_kw * 1000.0;
    assert!((value("power_kw_raw") - power_w).abs() <= 5.0, "{} for {power_w}", value("power_kw_raw"));
    assert_eq!(value("w_sf"), 1.0);
    assert!([5.0, 6.0].contains(&value("low")) && [9.0, 12.0].contains(&value("high")));
    assert!((60.0..90.0).contains(&value("battery_voltage")), "{}", value("battery_voltage"));
    assert_eq!(value("soc"), 20.0);
    assert!(registers.get_bits(1, Table::Discrete, 3, 1).is_some());
}

#[test]
fn distortions_change_what_is_shown_and_end() {
    let profile = profile::built_in("huawei-sun2000").unwrap();
    for (name, distortion) in Distortion::ALL {
        let registers = Registers::new();
        let mut plant = Plant::new(profile.clone(), registers.clone(), DEMO_DAY);
        let mut truth = Battery::new(DEMO_DAY);
        let mut second = |plant: &mut Plant| {
            plant.advance(Duration::from_secs(1));
            truth.advance(Duration::from_secs(1));
            let (values, state) = (read(&profile, &registers).values, truth.state());
            let read = |channel: &str| values[index(&profile, channel)];
            [read("soc_pct") - state.soc_pct, read("power_kw") - state.power_kw, read("temp_c") - state.temp_c]
        };
        let is_true = |differences: [f64; 3]| differences.iter().all(|difference| difference.abs() < 0.1);
        // Until the battery charges at some power.
        (0..20).for_each(|_| assert!(is_true(second(&mut plant)), "{name}"));
        assert!(!plant.is_distorted(), "{name}");
        plant.distort(Some(distortion));
        let shown: Vec<_> = (0..5).map(|_| second(&mut plant)).collect();
        assert!(plant.is_distorted() && !is_true(shown[4]), "{name}: {shown:?}");
        plant.distort(None);
        assert!(is_true(second(&mut plant)) && !plant.is_distorted(), "{name}");
    }
}

const COMMANDED: &str = "[points]
    power = { channel = \"power_kw\", address = 0, type = \"int16\", scale = 0.01, unit = \"kW\" }
    target = { address = 1, type = \"int16\", scale = -0.01, unit = \"kW\", access = \"RW\" }
    mode = { address = 2, type = \"uint16\", scale = 1, access = \"RW\" }
    charge = { address = 3, type = \"uint16\", scale = 10, unit = \"W\", access = \"RW\" }
    discharge = { address = 4, type = \"uint16\", scale = 10, unit = \"W\", access = \"RW\" }
    heartbeat = { address = 5, type = \"uint16\", scale = 1, access = \"W\" }";

fn commanded(set_point: bessai_domain::profile::SetPoint) -> (Plant, Registers) {
    let registers = Registers::new();
    let mut profile = parsed(COMMANDED);
    profile.set_point = Some(set_point);
    profile.watchdog = Some("heartbeat".into());
    (Plant::new(profile, registers.clone(), Duration::from_secs(24 * 3600)), registers)
}

/// Writes as a client's request does.
fn write(registers: &Registers, address: u16, word: i16) {
    registers.update(|memory| {
        memory.set(1, Table::Holding, address, &[word.cast_unsigned()]);
        memory.count_write(1, Table::Holding, address, 1);
    });
}

#[test]
fn the_battery_follows_its_set_point() {
    let set_point = bessai_domain::profile::SetPoint { power: Some("target".into()), ..Default::default() };
    let (mut plant, registers) = commanded(set_point);
    plant.advance(Duration::from_secs(1));
    let scheduled_kw = plant.battery.state().power_kw;
    assert!(scheduled_kw < 0.0, "no client has written a set-point yet");
    write(&registers, 1, -6000);
    plant.advance(Duration::from_secs(1));
    assert!(
        (plant.battery.state().power_kw - scheduled_kw - 50.0).abs() < 1e-6,
        "ramping: {:?}",
        plant.battery.state()
    );
    plant.advance(Duration::from_secs(1));
    assert_eq!(registers.get(1, Table::Holding, 0, 2), Some(vec![6000, (-6000_i16).cast_unsigned()]));
    write(&registers, 5, 7);
    plant.advance(Duration::from_secs(1));
    assert_eq!(registers.get(1, Table::Holding, 5, 1), Some(vec![7]), "a client's value is kept");
}

#[test]
fn a_mode_enables_remote_control_and_sets_the_direction() {
    let (mut plant, registers) = commanded(bessai_domain::profile::SetPoint {
        charge: Some("charge".into()),
        discharge: Some("discharge".into()),
        mode: Some("mode".into()),
        mode_values: vec![("charge".into(), 3.0), ("discharge".into(), 4.0)],
        ..Default::default()
    });
    let mut after = |mode: i16| {
        write(&registers, 2, mode);
        plant.advance(Duration::from_secs(5));
        plant.battery.state().power_kw.round()
    };
    write(&registers, 3, 2000);
    write(&registers, 4, 3000);
    let scheduled_kw = after(0);
    assert_eq!([after(3), after(4), after(0)], [-20.0, 30.0, scheduled_kw]);
}
