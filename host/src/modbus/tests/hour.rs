//! An hour of each fault, in virtual time: while it lasts every value is right or carries a fault, nobody is hammered, and
//! after it everything is as before.

use std::time::Duration;

use bessai_domain::event::Frame;
use bessai_simulator::registers::{Memory, Registers, Table};
use bessai_simulator::server::{Fault, Framing, Rule};

use super::super::Reported;
use super::bench::{BOTH, Bench, MS, SECOND, device, virtually};

const UNIT: u8 = 1;
const PERIOD: Duration = Duration::from_secs(5);
const HOUR: Duration = Duration::from_secs(3600);
/// Requests of a good cycle: three blocks of ten holding registers, which look the same on a serial line, a pair with its
/// scale factor, the input registers, and the two sorts of bits.
const REQUESTS: u64 = 7;
/// The longest pause before what was refused is asked for again, the cycles before and after it, and one more to be sure.
const RECOVERY: Duration = Duration::from_secs(60 + 15);

/// What a channel shows.
#[derive(Clone, Copy)]
enum Shows {
    Number,
    Bit(u32),
    Text,
}

struct Channel {
    point: String,
    table: Table,
    address: u16,
    shows: Shows,
    width: u16,
}

fn channels() -> Vec<Channel> {
    let mut channels = Vec::new();
    let mut add = |table, address, width, shows, text: &str| {
        let name = format!("p{}", channels.len());
        let table_name = match table {
            Table::Coil => "coil",
            Table::Discrete => "discrete",
            Table::Holding => "holding",
            Table::Input => "input",
        };
        let point = format!("{name} = {{ table = \"{table_name}\", address = {address}, {text} }}\n");
        channels.push(Channel { point, table, address, shows, width });
    };
    for address in (0..10).chain(100..110) {
        add(Table::Holding, address, 1, Shows::Number, "type = \"uint16\", scale = 1");
    }
    for address in [200, 202, 204, 206, 208] {
        add(Table::Holding, address, 2, Shows::Number, "type = \"uint32\", scale = 1");
    }
    add(Table::Holding, 300, 1, Shows::Number, "type = \"int16\", scale = 1, scale_register = 301");
    for address in [0, 2, 4, 6] {
        add(Table::Input, address, 2, Shows::Number, "type = \"float32\", scale = 1");
    }
    add(Table::Input, 8, 4, Shows::Text, "type = \"string\", count = 4");
    for bit in 0..12 {
        add(Table::Coil, bit, 1, Shows::Bit(u32::from(bit) % 6), "");
        add(Table::Discrete, bit, 1, Shows::Bit(5 - u32::from(bit) % 6), "");
    }
    channels
}

fn profile() -> String {
    let points: String = channels().into_iter().map(|channel| channel.point).collect();
    format!("timeout = \"1s\"\n[points]\n{points}")
}

/// Everything changes between two readings.
fn epoch(at: Duration) -> u64 {
    ((at + PERIOD / 2).as_millis() / PERIOD.as_millis()).try_into().unwrap()
}

fn number(place: usize, epoch: u64) -> u16 {
    u16::try_from(place as u64 * 100 + epoch % 100).unwrap()
}

fn bit(bit: u32, epoch: u64) -> bool {
    epoch >> bit & 1 == 1
}

fn text(epoch: u64) -> String {
    format!("epoch{:03}", epoch % 1000)
}

fn set(memory: &mut Memory, epoch: u64) {
    for (place, channel) in channels().iter().enumerate() {
        let value = number(place, epoch);
        let words = match (channel.shows, channel.width, channel.table) {
            (Shows::Bit(of), ..) => vec![u16::from(bit(of, epoch))],
            (Shows::Text, ..) => {
                text(epoch).as_bytes().chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
            }
            (Shows::Number, 1, _) => vec![value],
            (Shows::Number, _, Table::Input) => {
                let bits = f32::from(value).to_bits().to_be_bytes();
                vec![u16::from_be_bytes([bits[0], bits[1]]), u16::from_be_bytes([bits[2], bits[3]])]
            }
            (Shows::Number, ..) => vec![0, value],
        };
        memory.set(UNIT, channel.table, channel.address, &words);
    }
    memory.set(UNIT, Table::Holding, 301, &[0]);
}

/// Every value is one that the device had while it was read, or carries a fault.
fn check(frame: &Frame, asked: Duration, came: Duration, channels: &[Channel], case: &str) {
    assert_eq!(frame.values.len(), channels.len(), "{case}");
    for (place, channel) in channels.iter().enumerate() {
        if frame.faults.iter().any(|fault| fault.channel as usize == place) {
            continue;
        }
        let shown = frame.texts.iter().find(|text| text.channel as usize == place).map(|text| text.value.as_str());
        let value = frame.values[place];
        let is_right = (epoch(asked)..=epoch(came)).any(|epoch| match channel.shows {
            Shows::Number => value == f64::from(number(place, epoch)),
            Shows::Bit(of) => value == f64::from(u8::from(bit(of, epoch))),
            Shows::Text => shown == Some(&text(epoch)),
        });
        let right = epoch(came);
        assert!(is_right, "{case}: {value} {shown:?} at {place} between {asked:?} and {came:?}, epoch {right}");
    }
}

/// Reads the frames of a line and holds each against what the device had.
struct Observer {
    bench: Bench,
    channels: Vec<Channel>,
    /// When the cycle that is read now began.
    asked: Duration,
    online: Vec<bool>,
}

impl Observer {
    fn start(framing: Framing) -> Self {
        let memory = Registers::new();
        memory.revise(|memory| set(memory, 0));
        let mut settings = device("box", UNIT, &profile());
        settings.sources[0].period = PERIOD;
        let bench = Bench::start(framing, &memory, vec![settings]);
        let start = bench.start;
        tokio::task::spawn_local(async move {
            for epoch in 1.. {
                tokio::time::sleep_until(start + PERIOD * epoch - PERIOD / 2).await;
                memory.revise(|memory| set(memory, u64::from(epoch)));
            }
        });
        Self { bench, channels: channels(), asked: Duration::ZERO, online: Vec::new() }
    }

    /// The next frame, and when it came.
    async fn frame(&mut self, case: &str) -> (Duration, Frame) {
        loop {
            let heard = self.bench.report().await;
            match heard.what {
                Reported::Status(_, status) => self.online.push(status.online),
                Reported::Found(..) => panic!("{case}: nothing is to be found"),
                Reported::Frame(_, frame) => {
                    check(&frame, self.asked, heard.at, &self.channels, case);
                    let ticks = u32::try_from(self.asked.as_nanos() / PERIOD.as_nanos()).unwrap();
                    self.asked = heard.at.max(PERIOD * (ticks + 1));
                    return (heard.at, frame);
                }
            }
        }
    }

    /// Frames until then: how many, and how many of them were without a fault.
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

/// Whether nothing of it shows in the frames.
fn is_borne(framing: Framing, fault: Fault) -> bool {
    match fault {
        Fault::BlockLimit(_) | Fault::Dribble(_) | Fault::Duplicate => true,
        Fault::Slow(delay) => delay == 400 * MS,
        Fault::WrongTransaction | Fault::Noise => framing == Framing::Rtu,
        Fault::WrongCheck => framing == Framing::Tcp,
        _ => false,
    }
}

/// A fault for a while, and what is left of it.
fn hour(framing: Framing, rule: Rule, lasts: Duration) {
    virtually(async {
        let case = format!("{framing:?} {:?} every {}", rule.fault, rule.every);
        let mut observer = Observer::start(framing);
        let begins = 10 * PERIOD;
        let (frames, good) = observer.until(begins, &case).await;
        assert_eq!((frames, good), (11, 11), "{case}");
        assert_eq!(observer.bench.server.requests(), 11 * REQUESTS, "{case}");

        observer.bench.server.misbehave_by([rule]);
        let (requests, accepted) = (observer.bench.server.requests(), observer.bench.server.accepted());
        let (frames, good) = observer.until(begins + lasts, &case).await;
        let periods = u64::try_from(lasts.as_nanos() / PERIOD.as_nanos()).unwrap();
        let requests = observer.bench.server.requests() - requests;
        let accepted = observer.bench.server.accepted() - accepted;
        assert!(observer.bench.server.hits() > 0, "{case}");
        match is_borne(framing, rule.fault) {
            true => assert_eq!(good, frames, "{case}"),
            false => assert!(rule.every > 1 || good == 0, "{case}: {good} of {frames}"),
        }
        // No more than one frame a period, two connections a cycle, and three requests where one was; a device that refuses
        // at random, as if it had no such address, is searched for what it has, with two requests a value.
        let refuses = matches!(rule.fault, Fault::RefuseAddress(_) | Fault::Exception(2 | 3));
        let most = if refuses { 2 * observer.channels.len() as u64 } else { REQUESTS * 3 };
        assert!(frames <= periods + 1, "{case}: {frames} frames");
        assert!(requests <= (periods + 1) * most, "{case}: {requests} requests");
        assert!(accepted <= 2 * (periods + 1), "{case}: {accepted} connections");

        observer.bench.server.misbehave(None);
        let ends = observer.bench.start.elapsed();
        observer.until(ends + RECOVERY, &case).await;
        let requests = observer.bench.server.requests();
        let (frames, good) = observer.until(ends + RECOVERY + 20 * PERIOD, &case).await;
        assert!(frames >= 20 && frames == good, "{case}: {good} of {frames} after its end");
        let requests = observer.bench.server.requests() - requests;
        // How much it gives at once, if that was learnt, is forgotten only in the next hour.
        let is_limited = refuses || matches!(rule.fault, Fault::BlockLimit(_));
        assert!(is_limited || requests == frames * REQUESTS, "{case}: {requests} requests in {frames} cycles");
        if rule.every == 1 {
            assert!(matches!(observer.online[..], [true] | [true, false, true]), "{case}: {:?}", observer.online);
        }
    });
}

fn rules() -> Vec<Rule> {
    let named = Rule::names().map(|name| Rule::named(name).unwrap());
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
    named.chain(further.into_iter().map(Rule::new)).collect()
}

/// All of them, and then which failed.
fn each(framing: Framing, rules: impl Iterator<Item = Rule>, lasts: Duration) {
    let fails = |rule: &Rule| std::panic::catch_unwind(|| hour(framing, *rule, lasts)).is_err();
    let failed: Vec<_> = rules.filter(fails).map(|rule| (rule.fault, rule.every)).collect();
    assert!(failed.is_empty(), "{framing:?}: {failed:?}");
}

#[test]
fn an_hour_of_each_fault_over_tcp_leaves_nothing_behind() {
    each(BOTH[0], rules().into_iter(), HOUR);
}

#[test]
fn an_hour_of_each_fault_on_a_serial_line_leaves_nothing_behind() {
    each(BOTH[1], rules().into_iter(), HOUR);
}

/// Each second, third or fifth request.
fn comes_and_goes(framing: Framing) {
    let rules = rules().into_iter().flat_map(|rule| [2, 3, 5].map(|every| rule.every(every)));
    each(framing, rules, HOUR / 10);
}

#[test]
fn a_fault_that_comes_and_goes_over_tcp_leaves_nothing_behind() {
    comes_and_goes(BOTH[0]);
}

#[test]
fn a_fault_that_comes_and_goes_on_a_serial_line_leaves_nothing_behind() {
    comes_and_goes(BOTH[1]);
}
