//! The messages of onnx.proto that are rewritten for the built-in engine, and the fields of a message as they are encoded, so that
//! all others stay as they are.

use prost::encoding::{DecodeContext, WireType, decode_key, encode_key, encode_varint, skip_field};
use prost::{DecodeError, Message};

/// The number of float32 in `TensorProto.DataType`.
const FLOAT: i32 = 1;
/// The number of int64 in it.
pub(crate) const INT64: i32 = 7;
/// The number of float64 in it.
pub(crate) const DOUBLE: i32 = 11;

/// `OperatorSetIdProto`.
#[derive(Message)]
pub(crate) struct Opset {
    #[prost(string, tag = "1")]
    pub(crate) domain: String,
    #[prost(int64, tag = "2")]
    pub(crate) version: i64,
}

/// `ValueInfoProto` of a tensor.
#[derive(Message)]
pub(crate) struct ValueInfo {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) ty: Option<ValueType>,
}

/// `TypeProto`.
#[derive(Message)]
pub(crate) struct ValueType {
    #[prost(message, optional, tag = "1")]
    pub(crate) tensor: Option<TensorType>,
}

/// `TypeProto.Tensor`; its shape stays as it is encoded.
#[derive(Message)]
pub(crate) struct TensorType {
    #[prost(int32, tag = "1")]
    pub(crate) elem_type: i32,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(crate) shape: Option<Vec<u8>>,
}

/// `NodeProto`.
#[derive(Clone, Message)]
pub(crate) struct Node {
    #[prost(string, repeated, tag = "1")]
    pub(crate) input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) output: Vec<String>,
    #[prost(string, tag = "4")]
    pub(crate) op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub(crate) attribute: Vec<Attribute>,
    #[prost(string, tag = "7")]
    pub(crate) domain: String,
}

/// `AttributeProto` of numbers and texts.
#[derive(Clone, Message)]
pub(crate) struct Attribute {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(int64, tag = "3")]
    pub(crate) i: i64,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) s: Vec<u8>,
    #[prost(float, repeated, tag = "7")]
    pub(crate) floats: Vec<f32>,
    #[prost(int64, repeated, tag = "8")]
    pub(crate) ints: Vec<i64>,
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub(crate) strings: Vec<Vec<u8>>,
    #[prost(int32, tag = "20")]
    ty: i32,
}

/// `TensorProto` of a constant.
#[derive(Message)]
pub(crate) struct Constant {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(float, repeated, tag = "4")]
    float_data: Vec<f32>,
    #[prost(int64, repeated, tag = "7")]
    int64_data: Vec<i64>,
    #[prost(string, tag = "8")]
    pub(crate) name: String,
}

impl Node {
    /// A node of the standard operators with one output.
    pub(crate) fn new(op_type: &str, input: &[&str], output: &str, attribute: Vec<Attribute>) -> Self {
        let input = input.iter().map(ToString::to_string).collect();
        Self { input, output: vec![output.into()], op_type: op_type.into(), attribute, domain: String::new() }
    }

    /// An attribute of the node.
    pub(crate) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attribute.iter().find(|attribute| attribute.name == name)
    }
}

impl Attribute {
    pub(crate) fn int(name: &str, i: i64) -> Self {
        Self { i, ..Self::of_type(name, 2) }
    }

    pub(crate) fn of_text(name: &str, text: &str) -> Self {
        Self { s: text.into(), ..Self::of_type(name, 3) }
    }

    pub(crate) fn floats(name: &str, floats: Vec<f32>) -> Self {
        Self { floats, ..Self::of_type(name, 6) }
    }

    pub(crate) fn ints(name: &str, ints: Vec<i64>) -> Self {
        Self { ints, ..Self::of_type(name, 7) }
    }

    pub(crate) fn of_texts(name: &str, texts: Vec<Vec<u8>>) -> Self {
        Self { strings: texts, ..Self::of_type(name, 8) }
    }

    /// `ty` is of `AttributeProto.AttributeType`.
    fn of_type(name: &str, ty: i32) -> Self {
        Self { name: name.into(), ty, ..Self::default() }
    }
}

impl Constant {
    /// A row of numbers, which is added to each row of a matrix.
    pub(crate) fn row(name: &str, values: Vec<f32>) -> Self {
        let dims = vec![1, i64::try_from(values.len()).unwrap_or(i64::MAX)];
        Self { dims, data_type: FLOAT, float_data: values, name: name.into(), ..Self::default() }
    }

    /// A list of integers.
    pub(crate) fn integers(name: &str, values: Vec<i64>) -> Self {
        let dims = vec![i64::try_from(values.len()).unwrap_or(i64::MAX)];
        Self { dims, data_type: INT64, int64_data: values, name: name.into(), ..Self::default() }
    }
}

/// One field of a message: its number, its content if it has a length, and all its bytes.
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    pub(crate) content: Option<&'a [u8]>,
    pub(crate) all: &'a [u8],
}

/// The fields of a message, in their order.
pub(crate) fn fields(mut message: &[u8]) -> Result<Vec<Field<'_>>, DecodeError> {
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

/// Appends a field with a length.
pub(crate) fn append(number: u32, content: &[u8], to: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, to);
    encode_varint(content.len() as u64, to);
    to.extend_from_slice(content);
}
