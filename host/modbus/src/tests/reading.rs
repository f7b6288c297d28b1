//! Which requests are sent to a device that refuses some of them.

use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::{Fault, FaultRule};

use super::fixture::{BOTH, SECOND, TestBus, captured_log, device, good, in_virtual_time, registers};
use crate::{DeviceReport, DeviceSettings, SourceSettings};

/// The device's unit id.
const UNIT: u8 = 1;

/// Registers that hold their own address.
fn memory(addresses: impl IntoIterator<Item = u16>) -> Registers {
    let memory = Registers::new();
    addresses.into_iter().for_each(|at| memory.set(UNIT, Table::Holding, at, &[at]));
    memory
}

/// After two cycles no request is refused, and every existing point has the right value.
fn check(name: &str, memory: &Registers, rules: &[FaultRule], points: &[u16], missing: &[u16], requests: usize) {
    for framing in BOTH {
        in_virtual_time(async {
            let mut bus = TestBus::with(framing, memory, &registers(points.iter().copied()));
            bus.server.set_fault_rules(rules.iter().copied());
            bus.frames(2).await;
            let before = bus.server.request_log().len();
            let frame = bus.frame().await.value;
            let sent: Vec<_> = bus.server.request_log().into_iter().skip(before).collect();
            assert_eq!(sent.len(), requests, "{name}: {sent:?}");
            for request in &sent {
                let (at, count) = (request.address, request.count);
                let is_refused = rules.iter().any(|rule| match rule.fault {
                    Fault::BlockLimit(limit) => count > limit,
                    Fault::RefuseAddress(refused) => (at..at + count).contains(&refused),
                    _ => true,
                });
                assert!(!is_refused, "{name}: {request:?}");
                assert!(memory.get(UNIT, Table::Holding, at, count).is_some(), "{name}: {request:?} is refused");
            }
            let faults: Vec<u16> = frame.faults.iter().map(|fault| points[fault.channel as usize]).collect();
            assert_eq!(faults, missing, "{name}");
            for (point, value) in points.iter().zip(&frame.values).filter(|(point, _)| !missing.contains(point)) {
                assert_eq!(*value, f64::from(*point), "{name}");
            }
        });
    }
}

#[test]
fn the_third_cycle_sends_no_request_that_is_refused() {
    let all: Vec<u16> = (0..100).collect();
    check("a device without limits", &memory(0..100), &[], &all, &[], 1);
    check("a block limit", &memory(0..100), &[Fault::BlockLimit(32).into()], &all, &[], 4);
    check("a limit of one", &memory(0..20), &[Fault::BlockLimit(1).into()], &all[..20], &[], 20);
    let refused = [Fault::RefuseAddress(40).into()];
    check("a refused point", &memory(0..100), &refused, &all, &[40], 2);
    let both = [Fault::RefuseAddress(40).into(), Fault::BlockLimit(30).into()];
    check("both", &memory(0..100), &both, &all, &[40], 4);
    check("missing points", &memory((0..50).chain(60..100)), &[], &all, &all[50..60], 2);
    let sparse = [0, 1, 2, 10, 11, 30, 31, 90];
    check("a gap between points", &memory(sparse), &[], &sparse, &[], 4);
    let gap = [Fault::RefuseAddress(5).into()];
    check("an unreadable gap", &memory(0..100), &gap, &[0, 1, 2, 10, 11], &[], 2);
    check("a missing table", &memory([500]), &[Fault::Exception(1).into()], &all, &all, 0);
}

#[test]
fn a_frame_comes_with_what_its_requests_met() {
    in_virtual_time(async {
        let profile = "[points]\na = { address = 0, type = \"uint16\", scale = 1, access = \"RW\" }";
        let mut bus = TestBus::with(BOTH[0], &memory(0..2), profile);
        // The time to connect is not that of a reply.
        let first = bus.exchange().await;
        assert_eq!((first.requests, first.failed, first.reply_ms, first.writes), (1, 0, None, 0));
        assert!(bus.exchange().await.reply_ms.is_some_and(|reply_ms| reply_ms < 40.0));
        bus.server.set_fault(Some(Fault::Slow(SECOND / 25)));
        bus.exchange().await;
        assert!(bus.exchange().await.reply_ms.is_some_and(|reply_ms| reply_ms >= 40.0));
        bus.server.set_fault(None);
        bus.writer.write("box", "a", 7.0).await.unwrap();
        let (next, after) = (bus.exchange().await, bus.exchange().await);
        assert_eq!((next.writes + after.writes, bus.exchange().await.writes), (1, 0));
        bus.server.set_fault(Some(Fault::Exception(4)));
        let (next, after) = (bus.exchange().await, bus.exchange().await);
        assert!(next.failed + after.failed > 0, "{next:?} {after:?}");
    });
}

#[test]
fn what_was_learnt_before_a_connection_failed_is_kept() {
    in_virtual_time(async {
        // Two blocks: the first has a missing point; the second, of another unit, is answered with a reset.
        let profile = registers(0..20) + "other = { address = 0, type = \"uint16\", scale = 1, unit_id = 2 }";
        let mut bus = TestBus::with(BOTH[0], &memory(0..19), &profile);
        bus.server.set_fault_rules([FaultRule::new(Fault::Reset).unit(2)]);
        bus.frames(3).await;
        let before = bus.server.requests();
        bus.frames(5).await;
        assert_eq!(bus.server.requests() - before, 5, "the first unit's block, and not the other unit");
    });
}

#[test]
fn a_refused_point_is_logged_once() {
    let log = captured_log(async {
        let mut bus = TestBus::with(BOTH[0], &memory(0..20), &registers(0..21));
        bus.server.set_fault(Some(Fault::RefuseAddress(3)));
        bus.frames(1000).await;
    });
    for point in ["p3 at 3", "p20 at 20"] {
        assert_eq!(log.matches(&format!("refuses to read {point}")).count(), 1, "{log}");
    }
    assert_eq!(log.lines().count(), 3, "{log}");
}

#[test]
fn points_that_were_refused_for_a_while_are_read_again() {
    in_virtual_time(async {
        let points: Vec<u16> = (0..20).collect();
        let mut bus = TestBus::with(BOTH[0], &memory(0..20), &registers(points));
        good(&bus.frame().await.value);
        for fault in [Fault::RefuseAddress(7), Fault::Exception(2), Fault::BlockLimit(4)] {
            bus.server.set_fault(Some(fault));
            bus.frames(3600).await;
            bus.server.set_fault(None);
            let frame = bus.frames(62).await.value;
            good(&frame);
        }
        // The block limit is forgotten within an hour.
        bus.frames(3600).await;
        let before = bus.server.requests();
        bus.frames(10).await;
        assert_eq!(bus.server.requests() - before, 10);
    });
}

#[test]
fn missing_points_are_retried_less_and_less_often() {
    in_virtual_time(async {
        let mut bus = TestBus::with(BOTH[0], &memory(0..20), &registers((0..20).chain([30])));
        bus.frames(3600 * 10).await;
        let log = bus.server.requests();
        // Nine times in the first hour, then once an hour, each time with about ten requests that search for it.
        assert!(log < 3600 * 10 + 400, "{log}");
        // Found within an hour at the latest.
        bus.server.registers().set(UNIT, Table::Holding, 30, &[30]);
        good(&bus.frames(3602).await.value);
    });
}

#[test]
fn the_status_depends_on_the_sources_that_have_points() {
    const SLOW: &str = "sources = { slow = \"5s\" }\n[points]\n\
        n = { address = 3, type = \"uint16\", scale = 1, source = \"slow\" }";
    const WRITTEN: &str = "[points]\nn = { address = 3, type = \"uint16\", scale = 1, access = \"W\" }";
    let first_status = |profile: &str, sources: Vec<SourceSettings>| {
        in_virtual_time(async {
            let settings = DeviceSettings { sources, ..device("box", UNIT, profile) };
            let mut bus = TestBus::start(BOTH[0], &memory(0..20), vec![settings]);
            match bus.report().await.value {
                DeviceReport::Status(_, status) => (status.online, status.detail),
                other => panic!("{other:?}"),
            }
        })
    };
    let source = |name: Option<&str>, index| SourceSettings { name: name.map(str::to_owned), period: SECOND, index };
    let both = vec![source(None, 0), source(Some("slow"), 1)];
    assert_eq!(first_status(SLOW, both), (true, "answers".to_owned()));
    let one = vec![source(None, 0)];
    assert_eq!(first_status(WRITTEN, one), (false, "the profile has no point to read".to_owned()));
}
