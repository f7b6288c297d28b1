//! Folders of models: each `.onnx` file in one is a model with the folder's settings, named after the file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bessai_files::Access;

use crate::ModelSettings;

/// How long a file system may take to answer. While it takes longer, the folder counts as unchanged.
const LIST_LIMIT: Duration = Duration::from_secs(1);
/// The most models of a folder, by name: each has a thread and memory of its own.
const MOST_MODELS: usize = 64;

/// The models of the settings, those in folders each by itself.
pub fn listed(models: &[ModelSettings]) -> Vec<ModelSettings> {
    relisted(models, &[])
}

/// The same; a folder that cannot be looked at has the models that it had before.
pub(crate) fn relisted(models: &[ModelSettings], before: &[ModelSettings]) -> Vec<ModelSettings> {
    let mut found: Vec<ModelSettings> = Vec::new();
    for settings in models {
        let of_settings = if settings.is_folder { of_folder(settings, before) } else { vec![settings.clone()] };
        for model in of_settings {
            // A file of the settings precedes one of a folder, and a folder one that comes later.
            if found.iter().all(|earlier| earlier.name != model.name) {
                found.push(model);
            }
        }
    }
    found
}

fn of_folder(settings: &ModelSettings, before: &[ModelSettings]) -> Vec<ModelSettings> {
    let folder = settings.file.clone();
    let files = Access::run(&format!("models of {}", folder.display()), LIST_LIMIT, move || files(&folder));
    let Ok(files) = files else {
        return before.iter().filter(|model| model.file.parent() == Some(settings.file.as_path())).cloned().collect();
    };
    let named = |file: PathBuf| {
        let name = file.file_stem()?.to_str()?.to_owned();
        Some(ModelSettings { name, file, is_folder: false, ..settings.clone() })
    };
    files.into_iter().filter_map(named).take(MOST_MODELS).collect()
}

/// The models' files in a folder, in the order of their names; none if there is no folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_model = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "onnx");
    let mut files: Vec<_> = entries.map(|entry| entry.path()).filter(is_model).collect();
    files.sort();
    files
}
