//! The structure of a component, checked within limits: a small file can describe very much.
//!
//! Function bodies are left to the compiler. The validator is written for bytes from anyone, yet its memory grows with
//! what it is told, and it goes down into types that stand in each other by recursion: both are bounded before it sees
//! them.

use wasmparser::types::Types;
use wasmparser::{BinaryReaderError, Chunk, Parser, Payload, ValidPayload, Validator, WasmFeatures};

use super::shape::printable;

/// Bytes of all sections of components, which describe types and instances. A Python guest has 90 KB.
const DESCRIPTION_BYTES: usize = 1 << 20;
/// What a module, a component or an instance inside counts for in that, besides its text: to check one against types
/// that unfold to a million parts takes some 10 ms, so 256 of them take a few seconds.
const INNER_BYTES: usize = 4096;
/// Bytes of all sections of core modules but code, data and custom ones. A Python guest has 230 KB.
const MODULE_BYTES: usize = 16 << 20;
/// How deep components may stand in each other; toolchains use 2.
const COMPONENT_DEPTH: usize = 20;
/// How deep types may stand in each other's text, at most. The validator has no limit of its own there and takes up to
/// 5 KB of stack for each level; a thread of Tokio has 2 MiB.
const TYPE_DEPTH: usize = 200;

/// A valid component's types, and the names of its imports and exports.
pub(super) struct Validated {
    pub(super) types: Types,
    pub(super) imports: Vec<String>,
    pub(super) exports: Vec<String>,
}

/// The header is known to be that of a component.
pub(super) fn validate(wasm: &[u8]) -> Result<Validated, String> {
    // Every proposal that is known: which of them is too new is for the engine to say.
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let mut spent = Spent::default();
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut parents = Vec::new();
    let mut parser = Parser::new(0);
    let mut rest = wasm;
    loop {
        // Only the outermost component has no length of its own: it ends where the file ends.
        let is_end = rest.is_empty() && parents.is_empty();
        let (payload, consumed) = match parser.parse(rest, is_end).map_err(|error| damaged(&error))? {
            Chunk::NeedMoreData(_) => return Err(format!("is cut off after {} bytes", wasm.len())),
            Chunk::Parsed { payload, consumed } => (payload, consumed),
        };
        rest = rest.get(consumed..).unwrap_or_default();
        spent.add(&payload, wasm)?;
        let valid = validator.payload(&payload).map_err(|error| damaged(&error))?;
        match payload {
            Payload::ComponentImportSection(section) if parents.is_empty() => {
                for import in section {
                    imports.push(import.map_err(|error| damaged(&error))?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if parents.is_empty() => {
                for export in section {
                    exports.push(export.map_err(|error| damaged(&error))?.name.name.to_owned());
                }
            }
            Payload::ModuleSection { parser: inner, .. } | Payload::ComponentSection { parser: inner, .. } => {
                parents.push(std::mem::replace(&mut parser, inner));
                if parents.len() > COMPONENT_DEPTH {
                    return Err(format!("has components that stand in each other more than {COMPONENT_DEPTH} deep"));
                }
            }
            Payload::End(_) => match (parents.pop(), valid) {
                (Some(parent), _) => parser = parent,
                (None, ValidPayload::End(types)) => return Ok(Validated { types, imports, exports }),
                (None, _) => return Err("is a damaged component: it has no end".into()),
            },
            _ => {}
        }
    }
}

/// What the validator was told so far.
#[derive(Default)]
struct Spent {
    description: usize,
    modules: usize,
}

impl Spent {
    fn add(&mut self, payload: &Payload<'_>, wasm: &[u8]) -> Result<(), String> {
        let Some((_, range)) = payload.as_section() else { return Ok(()) };
        if let Payload::ComponentInstanceSection(instances) = payload {
            let instances = usize::try_from(instances.count()).unwrap_or(usize::MAX);
            self.description = self.description.saturating_add(instances.saturating_mul(INNER_BYTES));
        }
        match payload {
            Payload::CustomSection(_) | Payload::CodeSectionStart { .. } | Payload::DataSection(_) => {}
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                self.description = self.description.saturating_add(INNER_BYTES);
            }
            Payload::CoreTypeSection(_)
            | Payload::InstanceSection(_)
            | Payload::ComponentInstanceSection(_)
            | Payload::ComponentAliasSection(_)
            | Payload::ComponentTypeSection(_)
            | Payload::ComponentCanonicalSection(_)
            | Payload::ComponentStartSection { .. }
            | Payload::ComponentImportSection(_)
            | Payload::ComponentExportSection(_) => {
                self.description = self.description.saturating_add(range.len());
                if nested_types(wasm.get(range).unwrap_or_default()) > TYPE_DEPTH {
                    return Err(format!("has types that stand in each other more than {TYPE_DEPTH} deep"));
                }
            }
            _ => self.modules += range.len(),
        }
        if self.description > DESCRIPTION_BYTES {
            return Err(format!("describes its types and instances in more than {DESCRIPTION_BYTES} bytes"));
        }
        if self.modules > MODULE_BYTES {
            return Err(format!("describes its core modules in more than {MODULE_BYTES} bytes"));
        }
        Ok(())
    }
}

/// How often a component or instance type stands in another one, at most: each such place reads 0x01 for "a type", then
/// 0x41 for a component or 0x42 for an instance. Other bytes may read the same, so this is never too little.
fn nested_types(section: &[u8]) -> usize {
    section.windows(2).filter(|pair| matches!(pair, [0x01, 0x41 | 0x42])).count()
}

fn damaged(error: &BinaryReaderError) -> String {
    format!("is a damaged component, at byte {}: {}", error.offset(), printable(error.message()))
}
