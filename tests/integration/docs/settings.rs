//! Samples of settings: each is checked by the program itself, in a folder of its own.

use crate::docs::page::{Block, pages};
use crate::support::certificates::Authority;
use crate::support::gateway::Setup;
use crate::support::{component, root};

/// A text that every encoding of a secret can read.
const SECRET: &str = "c2VjcmV0";
/// Folders of the samples that are not on this machine, and what stands in for them in the test's folder.
const FOLDERS: [(&str, &str); 2] = [("/certs/", "certs/"), ("/run/secrets/", "secrets/")];

/// A sample with its files where the test can make them.
pub fn moved(setup: &Setup, body: &str) -> String {
    FOLDERS.iter().fold(body.to_owned(), |body, (from, to)| {
        body.replace(from, &format!("{}/", setup.folder().join(to.trim_end_matches('/')).display()))
    })
}

/// The certificates and secrets that a sample names.
pub fn with_files(setup: Setup, body: &str) -> Setup {
    let folder = setup.folder().join("certs");
    std::fs::create_dir_all(&folder).unwrap();
    let authority = Authority::new(&folder, "authority");
    let own = authority.sign("gateway");
    for name in ["ca.crt", "root-CA.crt"] {
        std::fs::copy(&authority.pem.certificate, folder.join(name)).unwrap();
    }
    std::fs::copy(&own.certificate, folder.join("cert.pem")).unwrap();
    std::fs::copy(&own.key, folder.join("private.key")).unwrap();
    let secrets = names_after(body, "/run/secrets/").into_iter();
    let setup = secrets.fold(setup, |setup, name| setup.file(&format!("secrets/{name}"), SECRET));
    names_after(body, "env = \"").into_iter().fold(setup, |setup, name| setup.with(&name, SECRET))
}

fn names_after(body: &str, beginning: &str) -> Vec<String> {
    let is_of_name = |c: &char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    body.split(beginning).skip(1).map(|rest| rest.chars().take_while(is_of_name).collect()).collect()
}

/// What every sample is checked beside: nothing that the sample sets itself.
fn surroundings(block: &Block, all: &[Block]) -> Setup {
    let setup = with_files(Setup::new().with("HEALTH_PORT", "0"), &block.body);
    let profiles = all.iter().filter(|other| other.page == block.page && other.info.starts_with("toml profiles/"));
    let setup =
        profiles.fold(setup, |setup, profile| setup.file(profile.info.trim_start_matches("toml "), &profile.body));
    let is_settings = block.info == "toml bessai.toml";
    let has = |part: &str| is_settings && block.body.contains(part);
    let is_env_file = block.info.starts_with("dotenv");
    let setup = if is_env_file { setup.with("SITE_ID", "").with("HEALTH_PORT", "") } else { setup };
    let setup = if is_env_file || has("[[device]]") { setup } else { setup.with("INVERTER_IP", "192.168.1.20") };
    if is_env_file || has("[broker]") { setup } else { setup.with("MQTT_BROKER_URL", "mqtt://localhost") }
}

/// The sample's file, and the component of a feed.
fn place(setup: Setup, block: &Block) -> Setup {
    let (_, path) = block.info.split_once(' ').unwrap();
    let body = moved(&setup, &block.body);
    let setup = setup.file(path, body.clone());
    match path.strip_prefix("plugins/").and_then(|file| file.strip_suffix(".toml")) {
        Some("default") | None => setup,
        Some(feed) => match shipped(block, feed) {
            Some((file, plugin)) => setup.file(&format!("plugins/{file}"), std::fs::read(component(&plugin)).unwrap()),
            // Nothing knows the settings of a reader's own plugin.
            None => {
                let setup = setup.file(path, without_config(&body));
                setup.file(&format!("plugins/{feed}.wasm"), std::fs::read(component("example-rust")).unwrap())
            }
        },
    }
}

/// The component's file and name, if the sample is of a plugin that comes with the gateway.
fn shipped(block: &Block, feed: &str) -> Option<(String, String)> {
    let named = block.body.lines().find_map(|line| line.strip_prefix("component = \"")?.strip_suffix(".wasm\""));
    let page = block.page.strip_prefix("docs/plugins/").and_then(|page| page.strip_suffix(".md"));
    let is_shipped = |name: &&str| root().join("plugins").join(name).join("Cargo.toml").is_file();
    let plugin = [named, page, Some(feed)].into_iter().flatten().find(is_shipped)?;
    Some((format!("{}.wasm", named.unwrap_or(feed)), plugin.to_owned()))
}

/// The sample with a `[config]` that the example accepts instead of its own.
fn without_config(body: &str) -> String {
    let mut is_config = false;
    let kept = body.lines().filter(|line| {
        if line.starts_with('[') {
            is_config = line.starts_with("[config");
        }
        !is_config
    });
    kept.map(|line| format!("{line}\n")).chain(["[config]\ntopic = \"acme\"\n".to_owned()]).collect()
}

#[test]
fn samples_of_settings_are_sound() {
    let all: Vec<Block> = pages().into_iter().flat_map(|page| page.blocks).collect();
    let (mut env_files, mut settings, mut feeds, mut profiles) = (0, 0, 0, 0);
    for block in &all {
        let setup = surroundings(block, &all);
        let setup = match block.info.as_str() {
            "dotenv config/.env" => {
                env_files += 1;
                place(setup, block)
            }
            "toml bessai.toml" => {
                settings += 1;
                place(setup, block)
            }
            info if info.starts_with("toml plugins/") => {
                feeds += 1;
                place(setup, block)
            }
            info if info.starts_with("toml profiles/") => {
                profiles += 1;
                setup.with("DRIVER_PROFILE_PATH", info.trim_start_matches("toml "))
            }
            _ => continue,
        };
        let output = setup.output(&["check"]);
        let (shown, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}:{}: {shown}{errors}", block.page, block.line);
    }
    assert!(env_files > 10 && settings > 8 && feeds > 8 && profiles > 2, "{env_files} {settings} {feeds} {profiles}");
}

/// What a sample says is wrong is wrong: a name that is nearly right.
#[test]
fn the_mistake_in_the_readme_is_one() {
    let setup = Setup::new().device(502).broker("mqtt://localhost").file("config/.env", "SITE_IDD=SITE-CL-001\n");
    let output = setup.output(&["check"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{told}");
    assert!(told.contains("SITE_IDD") && told.contains("is unknown; did you mean `SITE_ID`?"), "{told}");
}

#[test]
fn the_samples_of_a_test_case_are_well_formed() {
    let blocks = crate::docs::page::page("docs/write-a-plugin.md").blocks;
    let sample = |info: &str| blocks.iter().find(|block| block.info == info).map(|block| block.body.clone()).unwrap();
    let setup = Setup::new()
        .file("cases/a/events.jsonl", sample("json events.jsonl"))
        .file("cases/a/expected.jsonl", sample("json expected.jsonl"))
        .file("cases/a/session.jsonl", sample("json session.jsonl"))
        .file("cases/a/expected-session.jsonl", sample("json expected-session.jsonl"))
        .file("cases/a/case.toml", sample("toml case.toml"));
    let wasm = component("example-rust");
    let output = setup.output(&["plugin", "test", wasm.to_str().unwrap()]);
    // The plugin publishes something else, but the files can be read.
    let shown = [&output.stdout[..], &output.stderr[..]].concat();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&shown));
    assert!(String::from_utf8_lossy(&output.stdout).contains("FAIL a"), "{}", String::from_utf8_lossy(&shown));
}
