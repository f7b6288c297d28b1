//! Compiles in a child process of the same program, within a memory and a time limit.
//!
//! The compiler's memory is returned to the system when the child ends, and neither a fault of the compiler nor a component
//! that is built to be expensive affects the parent.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};
use wasmtime::Engine;

use super::{CompileLimits, precompile, wasmtime_config};
use crate::MAX_COMPONENT_BYTES;

/// The command under which a program runs [`run_compile_command`]. Its arguments are the limits in bytes and milliseconds,
/// followed by `--metered` if fuel is counted.
pub const COMPILE_COMMAND: &str = "compile-component";
/// The argument that asks for code that counts fuel.
const COUNT_FUEL: &str = "--metered";
/// Priority of the child, below the parent's work.
const NICENESS: i32 = 10;
/// The parent kills a child that has not ended this long after its time limit.
const KILL_AFTER: Duration = Duration::from_secs(5);
/// Bytes of the child's error output that are read.
const ERROR_BYTES: u64 = 4096;
/// Bytes of machine code that are read from the child.
const CODE_BYTES_MAX: u64 = 1 << 30;

/// The parent's side: starts the child, sends the component and receives machine code.
pub(super) fn compile(wasm: &[u8], limits: CompileLimits, count_fuel: bool) -> Result<Vec<u8>, String> {
    let mut child = start(limits, count_fuel).map_err(|error| format!("failed to start the compiler: {error}"))?;
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let wasm = wasm.to_vec();
    // A child that ends early writes the reason to its error output; the broken pipe adds nothing.
    let writing = std::thread::spawn(move || input.map(|mut input| input.write_all(&wasm)));
    let (sender, code) = mpsc::channel();
    let reading = std::thread::spawn(move || sender.send(read(output, CODE_BYTES_MAX)));
    let error_output = std::thread::spawn(move || read(errors, ERROR_BYTES));
    let code = code.recv_timeout(limits.time + KILL_AFTER);
    if code.is_err() {
        // Fails only if the child has ended in the meantime.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| format!("failed to compile: {error}"))?;
    let error_output = error_output.join().unwrap_or_default();
    let _ = (writing.join(), reading.join());
    match code {
        Ok(code) if status.success() => Ok(code),
        Ok(_) => Err(describe_failure(status, &String::from_utf8_lossy(&error_output), limits)),
        Err(_) => Err(too_slow(limits.time)),
    }
}

fn start(limits: CompileLimits, count_fuel: bool) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg(COMPILE_COMMAND)
        .arg(limits.memory_bytes.to_string())
        .arg(limits.time.as_millis().to_string())
        .args(count_fuel.then_some(COUNT_FUEL))
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

fn read(source: Option<impl Read>, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What was read before an error is all there is.
    let _ = source.map(|source| source.take(limit).read_to_end(&mut bytes));
    bytes
}

fn describe_failure(status: ExitStatus, error_output: &str, limits: CompileLimits) -> String {
    let error_output = error_output.trim();
    // The message of Rust's allocator before it aborts, and that of the compiler if a mapping is refused.
    let ran_out = error_output.contains("memory allocation of") || error_output.contains("Cannot allocate memory");
    if ran_out {
        return format!(
            "needs more than {} MiB of memory to compile, the limit set by [plugins] compile_memory",
            limits.memory_bytes >> 20
        );
    }
    match (status.code(), error_output) {
        (Some(_), reason) if !reason.is_empty() => reason.to_owned(),
        _ => {
            let first_line = error_output.lines().next().unwrap_or_default();
            format!("failed to compile: the compiler ended with {status}: {first_line}")
        }
    }
}

fn too_slow(time: Duration) -> String {
    format!("takes longer than {time:?} to compile, the limit set by [plugins] compile_time")
}

/// The child's side: reads a component from standard input and writes machine code to standard output.
#[allow(clippy::disallowed_methods, reason = "the thread that ends the child has nothing else to do")]
pub fn run_compile_command(limits: CompileLimits, count_fuel: bool) -> Result<(), String> {
    limit_memory(limits.memory_bytes)?;
    // Without the permission to lower its priority the child runs at the normal one.
    let _ = setpriority_process(None, NICENESS);
    let time = limits.time;
    std::thread::spawn(move || {
        std::thread::sleep(time);
        eprintln!("{}", too_slow(time));
        std::process::exit(1);
    });
    let mut wasm = Vec::new();
    let input = std::io::stdin().take(MAX_COMPONENT_BYTES + 1).read_to_end(&mut wasm);
    input.map_err(|error| format!("failed to read: {error}"))?;
    let engine = Engine::new(&wasmtime_config(count_fuel));
    let engine = engine.map_err(|error| format!("failed to set up wasmtime: {error}"))?;
    let code = precompile(&engine, &wasm)?;
    std::io::stdout().write_all(&code).map_err(|error| format!("failed to write: {error}"))
}

/// Limits private memory only: what the program maps but does not write costs nothing.
fn limit_memory(bytes: u64) -> Result<(), String> {
    let maximum = getrlimit(Resource::Data).maximum;
    let current = Some(maximum.map_or(bytes, |maximum| maximum.min(bytes)));
    setrlimit(Resource::Data, Rlimit { current, maximum: current })
        .map_err(|error| format!("failed to limit the compiler's memory: {error}"))
}
