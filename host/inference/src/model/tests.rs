//! Models of every supported kind against ONNX Runtime's outputs, and models that are refused.

use std::path::PathBuf;

use super::*;
use crate::DEFAULT_MODEL_BYTES;

/// The largest relative difference between two engines.
const TOLERANCE: f64 = 1e-5;

fn file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models")).join(format!("{name}.onnx"))
}

/// Loads a model with the text of a manifest instead of its own.
fn load(name: &str, manifest: &str) -> Result<OnnxModel, String> {
    let onnx = OnnxFile::read(&file(name), DEFAULT_MODEL_BYTES)?;
    OnnxModel::load(&onnx, &Manifest::of(&file(name), Some(manifest))?)
}

/// What is wrong with a model under a manifest.
fn refusal(name: &str, manifest: &str) -> String {
    load(name, manifest).err().unwrap_or_else(|| format!("{name} was loaded"))
}

#[test]
fn outputs_are_those_of_onnx_runtime() {
    let text = std::fs::read_to_string(file("reference").with_extension("json")).unwrap();
    let reference: serde_json::Value = serde_json::from_str(&text).unwrap();
    let runs = reference.as_array().unwrap();
    assert!(runs.len() > 5);
    for run in runs {
        let name = run["model"].as_str().unwrap();
        let number = |value: &serde_json::Value| value.as_f64().unwrap();
        let row = |values: &serde_json::Value| values.as_array().unwrap().iter().map(number).collect();
        let inputs: Vec<Vec<f64>> = run["inputs"].as_array().unwrap().iter().map(row).collect();
        let mut model = load(name, run["manifest"].as_str().unwrap()).unwrap();
        let (output, expected) = (model.run(&inputs).unwrap(), number(&run["output"]));
        let difference = (output - expected).abs() / expected.abs().max(f64::MIN_POSITIVE);
        assert!(difference <= TOLERANCE, "{name} {inputs:?}: {output}, not {expected}");
    }
}

#[test]
fn a_model_may_carry_its_manifest() {
    let onnx = OnnxFile::read(&file("policy"), DEFAULT_MODEL_BYTES).unwrap();
    let manifest = Manifest::of(&file("policy"), onnx.manifest.as_deref()).unwrap();
    assert_eq!((manifest.inputs.len(), manifest.output.range), (8, Some((-100.0, 100.0))));
    assert!(OnnxModel::load(&onnx, &manifest).is_ok());
}

#[test]
fn models_that_do_not_fit_are_refused_with_the_field() {
    let check = |name: &str, manifest: &str, expected: &str| assert_eq!(refusal(name, manifest), expected);
    let values =
        |count: u32, ty: &str| format!("inputs: {count} values are listed for the tensor features, which is {ty}");
    check("three", "", &values(4, "float32 [1, 3]"));
    check("batch", "", &values(4, "float32 [4, 2]"));
    check("fixed-batch", "", &values(4, "float32 [100, 4]"));
    check("rank", "", "inputs: the tensor features is float32 [1, 2, 2, 1] with 4 axes; at most 3 are supported");
    let expected = "inputs: the model's tensor state has no input; list one with tensor = \"state\"";
    check("extra", "", expected);
    let manifest = "inputs = [\"a\", { channel = \"b\", tensor = \"features2\" }]";
    check("three", manifest, "inputs[1].tensor = \"features2\": the model has the tensors features");
    check("several", "", "inputs: 4 values are listed for the tensor features, which is float32 [1, 2]");
    check("half", "", "inputs: the tensor features is float16 [1, 4], not float32, float64 or int64");
    let manifest = "inputs = [\"a\", \"b\"]\noutput = { tensor = \"action\" }";
    check("batch", manifest, "output.tensor = \"action\": the model returns target");
    check("batch", "inputs = [\"a\", \"b\"]\noutput = { index = 4 }", "output.index = 4: target is float32 [4, 1]");
    check("nan", "", "output: in its trial run the model returned NaN");
    let manifest = "inputs = [\"soc_pct\", \"temp_c\"]\noutput = { range = [-10, 10] }";
    check(
        "batch",
        manifest,
        "output: in its trial run the model returned 37.5, which is outside its range of -10 to 10",
    );
}

#[test]
fn files_that_are_no_model_are_refused() {
    assert_eq!(refusal("empty", ""), "the file is empty; copy it again");
    assert!(refusal("truncated", "").starts_with("the file is truncated or is no ONNX model ("));
    let operator = refusal("operator", "");
    assert!(operator.contains("cannot load it: ") && operator.contains("AcmeForecast"), "{operator}");
    let large = tempfile::NamedTempFile::new().unwrap();
    large.as_file().set_len(200 << 20).unwrap();
    let refused = OnnxFile::read(large.path(), DEFAULT_MODEL_BYTES).err().unwrap();
    assert!(refused.starts_with("it has 200 MiB and max_size allows 64 MiB; "), "{refused}");
}

#[test]
fn samples_are_given_oldest_first() {
    let manifest = "inputs = [{ channel = \"a\", window = 4 }, { channel = \"b\", window = 4 }]";
    let mut model = load("window", manifest).unwrap();
    // Weights 0 to 7 by sample and channel: the newest sample of the second channel counts seven times.
    assert_eq!(model.run(&[vec![0.0; 4], vec![0.0, 0.0, 0.0, 1.0]]).unwrap(), 7.0);
    let expected =
        "inputs: 2 inputs are listed for the tensor samples, which is float32 [?, 4, 2]: batch, window, inputs";
    assert_eq!(refusal("window", "inputs = [\"a\", \"b\"]"), expected);
}

#[test]
fn an_integer_keeps_the_name_of_its_output() {
    let manifest = "inputs = [\"a\", \"b\"]\noutput = { tensor = \"copy\", index = 1 }";
    let mut model = load("integers", manifest).unwrap();
    let inputs = [vec![16_777_217.0], vec![-3.0]];
    assert_eq!(model.run(&inputs).unwrap(), -3.0);
    let mut sum = load("integers", "inputs = [\"a\", \"b\"]").unwrap();
    assert_eq!(sum.run(&inputs).unwrap(), 16_777_214.0);
    let manifest = "inputs = [\"a\", \"b\"]\noutput = { tensor = \"mean\" }";
    assert_eq!(refusal("integers", manifest), "output.tensor = \"mean\": the model returns sum, copy");
}

#[test]
fn a_panic_of_the_engine_is_a_reason_without_its_text() {
    let refused = engine::caught::<()>(|| panic!("index out of bounds")).unwrap_err();
    let hint = "export it with another opset, or name another ONNX Runtime in ORT_DYLIB_PATH";
    assert!(refused.ends_with(&format!(" failed on it; {hint}")) && !refused.contains("bounds"), "{refused}");
}
