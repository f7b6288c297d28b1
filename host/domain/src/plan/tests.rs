//! Packing, learning and decoding, also by property tests: any points, any limits, any gaps.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::event::{Fault, FaultKind, Frame};
use crate::profile::{self, Point, ReadLimits};
use crate::register::{Format, Layout, MAX_READ, Table, UnitId};

fn plan(points: &str) -> Plan {
    let text = format!("[points]\n{points}");
    let profile = profile::toml::read("box", &text).unwrap();
    Plan::new(profile.readable(), UnitId(1), ReadLimits::default())
}

fn blocks(plan: &Plan) -> Vec<(u8, u16, u16)> {
    plan.requests().map(|request| (request.unit.0, request.start, request.count)).collect()
}

fn numbered(addresses: &[u16]) -> String {
    let point = |a: &u16| format!("p{a} = {{ address = {a}, type = \"uint16\", scale = 1 }}\n");
    addresses.iter().map(point).collect()
}

#[test]
fn adjacent_points_share_a_request_and_small_gaps_are_bridged() {
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
fn tables_and_units_get_separate_requests() {
    let points = "a = { address = 1, type = \"uint16\", scale = 1 }
        b = { address = 2, type = \"uint16\", scale = 1, table = \"input\" }
        c = { address = 3, type = \"uint16\", scale = 1, unit_id = 9 }
        d = { address = 4, type = \"uint16\", scale = 1, access = \"W\" }";
    assert_eq!(blocks(&plan(points)), [(1, 1, 1), (1, 2, 1), (9, 3, 1)]);
}

#[test]
fn a_value_depends_on_the_request_with_its_scale_factor_too() {
    let plan = plan(
        "a = { address = 1, type = \"int16\", scale_register = 900 }\nb = { address = 2, type = \"int16\", scale = 1 }",
    );
    let dependent: Vec<_> = plan.requests().map(|request| (request.start, plan.dependent_channels(request))).collect();
    // The factor is read before and after.
    assert_eq!(dependent, [(900, vec![0]), (1, vec![0, 1]), (900, vec![0])]);
}

#[test]
fn overlapping_points_of_a_python_profile_get_separate_requests() {
    let text = r#"{"registers": {
        "a": {"address": 40071, "type": "FLOAT32", "scale": 1},
        "b": {"address": 40072, "type": "FLOAT32", "scale": 1},
        "c": {"address": 40074, "type": "FLOAT32", "scale": 1}}}"#;
    let profile = profile::json::read("box", text).unwrap();
    let plan = Plan::new(profile.readable(), UnitId(1), ReadLimits::default());
    assert_eq!(blocks(&plan), [(1, 40071, 2), (1, 40072, 4)]);
}

/// A device that has these registers and returns at most `limit` of them at once.
struct Peer {
    registers: BTreeSet<u16>,
    limit: u16,
}

impl Peer {
    fn refuses(&self, request: &ReadRequest) -> bool {
        let end = u32::from(request.start) + u32::from(request.count);
        let mut addresses = u32::from(request.start)..end;
        request.count > self.limit || !addresses.all(|at| self.registers.contains(&u16::try_from(at).unwrap()))
    }

    /// A frame in which each register holds its own address, and the number of requests sent and refused for it.
    fn read(&self, plan: &mut Plan) -> (Frame, usize, usize) {
        let (mut cycle, mut reading) = (plan.polling_cycle(100_000), plan.reading());
        let (mut sent, mut refused) = (0, 0);
        while let Some(request) = cycle.request(plan) {
            sent += 1;
            assert!(sent < 100_000, "the cycle does not end");
            assert!(request.count <= MAX_READ && u32::from(request.start) + u32::from(request.count) <= 65_536);
            if self.refuses(&request) {
                refused += 1;
                cycle.refused(plan);
            } else {
                let registers: Vec<u16> = (request.start..=request.start + (request.count - 1)).collect();
                cycle.answered(plan, &request, &registers, &mut reading);
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
fn a_block_limit_is_learned_in_the_first_cycle() {
    for limit in [1, 2, 7, 30, 32, 64, 100, 124] {
        let points = points(&(0..300).map(|address| (address, 1)).collect::<Vec<_>>());
        let mut plan = Plan::new(points.iter(), UnitId(1), ReadLimits::default());
        let peer = Peer { registers: (0..300).collect(), limit };
        let (frame, _, refused) = peer.read(&mut plan);
        assert!(missing(&frame).is_empty() && refused > 0, "{limit}");
        assert_eq!(frame.values[299], 299.0);
        let (frame, sent, refused) = peer.read(&mut plan);
        assert_eq!((sent, refused), (usize::from(300_u16.div_ceil(limit)), 0), "{limit}");
        assert!(missing(&frame).is_empty(), "{limit}");
        assert_eq!(plan.limit(UnitId(1), Table::Holding), limit);
    }
}

#[test]
fn absent_points_and_unreadable_gaps_are_left_out() {
    let points = points(&[(10, 1), (11, 1), (12, 2), (14, 1), (20, 1), (30, 1), (31, 1)]);
    let mut plan = Plan::new(points.iter(), UnitId(1), ReadLimits::default());
    // Register 11, the second half of the value at 12 and everything between 20 and 30 do not exist.
    let registers = BTreeSet::from([10, 12, 14, 15, 16, 17, 18, 19, 20, 30, 31]);
    let peer = Peer { registers, limit: 125 };
    let (frame, ..) = peer.read(&mut plan);
    assert_eq!(missing(&frame), [1, 2]);
    let (frame, sent, refused) = peer.read(&mut plan);
    assert_eq!((missing(&frame).as_slice(), refused), ([1, 2].as_slice(), 0));
    assert_eq!((sent, blocks(&plan)), (3, vec![(1, 10, 1), (1, 14, 7), (1, 30, 2)]));
    assert!(plan.excludes(false) && !plan.excludes(true));
    // Asked for again, each absent point gets a request of its own, as they are not adjacent.
    plan.retry_excluded(false, 0);
    let (frame, sent, refused) = peer.read(&mut plan);
    assert_eq!((missing(&frame).as_slice(), sent, refused), ([1, 2].as_slice(), 6, 3));
}

#[test]
fn nothing_is_learned_from_a_busy_device() {
    let points = points(&(0..100).map(|address| (address, 1)).collect::<Vec<_>>());
    let mut plan = Plan::new(points.iter(), UnitId(1), ReadLimits::default());
    let before = plan.clone();
    let (mut cycle, mut reading) = (plan.cycle(), plan.reading());
    cycle.refused(&mut plan);
    while let Some(request) = cycle.request(&plan) {
        let registers = vec![5; usize::from(request.count)];
        cycle.answered(&mut plan, &request, &registers, &mut reading);
    }
    cycle.finish(&mut plan);
    assert!(missing(&plan.finish(reading, 0)).is_empty());
    assert_eq!((&plan.learned, blocks(&plan)), (&before.learned, blocks(&before)));
}

#[test]
fn a_text_that_is_read_twice_appears_once() {
    let mut plan =
        plan("a = { address = 0, type = \"string\", count = 1 }\nb = { address = 1, type = \"uint16\", scale = 1 }");
    let (mut cycle, mut reading) = (plan.cycle(), plan.reading());
    cycle.refused(&mut plan);
    let mut sent = 0;
    while let Some(request) = cycle.request(&plan) {
        // The first response has no text yet.
        let registers = [[0, 7], [0x4142, 7]][sent.min(1)];
        cycle.answered(&mut plan, &request, &registers[..usize::from(request.count)], &mut reading);
        sent += 1;
    }
    let frame = plan.finish(reading, 0);
    assert_eq!((sent, frame.texts.len(), frame.texts[0].value.as_str(), frame.faults), (2, 1, "AB", vec![]));
}

#[test]
fn a_device_without_the_table_gets_few_requests() {
    let addresses: Vec<(u16, u16)> = (0..100).map(|address| (address, 1)).chain([(500, 1)]).collect();
    let points = points(&addresses);
    let mut plan = Plan::new(points.iter(), UnitId(1), ReadLimits::default());
    let mut cycle = plan.cycle();
    let mut requests = 0;
    while cycle.request(&plan).is_some() {
        cycle.function_refused(&mut plan);
        requests += 1;
    }
    assert_eq!(requests, 7);
    cycle.finish(&mut plan);
    assert!(plan.is_fully_refused());
}

#[test]
fn a_failed_request_leaves_its_values_missing_for_this_cycle() {
    let points = points(&[(0, 1), (500, 1)]);
    let mut plan = Plan::new(points.iter(), UnitId(1), ReadLimits::default());
    let (mut cycle, mut reading) = (plan.cycle(), plan.reading());
    cycle.skip(&mut plan);
    let request = cycle.request(&plan).unwrap();
    cycle.answered(&mut plan, &request, &[7], &mut reading);
    assert_eq!(cycle.request(&plan), None);
    cycle.finish(&mut plan);
    let frame = plan.finish(reading, 0);
    assert_eq!((missing(&frame), frame.values[1]), (vec![0], 7.0));
    assert_eq!(plan.requests().len(), 2);
}

#[test]
fn responses_become_values_by_position() {
    let mut plan =
        plan("b = { address = 11, type = \"int16\", scale = 0.1 }\na = { address = 10, type = \"uint16\", scale = 1 }");
    let (mut cycle, mut reading) = (plan.cycle(), plan.reading());
    let request = cycle.request(&plan).unwrap();
    cycle.answered(&mut plan, &request, &[7, 0xfff6], &mut reading);
    assert_eq!(plan.finish(reading, 3), Frame { source: 3, values: vec![-1.0, 7.0], faults: vec![], texts: vec![] });
}

#[test]
fn scale_factors_are_read_from_registers() {
    let points = "a = { address = 1, type = \"int16\", scale_register = 3 }\nb = { address = 2, type = \"int16\", scale_register = 3 }";
    let mut plan = plan(points);
    assert_eq!(blocks(&plan), [(1, 1, 3)]);
    let mut read = |factor: u16| {
        let mut reading = plan.reading();
        let request = plan.requests().next().unwrap().clone();
        plan.decode(&request, &[1234, 5, factor], &mut reading);
        plan.finish(reading, 0)
    };
    assert_eq!(read(0xffff).values, [123.4, 0.5]);
    assert_eq!(read(2).values, [123_400.0, 500.0]);
    // The register was read and holds no factor, unlike one that was not read.
    let none = |channel| Fault { channel, kind: FaultKind::Unavailable };
    assert_eq!(read(0x8000).faults, [none(0), none(1)]);
    assert_eq!(missing(&plan.finish(plan.reading(), 0)), [0, 1]);
}

#[test]
fn values_that_are_not_good_are_faults() {
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
            cycle.answered(&mut plan, &request, registers, &mut reading);
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
    fn any_read_limits()(registers in 4_u16..=125, bridged_gap in 0_u16..=120) -> ReadLimits {
        ReadLimits { registers, bridged_gap, ..ReadLimits::default() }
    }
}

proptest! {
    #[test]
    fn any_points_are_covered_once_within_the_limits(addresses in any_points(), read_limits in any_read_limits()) {
        let points = points(&addresses);
        let plan = Plan::new(points.iter(), UnitId(1), read_limits);
        let mut covered = vec![0; points.len()];
        for request in plan.requests() {
            prop_assert!(request.count <= read_limits.registers);
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
    fn no_packing_takes_fewer_requests(mut addresses in any_points(), read_limits in any_read_limits()) {
        // Overlapping points get separate requests and are left out here.
        let mut end = 0;
        addresses.retain(|(address, width)| {
            let is_separate = u32::from(*address) >= end;
            if is_separate { end = u32::from(*address) + u32::from(*width); }
            is_separate
        });
        let points = points(&addresses);
        let plan = Plan::new(points.iter(), UnitId(1), read_limits);
        // The minimum, by trying every position for the last split.
        let mut fewest = vec![0_usize];
        for last in 0..points.len() {
            let allowed = (0..=last).rev().take_while(|&first| {
                let bridged = first == last
                    || u32::from(points[first + 1].address) <= points[first].end() + u32::from(read_limits.bridged_gap);
                bridged && points[last].end() - u32::from(points[first].address) <= u32::from(read_limits.registers)
            });
            let best = allowed.map(|first| fewest[first] + 1).min();
            fewest.push(best.unwrap());
        }
        prop_assert_eq!(plan.requests().len(), fewest[points.len()]);
    }

    #[test]
    fn the_third_cycle_has_no_refusals_and_reads_every_point(
        addresses in any_points(),
        read_limits in any_read_limits(),
        holes in prop::collection::btree_set(0_u16..2000, 0..100),
        limit in 4_u16..=125,
    ) {
        let points = points(&addresses);
        let mut plan = Plan::new(points.iter(), UnitId(1), read_limits);
        let base = addresses[0].0 - addresses[0].0 % 2000;
        let registers: BTreeSet<u16> = (0..=u16::MAX).filter(|at| !holes.contains(&at.wrapping_sub(base))).collect();
        let peer = Peer { registers, limit };
        let absent: Vec<u32> = (0..).zip(&points).filter(|(_, point)| {
            (u32::from(point.address)..point.end()).any(|at| !peer.registers.contains(&u16::try_from(at).unwrap()))
        }).map(|(channel, _)| channel).collect();
        // A limit learned late in the first cycle splits its earlier blocks again, perhaps across other gaps.
        for _ in 0..2 {
            let (frame, ..) = peer.read(&mut plan);
            prop_assert_eq!(missing(&frame), absent.clone());
        }
        let (frame, _, refused) = peer.read(&mut plan);
        prop_assert_eq!(missing(&frame), absent);
        prop_assert_eq!(refused, 0);
    }
}

/// A model as SunSpec has it: its scale factors at the beginning, many values far behind them.
fn model_with_far_values() -> Plan {
    let values = (0..300)
        .map(|at| format!("v{at} = {{ address = {}, type = \"int16\", scale_register = {} }}\n", at + 2, at % 2));
    plan(&values.collect::<String>())
}

#[test]
fn a_value_whose_scale_factor_changes_between_two_requests_is_dropped() {
    let read = |changes_after: usize| {
        let mut plan = model_with_far_values();
        let (mut cycle, mut reading) = (plan.cycle(), plan.reading());
        let mut sent = 0;
        while let Some(request) = cycle.request(&plan) {
            // 1 with the factor 0, or 10 with the factor -1.
            let (value, factor) = if sent < changes_after { (1, 0) } else { (10, 0xffff) };
            let end = request.start + request.count;
            let registers: Vec<u16> = (request.start..end).map(|at| if at < 2 { factor } else { value }).collect();
            cycle.answered(&mut plan, &request, &registers, &mut reading);
            sent += 1;
        }
        (sent, plan.finish(reading, 0))
    };
    let (requests, frame) = read(usize::MAX);
    // One request more than the registers need.
    assert_eq!((requests, frame.faults.len()), (4, 0));
    for changes_after in 0..=4 {
        let (_, frame) = read(changes_after);
        assert!(
            frame.values.iter().all(|value| value.is_nan() || *value == 1.0),
            "{changes_after}: {:?}",
            frame.values
        );
        assert_eq!(missing(&frame).len(), frame.faults.len());
        let is_whole = changes_after == 0 || changes_after == 4;
        assert_eq!(frame.faults.is_empty(), is_whole, "{changes_after}: {}", frame.faults.len());
    }
}

#[test]
fn a_request_ends_where_it_separates_no_value_from_its_factor() {
    let numbers = (0..100).map(|at| format!("a{at} = {{ address = {at}, type = \"int16\", scale = 1 }}\n"));
    let model = (100..140).map(|at| format!("b{at} = {{ address = {at}, type = \"int16\", scale_register = 140 }}\n"));
    let plan = plan(&numbers.chain(model).collect::<String>());
    // As few as without factors, and the whole model in the second one.
    let blocks = blocks(&plan);
    assert!(blocks.len() == 2 && blocks[1].1 <= 100, "{blocks:?}");
}

proptest! {
    #[test]
    fn every_point_with_values_is_read_whichever_others_are_silent(
        addresses in any_points(),
        dead in prop::collection::btree_set(0_usize..200, 0..8),
    ) {
        let points = points(&addresses);
        let mut plan = Plan::new(points.iter(), UnitId(1), ReadLimits::default());
        let minimum = plan.requests().len() + dead.len() + 1;
        let is_dead = |request: &ReadRequest| {
            let end = u32::from(request.start) + u32::from(request.count);
            dead.iter().filter_map(|index| points.get(*index)).any(|point| {
                point.end() > u32::from(request.start) && u32::from(point.address) < end
            })
        };
        let expected: Vec<u32> = (0..).zip(&points).filter(|(_, point)| {
            let width = u16::try_from(point.end() - u32::from(point.address)).unwrap();
            is_dead(&ReadRequest::new(UnitId(1), point.table, point.address, width))
        }).map(|(channel, _)| channel).collect();
        let (mut last, mut sent) = (None, 0);
        for empty_cycles in 0..60 {
            let (mut cycle, mut reading) = (plan.polling_cycle(100), plan.reading());
            cycle.vary(&plan, empty_cycles);
            sent = 0;
            while let Some(request) = cycle.request(&plan) {
                sent += 1;
                prop_assert!(sent < 10_000);
                if is_dead(&request) {
                    cycle.fail(&mut plan, BlockFault::Silent);
                } else {
                    let registers: Vec<u16> = vec![7; usize::from(request.count)];
                    cycle.answered(&mut plan, &request, &registers, &mut reading);
                }
            }
            cycle.finish(&mut plan);
            last = Some(missing(&plan.finish(reading, 0)));
        }
        if expected.len() < points.len() {
            prop_assert_eq!(last.as_ref(), Some(&expected));
            // A point that the cycles begin with, and gaps that dead registers split.
            prop_assert!(sent <= minimum + dead.len() + 1, "{} requests, {} at first", sent, minimum);
        }
    }
}
