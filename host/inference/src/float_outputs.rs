//! Lets the built-in engine return int64 outputs: it computes some of them, such as those of a cast, as a type of its own that its
//! binding cannot pass on. The copy of the model that it is given casts each int64 output to float64 at the end of the graph,
//! which holds integers up to 2^53 exactly.

use crate::onnx_proto::{Attribute, DOUBLE, INT64, Node, TensorType, ValueInfo, ValueType};

/// What is added to the name of an output that is cast.
const SUFFIX: &str = "/as_float64";

/// The name that the output has in the model's file.
pub(crate) fn original_name(output: &str) -> &str {
    output.strip_suffix(SUFFIX).unwrap_or(output)
}

/// An int64 output as float64, and the node that casts it; none for other outputs.
pub(crate) fn as_float(output: ValueInfo) -> Option<(ValueInfo, Node)> {
    let tensor = output.ty?.tensor.filter(|tensor| tensor.elem_type == INT64)?;
    let name = format!("{}{SUFFIX}", output.name);
    let cast = Node::new("Cast", &[&output.name], &name, vec![Attribute::int("to", DOUBLE.into())]);
    let ty = ValueType { tensor: Some(TensorType { elem_type: DOUBLE, ..tensor }) };
    Some((ValueInfo { name, ty: Some(ty) }, cast))
}
