//! Coils and discrete inputs.

use super::*;

/// Unit 1: coils 19..=37 with the pattern of the specification (6.1), discrete inputs 196..=217 (6.2), coils 1000..=2999 on.
fn bits() -> Registers {
    let registers = registers();
    let from = |bytes: &[u8], count: usize| {
        let bits = bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
        bits.take(count).collect::<Vec<_>>()
    };
    registers.set_bits(UNIT, Table::Coil, 19, &from(&[0xcd, 0x6b, 0x05], 19));
    registers.set_bits(UNIT, Table::Discrete, 196, &from(&[0xac, 0xdb, 0x35], 22));
    registers.fill(UNIT, Table::Coil, 1000..=2999, 1);
    registers
}

async fn started() -> (Server, Client) {
    let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), bits()).unwrap();
    let client = Client::connect(&server).await;
    (server, client)
}

#[tokio::test]
async fn reads_and_writes() {
    let (server, mut client) = started().await;
    let cases: [(&[u8], &[u8]); 8] = [
        (&[1, 0, 19, 0, 19], &[1, 3, 0xcd, 0x6b, 0x05]),
        (&[2, 0, 196, 0, 22], &[2, 3, 0xac, 0xdb, 0x35]),
        (&[1, 0, 20, 0, 1], &[1, 1, 0]),
        (&[5, 0, 20, 0xff, 0], &[5, 0, 20, 0xff, 0]),
        (&[1, 0, 20, 0, 1], &[1, 1, 1]),
        (&[5, 0, 20, 0, 0], &[5, 0, 20, 0, 0]),
        (&[15, 0, 19, 0, 10, 2, 0xfe, 0x02], &[15, 0, 19, 0, 10]),
        (&[1, 0, 19, 0, 11], &[1, 2, 0xfe, 0x02]),
    ];
    for (request, reply) in cases {
        assert_eq!(client.ask(UNIT, request).await, reply, "{request:?}");
    }
    assert_eq!(server.registers().get_bits(UNIT, Table::Coil, 19, 2), Some(vec![false, true]));
    let full = client.ask(UNIT, &[1, 0x03, 0xe8, 0x07, 0xd0]).await;
    assert_eq!((full.len(), full[1], full[251]), (252, 250, 0xff));
    let mut many = vec![15, 0x03, 0xe8, 0x07, 0xb0, 246];
    many.resize(6 + 246, 0);
    assert_eq!(client.ask(UNIT, &many).await, [15, 0x03, 0xe8, 0x07, 0xb0]);
    assert_eq!(server.registers().get_bits(UNIT, Table::Coil, 2967, 2), Some(vec![false, true]));
}

#[tokio::test]
async fn invalid_requests_get_an_exception() {
    let (_server, mut client) = started().await;
    let mut too_many_written = vec![15, 0x03, 0xe8, 0x07, 0xb1, 247];
    too_many_written.resize(6 + 247, 0);
    let cases: [(&[u8], [u8; 2]); 12] = [
        (&[1, 0, 18, 0, 1], [0x81, 2]),
        (&[1, 0, 37, 0, 2], [0x81, 2]),
        (&[2, 0, 19, 0, 1], [0x82, 2]),
        (&[5, 0, 196, 0, 0], [0x85, 2]),
        (&[15, 0, 37, 0, 2, 1, 3], [0x8f, 2]),
        (&[1, 0, 19, 0, 0], [0x81, 3]),
        (&[1, 0x03, 0xe8, 0x07, 0xd1], [0x81, 3]),
        (&[1, 0, 19], [0x81, 3]),
        (&[5, 0, 19, 0, 1], [0x85, 3]),
        (&[5, 0, 19, 0xff, 0xff], [0x85, 3]),
        (&[15, 0, 19, 0, 9, 1, 0xff], [0x8f, 3]),
        (&too_many_written, [0x8f, 3]),
    ];
    for (request, reply) in cases {
        assert_eq!(client.ask(UNIT, request).await, reply, "{request:?}");
    }
}

#[tokio::test]
async fn faults_are_applied_to_bits_too() {
    let (server, mut client) = started().await;
    let read = [1, 0, 19, 0, 19];
    let cases: [(Fault, &[u8], &[u8]); 6] = [
        (Fault::BlockLimit(18), &read, &[0x81, 2]),
        (Fault::RefuseAddress(37), &read, &[0x81, 2]),
        (Fault::RefuseAddress(38), &read, &[1, 3, 0xcd, 0x6b, 0x05]),
        (Fault::ShortReply, &read, &[1, 2, 0xcd, 0x6b]),
        (Fault::LongReply, &[2, 0, 196, 0, 8], &[2, 2, 0xac, 0]),
        (Fault::WrongFunction, &read, &[2, 3, 0xcd, 0x6b, 0x05]),
    ];
    for (fault, request, reply) in cases {
        server.set_fault(Some(fault));
        assert_eq!(client.ask(UNIT, request).await, reply, "{fault:?}");
    }
}

#[tokio::test]
async fn requests_for_bits_are_logged() {
    let (server, mut client) = started().await;
    for pdu in [&[2, 0, 196, 0, 22][..], &[5, 0, 20, 0xff, 0], &[15, 0, 19, 0, 10, 2, 0, 0]] {
        client.ask(UNIT, pdu).await;
    }
    let request = |function, address, count| ReceivedRequest { unit: UNIT, function, address, count };
    assert_eq!(server.request_log(), [request(2, 196, 22), request(5, 20, 1), request(15, 19, 10)]);
}
