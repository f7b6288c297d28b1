//! The host's contract, read from the texts in `wit/`, which are its only definition.

use std::sync::LazyLock;

use wit_parser::{PackageId, Resolve, SourceMap, WorldItem};

use super::shape::Interface;
use super::wit::{MISSING, WitReader};

/// The files of `wit/`.
pub(super) const TEXTS: [(&str, &str); 3] = [
    ("host.wit", include_str!("../../../../wit/host.wit")),
    ("plugin.wit", include_str!("../../../../wit/plugin.wit")),
    ("types.wit", include_str!("../../../../wit/types.wit")),
];

/// What the worlds of `wit/` export and import, all taken together.
#[derive(Debug)]
pub(super) struct HostContract {
    /// `bessai:edge`
    pub(super) package: String,
    pub(super) version: String,
    pub(super) exports: Vec<(String, Interface)>,
    pub(super) imports: Vec<(String, Interface)>,
}

/// Reads the contract once per process.
pub(super) fn contract() -> Result<&'static HostContract, String> {
    static CONTRACT: LazyLock<Result<HostContract, String>> = LazyLock::new(parse);
    CONTRACT.as_ref().map_err(|error| format!("cannot be checked: failed to read the host's own contract: {error}"))
}

fn parse() -> Result<HostContract, String> {
    let mut texts = SourceMap::default();
    for (name, text) in TEXTS {
        texts.push_str(name, text);
    }
    let group = texts.parse().map_err(|(_, error)| error.to_string())?;
    let mut resolve = Resolve::default();
    let package = resolve.push_group(group).map_err(|error| error.to_string())?;
    of_package(&resolve, package)
}

fn of_package(resolve: &Resolve, package: PackageId) -> Result<HostContract, String> {
    let package = resolve.packages.get(package).ok_or(MISSING)?;
    let name = &package.name;
    let version = name.version.as_ref().ok_or("its package has no version")?.to_string();
    let (mut exports, mut imports) = (Vec::new(), Vec::new());
    let mut reader = WitReader::new(resolve);
    for world in package.worlds.values() {
        let world = resolve.worlds.get(*world).ok_or(MISSING)?;
        add(&mut reader, world.exports.values(), &mut exports)?;
        add(&mut reader, world.imports.values(), &mut imports)?;
    }
    Ok(HostContract { package: format!("{}:{}", name.namespace, name.name), version, exports, imports })
}

fn add<'i>(
    reader: &mut WitReader<'_>,
    items: impl Iterator<Item = &'i WorldItem>,
    interfaces: &mut Vec<(String, Interface)>,
) -> Result<(), String> {
    for item in items {
        let WorldItem::Interface { id, .. } = item else {
            return Err("a world has something other than interfaces".into());
        };
        let (name, interface) = reader.named_interface(*id)?;
        if !interfaces.iter().any(|(known, _)| *known == name) {
            interfaces.push((name, interface));
        }
    }
    Ok(())
}
