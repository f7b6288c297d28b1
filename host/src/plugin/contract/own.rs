//! The host's own contract, read from the texts in `wit/`: they are the only place where it is written.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use wit_parser::{FunctionKind, Handle, PackageId, Resolve, SourceMap, TypeDefKind, TypeId, WorldItem};

use super::shape::{Function, Interface, Member, Shape, Type};

pub(super) const TEXTS: [(&str, &str); 3] = [
    ("host.wit", include_str!("../../../../wit/host.wit")),
    ("plugin.wit", include_str!("../../../../wit/plugin.wit")),
    ("types.wit", include_str!("../../../../wit/types.wit")),
];

/// The parser would have refused this before.
const LOST: &str = "something in it leads nowhere";

/// What the worlds of `wit/` export and import, all taken together.
#[derive(Debug)]
pub(super) struct Own {
    /// `bessai:edge`
    pub(super) package: String,
    pub(super) version: String,
    pub(super) exports: Vec<(String, Interface)>,
    pub(super) imports: Vec<(String, Interface)>,
}

/// Read once per process.
pub(super) fn contract() -> Result<&'static Own, String> {
    static OWN: LazyLock<Result<Own, String>> = LazyLock::new(read);
    OWN.as_ref().map_err(|error| format!("cannot be judged, as the host's own contract is damaged: {error}"))
}

fn read() -> Result<Own, String> {
    let mut texts = SourceMap::default();
    for (name, text) in TEXTS {
        texts.push_str(name, text);
    }
    let group = texts.parse().map_err(|(_, error)| error.to_string())?;
    let mut resolve = Resolve::default();
    let package = resolve.push_group(group).map_err(|error| error.to_string())?;
    Reader { resolve: &resolve, made: HashMap::new() }.own(package)
}

struct Reader<'a> {
    resolve: &'a Resolve,
    made: HashMap<TypeId, Arc<Type>>,
}

impl Reader<'_> {
    fn own(&mut self, package: PackageId) -> Result<Own, String> {
        let package = self.resolve.packages.get(package).ok_or(LOST)?;
        let name = &package.name;
        let version = name.version.as_ref().ok_or("its package has no version")?.to_string();
        let mut own = Own {
            package: format!("{}:{}", name.namespace, name.name),
            version,
            exports: Vec::new(),
            imports: Vec::new(),
        };
        for world in package.worlds.values() {
            let world = self.resolve.worlds.get(*world).ok_or(LOST)?;
            self.add(world.exports.values(), &mut own.exports)?;
            self.add(world.imports.values(), &mut own.imports)?;
        }
        Ok(own)
    }

    fn add<'i>(
        &mut self,
        items: impl Iterator<Item = &'i WorldItem>,
        interfaces: &mut Vec<(String, Interface)>,
    ) -> Result<(), String> {
        for item in items {
            let WorldItem::Interface { id, .. } = item else {
                return Err("a world has something besides interfaces".into());
            };
            let interface = self.resolve.interfaces.get(*id).ok_or(LOST)?;
            let name = interface.name.clone().ok_or("an interface has no name")?;
            if !interfaces.iter().any(|(known, _)| *known == name) {
                interfaces.push((name, self.interface(interface)?));
            }
        }
        Ok(())
    }

    fn interface(&mut self, interface: &wit_parser::Interface) -> Result<Interface, String> {
        let mut functions = Vec::new();
        for (name, function) in &interface.functions {
            functions.push((name.clone(), self.function(function)?));
        }
        let resources = interface
            .types
            .values()
            .any(|id| self.resolve.types.get(*id).is_some_and(|found| matches!(found.kind, TypeDefKind::Resource)));
        Ok(Interface { functions, resources })
    }

    fn function(&mut self, function: &wit_parser::Function) -> Result<Function, String> {
        let mut parameters = Vec::new();
        for parameter in &function.params {
            parameters.push(Member { name: parameter.name.clone(), payload: Some(self.value(parameter.ty)?) });
        }
        let result = self.optional(function.result)?;
        Ok(Function { is_async: matches!(function.kind, FunctionKind::AsyncFreestanding), parameters, result })
    }

    fn optional(&mut self, value: Option<wit_parser::Type>) -> Result<Option<Arc<Type>>, String> {
        value.map(|value| self.value(value)).transpose()
    }

    fn value(&mut self, value: wit_parser::Type) -> Result<Arc<Type>, String> {
        let wit_parser::Type::Id(id) = value else {
            return Ok(Arc::new(Type { name: None, shape: Shape::Primitive(primitive(value)) }));
        };
        if let Some(made) = self.made.get(&id) {
            return Ok(Arc::clone(made));
        }
        let definition = self.resolve.types.get(id).ok_or(LOST)?;
        let made = match (&definition.kind, &definition.name) {
            // A `use` leads to the one type that was meant; a type of the same name is the same name.
            (TypeDefKind::Type(target), name) => {
                let target = self.value(*target)?;
                match name {
                    Some(name) if target.name.as_ref() != Some(name) => {
                        Arc::new(Type { name: Some(name.clone()), shape: target.shape.clone() })
                    }
                    _ => target,
                }
            }
            (kind, name) => Arc::new(Type { name: name.clone(), shape: self.shape(kind)? }),
        };
        self.made.insert(id, Arc::clone(&made));
        Ok(made)
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
            other => return Err(format!("a {} is not foreseen in wit/", other.as_str())),
        })
    }

    fn members<'n>(
        &mut self,
        word: &'static str,
        members: impl Iterator<Item = (&'n String, Option<wit_parser::Type>)>,
    ) -> Result<Shape, String> {
        let members: Result<Vec<Member>, String> = members
            .map(|(name, payload)| Ok(Member { name: name.clone(), payload: self.optional(payload)? }))
            .collect();
        Ok(Shape::Members(word, members?.into()))
    }

    fn built(
        &mut self,
        word: &'static str,
        parts: impl IntoIterator<Item = Option<wit_parser::Type>>,
    ) -> Result<Shape, String> {
        let parts: Result<Vec<_>, String> = parts.into_iter().map(|part| self.optional(part)).collect();
        Ok(Shape::Built(word, parts?, None))
    }

    fn name(&self, id: TypeId) -> String {
        self.resolve.types.get(id).and_then(|found| found.name.clone()).unwrap_or_default()
    }
}

fn primitive(value: wit_parser::Type) -> &'static str {
    match value {
        wit_parser::Type::Bool => "bool",
        wit_parser::Type::U8 => "u8",
        wit_parser::Type::U16 => "u16",
        wit_parser::Type::U32 => "u32",
        wit_parser::Type::U64 => "u64",
        wit_parser::Type::S8 => "s8",
        wit_parser::Type::S16 => "s16",
        wit_parser::Type::S32 => "s32",
        wit_parser::Type::S64 => "s64",
        wit_parser::Type::F32 => "f32",
        wit_parser::Type::F64 => "f64",
        wit_parser::Type::Char => "char",
        wit_parser::Type::String => "string",
        wit_parser::Type::ErrorContext | wit_parser::Type::Id(_) => "error-context",
    }
}
