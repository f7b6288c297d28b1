//! The languages of new projects, and the files of each.

use clap::ValueEnum;

/// A path in the project and the text of the file; both may contain placeholders.
type Template = (&'static str, &'static str);

/// The language of a new project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// With the SDK; builds without network access.
    Rust,
    /// Downloads its tools from npm.
    #[value(name = "javascript")]
    JavaScript,
    /// Downloads its tools from npm.
    #[value(name = "typescript")]
    TypeScript,
    /// Downloads its tools from PyPI.
    Python,
    /// Downloads its compiler from PyPI.
    C,
}

/// The case that every project passes: all of them do the same.
const CASE: [Template; 3] = [
    ("cases/first/case.toml", include_str!("template/common/case.toml")),
    ("cases/first/events.jsonl", include_str!("template/common/events.jsonl")),
    ("cases/first/expected.jsonl", include_str!("template/common/expected.jsonl")),
];

pub(super) const RUST: [Template; 6] = [
    (".cargo/config.toml", include_str!("template/rust/cargo-config.toml")),
    (".gitignore", include_str!("template/rust/gitignore")),
    ("Cargo.toml", include_str!("template/rust/manifest.toml")),
    ("README.md", include_str!("template/rust/README.md")),
    (super::BUILD, include_str!("template/rust/build.sh")),
    ("src/lib.rs", include_str!("template/rust/lib.rs")),
];

/// What JavaScript and TypeScript have in common. The tools are those of the example plugin.
const NODE: [Template; 8] = [
    (".gitignore", include_str!("template/common/gitignore-js")),
    ("README.md", include_str!("template/common/README-js.md")),
    (super::BUILD, include_str!("template/common/build-js.sh")),
    ("build.mjs", include_str!("../../../plugins/example-javascript/build.mjs")),
    ("package.json", include_str!("../../../plugins/example-javascript/package.json")),
    ("package-lock.json", include_str!("../../../plugins/example-javascript/package-lock.json")),
    ("tsconfig.json", include_str!("template/common/tsconfig.json")),
    ("{{name}}.toml", include_str!("template/common/feed-js.toml")),
];

const JAVASCRIPT: Template = ("plugin.js", include_str!("template/javascript/plugin.js"));
const TYPESCRIPT: Template = ("plugin.ts", include_str!("template/typescript/plugin.ts"));

const PYTHON: [Template; 6] = [
    (".gitignore", include_str!("template/python/gitignore")),
    ("README.md", include_str!("template/python/README.md")),
    (super::BUILD, include_str!("template/python/build.sh")),
    ("plugin.py", include_str!("template/python/plugin.py")),
    ("pyrightconfig.json", include_str!("template/python/pyrightconfig.json")),
    ("requirements.txt", include_str!("../../../plugins/example-python/requirements.txt")),
];

const C: [Template; 8] = [
    (".gitignore", include_str!("template/c/gitignore")),
    ("README.md", include_str!("template/c/README.md")),
    ("bindings/transformer.c", include_str!("template/c/bindings/transformer.c")),
    ("bindings/transformer.h", include_str!("template/c/bindings/transformer.h")),
    (super::BUILD, include_str!("template/c/build.sh")),
    ("compile_flags.txt", include_str!("template/c/compile_flags.txt")),
    ("plugin.c", include_str!("template/c/plugin.c")),
    ("requirements.txt", include_str!("template/c/requirements.txt")),
];

impl Language {
    /// The files of a project.
    pub(super) fn templates(self) -> Vec<Template> {
        let own = match self {
            Self::Rust => RUST.to_vec(),
            Self::JavaScript => [&NODE[..], &[JAVASCRIPT]].concat(),
            Self::TypeScript => [&NODE[..], &[TYPESCRIPT]].concat(),
            Self::Python => PYTHON.to_vec(),
            Self::C => C.to_vec(),
        };
        [&CASE[..], &own].concat()
    }

    /// Replaces the placeholders of a template.
    pub(super) fn fill(self, template: &str, name: &str) -> String {
        let text = template.replace("{{name}}", name).replace("{{crate}}", &name.replace('-', "_"));
        text.replace("{{language}}", self.name()).replace("{{source}}", self.source())
    }

    fn name(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::JavaScript => "JavaScript",
            Self::TypeScript => "TypeScript",
            Self::Python => "Python",
            Self::C => "C",
        }
    }

    fn source(self) -> &'static str {
        match self {
            Self::Rust => "src/lib.rs",
            Self::JavaScript => "plugin.js",
            Self::TypeScript => "plugin.ts",
            Self::Python => "plugin.py",
            Self::C => "plugin.c",
        }
    }

    /// What the first build downloads; none if it needs no network.
    pub(crate) fn download(self) -> Option<&'static str> {
        match self {
            Self::Rust => None,
            Self::JavaScript | Self::TypeScript => Some("the tools in package-lock.json from npm (190 MB on disk)"),
            Self::Python => Some("componentize-py from PyPI (72 MB on disk)"),
            Self::C => Some("ziglang and wasm-tools from PyPI (350 MB on disk)"),
        }
    }
}
