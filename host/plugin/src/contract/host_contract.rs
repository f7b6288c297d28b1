//! The versions of the contract that this host implements, read from their texts, which are their only definition.

use std::sync::LazyLock;

use wit_parser::{PackageId, Resolve, SourceMap, WorldItem};

use super::shape::Interface;
use super::wit::{MISSING, WitReader};

/// The files of one version.
pub(super) type Texts = [(&'static str, &'static str); 3];

/// The files of `wit/`.
pub(super) const TEXTS: Texts = [
    ("host.wit", include_str!("../../../../wit/host.wit")),
    ("plugin.wit", include_str!("../../../../wit/plugin.wit")),
    ("types.wit", include_str!("../../../../wit/types.wit")),
];

/// The files of 0.1.0, for plugins that were built against it.
pub(super) const TEXTS_0_1: Texts = [
    ("host.wit", include_str!("../../wit-0.1.0/host.wit")),
    ("plugin.wit", include_str!("../../wit-0.1.0/plugin.wit")),
    ("types.wit", include_str!("../../wit-0.1.0/types.wit")),
];

/// What the worlds of one version export and import, all taken together.
#[derive(Debug)]
pub(super) struct HostContract {
    /// `bessai:edge`
    pub(super) package: String,
    pub(super) version: String,
    pub(super) exports: Vec<(String, Interface)>,
    pub(super) imports: Vec<(String, Interface)>,
}

/// All versions that this host implements.
#[derive(Debug)]
pub(super) struct HostContracts {
    /// That of `wit/`.
    pub(super) newest: HostContract,
    /// 0.1.0.
    pub(super) previous: HostContract,
}

impl HostContracts {
    /// The version that a component names; none if this host does not implement it.
    pub(super) fn of_version(&self, version: Option<&str>) -> Option<&HostContract> {
        [&self.newest, &self.previous].into_iter().find(|contract| version == Some(contract.version.as_str()))
    }
}

/// Reads the contracts once per process.
pub(super) fn contracts() -> Result<&'static HostContracts, String> {
    static CONTRACTS: LazyLock<Result<HostContracts, String>> =
        LazyLock::new(|| Ok(HostContracts { newest: parse(&TEXTS)?, previous: parse(&TEXTS_0_1)? }));
    CONTRACTS.as_ref().map_err(|error| format!("cannot be checked: failed to read the host's own contract: {error}"))
}

fn parse(texts: &Texts) -> Result<HostContract, String> {
    let mut sources = SourceMap::default();
    for (name, text) in texts {
        sources.push_str(name, *text);
    }
    let group = sources.parse().map_err(|(_, error)| error.to_string())?;
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
