//! The copy of a model that the built-in engine is given in place of the file: see `float_outputs` and `tree_ensemble`.

use std::borrow::Cow;

use prost::{DecodeError, Message};

use crate::float_outputs::as_float;
use crate::onnx_proto::{Constant, Node, Opset, ValueInfo, append, fields};
use crate::tree_ensemble;

/// The field of `ModelProto` with the graph.
const GRAPH: u32 = 7;
/// The field of `ModelProto` with a version of operators.
const OPSET: u32 = 8;
/// The field of `GraphProto` with a node.
const NODE: u32 = 1;
/// The field of `GraphProto` with a constant.
const CONSTANT: u32 = 5;
/// The field of `GraphProto` with an output.
const OUTPUT: u32 = 12;

/// Why there is no rewritten model.
enum Unchanged {
    /// It is no model; the engine gives the reason.
    Damaged,
    /// The engine would compute something else than the model says.
    Refused(String),
}

impl From<DecodeError> for Unchanged {
    fn from(_: DecodeError) -> Self {
        Self::Damaged
    }
}

/// The model as the built-in engine computes it correctly and fast; the same bytes if nothing has to change, or if it is no model.
/// The error says what is wrong with a model whose mistake the engine would not notice.
pub(crate) fn for_tract(model: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    match rewritten(model) {
        Ok(Some(rewritten)) => Ok(Cow::Owned(rewritten)),
        Ok(None) | Err(Unchanged::Damaged) => Ok(Cow::Borrowed(model)),
        Err(Unchanged::Refused(reason)) => Err(reason),
    }
}

fn rewritten(model: &[u8]) -> Result<Option<Vec<u8>>, Unchanged> {
    let fields = fields(model)?;
    let mut graphs = fields.iter().filter(|field| field.number == GRAPH).filter_map(|field| field.content);
    let (Some(graph), None) = (graphs.next(), graphs.next()) else { return Ok(None) };
    let opsets = fields.iter().filter(|field| field.number == OPSET).filter_map(|field| field.content);
    let opsets = opsets.map(Opset::decode).collect::<Result<Vec<_>, _>>()?;
    let standard = opsets.iter().find(|opset| ["", "ai.onnx"].contains(&opset.domain.as_str()));
    let Some(graph) = rewritten_graph(graph, standard.map_or(0, |opset| opset.version))? else { return Ok(None) };
    let mut rewritten = Vec::with_capacity(model.len().saturating_add(graph.len() / 2));
    for field in fields {
        match field.number {
            GRAPH => append(GRAPH, &graph, &mut rewritten),
            _ => rewritten.extend_from_slice(field.all),
        }
    }
    Ok(Some(rewritten))
}

fn rewritten_graph(graph: &[u8], opset: i64) -> Result<Option<Vec<u8>>, Unchanged> {
    let (mut rewritten, mut casts, mut constants) = (Vec::new(), Vec::new(), Vec::new());
    let mut is_changed = false;
    for field in fields(graph)? {
        match (field.number, field.content) {
            (NODE, Some(node)) => match of_node(node, opset, &mut constants)? {
                Some(nodes) => {
                    is_changed = true;
                    nodes.iter().for_each(|node| append(NODE, &node.encode_to_vec(), &mut rewritten));
                }
                None => rewritten.extend_from_slice(field.all),
            },
            (OUTPUT, Some(output)) => match as_float(ValueInfo::decode(output)?) {
                Some((output, cast)) => {
                    append(OUTPUT, &output.encode_to_vec(), &mut rewritten);
                    casts.push(cast);
                }
                None => rewritten.extend_from_slice(field.all),
            },
            _ => rewritten.extend_from_slice(field.all),
        }
    }
    is_changed |= !casts.is_empty();
    // Nodes have to follow those whose results they take.
    casts.iter().for_each(|cast| append(NODE, &cast.encode_to_vec(), &mut rewritten));
    constants.iter().for_each(|constant| append(CONSTANT, &constant.encode_to_vec(), &mut rewritten));
    Ok(is_changed.then_some(rewritten))
}

/// The nodes in place of one, and their constants; none if it stays.
fn of_node(node: &[u8], opset: i64, constants: &mut Vec<Constant>) -> Result<Option<Vec<Node>>, Unchanged> {
    let node = Node::decode(node)?;
    let replaced = tree_ensemble::replaced(&node, opset).map_err(Unchanged::Refused)?;
    Ok(replaced.map(|(nodes, more)| {
        constants.extend(more);
        nodes
    }))
}
