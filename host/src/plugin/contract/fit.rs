//! The comparison of a component's exports and imports with the host's: sentences that name what differs.

use super::Kind;
use super::difference::Differences;
use super::grants::{self, Wasi};
use super::own::{self, Own};
use super::shape::{Extern, Function, Interface, Item, Name, printable};

/// Sentences that are told of one component.
const COMPLAINTS: usize = 20;
/// Exports that are named of a component for another world.
const NAMED: usize = 5;

/// What fits, or what does not.
pub(super) fn check(exports: &[Extern], imports: &[Extern]) -> Result<Vec<Kind>, Vec<String>> {
    let own = own::contract().map_err(|error| vec![error])?;
    let mut fit =
        Fit { own, differences: Differences::default(), complaints: Vec::new(), told: Vec::new(), alike: Vec::new() };
    let kinds = fit.exports(exports);
    // A component for another world is told that; what it imports there is beside the point.
    if let Some(kinds) = &kinds {
        fit.imports(imports);
        fit.other_versions();
        if fit.complaints.is_empty() {
            return Ok(kinds.clone());
        }
    }
    Err(fit.sentences())
}

struct Fit {
    own: &'static Own,
    differences: Differences,
    complaints: Vec<String>,
    /// Other versions of the host's package of which something was told.
    told: Vec<String>,
    /// Other versions in which nothing differs, and the sentence for that.
    alike: Vec<(String, String)>,
}

/// In which direction an interface is used.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Export,
    Import,
}

impl Way {
    fn verb(self) -> &'static str {
        match self {
            Self::Export => "exports",
            Self::Import => "imports",
        }
    }
}

impl Fit {
    /// Nothing if there is no export of the host's package at all.
    fn exports(&mut self, exports: &[Extern]) -> Option<Vec<Kind>> {
        let own = self.own;
        let mut kinds = Vec::new();
        let mut is_ours = false;
        for export in exports {
            let (Some(name), Item::Interface(theirs)) = (Name::parse(&export.name), &export.item) else { continue };
            if name.package != own.package {
                continue;
            }
            is_ours = true;
            kinds.extend(Kind::named(name.interface));
            match find(&own.exports, name.interface) {
                Some(ours) => self.interface(Way::Export, name, theirs, ours),
                None => self.complain(format!("exports `{}`, which this host does not know", printable(&export.name))),
            }
        }
        if !is_ours {
            self.complain(self.other_world(exports));
            return None;
        }
        if !kinds.contains(&Kind::Transform) {
            self.complain(format!("does not export `{}`, which every plugin does", self.transform()));
        }
        Some(Kind::ALL.into_iter().filter(|kind| kinds.contains(kind)).collect())
    }

    fn other_world(&self, exports: &[Extern]) -> String {
        let names: Vec<String> =
            exports.iter().take(NAMED).map(|export| format!("`{}`", printable(&export.name))).collect();
        let transform = self.transform();
        let Some((last, names)) = names.split_last() else {
            return format!("exports nothing: a plugin exports `{transform}` (or the file is cut off at its end)");
        };
        let names = match (names, exports.len().saturating_sub(NAMED)) {
            ([], _) => last.clone(),
            (names, 0) => format!("{} and {last}", names.join(", ")),
            (names, more) => format!("{}, {last} and {more} more", names.join(", ")),
        };
        format!("is a component for another world: it exports {names}, but not `{transform}`")
    }

    fn transform(&self) -> String {
        format!("{}/{}@{}", self.own.package, Kind::Transform.name(), self.own.version)
    }

    fn imports(&mut self, imports: &[Extern]) {
        for import in imports {
            let name = printable(&import.name);
            match &import.item {
                Item::Type => {}
                Item::Function(_) => self.complain(format!("imports the function `{name}`, {}", ungiven(""))),
                Item::Foreign(what) => self.complain(format!("imports the {what} `{name}`, {}", ungiven(""))),
                // Types need nobody to give them.
                Item::Interface(theirs) if theirs.is_only_types() => {}
                Item::Interface(theirs) => match Name::parse(&import.name) {
                    Some(name) => self.import(name, &import.name, theirs),
                    None => self.complain(format!("imports the interface `{name}`, {}", ungiven(""))),
                },
            }
        }
    }

    fn import(&mut self, name: Name<'_>, full: &str, theirs: &Interface) {
        let own = self.own;
        let full = printable(full);
        if name.package == own.package {
            return match find(&own.imports, name.interface) {
                Some(ours) => self.interface(Way::Import, name, theirs, ours),
                None => self.complain(format!("imports `{full}`, which this host does not have")),
            };
        }
        match grants::wasi(name) {
            Wasi::Given => {}
            Wasi::OtherVersion => self.complain(format!("imports `{full}`; a plugin gets WASI 0.2 only")),
            Wasi::OtherInterface => self.complain(format!("imports `{full}`, which the host's WASI 0.2 does not have")),
            Wasi::No => self.complain(format!("imports `{full}`, {}", ungiven(name.package))),
        }
    }

    /// The package and the interface's name are the host's; the version may be another.
    fn interface(&mut self, way: Way, name: Name<'_>, theirs: &Interface, ours: &Interface) {
        let own = self.own;
        let verb = way.verb();
        let is_version = name.version == Some(own.version.as_str());
        let version = name.version.map(|version| format!("@{}", printable(version))).unwrap_or_default();
        let package = format!("{}{version}", own.package);
        let end = if is_version {
            "; it is built from another text of the contract than this host's wit/".into()
        } else {
            format!("; this host speaks {}", own.version)
        };
        let before = self.complaints.len();
        for (function, theirs) in &theirs.functions {
            let of = format!("{verb} `{}` of {package}", printable(function));
            match ours.function(function) {
                Some(ours) => self.function(&of, theirs, ours, &end),
                None => self.complain(format!("{of}, which this host does not have ({}){end}", theirs.notation())),
            }
        }
        let interface = format!("{}/{}{version}", own.package, name.interface);
        // A plugin need not use all that the host gives.
        if way == Way::Export {
            for (function, ours) in &ours.functions {
                if theirs.function(function).is_none() {
                    let ours = ours.notation();
                    self.complain(format!("{verb} `{interface}` without the function `{function}` ({ours}){end}"));
                }
            }
        }
        if theirs.resources {
            self.complain(format!("{verb} `{interface}` with a resource, which this host does not have{end}"));
        }
        match (is_version, self.complaints.len() == before) {
            (true, _) => {}
            (false, false) => self.told.push(version),
            (false, true) => {
                let until = "and until 1.0.0 no other version fits; build it from this host's wit/";
                self.alike.push((version, format!("{verb} `{interface}`{end}, {until}")));
            }
        }
    }

    /// A version is told of once: by what differs, or else by its first interface.
    fn other_versions(&mut self) {
        for (version, sentence) in std::mem::take(&mut self.alike) {
            if !self.told.contains(&version) {
                self.told.push(version);
                self.complain(sentence);
            }
        }
    }

    fn function(&mut self, of: &str, theirs: &Function, ours: &Function, end: &str) {
        for clause in self.differences.of(theirs, ours) {
            self.complain(format!("{of}, {clause}{end}"));
        }
    }

    fn complain(&mut self, sentence: String) {
        self.complaints.push(sentence);
    }

    fn sentences(mut self) -> Vec<String> {
        let more = self.complaints.len().saturating_sub(COMPLAINTS);
        if more > 0 {
            self.complaints.truncate(COMPLAINTS);
            self.complaints.push(format!("and {more} things more do not fit"));
        }
        self.complaints
    }
}

fn find<'i>(interfaces: &'i [(String, Interface)], name: &str) -> Option<&'i Interface> {
    interfaces.iter().find(|(known, _)| known == name).map(|(_, interface)| interface)
}

fn ungiven(package: &str) -> String {
    format!("which no plugin gets: {}", grants::reason(package))
}
