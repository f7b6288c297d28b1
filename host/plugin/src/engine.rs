//! Compiles components and links them to the host's interfaces; one engine serves the whole process.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use wasmtime::component::{Component, InstancePre};

use crate::cache::digest;
use crate::compiler::{AddressSpace, CodeSettings, CompileIn, Compiler};
use crate::epoch::EpochTicker;
use crate::error::LoadError;
use crate::exports::ExportIndices;
use crate::guest_thread::GuestThread;
use crate::store_data::StoreData;
use crate::wasi;

mod code_engine;
#[cfg(test)]
mod tests;

use code_engine::CodeEngine;

/// The contract's package, as the bindings are generated from it.
const PACKAGE: &str = "bessai:edge@0.2.0";
/// Bytes of the digest that a version shows: enough to tell the versions of one plugin apart.
const VERSION_BYTES: usize = 6;

/// How an [`Engine`] compiles and runs components.
#[derive(Clone, Debug, Default)]
pub struct EngineSettings {
    /// Keeps compiled components in this folder; without one, each engine compiles its components anew.
    pub cache_folder: Option<PathBuf>,
    /// Where components are compiled.
    pub compile_in: CompileIn,
    /// Counts the fuel that guests burn, which makes them somewhat slower.
    pub count_fuel: bool,
}

/// Compiles components and owns the threads that their instances share.
pub struct Engine {
    plain: CodeEngine,
    // For components that import async functions or streams; made with the first of them.
    concurrent: OnceLock<Result<CodeEngine, String>>,
    guest_thread: Arc<GuestThread>,
    cache_folder: Option<PathBuf>,
    compiler: Compiler,
    // By the file's digest: thirty feeds with the same component share its machine code.
    linked: Mutex<HashMap<[u8; 32], Weak<LinkedComponent>>>,
}

/// A component that can be instantiated any number of times. Cheap to clone.
#[derive(Clone)]
pub struct CompiledComponent(Arc<LinkedComponent>);

pub(crate) struct LinkedComponent {
    pub(crate) pre: InstancePre<StoreData>,
    pub(crate) exports: ExportIndices,
    pub(crate) epoch_ticker: Arc<EpochTicker>,
    pub(crate) guest_thread: Arc<GuestThread>,
    pub(crate) count_fuel: bool,
    digest: [u8; 32],
}

impl Engine {
    /// Sets up wasmtime and starts the engine's threads, which end with the engine and its last component.
    pub fn new(settings: EngineSettings) -> Result<Self, String> {
        Self::within(settings, AddressSpace::of_this_process())
    }

    fn within(settings: EngineSettings, address_space: AddressSpace) -> Result<Self, String> {
        let EngineSettings { cache_folder, compile_in, count_fuel } = settings;
        let code = CodeSettings { count_fuel, address_space, concurrent: false };
        Ok(Self {
            plain: CodeEngine::new(code, cache_folder.clone())?,
            concurrent: OnceLock::new(),
            guest_thread: GuestThread::start()?,
            cache_folder,
            compiler: Compiler::new(compile_in),
            linked: Mutex::default(),
        })
    }

    /// What compiles and runs components that need concurrency.
    fn concurrent(&self) -> Result<&CodeEngine, LoadError> {
        let code = CodeSettings { concurrent: true, ..self.plain.code };
        let made = self.concurrent.get_or_init(|| CodeEngine::new(code, self.cache_folder.clone()));
        made.as_ref().map_err(|error| LoadError::Host(error.clone()))
    }

    /// Takes a component from the cache, or checks it against the contract and compiles it, which blocks for seconds. The
    /// error is a sentence without its subject.
    pub fn load(&self, wasm: &[u8]) -> Result<CompiledComponent, LoadError> {
        self.load_noting(wasm, &|| {})
    }

    /// The same, with a call before it compiles.
    pub fn load_noting(&self, wasm: &[u8], compiling: &dyn Fn()) -> Result<CompiledComponent, LoadError> {
        let digest = digest(wasm);
        let known = self.linked().get(&digest).and_then(Weak::upgrade);
        if let Some(linked) = known {
            return Ok(CompiledComponent(linked));
        }
        let (component, code_engine) = self.component(wasm, &digest, compiling)?;
        let linked = self.link(&component, code_engine, digest);
        let linked = linked.map_err(|error| LoadError::Component(format!("does not fit {PACKAGE}: {error:#}")))?;
        let linked = Arc::new(linked);
        let mut all = self.linked();
        all.retain(|_, linked| linked.strong_count() > 0);
        all.insert(digest, Arc::downgrade(&linked));
        Ok(CompiledComponent(linked))
    }

    fn component(
        &self,
        wasm: &[u8],
        digest: &[u8; 32],
        compiling: &dyn Fn(),
    ) -> Result<(Component, &CodeEngine), LoadError> {
        let (version, bytes) = (version(digest), wasm.len());
        if let Some(component) = self.plain.cached(digest) {
            tracing::debug!(%version, bytes, "took component {version} from the cache");
            return Ok((component, &self.plain));
        }
        // A component in the cache passed this check before it was compiled.
        let contract = crate::inspect(wasm).map_err(LoadError::Component)?;
        contract.check().map_err(|reasons| LoadError::Component(reasons.join("; ")))?;
        let code_engine = if contract.needs_concurrency() { self.concurrent()? } else { &self.plain };
        if let Some(component) = code_engine.cached(digest) {
            tracing::debug!(%version, bytes, "took component {version} from the cache");
            return Ok((component, code_engine));
        }
        tracing::debug!(%version, bytes, "compiling component {version}, which is not in the cache");
        compiling();
        let grant = self.compiler.grant(wasm)?;
        // While this one waited for memory, the same component may have been compiled for another feed.
        if let Some(component) = code_engine.cached(digest) {
            return Ok((component, code_engine));
        }
        let CodeEngine { wasmtime, cache, code, .. } = code_engine;
        let entry = cache.create(digest, wasm.len());
        let entry =
            entry.map_err(|error| LoadError::Host(format!("was not compiled: no room for its code: {error}")))?;
        self.compiler.compile((wasmtime, *code), wasm, &entry.file, grant)?;
        Ok((cache.finish(wasmtime, entry).map_err(LoadError::Host)?, code_engine))
    }

    fn link(
        &self,
        component: &Component,
        code_engine: &CodeEngine,
        digest: [u8; 32],
    ) -> Result<LinkedComponent, wasmtime::Error> {
        let with_rest = wasi::link_rest(&code_engine.linker, component)?;
        let pre = with_rest.as_ref().unwrap_or(&code_engine.linker).instantiate_pre(component)?;
        let exports = ExportIndices::find(component, &pre)?;
        Ok(LinkedComponent {
            pre,
            exports,
            epoch_ticker: Arc::clone(&code_engine.epoch_ticker),
            guest_thread: Arc::clone(&self.guest_thread),
            count_fuel: code_engine.code.count_fuel,
            digest,
        })
    }

    fn linked(&self) -> MutexGuard<'_, HashMap<[u8; 32], Weak<LinkedComponent>>> {
        self.linked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn version(digest: &[u8; 32]) -> String {
    digest.iter().take(VERSION_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

impl CompiledComponent {
    /// The version of the component: the first bytes of the file's SHA-256, in hexadecimal.
    pub fn version(&self) -> String {
        version(&self.0.digest)
    }

    /// Whether the component decides how its feed signs in.
    pub fn has_session(&self) -> bool {
        self.0.exports.has_session()
    }

    /// Whether the component receives messages from the broker.
    pub fn has_commands(&self) -> bool {
        self.0.exports.has_commands()
    }

    pub(crate) fn linked(&self) -> &LinkedComponent {
        &self.0
    }
}
