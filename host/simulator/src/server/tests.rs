//! The server as seen by a client that sends raw frames.

mod bits;
mod faults;
mod rtu;
mod rules;
mod tls;

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::frame::ModbusFrame;
use super::request_log::REQUEST_LOG_MAX;
use super::{Fault, FaultRule, ReceivedRequest, Server, fault};
use crate::registers::{Origin, Registers, Table, WriteEffect};

/// Far longer than anything here takes; a test that hangs fails instead.
const LIMIT: Duration = Duration::from_secs(10);
/// The unit id of the requests.
const UNIT: u8 = 1;
/// A request for two holding registers.
const READ_TWO: [u8; 5] = [3, 0, 10, 0, 2];
/// The reply to it.
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

impl Client {
    async fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address()).await.unwrap();
        Self { stream, transaction: 0 }
    }

    async fn send(&mut self, unit: u8, pdu: &[u8]) {
        self.transaction += 1;
        let frame = ModbusFrame { transaction: self.transaction, unit, pdu: pdu.to_vec() };
        self.stream.write_all(&frame.to_bytes()).await.unwrap();
    }

    async fn receive(&mut self) -> ModbusFrame {
        let read = timeout(LIMIT, ModbusFrame::read(&mut self.stream));
        read.await.expect("no reply").unwrap()
    }

    /// The PDU of the reply, whose header must match.
    async fn ask(&mut self, unit: u8, pdu: &[u8]) -> Vec<u8> {
        self.send(unit, pdu).await;
        let reply = self.receive().await;
        assert_eq!((reply.transaction, reply.unit), (self.transaction, unit));
        reply.pdu
    }

    /// All bytes until the server closes the connection, or the error that ends it.
    async fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = timeout(LIMIT, self.stream.read_to_end(&mut bytes));
        read.await.expect("the server did not close").map(|_| bytes)
    }

    /// Whether the server closes the connection without a further byte.
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
    timeout(LIMIT, wait).await.expect("the condition was not met");
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
async fn invalid_requests_get_an_exception() {
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
async fn a_malformed_header_closes_the_connection() {
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
    let request = |function, address, count| ReceivedRequest { unit: UNIT, function, address, count };
    assert_eq!(server.request_log(), [request(3, 10, 2), request(6, 10, 1), request(43, 0, 0)]);
    for _ in 0..REQUEST_LOG_MAX {
        client.ask(UNIT, &[4, 0, 20, 0, 1]).await;
    }
    assert_eq!(server.requests(), 3 + 4096);
    assert_eq!(server.request_log(), vec![request(4, 20, 1); 4096]);
}

#[tokio::test]
async fn connections_are_counted_closed_and_accepted_again() {
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
async fn a_write_may_be_refused_and_a_rebooted_device_has_forgotten_it() {
    let (server, mut client) = started().await;
    server.registers().keep_defaults();
    let write = [6, 0, 10, 0x12, 0x34];
    server.registers().on_write(UNIT, Table::Holding, 10, Some(WriteEffect::Refused(4)));
    assert_eq!(client.ask(UNIT, &write).await, [0x86, 4]);
    assert_eq!(client.ask(UNIT, &READ_TWO).await, TWO_WORDS);
    server.registers().on_write(UNIT, Table::Holding, 10, None);
    assert_eq!(client.ask(UNIT, &write).await, write);
    server.reboot();
    assert!(client.closes().await);
    let mut client = Client::connect(&server).await;
    assert_eq!(client.ask(UNIT, &READ_TWO).await, TWO_WORDS);
    let origins: Vec<_> = server.registers().write_log().iter().map(|record| record.origin).collect();
    assert_eq!(origins, [Origin::Client, Origin::Client, Origin::Reboot]);
    assert_eq!(server.registers().writes(UNIT, Table::Holding, 10), 1, "a refused write is none");
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
async fn a_dropped_server_closes_its_connections() {
    let (server, mut client) = started().await;
    client.ask(UNIT, &READ_TWO).await;
    drop(server);
    assert!(client.closes().await);
}

#[test]
fn a_server_needs_a_runtime() {
    assert!(Server::start((Ipv4Addr::LOCALHOST, 0).into(), registers()).is_err());
}
