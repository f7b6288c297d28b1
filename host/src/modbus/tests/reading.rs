//! What is asked when a device gives less than it is asked for.

use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::{Fault, Rule};

use super::bench::{BOTH, Bench, good, logged, registers, virtually};

const UNIT: u8 = 1;

/// Each register reads its own address.
fn memory(addresses: impl IntoIterator<Item = u16>) -> Registers {
    let memory = Registers::new();
    addresses.into_iter().for_each(|at| memory.set(UNIT, Table::Holding, at, &[at]));
    memory
}

/// After two cycles nothing is asked that is refused, and every point that is there reads right.
fn check(name: &str, memory: &Registers, rules: &[Rule], points: &[u16], missing: &[u16], requests: usize) {
    for framing in BOTH {
        virtually(async {
            let mut bench = Bench::with(framing, memory, &registers(points.iter().copied()));
            bench.server.misbehave_by(rules.iter().copied());
            bench.frames(2).await;
            let before = bench.server.request_log().len();
            let frame = bench.frame().await.what;
            let asked: Vec<_> = bench.server.request_log().into_iter().skip(before).collect();
            assert_eq!(asked.len(), requests, "{name}: {asked:?}");
            for request in &asked {
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
fn the_third_cycle_asks_for_nothing_that_is_refused() {
    let all: Vec<u16> = (0..100).collect();
    check("an honest device", &memory(0..100), &[], &all, &[], 1);
    check("a block limit", &memory(0..100), &[Fault::BlockLimit(32).into()], &all, &[], 4);
    check("a limit of one", &memory(0..20), &[Fault::BlockLimit(1).into()], &all[..20], &[], 20);
    let refused = [Fault::RefuseAddress(40).into()];
    check("a point that is refused", &memory(0..100), &refused, &all, &[40], 2);
    let both = [Fault::RefuseAddress(40).into(), Fault::BlockLimit(30).into()];
    check("both", &memory(0..100), &both, &all, &[40], 4);
    check("points that are not there", &memory((0..50).chain(60..100)), &[], &all, &all[50..60], 2);
    let sparse = [0, 1, 2, 10, 11, 30, 31, 90];
    check("a hole between points", &memory(sparse), &[], &sparse, &[], 4);
    let hole = [Fault::RefuseAddress(5).into()];
    check("a forbidden hole", &memory(0..100), &hole, &[0, 1, 2, 10, 11], &[], 2);
    check("a table that is not there", &memory([500]), &[Fault::Exception(1).into()], &all, &all, 0);
}

#[test]
fn what_was_learnt_before_a_connection_broke_is_not_learnt_again() {
    virtually(async {
        // Two blocks: the first has a point that is not there, the second, of another unit, breaks the connection each time.
        let profile = registers(0..20) + "other = { address = 0, type = \"uint16\", scale = 1, unit_id = 2 }";
        let mut bench = Bench::with(BOTH[0], &memory(0..19), &profile);
        bench.server.misbehave_by([Rule::new(Fault::Reset).unit(2)]);
        bench.frames(3).await;
        let before = bench.server.requests();
        bench.frames(5).await;
        assert_eq!(bench.server.requests() - before, 10, "one request for each block");
    });
}

#[test]
fn what_a_device_does_not_have_is_said_once() {
    let log = logged(async {
        let mut bench = Bench::with(BOTH[0], &memory(0..20), &registers(0..21));
        bench.server.misbehave(Some(Fault::RefuseAddress(3)));
        bench.frames(1000).await;
    });
    for point in ["p3 at 3", "p20 at 20"] {
        assert_eq!(log.matches(&format!("refuses to read {point}")).count(), 1, "{log}");
    }
    assert_eq!(log.lines().count(), 3, "{log}");
}

#[test]
fn what_was_refused_for_a_while_comes_back() {
    virtually(async {
        let points: Vec<u16> = (0..20).collect();
        let mut bench = Bench::with(BOTH[0], &memory(0..20), &registers(points));
        good(&bench.frame().await.what);
        for fault in [Fault::RefuseAddress(7), Fault::Exception(2), Fault::BlockLimit(4)] {
            bench.server.misbehave(Some(fault));
            bench.frames(3600).await;
            bench.server.misbehave(None);
            let frame = bench.frames(62).await.what;
            good(&frame);
        }
        // How much it gives at once is forgotten within the hour.
        bench.frames(3600).await;
        let before = bench.server.requests();
        bench.frames(10).await;
        assert_eq!(bench.server.requests() - before, 10);
    });
}

#[test]
fn what_never_was_there_is_asked_for_less_and_less() {
    virtually(async {
        let mut bench = Bench::with(BOTH[0], &memory(0..20), &registers((0..20).chain([30])));
        bench.frames(3600 * 10).await;
        let log = bench.server.requests();
        // Nine times in the first hour, then once an hour, each time some ten requests that search for it.
        assert!(log < 3600 * 10 + 400, "{log}");
        // Found at the latest within the hour.
        bench.server.registers().set(UNIT, Table::Holding, 30, &[30]);
        good(&bench.frames(3602).await.what);
    });
}
