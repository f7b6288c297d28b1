//! A model that is loaded outside of the service: to say before a start whether it fits, and to compare and measure what it
//! computes.

use std::path::Path;

use bessai_domain::site::Site;

use crate::binding::{Binding, NotBound};
use crate::manifest::{Kind, Manifest};
use crate::model::OnnxModel;
use crate::onnx_file::OnnxFile;
use crate::runner::load_once;
use crate::tract_model::for_tract;
use crate::{DEFAULT_MODEL_BYTES, ModelSettings, engine};

/// Loads a model as the service does, within the same time, and compares it with the site. Returns what it does, in one line; the
/// error says which field does not fit.
pub fn try_model(settings: &ModelSettings, site: &Site) -> Result<String, String> {
    let manifest = load_once(settings)?;
    let device = match Binding::new(&manifest, settings.device.as_deref(), site) {
        Ok(binding) => binding.device,
        Err(NotBound::DeviceUnknown(device)) => format!("{device}, once its channels are discovered"),
        Err(NotBound::Invalid(error)) => return Err(error),
    };
    let inputs: Vec<_> = manifest.inputs.iter().map(ToString::to_string).collect();
    let output = match manifest.kind {
        Kind::Dispatch => manifest.output.channel.as_str(),
        Kind::Anomaly => "anomaly score",
    };
    Ok(format!("{} → {output} of {device}, on {}", inputs.join(", "), engine::name()))
}

/// Whether bytes are a model's file whose manifest, if it carries one, can be used; the engine does not see them.
pub fn inspect(bytes: Vec<u8>) -> Result<(), String> {
    let onnx = OnnxFile::parse(bytes)?;
    for_tract(&onnx.bytes)?;
    onnx.manifest.map_or(Ok(()), |text| Manifest::parse(&text).map(drop))
}

/// A loaded model that runs in the caller's thread, without a time limit.
pub struct TriedModel {
    model: OnnxModel,
    manifest: Manifest,
}

impl TriedModel {
    /// Loads a model with its own manifest, or with the text of another one.
    pub fn load(file: &Path, manifest: Option<&str>) -> Result<Self, String> {
        let onnx = OnnxFile::read(file, DEFAULT_MODEL_BYTES)?;
        let manifest = match manifest {
            Some(text) => Manifest::parse(text)?,
            None => Manifest::of(file, onnx.manifest.as_deref())?,
        };
        Ok(Self { model: OnnxModel::load(&onnx, &manifest)?, manifest })
    }

    /// The number of samples of each input.
    pub fn windows(&self) -> Vec<usize> {
        self.manifest.inputs.iter().map(|input| input.window).collect()
    }

    /// The model's raw output for the scaled samples of each input.
    pub fn run(&mut self, inputs: &[Vec<f64>]) -> Result<f64, String> {
        self.model.run(inputs)
    }

    /// The engine of this process.
    pub fn engine(&self) -> &'static str {
        engine::name()
    }
}
