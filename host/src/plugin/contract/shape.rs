//! What a contract is made of (interfaces, functions, types), and how it is written down in WIT.
//!
//! The same types hold a component's contract and the host's own, so that the two can be compared.

use std::sync::Arc;

/// Longest signature and longest name that is written out, in characters: names come from a stranger's file.
const NOTATION: usize = 400;
const NAME: usize = 120;

/// One thing that a component imports or exports.
#[derive(Debug)]
pub(super) struct Extern {
    pub(super) name: String,
    pub(super) item: Item,
}

#[derive(Debug)]
pub(super) enum Item {
    Interface(Interface),
    Function(Function),
    /// Another name for a type that the component describes itself.
    Type,
    /// What no plugin gets: a core module, a component, a value, a resource.
    Foreign(&'static str),
}

#[derive(Debug, Default)]
pub(super) struct Interface {
    pub(super) functions: Vec<(String, Function)>,
    /// Whether it has resources of its own, which somebody must provide.
    pub(super) resources: bool,
}

#[derive(Debug)]
pub(super) struct Function {
    pub(super) is_async: bool,
    pub(super) parameters: Vec<Member>,
    pub(super) result: Option<Arc<Type>>,
}

/// A field, a case, a flag or a parameter.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) payload: Option<Arc<Type>>,
}

#[derive(Debug)]
pub(super) struct Type {
    pub(super) name: Option<String>,
    pub(super) shape: Shape,
}

#[derive(Clone, Debug)]
pub(super) enum Shape {
    Primitive(&'static str),
    /// `record`, `variant`, `enum` or `flags`.
    Members(&'static str, Arc<[Member]>),
    /// `list`, `option`, `tuple`, `result` and the like; a list may have a length.
    Built(&'static str, Vec<Option<Arc<Type>>>, Option<u32>),
    /// `own` or `borrow`, of a resource.
    Handle(&'static str, String),
}

/// A name such as `bessai:edge/transform@0.1.0`, taken apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Name<'a> {
    pub(super) package: &'a str,
    pub(super) interface: &'a str,
    pub(super) version: Option<&'a str>,
}

impl<'a> Name<'a> {
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
    /// Whether there is nothing in it to provide: types only, which a component brings along itself.
    pub(super) fn is_only_types(&self) -> bool {
        self.functions.is_empty() && !self.resources
    }

    pub(super) fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|(known, _)| known == name).map(|(_, function)| function)
    }
}

impl Function {
    /// `func(site: site, config: string) -> result<_, string>`
    pub(super) fn notation(&self) -> String {
        let mut out = String::from(if self.is_async { "async func(" } else { "func(" });
        for (at, parameter) in self.parameters.iter().enumerate() {
            if at > 0 {
                out.push_str(", ");
            }
            parameter.write(&mut out, Names::All);
            if is_full(&out) {
                break;
            }
        }
        out.push(')');
        if let Some(result) = &self.result {
            out.push_str(" -> ");
            result.write(&mut out, Names::All);
        }
        shortened(&out, NOTATION)
    }
}

/// Which types are written by their name.
#[derive(Clone, Copy, PartialEq)]
enum Names {
    All,
    /// Only those that have no other notation: `u64`, not `timestamp`.
    Members,
}

impl Member {
    /// `name: type`, or the name alone.
    fn write(&self, out: &mut String, names: Names) {
        out.push_str(&shortened(&self.name, NAME));
        if let Some(payload) = &self.payload {
            out.push_str(": ");
            payload.write(out, names);
        }
    }
}

impl Type {
    /// With every alias opened, so that two different types are seldom written alike.
    pub(super) fn notation(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, Names::Members);
        shortened(&out, NOTATION)
    }

    /// The depth is bounded by the validator (100); the length here, as the parts may be shared and double at each level.
    fn write(&self, out: &mut String, names: Names) {
        match (&self.name, &self.shape) {
            _ if is_full(out) => {}
            (Some(name), Shape::Members(..)) => out.push_str(&shortened(name, NAME)),
            (Some(name), _) if names == Names::All => out.push_str(&shortened(name, NAME)),
            (_, Shape::Primitive(word)) | (None, Shape::Members(word, _)) => out.push_str(word),
            (_, Shape::Built(word, parts, length)) => write_built(out, names, word, parts, *length),
            (_, Shape::Handle(word, resource)) => {
                out.push_str(&format!("{word}<{}>", shortened(resource, NAME)));
            }
        }
    }
}

fn write_built(out: &mut String, names: Names, word: &str, parts: &[Option<Arc<Type>>], length: Option<u32>) {
    out.push_str(word);
    let written = parts.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    if written == 0 {
        return;
    }
    out.push('<');
    for (at, part) in parts.iter().take(written).enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        match part {
            Some(part) => part.write(out, names),
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

/// A name for a sentence: cut at a length, and nothing in it that moves a terminal's cursor.
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
