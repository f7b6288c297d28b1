//! Compiles in a child process of the same program, within a memory and a time limit.
//!
//! The compiler's memory is returned to the system when the child ends, and neither a fault of the compiler nor a component
//! that is built to be expensive affects the parent. Where memory runs out nevertheless, the system kills the child first.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::Builder;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setpriority_process, setrlimit};
use wasmtime::Engine;

use super::budget::Limit;
use super::{AddressSpace, CodeSettings, CompileLimits, precompile, wasmtime_config};
use crate::MAX_COMPONENT_BYTES;
use crate::error::LoadError;

/// The command under which a program runs [`run_compile_command`]. Its arguments are the limits in bytes and milliseconds,
/// followed by `--metered` if fuel is counted, `--scarce-address-space` if guests' memories reserve little, `--concurrent` if
/// async functions and streams are allowed, and the number of `--threads`.
pub const COMPILE_COMMAND: &str = "compile-component";
/// The argument that asks for code that counts fuel.
const COUNT_FUEL: &str = "--metered";
/// The argument that asks for code that checks each access to memory.
const SCARCE_ADDRESS_SPACE: &str = "--scarce-address-space";
/// The argument that asks for code that may use async functions and streams.
const CONCURRENT: &str = "--concurrent";
/// The argument before the number of threads.
const THREADS: &str = "--threads";
/// The variable from which rayon, which runs wasmtime's threads, reads how many to start.
const THREADS_VARIABLE: &str = "RAYON_NUM_THREADS";
/// This process's executable, also after an upgrade has replaced or removed its file.
const OWN_EXECUTABLE: &str = "/proc/self/exe";
/// Where a process says how soon the system is to kill it when memory runs out (proc_pid_oom_score_adj(5)).
const OOM_SCORE_FILE: &str = "/proc/self/oom_score_adj";
/// Before all other processes.
const OOM_SCORE_FIRST: &str = "1000";
/// Priority of the child, below the parent's work.
const NICENESS: i32 = 10;
/// The parent kills a child that has not ended this long after its time limit.
const KILL_AFTER: Duration = Duration::from_secs(5);
/// Bytes of the child's error output that are kept.
const ERROR_BYTES: u64 = 4096;
/// Bytes of machine code that a child may write.
const CODE_BYTES_MAX: u64 = 1 << 30;
/// How the child's sentences begin that are not about the component.
const HOST_FAILURE: &str = "failed to ";

/// What the child is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileRequest {
    /// What it may cost.
    pub limits: CompileLimits,
    /// The code counts the fuel that it burns.
    pub count_fuel: bool,
    /// Guests' memories reserve no address space that they do not use.
    pub is_address_space_scarce: bool,
    /// The code may use async functions and streams.
    pub is_concurrent: bool,
    /// Threads that compile.
    pub threads: u64,
}

/// The parent's side: starts the child, sends it the component and has it write machine code to `output`.
pub(super) fn compile(
    wasm: &[u8],
    output: &File,
    request: CompileRequest,
    memory_limit: Limit,
) -> Result<(), LoadError> {
    let failed = |error| LoadError::Host(format!("failed to start the compiler: {error}"));
    let mut child = start(output, request).map_err(failed)?;
    let errors = send_and_wait(&mut child, wasm, request.limits.time);
    let status = child.wait().map_err(|error| LoadError::Host(format!("failed to compile: {error}")))?;
    match errors.map_err(failed)? {
        None => Err(LoadError::Component(too_slow(request.limits.time))),
        Some(_) if status.success() => Ok(()),
        Some(errors) => Err(describe_failure(status, errors.trim(), request.limits.memory_bytes, memory_limit)),
    }
}

fn start(output: &File, request: CompileRequest) -> io::Result<Child> {
    let name = std::env::args_os().next().unwrap_or_else(|| OWN_EXECUTABLE.into());
    Command::new(OWN_EXECUTABLE)
        .arg0(name)
        .arg(COMPILE_COMMAND)
        .arg(request.limits.memory_bytes.to_string())
        .arg(request.limits.time.as_millis().to_string())
        .args(request.count_fuel.then_some(COUNT_FUEL))
        .args(request.is_address_space_scarce.then_some(SCARCE_ADDRESS_SPACE))
        .args(request.is_concurrent.then_some(CONCURRENT))
        .args([THREADS, &request.threads.to_string()])
        .env_clear()
        .env(THREADS_VARIABLE, request.threads.to_string())
        .stdin(Stdio::piped())
        .stdout(output.try_clone()?)
        .stderr(Stdio::piped())
        .spawn()
}

/// Returns the child's error output when it has ended, or none if it had to be killed because of its time limit.
fn send_and_wait(child: &mut Child, wasm: &[u8], limit: Duration) -> io::Result<Option<String>> {
    let (input, errors) = (child.stdin.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let (sender, ended) = mpsc::channel();
        // A child that ends early writes the reason to its error output; the broken pipe adds nothing.
        let send = move || input.map(|mut input| input.write_all(wasm));
        let wait = move || sender.send(read_errors(errors));
        let started = Builder::new().spawn_scoped(scope, send).map(drop);
        let started = started.and_then(|()| Builder::new().spawn_scoped(scope, wait).map(drop));
        let ended = started.map(|()| ended.recv_timeout(limit + KILL_AFTER).ok());
        if !matches!(ended, Ok(Some(_))) {
            // Fails only if the child has ended in the meantime.
            let _ = child.kill();
        }
        ended
    })
}

/// Reads until the child ends.
fn read_errors(source: Option<impl Read>) -> String {
    let Some(mut source) = source else { return String::new() };
    let mut kept = Vec::new();
    // What was read before an error is all there is.
    let _ = source.by_ref().take(ERROR_BYTES).read_to_end(&mut kept);
    let _ = io::copy(&mut source, &mut io::sink());
    String::from_utf8_lossy(&kept).into_owned()
}

fn describe_failure(status: ExitStatus, errors: &str, memory_bytes: u64, limit: Limit) -> LoadError {
    let mib = memory_bytes >> 20;
    // The message of Rust's allocator before it aborts, and that of the compiler if a mapping is refused.
    if errors.contains("memory allocation of") || errors.contains("Cannot allocate memory") {
        return match limit {
            Limit::Settings => LoadError::Component(format!(
                "needs more than {mib} MiB of memory to compile, the limit set by [plugins] compile_memory"
            )),
            Limit::Free(free) => LoadError::Host(format!(
                "needs more memory to compile than the {mib} MiB that {} leaves; make more memory available",
                free.holder()
            )),
        };
    }
    if status.signal() == Some(Signal::KILL.as_raw()) {
        return LoadError::Host(format!(
            "was not compiled: the system killed the compiler because memory ran out (it could use up to {mib} MiB); make \
             more memory available"
        ));
    }
    if status.code().is_some() && errors.starts_with(HOST_FAILURE) {
        return LoadError::Host(format!("was not compiled: {errors}"));
    }
    // A thread of the compiler could not be started.
    if errors.contains("Resource temporarily unavailable") {
        return LoadError::Host(
            "was not compiled: the system refuses further threads; raise its limit of tasks".into(),
        );
    }
    match status.code() {
        Some(_) if !errors.is_empty() => LoadError::Component(errors.to_owned()),
        _ => {
            let first_line = errors.lines().next().unwrap_or_default();
            LoadError::Component(format!("failed to compile: the compiler ended with {status}: {first_line}"))
        }
    }
}

fn too_slow(time: Duration) -> String {
    format!("takes longer than {time:?} to compile, the limit set by [plugins] compile_time")
}

/// The child's side: reads a component from standard input and writes machine code to standard output.
pub fn run_compile_command(request: CompileRequest) -> Result<(), String> {
    be_killed_first();
    limit_resource(Resource::Data, request.limits.memory_bytes)?;
    limit_resource(Resource::Fsize, CODE_BYTES_MAX)?;
    // Without the permission to lower its priority the child runs at the normal one.
    let _ = setpriority_process(None, NICENESS);
    end_after(request.limits.time)?;
    let mut wasm = Vec::new();
    let input = io::stdin().take(MAX_COMPONENT_BYTES + 1).read_to_end(&mut wasm);
    input.map_err(|error| format!("{HOST_FAILURE}read the component: {error}"))?;
    let address_space = if request.is_address_space_scarce { AddressSpace::Scarce } else { AddressSpace::Ample };
    let (count_fuel, concurrent) = (request.count_fuel, request.is_concurrent);
    let mut config = wasmtime_config(CodeSettings { count_fuel, address_space, concurrent });
    config.parallel_compilation(request.threads > 1);
    let engine = Engine::new(&config).map_err(|error| format!("{HOST_FAILURE}set up wasmtime: {error}"))?;
    let code = precompile(&engine, &wasm)?;
    let mut output = io::stdout();
    let written = output.write_all(&code).and_then(|()| output.flush());
    written.map_err(|error| format!("{HOST_FAILURE}write the machine code: {error}"))
}

/// The gateway has to survive. Where the file cannot be written, the limit of the child's memory is all there is.
#[allow(clippy::disallowed_methods, reason = "the child has nothing else to do")]
fn be_killed_first() {
    let _ = std::fs::write(OOM_SCORE_FILE, OOM_SCORE_FIRST);
}

#[allow(clippy::disallowed_methods, reason = "the thread that ends the child has nothing else to do")]
fn end_after(time: Duration) -> Result<(), String> {
    let end = move || {
        std::thread::sleep(time);
        eprintln!("{}", too_slow(time));
        std::process::exit(1);
    };
    let thread = Builder::new().spawn(end);
    thread.map(drop).map_err(|error| format!("{HOST_FAILURE}start a thread: {error}"))
}

/// `Resource::Data` counts private memory only: what the program maps but does not write costs nothing.
fn limit_resource(resource: Resource, bytes: u64) -> Result<(), String> {
    let maximum = getrlimit(resource).maximum;
    let current = Some(maximum.map_or(bytes, |maximum| maximum.min(bytes)));
    setrlimit(resource, Rlimit { current, maximum: current })
        .map_err(|error| format!("{HOST_FAILURE}limit the compiler's memory: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::free_memory::FreeMemory;

    const MIB: u64 = 1 << 20;

    fn check(status: i32, errors: &str, limit: Limit, is_temporary: bool, expected: &str) {
        let error = describe_failure(ExitStatus::from_raw(status), errors, 48 * MIB, limit);
        assert_eq!((error.is_temporary(), error.to_string().as_str()), (is_temporary, expected));
    }

    #[test]
    fn failures_are_described_and_those_of_the_machine_are_temporary() {
        let killed = "was not compiled: the system killed the compiler because memory ran out (it could use up to 48 MiB); \
                      make more memory available";
        check(9, "", Limit::Settings, true, killed);
        let allocation = "memory allocation of 4096 bytes failed";
        let too_large = "needs more than 48 MiB of memory to compile, the limit set by [plugins] compile_memory";
        check(6, allocation, Limit::Settings, false, too_large);
        let container = "needs more memory to compile than the 48 MiB that the container's memory limit of 64 MiB leaves; \
                         make more memory available";
        let free = FreeMemory { bytes: 64 * MIB, cgroup_limit: Some(64 * MIB) };
        check(6, allocation, Limit::Free(free), true, container);
        let written = "failed to write the machine code: No space left on device (os error 28)";
        check(256, written, Limit::Settings, true, &format!("was not compiled: {written}"));
        check(256, "is not a valid component: x", Limit::Settings, false, "is not a valid component: x");
        let crashed = "failed to compile: the compiler ended with signal: 11 (SIGSEGV): ";
        check(11, "", Limit::Settings, false, crashed);
    }

    #[test]
    fn only_the_beginning_of_the_error_output_is_kept() {
        let errors = vec![b'x'; 100_000];
        assert_eq!(read_errors(Some(errors.as_slice())).len(), 4096);
        assert_eq!(read_errors(None::<&[u8]>), "");
    }
}
