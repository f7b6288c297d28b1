#!/usr/bin/env bash
# Compiles this plugin to {{name}}.wasm, beside this file. Arguments go to cargo, such as --offline.
set -euo pipefail
cd "$(dirname "$0")"

target=wasm32-unknown-unknown
fail() {
  echo "build.sh: $*" >&2
  exit 1
}

# Debian's compiler for the web, and the source of its standard library.
distribution_compiles() {
  local found
  [ -x /usr/bin/rustc ] && [ -f /usr/lib/rustlib/src/rust/library/std/Cargo.toml ] || return 1
  found=$(/usr/bin/rustc --version | cut -d ' ' -f 2)
  [ "$(printf '%s\n' 1.85 "$found" | sort -V | head -n 1)" = 1.85 ]
}

{ command -v cargo && command -v rustc; } >/dev/null || fail "Rust is missing: install rustup (rust-lang.org/tools/install)"
sysroot=$(rustc --print sysroot)
# Where a toolchain keeps the linkers wasm-component-ld and rust-lld.
linkers="$sysroot/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin"
[ -x "$linkers/wasm-component-ld" ] || command -v wasm-component-ld >/dev/null ||
  fail "this Rust has no wasm-component-ld: take rustup's Rust, or run 'cargo install --locked wasm-component-ld'"

options=(--release --target "$target" --target-dir target)
if [ -d "$sysroot/lib/rustlib/$target/lib" ]; then
  :
elif distribution_compiles; then
  # Without rustup's target the distribution's compiler builds the standard library itself.
  PATH="$linkers:$PATH"
  export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
  options+=("-Zbuild-std=std,panic_abort")
  # What the standard library is made of comes with its source. While this project takes nothing from crates.io, cargo looks there.
  parts=/usr/lib/rustlib/src/rust/library/vendor
  if [ -d "$parts" ] && ! grep -q '^source = ' Cargo.lock; then
    options+=(--config 'source.crates-io.replace-with="parts"' --config "source.parts.directory=\"$parts\"")
  fi
else
  fail "nothing here compiles for $target: run 'rustup target add $target', or on Debian 'apt-get install rustc-web rust-web-src'"
fi

cargo build "${options[@]}" "$@"
# Moved whole, as a gateway may watch this folder.
cp "target/$target/release/{{crate}}.wasm" .new.wasm
mv .new.wasm "{{name}}.wasm"
echo "built: {{name}}.wasm"
