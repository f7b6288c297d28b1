//! Decoding of points and texts, from `tests/vectors`.

use super::packing::Plan;
use crate::event::{FaultKind, Frame};
use crate::profile::{Profile, toml};

const POINTS: &str = include_str!("../../../../tests/vectors/points.txt");
const TEXTS: &str = include_str!("../../../../tests/vectors/texts.txt");

fn lines(table: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(" = ").unwrap_or_else(|| panic!("{line}")))
}

fn registers(words: &str) -> Vec<u16> {
    words.split(' ').map(|word| u16::from_str_radix(word, 16).unwrap_or_else(|_| panic!("{words}"))).collect()
}

fn read(point: &str, registers: &[u16]) -> Frame {
    let text = format!("[points]\np = {{ address = 0, {point} }}");
    let profile: Profile = toml::read("box", &text).unwrap_or_else(|mistakes| panic!("{point}: {mistakes:?}"));
    let mut plan = Plan::new(profile.readable(), profile.unit, profile.read_limits);
    let mut reading = plan.reading();
    for request in plan.shared_requests() {
        let start = usize::from(request.start);
        plan.decode(&request, &registers[start..start + usize::from(request.count)], &mut reading);
    }
    plan.finish(reading, 0)
}

#[test]
fn points_decode_registers_as_their_keys_say() {
    let mut checked = 0;
    for (left, expected) in lines(POINTS) {
        let (point, words) = left.split_once(" | ").unwrap_or_else(|| panic!("{left}"));
        let frame = read(point, &registers(words));
        let fault = frame.faults.first().map(|fault| fault.kind);
        match expected {
            "unavailable" => assert_eq!(fault, Some(FaultKind::Unavailable), "{left}"),
            "missing" => assert_eq!(fault, Some(FaultKind::Missing), "{left}"),
            "out of range" => assert_eq!(fault, Some(FaultKind::OutOfRange), "{left}"),
            number => assert_eq!((fault, frame.values[0]), (None, number.parse().unwrap()), "{left}"),
        }
        checked += 1;
    }
    assert!(checked > 50, "{checked} lines");
}

#[test]
fn texts_are_decoded_in_every_layout() {
    for (left, expected) in lines(TEXTS) {
        let (layout, words) = left.split_once(' ').unwrap_or_else(|| panic!("{left}"));
        let registers = registers(words);
        let point = format!("type = \"string\", count = {}, string_layout = \"{layout}\"", registers.len());
        let frame = read(&point, &registers);
        let text = frame.texts.first().map_or("nothing", |text| text.value.as_str());
        assert_eq!(text, expected, "{left}");
        let fault = frame.faults.first().map(|fault| fault.kind);
        assert_eq!(fault, (expected == "nothing").then_some(FaultKind::Unavailable), "{left}");
    }
    for layout in ["high-low", "low-high", "high", "low"] {
        assert!(TEXTS.contains(&format!("\n{layout} ")), "{layout} has no line");
    }
}
