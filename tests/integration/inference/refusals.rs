//! Models that are refused before the gateway runs, by `check`, and at its start; and large ones.

use super::{is_target, model_health, settings, setup, with_model};
use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::Setup;
use crate::support::root;
use crate::support::subscriber::Subscriber;

/// Bytes of a MiB.
const MIB: usize = 1 << 20;
/// More than the gateway and the largest model that the default settings allow need, in KiB.
const MODERATE_KB: u64 = 200 << 10;

/// One of the models of the inference crate's tests.
pub(super) fn model(name: &str) -> Vec<u8> {
    std::fs::read(root().join("host/inference/tests/models").join(format!("{name}.onnx"))).unwrap()
}

/// A model with a property of this many bytes more, which means nothing: parts of a protobuf message follow each other.
pub(super) fn with_property(model: &[u8], length: usize) -> Vec<u8> {
    fn field(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut field = vec![tag];
        let mut rest = content.len();
        while rest >= 0x80 {
            field.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
            rest >>= 7;
        }
        field.push(u8::try_from(rest).unwrap());
        field.extend_from_slice(content);
        field
    }
    let entry = [field(0x0a, b"padding"), field(0x12, &vec![b'x'; length])].concat();
    [model, &field(0x72, &entry)].concat()
}

/// What `check` prints about a model, and its exit code.
fn check(setup: &Setup) -> (Option<i32>, String) {
    let output = setup.output(&["check"]);
    (output.status.code(), String::from_utf8([&output.stdout[..], &output.stderr[..]].concat()).unwrap())
}

#[test]
fn check_loads_each_model_and_names_the_field_that_does_not_fit() {
    let site = || with_model(Setup::new().device(502).broker("mqtt://localhost"));
    let (code, printed) = check(&site().file("bessai.toml", settings("models/dispatch.onnx", "")));
    let expected =
        "  soc_pct, power_kw, temp_c, hour_of_day → set_point_kw of battery, on the built-in engine (tract)\n";
    assert!(code == Some(0) && printed.contains(expected), "{printed}");
    for (name, manifest, reason) in [
        ("three", "", "inputs: 4 values are listed for the tensor features, which is float32 [1, 3]"),
        ("rank", "", "with 4 axes; at most 3 are supported"),
        ("extra", "", "inputs: the model's tensor state has no input"),
        ("nan", "", "output: in its trial run the model returned NaN"),
        ("operator", "", "AcmeForecast"),
        ("truncated", "", "the file is truncated or is no ONNX model"),
        ("empty", "", "the file is empty; copy it again"),
        ("batch", "inputs = [\"soc_pct\", \"price\"]", "inputs[1]: device battery has no channel price"),
        (
            "batch",
            "inputs = [\"soc_pct\", { channel = \"power_kw\", unit = \"W\" }]",
            "inputs[1]: unit = \"W\": channel power_kw",
        ),
        ("batch", "input = 1", "input: is unknown"),
    ] {
        let setup = site().file("models/bad.onnx", model(name)).file("models/bad.toml", manifest);
        let (code, printed) = check(&setup.file("bessai.toml", settings("models/bad.onnx", "")));
        assert!(code == Some(78) && printed.contains(reason), "{name} {manifest}: {code:?}\n{printed}");
    }
    let (code, printed) = check(&site().file("bessai.toml", "[[model]]\ndir = \"models\"\n"));
    assert!(code == Some(0) && printed.contains(": 1 model\n") && printed.contains(expected), "{printed}");
    let (code, printed) =
        check(&site().file("bessai.toml", settings("models/x.onnx", "dir = \"models\"\nname = \"x\"\n")));
    assert_eq!(code, Some(78), "{printed}");
    let (first, second) =
        ("name either a file or, with dir, a folder of them", "the models of a folder are named after their files");
    assert!(printed.contains(first) && printed.contains(second), "{printed}");
    let (code, printed) = check(&site().file("bessai.toml", settings("models/none.onnx", "")));
    assert!(code == Some(0) && printed.contains("(missing: the gateway runs without this model)"), "{printed}");
    assert!(printed.contains("models/none.onnx does not exist; copy it there, or correct the path. "), "{printed}");
    let (code, printed) = check(&site().file("bessai.toml", settings("models/dispatc.onnx", "")));
    assert!(code == Some(0) && printed.contains("does not exist; did you mean dispatch.onnx? "), "{printed}");
    let (code, printed) = check(&site().file("bessai.toml", "[[model]]\ndir = \"none\"\n"));
    assert!(code == Some(0) && printed.contains("/none does not exist; its models run once it is there"), "{printed}");
    let (code, printed) = check(&site().file("bessai.toml", "[[model]]\ndir = \"models/dispatch.onnx\"\n"));
    assert!(code == Some(78) && printed.contains("dispatch.onnx is a file; name it as file = "), "{printed}");
}

/// A model that the built-in engine panics on when it is not prepared for that returns its integer, without a word on standard error.
#[tokio::test]
async fn an_integer_is_returned_as_any_number_and_nothing_is_printed() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let setup = setup(&device, &broker, "").file("models/dispatch.onnx", model("cast"));
    let setup = setup.file("models/dispatch.toml", "inputs = [\"soc_pct\", \"temp_c\"]\n");
    let output = setup.output(&["check"]);
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(0), String::new()));
    let gateway = setup.run();
    // The mean of 72.3 % and 28.1 °C, without its fraction.
    let message = subscriber.next("/ai/dispatch").await;
    assert_eq!(message.json()["dispatch_kw"], 50.0, "{message:?}");
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
}

#[tokio::test]
async fn a_large_model_is_refused_unless_the_settings_allow_it() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let dispatch = std::fs::read(root().join("models/dispatch.onnx")).unwrap();
    let large = with_property(&dispatch, 200 * MIB);
    let setup = setup(&device, &broker, "").file("models/dispatch.onnx", &large);
    let (code, printed) = check(&setup);
    let reason = "it has 201 MiB and max_size allows 64 MiB";
    assert!(code == Some(78) && printed.contains(reason), "{printed}");
    let gateway = setup.run();
    subscriber.next("/telemetry").await;
    model_health(&gateway, "the refusal", |model| {
        model["state"] == "disabled" && model["refused"].as_str().unwrap().starts_with(reason)
    })
    .await;
    let peak = gateway.peak_memory_kb();
    assert!(peak < MODERATE_KB, "{peak} KiB");
    assert_eq!(gateway.health().await["status"], "degraded");
    std::fs::write(gateway.path("bessai.toml"), settings("models/dispatch.onnx", "max_size = \"256MiB\"\n")).unwrap();
    gateway.hang_up();
    subscriber.wait_for("/ai/dispatch", |message| is_target(message, 72.3)).await;
    let health = model_health(&gateway, "the large model", |model| model["state"] == "running").await;
    assert_eq!(health["refused"], serde_json::Value::Null);
}
