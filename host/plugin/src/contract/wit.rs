//! Converts the interfaces, functions and types of a parsed WIT text.

use std::collections::HashMap;
use std::sync::Arc;

use wit_parser::{FunctionKind, Handle, InterfaceId, Resolve, Type, TypeDefKind, TypeId};

use super::shape::{Function, Interface, Member, Shape, WitType};

/// The parser never returns an id without its target.
pub(super) const MISSING: &str = "the parser returned an id without a target";

/// Converts each type once, so that its uses share it.
pub(super) struct WitReader<'a> {
    resolve: &'a Resolve,
    converted: HashMap<TypeId, Arc<WitType>>,
}

impl<'a> WitReader<'a> {
    pub(super) fn new(resolve: &'a Resolve) -> Self {
        Self { resolve, converted: HashMap::new() }
    }

    pub(super) fn named_interface(&mut self, id: InterfaceId) -> Result<(String, Interface), String> {
        let interface = self.resolve.interfaces.get(id).ok_or(MISSING)?;
        let name = interface.name.clone().ok_or("an interface has no name")?;
        let mut functions = Vec::new();
        for (name, function) in &interface.functions {
            functions.push((name.clone(), self.function(function)?));
        }
        let has_resources = interface
            .types
            .values()
            .any(|id| self.resolve.types.get(*id).is_some_and(|found| matches!(found.kind, TypeDefKind::Resource)));
        Ok((name, Interface { functions, has_resources }))
    }

    pub(super) fn function(&mut self, function: &wit_parser::Function) -> Result<Function, String> {
        let mut parameters = Vec::new();
        for parameter in &function.params {
            parameters.push(Member { name: parameter.name.clone(), payload: Some(self.value(parameter.ty)?) });
        }
        let result = self.optional(function.result)?;
        Ok(Function { is_async: matches!(function.kind, FunctionKind::AsyncFreestanding), parameters, result })
    }

    fn optional(&mut self, value: Option<Type>) -> Result<Option<Arc<WitType>>, String> {
        value.map(|value| self.value(value)).transpose()
    }

    fn value(&mut self, value: Type) -> Result<Arc<WitType>, String> {
        let Type::Id(id) = value else {
            return Ok(Arc::new(WitType { name: None, shape: Shape::Primitive(primitive(value)) }));
        };
        if let Some(converted) = self.converted.get(&id) {
            return Ok(Arc::clone(converted));
        }
        let definition = self.resolve.types.get(id).ok_or(MISSING)?;
        let converted = match (&definition.kind, &definition.name) {
            // A `use` under the same name is the type itself; under another name it is an alias.
            (TypeDefKind::Type(target), name) => {
                let target = self.value(*target)?;
                match name {
                    Some(name) if target.name.as_ref() != Some(name) => {
                        Arc::new(WitType { name: Some(name.clone()), shape: target.shape.clone() })
                    }
                    _ => target,
                }
            }
            (kind, name) => Arc::new(WitType { name: name.clone(), shape: self.shape(kind)? }),
        };
        self.converted.insert(id, Arc::clone(&converted));
        Ok(converted)
    }

    fn shape(&mut self, kind: &TypeDefKind) -> Result<Shape, String> {
        Ok(match kind {
            TypeDefKind::Record(record) => {
                self.members("record", record.fields.iter().map(|field| (&field.name, Some(field.ty))))?
            }
            TypeDefKind::Variant(variant) => {
                self.members("variant", variant.cases.iter().map(|case| (&case.name, case.ty)))?
            }
            TypeDefKind::Enum(list) => self.members("enum", list.cases.iter().map(|case| (&case.name, None)))?,
            TypeDefKind::Flags(list) => self.members("flags", list.flags.iter().map(|flag| (&flag.name, None)))?,
            TypeDefKind::Tuple(tuple) => self.built("tuple", tuple.types.iter().map(|part| Some(*part)))?,
            TypeDefKind::Option(part) => self.built("option", [Some(*part)])?,
            TypeDefKind::List(part) => self.built("list", [Some(*part)])?,
            TypeDefKind::Result(result) => self.built("result", [result.ok, result.err])?,
            TypeDefKind::Handle(Handle::Own(id)) => Shape::Handle("own", self.name(*id)),
            TypeDefKind::Handle(Handle::Borrow(id)) => Shape::Handle("borrow", self.name(*id)),
            other => return Err(format!("a {} is not supported in wit/", other.as_str())),
        })
    }

    fn members<'n>(
        &mut self,
        word: &'static str,
        members: impl Iterator<Item = (&'n String, Option<Type>)>,
    ) -> Result<Shape, String> {
        let members: Result<Vec<Member>, String> = members
            .map(|(name, payload)| Ok(Member { name: name.clone(), payload: self.optional(payload)? }))
            .collect();
        Ok(Shape::Members(word, members?.into()))
    }

    fn built(&mut self, word: &'static str, parts: impl IntoIterator<Item = Option<Type>>) -> Result<Shape, String> {
        let parts: Result<Vec<_>, String> = parts.into_iter().map(|part| self.optional(part)).collect();
        Ok(Shape::Built(word, parts?, None))
    }

    fn name(&self, id: TypeId) -> String {
        self.resolve.types.get(id).and_then(|found| found.name.clone()).unwrap_or_default()
    }
}

fn primitive(value: Type) -> &'static str {
    match value {
        Type::Bool => "bool",
        Type::U8 => "u8",
        Type::U16 => "u16",
        Type::U32 => "u32",
        Type::U64 => "u64",
        Type::S8 => "s8",
        Type::S16 => "s16",
        Type::S32 => "s32",
        Type::S64 => "s64",
        Type::F32 => "f32",
        Type::F64 => "f64",
        Type::Char => "char",
        Type::String => "string",
        Type::ErrorContext | Type::Id(_) => "error-context",
    }
}
