//! wasmtime with one kind of machine code: what the code is linked to, and where it is cached.

use std::path::PathBuf;
use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, Linker};

use crate::bindings::Controller;
use crate::cache::ComponentCache;
use crate::compiler::{CodeSettings, wasmtime_config};
use crate::epoch::EpochTicker;
use crate::store_data::StoreData;
use crate::{previous, wasi};

/// wasmtime with one kind of machine code.
pub(super) struct CodeEngine {
    pub(super) wasmtime: Engine,
    pub(super) linker: Linker<StoreData>,
    pub(super) epoch_ticker: Arc<EpochTicker>,
    pub(super) cache: ComponentCache,
    pub(super) code: CodeSettings,
}

impl CodeEngine {
    pub(super) fn new(code: CodeSettings, cache_folder: Option<PathBuf>) -> Result<Self, String> {
        let wasmtime =
            Engine::new(&wasmtime_config(code)).map_err(|error| format!("failed to set up wasmtime: {error}"))?;
        let mut linker = Linker::new(&wasmtime);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)
            .and_then(|()| Controller::add_to_linker::<_, HasSelf<_>>(&mut linker, |data| data))
            .and_then(|()| previous::add_to_linker(&mut linker))
            .and_then(|()| wasi::add_to_linker(&mut linker))
            .map_err(|error| format!("failed to link the host's interfaces: {error}"))?;
        let epoch_ticker = EpochTicker::start(wasmtime.clone())?;
        Ok(Self { linker, epoch_ticker, cache: ComponentCache::new(cache_folder, code), code, wasmtime })
    }

    /// The compiled form of the component with this digest, from the cache.
    pub(super) fn cached(&self, digest: &[u8; 32]) -> Option<Component> {
        self.cache.get(&self.wasmtime, digest)
    }
}
