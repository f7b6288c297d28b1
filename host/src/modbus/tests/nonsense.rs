//! Replies that are nonsense inside a sound frame: nothing that a device sends ends the line's task.

use std::rc::Rc;

use bessai_domain::time::Timestamp;
use bessai_simulator::server::Framing;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::{Address, Given, Line, Reported, run};
use super::bench::{BOTH, MS, device, registers, virtually};

/// Numbers that look random and are the same each time (Marsaglia's xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.roll(256)).unwrap()
    }

    /// A reply that begins as one of this function might.
    fn pdu(&mut self, function: u8) -> Vec<u8> {
        let function = match self.roll(6) {
            0 => function | 0x80,
            1 => self.byte(),
            _ => function,
        };
        let length = self.roll(300);
        let counted = if self.roll(2) == 0 { u8::try_from(length.min(255)).unwrap() } else { self.byte() };
        let cut = usize::try_from(self.roll(310)).unwrap();
        let rest: Vec<u8> = (0..length).map(|_| self.byte()).collect();
        [function, counted].into_iter().chain(rest).take(cut).collect()
    }
}

fn check_bytes(bytes: &[u8]) -> [u8; 2] {
    let check = bytes.iter().fold(u16::MAX, |check, &byte| {
        (0..8).fold(check ^ u16::from(byte), |check, _| if check & 1 == 1 { check >> 1 ^ 0xa001 } else { check >> 1 })
    });
    check.to_le_bytes()
}

/// Answers each request with a sound frame around nonsense, in pieces now and then.
async fn talk_nonsense(mut stream: DuplexStream, framing: Framing, mut dice: Dice) {
    let mut request = [0; 260];
    while let Ok(1..) = stream.read(&mut request).await {
        let frame = match framing {
            Framing::Tcp => {
                let pdu = dice.pdu(request[7]);
                let length = u16::try_from(pdu.len() + 1).unwrap().to_be_bytes();
                [&request[..4], &length, &request[6..7], &pdu].concat()
            }
            Framing::Rtu => {
                let covered = [&request[..1], &dice.pdu(request[1])].concat();
                [&covered[..], &check_bytes(&covered)].concat()
            }
        };
        let (first, second) = frame.split_at(frame.len() / 2);
        let _ = stream.write_all(first).await;
        tokio::time::sleep(MS * u32::try_from(dice.roll(3)).unwrap()).await;
        let _ = stream.write_all(second).await;
    }
}

#[test]
fn nothing_that_a_device_sends_ends_the_task() {
    for framing in BOTH {
        virtually(async {
            let mut seed = 0x5eed;
            let seeds = std::cell::RefCell::new(std::iter::repeat_with(move || {
                seed += 0x9e37_79b9;
                Dice(seed)
            }));
            let dial = Rc::new(move || {
                let (ours, theirs) = duplex(4096);
                tokio::task::spawn_local(talk_nonsense(theirs, framing, seeds.borrow_mut().next().unwrap()));
                Ok(ours)
            });
            let address = Address::Given(Given { name: "nonsense".into(), is_serial: framing == Framing::Rtu, dial });
            let profile = registers(0..10)
                + "t = { address = 20, type = \"string\", count = 4 }\nc = { table = \"coil\", address = 3 }\n"
                + "d = { table = \"discrete\", address = 3 }\ni = { table = \"input\", address = 3, type = \"float64\", scale = 1 }\n";
            let line = Line { address, devices: vec![device("box", 1, &profile)] };
            let (reported, mut reports) = mpsc::channel(4);
            let (_orders, received) = mpsc::channel(1);
            let task = tokio::task::spawn_local(run(line, Instant::now(), Timestamp::default, reported, received));
            let mut frames = 0;
            while frames < 5000 {
                match reports.recv().await.expect("the task has ended") {
                    Reported::Frame(_, frame) => {
                        assert_eq!(frame.values.len(), 14);
                        frames += 1;
                    }
                    Reported::Status(..) => {}
                    Reported::Found(..) => panic!("nothing is to be found"),
                }
            }
            assert!(!task.is_finished());
            task.abort();
        });
    }
}
