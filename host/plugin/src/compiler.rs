//! Compiles components to machine code, in a child process or in this one.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use wasmtime::{Config, Engine, WasmBacktraceDetails};

use crate::error::LoadError;

mod address_space;
mod budget;
mod child_process;

pub(crate) use address_space::AddressSpace;
use budget::CompileBudget;
pub(crate) use budget::Grant;
pub use child_process::{COMPILE_COMMAND, CompileRequest, run_compile_command};

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
    /// In a child process within limits, and within the memory that this process's cgroup leaves. The program must run
    /// [`run_compile_command`] when its first argument is [`COMPILE_COMMAND`]: the child runs the program's own executable.
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

/// What machine code depends on: it runs only where both are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodeSettings {
    /// The code counts the fuel that it burns.
    pub(crate) count_fuel: bool,
    /// What is reserved for a guest's memory.
    pub(crate) address_space: AddressSpace,
    /// The code may use async functions and streams.
    pub(crate) concurrent: bool,
}

/// wasmtime's configuration, which must be the same where a component is compiled and where it runs.
pub(crate) fn wasmtime_config(code: CodeSettings) -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.consume_fuel(code.count_fuel);
    // Names files and lines in the reason of a trap, where the component carries them.
    config.wasm_backtrace_details(WasmBacktraceDetails::Enable);
    // It makes every call slower, so only the components that need it are compiled with it.
    config.concurrency_support(code.concurrent);
    config.wasm_wide_arithmetic(true);
    config.memory_reservation_for_growth(GROWTH_BYTES);
    if code.address_space == AddressSpace::Scarce {
        config.memory_reservation(0);
        config.memory_guard_size(0);
        config.guard_before_linear_memory(false);
    }
    config
}

/// Compiles components that passed the check of their contract.
pub(crate) struct Compiler {
    compile_in: CompileIn,
    budget: CompileBudget,
}

impl Compiler {
    pub(crate) fn new(compile_in: CompileIn) -> Self {
        Self { compile_in, budget: CompileBudget::new(PathBuf::from("/")) }
    }

    /// Memory for compiling a component; waits for other compilers if their memory is needed. None if this
    /// process compiles.
    pub(crate) fn grant(&self, wasm: &[u8]) -> Result<Option<Grant<'_>>, LoadError> {
        match self.compile_in {
            CompileIn::ThisProcess => Ok(None),
            CompileIn::ChildProcess(limits) => self.budget.grant(wasm, limits).map(Some),
        }
    }

    /// Writes the component's machine code to a file.
    pub(crate) fn compile(
        &self,
        (engine, code): (&Engine, CodeSettings),
        wasm: &[u8],
        mut output: &File,
        grant: Option<Grant<'_>>,
    ) -> Result<(), LoadError> {
        let Some(grant) = grant else {
            let code = precompile(engine, wasm).map_err(LoadError::Component)?;
            return output.write_all(&code).map_err(|error| LoadError::Host(format!("failed to write: {error}")));
        };
        let request = CompileRequest {
            limits: grant.limits,
            count_fuel: code.count_fuel,
            is_address_space_scarce: code.address_space == AddressSpace::Scarce,
            is_concurrent: code.concurrent,
            threads: grant.threads,
        };
        child_process::compile(wasm, output, request, grant.limit)
    }
}

fn precompile(engine: &Engine, wasm: &[u8]) -> Result<Vec<u8>, String> {
    engine.precompile_component(wasm).map_err(|error| format!("is not a valid component: {error:#}"))
}
