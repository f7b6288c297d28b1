//! Compiles components to machine code, in a child process or in this one.

use std::time::Duration;

use wasmtime::component::Component;
use wasmtime::{Config, Engine};

mod child_process;

pub use child_process::{COMPILE_COMMAND, run_compile_command};

/// Growth of a guest's linear memory for which address space is reserved, in bytes. Each guest has a small memory of its
/// own; wasmtime's default of 2 GiB for each would only cost page tables.
const GROWTH_BYTES: u64 = 1 << 20;

/// Where components are compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CompileIn {
    /// In this process: any program can use it, but a component that is expensive to compile costs this process memory and
    /// time without a limit.
    #[default]
    ThisProcess,
    /// In a child process within limits. The program must run [`run_compile_command`] when its first argument is
    /// [`COMPILE_COMMAND`]: the child is started from the program's own executable.
    ChildProcess(CompileLimits),
}

/// What compiling one component may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Bytes of memory: a JavaScript component of 12 MB takes 365 MB.
    pub memory_bytes: u64,
    /// Wall-clock time: that component takes 7 s on two processors, and ten times as long on a small board.
    pub time: Duration,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self { memory_bytes: 1 << 30, time: Duration::from_secs(120) }
    }
}

/// wasmtime's configuration, which must be the same where a component is compiled and where it runs.
pub(crate) fn wasmtime_config(count_fuel: bool) -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.consume_fuel(count_fuel);
    config.concurrency_support(false);
    config.wasm_wide_arithmetic(true);
    config.memory_reservation_for_growth(GROWTH_BYTES);
    config
}

/// Compiles a component that passed the check of its contract; the error is a sentence without its subject.
pub(crate) fn compile(
    engine: &Engine,
    wasm: &[u8],
    compile_in: CompileIn,
    count_fuel: bool,
) -> Result<Vec<u8>, String> {
    match compile_in {
        CompileIn::ThisProcess => precompile(engine, wasm),
        CompileIn::ChildProcess(limits) => child_process::compile(wasm, limits, count_fuel),
    }
}

fn precompile(engine: &Engine, wasm: &[u8]) -> Result<Vec<u8>, String> {
    engine.precompile_component(wasm).map_err(|error| format!("is not a valid component: {error:#}"))
}

#[allow(unsafe_code, reason = "machine code that our own compiler has just returned")]
pub(crate) fn load_code(engine: &Engine, code: &[u8]) -> Result<Component, String> {
    // SAFETY: the bytes come from `compile`, in this process or through a pipe from its child.
    unsafe { Component::deserialize(engine, code) }.map_err(|error| format!("failed to load: {error}"))
}
