//! Writes: before pending reads, scaled, checked and read back.

use bessai_domain::profile;
use bessai_simulator::registers::{Registers, Table, WriteEffect};
use bessai_simulator::server::{Fault, FaultRule, ReceivedRequest};
use bessai_simulator::sunspec::{SunSpecModel, lay_out};

use super::fixture::{BOTH, MS, SECOND, TestBus, device, in_blocks, in_virtual_time, registers};
use crate::{DeviceSettings, WriteOptions, WrittenPoint};

/// A point for each way of writing.
const PROFILE: &str = r#"timeout = "500ms"
[points]
power = { address = 10, type = "int32", scale = 0.001, unit = "kW", access = "RW", min = -100, max = 100 }
mode = { address = 12, type = "uint16", scale = 1, access = "RW" }
word = { address = 13, type = "uint16", scale = 1, access = "RW", write_function = 16 }
secret = { address = 14, type = "uint16", scale = 1, access = "W" }
fixed = { address = 15, type = "uint16", scale = 1 }
slow = { address = 16, type = "uint16", scale = 1, unit = "%", access = "RW", settle = "30s" }
grid_code = { address = 17, type = "uint16", scale = 1, access = "RW", dangerous = true }
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

fn reads_back(value: f64) -> Result<WrittenPoint, String> {
    Ok(WrittenPoint { read_back: Some(value) })
}

/// The function, address and count of the requests since then.
fn requests_since(bus: &TestBus, before: usize) -> Vec<(u8, u16, u16)> {
    let fields = |request: ReceivedRequest| (request.function, request.address, request.count);
    bus.server.request_log().into_iter().skip(before).map(fields).collect()
}

#[test]
fn each_function_writes_and_the_value_is_read_back() {
    for framing in BOTH {
        in_virtual_time(async {
            let mut bus = TestBus::with(framing, &memory(), PROFILE);
            bus.frame().await;
            let words = |address, count| bus.server.registers().get(1, Table::Holding, address, count).unwrap();
            let coil = |address| bus.server.registers().get_bits(1, Table::Coil, address, 1).unwrap()[0];
            let log = || bus.server.request_log().len();

            let before = log();
            assert_eq!(bus.writer.write("box", "power", -12.3456).await, reads_back(-12.346));
            assert_eq!(words(10, 2), [0xffff, 0xcfc6]);
            assert_eq!(requests_since(&bus, before), [(16, 10, 2), (3, 10, 2)]);
            let before = log();
            assert_eq!(bus.writer.write("box", "mode", 7.0).await, reads_back(7.0));
            assert_eq!((words(12, 1), requests_since(&bus, before)[0]), (vec![7], (6, 12, 1)));
            let before = log();
            assert_eq!(bus.writer.write("box", "word", 8.0).await, reads_back(8.0));
            assert_eq!((words(13, 1), requests_since(&bus, before)[0]), (vec![8], (16, 13, 1)));
            assert_eq!(bus.writer.write("box", "secret", 9.0).await, Ok(WrittenPoint { read_back: None }));
            assert_eq!(words(14, 1), [9]);
            // The scale factor is 0.1.
            let before = log();
            assert_eq!(bus.writer.write("box", "limit", 45.67).await, reads_back(45.7));
            assert_eq!(words(20, 1), [457]);
            assert_eq!(requests_since(&bus, before), [(3, 21, 1), (6, 20, 1), (3, 20, 2)]);
            let before = log();
            assert_eq!(bus.writer.write("box", "relay", 1.0).await, reads_back(1.0));
            assert_eq!(bus.writer.write("box", "relays", 1.0).await, reads_back(1.0));
            assert_eq!((coil(3), coil(4)), (true, true));
            assert_eq!(requests_since(&bus, before), [(5, 3, 1), (1, 3, 1), (15, 4, 1), (1, 4, 1)]);
        });
    }
}

#[test]
fn a_refused_write_has_a_reason() {
    in_virtual_time(async {
        let mut bus = TestBus::with(BOTH[0], &memory(), PROFILE);
        bus.frame().await;
        let before = bus.server.requests();
        let refused = |device: &'static str, point: &'static str, value: f64| {
            let writer = bus.writer.clone();
            async move { writer.write(device, point, value).await.unwrap_err() }
        };
        let reason = refused("box", "power", 100.001).await;
        assert_eq!(reason, "power cannot be set to 100.001: its profile allows -100 to 100");
        assert!(refused("box", "mode", 65_536.0).await.contains("65536"));
        assert!(refused("box", "mode", f64::NAN).await.contains("write a number"));
        assert!(refused("box", "fixed", 1.0).await.contains("is read-only"));
        assert_eq!(refused("box", "none", 1.0).await, "box has no point none");
        assert_eq!(refused("other", "mode", 1.0).await, "there is no device other");
        assert_eq!(bus.server.requests(), before, "no request was sent");

        bus.server.set_fault(Some(Fault::Exception(3)));
        let reason = refused("box", "mode", 1.0).await;
        assert_eq!(reason, "the device refuses to set mode to 1: Illegal data value (exception 3)");
        bus.server.set_fault(Some(Fault::Silence));
        let reason = refused("box", "mode", 1.0).await;
        let unread = "it cannot be read back: no reply from unit 1 within 500ms to the read of registers 12+1";
        assert_eq!(reason, format!("no reply from unit 1 within 500ms to the write to 12; {unread}"));
        bus.server.set_fault(Some(Fault::WrongFunction));
        assert!(refused("box", "mode", 1.0).await.contains("the write to 12"));
        // A busy device gets the request again, but a write that it has accepted is sent once.
        bus.server.set_fault_rules([FaultRule::new(Fault::Exception(6)).times(2)]);
        while bus.frame().await.value.good(0).is_none() {}
        assert_eq!(bus.writer.write("box", "mode", 5.0).await, reads_back(5.0));
        let before = bus.server.request_log().len();
        bus.server.set_fault_rules([FaultRule::new(Fault::Exception(5)).function(6).times(1)]);
        bus.server.registers().set(1, Table::Holding, 12, &[6]);
        assert_eq!(bus.writer.write("box", "mode", 6.0).await, reads_back(6.0));
        let writes = requests_since(&bus, before).into_iter().filter(|request| request.0 == 6);
        assert_eq!(writes.count(), 1);
    });
}

#[test]
fn a_write_goes_before_pending_reads() {
    for framing in BOTH {
        in_virtual_time(async {
            let profile = registers(0..200).replace("p7 = {", "p7 = { access = \"RW\",");
            let mut long = in_blocks(device("box", 1, &profile), 2, 0);
            long.sources[0].period = 30 * SECOND;
            let bus = TestBus::start(framing, &memory(), vec![long]);
            bus.server.set_fault(Some(Fault::Slow(100 * MS)));
            // In the middle of a cycle of a hundred requests, 10 s long.
            tokio::time::sleep(3050 * MS).await;
            let before = bus.server.request_log().len();
            let begin = bus.start.elapsed();
            assert_eq!(bus.writer.write("box", "p7", 3.0).await, reads_back(3.0));
            let took = bus.start.elapsed() - begin;
            assert_eq!(requests_since(&bus, before)[..2], [(6, 7, 1), (3, 7, 1)]);
            assert!(took <= 260 * MS, "{took:?}");
            tokio::time::sleep(20 * SECOND).await;
            assert_eq!(bus.server.request_log().len(), 102, "the cycle continued where it was");
        });
    }
}

#[test]
fn endless_writes_do_not_keep_the_device_from_being_read() {
    in_virtual_time(async {
        let mut bus = TestBus::with(BOTH[0], &memory(), PROFILE);
        bus.server.set_fault(Some(Fault::Slow(10 * MS)));
        for _ in 0..20 {
            let writer = bus.writer.clone();
            tokio::task::spawn_local(async move { while writer.write("box", "mode", 1.0).await.is_ok() {} });
        }
        let late = bus.frames(10).await.at;
        assert!(late <= 20 * SECOND, "{late:?}");
    });
}

#[test]
fn a_cancelled_write_is_not_performed() {
    in_virtual_time(async {
        let mut bus = TestBus::with(BOTH[0], &memory(), PROFILE);
        bus.frame().await;
        bus.server.set_fault(Some(Fault::Slow(400 * MS)));
        tokio::time::sleep(1100 * MS).await;
        let write = bus.writer.write("box", "mode", 9.0);
        assert!(tokio::time::timeout(100 * MS, write).await.is_err());
        bus.frames(3).await;
        assert_eq!(bus.server.registers().writes(1, Table::Holding, 12), 0);
    });
}

#[test]
fn writes_are_performed_while_the_report_queue_is_full() {
    in_virtual_time(async {
        let bus = TestBus::with(BOTH[0], &memory(), PROFILE);
        // No report is received, and the queue is full.
        tokio::time::sleep(200 * SECOND).await;
        assert_eq!(bus.writer.write("box", "mode", 9.0).await, reads_back(9.0));
    });
}

#[test]
fn a_write_does_not_wait_for_a_device_to_be_discovered() {
    in_virtual_time(async {
        let memory = memory();
        let models = [SunSpecModel::common("Acme", "Hybrid", "SN-7"), SunSpecModel { id: 103, words: vec![1; 50] }];
        lay_out(&memory, 2, 40_000, &models);
        let sunspec =
            DeviceSettings { profile: profile::built_in("sunspec").unwrap().into(), ..device("sunspec", 2, PROFILE) };
        let bus = TestBus::start(BOTH[0], &memory, vec![sunspec, device("box", 1, PROFILE)]);
        bus.server.set_fault_rules([FaultRule::new(Fault::Slow(100 * MS)).unit(2)]);
        while bus.server.requests() < 2 {
            tokio::time::sleep(MS).await;
        }
        assert_eq!(bus.writer.write("box", "mode", 7.0).await, reads_back(7.0));
        let sent = requests_since(&bus, 0);
        let position = sent.iter().position(|request| request.0 == 6).unwrap();
        assert!(position <= 3, "{sent:?}");
    });
}

#[test]
fn a_value_is_read_back_until_the_device_shows_it() {
    in_virtual_time(async {
        let mut bus = TestBus::with(BOTH[0], &memory(), PROFILE);
        bus.frame().await;
        let on_write = |address, effect| bus.server.registers().on_write(1, Table::Holding, address, Some(effect));
        on_write(12, WriteEffect::After(2 * SECOND));
        on_write(16, WriteEffect::After(20 * SECOND));
        let (start, frames) = (tokio::time::Instant::now(), bus.server.requests());
        assert_eq!(bus.writer.write("box", "mode", 7.0).await, reads_back(7.0));
        let took = start.elapsed();
        assert!((2 * SECOND..4 * SECOND).contains(&took), "{took:?}");
        assert_eq!(bus.server.registers().writes(1, Table::Holding, 12), 1);
        // The profile's own time is longer, and reading goes on meanwhile.
        assert_eq!(bus.writer.write("box", "slow", 9.0).await, reads_back(9.0));
        assert_eq!(bus.server.registers().writes(1, Table::Holding, 16), 1);
        assert!(bus.server.requests() > frames + 40, "{}", bus.server.requests() - frames);
        let options = WriteOptions { settle: Some(SECOND), ..WriteOptions::default() };
        let reason = bus.writer.write_with("box", "slow", 20.0, options).await.unwrap_err();
        assert_eq!(reason, "slow is not set to 20 %: acknowledged, but it reads 9 % after 1s");
    });
}

#[test]
fn a_write_that_the_device_does_not_take_has_failed() {
    in_virtual_time(async {
        let mut bus = TestBus::with(BOTH[0], &memory(), PROFILE);
        bus.frame().await;
        let effects = [
            (WriteEffect::Ignored, "it reads 0 %"),
            (WriteEffect::Clamped(50), "it reads 50 %"),
            (WriteEffect::Replaced(12_345), "it reads 12345 %"),
        ];
        for (effect, expected) in effects {
            bus.server.registers().on_write(1, Table::Holding, 16, Some(effect));
            let reason = bus.writer.write("box", "slow", 80.0).await.unwrap_err();
            assert_eq!(reason, format!("slow is not set to 80 %: acknowledged, but {expected} after 30s"));
        }
        // A caller that gives the earlier value gets the answer that it has not changed.
        bus.server.registers().on_write(1, Table::Holding, 16, Some(WriteEffect::Ignored));
        let known = WriteOptions { before: Some(12_345.0), ..WriteOptions::default() };
        let reason = bus.writer.write_with("box", "slow", 80.0, known).await.unwrap_err();
        assert_eq!(reason, "slow is not set to 80 %: acknowledged, still 12345 % after 30s");
        // A newer write of the same point replaces one that is not shown yet.
        let writer = bus.writer.clone();
        let older = tokio::task::spawn_local(async move { writer.write("box", "slow", 81.0).await });
        tokio::time::sleep(2 * SECOND).await;
        bus.server.registers().on_write(1, Table::Holding, 16, None);
        assert_eq!(bus.writer.write("box", "slow", 82.0).await, reads_back(82.0));
        let reason = older.await.unwrap().unwrap_err();
        assert_eq!(reason, "a newer write of slow came before the device showed the value");
    });
}

#[test]
fn a_dangerous_point_is_written_only_if_a_person_has_confirmed_it() {
    in_virtual_time(async {
        let mut bus = TestBus::with(BOTH[0], &memory(), PROFILE);
        bus.frame().await;
        let reason = bus.writer.write("box", "grid_code", 3.0).await.unwrap_err();
        assert!(reason.starts_with("grid_code is marked as dangerous in its profile"), "{reason}");
        let confirmed = WriteOptions { is_confirmed: true, ..WriteOptions::default() };
        assert_eq!(bus.writer.write_with("box", "grid_code", 3.0, confirmed).await, reads_back(3.0));
        assert_eq!(bus.server.registers().writes(1, Table::Holding, 17), 1);
    });
}
