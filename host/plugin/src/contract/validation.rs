//! Validates the structure of a component within limits: a small file can describe very much.
//!
//! Function bodies are left to the compiler. The validator is written for untrusted bytes, but its memory grows with what
//! the file describes, and it descends into nested types by recursion: both are bounded before it sees them.

use wasmparser::types::Types;
use wasmparser::{BinaryReaderError, Chunk, Parser, Payload, ValidPayload, Validator, WasmFeatures};

use super::shape::printable;

/// Bytes of all sections that describe a component's types and instances. A Python component has 90 KB.
const DESCRIPTION_BYTES: usize = 1 << 20;
/// Bytes that each nested module, component or instance counts for in [`DESCRIPTION_BYTES`]. Checking one against types
/// that unfold to a million parts takes about 10 ms, so that the 256 that fit take a few seconds.
const NESTED_BYTES: usize = 4096;
/// Bytes of all sections of core modules except code, data and custom ones. A Python component has 230 KB.
const MODULE_BYTES: usize = 16 << 20;
/// Levels of nested components; toolchains use 2.
const COMPONENT_DEPTH: usize = 20;
/// Levels of types that are defined within each other. The validator does not limit them and takes up to 5 KB of stack for
/// each level; a Tokio thread has 2 MiB.
const TYPE_DEPTH: usize = 200;

/// The types of a valid component, and the names of its imports and exports.
pub(super) struct Validated {
    pub(super) types: Types,
    pub(super) imports: Vec<String>,
    pub(super) exports: Vec<String>,
}

/// The header is known to be that of a component.
pub(super) fn validate(wasm: &[u8]) -> Result<Validated, String> {
    // Accepts every proposal: the engine decides which of them it supports.
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let mut size = DescribedSize::default();
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut parents = Vec::new();
    let mut parser = Parser::new(0);
    let mut rest = wasm;
    loop {
        // Only the outermost component has no length: it ends where the file ends.
        let is_end = rest.is_empty() && parents.is_empty();
        let (payload, consumed) = match parser.parse(rest, is_end).map_err(|error| damaged(&error))? {
            Chunk::NeedMoreData(_) => return Err(format!("is cut off after {} bytes", wasm.len())),
            Chunk::Parsed { payload, consumed } => (payload, consumed),
        };
        rest = rest.get(consumed..).unwrap_or_default();
        size.add(&payload, wasm)?;
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
                    return Err(format!("nests components more than {COMPONENT_DEPTH} deep"));
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

/// Bytes of descriptions that the validator has processed.
#[derive(Default)]
struct DescribedSize {
    description: usize,
    modules: usize,
}

impl DescribedSize {
    fn add(&mut self, payload: &Payload<'_>, wasm: &[u8]) -> Result<(), String> {
        let Some((_, range)) = payload.as_section() else { return Ok(()) };
        if let Payload::ComponentInstanceSection(instances) = payload {
            let instances = usize::try_from(instances.count()).unwrap_or(usize::MAX);
            self.description = self.description.saturating_add(instances.saturating_mul(NESTED_BYTES));
        }
        match payload {
            Payload::CustomSection(_) | Payload::CodeSectionStart { .. } | Payload::DataSection(_) => {}
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                self.description = self.description.saturating_add(NESTED_BYTES);
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
                    return Err(format!("nests types more than {TYPE_DEPTH} deep"));
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

/// An upper bound of the nesting of component and instance types. Each level is encoded as 0x01 for "a type", followed by
/// 0x41 for a component or 0x42 for an instance; other bytes may look the same, so the count may be too high.
fn nested_types(section: &[u8]) -> usize {
    section.windows(2).filter(|pair| matches!(pair, [0x01, 0x41 | 0x42])).count()
}

fn damaged(error: &BinaryReaderError) -> String {
    format!("is a damaged component, at byte {}: {}", error.offset(), printable(error.message()))
}
