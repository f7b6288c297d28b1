//! One ONNX session: the input is float32 [1, n], the result the first element of the first output.

use std::path::Path;
use std::sync::OnceLock;

use ort::environment::Environment;
use ort::session::Session;
use ort::value::{Tensor, TensorElementType, ValueType};

/// Largest model file, in bytes. Dispatch models have a few kilobytes; this keeps a wrong file out of memory.
const MODEL_BYTES: u64 = 256 << 20;

/// The engine of this process, chosen when the first model is loaded.
static ENGINE: OnceLock<Result<OnnxEngine, String>> = OnceLock::new();

struct OnnxEngine {
    environment: Environment,
    name: String,
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
    let name = match std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        None => {
            ort::set_api(ort_tract::api());
            "the built-in engine (tract)".to_owned()
        }
        Some(path) => use_native(Path::new(&path))?,
    };
    let environment =
        ort::init().with_telemetry(false).build().map_err(|error| format!("failed to start ONNX: {error}"))?;
    Ok(OnnxEngine { environment, name })
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

pub(crate) struct OnnxModel {
    session: Session,
    input: String,
}

impl OnnxModel {
    /// Loads a model and runs it once on zeros, so that one that does not fit is found before the first reading.
    pub(crate) fn load(path: &Path, inputs: usize) -> Result<Self, String> {
        bessai_files::check(path, MODEL_BYTES).map_err(|error| error.to_string())?;
        let session = Session::builder(&engine()?.environment)
            .and_then(|mut builder| builder.commit_from_file(path))
            .map_err(|error| format!("the engine cannot load it: {error}"))?;
        let input = check_shape(&session, inputs)?;
        let mut model = Self { session, input };
        model.run(&vec![0.0; inputs]).map_err(|error| format!("it fails on an input of zeros: {error}"))?;
        Ok(model)
    }

    pub(crate) fn run(&mut self, inputs: &[f32]) -> Result<f64, String> {
        let tensor = Tensor::from_array(([1, inputs.len()], inputs.to_vec())).map_err(|error| error.to_string())?;
        let outputs =
            self.session.run(ort::inputs![self.input.as_str() => tensor]).map_err(|error| error.to_string())?;
        let (_, output) = outputs.iter().next().ok_or("the model has no output")?;
        let (_, values) =
            output.try_extract_tensor::<f32>().map_err(|error| format!("its output is not float32: {error}"))?;
        values.first().copied().map(f64::from).ok_or_else(|| "its output is empty".into())
    }
}

/// Returns the name of the only input, which is float32 [1, n] with an open or fixed first axis.
fn check_shape(session: &Session, inputs: usize) -> Result<String, String> {
    let [input] = session.inputs() else {
        return Err(format!("it takes {} tensors, not one", session.inputs().len()));
    };
    if let ValueType::Tensor { ty, shape, .. } = input.dtype() {
        let width = shape.last().copied().unwrap_or(0);
        let fits = shape.len() == 2 && (width < 0 || usize::try_from(width) == Ok(inputs));
        if *ty != TensorElementType::Float32 || !fits {
            return Err(format!("its input {} is {ty} {shape:?}, not float32 [1, {inputs}]", input.name()));
        }
    }
    Ok(input.name().to_owned())
}
