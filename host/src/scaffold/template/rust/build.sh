#!/usr/bin/env bash
# Compiles this plugin to {{name}}.wasm, beside this file. Arguments such as --offline go to cargo.
set -euo pipefail
cd "$(dirname "$0")"

target=wasm32-wasip2
# Without WASI: `SystemTime::now()` panics, and `println!` prints nothing. Events carry their time all the same.
fallback=wasm32-unknown-unknown
fail() {
  echo "build.sh: $*" >&2
  exit 1
}

# Whether Debian's rustc-web and the source of its standard library are installed.
distribution_compiles() {
  local found
  [ -x /usr/bin/rustc ] && [ -f /usr/lib/rustlib/src/rust/library/std/Cargo.toml ] || return 1
  found=$(/usr/bin/rustc --version | cut -d ' ' -f 2)
  [ "$(printf '%s\n' 1.85 "$found" | sort -V | head -n 1)" = 1.85 ]
}

{ command -v cargo && command -v rustc; } >/dev/null || fail "Rust is missing: install rustup (rust-lang.org/tools/install)"
sysroot=$(rustc --print sysroot)
# The toolchain's folder of linkers: wasm-component-ld and rust-lld.
linkers="$sysroot/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin"
[ -x "$linkers/wasm-component-ld" ] || command -v wasm-component-ld >/dev/null ||
  fail "this Rust toolchain has no wasm-component-ld: use rustup's, or run 'cargo install --locked wasm-component-ld'"

options=(--release --target-dir target)
if [ -d "$sysroot/lib/rustlib/$target/lib" ]; then
  :
elif [ -d "$sysroot/lib/rustlib/$fallback/lib" ]; then
  echo "build.sh: $target is not installed ('rustup target add $target'); building for $fallback, without a clock" >&2
  target=$fallback
elif distribution_compiles; then
  echo "build.sh: $target is not installed ('rustup target add $target'); building with Debian's compiler, without a clock" >&2
  target=$fallback
  # Without rustup's target, the distribution's compiler builds the standard library from source.
  PATH="$linkers:$PATH"
  export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
  options+=("-Zbuild-std=std,panic_abort")
  # The standard library's dependencies come with its source; cargo can use them as long as this project needs nothing from crates.io.
  # A project that does comes without a lock file.
  vendored=/usr/lib/rustlib/src/rust/library/vendor
  if [ -d "$vendored" ] && [ -f Cargo.lock ] && ! grep -q '^source = ' Cargo.lock; then
    options+=(--config 'source.crates-io.replace-with="vendored"' --config "source.vendored.directory=\"$vendored\"")
  fi
else
  fail "no compiler for $target: run 'rustup target add $target', or on Debian 'apt-get install rustc-web rust-web-src'"
fi

cargo build --target "$target" "${options[@]}" "$@"
# Replaced by a rename, as a gateway may be watching this folder.
cp "target/$target/release/{{crate}}.wasm" .new.wasm
mv .new.wasm "{{name}}.wasm"
echo "built: {{name}}.wasm"
