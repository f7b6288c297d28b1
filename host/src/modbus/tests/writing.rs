//! Writes: ahead of reads, scaled, checked, read back.

use bessai_domain::profile;
use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::{Fault, Request, Rule};
use bessai_simulator::sunspec::{Model, lay_out};

use super::super::{Settings, Written};
use super::bench::{BOTH, Bench, MS, SECOND, device, in_blocks, registers, virtually};

const PROFILE: &str = r#"timeout = "500ms"
[points]
power = { address = 10, type = "int32", scale = 0.001, unit = "kW", access = "RW", min = -100, max = 100 }
mode = { address = 12, type = "uint16", scale = 1, access = "RW" }
word = { address = 13, type = "uint16", scale = 1, access = "RW", write_function = 16 }
secret = { address = 14, type = "uint16", scale = 1, access = "W" }
fixed = { address = 15, type = "uint16", scale = 1 }
limit = { address = 20, type = "int16", scale = 1, scale_register = 21, access = "RW" }
relay = { address = 3, type = "bool", table = "coil", access = "RW" }
relays = { address = 4, type = "bool", table = "coil", access = "RW", write_function = 15 }
"#;

fn memory() -> Registers {
    let memory = Registers::new();
    memory.fill(1, Table::Holding, 0..=200, 0);
    memory.fill(1, Table::Coil, 0..=10, 0);
    memory.set(1, Table::Holding, 21, &[(-1_i16).cast_unsigned()]);
    memory
}

fn told(value: f64) -> Result<Written, String> {
    Ok(Written { read_back: Some(value) })
}

/// The functions and places of the requests since.
fn asked(bench: &Bench, before: usize) -> Vec<(u8, u16, u16)> {
    let places = |request: Request| (request.function, request.address, request.count);
    bench.server.request_log().into_iter().skip(before).map(places).collect()
}

#[test]
fn each_function_writes_and_what_was_written_is_read_back() {
    for framing in BOTH {
        virtually(async {
            let mut bench = Bench::with(framing, &memory(), PROFILE);
            bench.frame().await;
            let words = |address, count| bench.server.registers().get(1, Table::Holding, address, count).unwrap();
            let coil = |address| bench.server.registers().get_bits(1, Table::Coil, address, 1).unwrap()[0];
            let log = || bench.server.request_log().len();

            let before = log();
            assert_eq!(bench.writer.write("box", "power", -12.3456).await, told(-12.346));
            assert_eq!(words(10, 2), [0xffff, 0xcfc6]);
            assert_eq!(asked(&bench, before), [(16, 10, 2), (3, 10, 2)]);
            let before = log();
            assert_eq!(bench.writer.write("box", "mode", 7.0).await, told(7.0));
            assert_eq!((words(12, 1), asked(&bench, before)[0]), (vec![7], (6, 12, 1)));
            let before = log();
            assert_eq!(bench.writer.write("box", "word", 8.0).await, told(8.0));
            assert_eq!((words(13, 1), asked(&bench, before)[0]), (vec![8], (16, 13, 1)));
            assert_eq!(bench.writer.write("box", "secret", 9.0).await, Ok(Written { read_back: None }));
            assert_eq!(words(14, 1), [9]);
            // The factor's register says tenths.
            let before = log();
            assert_eq!(bench.writer.write("box", "limit", 45.67).await, told(45.7));
            assert_eq!(words(20, 1), [457]);
            assert_eq!(asked(&bench, before), [(3, 21, 1), (6, 20, 1), (3, 20, 2)]);
            let before = log();
            assert_eq!(bench.writer.write("box", "relay", 1.0).await, told(1.0));
            assert_eq!(bench.writer.write("box", "relays", 1.0).await, told(1.0));
            assert_eq!((coil(3), coil(4)), (true, true));
            assert_eq!(asked(&bench, before), [(5, 3, 1), (1, 3, 1), (15, 4, 1), (1, 4, 1)]);
        });
    }
}

#[test]
fn what_cannot_be_written_is_told_in_words() {
    virtually(async {
        let mut bench = Bench::with(BOTH[0], &memory(), PROFILE);
        bench.frame().await;
        let before = bench.server.requests();
        let refused = |device: &'static str, point: &'static str, value: f64| {
            let writer = bench.writer.clone();
            async move { writer.write(device, point, value).await.unwrap_err() }
        };
        let told = refused("box", "power", 100.001).await;
        assert_eq!(told, "power cannot be set to 100.001: its profile allows -100 to 100");
        assert!(refused("box", "mode", 65_536.0).await.contains("65536"));
        assert!(refused("box", "mode", f64::NAN).await.contains("write a number"));
        assert!(refused("box", "fixed", 1.0).await.contains("is only read"));
        assert_eq!(refused("box", "none", 1.0).await, "box has no point none");
        assert_eq!(refused("other", "mode", 1.0).await, "there is no device other");
        assert_eq!(bench.server.requests(), before, "none of it was sent");

        bench.server.misbehave(Some(Fault::Exception(3)));
        let told = refused("box", "mode", 1.0).await;
        assert_eq!(told, "the device refuses to set mode to 1: Illegal data value");
        bench.server.misbehave(Some(Fault::Silence));
        let told = refused("box", "mode", 1.0).await;
        assert_eq!(told, "no answer within 500ms from unit 1 to a write to 12");
        bench.server.misbehave(Some(Fault::WrongFunction));
        assert!(refused("box", "mode", 1.0).await.contains("a write to 12"));
        // A device that only needs a moment gets it.
        bench.server.misbehave_by([Rule::new(Fault::Exception(6)).times(2)]);
        bench.frame().await;
        assert!(bench.writer.write("box", "mode", 5.0).await.is_ok());
    });
}

#[test]
fn a_write_goes_ahead_of_the_reads_that_wait() {
    for framing in BOTH {
        virtually(async {
            let profile = registers(0..200).replace("p7 = {", "p7 = { access = \"RW\",");
            let mut long = in_blocks(device("box", 1, &profile), 2, 0);
            long.sources[0].period = 30 * SECOND;
            let bench = Bench::start(framing, &memory(), vec![long]);
            bench.server.misbehave(Some(Fault::Slow(100 * MS)));
            // In the middle of a cycle of a hundred requests, 10 s long.
            tokio::time::sleep(3050 * MS).await;
            let before = bench.server.request_log().len();
            let asked_at = bench.start.elapsed();
            assert_eq!(bench.writer.write("box", "p7", 3.0).await, told(3.0));
            let took = bench.start.elapsed() - asked_at;
            assert_eq!(asked(&bench, before)[..2], [(6, 7, 1), (3, 7, 1)]);
            assert!(took <= 260 * MS, "{took:?}");
            tokio::time::sleep(20 * SECOND).await;
            assert_eq!(bench.server.request_log().len(), 102, "the cycle went on where it was");
        });
    }
}

#[test]
fn whoever_writes_without_end_does_not_keep_the_device_from_being_read() {
    virtually(async {
        let mut bench = Bench::with(BOTH[0], &memory(), PROFILE);
        bench.server.misbehave(Some(Fault::Slow(10 * MS)));
        for _ in 0..20 {
            let writer = bench.writer.clone();
            tokio::task::spawn_local(async move { while writer.write("box", "mode", 1.0).await.is_ok() {} });
        }
        let late = bench.frames(10).await.at;
        assert!(late <= 20 * SECOND, "{late:?}");
    });
}

#[test]
fn what_nobody_waits_for_any_more_is_not_written() {
    virtually(async {
        let mut bench = Bench::with(BOTH[0], &memory(), PROFILE);
        bench.frame().await;
        bench.server.misbehave(Some(Fault::Slow(400 * MS)));
        tokio::time::sleep(1100 * MS).await;
        let write = bench.writer.write("box", "mode", 9.0);
        assert!(tokio::time::timeout(100 * MS, write).await.is_err());
        bench.frames(3).await;
        assert_eq!(bench.server.registers().writes(1, Table::Holding, 12), 0);
    });
}

#[test]
fn whoever_takes_the_frames_may_first_want_something_written() {
    virtually(async {
        let bench = Bench::with(BOTH[0], &memory(), PROFILE);
        // Nobody takes a frame, and the queue is full.
        tokio::time::sleep(200 * SECOND).await;
        assert_eq!(bench.writer.write("box", "mode", 9.0).await, told(9.0));
    });
}

#[test]
fn a_write_does_not_wait_for_a_device_to_be_discovered() {
    virtually(async {
        let memory = memory();
        let models = [Model::common("Acme", "Hybrid", "SN-7"), Model { id: 103, words: vec![1; 50] }];
        lay_out(&memory, 2, 40_000, &models);
        let sunspec =
            Settings { profile: profile::built_in("sunspec").unwrap().into(), ..device("sunspec", 2, PROFILE) };
        let bench = Bench::start(BOTH[0], &memory, vec![sunspec, device("box", 1, PROFILE)]);
        bench.server.misbehave_by([Rule::new(Fault::Slow(100 * MS)).unit(2)]);
        while bench.server.requests() < 2 {
            tokio::time::sleep(MS).await;
        }
        assert_eq!(bench.writer.write("box", "mode", 7.0).await, told(7.0));
        let asked = asked(&bench, 0);
        let place = asked.iter().position(|request| request.0 == 6).unwrap();
        assert!(place <= 3, "{asked:?}");
    });
}
