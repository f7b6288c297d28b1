//! Lets the built-in engine return int64 outputs: it computes some of them, such as those of a cast, as a type of its own that its
//! binding cannot pass on. The copy of the model that it is given casts each int64 output to float64 at the end of the graph,
//! which holds integers up to 2^53 exactly.

use std::borrow::Cow;

use prost::encoding::{DecodeContext, WireType, decode_key, encode_key, encode_varint, skip_field};
use prost::{DecodeError, Message};

/// The field of `ModelProto` with the graph.
const GRAPH: u32 = 7;
/// The field of `GraphProto` with a node.
const NODE: u32 = 1;
/// The field of `GraphProto` with an output.
const OUTPUT: u32 = 12;
/// The number of int64 in `TensorProto.DataType`.
const INT64: i32 = 7;
/// The number of float64 in it.
const DOUBLE: i32 = 11;
/// The value of `AttributeProto.type` for an integer.
const INTEGER: i32 = 2;
/// What is added to the name of an output that is cast.
const SUFFIX: &str = "/as_float64";

/// `ValueInfoProto` of a tensor.
#[derive(Message)]
struct ValueInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    ty: Option<ValueType>,
}

/// `TypeProto`.
#[derive(Message)]
struct ValueType {
    #[prost(message, optional, tag = "1")]
    tensor: Option<TensorType>,
}

/// `TypeProto.Tensor`; its shape stays as it is encoded.
#[derive(Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(bytes = "vec", optional, tag = "2")]
    shape: Option<Vec<u8>>,
}

/// `NodeProto`.
#[derive(Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<Attribute>,
}

/// `AttributeProto` of an integer.
#[derive(Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, tag = "3")]
    i: i64,
    #[prost(int32, tag = "20")]
    ty: i32,
}

/// One field of a message: its number, its content if it has a length, and all its bytes.
struct Field<'a> {
    number: u32,
    content: Option<&'a [u8]>,
    all: &'a [u8],
}

/// The model with float64 in place of int64 outputs; the same bytes if it has none, or is no model.
pub(crate) fn with_float_outputs(model: &[u8]) -> Cow<'_, [u8]> {
    match rewritten(model) {
        Ok(Some(rewritten)) => Cow::Owned(rewritten),
        // What is no model gets its reason from the engine.
        Ok(None) | Err(_) => Cow::Borrowed(model),
    }
}

/// The name that the output has in the model's file.
pub(crate) fn original_name(output: &str) -> &str {
    output.strip_suffix(SUFFIX).unwrap_or(output)
}

fn rewritten(model: &[u8]) -> Result<Option<Vec<u8>>, DecodeError> {
    let fields = fields(model)?;
    let mut graphs = fields.iter().filter(|field| field.number == GRAPH).filter_map(|field| field.content);
    let (Some(graph), None) = (graphs.next(), graphs.next()) else { return Ok(None) };
    let Some(graph) = rewritten_graph(graph)? else { return Ok(None) };
    let mut rewritten = Vec::with_capacity(model.len().saturating_add(graph.len() / 2));
    for field in fields {
        match field.number {
            GRAPH => append(GRAPH, &graph, &mut rewritten),
            _ => rewritten.extend_from_slice(field.all),
        }
    }
    Ok(Some(rewritten))
}

fn rewritten_graph(graph: &[u8]) -> Result<Option<Vec<u8>>, DecodeError> {
    let (mut rewritten, mut casts) = (Vec::new(), Vec::new());
    for field in fields(graph)? {
        let output = field.content.filter(|_| field.number == OUTPUT).map(ValueInfo::decode).transpose()?;
        match output.and_then(as_float) {
            Some((output, cast)) => {
                append(OUTPUT, &output.encode_to_vec(), &mut rewritten);
                casts.push(cast);
            }
            None => rewritten.extend_from_slice(field.all),
        }
    }
    // Nodes have to follow those whose results they take.
    casts.iter().for_each(|cast| append(NODE, &cast.encode_to_vec(), &mut rewritten));
    Ok((!casts.is_empty()).then_some(rewritten))
}

/// An int64 output as float64, and the node that casts it; none for other outputs.
fn as_float(output: ValueInfo) -> Option<(ValueInfo, Node)> {
    let tensor = output.ty?.tensor.filter(|tensor| tensor.elem_type == INT64)?;
    let name = format!("{}{SUFFIX}", output.name);
    let attribute = Attribute { name: "to".into(), i: DOUBLE.into(), ty: INTEGER };
    let cast = Node {
        input: vec![output.name],
        output: vec![name.clone()],
        op_type: "Cast".into(),
        attribute: vec![attribute],
    };
    let ty = ValueType { tensor: Some(TensorType { elem_type: DOUBLE, ..tensor }) };
    Some((ValueInfo { name, ty: Some(ty) }, cast))
}

fn fields(mut message: &[u8]) -> Result<Vec<Field<'_>>, DecodeError> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let begin = message;
        let (number, wire_type) = decode_key(&mut message)?;
        let value = message;
        skip_field(wire_type, number, &mut message, DecodeContext::default())?;
        let all = begin.get(..begin.len() - message.len()).unwrap_or_default();
        let content = match wire_type {
            WireType::LengthDelimited => {
                let mut content = value.get(..value.len() - message.len()).unwrap_or_default();
                prost::encoding::decode_varint(&mut content)?;
                Some(content)
            }
            _ => None,
        };
        fields.push(Field { number, content, all });
    }
    Ok(fields)
}

fn append(number: u32, content: &[u8], to: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, to);
    encode_varint(content.len() as u64, to);
    to.extend_from_slice(content);
}
