//! Packing, learning and decoding, also by property: any points, any limits, any holes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::event::{Fault, FaultKind, Frame};
use crate::profile;
use crate::register::{Format, Layout};

fn plan(points: &str) -> Plan {
    let text = format!("[points]\n{points}");
    let profile = profile::toml::read("box", &text).unwrap();
    Plan::new(profile.readable(), UnitId(1), Blocks::default())
}

fn blocks(plan: &Plan) -> Vec<(u8, u16, u16)> {
    plan.requests().map(|request| (request.unit.0, request.start, request.count)).collect()
}

fn numbered(addresses: &[u16]) -> String {
    let point = |a: &u16| format!("p{a} = {{ address = {a}, type = \"uint16\", scale = 1 }}\n");
    addresses.iter().map(point).collect()
}

#[test]
fn neighbours_go_together_and_small_gaps_are_bridged() {
    assert_eq!(blocks(&plan(&numbered(&[10, 11, 20, 37, 54, 72]))), [(1, 10, 45), (1, 72, 1)]);
}

#[test]
fn a_request_stays_within_125_registers() {
    let all: Vec<u16> = (0..300).collect();
    assert_eq!(blocks(&plan(&numbered(&all))), [(1, 0, 125), (1, 125, 125), (1, 250, 50)]);
    let wide =
        "a = { address = 123, type = \"float64\", scale = 1 }\nb = { address = 0, type = \"uint16\", scale = 1 }";
    assert_eq!(blocks(&plan(wide)), [(1, 0, 1), (1, 123, 4)]);
}

#[test]
fn tables_and_units_are_asked_apart() {
    let points = "a = { address = 1, type = \"uint16\", scale = 1 }
        b = { address = 2, type = \"uint16\", scale = 1, table = \"input\" }
        c = { address = 3, type = \"uint16\", scale = 1, unit_id = 9 }
        d = { address = 4, type = \"uint16\", scale = 1, access = \"W\" }";
    assert_eq!(blocks(&plan(points)), [(1, 1, 1), (1, 2, 1), (9, 3, 1)]);
}

#[test]
fn overlapping_points_of_a_python_profile_are_read_apart() {
    let text = r#"{"registers": {
        "a": {"address": 40071, "type": "FLOAT32", "scale": 1},
        "b": {"address": 40072, "type": "FLOAT32", "scale": 1},
        "c": {"address": 40074, "type": "FLOAT32", "scale": 1}}}"#;
    let profile = profile::json::read("box", text).unwrap();
    let plan = Plan::new(profile.readable(), UnitId(1), Blocks::default());
    assert_eq!(blocks(&plan), [(1, 40071, 2), (1, 40072, 4)]);
}

/// A device with these registers that gives so many at once.
struct Peer {
    there: BTreeSet<u16>,
    at_once: u16,
}

impl Peer {
    fn refuses(&self, request: &Request) -> bool {
        let end = u32::from(request.start) + u32::from(request.count);
        let registers = u32::from(request.start)..end;
        request.count > self.at_once
            || !registers.into_iter().all(|at| self.there.contains(&u16::try_from(at).unwrap()))
    }

    /// A frame in which each register reads its own address, and the requests sent and refused for it.
    fn read(&self, plan: &mut Plan) -> (Frame, usize, usize) {
        let (mut cycle, mut reading) = (plan.cycle(), plan.reading());
        let (mut sent, mut refused) = (0, 0);
        while let Some(request) = cycle.request(plan) {
            sent += 1;
            assert!(sent < 100_000, "no end");
            assert!(request.count <= MAX_READ && u32::from(request.start) + u32::from(request.count) <= 65_536);
            if self.refuses(&request) {
                refused += 1;
                cycle.refused(plan);
            } else {
                let registers: Vec<u16> = (request.start..=request.start + (request.count - 1)).collect();
                cycle.given(plan, &request, &registers, &mut reading);
            }
        }
        cycle.finish(plan);
        (plan.finish(reading, 0), sent, refused)
    }
}

fn points(addresses: &[(u16, u16)]) -> Vec<Point> {
    let format = |width: u16| [Format::UInt16, Format::UInt32, Format::UInt48, Format::UInt64][usize::from(width) - 1];
    let point = |&(address, width): &(u16, u16)| {
        Point::new(&format!("p{address}"), Table::Holding, address, Layout::plain(format(width)))
    };
    addresses.iter().map(point).collect()
}

fn missing(frame: &Frame) -> Vec<u32> {
    frame.faults.iter().filter(|fault| fault.kind == FaultKind::Missing).map(|fault| fault.channel).collect()
}

#[test]
fn a_block_limit_is_found_in_the_first_cycle() {
    for at_once in [1, 2, 7, 30, 32, 64, 100, 124] {
        let points = points(&(0..300).map(|address| (address, 1)).collect::<Vec<_>>());
        let mut plan = Plan::new(points.iter(), UnitId(1), Blocks::default());
        let peer = Peer { there: (0..300).collect(), at_once };
        let (frame, _, refused) = peer.read(&mut plan);
        assert!(missing(&frame).is_empty() && refused > 0, "{at_once}");
        assert_eq!(frame.values[299], 299.0);
        let (frame, sent, refused) = peer.read(&mut plan);
        assert_eq!((sent, refused), (usize::from(300_u16.div_ceil(at_once)), 0), "{at_once}");
        assert!(missing(&frame).is_empty(), "{at_once}");
        assert_eq!(plan.limit(UnitId(1), Table::Holding), at_once);
    }
}

#[test]
fn points_that_are_not_there_and_holes_are_left_out() {
    let points = points(&[(10, 1), (11, 1), (12, 2), (14, 1), (20, 1), (30, 1), (31, 1)]);
    let mut plan = Plan::new(points.iter(), UnitId(1), Blocks::default());
    // 11 and half of the value at 12 do not exist, nor does anything between 20 and 30.
    let peer = Peer { there: BTreeSet::from([10, 12, 14, 15, 16, 17, 18, 19, 20, 30, 31]), at_once: 125 };
    let (frame, ..) = peer.read(&mut plan);
    assert_eq!(missing(&frame), [1, 2]);
    let (frame, sent, refused) = peer.read(&mut plan);
    assert_eq!((missing(&frame).as_slice(), refused), ([1, 2].as_slice(), 0));
    assert_eq!((sent, blocks(&plan)), (3, vec![(1, 10, 1), (1, 14, 7), (1, 30, 2)]));
    assert!(plan.forgive());
    assert_eq!(plan.requests().map(|request| request.items.len()).sum::<usize>(), 7);
}

#[test]
fn a_busy_device_teaches_nothing() {
    let points = points(&(0..100).map(|address| (address, 1)).collect::<Vec<_>>());
    let mut plan = Plan::new(points.iter(), UnitId(1), Blocks::default());
    let before = plan.clone();
    let (mut cycle, mut reading) = (plan.cycle(), plan.reading());
    cycle.refused(&mut plan);
    while let Some(request) = cycle.request(&plan) {
        let registers = vec![5; usize::from(request.count)];
        cycle.given(&mut plan, &request, &registers, &mut reading);
    }
    cycle.finish(&mut plan);
    assert!(missing(&plan.finish(reading, 0)).is_empty());
    assert_eq!(plan, before);
}

#[test]
fn a_text_that_a_search_reads_twice_is_one() {
    let mut plan =
        plan("a = { address = 0, type = \"string\", count = 1 }\nb = { address = 1, type = \"uint16\", scale = 1 }");
    let (mut cycle, mut reading) = (plan.cycle(), plan.reading());
    cycle.refused(&mut plan);
    let mut sent = 0;
    while let Some(request) = cycle.request(&plan) {
        // First it has no text yet.
        let registers = [[0, 7], [0x4142, 7]][sent.min(1)];
        cycle.given(&mut plan, &request, &registers[..usize::from(request.count)], &mut reading);
        sent += 1;
    }
    let frame = plan.finish(reading, 0);
    assert_eq!((sent, frame.texts.len(), frame.texts[0].value.as_str(), frame.faults), (2, 1, "AB", vec![]));
}

#[test]
fn a_device_without_the_table_is_asked_once_for_each_block() {
    let points = points(&[(0, 1), (1, 1), (500, 1)]);
    let mut plan = Plan::new(points.iter(), UnitId(1), Blocks::default());
    let mut cycle = plan.cycle();
    assert_eq!(cycle.refused_wholly(&mut plan), [0, 1]);
    assert_eq!(cycle.refused_wholly(&mut plan), [0, 1, 2]);
    assert_eq!(cycle.request(&plan), None);
    cycle.finish(&mut plan);
    assert!(plan.is_refused());
}

#[test]
fn a_failed_request_leaves_its_values_missing_for_this_cycle() {
    let points = points(&[(0, 1), (500, 1)]);
    let mut plan = Plan::new(points.iter(), UnitId(1), Blocks::default());
    let (mut cycle, mut reading) = (plan.cycle(), plan.reading());
    cycle.pass();
    let request = cycle.request(&plan).unwrap();
    cycle.given(&mut plan, &request, &[7], &mut reading);
    assert_eq!(cycle.request(&plan), None);
    cycle.finish(&mut plan);
    let frame = plan.finish(reading, 0);
    assert_eq!((missing(&frame), frame.values[1]), (vec![0], 7.0));
    assert_eq!(plan.requests().len(), 2);
}

#[test]
fn answers_become_values_by_position() {
    let mut plan =
        plan("b = { address = 11, type = \"int16\", scale = 0.1 }\na = { address = 10, type = \"uint16\", scale = 1 }");
    let (mut cycle, mut reading) = (plan.cycle(), plan.reading());
    let request = cycle.request(&plan).unwrap();
    cycle.given(&mut plan, &request, &[7, 0xfff6], &mut reading);
    assert_eq!(plan.finish(reading, 3), Frame { source: 3, values: vec![-1.0, 7.0], faults: vec![], texts: vec![] });
}

#[test]
fn a_scale_factor_from_a_register() {
    let points = "a = { address = 1, type = \"int16\", scale_register = 3 }\nb = { address = 2, type = \"int16\", scale_register = 3 }";
    let plan = plan(points);
    assert_eq!(blocks(&plan), [(1, 1, 3)]);
    let read = |factor: u16| {
        let mut reading = plan.reading();
        plan.decode(plan.requests().next().unwrap(), &[1234, 5, factor], &mut reading);
        plan.finish(reading, 0)
    };
    assert_eq!(read(0xffff).values, [123.4, 0.5]);
    assert_eq!(read(2).values, [123_400.0, 500.0]);
    // Read, and none: unlike a register that was not read.
    let none = |channel| Fault { channel, kind: FaultKind::Unavailable };
    assert_eq!(read(0x8000).faults, [none(0), none(1)]);
    assert_eq!(missing(&plan.finish(plan.reading(), 0)), [0, 1]);
}

#[test]
fn what_is_no_good_value_is_a_fault() {
    let points = "a = { address = 0, type = \"int16\", scale = 0.1, unavailable = 0x8000, min = -10, max = 50 }
        b = { address = 1, type = \"float32\", scale = 1 }
        c = { address = 3, type = \"string\", count = 2 }
        d = { address = 5, type = \"uint16\", bit = 3 }
        e = { address = 5, bits = [4, 7] }
        f = { address = 0, table = \"coil\" }";
    let mut plan = plan(points);
    assert_eq!(
        plan.requests().map(|request| (request.table, request.count)).collect::<Vec<_>>(),
        [(Table::Coil, 1), (Table::Holding, 6)]
    );
    let mut read = |registers: &[u16]| {
        let (mut cycle, mut reading) = (plan.cycle(), plan.reading());
        for registers in [&[1], registers] {
            let request = cycle.request(&plan).unwrap();
            cycle.given(&mut plan, &request, registers, &mut reading);
        }
        let frame = plan.finish(reading, 0);
        (frame.faults.iter().map(|fault| (fault.channel, fault.kind)).collect::<Vec<_>>(), frame)
    };
    let (faults, frame) = read(&[250, 0x4120, 0, 0x4142, 0x4300, 0x00a8]);
    assert_eq!(faults, []);
    assert_eq!((frame.values[0], frame.values[1], &frame.values[3..]), (25.0, 10.0, [1.0, 10.0, 1.0].as_slice()));
    assert_eq!((frame.texts[0].channel, frame.texts[0].value.as_str()), (2, "ABC"));
    let (faults, frame) = read(&[0x8000, 0x7fc0, 0, 0, 0, 0]);
    assert_eq!(faults, [(0, FaultKind::Unavailable), (1, FaultKind::Unavailable), (2, FaultKind::Unavailable)]);
    assert!(frame.values[0].is_nan() && frame.values[1].is_nan());
    let (faults, frame) = read(&[501, 0x4120, 0, 0x4142, 0, 0]);
    assert_eq!((faults.as_slice(), frame.values[0]), ([(0, FaultKind::OutOfRange)].as_slice(), 50.1));
}

prop_compose! {
    fn any_points()(raw in prop::collection::vec((0_u16..2000, 1_u16..=4), 1..200), end in any::<bool>())
        -> Vec<(u16, u16)> {
        let base = if end { 65_535 - 2003 } else { 0 };
        let mut points: Vec<_> = raw.into_iter().map(|(address, width)| (base + address, width)).collect();
        points.sort_unstable();
        points.dedup();
        points
    }
}

prop_compose! {
    fn any_blocks()(registers in 4_u16..=125, bridged_gap in 0_u16..=120) -> Blocks {
        Blocks { registers, bridged_gap, ..Blocks::default() }
    }
}

proptest! {
    #[test]
    fn any_points_are_covered_once_within_the_limits(addresses in any_points(), blocks in any_blocks()) {
        let points = points(&addresses);
        let plan = Plan::new(points.iter(), UnitId(1), blocks);
        let mut covered = vec![0; points.len()];
        for request in plan.requests() {
            prop_assert!(request.count <= blocks.registers);
            for channel in plan.channels(request) {
                covered[channel] += 1;
                let point = &points[channel];
                prop_assert!(point.address >= request.start);
                prop_assert!(point.end() <= u32::from(request.start) + u32::from(request.count));
            }
        }
        prop_assert!(covered.iter().all(|count| *count == 1), "{covered:?}");
    }

    #[test]
    fn no_packing_takes_fewer_requests(mut addresses in any_points(), blocks in any_blocks()) {
        // Points that share registers are read apart, which is another question.
        let mut end = 0;
        addresses.retain(|(address, width)| {
            let apart = u32::from(*address) >= end;
            if apart { end = u32::from(*address) + u32::from(*width); }
            apart
        });
        let points = points(&addresses);
        let plan = Plan::new(points.iter(), UnitId(1), blocks);
        // The fewest by trying every place for the last cut.
        let mut fewest = vec![0_usize];
        for last in 0..points.len() {
            let allowed = (0..=last).rev().take_while(|&first| {
                let bridged = first == last
                    || u32::from(points[first + 1].address) <= points[first].end() + u32::from(blocks.bridged_gap);
                bridged && points[last].end() - u32::from(points[first].address) <= u32::from(blocks.registers)
            });
            let best = allowed.map(|first| fewest[first] + 1).min();
            fewest.push(best.unwrap());
        }
        prop_assert_eq!(plan.requests().len(), fewest[points.len()]);
    }

    #[test]
    fn the_third_cycle_runs_clean_and_reads_all_there_is(
        addresses in any_points(),
        blocks in any_blocks(),
        holes in prop::collection::btree_set(0_u16..2000, 0..100),
        at_once in 4_u16..=125,
    ) {
        let points = points(&addresses);
        let mut plan = Plan::new(points.iter(), UnitId(1), blocks);
        let base = addresses[0].0 - addresses[0].0 % 2000;
        let there: BTreeSet<u16> = (0..=u16::MAX).filter(|at| !holes.contains(&at.wrapping_sub(base))).collect();
        let peer = Peer { there, at_once };
        let gone: Vec<u32> = (0..).zip(&points).filter(|(_, point)| {
            (u32::from(point.address)..point.end()).any(|at| !peer.there.contains(&u16::try_from(at).unwrap()))
        }).map(|(channel, _)| channel).collect();
        // A limit learnt late in the first cycle cuts its earlier blocks anew, over holes perhaps that it went around.
        for _ in 0..2 {
            let (frame, ..) = peer.read(&mut plan);
            prop_assert_eq!(missing(&frame), gone.clone());
        }
        let (frame, _, refused) = peer.read(&mut plan);
        prop_assert_eq!(missing(&frame), gone);
        prop_assert_eq!(refused, 0);
    }
}
