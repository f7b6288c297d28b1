//! Requests of other programs on a polled bus.

use std::rc::Rc;
use std::time::Duration;

use bessai_domain::plan::ReadRequest;
use bessai_domain::profile::{Pacing, Point};
use bessai_domain::register::{Table, UnitId, WriteFunction};
use bessai_domain::relay::{Exception, RelayError, RelayFailure};
use bessai_domain::write::WriteRequest;
use bessai_simulator::registers::{Registers, Table as SimulatedTable};
use bessai_simulator::server::{Fault, FaultRule, Framing};

use tokio::io::duplex;

use super::fixture::{BOTH, MS, MemoryDialer, SECOND, TestBus, device, in_blocks, in_virtual_time, registers};
use crate::connection::BusConnection;
use crate::reply::Reply;
use crate::request::BusRequest;

/// A point for each kind of write.
const PROFILE: &str = r#"timeout = "500ms"
[points]
soc = { address = 10, type = "uint16", scale = 0.1, unit = "%", access = "RW", min = 10, max = 100 }
power = { address = 11, type = "int32", scale = 0.001, unit = "kW", access = "RW", min = -50, max = 50 }
mode = { address = 13, type = "uint16", scale = 1, access = "W", write_function = 16 }
fixed = { address = 14, type = "uint16", scale = 1 }
guess = { address = 15, type = "uint16", scale = 1, access = "RW", unverified = true }
limit = { address = 20, type = "int16", scale = 1, scale_register = 21, access = "RW", max = 60 }
fan = { address = 3, type = "bool", table = "coil", access = "RW" }
"#;

fn memory() -> Registers {
    let memory = Registers::new();
    let words: Vec<u16> = (0..200).collect();
    memory.set(1, SimulatedTable::Holding, 0, &words);
    memory.set(1, SimulatedTable::Holding, 21, &[(-1_i16).cast_unsigned()]);
    memory.fill(1, SimulatedTable::Coil, 0..=10, 0);
    memory
}

fn read(unit: u8, start: u16, count: u16) -> ReadRequest {
    ReadRequest::new(UnitId(unit), Table::Holding, start, count)
}

fn write(function: WriteFunction, address: u16, words: &[u16]) -> WriteRequest {
    WriteRequest { unit: UnitId(1), function, address, words: words.to_vec() }
}

fn any_point(_: &str, _: &Point) -> Result<(), String> {
    Ok(())
}

fn exception(outcome: Result<impl std::fmt::Debug, RelayError>) -> u8 {
    outcome.unwrap_err().exception.0
}

#[test]
fn what_was_read_comes_from_memory_and_the_rest_from_the_device() {
    for framing in BOTH {
        in_virtual_time(async {
            let mut bus = TestBus::with(framing, &memory(), &registers(0..10));
            let relay = bus.relay.clone();
            let latest = |start, count, max_age| {
                let mut words = Vec::new();
                relay.append_latest(&read(1, start, count), max_age, &mut words).then_some(words)
            };
            bus.frame().await;
            assert_eq!(latest(2, 2, None), None, "nothing is kept while nobody wants it");
            relay.keep_latest(Some(SECOND));
            bus.frame().await;
            assert_eq!(latest(2, 2, None), Some(vec![2, 3]));
            assert_eq!(latest(9, 2, None), None);
            tokio::time::sleep(600 * MS).await;
            assert_eq!(latest(2, 2, Some(500 * MS)), None);
            let before = bus.server.requests();
            assert_eq!(relay.read(&read(1, 9, 2)).await, Ok(vec![9, 10]));
            assert_eq!(bus.server.requests(), before + 1);
            assert_eq!(exception(relay.read(&read(1, 199, 2)).await), 2, "the device's own exception");
            assert_eq!(bus.server.accepted(), 1, "on the one connection");
            relay.keep_latest(None);
            assert_eq!(latest(2, 2, None), None);
        });
    }
}

#[test]
fn other_programs_get_one_request_between_two_of_the_bus() {
    in_virtual_time(async {
        let settings = in_blocks(device("box", 1, &registers((0..10).map(|block| block * 10))), 1, 0);
        let mut bus = TestBus::start(Framing::Tcp, &memory(), vec![settings]);
        bus.server.set_fault(Some(Fault::Slow(20 * MS)));
        bus.frames(2).await;
        let flood = || {
            let relay = bus.relay.clone();
            tokio::task::spawn_local(async move { while relay.read(&read(1, 100, 1)).await.is_ok() {} })
        };
        let clients: Vec<_> = (0..5).map(|_| flood()).collect();
        let (first, before) = (bus.frame().await.at, bus.server.requests());
        let last = bus.frames(5).await.at;
        assert_eq!((last - first).as_secs(), 5, "every period has its reading");
        let requests: Vec<_> = bus.server.request_log().into_iter().skip(usize::try_from(before).unwrap()).collect();
        let own: Vec<_> = requests.iter().filter(|request| request.address < 100).collect();
        assert_eq!(own.len(), 50);
        let is_own_pair = |pair: &[bessai_simulator::server::ReceivedRequest]| pair.iter().all(|one| one.address < 100);
        assert!(!requests.windows(2).any(is_own_pair), "clients get their turn between any two");
        clients.iter().for_each(tokio::task::JoinHandle::abort);
    });
}

#[test]
fn the_queue_is_bounded_and_who_has_gone_is_not_served() {
    in_virtual_time(async {
        let mut bus = TestBus::with(Framing::Tcp, &memory(), &registers(0..10));
        bus.frame().await;
        bus.server.set_fault(Some(Fault::Slow(300 * MS)));
        let relay = bus.relay.clone();
        let client = |address| {
            let relay = relay.clone();
            tokio::task::spawn_local(async move { relay.read(&read(1, address, 1)).await })
        };
        let waiting: Vec<_> = (100..140).map(client).collect();
        tokio::task::yield_now().await;
        tokio::time::sleep(100 * MS).await;
        // One of them is being served, so that another one finds room.
        let last = client(149);
        tokio::task::yield_now().await;
        assert_eq!(exception(client(150).await.unwrap()), Exception::BUSY.0);
        last.abort();
        waiting.iter().skip(1).for_each(tokio::task::JoinHandle::abort);
        bus.server.set_fault(None);
        bus.frames(3).await;
        let served = bus.server.request_log().iter().filter(|request| request.address >= 100).count();
        assert!(served <= 2, "{served} requests were sent for clients that had gone");
    });
}

/// What each of these clients got, who all asked at once for a register.
async fn answers(
    bus: &mut TestBus,
    addresses: std::ops::Range<u16>,
    seconds: usize,
) -> Vec<Result<Vec<u16>, RelayError>> {
    let ask = |address| {
        let relay = bus.relay.clone();
        tokio::task::spawn_local(async move { relay.read(&read(1, address, 1)).await })
    };
    let clients: Vec<_> = addresses.map(ask).collect();
    bus.frames(seconds).await;
    let mut answers = Vec::new();
    for client in clients {
        answers.push(client.await.unwrap());
    }
    answers
}

#[test]
fn waiting_for_a_turn_is_not_taken_for_silence() {
    in_virtual_time(async {
        let mut bus = TestBus::with(Framing::Tcp, &memory(), &registers(0..10));
        bus.frame().await;
        bus.server.set_fault(Some(Fault::Slow(200 * MS)));
        let got = answers(&mut bus, 100..120, 12).await;
        assert_eq!(got, (100..120).map(|address| Ok(vec![address])).collect::<Vec<_>>());
        bus.server.set_fault(Some(Fault::Slow(450 * MS)));
        let got = answers(&mut bus, 100..132, 20).await;
        assert_eq!(got[0], Ok(vec![100]));
        assert_eq!(got[31].as_ref().unwrap_err().exception, Exception::BUSY, "not after ten seconds either");
    });
}

#[test]
fn an_error_says_whether_it_is_the_devices_own_exception() {
    in_virtual_time(async {
        let mut bus = TestBus::with(Framing::Tcp, &memory(), &registers(0..10));
        bus.server.set_fault_rules([
            FaultRule::new(Fault::Exception(11)).registers(100, 100),
            FaultRule::new(Fault::Silence).registers(101, 101),
        ]);
        bus.frame().await;
        let relay = bus.relay.clone();
        let fails = async |address| {
            let RelayError { exception, failure, reason } =
                relay.read_within(&read(1, address, 1), 300 * MS).await.unwrap_err();
            (exception.0, failure, reason)
        };
        let (code, failure, reason) = fails(100).await;
        assert_eq!((code, failure), (11, RelayFailure::Exception), "{reason}");
        let (code, failure, reason) = fails(101).await;
        assert_eq!((code, failure), (11, RelayFailure::NoReply), "{reason}");
        bus.set_unreachable(true);
        bus.frames(3).await;
        let (code, failure, reason) = fails(100).await;
        assert_eq!((code, failure), (10, RelayFailure::NotConnected), "{reason}");
        assert!(reason.contains("failed to connect to memory"), "{reason}");
    });
}

#[test]
fn a_device_that_is_off_costs_its_clients_no_timeout() {
    in_virtual_time(async {
        let mut bus = TestBus::with(Framing::Tcp, &memory(), &registers(0..10));
        bus.frame().await;
        bus.set_unreachable(true);
        bus.frames(2).await;
        let begin = tokio::time::Instant::now();
        let error = bus.relay.read(&read(1, 100, 1)).await.unwrap_err();
        assert_eq!(error.exception, Exception::PATH_UNAVAILABLE);
        assert!(error.reason.contains("failed to connect to memory"), "{error}");
        assert_eq!(exception(bus.relay.read(&read(7, 100, 1)).await), 10, "nor is another unit reached");
        assert_eq!(begin.elapsed(), Duration::ZERO);
        bus.set_unreachable(false);
        while bus.relay.read(&read(1, 100, 1)).await != Ok(vec![100]) {
            bus.frame().await;
        }
        // It accepts connections, but does not reply.
        bus.server.set_fault(Some(Fault::Silence));
        bus.frames(2).await;
        let begin = tokio::time::Instant::now();
        assert_eq!(exception(bus.relay.read(&read(1, 100, 1)).await), 11);
        assert_eq!(begin.elapsed(), Duration::ZERO);
    });
}

#[test]
fn units_that_do_not_exist_neither_close_the_connection_nor_delay_the_polling() {
    in_virtual_time(async {
        let mut bus = TestBus::with(Framing::Tcp, &memory(), &registers(0..10));
        bus.server.set_fault_rules((2..=50).map(|unit| FaultRule::new(Fault::Silence).unit(unit)));
        bus.frames(2).await;
        for unit in 2..=50 {
            assert_eq!(exception(bus.relay.read(&read(unit, 0, 1)).await), 11, "unit {unit}");
        }
        let begin = tokio::time::Instant::now();
        let error = bus.relay.read(&read(50, 0, 1)).await.unwrap_err();
        assert_eq!((error.exception.0, begin.elapsed()), (11, Duration::ZERO), "it was asked a moment ago");
        assert!(error.reason.starts_with("unit 50 did not reply and is asked again in"), "{error}");
        assert_eq!(bus.server.accepted(), 1);
        tokio::time::sleep(2 * SECOND).await;
        bus.server.set_fault(None);
        bus.server.registers().set(50, SimulatedTable::Holding, 0, &[5]);
        assert_eq!(bus.relay.read(&read(50, 0, 1)).await, Ok(vec![5]), "it exists now");
    });
}

#[test]
fn nobody_reads_from_the_broadcast_address_of_a_serial_bus() {
    in_virtual_time(async {
        let mut bus = TestBus::with(Framing::Rtu, &memory(), &registers(0..10));
        bus.frame().await;
        let before = bus.server.requests();
        assert_eq!(exception(bus.relay.read(&read(0, 0, 1)).await), 10);
        assert_eq!(bus.server.requests(), before);
    });
}

#[test]
fn writes_set_whole_points_within_their_ranges_and_are_read_back() {
    in_virtual_time(async {
        let mut bus = TestBus::with(Framing::Tcp, &memory(), PROFILE);
        bus.relay.keep_latest(Some(SECOND));
        bus.frame().await;
        let relay = bus.relay.clone();
        let set = async |function, address, words: &[u16]| {
            let written = relay.write(write(function, address, words), any_point, async |_| {}).await;
            written.map(|points| points.into_iter().map(|point| (point.point, point.value)).collect::<Vec<_>>())
        };
        let holds = |address, count| bus.server.registers().get(1, SimulatedTable::Holding, address, count).unwrap();
        let refused = async |function, address, words: &[u16]| {
            let before = bus.server.registers().writes(1, SimulatedTable::Holding, address);
            let refused = exception(set(function, address, words).await);
            assert_eq!(bus.server.registers().writes(1, SimulatedTable::Holding, address), before);
            refused
        };
        assert_eq!(set(WriteFunction::Register, 10, &[805]).await, Ok(vec![("soc".into(), 80.5)]));
        assert_eq!(holds(10, 1), [805]);
        let mut words = Vec::new();
        assert!(!relay.append_latest(&read(1, 10, 1), None, &mut words), "the last reading has the value before");
        // Several points at once, as the client sent them.
        let written = set(WriteFunction::Registers, 10, &[200, 0xffff, 0xcfc7, 3]).await;
        assert_eq!(written, Ok(vec![("soc".into(), 20.0), ("power".into(), -12.345), ("mode".into(), 3.0)]));
        assert_eq!(holds(10, 4), [200, 0xffff, 0xcfc7, 3]);
        assert_eq!(set(WriteFunction::Register, 20, &[595]).await, Ok(vec![("limit".into(), 59.5)]));
        assert_eq!(set(WriteFunction::Coil, 3, &[1]).await, Ok(vec![("fan".into(), 1.0)]));
        // The device takes function 16 for it.
        assert_eq!(set(WriteFunction::Register, 13, &[4]).await, Ok(vec![("mode".into(), 4.0)]));
        assert_eq!(bus.server.request_log().last().unwrap().function, 16);

        assert_eq!(refused(WriteFunction::Register, 10, &[99]).await, 3, "below the range");
        assert_eq!(refused(WriteFunction::Registers, 10, &[200, 0, 60_000]).await, 3, "one of several above it");
        assert_eq!(refused(WriteFunction::Register, 20, &[601]).await, 3, "by its scale factor");
        assert_eq!(refused(WriteFunction::Register, 14, &[1]).await, 2, "read-only");
        assert_eq!(refused(WriteFunction::Register, 15, &[1]).await, 2, "unverified");
        assert_eq!(refused(WriteFunction::Register, 21, &[1]).await, 2, "a scale factor");
        assert_eq!(refused(WriteFunction::Register, 100, &[1]).await, 2, "no point");
        assert_eq!(refused(WriteFunction::Register, 11, &[1]).await, 2, "half a point");
        assert_eq!(refused(WriteFunction::Registers, 9, &[1, 200]).await, 2, "a register before the point");
        let forbidden = |_: &str, point: &Point| Err(format!("{} is not allowed", point.name));
        let error = relay.write(write(WriteFunction::Register, 10, &[200]), forbidden, async |_| {}).await.unwrap_err();
        assert_eq!((error.exception.0, error.reason.as_str()), (2, "soc is not allowed"));
    });
}

#[test]
fn a_write_whose_confirmation_is_lost_is_read_back() {
    in_virtual_time(async {
        let mut bus = TestBus::with(Framing::Tcp, &memory(), PROFILE);
        bus.frame().await;
        bus.server.set_fault_rules([FaultRule::new(Fault::Late).function(6)]);
        let set = async |address, word| {
            bus.relay
                .write(write(WriteFunction::Register, address, &[word]), any_point, async |_| {})
                .await
                .map(|points| points.len())
        };
        assert_eq!(set(10, 500).await, Ok(1));
        bus.server.set_fault_rules([FaultRule::new(Fault::Silence).function(6)]);
        let error = set(10, 600).await.unwrap_err();
        assert_eq!((error.exception, error.failure), (Exception::NO_REPLY, RelayFailure::NoReply), "{error}");
    });
}

#[test]
fn a_write_that_the_device_acknowledges_but_does_not_take_fails() {
    in_virtual_time(async {
        let mut bus = TestBus::with(Framing::Tcp, &memory(), PROFILE);
        bus.frame().await;
        // The register has its old value again before it is read.
        bus.server.set_fault(Some(Fault::Slow(20 * MS)));
        let registers = bus.server.registers().clone();
        let reset = tokio::task::spawn_local(async move {
            loop {
                registers.set(1, SimulatedTable::Holding, 10, &[200]);
                tokio::time::sleep(MS).await;
            }
        });
        let begin = tokio::time::Instant::now();
        let error =
            bus.relay.write(write(WriteFunction::Register, 10, &[500]), any_point, async |_| {}).await.unwrap_err();
        assert_eq!(error.exception, Exception::DEVICE_FAILURE);
        assert_eq!(error.reason, "soc: acknowledged, but the registers still hold [200]");
        reset.abort();
        assert_eq!(begin.elapsed().as_secs(), 5, "the time to settle");
        bus.frames(2).await;
    });
}

#[test]
fn an_error_reads_as_that_of_a_connection_of_ones_own() {
    let faults =
        [Fault::Silence, Fault::Exception(2), Fault::Exception(6), Fault::WrongUnit, Fault::Garbage, Fault::Reset];
    for framing in BOTH {
        for fault in faults.into_iter().filter(|fault| *fault != Fault::Reset || framing == Framing::Tcp) {
            in_virtual_time(async {
                let mut bus = TestBus::with(framing, &memory(), &registers(0..10));
                bus.server.set_fault_rules([FaultRule::new(fault).registers(100, 110)]);
                bus.frame().await;
                let (simulator, limit) = (Rc::clone(&bus.server), 300 * MS);
                let connect = move || {
                    let (ours, theirs) = duplex(4096);
                    simulator.attach(theirs, framing);
                    Ok(ours)
                };
                let direct = async |request: BusRequest<'_>| {
                    let dialer = MemoryDialer { framing, connect: connect.clone() };
                    let mut own = BusConnection::new(Box::new(dialer), [Pacing::default()].into_iter());
                    match own.request(request, limit).await {
                        Ok(Reply::Exception(_, reason)) => reason,
                        Ok(reply) => panic!("{framing:?} {fault:?}: {reply:?}"),
                        Err(error) => error.into_reason(),
                    }
                };
                let write = write(WriteFunction::Registers, 105, &[7]);
                let expected =
                    [direct(BusRequest::Read(&read(1, 100, 2))).await, direct(BusRequest::Write(&write)).await];
                let relayed = [
                    bus.relay.read_within(&read(1, 100, 2), limit).await.unwrap_err().reason,
                    bus.relay.write_unchecked(write.clone(), limit).await.unwrap_err().reason,
                ];
                assert_eq!(relayed, expected, "{framing:?} {fault:?}");
            });
        }
    }
}
