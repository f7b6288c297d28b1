//! Each fault of a server.

use super::*;

async fn started_with(fault: Fault) -> (Server, Client) {
    let (server, client) = started().await;
    server.set_fault(Some(fault));
    (server, client)
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
        server.set_fault(Some(fault));
        assert_eq!(client.ask(UNIT, request).await, reply, "{fault:?}");
    }
    server.set_fault(None);
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
        server.set_fault(Some(fault));
        assert_eq!(client.ask(UNIT, request).await, reply, "{fault:?}");
    }
}

#[tokio::test]
async fn faults_in_the_header() {
    let (server, mut client) = started().await;
    let cases =
        [(Fault::WrongUnit, 0, UNIT + 1, 3), (Fault::WrongTransaction, 1, UNIT, 3), (Fault::WrongFunction, 0, UNIT, 4)];
    for (fault, transaction_offset, unit, function) in cases {
        server.set_fault(Some(fault));
        client.send(UNIT, &READ_TWO).await;
        let reply = client.receive().await;
        assert_eq!(reply.transaction, client.transaction + transaction_offset, "{fault:?}");
        assert_eq!((reply.unit, reply.pdu[0]), (unit, function), "{fault:?}");
        assert_eq!(reply.pdu[1..], TWO_WORDS[1..], "{fault:?}");
    }
}

#[tokio::test]
async fn silence_ignores_the_request() {
    let (server, mut client) = started_with(Fault::Silence).await;
    client.send(UNIT, &[6, 0, 10, 0, 1]).await;
    until(|| server.requests() == 1).await;
    server.set_fault(None);
    assert_eq!(client.ask(UNIT, &READ_TWO).await, TWO_WORDS);
}

#[tokio::test]
async fn slow_replies_are_sent_later() {
    let delay = Duration::from_millis(30);
    let (_server, mut client) = started_with(Fault::Slow(delay)).await;
    let before = Instant::now();
    assert_eq!(client.ask(UNIT, &READ_TWO).await, TWO_WORDS);
    assert!(before.elapsed() >= delay);
}

#[tokio::test]
async fn a_connection_with_a_slow_reply_can_be_closed() {
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
    assert!(ModbusFrame::read(&mut &bytes[..]).await.is_err());
    server.set_fault(None);
    assert_eq!(client.ask(UNIT, &READ_TWO).await, TWO_WORDS);
}

#[tokio::test]
async fn half_close_keeps_the_clients_direction_open() {
    let (server, mut client) = started_with(Fault::HalfClose).await;
    client.send(UNIT, &READ_TWO).await;
    assert!(client.closes().await);
    client.send(UNIT, &READ_TWO).await;
    assert_eq!((server.connections(), server.requests()), (1, 1));
    drop(client);
    until(|| server.connections() == 0).await;
}

#[tokio::test]
async fn reset_in_mid_frame_resets_after_half_a_frame() {
    let (_server, mut client) = started_with(Fault::ResetMidFrame).await;
    client.send(UNIT, &READ_TWO).await;
    let mut half = [0; 6];
    timeout(LIMIT, client.stream.read_exact(&mut half)).await.expect("no half").unwrap();
    assert_eq!(half, [0, 1, 0, 0, 0, 7]);
    let error = client.rest().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn replies_byte_by_byte_twice_or_after_noise() {
    let (server, mut client) = started().await;
    server.set_fault(Some(Fault::Dribble(Duration::from_millis(1))));
    assert_eq!(client.ask(UNIT, &READ_TWO).await, TWO_WORDS);
    server.set_fault(Some(Fault::Duplicate));
    let first = client.ask(UNIT, &READ_TWO).await;
    assert_eq!((first, client.receive().await.pdu), (TWO_WORDS.to_vec(), TWO_WORDS.to_vec()));
    server.set_fault(Some(Fault::Noise));
    client.send(UNIT, &READ_TWO).await;
    let mut noise = fault::NOISE;
    timeout(LIMIT, client.stream.read_exact(&mut noise)).await.expect("no noise").unwrap();
    assert_eq!((noise, client.receive().await.pdu), (fault::NOISE, TWO_WORDS.to_vec()));
}

#[tokio::test]
async fn a_late_reply_is_sent_in_the_next_exchange() {
    let (server, mut client) = started().await;
    server.set_fault_rules([FaultRule::new(Fault::Late).times(1)]);
    client.send(UNIT, &READ_TWO).await;
    until(|| server.hits() == 1).await;
    client.send(UNIT, &[4, 0, 20, 0, 1]).await;
    let (late, own) = (client.receive().await, client.receive().await);
    assert_eq!((late.transaction, late.pdu), (1, TWO_WORDS.to_vec()));
    assert_eq!((own.transaction, own.pdu), (2, vec![4, 2, 0, 42]));
}

#[tokio::test]
async fn reset_resets_the_connection() {
    let (_server, mut client) = started_with(Fault::Reset).await;
    client.send(UNIT, &READ_TWO).await;
    let error = client.rest().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}
