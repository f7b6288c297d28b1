//! Values and writes of devices that behave as real ones do, through the `device` commands and the gateway.

use std::net::SocketAddr;
use std::process::Output;
use std::time::Duration;

use bessai_simulator::registers::{Registers, Table, WriteEffect};
use bessai_simulator::server::{Fault, FaultRule, Server};
use bessai_simulator::sunspec::{SunSpecModel, lay_out};
use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::gateway::{Gateway, Setup};
use crate::support::root;
use crate::support::subscriber::Subscriber;

/// A battery with a limit that can be written, a switch that is dangerous, and values of every kind.
const PROFILE: &str = r#"
unavailable = { uint16 = 0xffff, int16 = 0x8000 }
[points]
soc       = { channel = "soc_pct", address = 0, type = "uint16", scale = 0.1, unit = "%" }
limit     = { address = 1, type = "uint16", scale = 1, unit = "%", access = "RW" }
grid_code = { address = 2, type = "uint16", scale = 1, access = "RW", dangerous = true, description = "grid code" }
frequency = { address = 3, type = "float32", scale = 1, unit = "Hz" }
total     = { address = 5, type = "uint32", scale = 1, unit = "Wh" }
serial    = { address = 7, type = "string", count = 4 }
cabinet   = { address = 11, type = "int16", scale = 0.1, unit = "Cel" }
"#;

/// The device at 72.3 %, 50.01 Hz, 1,234,567 Wh and 28.1 °C; its limit is 20 %.
fn battery() -> Server {
    let registers = Registers::new();
    let float = 50.01_f32.to_bits();
    let word = |number: u32| [number >> 16, number & 0xffff].map(|word| u16::try_from(word).unwrap());
    let serial = [0x534e, 0x2d37, 0, 0];
    let words = [&[723, 20, 1][..], &word(float), &word(1_234_567), &serial, &[281]].concat();
    registers.set(1, Table::Holding, 0, &words);
    serve(registers)
}

fn serve(registers: Registers) -> Server {
    Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), registers).unwrap()
}

/// Settings with the profile, for commands at an address.
fn setup() -> Setup {
    Setup::new().file("profiles/box.toml", PROFILE)
}

/// Runs a `device` command on another thread, because the simulated device answers on the test's runtime.
async fn device(server: &Server, command: &str, arguments: &[&str]) -> Output {
    let setup = setup();
    let profile = setup.folder().join("profiles/box.toml").display().to_string();
    let address = format!("tcp://{}", server.address());
    let fixed = ["device", command, "--address", &address, "--profile", &profile];
    let arguments: Vec<String> = fixed.iter().chain(arguments).map(|argument| (*argument).to_owned()).collect();
    let run = move || setup.output(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn printed(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn device_write_waits_until_the_device_shows_the_value() {
    let server = battery();
    server.registers().on_write(1, Table::Holding, 1, Some(WriteEffect::After(Duration::from_secs(2))));
    let (code, text, error) = printed(&device(&server, "write", &["limit", "80"]).await);
    assert_eq!((code, text.as_str()), (Some(0), "limit set to 80 %, read back as 80 %\n"), "{error}");
    assert_eq!(server.registers().writes(1, Table::Holding, 1), 1, "it is sent once");
}

#[tokio::test]
async fn device_write_fails_if_the_device_does_not_take_the_value() {
    let server = battery();
    let write = async |effect, arguments: &[&str]| {
        server.registers().on_write(1, Table::Holding, 1, Some(effect));
        printed(&device(&server, "write", &[arguments, &["limit", "80"]].concat()).await)
    };
    let (code, _, error) = write(WriteEffect::Ignored, &["--settle", "1s"]).await;
    let expected = "limit is not set to 80 %: acknowledged, still 20 % after 1s";
    assert!(code == Some(1) && error.contains(expected), "{error}");
    let (code, _, error) = write(WriteEffect::Clamped(50), &["--settle", "0s"]).await;
    assert!(code == Some(1) && error.contains("acknowledged, but it reads 50 %"), "{error}");
    let (code, _, error) = write(WriteEffect::Replaced(7), &["--settle", "200ms"]).await;
    assert!(code == Some(1) && error.contains("acknowledged, but it reads 7 %"), "{error}");
    assert_eq!(server.registers().writes(1, Table::Holding, 1), 3, "each is sent once");
    server.set_fault_rules([FaultRule::new(Fault::Exception(3)).function(6)]);
    let (code, _, error) = write(WriteEffect::Ignored, &[]).await;
    let expected = "the device refuses to set limit to 80 %: Illegal data value (exception 3)";
    assert!(code == Some(1) && error.contains(expected), "{error}");
}

#[tokio::test]
async fn device_write_asks_before_it_writes_a_dangerous_point() {
    let server = battery();
    let (code, _, error) = printed(&device(&server, "write", &["grid_code", "3"]).await);
    let expected =
        "grid_code is marked as dangerous in its profile (grid code): check the value, and add --yes to write it";
    assert!(code == Some(64) && error.contains(expected), "{error}");
    assert_eq!(server.requests(), 0);
    let (code, text, _) = printed(&device(&server, "write", &["--yes", "grid_code", "3"]).await);
    assert_eq!((code, text.as_str()), (Some(0), "grid_code set to 3, read back as 3\n"));
}

#[tokio::test]
async fn control_registers_of_a_json_profile_are_dangerous_and_have_a_range() {
    let registers = Registers::new();
    registers.fill(1, Table::Holding, 47_000..=47_200, 0);
    let server = serve(registers);
    let address = format!("tcp://{}", server.address());
    let profile = root().join("tests/profiles/huawei_sun2000.json").display().to_string();
    let write = async |arguments: &[&str]| {
        let fixed = ["device", "write", "--address", &address, "--profile", &profile];
        let arguments: Vec<String> = fixed.iter().chain(arguments).map(|argument| (*argument).to_owned()).collect();
        let run = move || setup().output(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        printed(&tokio::task::spawn_blocking(run).await.unwrap())
    };
    let (code, _, error) = write(&["luna_working_mode", "2"]).await;
    assert!(code == Some(64) && error.contains("marked as dangerous"), "{error}");
    let (code, _, error) = write(&["--yes", "luna_working_mode", "77"]).await;
    assert!(code == Some(1) && error.contains("its profile allows 0 to 5"), "{error}");
    assert_eq!(server.registers().writes(1, Table::Holding, 47_086), 0);
    let (code, text, error) = write(&["--yes", "luna_working_mode", "2"]).await;
    assert_eq!((code, text.as_str()), (Some(0), "luna_working_mode set to 2, read back as 2\n"), "{error}");
}

#[tokio::test]
async fn device_read_fails_if_every_point_is_refused() {
    let server = battery();
    let (code, text, _) = printed(&device(&server, "read", &[]).await);
    assert!(code == Some(0) && text.contains("50.01 Hz") && text.contains("SN-7"), "{text}");
    server.set_fault_rules([Fault::RefuseAddress(1)].map(FaultRule::new));
    let (code, text, _) = printed(&device(&server, "read", &["soc_pct", "limit"]).await);
    assert!(code == Some(0) && text.contains("refused: Illegal data address (exception 2)"), "{text}");
    server.set_fault(Some(Fault::Exception(4)));
    let (code, text, error) = printed(&device(&server, "read", &[]).await);
    let expected = "the device refuses every point: Server device failure (exception 4)";
    assert!(code == Some(1) && error.contains(expected), "{error}");
    assert_eq!(text.matches("refused: Server device failure").count(), 7, "{text}");
    let (code, _, error) = printed(&device(&server, "read", &["--json", "limit"]).await);
    assert!(code == Some(1) && error.contains("refuses the point: Server device failure (exception 4)"), "{error}");
    for number in [10, 11] {
        server.set_fault(Some(Fault::Exception(number)));
        let exception = format!("(exception {number})");
        let (code, text, error) = printed(&device(&server, "read", &[]).await);
        assert!(code == Some(1) && error.contains("refuses every point") && error.contains(&exception), "{error}");
        assert_eq!(text.matches(&exception).count(), 7, "{text}");
        let (code, _, error) = printed(&device(&server, "read", &["--json"]).await);
        assert!(code == Some(1) && error.contains(&exception), "{error}");
    }
}

#[tokio::test]
async fn device_scan_names_exceptions() {
    let registers = Registers::new();
    (1..=6).for_each(|unit| registers.fill(unit, Table::Holding, 0..=9, 0));
    let server = serve(registers);
    let fails = |unit, code| FaultRule::new(Fault::Exception(code)).unit(unit);
    server.set_fault_rules([fails(2, 2), fails(3, 4), fails(4, 11), fails(5, 11)]);
    let scan = async |units: &str| printed(&device(&server, "scan", &["--units", units]).await);
    let (code, text, error) = scan("1-6").await;
    let expected = "unit 1 answers\nunit 2 answers\n\
                    unit 3 does not answer: Server device failure (exception 4)\nunit 6 answers\n";
    assert_eq!((code, text.as_str()), (Some(0), expected));
    assert!(
        error.contains("units 4 to 5 do not exist: Gateway target device failed to respond (exception 11)"),
        "{error}"
    );
    let (code, text, error) = scan("3").await;
    assert_eq!(
        (code, text.as_str()),
        (Some(1), "unit 3 does not answer: Server device failure (exception 4)\n"),
        "{error}"
    );
}

#[tokio::test]
async fn device_scan_looks_for_the_models_at_the_given_register() {
    let registers = Registers::new();
    let storage = SunSpecModel { id: 713, words: vec![1000, 723, 723, 990, 1, 2, 0xffff] };
    lay_out(&registers, 1, 1234, &[SunSpecModel::common("Acme", "Odd", "SN-7"), storage]);
    let server = serve(registers);
    let (code, text, error) = printed(&device(&server, "scan", &["--sunspec-base", "1234"]).await);
    assert!(code == Some(0) && text.contains("SunSpec at register 1234"), "{error}");
    let (code, _, error) = printed(&device(&server, "scan", &[]).await);
    assert!(code == Some(1) && error.contains("write its register as sunspec_base"), "{error}");
}

/// A gateway that publishes all channels of the device.
async fn run(server: &Server, broker: &Broker) -> (Gateway, Subscriber) {
    let settings =
        format!("[[device]]\naddress = \"tcp://{}\"\nprofile = \"box\"\nperiod = \"100ms\"\n", server.address());
    let setup = setup().broker(broker.url()).file("bessai.toml", settings);
    let setup = setup.file("plugins/default.toml", "[config]\nchannels = \"all\"\n");
    let subscriber = Subscriber::with(broker.port, "SITE-CL-001/telemetry", None).await;
    (setup.run(), subscriber)
}

#[tokio::test]
async fn values_are_published_with_their_own_digits_and_texts() {
    let (broker, server) = (Broker::start(), battery());
    let (_gateway, mut subscriber) = run(&server, &broker).await;
    let message = subscriber.next("/telemetry").await;
    let payload = &message.payload;
    assert!(payload.contains("\"frequency\":50.01,") && payload.contains("\"serial\":\"SN-7\""), "{payload}");
    assert_eq!(message.json()["total"], json!(1_234_567.0));
}

#[tokio::test]
async fn absurd_values_and_a_counter_that_falls_for_a_moment_are_not_published() {
    let (broker, server) = (Broker::start(), battery());
    let (_gateway, mut subscriber) = run(&server, &broker).await;
    let mut until = async |condition: fn(&Value) -> bool| {
        subscriber.wait_for("/telemetry", |message| condition(&message.json())).await.json()
    };
    until(|json| json["total"] == 1_234_567.0 && json["soc_pct"] == 72.3 && json["cabinet"] == 28.1).await;
    let set = |address, words: &[u16]| server.registers().set(1, Table::Holding, address, words);
    // 6000 %, and a temperature that means "no value".
    set(0, &[60_000]);
    set(11, &[0x8000]);
    let absurd = until(|json| json.get("soc_pct").is_none() && json.get("cabinet").is_none()).await;
    assert_eq!(absurd["limit"], 20.0);
    // The night's reset: all ones, then zero, then the old total. The limit tells the readings apart.
    for (limit, total) in [(21, [0xffff; 2]), (22, [0; 2])] {
        set(5, &total);
        set(1, &[limit]);
        let json = match limit {
            21 => until(|json| json["limit"] == 21.0).await,
            _ => until(|json| json["limit"] == 22.0).await,
        };
        assert_eq!(json.get("total"), None, "{json}");
    }
    set(5, &[0x0012, 0xd688]);
    assert_eq!(until(|json| json.get("total").is_some()).await["total"], 1_234_568.0);
}
