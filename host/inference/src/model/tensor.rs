//! One input tensor of a model: its type and shape, and the inputs that it consists of.

use ort::session::SessionInputValue;
use ort::value::{Shape, TensorElementType, ValueType};

use super::{described, numbers};

/// The most rows of a fixed batch: a batch is filled with one row repeated, which costs time and gives nothing.
const MAX_BATCH: usize = 64;

/// A tensor and the inputs that it consists of.
pub(super) struct InputTensor {
    pub(super) name: String,
    ty: TensorElementType,
    shape: Vec<usize>,
    /// The indices of its inputs.
    parts: Vec<usize>,
    /// The rows of the batch, which are all the same.
    batch: usize,
    /// Whether it has a row for each sample, as recurrent models do; otherwise an input's samples follow each other.
    by_sample: bool,
}

impl InputTensor {
    /// `parts` are the indices and windows of its inputs.
    pub(super) fn new(name: &str, dtype: &ValueType, parts: Vec<(usize, usize)>) -> Result<Self, String> {
        let ValueType::Tensor { ty, shape, .. } = dtype else {
            return Err(format!("inputs: the model's input {name} is {dtype}, not a tensor"));
        };
        if !matches!(ty, TensorElementType::Float32 | TensorElementType::Float64 | TensorElementType::Int64) {
            return Err(format!(
                "inputs: the tensor {name} is {}, not float32, float64 or int64",
                described(*ty, shape)
            ));
        }
        let count = parts.iter().map(|(_, window)| window).sum();
        let (batch, shape) =
            Self::fill(shape, &parts, count).ok_or_else(|| mismatch(name, *ty, shape, &parts, count))?;
        let by_sample = shape.len() == 3;
        Ok(Self {
            name: name.to_owned(),
            ty: *ty,
            shape,
            parts: parts.into_iter().map(|(index, _)| index).collect(),
            batch,
            by_sample,
        })
    }

    /// The batch and the shape with its open axes filled in; none if the inputs do not fit.
    fn fill(shape: &Shape, parts: &[(usize, usize)], count: usize) -> Option<(usize, Vec<usize>)> {
        let fits = |axis: i64, wanted: usize| axis < 0 || usize::try_from(axis) == Ok(wanted);
        let rows =
            |axis: i64| usize::try_from(axis).map_or(Some(1), |rows| (1..=MAX_BATCH).contains(&rows).then_some(rows));
        match *shape.to_vec().as_slice() {
            [] => (count == 1).then(|| (1, Vec::new())),
            [values] => fits(values, count).then(|| (1, vec![count])),
            [batch, values] => {
                fits(values, count).then_some(()).and_then(|()| Some((rows(batch)?, vec![rows(batch)?, count])))
            }
            [batch, samples, features] => {
                let (_, window) = *parts.first()?;
                let same = parts.iter().all(|&(_, other)| other == window);
                let rows = rows(batch)?;
                (same && fits(samples, window) && fits(features, parts.len()))
                    .then(|| (rows, vec![rows, window, parts.len()]))
            }
            _ => None,
        }
    }

    /// The tensor for the values of all inputs.
    pub(super) fn value(&self, inputs: &[Vec<f64>]) -> Result<SessionInputValue<'static>, String> {
        let part = |index: usize| inputs.get(index).map(Vec::as_slice).unwrap_or_default();
        let mut row = Vec::with_capacity(self.shape.iter().product());
        if self.by_sample {
            let samples = self.parts.first().map_or(0, |&first| part(first).len());
            for sample in 0..samples {
                row.extend(self.parts.iter().filter_map(|&index| part(index).get(sample)));
            }
        } else {
            self.parts.iter().for_each(|&index| row.extend(part(index)));
        }
        let rows = std::iter::repeat_n(row, self.batch).flatten();
        numbers(self.ty, &self.shape, rows)
    }
}

fn mismatch(name: &str, ty: TensorElementType, shape: &Shape, parts: &[(usize, usize)], count: usize) -> String {
    let shown = described(ty, shape);
    match shape.len() {
        0..=2 => format!("inputs: {count} values are listed for the tensor {name}, which is {shown}"),
        3 => {
            let inputs = parts.len();
            format!("inputs: {inputs} inputs are listed for the tensor {name}, which is {shown}: batch, window, inputs")
        }
        rank => format!("inputs: the tensor {name} is {shown} with {rank} axes; at most 3 are supported"),
    }
}
