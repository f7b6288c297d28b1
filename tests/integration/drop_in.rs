//! Files that are added, changed and removed in the plugins' folder of a running gateway: feeds start, change and stop
//! without losing events.

mod files;
mod limits;
mod silent_file_system;
mod unusual_files;
mod versions;

/// Settings of an echoing feed that names its component.
fn shared(topic: &str, version: &str) -> String {
    format!("component = \"shared.wasm\"\n{}", echoing(topic, version))
}

/// Settings of an echoing feed.
fn echoing(topic: &str, version: &str) -> String {
    format!("[config]\ntopic = \"{topic}\"\nversion = \"{version}\"\n")
}
