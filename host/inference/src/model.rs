//! A loaded model: its tensors, checked against its manifest, and a run.

use std::borrow::Cow;

use ort::session::{Session, SessionInputValue, SessionOutputs};
use ort::value::{Outlet, Shape, Tensor, TensorElementType, ValueType};

use crate::engine;
use crate::float_outputs::original_name;
use crate::manifest::{ClockInput, InputSource, Manifest};
use crate::onnx_file::OnnxFile;

mod tensor;

use tensor::InputTensor;

/// A model that fits its manifest.
pub(crate) struct OnnxModel {
    session: Session,
    tensors: Vec<InputTensor>,
    output: String,
    index: usize,
}

impl OnnxModel {
    /// Loads a model, compares it with its manifest and runs it once on plausible values. The error names the field of the
    /// manifest that does not fit.
    pub(crate) fn load(file: &OnnxFile, manifest: &Manifest) -> Result<Self, String> {
        let session = engine::session(&file.bytes)?;
        let tensors = tensors(session.inputs(), manifest)?;
        let output = output(session.outputs(), manifest)?;
        let mut model = Self { session, tensors, output, index: manifest.output.index };
        let trial: Vec<Vec<f64>> =
            manifest.inputs.iter().map(|input| vec![input.scaled(plausible(&input.source)); input.window]).collect();
        let raw = model.run(&trial).map_err(|error| format!("its trial run failed: {error}"))?;
        manifest.output.value(raw).map_err(|error| format!("output: in its trial run {error}"))?;
        Ok(model)
    }

    /// Runs the model on the scaled values of each input and returns the output that the manifest names.
    pub(crate) fn run(&mut self, inputs: &[Vec<f64>]) -> Result<f64, String> {
        let mut values: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = Vec::with_capacity(self.tensors.len());
        for tensor in &self.tensors {
            values.push((Cow::Borrowed(tensor.name.as_str()), tensor.value(inputs)?));
        }
        let outputs = self.session.run(values).map_err(|error| error.to_string())?;
        element(&outputs, &self.output, self.index)
    }
}

/// A value that the input has at a site, for the trial run.
fn plausible(source: &InputSource) -> f64 {
    match source {
        InputSource::Channel { channel, .. } => match channel.as_str() {
            bessai_domain::site::channel::SOC => 50.0,
            bessai_domain::site::channel::TEMPERATURE => 25.0,
            _ => 0.0,
        },
        InputSource::Clock(ClockInput::Hour) => 12.0,
        InputSource::Clock(ClockInput::DayFraction) => 0.5,
        InputSource::Clock(ClockInput::HourSine | ClockInput::HourCosine | ClockInput::Weekday) => 0.0,
        InputSource::Constant(constant) => *constant,
        InputSource::Interval => 1.0,
        InputSource::Exchange(_) => 0.0,
    }
}

/// The tensors of a model with the inputs that each consists of.
fn tensors(outlets: &[Outlet], manifest: &Manifest) -> Result<Vec<InputTensor>, String> {
    let first = outlets.first().ok_or("the model has no input; export it with one")?;
    let names = || outlets.iter().map(Outlet::name).collect::<Vec<_>>().join(", ");
    for (index, input) in manifest.inputs.iter().enumerate() {
        if let Some(tensor) =
            input.tensor.as_ref().filter(|wanted| !outlets.iter().any(|outlet| outlet.name() == **wanted))
        {
            return Err(format!("inputs[{index}].tensor = {tensor:?}: the model has the tensors {}", names()));
        }
    }
    let of_outlet = |outlet: &Outlet| {
        let is_part = |(_, input): &(usize, &crate::manifest::Input)| {
            input.tensor.as_deref().unwrap_or(first.name()) == outlet.name()
        };
        let parts: Vec<_> =
            manifest.inputs.iter().enumerate().filter(is_part).map(|(index, input)| (index, input.window)).collect();
        if parts.is_empty() {
            return Err(format!(
                "inputs: the model's tensor {} has no input; list one with tensor = {:?}",
                outlet.name(),
                outlet.name()
            ));
        }
        InputTensor::new(outlet.name(), outlet.dtype(), parts)
    };
    outlets.iter().map(of_outlet).collect()
}

/// The name of the output tensor that the manifest means.
fn output(outlets: &[Outlet], manifest: &Manifest) -> Result<String, String> {
    let wanted = manifest.output.tensor.as_deref();
    let found = outlets.iter().find(|outlet| wanted.is_none_or(|wanted| original_name(outlet.name()) == wanted));
    let Some(found) = found else {
        let names = outlets.iter().map(|outlet| original_name(outlet.name())).collect::<Vec<_>>().join(", ");
        return Err(match wanted {
            Some(wanted) => format!("output.tensor = {wanted:?}: the model returns {names}"),
            None => "the model has no output; export it with one".into(),
        });
    };
    let name = original_name(found.name());
    match found.dtype() {
        ValueType::Tensor { ty, shape, .. } => {
            let is_number =
                matches!(ty, TensorElementType::Float32 | TensorElementType::Float64 | TensorElementType::Int64);
            if !is_number {
                return Err(format!("output: {name} is {}, not float32, float64 or int64", described(*ty, shape)));
            }
            let count = shape.iter().try_fold(1_usize, |count, &axis| count.checked_mul(usize::try_from(axis).ok()?));
            if count.is_some_and(|count| manifest.output.index >= count) {
                let index = manifest.output.index;
                return Err(format!("output.index = {index}: {name} is {}", described(*ty, shape)));
            }
        }
        other => return Err(format!("output: {name} is {other}, not a tensor of numbers")),
    }
    Ok(found.name().to_owned())
}

/// A tensor's type and shape as people write them.
fn described(ty: TensorElementType, shape: &Shape) -> String {
    let name = match ty {
        TensorElementType::Float32 => "float32".to_owned(),
        TensorElementType::Float64 => "float64".to_owned(),
        TensorElementType::Float16 => "float16".to_owned(),
        TensorElementType::Int64 => "int64".to_owned(),
        other => other.to_string(),
    };
    format!("{name} {}", axes(shape))
}

/// A shape as people write it; an axis that is open is `?`.
fn axes(shape: &Shape) -> String {
    let axis = |&axis: &i64| if axis < 0 { "?".to_owned() } else { axis.to_string() };
    format!("[{}]", shape.iter().map(axis).collect::<Vec<_>>().join(", "))
}

/// One number of an output tensor.
#[allow(clippy::cast_precision_loss, reason = "a set-point is far below 2^53")]
fn element(outputs: &SessionOutputs<'_>, name: &str, index: usize) -> Result<f64, String> {
    let output = outputs.get(name).ok_or_else(|| format!("it returned no {name}"))?;
    let missing = || format!("its output {name} has no value {index}");
    if let Ok((_, values)) = output.try_extract_tensor::<f32>() {
        return values.get(index).copied().map(f64::from).ok_or_else(missing);
    }
    if let Ok((_, values)) = output.try_extract_tensor::<f64>() {
        return values.get(index).copied().ok_or_else(missing);
    }
    let (_, values) = output.try_extract_tensor::<i64>().map_err(|error| error.to_string())?;
    values.get(index).map(|&value| value as f64).ok_or_else(missing)
}

/// A tensor of one type from values.
#[allow(clippy::cast_possible_truncation, reason = "the model takes float32 or int64")]
fn numbers(
    ty: TensorElementType,
    shape: &[usize],
    values: impl Iterator<Item = f64>,
) -> Result<SessionInputValue<'static>, String> {
    let shape = shape.to_vec();
    let tensor = match ty {
        TensorElementType::Float64 => Tensor::from_array((shape, values.collect::<Vec<f64>>())).map(Tensor::into_dyn),
        TensorElementType::Int64 => {
            Tensor::from_array((shape, values.map(|value| value.round() as i64).collect::<Vec<i64>>()))
                .map(Tensor::into_dyn)
        }
        _ => Tensor::from_array((shape, values.map(|value| value as f32).collect::<Vec<f32>>())).map(Tensor::into_dyn),
    };
    tensor.map(SessionInputValue::from).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
