//! Models' files to start from.

/// A model with a manifest as its property, and models of several types and with trees.
pub fn models() -> Vec<Vec<u8>> {
    vec![
        include_bytes!("../models/several.onnx").to_vec(),
        include_bytes!("../models/window.onnx").to_vec(),
        include_bytes!("../models/choice.onnx").to_vec(),
        with_manifest(
            "kind = \"anomaly\"\ninputs = [\"soc_pct\", { channel = \"power_kw\", window = 3, scale = 0.5 }]",
        ),
        with_manifest("output = { tensor = \"action\", index = 1, range = [-50, 60], positive = \"charge\" }"),
    ]
}

/// A small model with the property `bessai`. Its parts are shorter than 128 bytes, so that each length is one byte.
fn with_manifest(manifest: &str) -> Vec<u8> {
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    let value = manifest.as_bytes();
    let entry = [&[0x0a, 6][..], b"bessai", &[0x12, length(value)], value].concat();
    [include_bytes!("../models/batch.onnx"), &[0x72, length(&entry)][..], &entry].concat()
}

/// Words of manifests, which a damaged file may contain.
pub const WORDS: [&str; 8] = ["inputs", "output", "window", "range", "scale", "positive", "bessai", "kind"];
