//! The parts of a contract (interfaces, functions, types) and their notation in WIT.
//!
//! The same types hold a component's contract and the host's, so that the two can be compared.

use std::sync::Arc;

/// Characters of the longest signature that is written out: it may come from an untrusted file.
const NOTATION: usize = 400;
/// Characters of the longest name that is written out, for the same reason.
const NAME: usize = 120;

/// The name of a foreign item; a WIT package in binary form exports nothing else.
pub(super) const COMPONENT_TYPE: &str = "component type";

/// Something that a component imports or exports.
#[derive(Debug)]
pub(super) struct Extern {
    pub(super) name: String,
    pub(super) item: ExternItem,
}

#[derive(Debug)]
pub(super) enum ExternItem {
    Interface(Interface),
    Function(Function),
    /// Another name for a type that the component describes itself.
    Type,
    /// Not available to plugins: a core module, a component, a value, a resource.
    Foreign(&'static str),
}

#[derive(Debug, Default)]
pub(super) struct Interface {
    pub(super) functions: Vec<(String, Function)>,
    /// Whether it has resources of its own, which somebody must provide.
    pub(super) has_resources: bool,
}

#[derive(Debug)]
pub(super) struct Function {
    pub(super) is_async: bool,
    pub(super) parameters: Vec<Member>,
    pub(super) result: Option<Arc<WitType>>,
}

/// A field, a case, a flag or a parameter.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) payload: Option<Arc<WitType>>,
}

#[derive(Debug)]
pub(super) struct WitType {
    pub(super) name: Option<String>,
    pub(super) shape: Shape,
}

#[derive(Clone, Debug)]
pub(super) enum Shape {
    Primitive(&'static str),
    /// `record`, `variant`, `enum` or `flags`.
    Members(&'static str, Arc<[Member]>),
    /// `list`, `option`, `tuple`, `result` and the like; a list may have a length.
    Built(&'static str, Vec<Option<Arc<WitType>>>, Option<u32>),
    /// `own` or `borrow`, of a resource.
    Handle(&'static str, String),
}

/// The parts of a name such as `bessai:edge/transform@0.1.0`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ExternName<'a> {
    pub(super) package: &'a str,
    pub(super) interface: &'a str,
    pub(super) version: Option<&'a str>,
}

impl<'a> ExternName<'a> {
    pub(super) fn parse(name: &'a str) -> Option<Self> {
        let (package, rest) = name.split_once('/')?;
        let (interface, version) = match rest.split_once('@') {
            Some((interface, version)) => (interface, Some(version)),
            None => (rest, None),
        };
        Some(Self { package, interface, version })
    }
}

impl Interface {
    /// Whether there is nothing in it to provide: a component brings its types along.
    pub(super) fn is_only_types(&self) -> bool {
        self.functions.is_empty() && !self.has_resources
    }

    pub(super) fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|(known, _)| known == name).map(|(_, function)| function)
    }
}

impl Function {
    /// Whether a call may wait, or passes something that is sent or received later.
    pub(super) fn needs_concurrency(&self) -> bool {
        let parameters = self.parameters.iter().filter_map(|parameter| parameter.payload.as_ref());
        self.is_async || parameters.chain(&self.result).any(|value| value.is_sent_later())
    }

    /// `func(site: site, config: string) -> result<_, string>`
    pub(super) fn notation(&self) -> String {
        let mut out = String::from(if self.is_async { "async func(" } else { "func(" });
        for (index, parameter) in self.parameters.iter().enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            parameter.write(&mut out, NamedTypes::All);
            if is_full(&out) {
                break;
            }
        }
        out.push(')');
        if let Some(result) = &self.result {
            out.push_str(" -> ");
            result.write(&mut out, NamedTypes::All);
        }
        shortened(&out, NOTATION)
    }
}

/// Which types are written by their name.
#[derive(Clone, Copy, PartialEq)]
enum NamedTypes {
    All,
    /// Only those without another notation: `u64`, not `timestamp`.
    Members,
}

impl Member {
    /// `name: type`, or the name alone.
    fn write(&self, out: &mut String, named: NamedTypes) {
        out.push_str(&shortened(&self.name, NAME));
        if let Some(payload) = &self.payload {
            out.push_str(": ");
            payload.write(out, named);
        }
    }
}

impl WitType {
    /// Whether it is a stream or a future, or directly built of one.
    fn is_sent_later(&self) -> bool {
        match &self.shape {
            Shape::Built("stream" | "future", ..) => true,
            Shape::Built(_, parts, _) => parts.iter().flatten().any(|part| part.is_sent_later()),
            _ => false,
        }
    }

    /// Every alias is resolved, so that two different types rarely have the same notation.
    pub(super) fn notation(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, NamedTypes::Members);
        shortened(&out, NOTATION)
    }

    /// The validator bounds the depth (100). The length is bounded here, as shared parts may double it at each level.
    fn write(&self, out: &mut String, named: NamedTypes) {
        match (&self.name, &self.shape) {
            _ if is_full(out) => {}
            (Some(name), Shape::Members(..)) => out.push_str(&shortened(name, NAME)),
            (Some(name), _) if named == NamedTypes::All => out.push_str(&shortened(name, NAME)),
            (_, Shape::Primitive(word)) | (None, Shape::Members(word, _)) => out.push_str(word),
            (_, Shape::Built(word, parts, length)) => write_built(out, named, word, parts, *length),
            (_, Shape::Handle(word, resource)) => {
                out.push_str(&format!("{word}<{}>", shortened(resource, NAME)));
            }
        }
    }
}

fn write_built(out: &mut String, named: NamedTypes, word: &str, parts: &[Option<Arc<WitType>>], length: Option<u32>) {
    out.push_str(word);
    let written = parts.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    if written == 0 {
        return;
    }
    out.push('<');
    for (index, part) in parts.iter().take(written).enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        match part {
            Some(part) => part.write(out, named),
            None => out.push('_'),
        }
        if is_full(out) {
            break;
        }
    }
    if let Some(length) = length {
        out.push_str(&format!(", {length}"));
    }
    out.push('>');
}

fn is_full(out: &str) -> bool {
    out.len() > NOTATION
}

/// A name for a sentence: shortened, and without characters that control a terminal.
pub(super) fn printable(name: &str) -> String {
    shortened(name, NAME)
}

fn shortened(text: &str, limit: usize) -> String {
    let mut short: String = text.chars().take(limit).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if short.len() < text.len() && text.chars().nth(limit).is_some() {
        short.push('…');
    }
    short
}
