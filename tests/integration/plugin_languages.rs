//! A plugin in each language, from `plugin new` to its log and to the place of its mistakes.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::gateway::Setup;

/// Where scripts/build-examples keeps the tools of the languages.
fn tools() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var("HOME").unwrap()).join(".cache"));
    cache.join("bessai-edge/examples")
}

/// What the plugin logs in the case: the clock shows the event's time.
const TIME: &str = "now 2025-02-21T15:20:20";

/// A language, with the lines that make its template log the time at each call and fail on a device's status.
struct Language {
    name: &'static str,
    source: &'static str,
    /// The tools: the path in the project, and the folder of the cache.
    tools: Option<(&'static str, &'static str)>,
    /// A line of the template, and what is written in its place.
    changes: &'static [(&'static str, &'static str)],
    /// The parts of the failure's text: the message, and where in the source it happened, with the line of `MISTAKE`.
    failure: &'static [&'static str],
}

/// Stands for the line number of the mistake in [`Language::failure`].
const LINE: &str = "LINE";
/// Marks the line with the mistake in [`Language::changes`].
const MISTAKE: &str = "MISTAKE";

const LANGUAGES: [Language; 5] = [
    Language {
        name: "rust",
        source: "src/lib.rs",
        tools: None,
        changes: &[(
            "    fn frame(&mut self, event: &Event,",
            "    fn device(&mut self, _: &Event, _: &bessai_plugin::DeviceStatus, _: &mut Messages) -> Result<(), Failure> {\n        \
             None::<u8>.expect(\"boom\"); // MISTAKE\n        Ok(())\n    }\n    fn heartbeat(&mut self, _: &Event, _: &mut \
             Messages) -> Result<(), Failure> {\n        let now = std::time::SystemTime::now();\n        let since = \
             now.duration_since(std::time::UNIX_EPOCH).unwrap();\n        println!(\"now {}\", match since.as_secs() { \
             1740151220 => \"2025-02-21T15:20:20\", _ => \"wrong\" });\n        Ok(())\n    }\n    fn frame(&mut self, event: \
             &Event,",
        )],
        failure: &["src/lib.rs:LINE:", "boom"],
    },
    Language {
        name: "javascript",
        source: "plugin.js",
        tools: Some(("node_modules", "javascript/node_modules")),
        changes: &[
            (
                "    return events.flatMap(({ at, body }) => {",
                "    console.log(`now ${new Date().toISOString()}`);\n    return events.flatMap(({ at, body }) => {\n\
                 if (body.tag === \"device\") fail();",
            ),
            (
                "// The key in the state;",
                "function fail() {\n  throw new Error(\"boom\"); // MISTAKE\n}\n// The key in the state;",
            ),
        ],
        failure: &["Error: boom", "fail@plugin.js:LINE:"],
    },
    Language {
        name: "typescript",
        source: "plugin.ts",
        tools: Some(("node_modules", "javascript/node_modules")),
        changes: &[
            (
                "    return events.flatMap(({ at, body }) => {",
                "    console.log(`now ${new Date().toISOString()}`);\n    return events.flatMap(({ at, body }) => {\n\
                 if (body.tag === \"device\") fail(1);",
            ),
            (
                "// The key in the state;",
                "interface Unused {\n  a: number;\n}\nfunction fail(by: number): Unused {\n  throw new Error(`boom ${by}`); // \
                 MISTAKE\n}\n// The key in the state;",
            ),
        ],
        failure: &["Error: boom 1", "fail@plugin.ts:LINE:"],
    },
    Language {
        name: "python",
        source: "plugin.py",
        tools: Some(("venv", "python")),
        changes: &[
            (
                "        messages = []\n",
                "        import_time()\n        for event in events:\n            if hasattr(event.body, \"value\") and \
             type(event.body.value).__name__ == \"DeviceStatus\":\n                raise ValueError(\"boom\")  # MISTAKE\n        \
             messages = []\n",
            ),
            (
                "def read_config(",
                "def import_time():\n    print(\"now\", datetime.datetime.fromtimestamp(time.time()).isoformat())\n\n\ndef read_config(",
            ),
            ("import json\n", "import datetime\nimport json\nimport time\n"),
        ],
        failure: &["ValueError: boom", "plugin.py\", line LINE, in process"],
    },
    Language {
        name: "c",
        source: "plugin.c",
        tools: Some(("venv", "c")),
        changes: &[
            (
                "  messages->len = 0;\n",
                "  time_t now = time(NULL);\n  char shown[32];\n  strftime(shown, sizeof shown, \"%Y-%m-%dT%H:%M:%S\", gmtime(&now));\n  \
                 printf(\"now %s\\n\", shown);\n  for (size_t i = 0; i < events->len; i++) {\n    if (events->ptr[i].body.tag == \
                 BESSAI_EDGE_TYPES_EVENT_BODY_DEVICE) {\n      fprintf(stderr, \"boom\\n\");\n      abort(); // MISTAKE\n    }\n  }\n  \
                 messages->len = 0;\n",
            ),
            ("#include <string.h>\n", "#include <string.h>\n#include <time.h>\n"),
        ],
        failure: &["boom", "plugin.c:LINE:"],
    },
];

/// Makes the project's plugin log the time and fail on a device's status; returns the line of the mistake.
fn change(language: &Language, project: &Path) -> usize {
    let path = project.join(language.source);
    let mut text = std::fs::read_to_string(&path).unwrap();
    for (from, to) in language.changes {
        assert_eq!(text.matches(from).count(), 1, "{}: {from}", language.name);
        text = text.replace(from, to);
    }
    std::fs::write(&path, &text).unwrap();
    1 + text.lines().position(|line| line.contains(MISTAKE)).unwrap()
}

/// Adds a case in which the plugin must fail with these words.
fn add_failing_case(project: &Path, expected: &str) -> PathBuf {
    let case = project.join("cases/boom");
    std::fs::create_dir_all(&case).unwrap();
    let first = std::fs::read_to_string(project.join("cases/first/events.jsonl")).unwrap();
    let site = first.lines().next().unwrap();
    let device = r#"{"at":"2025-02-21T15:20:15Z","device":{"device":"battery","online":false,"detail":"gone"}}"#;
    std::fs::write(case.join("events.jsonl"), format!("{site}\n{device}\n")).unwrap();
    std::fs::write(case.join("expected-error.txt"), expected).unwrap();
    case
}

fn follow(language: &Language) {
    let setup = Setup::new();
    let created = setup.output(&["plugin", "new", "acme", "--language", language.name]);
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    let project = setup.folder().join("acme");
    if let Some((inside, cached)) = language.tools {
        symlink(tools().join(cached), project.join(inside)).unwrap();
    }
    let line = change(language, &project).to_string();
    let mut build = Command::new("./build.sh");
    build
        .current_dir(&project)
        .env("CARGO_NET_OFFLINE", "true")
        .env("npm_config_offline", "true")
        .env("PIP_NO_INDEX", "1");
    let built = build.env_remove("CARGO_TARGET_DIR").output().unwrap();
    let text = String::from_utf8_lossy(&[&built.stdout[..], &built.stderr[..]].concat()).into_owned();
    assert!(built.status.success(), "{}: {text}", language.name);
    // Where rustup cannot provide the target with WASI, a component has no clock, and `build.sh` says so.
    if text.contains("without a clock") {
        return;
    }

    for part in language.failure {
        add_failing_case(&project, &part.replace(LINE, &line));
        let wasm = project.join("acme.wasm");
        let tested = setup.output(&["plugin", "test", wasm.to_str().unwrap(), "--show-log"]);
        let text = String::from_utf8_lossy(&[&tested.stdout[..], &tested.stderr[..]].concat()).into_owned();
        assert!(tested.status.success() && text.contains("2 cases: 2 ok"), "{}: {part}: {text}", language.name);
        assert!(text.contains(TIME), "{}: {text}", language.name);
    }
}

#[test]
fn a_plugin_in_rust_logs_the_time_and_names_its_mistake() {
    follow(&LANGUAGES[0]);
}

#[test]
fn a_plugin_in_javascript_logs_the_time_and_names_its_mistake() {
    follow(&LANGUAGES[1]);
}

#[test]
fn a_plugin_in_typescript_logs_the_time_and_names_its_mistake() {
    follow(&LANGUAGES[2]);
}

#[test]
fn a_plugin_in_python_logs_the_time_and_names_its_mistake() {
    follow(&LANGUAGES[3]);
}

/// A plugin that counts in a variable passes as long as all events come in one call; the case shows it all the same.
#[test]
fn a_case_fails_if_messages_depend_on_how_events_are_grouped() {
    let setup = Setup::new();
    assert!(setup.output(&["plugin", "new", "acme"]).status.success());
    let project = setup.folder().join("acme");
    let path = project.join("src/lib.rs");
    let text = std::fs::read_to_string(&path).unwrap();
    let text =
        text.replace("let bytes = state::get(Self::KEY)?;", "let bytes = KEPT.with_borrow(|kept| kept.clone())?;");
    let text = text.replace(
        "state::set(Self::KEY, text.as_bytes())\n",
        "KEPT.with_borrow_mut(|kept| *kept = Some(text.into_bytes())); state::set(\"other\", b\"\")\n",
    );
    let kept =
        "thread_local! { static KEPT: std::cell::RefCell<Option<Vec<u8>>> = const { std::cell::RefCell::new(None) }; }";
    std::fs::write(&path, format!("{text}\n{kept}\n")).unwrap();
    let mut build = Command::new("./build.sh");
    let built =
        build.current_dir(&project).env("CARGO_NET_OFFLINE", "true").env_remove("CARGO_TARGET_DIR").output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    // What it returns for all events in one call.
    let expected = concat!(
        "{\"topic\":\"acme/energy\",\"json\":{\"ts\":1740151200,\"power_kw\":36,\"given_kwh\":0}}\n",
        "{\"topic\":\"acme/energy\",\"json\":{\"ts\":1740151210,\"power_kw\":-85.5,\"given_kwh\":0}}\n",
        "{\"topic\":\"acme/energy\",\"json\":{\"ts\":1740151220,\"power_kw\":72,\"given_kwh\":0.2}}\n"
    );
    std::fs::write(project.join("cases/first/expected.jsonl"), expected).unwrap();
    let wasm = project.join("acme.wasm");
    let test = || {
        let output = setup.output(&["plugin", "test", wasm.to_str().unwrap()]);
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = test();
    let difference = "with one event in each call: message 3 (acme/energy): json.given_kwh: expected 0.2, got 0.0";
    assert!(code == 1 && text.contains(difference) && text.contains("keep in the state"), "{code}: {text}");
    // A case may say that it means one way of grouping.
    let settings = project.join("cases/first/case.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, format!("events_per_call = 64\n{text}")).unwrap();
    let (code, text) = test();
    assert!(code == 0, "{text}");
}

/// The child is ended when the test is over, however it ends.
struct Watching(std::process::Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

#[test]
fn watch_builds_tests_and_compares_after_each_change() {
    use std::io::{BufRead, BufReader};

    let setup = Setup::new();
    assert!(setup.output(&["plugin", "new", "acme"]).status.success());
    let project = setup.folder().join("acme");
    let events = project.join("cases/first/events.jsonl");
    let mut command = Command::new(crate::support::gateway::program());
    command.args(["plugin", "watch", "acme", "--events", events.to_str().unwrap()]).current_dir(setup.folder());
    command.env("CARGO_NET_OFFLINE", "true").env_remove("CARGO_TARGET_DIR").env("XDG_CACHE_HOME", setup.folder());
    let mut watching = Watching(command.stdout(std::process::Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(watching.0.stdout.take().unwrap()).lines();
    let mut round = || {
        let lines: Vec<_> =
            lines.by_ref().map(Result::unwrap).take_while(|line| !line.starts_with("waiting")).collect();
        lines.join("\n")
    };
    let first = round();
    for expected in ["built acme/acme.wasm", "1 case: 1 ok", "6 events in 1 call → 3 messages", "\"given_kwh\":0.2"] {
        assert!(first.contains(expected), "{expected}: {first}");
    }
    let path = project.join("src/lib.rs");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("json::Key::new(\"power_kw\")", "json::Key::new(\"kw\")")).unwrap();
    let second = round();
    let [before, now] = [
        "  before {\"topic\":\"SITE-1/energy\",\"json\":{\"ts\":",
        "  now    {\"topic\":\"SITE-1/energy\",\"json\":{\"ts\":",
    ];
    for expected in ["FAIL first", "before: 3 messages, ", "message 1 (SITE-1/energy): json", before, now] {
        assert!(second.contains(expected), "{expected}: {second}");
    }
    // What does not compile is reported, and the next change is built.
    std::fs::write(&path, "not Rust").unwrap();
    round();
    std::fs::write(&path, text).unwrap();
    assert!(round().contains("1 case: 1 ok"));
}

#[test]
fn what_a_demo_keeps_can_be_exported_and_measured() {
    let setup = Setup::new();
    let demo = setup.output(&["demo", "--for", "4s", "--keep", "demo-site"]);
    let text = String::from_utf8_lossy(&demo.stdout).into_owned();
    assert!(demo.status.success(), "{text}{}", String::from_utf8_lossy(&demo.stderr));
    let journal = text.lines().find_map(|line| line.strip_prefix("journal   ")).unwrap();
    assert!(text.contains("health    http://127.0.0.1:") && journal.ends_with("demo-site/journal"), "{text}");
    assert!(text.contains("feed default signed in, plugin "), "{text}");
    let exported = setup.output(&["journal", "export", "--dir", journal, "--out", "events.jsonl"]);
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    let component = crate::support::component("bessai-json");
    let bench = setup.output(&["plugin", "bench", component.to_str().unwrap(), "--events", "events.jsonl"]);
    let text = String::from_utf8_lossy(&bench.stdout).into_owned();
    assert!(bench.status.success(), "{}", String::from_utf8_lossy(&bench.stderr));
    assert!(text.contains("an event") && text.contains("bessai-json, sandboxed"), "{text}");
}
