//! Several devices behind one connection.

use std::time::Duration;

use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::{Fault, Framing, Rule};

use super::super::{Reported, Settings};
use super::bench::{BOTH, Bench, Heard, MS, SECOND, device, good, registers, virtually};

/// Each register reads unit × 1000 + address.
fn memory(units: impl IntoIterator<Item = u8>) -> Registers {
    let memory = Registers::new();
    for unit in units {
        let words: Vec<u16> = (0..100).map(|at| u16::from(unit) * 1000 + at).collect();
        memory.set(unit, Table::Holding, 0, &words);
    }
    memory
}

fn devices(units: impl IntoIterator<Item = u8>) -> Vec<Settings> {
    let numbered = |(place, unit): (u32, u8)| {
        let mut settings = device(&format!("box-{unit}"), unit, &registers(0..20));
        settings.sources[0].place = place;
        settings
    };
    (0..).zip(units).map(numbered).collect()
}

/// What each unit gave until then: good frames, empty ones; anything else fails.
async fn count(bench: &mut Bench, units: &[u8], until: Duration) -> Vec<(usize, usize)> {
    let mut counts = vec![(0, 0); units.len()];
    loop {
        let Heard { at, what } = bench.report().await;
        if let Reported::Frame(_, frame) = what {
            let count = &mut counts[frame.source as usize];
            if frame.is_empty() {
                count.1 += 1;
            } else {
                let first = f64::from(units[frame.source as usize]) * 1000.0;
                assert_eq!((good(&frame)[0], good(&frame)[19]), (first, first + 19.0));
                count.0 += 1;
            }
        }
        if at >= until {
            return counts;
        }
    }
}

#[test]
fn ten_units_share_one_connection() {
    for framing in BOTH {
        virtually(async {
            let units: Vec<u8> = (1..=10).collect();
            let mut bench = Bench::start(framing, &memory(units.clone()), devices(units.clone()));
            let counts = count(&mut bench, &units, 100 * SECOND).await;
            assert!(counts.iter().all(|count| matches!(count, (100..=101, 0))), "{counts:?}");
            assert_eq!(bench.server.accepted(), 1);
        });
    }
}

/// One of the units is dead for ten minutes: the others miss a reading only when it is tried again.
fn check_dead(framing: Framing, dead: Option<Rule>, memory_of: &[u8]) {
    virtually(async {
        let units = [1, 2, 3];
        let memory = memory(memory_of.iter().copied());
        let mut bench = Bench::start(framing, &memory, devices(units));
        bench.server.misbehave_by(dead);
        let counts = count(&mut bench, &units, 600 * SECOND).await;
        let case = format!("{framing:?} {dead:?}: {counts:?}");
        assert!(counts[1].0 == 0, "{case}");
        // Tried sixteen times in all, 500 ms for the answer and 200 ms until the line is quiet.
        assert!(counts[0].0 >= 598 && counts[2].0 >= 598, "{case}");
        assert!(counts[0].1 == 0 && counts[2].1 == 0, "{case}");
        let asked = bench.requests().iter().filter(|(at, request)| request.unit == 2 && *at > SECOND).count();
        assert!(asked <= 20, "{asked} requests to the dead unit; {case}");
        // It returns, and is found within the longest pause.
        bench.server.misbehave(None);
        let words: Vec<u16> = (2000..2100).collect();
        bench.server.registers().set(2, Table::Holding, 0, &words);
        let counts = count(&mut bench, &units, 720 * SECOND).await;
        assert!(counts[1].0 >= 58, "{framing:?} {dead:?}: {counts:?}");
    });
}

#[test]
fn a_dead_unit_does_not_hold_the_others_up() {
    for framing in BOTH {
        check_dead(framing, Some(Rule::new(Fault::Silence).unit(2)), &[1, 2, 3]);
        check_dead(framing, Some(Rule::new(Fault::WrongUnit).unit(2)), &[1, 2, 3]);
        check_dead(framing, Some(Rule::new(Fault::Exception(0x0B)).unit(2)), &[1, 2, 3]);
        // Unknown: silent on a serial line, refused by a gateway.
        check_dead(framing, None, &[1, 3]);
    }
    check_dead(Framing::Tcp, Some(Rule::new(Fault::Reset).unit(2)), &[1, 2, 3]);
    check_dead(Framing::Rtu, Some(Rule::new(Fault::WrongCheck).unit(2)), &[1, 2, 3]);
}

#[test]
fn a_unit_that_is_not_reached_does_not_keep_the_points_of_others_from_being_read() {
    for framing in BOTH {
        virtually(async {
            let profile = "timeout = \"500ms\"\n[points]\n".to_owned()
                + "a = { address = 1, type = \"uint16\", scale = 1 }\n"
                + "b = { address = 2, type = \"uint16\", scale = 1, unit_id = 2 }\n"
                + "c = { address = 90, type = \"uint16\", scale = 1, unit_id = 2 }\n"
                + "d = { address = 4, type = \"uint16\", scale = 1, unit_id = 7 }\n";
            let mut bench = Bench::start(framing, &memory([2, 5, 7]), vec![device("box", 5, &profile)]);
            bench.server.misbehave_by([Rule::new(Fault::Exception(0x0B)).unit(2)]);
            let frame = bench.frames(10).await.what;
            assert_eq!(frame.faults.iter().map(|fault| fault.channel).collect::<Vec<_>>(), [1, 2]);
            assert_eq!((frame.values[0], frame.values[3]), (5001.0, 7004.0));
            let asked = |unit| bench.requests().iter().filter(|(_, request)| request.unit == unit).count();
            assert_eq!((asked(2), asked(5)), (10, 10), "what is not reached is asked once in a cycle");
            bench.server.misbehave(None);
            assert_eq!(good(&bench.frames(2).await.what), [5001.0, 2002.0, 2090.0, 7004.0]);
        });
    }
}

#[test]
fn a_dead_unit_teaches_no_pauses() {
    for framing in BOTH {
        virtually(async {
            let mut bench = Bench::start(framing, &memory([1, 3]), devices([1, 2, 3]));
            bench.server.misbehave_by([Rule::new(Fault::Silence).unit(2)]);
            count(&mut bench, &[1, 2, 3], 100 * SECOND).await;
            let tail: Vec<_> = bench.requests().into_iter().map(|(at, _)| at).filter(|at| *at > 95 * SECOND).collect();
            assert!(tail.windows(2).any(|pair| pair[1] - pair[0] < MS), "{tail:?}");
        });
    }
}

#[test]
fn a_gateway_that_goes_away_and_returns() {
    for framing in BOTH {
        virtually(async {
            let units = [1, 2, 3];
            let mut bench = Bench::start(framing, &memory(units), devices(units));
            count(&mut bench, &units, 10 * SECOND).await;
            bench.go_away(true);
            let counts = count(&mut bench, &units, 100 * SECOND).await;
            assert!(counts.iter().all(|count| count.0 <= 2 && count.1 >= 88), "{counts:?}");
            bench.go_away(false);
            let counts = count(&mut bench, &units, 200 * SECOND).await;
            assert!(counts.iter().all(|count| count.0 >= 88), "{framing:?}: {counts:?}");
        });
    }
}
