//! Malformed replies inside valid frames: nothing that a device sends ends the poller.

use bessai_simulator::server::Framing;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::fixture::{BOTH, MS, MemoryDialer, crc, device, in_virtual_time, registers, spawn_poller};
use crate::{DeviceReport, WriteQueue};

/// Reproducible pseudo-random numbers (Marsaglia's xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    /// A reply that may begin with the requested function.
    fn pdu(&mut self, function: u8) -> Vec<u8> {
        let function = match self.below(6) {
            0 => function | 0x80,
            1 => self.byte(),
            _ => function,
        };
        let length = self.below(300);
        let counted = if self.below(2) == 0 { u8::try_from(length.min(255)).unwrap() } else { self.byte() };
        let length_sent = usize::try_from(self.below(310)).unwrap();
        let rest: Vec<u8> = (0..length).map(|_| self.byte()).collect();
        [function, counted].into_iter().chain(rest).take(length_sent).collect()
    }
}

/// Replies to each request with a valid frame around a malformed reply, sometimes in two pieces.
async fn reply_malformed(mut stream: DuplexStream, framing: Framing, mut random: Random) {
    let mut request = [0; 260];
    while let Ok(1..) = stream.read(&mut request).await {
        let frame = match framing {
            Framing::Tcp => {
                let pdu = random.pdu(request[7]);
                let length = u16::try_from(pdu.len() + 1).unwrap().to_be_bytes();
                [&request[..4], &length, &request[6..7], &pdu].concat()
            }
            Framing::Rtu => {
                let covered = [&request[..1], &random.pdu(request[1])].concat();
                [&covered[..], &crc(&covered)].concat()
            }
        };
        let (first, second) = frame.split_at(frame.len() / 2);
        let _ = stream.write_all(first).await;
        tokio::time::sleep(MS * u32::try_from(random.below(3)).unwrap()).await;
        let _ = stream.write_all(second).await;
    }
}

#[test]
fn malformed_replies_do_not_end_the_poller() {
    for framing in BOTH {
        in_virtual_time(async {
            let mut seed = 0x5eed;
            let seeds = std::cell::RefCell::new(std::iter::repeat_with(move || {
                seed += 0x9e37_79b9;
                Random(seed)
            }));
            let connect = move || {
                let (ours, theirs) = duplex(4096);
                tokio::task::spawn_local(reply_malformed(theirs, framing, seeds.borrow_mut().next().unwrap()));
                Ok(ours)
            };
            let profile = registers(0..10)
                + "t = { address = 20, type = \"string\", count = 4 }\nc = { table = \"coil\", address = 3 }\n"
                + "d = { table = \"discrete\", address = 3 }\ni = { table = \"input\", address = 3, type = \"float64\", scale = 1 }\n";
            let devices = vec![device("box", 1, &profile)];
            let (reported, mut reports) = mpsc::channel(4);
            let dialer = MemoryDialer { framing, connect };
            let task = spawn_poller(dialer, devices, Instant::now(), reported, WriteQueue::closed());
            let mut frames = 0;
            while frames < 5000 {
                match reports.recv().await.expect("the poller has ended") {
                    DeviceReport::Frame(_, frame, _) => {
                        assert_eq!(frame.values.len(), 14);
                        frames += 1;
                    }
                    DeviceReport::Status(..) | DeviceReport::Failure(_) | DeviceReport::Missing(_) => {}
                    DeviceReport::Discovered(..) => panic!("a device that is not discovered was"),
                }
            }
            assert!(!task.is_finished());
            task.abort();
        });
    }
}
