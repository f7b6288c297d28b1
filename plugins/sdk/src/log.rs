//! Lines in the gateway's log, under the feed's name; at most 20 per second are logged.

/// Logs an error: a person must act.
pub fn error(message: &str) {
    write(Level::Error, message);
}

/// Logs a warning: something unusual was handled.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

/// Logs a line for the operator.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// Logs a line for the plugin's author.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

pub use crate::bindings::bessai::edge::log::Level;

#[cfg(target_arch = "wasm32")]
use crate::bindings::bessai::edge::log::write;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::host::log as write;
