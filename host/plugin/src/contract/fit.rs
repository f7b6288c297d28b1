//! Compares a component's exports and imports with the host's contract, and names each difference in a sentence.

use super::PluginInterface;
use super::difference::Differences;
use super::grants::{self, Wasi};
use super::host_contract::{self, HostContract, HostContracts};
use super::shape::{COMPONENT_TYPE, Extern, ExternItem, ExternName, Function, Interface, printable};

/// Number of differences that are reported of one component.
const DIFFERENCES: usize = 20;
/// Number of exports that are named of a component for another world.
const NAMED: usize = 5;

/// The interfaces that the plugin exports, or every difference.
pub(super) fn check(exports: &[Extern], imports: &[Extern]) -> Result<Vec<PluginInterface>, Vec<String>> {
    let hosts = host_contract::contracts().map_err(|error| vec![error])?;
    let mut comparison = Comparison::new(hosts);
    let interfaces = comparison.exports(exports);
    // What a component for another world imports is irrelevant.
    if let Some(interfaces) = interfaces {
        comparison.imports(imports);
        comparison.other_versions();
        if comparison.found.is_empty() {
            return Ok(interfaces);
        }
    }
    Err(comparison.sentences())
}

struct Comparison {
    hosts: &'static HostContracts,
    differences: Differences,
    /// The sentences so far.
    found: Vec<String>,
    /// Other versions of the host's package with a reported difference.
    differing_versions: Vec<String>,
    /// Other versions of the host's package that differ in nothing else, with a sentence for that.
    equal_versions: Vec<(String, String)>,
}

/// Whether an interface is exported or imported.
#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Export,
    Import,
}

impl Direction {
    fn verb(self) -> &'static str {
        match self {
            Self::Export => "exports",
            Self::Import => "imports",
        }
    }
}

impl Comparison {
    fn new(hosts: &'static HostContracts) -> Self {
        Self {
            hosts,
            differences: Differences::default(),
            found: Vec::new(),
            differing_versions: Vec::new(),
            equal_versions: Vec::new(),
        }
    }

    /// The version that a name refers to, or the newest if this host does not implement that one.
    fn host(&self, name: ExternName<'_>) -> &'static HostContract {
        self.hosts.of_version(name.version).unwrap_or(&self.hosts.newest)
    }

    /// None if the component exports nothing of the host's package.
    fn exports(&mut self, exports: &[Extern]) -> Option<Vec<PluginInterface>> {
        let mut interfaces = Vec::new();
        let mut is_ours = false;
        for export in exports {
            let (Some(name), ExternItem::Interface(theirs)) = (ExternName::parse(&export.name), &export.item) else {
                continue;
            };
            if name.package != self.hosts.newest.package {
                continue;
            }
            is_ours = true;
            interfaces.extend(PluginInterface::from_name(name.interface));
            match find(&self.host(name).exports, name.interface) {
                Some(ours) => self.interface(Direction::Export, name, theirs, ours),
                None => self.report(format!("exports `{}`, which this host does not know", printable(&export.name))),
            }
        }
        if !is_ours {
            self.report(self.other_world(exports));
            return None;
        }
        if !interfaces.contains(&PluginInterface::Transform) {
            self.report(format!("does not export `{}`, which every plugin does", self.transform()));
        }
        Some(PluginInterface::ALL.into_iter().filter(|interface| interfaces.contains(interface)).collect())
    }

    fn other_world(&self, exports: &[Extern]) -> String {
        let names: Vec<String> =
            exports.iter().take(NAMED).map(|export| format!("`{}`", printable(&export.name))).collect();
        let transform = self.transform();
        let Some((last, names)) = names.split_last() else {
            return format!("exports nothing: a plugin exports `{transform}` (or the file is cut off at its end)");
        };
        if exports.iter().all(|export| matches!(export.item, ExternItem::Foreign(COMPONENT_TYPE))) {
            return format!("is a WIT package, which has no code; a plugin is a component that exports `{transform}`");
        }
        let names = match (names, exports.len().saturating_sub(NAMED)) {
            ([], _) => last.clone(),
            (names, 0) => format!("{} and {last}", names.join(", ")),
            (names, more) => format!("{}, {last} and {more} more", names.join(", ")),
        };
        format!("is a component for another world: it exports {names}, but not `{transform}`")
    }

    fn transform(&self) -> String {
        let HostContract { package, version, .. } = &self.hosts.newest;
        format!("{package}/{}@{version}", PluginInterface::Transform.name())
    }

    fn imports(&mut self, imports: &[Extern]) {
        for import in imports {
            let name = printable(&import.name);
            match &import.item {
                ExternItem::Type => {}
                ExternItem::Function(_) => self.report(format!("imports the function `{name}`, {}", unavailable(""))),
                ExternItem::Foreign(what) => self.report(format!("imports the {what} `{name}`, {}", unavailable(""))),
                // Nobody has to provide types.
                ExternItem::Interface(theirs) if theirs.is_only_types() => {}
                ExternItem::Interface(theirs) => match ExternName::parse(&import.name) {
                    Some(name) => self.import(name, &import.name, theirs),
                    None => self.report(format!("imports the interface `{name}`, {}", unavailable(""))),
                },
            }
        }
    }

    fn import(&mut self, name: ExternName<'_>, full: &str, theirs: &Interface) {
        let full = printable(full);
        if name.package == self.hosts.newest.package {
            return match find(&self.host(name).imports, name.interface) {
                Some(ours) => self.interface(Direction::Import, name, theirs, ours),
                None => self.report(format!("imports `{full}`, which this host does not have")),
            };
        }
        match grants::wasi(name) {
            Wasi::Provided => {}
            Wasi::OtherVersion => {
                self.report(format!("imports `{full}`; this host provides the releases 0.2 and 0.3 of WASI"));
            }
            Wasi::OtherInterface => {
                let minor = if name.version.is_some_and(|version| version.starts_with("0.3.")) { "0.3" } else { "0.2" };
                self.report(format!("imports `{full}`, which is not in the WASI {minor} of this host"));
            }
            Wasi::NotProvided => self.report(format!("imports `{full}`, {}", unavailable(name.package))),
        }
    }

    /// Compares an interface with the host's of the same package and name; its version may differ.
    fn interface(&mut self, direction: Direction, name: ExternName<'_>, theirs: &Interface, ours: &Interface) {
        let host = self.host(name);
        let verb = direction.verb();
        let is_version = name.version == Some(host.version.as_str());
        let version = name.version.map(|version| format!("@{}", printable(version))).unwrap_or_default();
        let package = format!("{}{version}", host.package);
        let end = if is_version {
            "; it was built from a different wit/ than this host".into()
        } else {
            format!("; this host implements {} and {}", self.hosts.newest.version, self.hosts.previous.version)
        };
        let before = self.found.len();
        for (function, theirs) in &theirs.functions {
            let of = format!("{verb} `{}` of {package}", printable(function));
            match ours.function(function) {
                Some(ours) => self.function(&of, theirs, ours, &end),
                None => self.report(format!("{of}, which this host does not have ({}){end}", theirs.notation())),
            }
        }
        let interface = format!("{}/{}{version}", host.package, name.interface);
        // A plugin need not import everything that the host provides.
        if direction == Direction::Export {
            for (function, ours) in &ours.functions {
                if theirs.function(function).is_none() {
                    let ours = ours.notation();
                    self.report(format!("{verb} `{interface}` without the function `{function}` ({ours}){end}"));
                }
            }
        }
        if theirs.has_resources {
            self.report(format!("{verb} `{interface}` with a resource, which this host does not have{end}"));
        }
        match (is_version, self.found.len() == before) {
            (true, _) => {}
            (false, false) => self.differing_versions.push(version),
            (false, true) => {
                let fix = "versions before 1.0.0 do not fit each other, so build the plugin from this host's wit/";
                self.equal_versions.push((version, format!("{verb} `{interface}`{end}; {fix}")));
            }
        }
    }

    /// Reports each other version once: by its differences, or else by its first interface.
    fn other_versions(&mut self) {
        for (version, sentence) in std::mem::take(&mut self.equal_versions) {
            if !self.differing_versions.contains(&version) {
                self.differing_versions.push(version);
                self.report(sentence);
            }
        }
    }

    fn function(&mut self, of: &str, theirs: &Function, ours: &Function, end: &str) {
        for clause in self.differences.of(theirs, ours) {
            self.report(format!("{of}, {clause}{end}"));
        }
    }

    fn report(&mut self, sentence: String) {
        self.found.push(sentence);
    }

    fn sentences(mut self) -> Vec<String> {
        let more = self.found.len().saturating_sub(DIFFERENCES);
        if more > 0 {
            self.found.truncate(DIFFERENCES);
            self.found.push(format!("and has {more} more differences"));
        }
        self.found
    }
}

fn find<'i>(interfaces: &'i [(String, Interface)], name: &str) -> Option<&'i Interface> {
    interfaces.iter().find(|(known, _)| known == name).map(|(_, interface)| interface)
}

fn unavailable(package: &str) -> String {
    format!("which is not available to plugins: {}", grants::reason(package))
}
