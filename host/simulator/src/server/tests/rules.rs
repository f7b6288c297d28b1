//! Faults for selected requests, and several at once.

use tokio::io::{DuplexStream, duplex};

use super::super::framing::Framing;
use super::*;

#[tokio::test]
async fn a_fault_ends_after_its_number_of_times() {
    let (server, mut client) = started().await;
    server.set_fault_rules([FaultRule::new(Fault::Exception(6)).times(2)]);
    for _ in 0..2 {
        assert_eq!(client.ask(UNIT, &READ_TWO).await, [0x83, 6]);
    }
    assert_eq!(client.ask(UNIT, &READ_TWO).await, TWO_WORDS);
    assert_eq!((server.hits(), server.requests()), (2, 3));
}

#[tokio::test]
async fn rules_select_their_requests_and_delays_add_up() {
    let (server, mut client) = started().await;
    server.registers().set(2, Table::Holding, 10, &[1, 1]);
    let delay = Duration::from_millis(20);
    server.set_fault_rules([
        FaultRule::new(Fault::Exception(4)).unit(2),
        FaultRule::new(Fault::Exception(1)).function(16),
        FaultRule::new(Fault::RefuseAddress(10)),
        FaultRule::new(Fault::BlockLimit(32)),
        FaultRule::from(Fault::Slow(delay)),
        FaultRule::new(Fault::Slow(delay)).function(4),
    ]);
    let before = Instant::now();
    assert_eq!(client.ask(2, &READ_TWO).await, [0x83, 4]);
    assert!(before.elapsed() >= delay);
    assert_eq!(client.ask(UNIT, &[16, 0, 10, 0, 1, 2, 0, 0]).await, [0x90, 1]);
    assert_eq!(client.ask(UNIT, &READ_TWO).await, [0x83, 2]);
    assert_eq!(client.ask(UNIT, &[3, 0, 100, 0, 33]).await, [0x83, 2]);
    assert_eq!(client.ask(UNIT, &[3, 0, 100, 0, 32]).await.len(), 66);
    let before = Instant::now();
    assert_eq!(client.ask(UNIT, &[4, 0, 20, 0, 1]).await, [4, 2, 0, 42]);
    assert!(before.elapsed() >= 2 * delay);
}

#[tokio::test]
async fn changes_of_a_reply_are_applied_one_after_the_other() {
    let (server, mut client) = started().await;
    let faults = [Fault::WrongUnit, Fault::ShortReply, Fault::WrongTransaction, Fault::Duplicate];
    server.set_fault_rules(faults.map(FaultRule::new));
    client.send(UNIT, &READ_TWO).await;
    for _ in 0..2 {
        let ModbusFrame { transaction, unit, pdu } = client.receive().await;
        assert_eq!((transaction, unit, pdu), (2, UNIT + 1, vec![3, 2, 1, 2]));
    }
}

async fn ask(stream: &mut DuplexStream) -> Option<Vec<u8>> {
    let frame = ModbusFrame { transaction: 1, unit: UNIT, pdu: READ_TWO.to_vec() };
    stream.write_all(&frame.to_bytes()).await.ok()?;
    ModbusFrame::read(stream).await.ok().map(|frame| frame.pdu)
}

#[tokio::test(start_paused = true)]
async fn requests_within_a_pause_fail() {
    let (after_connect, between) = (Duration::from_secs(2), Duration::from_millis(500));
    let server = Server::start_detached(registers()).unwrap();
    server.set_fault_rules([
        FaultRule::new(Fault::Reset).within_connect_pause(after_connect),
        FaultRule::new(Fault::Exception(6)).within_reply_pause(between),
    ]);
    let connect = || {
        let (client, served) = duplex(512);
        server.attach(served, Framing::Tcp);
        client
    };
    let mut early = connect();
    // The pause starts when the server's task does.
    tokio::time::sleep(after_connect - Duration::from_millis(2)).await;
    assert_eq!(ask(&mut early).await, None);
    let mut later = connect();
    tokio::time::sleep(after_connect).await;
    assert_eq!(ask(&mut later).await, Some(TWO_WORDS.to_vec()));
    tokio::time::sleep(between - Duration::from_millis(2)).await;
    assert_eq!(ask(&mut later).await, Some(vec![0x83, 6]));
    tokio::time::sleep(between).await;
    assert_eq!(ask(&mut later).await, Some(TWO_WORDS.to_vec()));
    let times: Vec<_> = server.request_times().into_iter().map(|(at, _)| at).collect();
    assert_eq!(times[3] - times[2], between);
}
