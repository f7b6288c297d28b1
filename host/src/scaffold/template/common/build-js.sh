#!/usr/bin/env bash
# Compiles this plugin to {{name}}.wasm, beside this file.
#
# The first run downloads the tools that package-lock.json lists, with their digests, from npm into node_modules (190 MB on
# disk). After that no network is needed.
set -euo pipefail
cd "$(dirname "$0")"

fail() {
  echo "build.sh: $*" >&2
  exit 1
}

{ command -v node && command -v npm; } >/dev/null || fail "Node.js 20 or newer is missing: install it from nodejs.org"
if ! cmp -s package-lock.json node_modules/.installed.json; then
  echo "build.sh: downloading the tools from npm into node_modules (190 MB on disk)"
  npm ci --ignore-scripts --no-audit --no-fund
  cp package-lock.json node_modules/.installed.json
fi
# The contract's types, for the editor and for the check of types.
[ types -nt vendor/wit/types.wit ] || node_modules/.bin/jco guest-types vendor/wit --world-name transformer --out-dir types --quiet
node_modules/.bin/tsc
# Replaced by a rename, as a gateway may be watching this folder.
node build.mjs {{source}} vendor/wit .new.wasm
mv .new.wasm "{{name}}.wasm"
echo "built: {{name}}.wasm"
