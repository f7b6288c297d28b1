//! What an ONNX file says about itself, read without the weights: its properties, and whether it is complete.

use std::path::Path;

use bessai_files::FileError;
use prost::Message;

/// Bytes of a MiB.
const MIB: u64 = 1 << 20;
/// The value of `data_location` for weights that are in another file.
const EXTERNAL: i32 = 1;

/// A model's file in memory.
pub(crate) struct OnnxFile {
    pub(crate) bytes: Vec<u8>,
    /// The text of the property `bessai`, which is a manifest.
    pub(crate) manifest: Option<String>,
}

/// The name of the property whose value is the manifest.
const MANIFEST_PROPERTY: &str = "bessai";

/// `ModelProto` of onnx.proto, as far as it is needed; the weights are skipped.
#[derive(Message)]
struct ModelProto {
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "14")]
    metadata_props: Vec<StringEntry>,
}

/// `GraphProto`.
#[derive(Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeProto>,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
}

/// `NodeProto`, of which only the number is needed.
#[derive(Message)]
struct NodeProto {}

/// `TensorProto`, without its data.
#[derive(Message)]
struct TensorProto {
    #[prost(string, tag = "8")]
    name: String,
    #[prost(int32, tag = "14")]
    data_location: i32,
}

/// `StringStringEntryProto`.
#[derive(Message)]
struct StringEntry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

impl OnnxFile {
    /// Reads a model's file of up to so many bytes.
    pub(crate) fn read(path: &Path, max_bytes: u64) -> Result<Self, String> {
        let bytes = bessai_files::read(path, max_bytes).map_err(|error| match error {
            FileError::TooLarge { bytes, limit } => {
                let (mib, limit_mib) = (bytes.div_ceil(MIB), limit / MIB);
                format!(
                    "it has {mib} MiB and max_size allows {limit_mib} MiB; an engine takes several times that in memory: \
                     use a smaller model, or raise max_size if the machine has the memory"
                )
            }
            error => error.to_string(),
        })?;
        Self::parse(bytes)
    }

    pub(crate) fn parse(bytes: Vec<u8>) -> Result<Self, String> {
        if bytes.is_empty() {
            return Err("the file is empty; copy it again".into());
        }
        let model = ModelProto::decode(bytes.as_slice())
            .map_err(|error| format!("the file is truncated or is no ONNX model ({error}); copy it again"))?;
        let graph = model.graph.unwrap_or_default();
        if graph.node.is_empty() {
            return Err("the file has no graph; export the model as ONNX".into());
        }
        // The engine would read whatever file the model names.
        if let Some(tensor) = graph.initializer.iter().find(|tensor| tensor.data_location == EXTERNAL) {
            return Err(format!("the weights {} are in another file; save the model as one file", tensor.name));
        }
        let manifest = model.metadata_props.into_iter().find(|entry| entry.key == MANIFEST_PROPERTY);
        Ok(Self { bytes, manifest: manifest.map(|entry| entry.value) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(bytes: &[u8]) -> String {
        OnnxFile::parse(bytes.to_vec()).err().unwrap_or_default()
    }

    #[test]
    fn files_that_are_no_model_are_refused() {
        assert_eq!(error(b""), "the file is empty; copy it again");
        assert!(error(b"not a model").starts_with("the file is truncated or is no ONNX model ("));
        assert_eq!(error(&[8, 8]), "the file has no graph; export the model as ONNX");
    }

    #[test]
    fn every_truncation_is_noticed_or_harmless() {
        let whole = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/dispatch.onnx")).unwrap();
        for length in 0..whole.len() {
            let _ = OnnxFile::parse(whole[..length].to_vec());
        }
        assert!(OnnxFile::parse(whole).is_ok());
    }

    #[test]
    fn weights_in_other_files_are_refused() {
        let tensor = TensorProto { name: "w".into(), data_location: EXTERNAL };
        let node = NodeProto {};
        let graph = GraphProto { node: vec![node], initializer: vec![tensor] };
        let model = ModelProto { graph: Some(graph), metadata_props: Vec::new() };
        let expected = "the weights w are in another file; save the model as one file";
        assert_eq!(error(&model.encode_to_vec()), expected);
    }

    #[test]
    fn the_manifest_may_be_a_property() {
        let entry = StringEntry { key: MANIFEST_PROPERTY.into(), value: "kind = \"anomaly\"".into() };
        let graph = GraphProto { node: vec![NodeProto {}], initializer: Vec::new() };
        let model = ModelProto { graph: Some(graph), metadata_props: vec![entry] };
        let file = OnnxFile::parse(model.encode_to_vec()).unwrap();
        assert_eq!(file.manifest.as_deref(), Some("kind = \"anomaly\""));
    }
}
