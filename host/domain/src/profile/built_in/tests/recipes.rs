//! What each recipe writes, against the manufacturers' registers as the maps in `tests/maps` have them.
//!
//! The expected words are written out here from the maps: unit, function, address, words.

use super::{MAPS, profile};
use crate::profile::{Profile, Revert};
use crate::register::WriteFunction;

/// A request: unit, function, address, words.
type Request = (u8, u8, u16, Vec<u16>);

/// The greatest power of the devices that take a share of it, in W.
const GREATEST_W: f64 = 7_300.0;
/// What their registers of scale factors hold: hundredths of a percent.
const EXPONENT: i32 = -2;

fn requests(profile: &Profile, writes: &[(&str, f64)]) -> Result<Vec<Request>, String> {
    let request = |(name, value): &(&str, f64)| {
        let point = profile.points.iter().find(|point| point.name == *name).unwrap();
        let exponent = point.scale_register.map(|_| EXPONENT);
        let request = point.write(*value, exponent, profile.unit).map_err(|error| error.to_string())?;
        let function =
            [5, 6, 15, 16].into_iter().find(|code| WriteFunction::from_code(*code) == Some(request.function));
        Ok((request.unit.0, function.unwrap(), request.address, request.words))
    };
    writes.iter().map(request).collect()
}

fn set(name: &str, kilowatts: f64) -> Result<Vec<Request>, String> {
    let profile = profile(name);
    let recipe = profile.set_point.clone().unwrap().recipe.unwrap();
    let writes = recipe.set_power(kilowatts, |_| Some(GREATEST_W)).map_err(|error| error.to_string())?;
    requests(&profile, &writes)
}

fn release(name: &str) -> Vec<Request> {
    let profile = profile(name);
    let recipe = profile.set_point.clone().unwrap().recipe.unwrap();
    requests(&profile, &recipe.release()).unwrap()
}

fn revert(name: &str) -> Option<Revert> {
    profile(name).set_point.unwrap().recipe.unwrap().revert
}

/// Single registers of one unit, written with function 6.
fn registers<const N: usize>(unit: u8, writes: [(u16, u16); N]) -> Vec<Request> {
    writes.into_iter().map(|(address, word)| (unit, 6, address, vec![word])).collect()
}

/// Pairs of registers of one unit, written with function 16.
fn pairs<const N: usize>(unit: u8, writes: [(u16, [u16; 2]); N]) -> Vec<Request> {
    writes.into_iter().map(|(address, words)| (unit, 16, address, words.to_vec())).collect()
}

#[test]
fn huawei_takes_power_period_target_and_mode() {
    // W in two registers, the period in minutes, 0 = until it is over, 1 = charge, 2 = discharge.
    let forced = |power: u16, watts: [u16; 2], mode: u16| {
        [pairs(1, [(power, watts)]), registers(1, [(47_083, 1), (47_246, 0), (47_100, mode)])].concat()
    };
    assert_eq!(set("huawei-sun2000", -3.0), Ok(forced(47_247, [0, 3000], 1)));
    assert_eq!(set("huawei-sun2000", 1.234), Ok(forced(47_249, [0, 1234], 2)));
    assert_eq!(set("huawei-sun2000", 100.0), Ok(forced(47_249, [1, 0x86a0], 2)));
    assert_eq!(set("huawei-sun2000", 0.0), Ok(forced(47_249, [0, 0], 2)), "discharging with 0 W holds the battery");
    assert_eq!(release("huawei-sun2000"), registers(1, [(47_100, 0)]));
    assert_eq!(revert("huawei-sun2000"), Some(Revert::Point("luna_forcible_period".into())));
}

#[test]
fn sma_takes_a_mode_and_four_limits() {
    // 2289 = charge, 2290 = discharge, 2424 = its own settings; charging least and most, discharging least and most.
    let limits = |mode: u16, [charge, discharge]: [u16; 2]| {
        let limit = |address: u16, watts: u16| (address, [0, watts]);
        let powers = [limit(40_793, charge), limit(40_795, charge), limit(40_797, discharge), limit(40_799, discharge)];
        [pairs(3, [(40_236, [0, mode])]), pairs(3, powers)].concat()
    };
    assert_eq!(set("sma-sunny-tripower", -3.0), Ok(limits(2289, [3000, 0])));
    assert_eq!(set("sma-sunny-tripower", 1.234), Ok(limits(2290, [0, 1234])));
    assert_eq!(set("sma-sunny-tripower", 0.0), Ok(limits(2290, [0, 0])));
    let released = pairs(3, [(40_793, [0, 0]), (40_797, [0, 0]), (40_236, [0, 2424])]);
    assert_eq!(release("sma-sunny-tripower"), released);
    assert_eq!(revert("sma-sunny-tripower"), Some(Revert::After(std::time::Duration::from_secs(60))));
}

#[test]
fn victron_takes_the_power_at_the_ac_input_of_another_unit_than_the_mode() {
    // Unit 100 is the system, 3 = external control; the power is + = from the grid, so that charging is positive.
    let power = |word: u16| Ok([registers(100, [(2902, 3)]), registers(227, [(37, word)])].concat());
    assert_eq!(set("victron-multiplus2", -3.0), power(3000));
    assert_eq!(set("victron-multiplus2", 3.0), power(0xf448));
    assert_eq!(set("victron-multiplus2", 0.0), power(0));
    let refused = "ess_setpoint cannot be set to 33: its profile allows -32.767 to 32.768";
    assert_eq!(set("victron-multiplus2", 33.0), Err(refused.into()));
    assert_eq!(release("victron-multiplus2"), [registers(227, [(37, 0)]), registers(100, [(2902, 1)])].concat());
    assert_eq!(revert("victron-multiplus2"), Some(Revert::After(std::time::Duration::from_secs(60))));
}

#[test]
fn fronius_takes_shares_of_the_greatest_power() {
    // 3 kW of 7.3 kW are 41.1 %; the negative rate of the other direction forces this one. 3 = both rates apply.
    let check = |name: &str, [charge, discharge, mode]: [u16; 3]| {
        let rates =
            |in_rate: u16, out_rate: u16| Ok(registers(1, [(charge, in_rate), (discharge, out_rate), (mode, 3)]));
        assert_eq!(set(name, -3.0), rates(4110, 0xeff2), "{name}");
        assert_eq!(set(name, 3.0), rates(0xeff2, 4110), "{name}");
        assert_eq!(set(name, 0.0), rates(0, 0), "{name}");
        let refused = set(name, 8.0).unwrap_err();
        assert!(refused.ends_with("its profile allows -100 to 100"), "{name}: {refused}");
        assert_eq!(release(name), registers(1, [(mode, 0), (charge, 10_000), (discharge, 10_000)]), "{name}");
        assert_eq!(revert(name), Some(Revert::Point("storage_revert_time".into())), "{name}");
        let unread = profile(name).set_point.unwrap().recipe.unwrap().set_power(3.0, |_| None).unwrap_err();
        assert!(unread.to_string().starts_with("storage_power_max has no value yet"), "{name}: {unread}");
    };
    check("fronius-gen24", [40_366, 40_365, 40_358]);
    check("fronius-gen24-int", [40_356, 40_355, 40_348]);
}

#[test]
fn solaredge_takes_a_mode_a_limit_and_a_command() {
    // 4 = remote control; floats with swapped words: 3000 is 0x453b8000, 1234 is 0x449a4000; 3 = charge from PV and grid,
    // 4 = discharge, 7 = self-consumption.
    let remote = |limit: u16, words: [u16; 2], command: u16| {
        Ok([registers(1, [(57_348, 4)]), pairs(1, [(limit, words)]), registers(1, [(57_357, command)])].concat())
    };
    assert_eq!(set("solaredge-storedge", -3.0), remote(57_358, [0x8000, 0x453b], 3));
    assert_eq!(set("solaredge-storedge", 1.234), remote(57_360, [0x4000, 0x449a], 4));
    assert_eq!(set("solaredge-storedge", 0.0), remote(57_360, [0, 0], 4));
    let refused = "storage_discharge_setpoint cannot be set to 10.1: its profile allows 0 to 10";
    assert_eq!(set("solaredge-storedge", 10.1), Err(refused.into()));
    assert_eq!(release("solaredge-storedge"), registers(1, [(57_357, 7), (57_348, 1)]));
    assert_eq!(revert("solaredge-storedge"), Some(Revert::Point("storage_command_timeout".into())));
}

#[test]
fn sungrow_takes_a_power_a_command_and_the_forced_mode() {
    // 170 = charge, 187 = discharge, 204 = stop; 2 = forced, 0 = self-consumption.
    let forced = |watts: u16, command: u16| Ok(registers(1, [(13_051, watts), (13_050, command), (13_049, 2)]));
    assert_eq!(set("sungrow-sh", -3.0), forced(3000, 170));
    assert_eq!(set("sungrow-sh", 1.234), forced(1234, 187));
    assert_eq!(set("sungrow-sh", 0.0), forced(0, 187));
    let refused = "forced_power cannot be set to 70000: its profile allows 0 to 65535";
    assert_eq!(set("sungrow-sh", -70.0), Err(refused.into()));
    assert_eq!(release("sungrow-sh"), registers(1, [(13_049, 0), (13_050, 204)]));
    assert_eq!(revert("sungrow-sh"), None);
}

#[test]
fn goodwe_takes_a_power_and_a_mode() {
    // 11 = charge, 12 = discharge, 1 = automatic.
    let forced = |watts: u16, mode: u16| Ok(registers(247, [(47_512, watts), (47_511, mode)]));
    assert_eq!(set("goodwe-et", -3.0), forced(3000, 11));
    assert_eq!(set("goodwe-et", 1.234), forced(1234, 12));
    assert_eq!(set("goodwe-et", 0.0), forced(0, 12));
    assert_eq!(release("goodwe-et"), registers(247, [(47_511, 1), (47_512, 0)]));
    assert_eq!(revert("goodwe-et"), None);
}

#[test]
fn every_recipe_is_tested_here() {
    let tested = [
        "huawei-sun2000",
        "sma-sunny-tripower",
        "victron-multiplus2",
        "fronius-gen24",
        "fronius-gen24-int",
        "solaredge-storedge",
        "sungrow-sh",
        "goodwe-et",
    ];
    for (name, _) in MAPS {
        let has_recipe = profile(name).set_point.is_some_and(|set_point| set_point.recipe.is_some());
        assert_eq!(has_recipe, tested.contains(&name), "{name}");
    }
}

#[test]
fn points_that_their_source_says_are_in_flash_are_marked() {
    let persistent = |name: &str| -> Vec<String> {
        profile(name).points.into_iter().filter(|point| point.persistent).map(|point| point.name).collect()
    };
    for (name, _) in MAPS {
        let expected: &[&str] = match name {
            // What SMA's lists call RW; its set-points are WO, which may be written as often as needed.
            "sma-sunny-tripower" => &["operating_mode"],
            // The GX device keeps what is below /Settings in a file.
            "victron-multiplus2" => &["ess_mode", "minimum_soc"],
            _ => &[],
        };
        assert_eq!(persistent(name), expected, "{name}");
    }
}
