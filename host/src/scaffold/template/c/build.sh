#!/usr/bin/env bash
# Compiles this plugin to {{name}}.wasm, beside this file.
#
# The first run installs the C compiler of Zig and wasm-tools, checked against the digests in requirements.txt, from PyPI into
# venv (350 MB on disk). After that no network is needed.
set -euo pipefail
cd "$(dirname "$0")"

fail() {
  echo "build.sh: $*" >&2
  exit 1
}

command -v python3 >/dev/null || fail "Python 3.9 or newer is missing: install python3 and python3-venv"
if ! cmp -s requirements.txt venv/installed.txt; then
  echo "build.sh: installing ziglang and wasm-tools from PyPI into venv (350 MB on disk)"
  python3 -m venv venv || fail "Python cannot make a virtual environment: on Debian install python3-venv"
  venv/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.txt
  cp requirements.txt venv/installed.txt
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# -g: a trap names the file and the line. Without it the component has 80 kB instead of 650.
venv/bin/python3 -m ziglang cc -target wasm32-wasi -mexec-model=reactor -O2 -g -Wall -Wextra -I bindings \
  ./*.c bindings/transformer.c -o "$work/core.wasm"
venv/bin/wasm-tools component embed vendor/wit --world transformer "$work/core.wasm" -o "$work/embedded.wasm"
venv/bin/wasm-tools component new "$work/embedded.wasm" --adapt wasi_snapshot_preview1=bindings/adapter.wasm -o .new.wasm
# Replaced by a rename, as a gateway may be watching this folder.
mv .new.wasm "{{name}}.wasm"
echo "built: {{name}}.wasm"
