//! The models in both engines beside Python's ONNX Runtime.

use std::path::{Path, PathBuf};
use std::process::Command;

use bessai_inference::TriedModel;
use serde_json::Value;

use crate::support::peer::python;
use crate::support::{cache, root};

/// The largest difference between two engines, relative to the output.
const TOLERANCE: f64 = 1e-5;
/// Outputs below this are compared by their difference: near zero a relative one is that of the last bits.
const LEAST_OUTPUT: f64 = 1e-3;
/// The tests that run in whichever engine the environment names.
const TESTS: [&str; 2] = [
    "inference::engines::outputs_are_those_of_onnx_runtime",
    "inference::engines::models_that_do_not_fit_are_refused_in_either_engine",
];
/// Names the native ONNX Runtime.
const NATIVE: &str = "ORT_DYLIB_PATH";

/// The models that are shipped.
fn shipped() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("models")).unwrap();
    let models = entries.map(|entry| entry.unwrap().path());
    models.filter(|path| path.extension().is_some_and(|extension| extension == "onnx")).collect()
}

fn assert_close(name: &str, inputs: &[Vec<f64>], output: f64, expected: f64) {
    let difference = (output - expected).abs() / expected.abs().max(LEAST_OUTPUT);
    assert!(difference <= TOLERANCE, "{name} {inputs:?}: {output}, not {expected}");
}

/// The native ONNX Runtime of the Python package.
fn native_runtime() -> PathBuf {
    let libraries = cache().join("onnx/lib");
    let python = std::fs::read_dir(&libraries)
        .unwrap_or_else(|error| panic!("{}: {error}: run scripts/setup", libraries.display()));
    let folder = python.map(|entry| entry.unwrap().path()).find(|path| path.join("site-packages").is_dir()).unwrap();
    let folder = folder.join("site-packages/onnxruntime/capi");
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().find(|path| name(path).starts_with("libonnxruntime.so.")).unwrap()
}

#[test]
fn outputs_are_those_of_onnx_runtime() {
    let engine = if std::env::var_os(NATIVE).is_some() { "ONNX Runtime " } else { "the built-in engine (tract)" };
    let shipped = shipped();
    let output =
        python("onnx").arg(root().join("tests/peers/onnx_peer.py")).arg("outputs").args(&shipped).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for path in &shipped {
        let mut model = TriedModel::load(path, None).unwrap();
        assert!(model.engine().starts_with(engine), "{}", model.engine());
        let of_model: Vec<_> = lines.iter().filter(|line| Path::new(line["model"].as_str().unwrap()) == path).collect();
        assert!(of_model.len() >= 100, "{}", path.display());
        for line in of_model {
            let mut row = line["row"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap());
            let inputs: Vec<Vec<f64>> =
                model.windows().into_iter().map(|window| row.by_ref().take(window).collect()).collect();
            let output = model.run(&inputs).unwrap();
            assert_close(&path.display().to_string(), &inputs, output, line["output"].as_f64().unwrap());
        }
    }
    every_kind_of_model();
}

/// The models of the inference crate's tests: types, shapes, several tensors, windows, trees.
fn every_kind_of_model() {
    let models = root().join("host/inference/tests/models");
    let reference: Value = serde_json::from_slice(&std::fs::read(models.join("reference.json")).unwrap()).unwrap();
    for run in reference.as_array().unwrap() {
        let name = run["model"].as_str().unwrap();
        let row = |values: &Value| values.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
        let inputs: Vec<Vec<f64>> = run["inputs"].as_array().unwrap().iter().map(row).collect();
        let file = models.join(format!("{name}.onnx"));
        let loaded = TriedModel::load(&file, run["manifest"].as_str());
        let mut model = loaded.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_close(name, &inputs, model.run(&inputs).unwrap(), run["output"].as_f64().unwrap());
    }
}

/// Models that either engine refuses, each with its manifest and a part of the reason.
const REFUSED: [(&str, &str, &str); 12] = [
    ("three", "", "inputs: 4 values are listed for the tensor features, which is float32 [1, 3]"),
    (
        "three",
        "inputs = [\"a\", { channel = \"b\", tensor = \"x\" }]",
        "inputs[1].tensor = \"x\": the model has the tensors features",
    ),
    ("rank", "", "inputs: the tensor features is float32 [1, 2, 2, 1] with 4 axes; at most 3 are supported"),
    ("extra", "", "inputs: the model's tensor state has no input; list one with tensor = \"state\""),
    ("several", "", "inputs: 4 values are listed for the tensor features, which is float32 [1, 2]"),
    (
        "window",
        "inputs = [\"a\", \"b\"]",
        "inputs: 2 inputs are listed for the tensor samples, which is float32 [?, 4, 2]",
    ),
    ("half", "", "inputs: the tensor features is float16 [1, 4], not float32, float64 or int64"),
    ("batch", "inputs = [\"a\", \"b\"]\noutput = { index = 4 }", "output.index = 4: target is float32 [4, 1]"),
    ("nan", "", "output: in its trial run the model returned NaN"),
    ("operator", "", "AcmeForecast"),
    ("truncated", "", "the file is truncated or is no ONNX model"),
    ("empty", "", "the file is empty; copy it again"),
];

/// The reason why a model is refused.
fn refusal(file: &Path, manifest: &str) -> String {
    TriedModel::load(file, Some(manifest)).err().unwrap_or_else(|| format!("{} was loaded", file.display()))
}

#[test]
fn models_that_do_not_fit_are_refused_in_either_engine() {
    let models = root().join("host/inference/tests/models");
    for (name, manifest, reason) in REFUSED {
        let refused = refusal(&models.join(format!("{name}.onnx")), manifest);
        assert!(refused.contains(reason) && !refused.contains('\n'), "{name}: {refused}");
    }
    // Nothing of it is read: a sparse file of this size takes no time to make, and no memory to refuse.
    let large = tempfile::NamedTempFile::new().unwrap();
    large.as_file().set_len(200 << 20).unwrap();
    let refused = refusal(large.path(), "");
    assert!(refused.starts_with("it has 200 MiB and max_size allows 64 MiB; "), "{refused}");
}

#[test]
fn the_native_onnx_runtime_computes_the_same_and_refuses_the_same() {
    let native = native_runtime();
    for name in TESTS {
        // An engine is chosen once per process.
        let mut test = Command::new(std::env::current_exe().unwrap());
        let output = test.args(["--exact", name]).env(NATIVE, &native).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && printed.contains("1 passed"),
            "{printed}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
