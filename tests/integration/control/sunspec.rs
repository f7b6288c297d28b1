//! A SunSpec device that describes itself takes a set-point by model 704, and reverts by its own timer.

use std::net::{Ipv4Addr, SocketAddr};

use bessai_simulator::battery::DEMO_DAY;
use bessai_simulator::plant::Plant;
use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::Server;
use bessai_simulator::sunspec::battery_inverter;
use serde_json::Value;

use crate::support::gateway::Setup;

/// Where the values of model 704 begin: behind the marker, the common model (66 registers) and model 103 (50), each with a
/// number and a length.
const MODEL_704: u16 = 40_000 + 2 + 68 + 52 + 2;

#[tokio::test]
async fn a_discovered_device_is_set_by_model_704_and_released() {
    let registers = Registers::new();
    let profile = battery_inverter(&registers, 1).unwrap();
    let _plant = Plant::new(profile, registers.clone(), DEMO_DAY);
    let server = Server::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), registers.clone()).unwrap();
    // WSet_SF: ten watts.
    registers.set(1, Table::Holding, MODEL_704 + 53, &[1]);
    let text = format!(
        "[[device]]\nname = \"battery\"\naddress = \"tcp://{}\"\nprofile = \"sunspec\"\nperiod = \"200ms\"\n\
         [control]\nenabled = true\ndevices = [\"battery\"]\n",
        server.address()
    );
    let setup = Setup::new().file("plugins/default.toml", "enabled = false\n").file("bessai.toml", text);
    let gateway = setup.run();
    gateway.wait_for_health("a safe battery", |health: &Value| health["safety_status"] == "ok").await;
    let word = |offset: u16, count: u16| registers.get(1, Table::Holding, MODEL_704 + offset, count).unwrap();

    let output = gateway.output_beside(&["control", "set", "battery", "-2", "--for", "10m"]).await;
    let printed = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&printed), gateway.log());
    // WSetEna, WSetMod = watts; WSet, + = generated; WSetEnaRvrt, and WSetRvrtTms in seconds.
    assert_eq!((word(20, 2), word(22, 2)), (vec![1, 1], vec![0xffff, 0xff38]));
    assert_eq!((word(28, 1), word(29, 2)), (vec![0], vec![0, 60]));

    let output = gateway.output_beside(&["control", "release", "battery"]).await;
    assert!(output.status.success(), "{}", gateway.log());
    let released = async {
        while word(20, 1) != [0] {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    crate::support::within("WSetEna = 0", released).await;
}
