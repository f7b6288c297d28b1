//! Compiles components in a child process of the same program, under a memory and a time limit.
//!
//! The compiler's memory goes back to the system with the child, and its faults and a component made to be slow or huge
//! to compile stay there.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};
use wasmtime::{Config, Engine};

use super::COMPONENT_BYTES;

/// The program's command that compiles a component in a process of its own.
pub const COMPILE: &str = "compile-component";
/// Below the gateway's work.
const NICENESS: i32 = 10;
/// More time than the child has by itself, after which it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// Of what a child says at most this much is shown.
const SAID_BYTES: u64 = 4096;
/// How the child's output may grow beyond the component.
const CODE_BYTES_MAX: u64 = 1 << 30;

/// What compiling one component may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Bytes of memory: a JavaScript component of 12 MB takes 365 MB.
    pub memory_bytes: u64,
    /// Wall-clock time: that component takes 7 s on two processors, a small board ten times as long.
    pub time: Duration,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self { memory_bytes: 1 << 30, time: Duration::from_secs(120) }
    }
}

/// The engine's settings, the same in the host and in the child that compiles.
pub(super) fn config(is_metered: bool) -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.consume_fuel(is_metered);
    config.concurrency_support(false);
    config.wasm_wide_arithmetic(true);
    // Each guest has a small memory of its own; reserving 4 GiB of address space for each would only cost page tables.
    config.memory_reservation_for_growth(1 << 20);
    config
}

/// Machine code of a component, or why there is none.
pub(super) fn compile(wasm: &[u8], limits: CompileLimits, is_metered: bool) -> Result<Vec<u8>, String> {
    let mut child = start(limits, is_metered).map_err(|error| format!("failed to start the compiler: {error}"))?;
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let wasm = wasm.to_vec();
    // A child that ends early says why; the broken pipe adds nothing.
    let writing = std::thread::spawn(move || input.map(|mut input| input.write_all(&wasm)));
    let (sender, code) = mpsc::channel();
    let reading = std::thread::spawn(move || sender.send(read(output, CODE_BYTES_MAX)));
    let complaint = std::thread::spawn(move || read(errors, SAID_BYTES));
    let code = code.recv_timeout(limits.time + GRACE);
    if code.is_err() {
        // It ends now, or has ended already.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| format!("failed to compile: {error}"))?;
    let said = complaint.join().unwrap_or_default();
    let _ = (writing.join(), reading.join());
    match code {
        Ok(code) if status.success() => Ok(code),
        Ok(_) => Err(explain(status, &String::from_utf8_lossy(&said), limits)),
        Err(_) => Err(too_slow(limits.time)),
    }
}

fn start(limits: CompileLimits, is_metered: bool) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg(COMPILE)
        .arg(limits.memory_bytes.to_string())
        .arg(limits.time.as_millis().to_string())
        .args(is_metered.then_some("--metered"))
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

fn read(source: Option<impl Read>, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What was read until a fault is all there is.
    let _ = source.map(|source| source.take(limit).read_to_end(&mut bytes));
    bytes
}

fn explain(status: ExitStatus, said: &str, limits: CompileLimits) -> String {
    let said = said.trim();
    // What Rust's allocator says before it aborts, and what the compiler says when it is refused a mapping.
    let ran_out = said.contains("memory allocation of") || said.contains("Cannot allocate memory");
    if ran_out {
        return format!(
            "needs more than {} MiB of memory to compile, which [plugins] compile_memory sets",
            limits.memory_bytes >> 20
        );
    }
    match (status.code(), said) {
        (Some(_), said) if !said.is_empty() => said.to_owned(),
        _ => {
            format!("failed to compile: the compiler ended with {status}: {}", said.lines().next().unwrap_or_default())
        }
    }
}

fn too_slow(time: Duration) -> String {
    format!("takes longer than {time:?} to compile, which [plugins] compile_time sets")
}

/// What the child does: a component on standard input, machine code on standard output.
pub fn compile_child(limits: CompileLimits, is_metered: bool) -> Result<(), String> {
    limit_memory(limits.memory_bytes)?;
    // Without the right to be nicer it compiles as it is.
    let _ = setpriority_process(None, NICENESS);
    let time = limits.time;
    std::thread::spawn(move || {
        std::thread::sleep(time);
        eprintln!("{}", too_slow(time));
        std::process::exit(1);
    });
    let mut wasm = Vec::new();
    let limit = COMPONENT_BYTES + 1;
    std::io::stdin().take(limit).read_to_end(&mut wasm).map_err(|error| format!("failed to read: {error}"))?;
    let engine = Engine::new(&config(is_metered)).map_err(|error| format!("failed to set up wasmtime: {error}"))?;
    let code = engine.precompile_component(&wasm).map_err(|error| format!("is not a sound component: {error:#}"))?;
    std::io::stdout().write_all(&code).map_err(|error| format!("failed to write: {error}"))
}

/// Of private memory only: what the program maps but does not write costs nothing.
fn limit_memory(bytes: u64) -> Result<(), String> {
    let maximum = getrlimit(Resource::Data).maximum;
    let current = Some(maximum.map_or(bytes, |maximum| maximum.min(bytes)));
    setrlimit(Resource::Data, Rlimit { current, maximum: current })
        .map_err(|error| format!("failed to limit the compiler's memory: {error}"))
}
