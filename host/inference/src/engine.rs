//! The ONNX engine of this process: the built-in one, or the ONNX Runtime that `ORT_DYLIB_PATH` names.

use std::borrow::Cow;
use std::path::Path;
use std::sync::OnceLock;

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;

use crate::tract_model::for_tract;

/// The engine of this process, chosen when the first model is loaded.
static ENGINE: OnceLock<Result<OnnxEngine, String>> = OnceLock::new();

/// Part of the panic's text when the binding does not know a type of the built-in engine.
const UNKNOWN_TYPE: &str = "not supported by tract";

struct OnnxEngine {
    environment: Environment,
    name: String,
    is_native: bool,
}

/// The engine's name, for the log.
pub(crate) fn name() -> &'static str {
    match ENGINE.get() {
        Some(Ok(engine)) => &engine.name,
        _ => "no engine",
    }
}

fn engine() -> Result<&'static OnnxEngine, String> {
    ENGINE.get_or_init(choose).as_ref().map_err(Clone::clone)
}

fn choose() -> Result<OnnxEngine, String> {
    let native = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty());
    let name = match &native {
        None => {
            ort::set_api(ort_tract::api());
            "the built-in engine (tract)".to_owned()
        }
        Some(path) => use_native(Path::new(path))?,
    };
    let environment =
        ort::init().with_telemetry(false).build().map_err(|error| format!("failed to start ONNX: {error}"))?;
    Ok(OnnxEngine { environment, name, is_native: native.is_some() })
}

#[allow(unsafe_code, reason = "loading the native ONNX Runtime is a call into a library that the user names")]
fn use_native(path: &Path) -> Result<String, String> {
    let failed = |error: &dyn std::fmt::Display| format!("failed to load ORT_DYLIB_PATH = {}: {error}", path.display());
    // SAFETY: the user states that the file is an ONNX Runtime, whose entry point has had this signature since 1.0.
    unsafe {
        let library = Box::leak(Box::new(libloading::Library::new(path).map_err(|error| failed(&error))?));
        let base = library
            .get::<unsafe extern "C" fn() -> *const ort::sys::OrtApiBase>(b"OrtGetApiBase")
            .map_err(|error| failed(&error))?();
        let Some(base) = base.as_ref() else { return Err(failed(&"it has no API")) };
        let api = (base.GetApi)(ort::sys::ORT_API_VERSION);
        if api.is_null() {
            return Err(failed(&"it is older than ONNX Runtime 1.24"));
        }
        ort::set_api(std::ptr::read(api));
        let version = std::ffi::CStr::from_ptr((base.GetVersionString)()).to_string_lossy().into_owned();
        Ok(format!("ONNX Runtime {version}"))
    }
}

/// Loads a model's bytes into the engine.
pub(crate) fn session(bytes: &[u8]) -> Result<Session, String> {
    let engine = engine()?;
    let bytes = if engine.is_native { Cow::Borrowed(bytes) } else { for_tract(bytes)? };
    session_of(engine, &bytes)
}

/// Loads them without what the built-in engine needs.
#[cfg(test)]
pub(crate) fn session_as_is(bytes: &[u8]) -> Result<Session, String> {
    session_of(engine()?, bytes)
}

fn session_of(engine: &OnnxEngine, bytes: &[u8]) -> Result<Session, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{} cannot load it: {error}", engine.name);
    let mut builder = Session::builder(&engine.environment).map_err(|error| failed(&error))?;
    // The built-in engine runs the graph as it was exported unless it is asked.
    builder = builder.with_optimization_level(GraphOptimizationLevel::All).map_err(|error| failed(&error))?;
    if engine.is_native {
        // Models of this size are computed faster than a second thread wakes, and spinning threads would use the processor.
        builder = builder.with_intra_threads(1).map_err(|error| failed(&error))?;
        builder = builder.with_inter_threads(1).map_err(|error| failed(&error))?;
        builder = builder.with_intra_op_spinning(false).map_err(|error| failed(&error))?;
        builder = builder.with_inter_op_spinning(false).map_err(|error| failed(&error))?;
    }
    // The binding panics on types that an engine knows and it does not.
    let committed = caught(|| builder.commit_from_memory(bytes).map_err(|error| failed(&error)));
    committed.map_err(|error| {
        if !error.contains(UNKNOWN_TYPE) {
            return error;
        }
        format!(
            "{} cannot return the type of one of its outputs; let the model return float32, float64 or int64, or name a native \
             ONNX Runtime in ORT_DYLIB_PATH",
            engine.name
        )
    })
}

/// Runs a part of the engine. It is given whatever file there is; a panic on one is a reason to refuse it, and no line in the log.
pub(crate) fn caught<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    bessai_supervision::catch_quietly(run).unwrap_or_else(|panic| {
        tracing::debug!("the engine panicked: {panic}");
        let name = name();
        Err(if panic.contains(UNKNOWN_TYPE) {
            UNKNOWN_TYPE.to_owned()
        } else {
            format!("{name} failed on it; export it with another opset, or name another ONNX Runtime in ORT_DYLIB_PATH")
        })
    })
}
