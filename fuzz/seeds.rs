//! Writes a target's valid inputs to the folder that scripts/fuzz names, before the fuzzer reads it.

/// The variable that names the folder.
const FOLDER: &str = "FUZZ_SEEDS";

pub fn write(seeds: &[Vec<u8>]) {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    for (number, seed) in seeds.iter().enumerate() {
        let path = std::path::Path::new(&folder).join(format!("seed-{number}"));
        std::fs::write(&path, seed).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}
