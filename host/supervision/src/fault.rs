//! Faults that tests cause in a running program: only with the feature `fault-injection`, which no release has.

/// Does what a file wants that has the name of this task or thread (with `_` for `/`), in the folder that the variable
/// `EDGE_TEST_FAULTS` names: `panic`, or `stall` and a number of milliseconds. The file is removed first, so that it works
/// once.
#[cfg(feature = "fault-injection")]
#[allow(clippy::disallowed_methods, clippy::panic, reason = "blocks and panics on purpose")]
pub fn point(name: &str) {
    use std::path::PathBuf;
    use std::sync::LazyLock;
    use std::time::Duration;

    static FOLDER: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var_os("EDGE_TEST_FAULTS").map(PathBuf::from));
    let Some(folder) = FOLDER.as_ref() else { return };
    let file = folder.join(name.replace('/', "_"));
    let Ok(fault) = std::fs::read_to_string(&file) else { return };
    if std::fs::remove_file(file).is_err() {
        return;
    }
    match fault.strip_prefix("stall ").and_then(|milliseconds| milliseconds.parse().ok()) {
        Some(milliseconds) => std::thread::sleep(Duration::from_millis(milliseconds)),
        None => panic!("a test wants {name} to panic"),
    }
}

/// Does nothing: the program is not built for such tests.
#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub fn point(_name: &str) {}
