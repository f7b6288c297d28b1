//! Puts the default feed's component into the program.

use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-env-changed=BESSAI_JSON_WASM");
    let given = std::env::var_os("BESSAI_JSON_WASM").map(PathBuf::from);
    // Of this run: a shared target folder may hold a script that was compiled for another checkout.
    let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let built = package.join("../dist/plugins/bessai-json.wasm");
    let component = given.unwrap_or(built);
    println!("cargo:rerun-if-changed={}", component.display());
    assert!(
        component.is_file(),
        "{} is missing: run scripts/setup and scripts/build-guests, or set BESSAI_JSON_WASM",
        component.display()
    );
    println!("cargo:rustc-env=BESSAI_JSON_WASM={}", component.display());
}
