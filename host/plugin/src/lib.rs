//! Runs customers' WebAssembly components within limits.
//!
//! An [`Engine`] compiles a component and links it to the host's interfaces; a [`Plugin`] owns one running instance of it
//! and implements [`bessai_domain::ports::Plugin`]. `examples/embed.rs` shows both outside the gateway.
//!
//! Invariants:
//! - No other crate knows wasmtime.
//! - A component reaches the interfaces that [`Engine::new`] links and nothing else; there is nothing behind its WASI.
//! - A call that is still running at its epoch deadline moves from the caller's thread to the guest thread. A call that
//!   exceeds its wall-clock limit is dropped together with its instance.
//! - A call that fails leaves the plugin's state unchanged.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::float_cmp,
        clippy::panic,
        clippy::expect_used,
        clippy::disallowed_methods
    )
)]

use std::time::Duration;

mod bindings;
mod cache;
mod commands;
mod compiler;
mod contract;
mod convert;
mod engine;
mod epoch;
mod error;
mod exports;
mod failure_text;
mod free_memory;
mod guest_thread;
mod instance;
mod log;
mod memory;
mod metrics;
mod plugin;
mod previous;
mod secrets;
mod session;
mod settings;
mod signing;
mod store_data;
mod wasi;

pub use compiler::{COMPILE_COMMAND, CompileIn, CompileLimits, CompileRequest, run_compile_command};
pub use contract::{Contract, PluginInterface};
pub use engine::{CompiledComponent, Engine, EngineSettings};
pub use error::LoadError;
pub use log::LogSink;
pub use metrics::{Histogram, Labels, MetricSeries, MetricValue, PluginMetrics};
pub use plugin::Plugin;
pub use secrets::{ReadSecret, Secrets};
pub use settings::PluginSettings;

/// Default limit of a guest's linear memory, in bytes.
pub const DEFAULT_MEMORY_BYTES: usize = 64 << 20;
/// A call that takes longer is counted as slow, so that the plugin's author can look into it.
pub const SLOW_CALL: Duration = Duration::from_millis(50);
/// Largest component file, in bytes: a Python component has 18 MB.
pub const MAX_COMPONENT_BYTES: u64 = 64 << 20;

/// Reads what a component exports and imports. The error says what the file is instead, as a sentence without its subject.
pub fn inspect(wasm: &[u8]) -> Result<Contract, String> {
    match u64::try_from(wasm.len()) {
        Ok(bytes) if bytes <= MAX_COMPONENT_BYTES => contract::read(wasm),
        _ => Err(format!("has {} bytes; a component may have {MAX_COMPONENT_BYTES}", wasm.len())),
    }
}
