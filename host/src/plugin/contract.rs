//! What a component is, and why it does not fit, in words for a person: decided from its bytes alone, before anything
//! is compiled.
//!
//! The bytes may come from anyone. Nothing here panics, and the work is bounded: the file is read once and function
//! bodies are skipped; what describes types, instances and core modules has a length (`validation`); types nest 100 deep
//! at most and unfold to a million parts (limits of the validator); 100,000 names are kept. A file built to cost time
//! takes seconds, any other some milliseconds. The caller bounds the file's length. Ask this before the engine: it keeps
//! the engine's parser from files that would exhaust its stack. What passes, the engine checks once more.

use std::fmt;

mod bytes;
mod component;
mod difference;
mod fit;
mod grants;
mod own;
mod shape;
mod validation;

#[cfg(test)]
mod tests;

use shape::{Extern, Item, Name, printable};

/// Imports or exports, functions of one interface: how many are listed for a person.
const LISTED: usize = 100;

/// What a component exports and imports.
#[derive(Debug)]
pub struct Contract {
    bytes: usize,
    exports: Vec<Extern>,
    imports: Vec<Extern>,
}

/// What a plugin can do: one for each interface that the worlds of `wit/` export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Turns events into messages; every plugin does.
    Transform,
    /// Decides how its feed signs in.
    Session,
    /// Takes orders from the broker.
    Commands,
}

/// Reads a component's contract. The error is a sentence without its subject, such as "is a text file, not a component".
pub(super) fn read(wasm: &[u8]) -> Result<Contract, String> {
    bytes::check_header(wasm)?;
    let component::Component { imports, exports } = component::read(wasm)?;
    Ok(Contract { bytes: wasm.len(), exports, imports })
}

impl Contract {
    /// What the component can do, or everything that does not fit this host: sentences without their subject.
    pub fn check(&self) -> Result<Vec<Kind>, Vec<String>> {
        fit::check(&self.exports, &self.imports)
    }
}

impl Kind {
    const ALL: [Self; 3] = [Self::Transform, Self::Session, Self::Commands];

    /// The interface's name in WIT.
    pub fn name(self) -> &'static str {
        match self {
            Self::Transform => "transform",
            Self::Session => "session",
            Self::Commands => "commands",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Contract {
    /// For a person who looks at the file: exports and imports with their functions, over several lines.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "a component of {} bytes", self.bytes)?;
        list(out, "exports", &self.exports)?;
        list(out, "imports", &self.imports)
    }
}

fn list(out: &mut fmt::Formatter<'_>, title: &str, items: &[Extern]) -> fmt::Result {
    writeln!(out, "{title}{}", if items.is_empty() { " nothing" } else { "" })?;
    for item in items.iter().take(LISTED) {
        let name = printable(&item.name);
        match &item.item {
            Item::Function(function) => writeln!(out, "  {name}: {}", function.notation())?,
            Item::Type => writeln!(out, "  {name} (a type)")?,
            Item::Foreign(what) => writeln!(out, "  {name} (a {what})")?,
            Item::Interface(interface) if interface.is_only_types() => writeln!(out, "  {name} (only types)")?,
            Item::Interface(_) if title == "imports" && is_wasi(&item.name) => writeln!(out, "  {name} (empty)")?,
            Item::Interface(interface) => {
                writeln!(out, "  {name}")?;
                for (name, function) in interface.functions.iter().take(LISTED) {
                    writeln!(out, "    {}: {}", printable(name), function.notation())?;
                }
                more(out, "    ", interface.functions.len())?;
            }
        }
    }
    more(out, "  ", items.len())
}

fn more(out: &mut fmt::Formatter<'_>, indent: &str, length: usize) -> fmt::Result {
    match length.saturating_sub(LISTED) {
        0 => Ok(()),
        rest => writeln!(out, "{indent}… and {rest} more"),
    }
}

/// Whether the host gives this, with nothing behind it.
fn is_wasi(name: &str) -> bool {
    Name::parse(name).is_some_and(|name| grants::wasi(name) == grants::Wasi::Given)
}
