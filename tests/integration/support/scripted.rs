//! A broker that answers CONNECT as the test wants and enforces the protocol level that it claims, for what mosquitto
//! cannot be made to do.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What to do with a client that speaks MQTT 5.
#[derive(Clone, Copy, Debug)]
pub enum OnV5 {
    /// CONNACK with reason 0x84, unsupported protocol version.
    Refuse,
    /// CONNACK in the 3.1.1 form, return code 1.
    RefuseInOldForm,
    /// Hangs up.
    Close,
}

/// Speaks 3.1.1 alone. Gives the protocol level of each CONNECT, and 3 for each PUBLISH that it acknowledged.
pub async fn old_broker(on_v5: OnV5) -> (u16, mpsc::UnboundedReceiver<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, events) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, on_v5, seen.clone()));
        }
    });
    (port, events)
}

async fn serve(mut stream: TcpStream, on_v5: OnV5, seen: mpsc::UnboundedSender<u8>) -> Option<()> {
    let (_, connect) = packet(&mut stream).await?;
    let level = connect[6];
    seen.send(level).ok()?;
    match (level, on_v5) {
        (4, _) => stream.write_all(&[0x20, 2, 0, 0]).await.ok()?,
        (_, OnV5::Refuse) => return stream.write_all(&[0x20, 3, 0, 0x84, 0]).await.ok(),
        (_, OnV5::RefuseInOldForm) => return stream.write_all(&[0x20, 2, 0, 1]).await.ok(),
        (_, OnV5::Close) => return None,
    }
    loop {
        let (header, body) = packet(&mut stream).await?;
        match header >> 4 {
            3 => {
                let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                stream.write_all(&[0x40, 2, body[2 + topic], body[3 + topic]]).await.ok()?;
                seen.send(3).ok()?;
            }
            12 => stream.write_all(&[0xd0, 0]).await.ok()?,
            _ => {}
        }
    }
}

/// The next packet: the first byte of its header, and its body.
pub async fn packet(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let header = stream.read_u8().await.ok()?;
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let byte = stream.read_u8().await.ok()?;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((header, body))
}
