//! Reads what a component exports and imports, and says in words for people why it does not fit: from its bytes alone,
//! before anything is compiled.
//!
//! The bytes may come from anyone. Nothing here panics, and the work is bounded: the file is read once and function
//! bodies are skipped; what describes types, instances and core modules has a maximum length (`validation`); the validator
//! limits types to 100 levels and a million parts; at most 100,000 names are kept. A file that is built to be expensive
//! takes seconds, any other a few milliseconds. The caller bounds the file's length. A component is compiled only after
//! this check, which keeps files that would exhaust the stack of the engine's parser away from it; the engine then checks
//! the types once more.

use std::fmt;

mod component;
mod difference;
mod fit;
mod grants;
mod header;
mod host_contract;
mod shape;
mod validation;
mod wit;

#[cfg(test)]
mod tests;

use shape::{Extern, ExternItem, ExternName, printable};

/// Number of imports, of exports and of functions of one interface that are listed.
const LISTED: usize = 100;

/// What a component exports and imports.
#[derive(Debug)]
pub struct Contract {
    bytes: usize,
    exports: Vec<Extern>,
    imports: Vec<Extern>,
}

/// An interface that a plugin may export, as the worlds of `wit/` name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginInterface {
    /// Turns events into messages; every plugin exports it.
    Transform,
    /// Decides how the feed signs in.
    Session,
    /// Receives commands from the broker.
    Commands,
}

/// Reads a component's contract. The error is a sentence without its subject, such as "is a text file, not a component".
pub(crate) fn read(wasm: &[u8]) -> Result<Contract, String> {
    header::check(wasm)?;
    let component::ComponentExterns { imports, exports } = component::read(wasm)?;
    Ok(Contract { bytes: wasm.len(), exports, imports })
}

impl Contract {
    /// The interfaces that the plugin exports, or everything that does not fit this host: sentences without their subject.
    pub fn check(&self) -> Result<Vec<PluginInterface>, Vec<String>> {
        fit::check(&self.exports, &self.imports)
    }

    /// Whether it imports async functions, or functions with streams.
    pub(crate) fn needs_concurrency(&self) -> bool {
        let interfaces = self.imports.iter().filter_map(|import| match &import.item {
            ExternItem::Interface(interface) => Some(interface),
            _ => None,
        });
        interfaces.flat_map(|interface| &interface.functions).any(|(_, function)| function.needs_concurrency())
    }
}

impl PluginInterface {
    const ALL: [Self; 3] = [Self::Transform, Self::Session, Self::Commands];

    /// The interface's name in `wit/`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Transform => "transform",
            Self::Session => "session",
            Self::Commands => "commands",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|interface| interface.name() == name)
    }
}

impl fmt::Display for Contract {
    /// Lists exports and imports with their functions, over several lines.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "a component of {} bytes", self.bytes)?;
        list(out, "exports", &self.exports)?;
        list(out, "imports", &self.imports)
    }
}

fn list(out: &mut fmt::Formatter<'_>, title: &str, externs: &[Extern]) -> fmt::Result {
    writeln!(out, "{title}{}", if externs.is_empty() { " nothing" } else { "" })?;
    for listed in externs.iter().take(LISTED) {
        let name = printable(&listed.name);
        match &listed.item {
            ExternItem::Function(function) => writeln!(out, "  {name}: {}", function.notation())?,
            ExternItem::Type => writeln!(out, "  {name} (a type)")?,
            ExternItem::Foreign(what) => writeln!(out, "  {name} (a {what})")?,
            ExternItem::Interface(interface) if interface.is_only_types() => writeln!(out, "  {name} (only types)")?,
            ExternItem::Interface(_) if title == "imports" && is_wasi(&listed.name) => {
                writeln!(out, "  {name} (empty)")?;
            }
            ExternItem::Interface(interface) => {
                writeln!(out, "  {name}")?;
                for (name, function) in interface.functions.iter().take(LISTED) {
                    writeln!(out, "    {}: {}", printable(name), function.notation())?;
                }
                write_rest(out, "    ", interface.functions.len())?;
            }
        }
    }
    write_rest(out, "  ", externs.len())
}

fn write_rest(out: &mut fmt::Formatter<'_>, indent: &str, length: usize) -> fmt::Result {
    match length.saturating_sub(LISTED) {
        0 => Ok(()),
        rest => writeln!(out, "{indent}… and {rest} more"),
    }
}

/// Whether the host provides this interface, with nothing behind it.
fn is_wasi(name: &str) -> bool {
    ExternName::parse(name).is_some_and(|name| grants::wasi(name) == grants::Wasi::Provided)
}
