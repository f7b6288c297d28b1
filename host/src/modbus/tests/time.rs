//! When what is asked.

use std::time::Duration;

use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::{Fault, Rule};

use super::super::{Reported, Settings, Source};
use super::bench::{BOTH, Bench, Heard, MS, SECOND, device, registers, virtually};

fn memory(units: impl IntoIterator<Item = u8>) -> Registers {
    let memory = Registers::new();
    units.into_iter().for_each(|unit| memory.fill(unit, Table::Holding, 0..=200, u16::from(unit)));
    memory
}

fn every(mut settings: Settings, period: Duration) -> Settings {
    settings.sources[0].period = period;
    settings
}

/// The times at which units were asked, in whole milliseconds.
fn asked(bench: &Bench, unit: u8) -> Vec<u128> {
    let of_unit = bench.requests().into_iter().filter(|(_, request)| request.unit == unit);
    of_unit.map(|(at, _)| at.as_millis()).collect()
}

#[test]
fn equal_periods_of_devices_and_lines_fall_on_one_tick_without_drift() {
    virtually(async {
        let memory = memory(1..=3);
        let profile = registers(0..3);
        let on_line = vec![
            every(device("a", 1, &profile), 300 * MS),
            every(device("b", 2, &profile), 700 * MS),
            every(device("c", 3, &profile), 300 * MS),
        ];
        let mut line = Bench::start(BOTH[0], &memory, on_line);
        let mut other = Bench::start(BOTH[1], &memory, vec![every(device("d", 1, &profile), 300 * MS)]);
        line.server.misbehave(Some(Fault::Slow(7 * MS)));
        other.frames(1001).await;
        while line.frame().await.at < 300_000 * MS {}
        let (a, b, c) = (asked(&line, 1), asked(&line, 2), asked(&line, 3));
        for (time, of_one) in asked(&other, 1).iter().enumerate() {
            assert_eq!(*of_one, time as u128 * 300, "no drift, however long it takes");
        }
        for (index, time) in a.iter().enumerate() {
            assert_eq!(*time / 300 * 300, index as u128 * 300);
            assert!(time % 300 <= 14 && c[index.min(c.len() - 1)] % 300 <= 14, "{time}");
        }
        assert!(b.iter().enumerate().all(|(index, time)| time / 700 == index as u128));
    });
}

#[test]
fn a_source_has_a_period_of_its_own() {
    virtually(async {
        let profile = "sources = { slow = \"5s\" }\n".to_owned()
            + &registers(0..3)
            + "n = { address = 100, type = \"uint16\", scale = 1, source = \"slow\" }";
        let mut box_1 = device("box", 1, &profile);
        box_1.sources.push(Source { name: Some("slow".into()), period: 5 * SECOND, place: 1 });
        let mut bench = Bench::start(BOTH[0], &memory([1]), vec![box_1]);
        let mut places = [0; 2];
        while let Heard { at, what: Reported::Frame(_, frame) } = match bench.report().await {
            Heard { what: Reported::Status(..), .. } => bench.report().await,
            heard => heard,
        } {
            if at >= 50 * SECOND {
                break;
            }
            assert_eq!(frame.values.len(), if frame.source == 0 { 3 } else { 1 });
            places[frame.source as usize] += 1;
        }
        assert_eq!(places, [50, 10]);
    });
}

#[test]
fn a_late_device_skips_cycles_and_builds_no_queue() {
    for framing in BOTH {
        virtually(async {
            let mut slow = device("box", 1, &registers(0..3));
            slow.timeout = 10 * SECOND;
            let mut bench = Bench::start(framing, &memory([1]), vec![slow]);
            bench.server.misbehave(Some(Fault::Slow(2300 * MS)));
            bench.frames(100).await;
            let times = asked(&bench, 1);
            // Each begins where the one before has ended: two or three are left out in between.
            assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 2300), "{times:?}");
            bench.server.misbehave(None);
            let before = bench.frames(3).await.at;
            assert_eq!(before.subsec_millis(), 0, "on the tick again");
            assert_eq!(bench.frames(10).await.at - before, 10 * SECOND, "nothing is made up for");
        });
    }
}

#[test]
fn whoever_does_not_take_the_frames_holds_the_line_up_and_nothing_piles_up() {
    virtually(async {
        let mut bench = Bench::with(BOTH[0], &memory([1]), &registers(0..3));
        bench.server.misbehave_by([] as [Rule; 0]);
        bench.frame().await;
        tokio::time::sleep(1000 * SECOND).await;
        // The queue's places, the one that waits, and the first frame with its status.
        assert!(bench.server.requests() <= 64 + 3, "{}", bench.server.requests());
        let waited = bench.frames(65).await.at;
        assert!(bench.frame().await.at - waited <= SECOND);
    });
}
