//! The part of WASI 0.3 that a plugin can have, with nothing behind it: an empty environment, no terminal, no folder, the
//! event's time as its clock, and the same random numbers in every instance.
//!
//! WASI 0.3 reads and writes through streams and waits in async functions. This host calls its guests without concurrency,
//! so a component that needs those is refused (`contract/grants.rs`).

use wasmtime::component::{ComponentType, Linker, Lower, Resource, ResourceType};
use wasmtime::{Error, StoreContextMut};

use crate::store_data::StoreData;

/// Something of which there is none: a terminal, an open file.
struct Absent;

/// A time of `system-clock`.
#[derive(ComponentType, Lower)]
#[component(record)]
struct Instant {
    seconds: i64,
    nanoseconds: u32,
}

type Context<'a> = StoreContextMut<'a, StoreData>;

/// Provides these interfaces; a release 0.3.x of them fits.
pub(crate) fn add_to_linker(linker: &mut Linker<StoreData>) -> Result<(), Error> {
    environment(linker)?;
    terminals(linker)?;
    clocks(linker)?;
    random(linker)?;
    let absent = || ResourceType::host::<Absent>();
    linker.instance("wasi:filesystem/types@0.3.0")?.resource("descriptor", absent(), |_, _| Ok(()))?;
    let mut preopens = linker.instance("wasi:filesystem/preopens@0.3.0")?;
    preopens.func_wrap("get-directories", |_: Context<'_>, (): ()| Ok((Vec::<(Resource<Absent>, String)>::new(),)))
}

fn environment(linker: &mut Linker<StoreData>) -> Result<(), Error> {
    let mut environment = linker.instance("wasi:cli/environment@0.3.0")?;
    environment.func_wrap("get-environment", |_: Context<'_>, (): ()| Ok((Vec::<(String, String)>::new(),)))?;
    environment.func_wrap("get-arguments", |_: Context<'_>, (): ()| Ok((Vec::<String>::new(),)))?;
    environment.func_wrap("get-initial-cwd", |_: Context<'_>, (): ()| Ok((None::<String>,)))?;
    let mut exit = linker.instance("wasi:cli/exit@0.3.0")?;
    exit.func_wrap("exit", |_: Context<'_>, (_status,): (Result<(), ()>,)| -> Result<(), Error> {
        Err(Error::msg("the plugin called `exit`"))
    })?;
    exit.func_wrap("exit-with-code", |_: Context<'_>, (code,): (u8,)| -> Result<(), Error> {
        Err(Error::msg(format!("the plugin called `exit` with code {code}")))
    })
}

fn terminals(linker: &mut Linker<StoreData>) -> Result<(), Error> {
    for resource in ["terminal-input", "terminal-output"] {
        let mut terminal = linker.instance(&format!("wasi:cli/{resource}@0.3.0"))?;
        terminal.resource(resource, ResourceType::host::<Absent>(), |_, _| Ok(()))?;
    }
    for terminal in ["terminal-stdin", "terminal-stdout", "terminal-stderr"] {
        let mut instance = linker.instance(&format!("wasi:cli/{terminal}@0.3.0"))?;
        instance.func_wrap(&format!("get-{terminal}"), |_: Context<'_>, (): ()| Ok((None::<Resource<Absent>>,)))?;
    }
    Ok(())
}

fn clocks(linker: &mut Linker<StoreData>) -> Result<(), Error> {
    const SECOND: u64 = 1_000_000_000;
    let mut monotonic = linker.instance("wasi:clocks/monotonic-clock@0.3.0")?;
    monotonic.func_wrap("now", |context: Context<'_>, (): ()| Ok((context.data().clock_nanos(),)))?;
    monotonic.func_wrap("get-resolution", |_: Context<'_>, (): ()| Ok((1_u64,)))?;
    let mut system = linker.instance("wasi:clocks/system-clock@0.3.0")?;
    system.func_wrap("now", |context: Context<'_>, (): ()| {
        let nanos = context.data().clock_nanos();
        let seconds = i64::try_from(nanos / SECOND).unwrap_or(i64::MAX);
        Ok((Instant { seconds, nanoseconds: u32::try_from(nanos % SECOND).unwrap_or_default() },))
    })?;
    system.func_wrap("get-resolution", |_: Context<'_>, (): ()| Ok((1_u64,)))
}

fn random(linker: &mut Linker<StoreData>) -> Result<(), Error> {
    for (interface, prefix) in [("random", "get-random"), ("insecure", "get-insecure-random")] {
        let mut instance = linker.instance(&format!("wasi:random/{interface}@0.3.0"))?;
        instance.func_wrap(&format!("{prefix}-bytes"), |mut context: Context<'_>, (most,): (u64,)| {
            Ok((context.data_mut().random_bytes(most),))
        })?;
        instance.func_wrap(&format!("{prefix}-u64"), |mut context: Context<'_>, (): ()| {
            Ok((context.data_mut().random_word(),))
        })?;
    }
    let mut seed = linker.instance("wasi:random/insecure-seed@0.3.0")?;
    seed.func_wrap("get-insecure-seed", |mut context: Context<'_>, (): ()| {
        let data = context.data_mut();
        Ok(((data.random_word(), data.random_word()),))
    })
}
