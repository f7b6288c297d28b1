//! The server seen from a raw socket.

mod bits;
mod rtu;
mod rules;
mod tls;

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::frame::Frame;
use super::{Fault, Request, Rule, Server, fault};
use crate::registers::{Registers, Table};

/// Far longer than anything here takes; a hang fails instead of hanging.
const LIMIT: Duration = Duration::from_secs(10);
const UNIT: u8 = 1;
const READ_TWO: [u8; 5] = [3, 0, 10, 0, 2];
const TWO_WORDS: [u8; 6] = [3, 4, 0x01, 0x02, 0xff, 0xfe];

struct Client {
    stream: TcpStream,
    transaction: u16,
}

/// Unit 1: holding 10..=11 and 100..=299, input 20.
fn registers() -> Registers {
    let registers = Registers::new();
    registers.set(UNIT, Table::Holding, 10, &[0x0102, 0xfffe]);
    registers.fill(UNIT, Table::Holding, 100..=299, 7);
    registers.set(UNIT, Table::Input, 20, &[42]);
    registers
}

fn server() -> Server {
    Server::start((Ipv4Addr::LOCALHOST, 0).into(), registers()).unwrap()
}

async fn started() -> (Server, Client) {
    let server = server();
    let client = Client::connect(&server).await;
    (server, client)
}

async fn started_with(fault: Fault) -> (Server, Client) {
    let (server, client) = started().await;
    server.misbehave(Some(fault));
    (server, client)
}

impl Client {
    async fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address()).await.unwrap();
        Self { stream, transaction: 0 }
    }

    async fn send(&mut self, unit: u8, pdu: &[u8]) {
        self.transaction += 1;
        let frame = Frame { transaction: self.transaction, unit, pdu: pdu.to_vec() };
        self.stream.write_all(&frame.to_bytes()).await.unwrap();
    }

    async fn receive(&mut self) -> Frame {
        let read = timeout(LIMIT, Frame::read(&mut self.stream));
        read.await.expect("no reply").unwrap()
    }

    /// The PDU of the reply, whose header must match.
    async fn ask(&mut self, unit: u8, pdu: &[u8]) -> Vec<u8> {
        self.send(unit, pdu).await;
        let reply = self.receive().await;
        assert_eq!((reply.transaction, reply.unit), (self.transaction, unit));
        reply.pdu
    }

    /// All bytes until the server closes, or how it broke off.
    async fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = timeout(LIMIT, self.stream.read_to_end(&mut bytes));
        read.await.expect("the server did not close").map(|_| bytes)
    }

    /// Whether the server closes without another byte.
    async fn closes(&mut self) -> bool {
        self.rest().await.unwrap().is_empty()
    }
}

async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, wait).await.expect("it never came true");
}

#[tokio::test]
async fn reads_and_writes() {
    let (server, mut client) = started().await;
    let cases: [(&[u8], &[u8]); 6] = [
        (&READ_TWO, &TWO_WORDS),
        (&[4, 0, 20, 0, 1], &[4, 2, 0, 42]),
        (&[6, 0, 10, 0x12, 0x34], &[6, 0, 10, 0x12, 0x34]),
        (&[3, 0, 10, 0, 1], &[3, 2, 0x12, 0x34]),
        (&[16, 0, 10, 0, 2, 4, 0xaa, 0xbb, 0xcc, 0xdd], &[16, 0, 10, 0, 2]),
        (&READ_TWO, &[3, 4, 0xaa, 0xbb, 0xcc, 0xdd]),
    ];
    for (request, reply) in cases {
        assert_eq!(client.ask(UNIT, request).await, reply, "{request:?}");
    }
    assert_eq!(server.registers().get(UNIT, Table::Holding, 10, 2), Some(vec![0xaabb, 0xccdd]));
    let writes = |address| server.registers().writes(UNIT, Table::Holding, address);
    assert_eq!([writes(9), writes(10), writes(11), writes(12)], [0, 2, 1, 0]);
    let full = client.ask(UNIT, &[3, 0, 100, 0, 125]).await;
    assert_eq!((full.len(), full[1]), (252, 250));
}

#[tokio::test]
async fn refusals() {
    let (_server, mut client) = started().await;
    let mut too_many_written = vec![16, 0, 100, 0, 124, 248];
    too_many_written.resize(6 + 247, 0);
    let cases: [(u8, &[u8], [u8; 2]); 14] = [
        (UNIT, &[7], [0x87, 1]),
        (UNIT, &[43], [0xab, 1]),
        (UNIT, &[3, 0, 11, 0, 2], [0x83, 2]),
        (UNIT, &[4, 0, 10, 0, 1], [0x84, 2]),
        (UNIT, &[3, 0xff, 0xff, 0, 2], [0x83, 2]),
        (UNIT, &[6, 0, 12, 0, 1], [0x86, 2]),
        (UNIT, &[16, 0, 11, 0, 2, 4, 0, 1, 0, 2], [0x90, 2]),
        (UNIT, &[3, 0, 10, 0, 0], [0x83, 3]),
        (UNIT, &[3, 0, 100, 0, 126], [0x83, 3]),
        (UNIT, &[3, 0, 10], [0x83, 3]),
        (UNIT, &[6, 0, 10, 0], [0x86, 3]),
        (UNIT, &[16, 0, 10, 0, 2, 4, 0, 1], [0x90, 3]),
        (UNIT, &too_many_written, [0x90, 3]),
        (9, &READ_TWO, [0x83, 0x0b]),
    ];
    for (unit, request, reply) in cases {
        assert_eq!(client.ask(unit, request).await, reply, "{request:?}");
    }
    assert_eq!(client.ask(UNIT, &READ_TWO).await, TWO_WORDS);
}

#[tokio::test]
async fn any_unit_answers_from_unit_0() {
    let (server, mut client) = started().await;
    server.registers().set(0, Table::Holding, 10, &[5]);
    server.registers().any_unit(true);
    let reply = client.ask(247, &[3, 0, 10, 0, 1]).await;
    assert_eq!(reply, [3, 2, 0, 5]);
}

#[tokio::test]
async fn ill_formed_input_closes_the_connection() {
    let server = server();
    let cases: [[u8; 7]; 4] =
        [[0, 1, 0, 1, 0, 6, 1], [0, 1, 0, 0, 0, 1, 1], [0, 1, 0, 0, 0, 255, 1], [0, 1, 0, 0, 255, 255, 1]];
    for header in cases {
        let mut client = Client::connect(&server).await;
        client.stream.write_all(&header).await.unwrap();
        assert!(client.closes().await, "{header:?}");
    }
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn requests_are_counted_and_logged() {
    let (server, mut client) = started().await;
    for pdu in [&READ_TWO[..], &[6, 0, 10, 0, 1], &[43, 14, 1]] {
        client.ask(UNIT, pdu).await;
    }
    let request = |function, address, count| Request { unit: UNIT, function, address, count };
    assert_eq!(server.request_log(), [request(3, 10, 2), request(6, 10, 1), request(43, 0, 0)]);
    for _ in 0..super::REQUEST_LOG_MAX {
        client.ask(UNIT, &[4, 0, 20, 0, 1]).await;
    }
    assert_eq!(server.requests(), 3 + 4096);
    assert_eq!(server.request_log(), vec![request(4, 20, 1); 4096]);
}

#[tokio::test]
async fn connections_are_counted_cut_and_taken_again() {
    let (server, mut client) = started().await;
    let mut other = Client::connect(&server).await;
    until(|| server.connections() == 2).await;
    server.drop_connections();
    assert!(client.closes().await);
    assert!(other.closes().await);
    until(|| server.connections() == 0).await;
    let mut client = Client::connect(&server).await;
    assert_eq!(client.ask(UNIT, &READ_TWO).await, TWO_WORDS);
    drop(client);
    until(|| server.connections() == 0).await;
}

#[tokio::test]
async fn a_stopped_server_refuses_and_its_port_is_free() {
    let (server, mut client) = started().await;
    client.ask(UNIT, &READ_TWO).await;
    let address = server.address();
    server.stop().await;
    assert!(client.closes().await);
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let again = Server::start(address, registers()).unwrap();
    let mut client = Client::connect(&again).await;
    assert_eq!(client.ask(UNIT, &READ_TWO).await, TWO_WORDS);
}

#[tokio::test]
async fn a_dropped_server_cuts_its_connections() {
    let (server, mut client) = started().await;
    client.ask(UNIT, &READ_TWO).await;
    drop(server);
    assert!(client.closes().await);
}

#[test]
fn a_server_needs_a_runtime() {
    assert!(Server::start((Ipv4Addr::LOCALHOST, 0).into(), registers()).is_err());
}

#[tokio::test]
async fn faults_that_refuse() {
    let (server, mut client) = started().await;
    let cases: [(Fault, &[u8], &[u8]); 8] = [
        (Fault::Exception(6), &READ_TWO, &[0x83, 6]),
        (Fault::Exception(6), &[6, 0, 10, 0, 1], &[0x86, 6]),
        (Fault::BlockLimit(1), &READ_TWO, &[0x83, 2]),
        (Fault::BlockLimit(2), &READ_TWO, &TWO_WORDS),
        (Fault::RefuseAddress(11), &READ_TWO, &[0x83, 2]),
        (Fault::RefuseAddress(10), &READ_TWO, &[0x83, 2]),
        (Fault::RefuseAddress(9), &READ_TWO, &TWO_WORDS),
        (Fault::RefuseAddress(12), &READ_TWO, &TWO_WORDS),
    ];
    for (fault, request, reply) in cases {
        server.misbehave(Some(fault));
        assert_eq!(client.ask(UNIT, request).await, reply, "{fault:?}");
    }
    server.misbehave(None);
    assert_eq!(client.ask(UNIT, &READ_TWO).await, TWO_WORDS);
}

#[tokio::test]
async fn faults_that_change_the_number_of_registers() {
    let (server, mut client) = started().await;
    let cases: [(Fault, &[u8], &[u8]); 4] = [
        (Fault::ShortReply, &READ_TWO, &[3, 2, 1, 2]),
        (Fault::ShortReply, &[3, 0, 9, 0, 1], &[0x83, 2]),
        (Fault::LongReply, &[4, 0, 20, 0, 1], &[4, 4, 0, 42, 0, 0]),
        (Fault::LongReply, &[6, 0, 10, 0, 1], &[6, 0, 10, 0, 1]),
    ];
    for (fault, request, reply) in cases {
        server.misbehave(Some(fault));
        assert_eq!(client.ask(UNIT, request).await, reply, "{fault:?}");
    }
}

#[tokio::test]
async fn faults_in_the_header() {
    let (server, mut client) = started().await;
    let cases =
        [(Fault::WrongUnit, 0, UNIT + 1, 3), (Fault::WrongTransaction, 1, UNIT, 3), (Fault::WrongFunction, 0, UNIT, 4)];
    for (fault, ahead, unit, function) in cases {
        server.misbehave(Some(fault));
        client.send(UNIT, &READ_TWO).await;
        let reply = client.receive().await;
        assert_eq!(reply.transaction, client.transaction + ahead, "{fault:?}");
        assert_eq!((reply.unit, reply.pdu[0]), (unit, function), "{fault:?}");
        assert_eq!(reply.pdu[1..], TWO_WORDS[1..], "{fault:?}");
    }
}

#[tokio::test]
async fn silence_swallows_the_request() {
    let (server, mut client) = started_with(Fault::Silence).await;
    client.send(UNIT, &[6, 0, 10, 0, 1]).await;
    until(|| server.requests() == 1).await;
    server.misbehave(None);
    assert_eq!(client.ask(UNIT, &READ_TWO).await, TWO_WORDS);
}

#[tokio::test]
async fn slow_replies_come_later() {
    let delay = Duration::from_millis(30);
    let (_server, mut client) = started_with(Fault::Slow(delay)).await;
    let before = Instant::now();
    assert_eq!(client.ask(UNIT, &READ_TWO).await, TWO_WORDS);
    assert!(before.elapsed() >= delay);
}

#[tokio::test]
async fn slow_replies_can_be_cut() {
    let (server, mut client) = started_with(Fault::Slow(LIMIT * 100)).await;
    client.send(UNIT, &READ_TWO).await;
    until(|| server.requests() == 1).await;
    server.drop_connections();
    assert!(client.closes().await);
}

#[tokio::test]
async fn truncate_sends_half_a_frame() {
    let (_server, mut client) = started_with(Fault::Truncate).await;
    client.send(UNIT, &READ_TWO).await;
    // 13 bytes in all.
    assert_eq!(client.rest().await.unwrap(), [0, 1, 0, 0, 0, 7]);
}

#[tokio::test]
async fn garbage_is_no_frame() {
    let (server, mut client) = started_with(Fault::Garbage).await;
    client.send(UNIT, &READ_TWO).await;
    let mut bytes = [0; fault::GARBAGE.len()];
    let read = timeout(LIMIT, client.stream.read_exact(&mut bytes));
    read.await.expect("no garbage").unwrap();
    assert!(Frame::read(&mut &bytes[..]).await.is_err());
    server.misbehave(None);
    assert_eq!(client.ask(UNIT, &READ_TWO).await, TWO_WORDS);
}

#[tokio::test]
async fn half_close_leaves_the_other_half() {
    let (server, mut client) = started_with(Fault::HalfClose).await;
    client.send(UNIT, &READ_TWO).await;
    assert!(client.closes().await);
    client.send(UNIT, &READ_TWO).await;
    assert_eq!((server.connections(), server.requests()), (1, 1));
    drop(client);
    until(|| server.connections() == 0).await;
}

#[tokio::test]
async fn reset_in_mid_frame_breaks_off_after_half() {
    let (_server, mut client) = started_with(Fault::ResetMidFrame).await;
    client.send(UNIT, &READ_TWO).await;
    let mut half = [0; 6];
    timeout(LIMIT, client.stream.read_exact(&mut half)).await.expect("no half").unwrap();
    assert_eq!(half, [0, 1, 0, 0, 0, 7]);
    let broken = client.rest().await.unwrap_err();
    assert_eq!(broken.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn replies_in_pieces_twice_or_behind_noise() {
    let (server, mut client) = started().await;
    server.misbehave(Some(Fault::Dribble(Duration::from_millis(1))));
    assert_eq!(client.ask(UNIT, &READ_TWO).await, TWO_WORDS);
    server.misbehave(Some(Fault::Duplicate));
    let first = client.ask(UNIT, &READ_TWO).await;
    assert_eq!((first, client.receive().await.pdu), (TWO_WORDS.to_vec(), TWO_WORDS.to_vec()));
    server.misbehave(Some(Fault::Noise));
    client.send(UNIT, &READ_TWO).await;
    let mut noise = fault::NOISE;
    timeout(LIMIT, client.stream.read_exact(&mut noise)).await.expect("no noise").unwrap();
    assert_eq!((noise, client.receive().await.pdu), (fault::NOISE, TWO_WORDS.to_vec()));
}

#[tokio::test]
async fn a_late_reply_comes_into_the_next_exchange() {
    let (server, mut client) = started().await;
    server.misbehave_by([Rule::new(Fault::Late).times(1)]);
    client.send(UNIT, &READ_TWO).await;
    until(|| server.hits() == 1).await;
    client.send(UNIT, &[4, 0, 20, 0, 1]).await;
    let (late, own) = (client.receive().await, client.receive().await);
    assert_eq!((late.transaction, late.pdu), (1, TWO_WORDS.to_vec()));
    assert_eq!((own.transaction, own.pdu), (2, vec![4, 2, 0, 42]));
}

#[tokio::test]
async fn reset_breaks_off() {
    let (_server, mut client) = started_with(Fault::Reset).await;
    client.send(UNIT, &READ_TWO).await;
    let broken = client.rest().await.unwrap_err();
    assert_eq!(broken.kind(), ErrorKind::ConnectionReset);
}
