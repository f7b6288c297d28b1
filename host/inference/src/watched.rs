//! Whether a model's file or its manifest has changed.

use std::path::Path;
use std::time::{Duration, SystemTime};

use bessai_files::Access;

/// How long a file system may take to answer. While it takes longer, the files count as unchanged.
const LOOK_LIMIT: Duration = Duration::from_secs(1);

/// What tells two versions of a file apart; none if there is no file.
type Signature = Option<(u64, SystemTime)>;

/// The files of one model.
#[derive(Default)]
pub(crate) struct WatchedFiles {
    /// When the model was last loaded.
    loaded: [Signature; 2],
    /// At the last look.
    seen: [Signature; 2],
}

impl WatchedFiles {
    /// Looks at the files; true once for a change that was there at the look before, too, so that a file that is still being
    /// written is not loaded.
    pub(crate) fn has_changed(&mut self, model: &str, file: &Path) -> bool {
        let Some(now) = look(model, file) else { return false };
        let is_settled = now == std::mem::replace(&mut self.seen, now);
        if is_settled && now != self.loaded {
            self.loaded = now;
            return true;
        }
        false
    }

    /// The model is loaded from the files as they are.
    pub(crate) fn note_loaded(&mut self, model: &str, file: &Path) {
        if let Some(now) = look(model, file) {
            (self.loaded, self.seen) = (now, now);
        }
    }
}

fn look(model: &str, file: &Path) -> Option<[Signature; 2]> {
    let files = [file.to_owned(), file.with_extension("toml")];
    let signature = |file: &Path| -> Signature {
        let metadata = std::fs::metadata(file).ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    };
    Access::run(&format!("model {model}"), LOOK_LIMIT, move || files.each_ref().map(|file| signature(file))).ok()
}
