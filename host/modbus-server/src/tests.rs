//! Clients on streams in memory, in virtual time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bessai_domain::plan::ReadRequest;
use bessai_domain::relay::{Exception, RelayError, RelayTarget};
use bessai_domain::write::WriteRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::Instant;

use crate::connection::serve_client;
use crate::frame::{FrameError, first_frame};
use crate::{ServerCounters, ServerSettings};

/// Registers 0 to 99 of unit 1, each with its own address as value, and bits that are 1 at odd addresses; register 10 is in
/// the last reading, register 50 can be written up to 9.
#[derive(Default)]
struct Device {
    written: RefCell<Vec<WriteRequest>>,
    reads: Cell<u32>,
}

fn values(request: &ReadRequest) -> Vec<u16> {
    let value = |address: u16| if request.table.is_bits() { address % 2 } else { address };
    (request.start..request.start + request.count).map(value).collect()
}

impl RelayTarget for Device {
    fn append_latest(&self, request: &ReadRequest, words: &mut Vec<u16>) -> bool {
        let is_known = request.unit.0 == 1 && (request.start, request.count) == (10, 1);
        words.extend(values(request).into_iter().filter(|_| is_known));
        is_known
    }

    async fn read(&self, request: &ReadRequest) -> Result<Vec<u16>, RelayError> {
        self.reads.set(self.reads.get() + 1);
        if request.unit.0 != 1 {
            return Err(RelayError::new(Exception::NO_REPLY, "unit 2 does not reply"));
        }
        Ok(values(request))
    }

    async fn write(&self, request: WriteRequest, client: &str) -> Result<(), RelayError> {
        assert_eq!(client, "client");
        if request.words.iter().any(|word| *word > 9) {
            return Err(RelayError::new(Exception::ILLEGAL_VALUE, "too large"));
        }
        self.written.borrow_mut().push(request);
        Ok(())
    }
}

struct Connected {
    stream: DuplexStream,
    device: Rc<Device>,
    counters: Rc<ServerCounters>,
    served: JoinHandle<Result<(), String>>,
}

fn connect() -> Connected {
    let (stream, served) = duplex(4096);
    let (device, counters) = (Rc::new(Device::default()), Rc::new(ServerCounters::default()));
    let (target, counted) = (Rc::clone(&device), Rc::clone(&counters));
    let served = tokio::task::spawn_local(async move {
        serve_client(served, &*target, &counted, "client", &Cell::new(Instant::now())).await
    });
    Connected { stream, device, counters, served }
}

impl Connected {
    /// Sends a PDU to a unit and returns the PDU of the reply, whose header is checked.
    async fn ask(&mut self, unit: u8, pdu: &[u8]) -> Vec<u8> {
        self.stream.write_all(&frame(0x1234, unit, pdu)).await.unwrap();
        self.reply(0x1234, unit).await
    }

    async fn reply(&mut self, transaction: u16, unit: u8) -> Vec<u8> {
        let mut header = [0; 7];
        self.stream.read_exact(&mut header).await.unwrap();
        let [high, low] = transaction.to_be_bytes();
        let length = u16::from_be_bytes([header[4], header[5]]);
        assert_eq!((&header[..4], header[6]), ([high, low, 0, 0].as_slice(), unit), "the reply has the request's ids");
        let mut pdu = vec![0; usize::from(length) - 1];
        self.stream.read_exact(&mut pdu).await.unwrap();
        pdu
    }

    async fn disconnected(self) -> String {
        self.served.await.unwrap().unwrap_err()
    }
}

fn frame(transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let length = u16::try_from(pdu.len() + 1).unwrap();
    [&transaction.to_be_bytes(), [0, 0].as_slice(), &length.to_be_bytes(), &[unit], pdu].concat()
}

async fn local<F: Future>(test: F) -> F::Output {
    LocalSet::new().run_until(test).await
}

#[tokio::test]
async fn every_table_is_read_from_the_last_reading_or_from_the_device() {
    local(async {
        let mut client = connect();
        assert_eq!(client.ask(1, &[3, 0, 10, 0, 1]).await, [3, 2, 0, 10]);
        assert_eq!((client.counters.from_latest.get(), client.device.reads.get()), (1, 0));
        assert_eq!(client.ask(1, &[4, 0, 98, 0, 2]).await, [4, 4, 0, 98, 0, 99]);
        assert_eq!(client.ask(1, &[1, 0, 1, 0, 9]).await, [1, 2, 0b0101_0101, 1]);
        assert_eq!(client.ask(1, &[2, 0, 0, 0, 3]).await, [2, 1, 0b010]);
        assert_eq!((client.counters.relayed.get(), client.device.reads.get()), (3, 3));
        assert_eq!(client.ask(2, &[3, 0, 0, 0, 1]).await, [0x83, 11]);
        assert_eq!(client.counters.exceptions.get(), 1);
    })
    .await;
}

#[tokio::test]
async fn writes_are_confirmed_as_the_standard_has_it() {
    local(async {
        let mut client = connect();
        assert_eq!(client.ask(1, &[6, 0, 50, 0, 7]).await, [6, 0, 50, 0, 7]);
        assert_eq!(client.ask(1, &[16, 0, 50, 0, 2, 4, 0, 1, 0, 2]).await, [16, 0, 50, 0, 2]);
        assert_eq!(client.ask(1, &[5, 0, 3, 0xff, 0]).await, [5, 0, 3, 0xff, 0]);
        assert_eq!(client.ask(1, &[15, 0, 3, 0, 9, 2, 0b1000_0001, 1]).await, [15, 0, 3, 0, 9]);
        let written = client.device.written.take();
        let words: Vec<_> = written.iter().map(|write| (write.address, write.words.clone())).collect();
        let coils = vec![1, 0, 0, 0, 0, 0, 0, 1, 1];
        assert_eq!(words, [(50, vec![7]), (50, vec![1, 2]), (3, vec![1]), (3, coils)]);
        assert_eq!(client.ask(1, &[6, 0, 50, 0, 10]).await, [0x86, 3]);
    })
    .await;
}

#[tokio::test]
async fn invalid_requests_get_the_exception_of_the_standard() {
    local(async {
        let mut client = connect();
        for (pdu, exception) in [
            (&[7][..], 1),
            (&[0x2b, 0x0e, 1, 0], 1),
            (&[0x17, 0, 0, 0, 1, 0, 0, 0, 1, 2, 0, 0], 1),
            (&[0x83, 1], 1),
            (&[3, 0, 0, 0, 0], 3),
            (&[3, 0, 0, 0, 126], 3),
            (&[1, 0, 0, 7, 209], 3),
            (&[3, 0, 0, 0], 3),
            (&[3, 0, 0, 0, 1, 0], 3),
            (&[3, 0xff, 0xff, 0, 2], 2),
            (&[5, 0, 3, 0, 1], 3),
            (&[6, 0, 3, 0], 3),
            (&[15, 0, 3, 0, 9, 1, 0xff], 3),
            (&[16, 0, 3, 0, 2, 4, 0, 1, 0], 3),
            (&[16, 0, 3, 0, 2, 3, 0, 1, 0], 3),
            (&[16, 0, 3, 0, 0, 0], 3),
            (&[16, 0xff, 0xff, 0, 2, 4, 0, 1, 0, 1], 2),
        ] {
            let function = pdu[0] | 0x80;
            assert_eq!(client.ask(1, pdu).await, [function, exception], "{pdu:?}");
        }
        assert_eq!(client.ask(1, &[3, 0, 1, 0, 1]).await, [3, 2, 0, 1], "the connection goes on");
    })
    .await;
}

#[tokio::test]
async fn requests_may_arrive_together_or_byte_by_byte() {
    local(async {
        let mut client = connect();
        let requests: Vec<u8> = (0..100).flat_map(|number| frame(number, 1, &[3, 0, 1, 0, 1])).collect();
        client.stream.write_all(&requests).await.unwrap();
        for number in 0..100 {
            assert_eq!(client.reply(number, 1).await, [3, 2, 0, 1]);
        }
        for byte in frame(7, 1, &[3, 0, 2, 0, 1]) {
            client.stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(client.reply(7, 1).await, [3, 2, 0, 2]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn clients_that_do_not_speak_modbus_or_do_not_read_are_disconnected() {
    local(async {
        let mut client = connect();
        client.stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let reason = "sent something else than Modbus/TCP: protocol id 8239 instead of 0";
        let reason = reason.replace("8239", &u16::from_be_bytes(*b"T ").to_string());
        assert_eq!(client.disconnected().await, reason);

        let mut client = connect();
        client.stream.write_all(&[0, 1, 0, 0, 1, 0, 1]).await.unwrap();
        assert_eq!(client.disconnected().await, "sent a frame of length 256; Modbus/TCP has 2 to 254");

        let mut client = connect();
        client.stream.write_all(&[0, 1, 0]).await.unwrap();
        let begin = Instant::now();
        assert_eq!(client.disconnected().await, "did not send the rest of a frame within 5s");
        assert_eq!(begin.elapsed(), Duration::from_secs(5));

        assert_eq!(connect().disconnected_after_silence().await, "sent no request for 600s");

        let mut client = connect();
        let request = frame(0, 1, &[3, 0, 0, 0, 100]);
        let flood = async { while client.stream.write_all(&request).await.is_ok() {} };
        // The flood ends with the connection, too.
        tokio::select! {
            biased;
            reason = &mut client.served => assert_eq!(reason.unwrap().unwrap_err(), "did not take a reply within 5s"),
            () = flood => panic!("the server reads without an end"),
        }
    })
    .await;
}

impl Connected {
    /// Waits with the stream open.
    async fn disconnected_after_silence(self) -> String {
        let Self { stream, served, .. } = self;
        let reason = served.await.unwrap().unwrap_err();
        drop(stream);
        reason
    }
}

#[test]
fn frames_are_complete_or_wait_for_more() {
    let whole = frame(0xabcd, 9, &[3, 0, 1, 0, 2]);
    for end in 0..whole.len() {
        assert_eq!(first_frame(&whole[..end]), Ok(None));
    }
    let found = first_frame(&whole).unwrap().unwrap();
    assert_eq!((found.transaction, found.unit, found.length), (0xabcd, 9, whole.len()));
    assert_eq!(first_frame(&[0, 0, 0, 0, 0, 1]), Err(FrameError::Length(1)));
    assert_eq!(first_frame(&[0, 0, 0, 0, 0, 255]), Err(FrameError::Length(255)));
}

#[test]
fn clients_are_allowed_by_network() {
    let allow = ["192.168.1.0/24", "fd00::/8"].map(|network| network.parse().unwrap()).to_vec();
    let settings = ServerSettings { listen: "0.0.0.0:502".parse().unwrap(), allow };
    let allows = |client: &str| settings.allows(client.parse().unwrap());
    assert!(allows("192.168.1.77") && allows("fd12::1") && allows("::ffff:192.168.1.9"));
    assert!(!allows("192.168.2.1") && !allows("127.0.0.1") && !allows("fe80::1"));
    let all = ServerSettings { allow: Vec::new(), ..settings };
    assert!(all.allows("10.0.0.1".parse().unwrap()));
}
