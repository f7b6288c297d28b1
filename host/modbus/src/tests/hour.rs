//! An hour of each fault, in virtual time: while it lasts every value is right or has a fault, and the request rate stays
//! bounded; after it the device is read as before.

use std::time::Duration;

use bessai_domain::event::Frame;
use bessai_simulator::registers::{Memory, Registers, Table};
use bessai_simulator::server::{Fault, FaultRule, Framing};

use super::fixture::{BOTH, MS, SECOND, TestBus, device, in_virtual_time};
use crate::DeviceReport;

/// The device's unit id.
const UNIT: u8 = 1;
/// The device's polling period.
const PERIOD: Duration = Duration::from_secs(5);
/// How long a fault lasts that affects every request.
const HOUR: Duration = Duration::from_secs(3600);
/// Requests of a cycle without faults: three blocks of ten holding registers, whose RTU replies look alike, a point with its
/// scale factor, the input registers, and the two bit tables.
const REQUESTS: u64 = 7;
/// The longest time before refused points are read again, the cycles before and after it, and one more as a margin.
const RECOVERY: Duration = Duration::from_secs(60 + 15);

/// How a channel's value is derived from the epoch.
#[derive(Clone, Copy)]
enum ValueKind {
    Number,
    Bit(u32),
    Text,
}

struct TestChannel {
    point: String,
    table: Table,
    address: u16,
    kind: ValueKind,
    width: u16,
}

fn channels() -> Vec<TestChannel> {
    let mut channels = Vec::new();
    let mut add = |table, address, width, kind, text: &str| {
        let name = format!("p{}", channels.len());
        let table_name = match table {
            Table::Coil => "coil",
            Table::Discrete => "discrete",
            Table::Holding => "holding",
            Table::Input => "input",
        };
        let point = format!("{name} = {{ table = \"{table_name}\", address = {address}, {text} }}\n");
        channels.push(TestChannel { point, table, address, kind, width });
    };
    for address in (0..10).chain(100..110) {
        add(Table::Holding, address, 1, ValueKind::Number, "type = \"uint16\", scale = 1");
    }
    for address in [200, 202, 204, 206, 208] {
        add(Table::Holding, address, 2, ValueKind::Number, "type = \"uint32\", scale = 1");
    }
    add(Table::Holding, 300, 1, ValueKind::Number, "type = \"int16\", scale = 1, scale_register = 301");
    for address in [0, 2, 4, 6] {
        add(Table::Input, address, 2, ValueKind::Number, "type = \"float32\", scale = 1");
    }
    add(Table::Input, 8, 4, ValueKind::Text, "type = \"string\", count = 4");
    for bit in 0..12 {
        add(Table::Coil, bit, 1, ValueKind::Bit(u32::from(bit) % 6), "");
        add(Table::Discrete, bit, 1, ValueKind::Bit(5 - u32::from(bit) % 6), "");
    }
    channels
}

fn profile() -> String {
    let points: String = channels().into_iter().map(|channel| channel.point).collect();
    format!("timeout = \"1s\"\n[points]\n{points}")
}

/// Which values the device has: all of them change halfway between two readings.
fn epoch(at: Duration) -> u64 {
    ((at + PERIOD / 2).as_millis() / PERIOD.as_millis()).try_into().unwrap()
}

fn number(index: usize, epoch: u64) -> u16 {
    u16::try_from(index as u64 * 100 + epoch % 100).unwrap()
}

fn bit(bit: u32, epoch: u64) -> bool {
    epoch >> bit & 1 == 1
}

fn text(epoch: u64) -> String {
    format!("epoch{:03}", epoch % 1000)
}

fn set(memory: &mut Memory, epoch: u64) {
    for (index, channel) in channels().iter().enumerate() {
        let value = number(index, epoch);
        let words = match (channel.kind, channel.width, channel.table) {
            (ValueKind::Bit(of), ..) => vec![u16::from(bit(of, epoch))],
            (ValueKind::Text, ..) => {
                text(epoch).as_bytes().chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
            }
            (ValueKind::Number, 1, _) => vec![value],
            (ValueKind::Number, _, Table::Input) => {
                let bits = f32::from(value).to_bits().to_be_bytes();
                vec![u16::from_be_bytes([bits[0], bits[1]]), u16::from_be_bytes([bits[2], bits[3]])]
            }
            (ValueKind::Number, ..) => vec![0, value],
        };
        memory.set(UNIT, channel.table, channel.address, &words);
    }
    memory.set(UNIT, Table::Holding, 301, &[0]);
}

/// Every value is one that the device had during the cycle, or has a fault.
fn check(frame: &Frame, begun: Duration, received: Duration, channels: &[TestChannel], case: &str) {
    assert_eq!(frame.values.len(), channels.len(), "{case}");
    for (index, channel) in channels.iter().enumerate() {
        if frame.faults.iter().any(|fault| fault.channel as usize == index) {
            continue;
        }
        let shown = frame.texts.iter().find(|text| text.channel as usize == index).map(|text| text.value.as_str());
        let value = frame.values[index];
        let is_right = (epoch(begun)..=epoch(received)).any(|epoch| match channel.kind {
            ValueKind::Number => value == f64::from(number(index, epoch)),
            ValueKind::Bit(of) => value == f64::from(u8::from(bit(of, epoch))),
            ValueKind::Text => shown == Some(&text(epoch)),
        });
        let right = epoch(received);
        assert!(is_right, "{case}: {value} {shown:?} at {index} between {begun:?} and {received:?}, epoch {right}");
    }
}

/// Checks each frame of a bus against the values that the device had.
struct Observer {
    bus: TestBus,
    channels: Vec<TestChannel>,
    /// When the current cycle began.
    begun: Duration,
    /// The tick that the next cycle is due at.
    next_tick: u32,
    online: Vec<bool>,
}

impl Observer {
    fn start(framing: Framing) -> Self {
        let memory = Registers::new();
        memory.update(|memory| set(memory, 0));
        let mut settings = device("box", UNIT, &profile());
        settings.sources[0].period = PERIOD;
        let bus = TestBus::start(framing, &memory, vec![settings]);
        let start = bus.start;
        tokio::task::spawn_local(async move {
            for epoch in 1.. {
                tokio::time::sleep_until(start + PERIOD * epoch - PERIOD / 2).await;
                memory.update(|memory| set(memory, u64::from(epoch)));
            }
        });
        Self { bus, channels: channels(), begun: Duration::ZERO, next_tick: 1, online: Vec::new() }
    }

    /// The next frame with its time of arrival.
    async fn frame(&mut self, case: &str) -> (Duration, Frame) {
        loop {
            let received = self.bus.report().await;
            match received.value {
                // A status may also name other points without values than before.
                DeviceReport::Status(_, status) => {
                    self.online.push(status.online);
                    self.online.dedup();
                }
                DeviceReport::Failure(_) | DeviceReport::Missing(_) => {}
                DeviceReport::Discovered(..) => panic!("{case}: a device that is not discovered was"),
                DeviceReport::Frame(_, frame, _) => {
                    check(&frame, self.begun, received.at, &self.channels, case);
                    self.begun = received.at.max(PERIOD * self.next_tick);
                    // A tick that a long cycle has just reached is still served; those before it are skipped.
                    let passed = u32::try_from(self.begun.as_nanos() / PERIOD.as_nanos()).unwrap();
                    let is_missed = self.begun >= PERIOD * (self.next_tick + 1) + 2 * MS;
                    self.next_tick = if is_missed { passed + 1 } else { self.next_tick + 1 };
                    return (received.at, frame);
                }
            }
        }
    }

    /// Receives frames until that time: how many, and how many of them have no faults.
    async fn until(&mut self, until: Duration, case: &str) -> (u64, u64) {
        let (mut frames, mut good) = (0, 0);
        loop {
            let (at, frame) = self.frame(case).await;
            frames += 1;
            good += u64::from(frame.faults.is_empty());
            if at >= until {
                return (frames, good);
            }
        }
    }
}

/// Whether the fault does not affect the frames.
fn is_tolerated(framing: Framing, fault: Fault) -> bool {
    match fault {
        Fault::BlockLimit(_) | Fault::Dribble(_) | Fault::Duplicate => true,
        Fault::Slow(delay) => delay == 400 * MS,
        Fault::Noise => true,
        Fault::WrongTransaction | Fault::ConstantTransaction(_) => framing == Framing::Rtu,
        Fault::Echo | Fault::OtherMaster | Fault::Padding => true,
        Fault::WrongCrc => framing == Framing::Tcp,
        _ => false,
    }
}

/// Whether the fault costs one reading, after which the gateway copes with it.
fn is_learnt(framing: Framing, fault: Fault) -> bool {
    framing == Framing::Tcp && matches!(fault, Fault::WrongTransaction | Fault::ConstantTransaction(_))
}

/// Connections that a fault may cost: one a minute where the device still answers, or the bytes can be distinguished.
fn most_connections(framing: Framing, rule: FaultRule, cycles: u64) -> u64 {
    let ends_connection =
        matches!(rule.fault, Fault::Truncate | Fault::ResetMidFrame | Fault::HalfClose | Fault::Reset);
    // With a delay of seven seconds, more requests wait in the device than it answers.
    let is_silent = match rule.fault {
        Fault::Silence | Fault::Late | Fault::Garbage | Fault::Slow(_) | Fault::Exception(_) => rule.every == 1,
        _ => false,
    } || rule.fault == Fault::Slow(7 * SECOND);
    let is_dead = framing == Framing::Tcp && is_silent;
    let minutes = cycles * PERIOD.as_secs() / 60;
    if ends_connection || is_dead { 2 * cycles } else { 1 + minutes }
}

/// Applies a fault for a while and checks the frames during and after it.
fn check_fault(framing: Framing, rule: FaultRule, lasts: Duration) {
    in_virtual_time(async {
        let case = format!("{framing:?} {:?} every {}", rule.fault, rule.every);
        let mut observer = Observer::start(framing);
        let begins = 10 * PERIOD;
        let (frames, good) = observer.until(begins, &case).await;
        assert_eq!((frames, good), (11, 11), "{case}");
        assert_eq!(observer.bus.server.requests(), 11 * REQUESTS, "{case}");

        observer.bus.server.set_fault_rules([rule]);
        let (requests, accepted) = (observer.bus.server.requests(), observer.bus.server.accepted());
        let (frames, good) = observer.until(begins + lasts, &case).await;
        let periods = u64::try_from(lasts.as_nanos() / PERIOD.as_nanos()).unwrap();
        let requests = observer.bus.server.requests() - requests;
        let accepted = observer.bus.server.accepted() - accepted;
        assert!(observer.bus.server.hits() > 0, "{case}");
        match is_tolerated(framing, rule.fault) {
            true => assert_eq!(good, frames, "{case}"),
            false if is_learnt(framing, rule.fault) && rule.every == 1 => assert_eq!(good + 1, frames, "{case}"),
            false => assert!(rule.every > 1 || good == 0, "{case}: {good} of {frames}"),
        }
        // At most one frame a period and three times the requests; if a device refuses addresses at random, the search for the readable ones takes up to two requests a value.
        let refuses = matches!(rule.fault, Fault::RefuseAddress(_) | Fault::Exception(1..=4 | 8 | 99));
        let most = if refuses { 2 * observer.channels.len() as u64 } else { REQUESTS * 3 };
        assert!(frames <= periods + 1, "{case}: {frames} frames");
        assert!(requests <= (periods + 1) * most, "{case}: {requests} requests");
        assert!(accepted <= most_connections(framing, rule, periods + 1), "{case}: {accepted} connections");

        observer.bus.server.set_fault(None);
        let ends = observer.bus.start.elapsed();
        observer.until(ends + RECOVERY, &case).await;
        let requests = observer.bus.server.requests();
        let (frames, good) = observer.until(ends + RECOVERY + 20 * PERIOD, &case).await;
        assert!(frames >= 20 && frames == good, "{case}: {good} of {frames} after the fault");
        let requests = observer.bus.server.requests() - requests;
        // A learnt block limit is forgotten only in the next hour.
        let is_limited = refuses || matches!(rule.fault, Fault::BlockLimit(_));
        assert!(is_limited || requests == frames * REQUESTS, "{case}: {requests} requests in {frames} cycles");
        if rule.every == 1 {
            assert!(matches!(observer.online[..], [true] | [true, false, true]), "{case}: {:?}", observer.online);
        }
    });
}

fn rules() -> Vec<FaultRule> {
    let named = FaultRule::names().map(|name| FaultRule::named(name).unwrap());
    let further = [
        Fault::Exception(1),
        Fault::Exception(2),
        Fault::Exception(3),
        Fault::Exception(5),
        Fault::Exception(8),
        Fault::Exception(0x0A),
        Fault::Exception(0x0B),
        Fault::Exception(99),
        Fault::RefuseAddress(5),
        Fault::Slow(400 * MS),
        Fault::Slow(1200 * MS),
        Fault::Slow(4900 * MS),
        Fault::Slow(7 * SECOND),
    ];
    named.chain(further.into_iter().map(FaultRule::new)).collect()
}

/// Checks all faults and then reports those that failed.
fn check_each(framing: Framing, rules: impl Iterator<Item = FaultRule>, lasts: Duration) {
    let fails = |rule: &FaultRule| std::panic::catch_unwind(|| check_fault(framing, *rule, lasts)).is_err();
    let failed: Vec<_> = rules.filter(fails).map(|rule| (rule.fault, rule.every)).collect();
    assert!(failed.is_empty(), "{framing:?}: {failed:?}");
}

#[test]
fn an_hour_of_each_fault_over_tcp_has_no_lasting_effect() {
    check_each(BOTH[0], rules().into_iter(), HOUR);
}

#[test]
fn an_hour_of_each_fault_on_a_serial_bus_has_no_lasting_effect() {
    check_each(BOTH[1], rules().into_iter(), HOUR);
}

/// Faults that affect every second, third or fifth request.
fn check_intermittent(framing: Framing) {
    let rules = rules().into_iter().flat_map(|rule| [2, 3, 5].map(|every| rule.every(every)));
    check_each(framing, rules, HOUR / 10);
}

#[test]
fn an_intermittent_fault_over_tcp_has_no_lasting_effect() {
    check_intermittent(BOTH[0]);
}

#[test]
fn an_intermittent_fault_on_a_serial_bus_has_no_lasting_effect() {
    check_intermittent(BOTH[1]);
}
