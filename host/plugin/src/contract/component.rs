//! Reads the imports and exports of a valid component, with their types.
//!
//! wit-parser's `decoding` finds the same in a component that a toolchain wrote, and a test compares the two. It cannot be
//! used on an untrusted file, because it expects what WIT can express, and a valid component may contain more:
//! - it recurses without end and overflows the stack, which ends the process, if an interface of package `a` uses a type of
//!   package `b` and an interface of `b` uses a type of `a`;
//! - it panics on a function whose name is that of an interface or a URL, on an interface that contains a component type, on
//!   a method of a resource that was exported under a second name, and on an imported interface that is exported again;
//! - it returns an error without a description if the component exports a type, a module or a component, or exports an
//!   imported interface under a second name;
//! - it omits imported modules and components, and of an interface that is both imported and exported it keeps only the
//!   imported signatures;
//! - it bounds neither its time nor its memory.

use std::collections::HashMap;
use std::sync::Arc;

use wasmparser::PrimitiveValType;
use wasmparser::component_types::{
    ComponentAnyTypeId, ComponentDefinedType, ComponentDefinedTypeId, ComponentEntityType, ComponentFuncTypeId,
    ComponentInstanceTypeId, ComponentItem, ComponentValType, ResourceId,
};
use wasmparser::types::Types;

use super::shape::{COMPONENT_TYPE, Extern, ExternItem, Function, Interface, Member, Shape, WitType};
use super::validation::validate;

/// Names of functions, types, fields, cases and parameters that are kept.
const NAMES: usize = 100_000;
/// Length of the chain of `use`s that is followed from a type to the one with a name.
const ALIASES: usize = 32;

/// Imports and exports, in the file's order.
pub(super) struct ComponentExterns {
    pub(super) imports: Vec<Extern>,
    pub(super) exports: Vec<Extern>,
}

/// The header is known to be that of a component.
pub(super) fn read(wasm: &[u8]) -> Result<ComponentExterns, String> {
    let validated = validate(wasm)?;
    let types = &validated.types;
    let imports = items(&validated.imports, |name| types.component_item_for_import(name));
    let exports = items(&validated.exports, |name| types.component_item_for_export(name));
    let mut reader = TypeReader::new(types);
    for (name, item) in imports.iter().chain(&exports) {
        reader.learn_names(name, item);
    }
    Ok(ComponentExterns { imports: reader.externs(&imports)?, exports: reader.externs(&exports)? })
}

fn items<'a>(
    names: &'a [String],
    item: impl Fn(&str) -> Option<&'a ComponentItem>,
) -> Vec<(&'a str, &'a ComponentItem)> {
    names.iter().filter_map(|name| Some((name.as_str(), item(name)?))).collect()
}

/// Converts each type once, so that the work grows with the size of the file and not with what it describes.
struct TypeReader<'a> {
    types: &'a Types,
    names: HashMap<ComponentDefinedTypeId, &'a str>,
    resources: HashMap<ResourceId, &'a str>,
    converted: HashMap<ComponentDefinedTypeId, Arc<WitType>>,
    /// Names counted against [`NAMES`].
    count: usize,
}

impl<'a> TypeReader<'a> {
    fn new(types: &'a Types) -> Self {
        Self { types, names: HashMap::new(), resources: HashMap::new(), converted: HashMap::new(), count: 0 }
    }

    /// A type is named where it is imported or exported.
    fn learn_names(&mut self, name: &'a str, item: &'a ComponentItem) {
        match item.ty {
            ComponentEntityType::Type { created: ComponentAnyTypeId::Defined(id), .. } => {
                self.names.insert(id, name);
            }
            ComponentEntityType::Type { created: ComponentAnyTypeId::Resource(id), .. } => {
                self.resources.insert(id.resource(), name);
            }
            ComponentEntityType::Instance(id) => {
                for (name, item) in &self.types[id].exports {
                    if matches!(item.ty, ComponentEntityType::Type { .. }) {
                        self.learn_names(name, item);
                    }
                }
            }
            _ => {}
        }
    }

    fn externs(&mut self, items: &[(&str, &ComponentItem)]) -> Result<Vec<Extern>, String> {
        items.iter().map(|(name, item)| Ok(Extern { name: (*name).to_owned(), item: self.item(item.ty)? })).collect()
    }

    fn item(&mut self, entity: ComponentEntityType) -> Result<ExternItem, String> {
        self.count(1)?;
        Ok(match entity {
            ComponentEntityType::Instance(id) => ExternItem::Interface(self.interface(id)?),
            ComponentEntityType::Func(id) => ExternItem::Function(self.function(id)?),
            ComponentEntityType::Type { created: ComponentAnyTypeId::Defined(_), .. } => ExternItem::Type,
            ComponentEntityType::Type { created: ComponentAnyTypeId::Resource(_), .. } => {
                ExternItem::Foreign("resource")
            }
            ComponentEntityType::Type { created: ComponentAnyTypeId::Component(_), .. } => {
                ExternItem::Foreign(COMPONENT_TYPE)
            }
            ComponentEntityType::Type { .. } => ExternItem::Foreign("type"),
            ComponentEntityType::Module(_) => ExternItem::Foreign("core module"),
            ComponentEntityType::Component(_) => ExternItem::Foreign("component"),
            ComponentEntityType::Value(_) => ExternItem::Foreign("value"),
        })
    }

    fn interface(&mut self, id: ComponentInstanceTypeId) -> Result<Interface, String> {
        let mut interface = Interface::default();
        for (name, item) in &self.types[id].exports {
            self.count(1)?;
            match item.ty {
                ComponentEntityType::Func(id) => interface.functions.push((name.clone(), self.function(id)?)),
                ComponentEntityType::Type { created: ComponentAnyTypeId::Defined(_), .. } => {}
                // A resource in any interface of WIT; anything else must be provided just as a resource must.
                _ => interface.has_resources = true,
            }
        }
        Ok(interface)
    }

    fn function(&mut self, id: ComponentFuncTypeId) -> Result<Function, String> {
        let function = &self.types[id];
        let parameters = self.members(function.params.iter().map(|(name, value)| (name.as_str(), Some(*value))))?;
        Ok(Function { is_async: function.async_, parameters, result: self.optional(function.result)? })
    }

    fn optional(&mut self, value: Option<ComponentValType>) -> Result<Option<Arc<WitType>>, String> {
        value.map(|value| self.value(value)).transpose()
    }

    fn value(&mut self, value: ComponentValType) -> Result<Arc<WitType>, String> {
        let id = match value {
            ComponentValType::Primitive(value) => {
                return Ok(Arc::new(WitType { name: None, shape: Shape::Primitive(primitive(value)) }));
            }
            ComponentValType::Type(id) => id,
        };
        if let Some(converted) = self.converted.get(&id) {
            return Ok(Arc::clone(converted));
        }
        let converted = Arc::new(WitType { name: self.name(id), shape: self.shape(&self.types[id])? });
        self.converted.insert(id, Arc::clone(&converted));
        Ok(converted)
    }

    fn name(&self, id: ComponentDefinedTypeId) -> Option<String> {
        let aliases = std::iter::successors(Some(id), |id| self.types.peel_alias(*id));
        aliases.take(ALIASES).find_map(|id| self.names.get(&id)).map(|name| (*name).to_owned())
    }

    fn shape(&mut self, defined: &'a ComponentDefinedType) -> Result<Shape, String> {
        use ComponentDefinedType as Defined;
        Ok(match defined {
            Defined::Primitive(value) => Shape::Primitive(primitive(*value)),
            Defined::Record(record) => {
                let fields = record.fields.iter().map(|(name, value)| (name.as_str(), Some(*value)));
                Shape::Members("record", self.members(fields)?.into())
            }
            Defined::Variant(variant) => {
                let cases = variant.cases.iter().map(|(name, case)| (name.as_str(), case.ty));
                Shape::Members("variant", self.members(cases)?.into())
            }
            Defined::Enum(cases) => {
                Shape::Members("enum", self.members(cases.iter().map(|name| (name.as_str(), None)))?.into())
            }
            Defined::Flags(flags) => {
                Shape::Members("flags", self.members(flags.iter().map(|name| (name.as_str(), None)))?.into())
            }
            Defined::List { element, .. } => self.built("list", [Some(*element)], None)?,
            Defined::FixedLengthList { element, length, .. } => self.built("list", [Some(*element)], Some(*length))?,
            Defined::Map { key, value, .. } => self.built("map", [Some(*key), Some(*value)], None)?,
            Defined::Tuple(tuple) => self.built("tuple", tuple.types.iter().map(|part| Some(*part)), None)?,
            Defined::Option { ty, .. } => self.built("option", [Some(*ty)], None)?,
            Defined::Result { ok, err, .. } => self.built("result", [*ok, *err], None)?,
            Defined::Future { ty, .. } => self.built("future", [*ty], None)?,
            Defined::Stream { ty, .. } => self.built("stream", [*ty], None)?,
            Defined::Own(id) => self.handle("own", id.resource()),
            Defined::Borrow(id) => self.handle("borrow", id.resource()),
        })
    }

    fn members<'n>(
        &mut self,
        members: impl ExactSizeIterator<Item = (&'n str, Option<ComponentValType>)>,
    ) -> Result<Vec<Member>, String> {
        self.count(members.len())?;
        members.map(|(name, payload)| Ok(Member { name: name.to_owned(), payload: self.optional(payload)? })).collect()
    }

    fn built(
        &mut self,
        word: &'static str,
        parts: impl IntoIterator<Item = Option<ComponentValType>>,
        length: Option<u32>,
    ) -> Result<Shape, String> {
        let parts: Result<Vec<_>, String> = parts.into_iter().map(|part| self.optional(part)).collect();
        let parts = parts?;
        self.count(parts.len())?;
        Ok(Shape::Built(word, parts, length))
    }

    fn handle(&self, word: &'static str, resource: ResourceId) -> Shape {
        Shape::Handle(word, self.resources.get(&resource).map_or("resource", |name| name).to_owned())
    }

    fn count(&mut self, names: usize) -> Result<(), String> {
        self.count = self.count.saturating_add(names);
        if self.count > NAMES {
            return Err(format!("names more than {NAMES} functions, types, fields and cases"));
        }
        Ok(())
    }
}

fn primitive(value: PrimitiveValType) -> &'static str {
    match value {
        PrimitiveValType::Bool => "bool",
        PrimitiveValType::S8 => "s8",
        PrimitiveValType::U8 => "u8",
        PrimitiveValType::S16 => "s16",
        PrimitiveValType::U16 => "u16",
        PrimitiveValType::S32 => "s32",
        PrimitiveValType::U32 => "u32",
        PrimitiveValType::S64 => "s64",
        PrimitiveValType::U64 => "u64",
        PrimitiveValType::F32 => "f32",
        PrimitiveValType::F64 => "f64",
        PrimitiveValType::Char => "char",
        PrimitiveValType::String => "string",
        PrimitiveValType::ErrorContext => "error-context",
    }
}
