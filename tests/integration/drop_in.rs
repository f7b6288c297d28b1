//! Files that come, change and go in the plugins' folder of a running gateway: the feeds follow, and lose nothing.

mod files;
mod limits;
mod versions;

/// Settings of an echoing feed whose component has another name than it.
fn shared(topic: &str, version: &str) -> String {
    format!("component = \"shared.wasm\"\n{}", echoing(topic, version))
}

/// Settings of an echoing feed.
fn echoing(topic: &str, version: &str) -> String {
    format!("[config]\ntopic = \"{topic}\"\nversion = \"{version}\"\n")
}
