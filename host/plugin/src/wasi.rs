//! WASI 0.3 with nothing behind it: an empty environment, no terminal, no folder, the event's time as its clock, and the
//! same random numbers in every instance.
//!
//! What reads and writes through streams or waits fails when it is called: the gateway calls a plugin's functions one after
//! the other, and they cannot wait for anything.

use wasmtime::component::types::{ComponentInstance, ComponentItem};
use wasmtime::component::{Component, ComponentType, Linker, Lower, Resource, ResourceType};
use wasmtime::{Engine, Error, StoreContextMut};

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

/// The linker with the other functions of WASI 0.3 that a component imports: each fails when it is called.
pub(crate) fn link_rest(linker: &Linker<StoreData>, component: &Component) -> Result<Option<Linker<StoreData>>, Error> {
    let engine = component.engine();
    let component = component.component_type();
    let imports = component.imports(engine).filter_map(|(name, import)| match import.ty {
        ComponentItem::ComponentInstance(interface) => Some((name, interface)),
        _ => None,
    });
    let mut with_rest = None;
    for (name, interface) in imports {
        let Some((path, version)) = name.split_once('@').filter(|(path, _)| path.starts_with("wasi:")) else {
            continue;
        };
        if version.starts_with("0.3.") {
            link_failing(with_rest.get_or_insert_with(|| linker.clone()), engine, path, &interface)?;
        }
    }
    Ok(with_rest)
}

/// Links what is not linked yet, under the release to which any other 0.3.x fits.
fn link_failing(
    linker: &mut Linker<StoreData>,
    engine: &Engine,
    path: &str,
    interface: &ComponentInstance,
) -> Result<(), Error> {
    let mut linked = linker.instance(&format!("{path}@0.3.0"))?;
    for (name, export) in interface.exports(engine) {
        let call = format!("`{name}` of `{path}`");
        let error = move || Error::msg(format!("the plugin called {call}, which the gateway does not provide"));
        // A name that is linked already is an error, and stays as it is.
        let _ = match export.ty {
            ComponentItem::ComponentFunc(function) if function.async_() => {
                linked.func_new_concurrent(name, move |_, _, _, _| {
                    let error = error();
                    Box::pin(async move { Err(error) })
                })
            }
            ComponentItem::ComponentFunc(_) => linked.func_new(name, move |_, _, _, _| Err(error())),
            ComponentItem::Resource(_) => linked.resource(name, ResourceType::host::<Absent>(), |_, _| Ok(())),
            _ => Ok(()),
        };
    }
    Ok(())
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
