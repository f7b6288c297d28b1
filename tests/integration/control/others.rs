//! Clients of a Modbus server and `device write` beside a gateway that controls the device: they cannot move the battery past
//! control, and each of their writes is an event.

use std::net::SocketAddr;

use bessai_simulator::registers::{Table, WriteEffect};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio_modbus::client::{Context, tcp};
use tokio_modbus::prelude::{ExceptionCode, Slave, Writer};

use super::simulated_box::{CAP, MODE, SimulatedBox, TARGET, assert_complete};
use crate::support::{free_port, within};

/// A device that a Modbus server shows too, and a client of that.
async fn shared() -> (SimulatedBox, Context) {
    let port = free_port();
    let server = format!("[[modbus_server]]\nlisten = \"127.0.0.1:{port}\"\nwrite = true\n");
    let site = SimulatedBox::with("", &server, 3600).await;
    site.gateway.wait_for_log(&format!("Modbus server on 127.0.0.1:{port}")).await;
    let client = tcp::connect_slave(SocketAddr::from(([127, 0, 0, 1], port)), Slave(1)).await.unwrap();
    (site, client)
}

/// What `device write` prints, and whether it succeeds.
async fn device_write(site: &SimulatedBox, arguments: &[&str]) -> (bool, String) {
    let output = site.gateway.output_beside(&[&["device", "write"], arguments].concat()).await;
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// The events of writes of the limit that is no part of the set-point, as proposers and outcomes.
fn of_cap(audit: &[Value]) -> Vec<(String, Value)> {
    let of_cap = audit.iter().filter(|event| event["channel"] == "cap");
    of_cap.map(|event| (event["proposer"].as_str().unwrap().to_owned(), event["outcome"].clone())).collect()
}

/// The reply to a line on the local socket.
async fn ask(socket: &mut BufReader<UnixStream>, line: Value) -> String {
    socket.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    let mut reply = String::new();
    socket.read_line(&mut reply).await.unwrap();
    reply
}

#[tokio::test]
async fn others_write_no_register_of_the_set_point() {
    let (site, mut client) = shared().await;
    for held in [false, true] {
        if held {
            site.set("1.5").await;
        }
        let before = site.registers.write_log().len();
        for (address, words) in [(10, &[5][..]), (TARGET, &[3000]), (MODE, &[1]), (10, &[5, 3000, 1]), (MODE, &[1, 50])]
        {
            let refused = client.write_multiple_registers(address, words).await.unwrap();
            assert_eq!(refused, Err(ExceptionCode::IllegalDataAddress), "{address} {words:?}");
        }
        site.gateway.wait_for_log("battery/mode belongs to the set-point of battery").await;
        for (point, value) in [("target", "3000"), ("timer", "5"), ("mode", "1")] {
            let (is_done, printed) = device_write(&site, &[point, value, "--yes"]).await;
            let expected = format!(
                "battery/{point} belongs to the set-point of battery, which [control] writes; use `bessai-edge control set \
                 battery KW`"
            );
            assert!(!is_done && printed.contains(&expected), "{printed}");
        }
        assert_eq!(site.registers.write_log().len(), before, "nothing was written");
    }
    site.wait_for([1500, 1]).await;
    assert_complete(&site.registers.write_log(), &site.audit().await);
}

#[tokio::test]
async fn what_others_may_write_is_recorded() {
    let (site, mut client) = shared().await;
    client.write_single_register(CAP, 70).await.unwrap().unwrap();
    let (is_done, printed) = device_write(&site, &["cap", "60"]).await;
    assert!(is_done && printed.contains("cap set to 60 %, read back as 60 %"), "{printed}");
    site.on_write(CAP, Some(WriteEffect::Refused(4)));
    let (is_done, printed) = device_write(&site, &["cap", "50"]).await;
    assert!(!is_done, "{printed}");
    let audit = site.audit().await;
    let (proposers, outcomes): (Vec<_>, Vec<_>) = of_cap(&audit).into_iter().unzip();
    assert!(proposers[..2].iter().all(|proposer| proposer.starts_with("modbus-client/127.0.0.1:")), "{proposers:?}");
    assert!(proposers[2..].iter().all(|proposer| proposer == "device-write"), "{proposers:?}");
    // The command itself reads the value back.
    let done = [json!(null), json!({ "verified": 70.0 }), json!(null), json!("acknowledged"), json!(null)];
    assert_eq!(outcomes[..5], done, "{audit:#?}");
    assert!(outcomes[5]["failed"].is_string() && outcomes.len() == 6, "{audit:#?}");

    // A register that is no point, sent by another program.
    let mut socket = BufReader::new(UnixStream::connect(site.gateway.path("control.sock")).await.unwrap());
    let port = site.server.address().port();
    let open = json!({
        "version": 2, "request": "open", "device": { "host": "127.0.0.1", "port": port }, "timeout_ms": 1000,
    });
    assert!(ask(&mut socket, open).await.contains("\"ok\""));
    let write =
        |start: u16, words: &[u16]| json!({ "write": { "unit": 1, "function": 16, "start": start, "words": words } });
    let reply = ask(&mut socket, write(15, &[7])).await;
    assert!(reply.contains("\"ok\""), "{reply}");
    let refused = ask(&mut socket, write(MODE - 2, &[1, 2, 3])).await;
    assert!(refused.contains("belongs to the set-point of battery"), "{refused}");
    // Some devices take every unit id for theirs.
    let broadcast = json!({ "write": { "unit": 0, "function": 6, "start": MODE, "words": [1] } });
    assert!(ask(&mut socket, broadcast).await.contains("belongs to the set-point of battery"));
    assert_eq!(site.state(), [0, 0]);
    assert_eq!(site.registers.get(1, Table::Holding, 15, 1), Some(vec![7]));
    let audit = site.audit().await;
    let raw: Vec<_> = audit.iter().filter(|event| event["channel"] == "holding 15").collect();
    assert_eq!(raw.len(), 2, "{audit:#?}");
    assert_eq!((&raw[1]["value"], &raw[1]["device"]), (&json!(7.0), &json!("battery")), "{audit:#?}");
}

#[tokio::test]
async fn a_point_that_somebody_holds_is_left_to_its_holder() {
    let (site, mut client) = shared().await;
    client.write_single_register(CAP, 70).await.unwrap().unwrap();
    let (is_done, printed) = site.operator(&["set", "battery/cap", "40", "--for", "10m"]).await;
    assert!(is_done, "{printed}");
    let refused = client.write_single_register(CAP, 90).await.unwrap();
    assert_eq!(refused, Err(ExceptionCode::IllegalDataAddress));
    let (is_done, printed) = device_write(&site, &["cap", "90"]).await;
    let expected = "battery/cap is set by operator; use `bessai-edge control set battery/cap VALUE`";
    assert!(!is_done && printed.contains(expected), "{printed}");
    let (is_done, printed) = site.operator(&["release", "battery/cap"]).await;
    assert!(is_done, "{printed}");
    site.wait_for_writes("the limit to be given back", |log| {
        log.last().is_some_and(|last| (last.address, &last.words[..]) == (CAP, &[70][..]))
    })
    .await;
    // Until the release is read back it is still the gateway's.
    let accepted = async { while client.write_single_register(CAP, 90).await.unwrap().is_err() {} };
    within("the write to be accepted", accepted).await;
    assert_complete(&site.registers.write_log(), &site.audit().await);
}
