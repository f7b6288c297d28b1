//! Valid inputs to start from.
#![allow(dead_code, reason = "each target begins with one of the lists")]

/// Profiles of every kind.
const PROFILES: [&str; 6] = [
    include_str!("../../profiles/huawei-sun2000.toml"),
    include_str!("../../profiles/sma-sunny-tripower.toml"),
    include_str!("../../profiles/victron-multiplus2.toml"),
    include_str!("../../profiles/fronius-gen24.toml"),
    include_str!("../../profiles/solaredge-storedge.toml"),
    include_str!("../../profiles/simulator.toml"),
];
/// The same in the Python gateway's format.
const PYTHON_PROFILES: [&str; 3] = [
    include_str!("../../../../tests/profiles/solaredge_storedge.json"),
    include_str!("../../../../tests/profiles/fronius_gen24_byd.json"),
    include_str!("../../../../tests/profiles/simulator.json"),
];
/// Texts of every kind that is read on its own.
const TEXTS: [&str; 8] =
    ["250ms", "0.1\u{b5}s", "72h", "1e3d", "2026-01-02T03:04:05.25Z", "a/+/c\na/b/c", "$SYS/#\n$SYS/a", "#"];
/// Recorded events of every kind.
const EVENTS: [&str; 4] = [
    include_str!("../../../../plugins/example-rust/cases/faults-and-missing-values/events.jsonl"),
    include_str!("../../../../plugins/example-rust/cases/site-changes/events.jsonl"),
    include_str!("../../../../plugins/example-rust/cases/device-comes-and-goes/events.jsonl"),
    r#"{"safety":{"is_safe":true,"watchdog":"ok","violations":[]}}"#,
];

pub fn profile_toml() -> Vec<Vec<u8>> {
    bytes(&PROFILES)
}

pub fn profile_json() -> Vec<Vec<u8>> {
    bytes(&PYTHON_PROFILES)
}

pub fn texts() -> Vec<Vec<u8>> {
    bytes(&TEXTS)
}

pub fn recorded_events() -> Vec<Vec<u8>> {
    bytes(&EVENTS)
}

/// Points, limits and replies of a few devices.
pub fn reply() -> Vec<Vec<u8>> {
    (0..4_u8).map(|first| (0..=255).map(|byte: u8| byte.wrapping_mul(first * 2 + 1)).collect()).collect()
}

/// A chain of the common model, an inverter and a storage model: whole, from a device that returns few registers at once,
/// and without its end mark.
pub fn discovery() -> Vec<Vec<u8>> {
    let mut words = vec![0x5375, 0x6e53, 1, 66];
    words.extend([0x4142; 66]);
    words.extend([103, 50]);
    words.extend([1; 50]);
    words.extend([802, 62]);
    words.extend([0; 62]);
    words.extend([0xffff_u16, 0]);
    let registers: Vec<_> = words.into_iter().flat_map(u16::to_be_bytes).collect();
    let device = |block: u8, registers: &[u8]| [&[block, 0, 0, 0, 2, 125, 0, 0], registers].concat();
    vec![device(125, &registers), device(10, &registers), device(125, &registers[..registers.len() - 4])]
}

fn bytes(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
