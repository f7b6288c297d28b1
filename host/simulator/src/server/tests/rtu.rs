//! RTU frames over TCP, a serial port and a stream in memory.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncWrite, duplex};
use tokio_serial::{Parity, SerialStream, StopBits};

use super::super::framing::Framing;
use super::super::{Transport, rtu};
use super::*;

/// A request of known CRC: unit 1, one register at 0x01A4.
const REQUEST: [u8; 8] = [0x01, 0x03, 0x01, 0xa4, 0x00, 0x01, 0xc4, 0x15];
/// The reply to it: the register is 1.
const REPLY: [u8; 7] = [0x01, 0x03, 0x02, 0x00, 0x01, 0x79, 0x84];
/// The same request to a unit that does not exist, without its CRC.
const TO_UNKNOWN_UNIT: [u8; 6] = [0x07, 0x03, 0x01, 0xa4, 0x00, 0x01];

fn memory() -> Registers {
    let registers = registers();
    registers.set(1, Table::Holding, 0x01a4, &[1]);
    registers.set(2, Table::Holding, 0x01a4, &[2]);
    registers
}

fn framed(unit_and_pdu: &[u8]) -> Vec<u8> {
    rtu::to_bytes(&ModbusFrame { transaction: 0, unit: unit_and_pdu[0], pdu: unit_and_pdu[1..].to_vec() })
}

async fn exchange<const N: usize>(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &[u8]) -> [u8; N] {
    stream.write_all(request).await.unwrap();
    let mut reply = [0; N];
    timeout(LIMIT, stream.read_exact(&mut reply)).await.expect("no reply").unwrap();
    reply
}

async fn over_tcp() -> (Server, TcpStream) {
    let server =
        Server::start_with_transport((Ipv4Addr::LOCALHOST, 0).into(), Transport::RtuOverTcp, memory()).unwrap();
    let stream = TcpStream::connect(server.address()).await.unwrap();
    (server, stream)
}

#[tokio::test]
async fn replies_have_a_crc() {
    let (server, mut stream) = over_tcp().await;
    assert_eq!(exchange(&mut stream, &REQUEST).await, REPLY);
    let refused = framed(&[1, 3, 0, 0, 0, 1]);
    assert_eq!(exchange::<5>(&mut stream, &refused).await.to_vec(), framed(&[1, 0x83, 2]));
    assert_eq!(server.request_log()[0], ReceivedRequest { unit: 1, function: 3, address: 0x01a4, count: 1 });
}

#[tokio::test(start_paused = true)]
async fn unknown_units_and_wrong_crcs_are_not_answered() {
    let server = Server::start_detached(memory()).unwrap();
    let (mut client, served) = duplex(512);
    server.attach(served, Framing::Rtu);
    client.write_all(&framed(&TO_UNKNOWN_UNIT)).await.unwrap();
    until(|| server.requests() == 1).await;
    assert_eq!(exchange(&mut client, &REQUEST).await, REPLY);
    client.write_all(&[&REQUEST[..7], &[0]].concat()).await.unwrap();
    // Bytes that are no frame end with a silence.
    tokio::time::sleep(2 * rtu::SILENCE).await;
    assert_eq!(exchange(&mut client, &REQUEST).await, REPLY);
    assert_eq!(server.requests(), 3);
}

#[tokio::test]
async fn a_broadcast_is_carried_out_everywhere_and_not_answered() {
    let (server, mut stream) = over_tcp().await;
    stream.write_all(&framed(&[0, 6, 0x01, 0xa4, 0, 9])).await.unwrap();
    assert_eq!(exchange::<7>(&mut stream, &REQUEST).await.to_vec(), framed(&[1, 3, 2, 0, 9]));
    assert_eq!(server.registers().get(2, Table::Holding, 0x01a4, 1), Some(vec![9]));
}

#[tokio::test]
async fn faults_of_rtu_frames() {
    let (server, mut stream) = over_tcp().await;
    server.set_fault(Some(Fault::WrongCrc));
    let wrong: [u8; 7] = exchange(&mut stream, &REQUEST).await;
    assert_eq!(wrong[..5], REPLY[..5]);
    assert_ne!(wrong[5..], REPLY[5..]);
    server.set_fault(Some(Fault::WrongUnit));
    assert_eq!(exchange::<7>(&mut stream, &REQUEST).await.to_vec(), framed(&[2, 3, 2, 0, 1]));
    server.set_fault(Some(Fault::WrongTransaction));
    assert_eq!(exchange(&mut stream, &REQUEST).await, REPLY);
    server.set_fault(Some(Fault::Noise));
    assert_eq!(exchange::<10>(&mut stream, &REQUEST).await.to_vec(), [&fault::NOISE[..], &REPLY].concat());
    server.set_fault_rules([FaultRule::new(Fault::Late).times(1)]);
    stream.write_all(&REQUEST).await.unwrap();
    until(|| server.hits() == 5).await;
    let next = framed(&[2, 3, 0x01, 0xa4, 0, 1]);
    let both: [u8; 14] = exchange(&mut stream, &next).await;
    assert_eq!(both.to_vec(), [&REPLY[..], &framed(&[2, 3, 2, 0, 2])].concat());
}

/// Sends requests as a client of a serial port and reads the reply, in a thread of its own.
async fn ask_serial(path: &Path, requests: Vec<Vec<u8>>, reply_bytes: usize) -> Vec<u8> {
    let path = PathBuf::from(path);
    let exchange = tokio::task::spawn_blocking(move || {
        let mut port = File::options().read(true).write(true).open(path).unwrap();
        for request in requests {
            port.write_all(&request).unwrap();
        }
        let mut reply = vec![0; reply_bytes];
        port.read_exact(&mut reply).unwrap();
        reply
    });
    timeout(LIMIT, exchange).await.expect("no reply on the serial port").unwrap()
}

#[tokio::test]
async fn a_serial_port_is_opened_closed_and_opened_again() {
    let server = Server::start_serial(memory()).unwrap();
    let path = server.path().unwrap().to_path_buf();
    for _ in 0..3 {
        assert_eq!(ask_serial(&path, vec![REQUEST.to_vec()], 7).await, REPLY);
    }
    assert_eq!((server.connections(), server.requests()), (1, 3));
    // Every byte is carried unchanged, including the control characters of a terminal.
    let words: Vec<u8> = (0..=245).collect();
    let write = [&[1, 16, 0, 100, 0, 123, 246][..], &words].concat();
    let written = framed(&[1, 16, 0, 100, 0, 123]);
    assert_eq!(ask_serial(&path, vec![framed(&write)], written.len()).await, written);
    let read = framed(&[&[1, 3, 246][..], &words].concat());
    assert_eq!(ask_serial(&path, vec![framed(&[1, 3, 0, 100, 0, 123])], read.len()).await, read);
    server.stop().await;
    assert!(!path.exists(), "the port is removed with its server");
}

#[tokio::test]
async fn a_serial_port_accepts_all_line_settings() {
    let server = Server::start_serial(memory()).unwrap();
    let path = server.path().unwrap().to_string_lossy();
    for parity in [Parity::None, Parity::Even, Parity::Odd] {
        let port = tokio_serial::new(&*path, 9600).parity(parity).stop_bits(StopBits::Two);
        let mut port = SerialStream::open(&port).unwrap();
        assert_eq!(exchange(&mut port, &REQUEST).await, REPLY);
    }
}

#[tokio::test]
async fn a_serial_port_survives_faults_that_close_a_connection() {
    let server = Server::start_serial(memory()).unwrap();
    let path = server.path().unwrap().to_path_buf();
    let rules = [Fault::HalfClose, Fault::Reset].map(|fault| FaultRule::new(fault).times(1));
    for rule in rules {
        server.set_fault_rules([rule]);
        assert_eq!(ask_serial(&path, vec![REQUEST.to_vec(), REQUEST.to_vec()], 7).await, REPLY, "{rule:?}");
    }
    server.set_fault_rules([FaultRule::new(Fault::Truncate).times(1)]);
    assert_eq!(ask_serial(&path, vec![REQUEST.to_vec()], 3).await, REPLY[..3]);
    server.drop_connections();
    assert_eq!(ask_serial(&path, vec![REQUEST.to_vec()], 7).await, REPLY);
}

#[tokio::test(start_paused = true)]
async fn a_stream_in_memory_is_served_in_virtual_time() {
    let hour = Duration::from_secs(3600);
    let server = Server::start_detached(memory()).unwrap();
    server.set_fault(Some(Fault::Slow(hour)));
    let (mut client, served) = duplex(512);
    server.attach(served, Framing::Rtu);
    let before = Instant::now();
    client.write_all(&REQUEST).await.unwrap();
    let mut reply = [0; 7];
    client.read_exact(&mut reply).await.unwrap();
    assert_eq!((reply, before.elapsed()), (REPLY, hour));
    let (mut other, served) = duplex(512);
    server.attach(served, Framing::Tcp);
    server.set_fault(None);
    let frame = ModbusFrame { transaction: 7, unit: 1, pdu: REQUEST[1..6].to_vec() };
    other.write_all(&frame.to_bytes()).await.unwrap();
    assert_eq!(ModbusFrame::read(&mut other).await.unwrap().pdu, REPLY[1..5]);
    assert_eq!((server.connections(), server.accepted()), (2, 2));
    server.stop().await;
    assert_eq!(other.read(&mut [0]).await.unwrap(), 0);
}
