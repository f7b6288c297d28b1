//! One ONNX session: float32 [1, n] in, the first element of the first output out.

use std::path::Path;
use std::sync::OnceLock;

use ort::environment::Environment;
use ort::session::Session;
use ort::value::{Tensor, TensorElementType, ValueType};

/// Largest model file, in bytes: a dispatch model has kilobytes.
const MODEL_BYTES: u64 = 256 << 20;

/// The engine of this process, chosen at the first model.
static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();

struct Engine {
    environment: Environment,
    name: String,
}

/// What computes, for the log.
pub(super) fn name() -> &'static str {
    match ENGINE.get() {
        Some(Ok(engine)) => &engine.name,
        _ => "no engine",
    }
}

fn engine() -> Result<&'static Engine, String> {
    ENGINE.get_or_init(choose).as_ref().map_err(Clone::clone)
}

fn choose() -> Result<Engine, String> {
    let name = match std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        None => {
            ort::set_api(ort_tract::api());
            "the built-in engine (tract)".to_owned()
        }
        Some(path) => use_native(Path::new(&path))?,
    };
    let environment =
        ort::init().with_telemetry(false).build().map_err(|error| format!("failed to start ONNX: {error}"))?;
    Ok(Engine { environment, name })
}

#[allow(unsafe_code, reason = "loading the native ONNX Runtime is a call into a library that the user names")]
fn use_native(path: &Path) -> Result<String, String> {
    let failed = |error: &dyn std::fmt::Display| format!("failed to load ORT_DYLIB_PATH = {}: {error}", path.display());
    // SAFETY: the file is an ONNX Runtime by the user's word; its entry point has had this signature since 1.0.
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

pub(super) struct Model {
    session: Session,
    input: String,
}

impl Model {
    /// Loads a model and runs it once, so that one that does not fit is found before the first reading.
    pub(super) fn load(path: &Path, inputs: usize) -> Result<Self, String> {
        let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
        if size > MODEL_BYTES {
            return Err(format!("{size} bytes are more than the {MODEL_BYTES} that a model may have"));
        }
        let session = Session::builder(&engine()?.environment)
            .and_then(|mut builder| builder.commit_from_file(path))
            .map_err(|error| format!("the engine cannot load it: {error}"))?;
        let input = check_shape(&session, inputs)?;
        let mut model = Self { session, input };
        model.run(&vec![0.0; inputs]).map_err(|error| format!("a trial run failed: {error}"))?;
        Ok(model)
    }

    pub(super) fn run(&mut self, inputs: &[f32]) -> Result<f64, String> {
        let tensor = Tensor::from_array(([1, inputs.len()], inputs.to_vec())).map_err(|error| error.to_string())?;
        let outputs =
            self.session.run(ort::inputs![self.input.as_str() => tensor]).map_err(|error| error.to_string())?;
        let (_, output) = outputs.iter().next().ok_or("the model has no output")?;
        let (_, values) = output.try_extract_tensor::<f32>().map_err(|error| format!("its output: {error}"))?;
        values.first().copied().map(f64::from).ok_or_else(|| "its output is empty".into())
    }
}

/// The name of the one input, float32 [1, n] with an open or fixed first axis.
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
