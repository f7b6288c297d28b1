//! Faults for some requests, and several at once.

use tokio::io::{DuplexStream, duplex};

use super::super::frame::Framing;
use super::*;

#[tokio::test]
async fn a_busy_device_is_fine_after_a_while() {
    let (server, mut client) = started().await;
    server.misbehave_by([Rule::new(Fault::Exception(6)).times(2)]);
    for _ in 0..2 {
        assert_eq!(client.ask(UNIT, &READ_TWO).await, [0x83, 6]);
    }
    assert_eq!(client.ask(UNIT, &READ_TWO).await, TWO_WORDS);
    assert_eq!((server.hits(), server.requests()), (2, 3));
}

#[tokio::test]
async fn rules_pick_their_requests_and_add_up() {
    let (server, mut client) = started().await;
    server.registers().set(2, Table::Holding, 10, &[1, 1]);
    let delay = Duration::from_millis(20);
    server.misbehave_by([
        Rule::new(Fault::Exception(4)).unit(2),
        Rule::new(Fault::Exception(1)).function(16),
        Rule::new(Fault::RefuseAddress(10)),
        Rule::new(Fault::BlockLimit(32)),
        Rule::from(Fault::Slow(delay)),
        Rule::new(Fault::Slow(delay)).function(4),
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
async fn lies_follow_each_other() {
    let (server, mut client) = started().await;
    server
        .misbehave_by([Fault::WrongUnit, Fault::ShortReply, Fault::WrongTransaction, Fault::Duplicate].map(Rule::new));
    client.send(UNIT, &READ_TWO).await;
    for _ in 0..2 {
        let Frame { transaction, unit, pdu } = client.receive().await;
        assert_eq!((transaction, unit, pdu), (2, UNIT + 1, vec![3, 2, 1, 2]));
    }
}

async fn ask(stream: &mut DuplexStream) -> Option<Vec<u8>> {
    let frame = Frame { transaction: 1, unit: UNIT, pdu: READ_TWO.to_vec() };
    stream.write_all(&frame.to_bytes()).await.ok()?;
    Frame::read(stream).await.ok().map(|frame| frame.pdu)
}

#[tokio::test(start_paused = true)]
async fn an_old_inverter_needs_its_pauses() {
    let (after_connect, between) = (Duration::from_secs(2), Duration::from_millis(500));
    let server = Server::start_detached(registers()).unwrap();
    server.misbehave_by([
        Rule::new(Fault::Reset).sooner_after_connect(after_connect),
        Rule::new(Fault::Exception(6)).sooner_after_reply(between),
    ]);
    let connect = || {
        let (client, served) = duplex(512);
        server.attach(served, Framing::Tcp);
        client
    };
    let mut hasty = connect();
    // The server has to be there before the time counts.
    tokio::time::sleep(after_connect - Duration::from_millis(2)).await;
    assert_eq!(ask(&mut hasty).await, None);
    let mut patient = connect();
    tokio::time::sleep(after_connect).await;
    assert_eq!(ask(&mut patient).await, Some(TWO_WORDS.to_vec()));
    tokio::time::sleep(between - Duration::from_millis(2)).await;
    assert_eq!(ask(&mut patient).await, Some(vec![0x83, 6]));
    tokio::time::sleep(between).await;
    assert_eq!(ask(&mut patient).await, Some(TWO_WORDS.to_vec()));
    let times: Vec<_> = server.request_times().into_iter().map(|(at, _)| at).collect();
    assert_eq!(times[3] - times[2], between);
}
