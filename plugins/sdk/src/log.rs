//! Lines for the gateway's log, under the feed's name; the gateway keeps at most 20 a second.

/// A person must act.
pub fn error(message: &str) {
    write(Level::Error, message);
}

/// Something unusual was handled.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

/// Worth knowing once.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// For the plugin's author.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

pub use crate::bindings::bessai::edge::log::Level;

#[cfg(target_arch = "wasm32")]
use crate::bindings::bessai::edge::log::write;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::host::log as write;
