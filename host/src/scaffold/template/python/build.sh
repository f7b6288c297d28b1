#!/usr/bin/env bash
# Compiles this plugin to {{name}}.wasm, beside this file.
#
# The first run installs componentize-py, checked against the digests in requirements.txt, from PyPI into venv (72 MB on disk).
# After that no network is needed.
set -euo pipefail
cd "$(dirname "$0")"

fail() {
  echo "build.sh: $*" >&2
  exit 1
}

command -v python3 >/dev/null || fail "Python 3.10 or newer is missing: install python3 and python3-venv"
if ! cmp -s requirements.txt venv/installed.txt; then
  echo "build.sh: installing componentize-py from PyPI into venv (72 MB on disk)"
  python3 -m venv venv || fail "Python cannot make a virtual environment: on Debian install python3-venv"
  venv/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.txt
  cp requirements.txt venv/installed.txt
fi
compile=(venv/bin/componentize-py --wit-path vendor/wit --world transformer)
# The contract's types, for the editor.
[ bindings -nt vendor/wit/types.wit ] || "${compile[@]}" bindings bindings
# A copy, because Python writes its bytecode beside the source.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp ./*.py "$work"
"${compile[@]}" componentize --python-path "$work" --output .new.wasm plugin
# Replaced by a rename, as a gateway may be watching this folder.
mv .new.wasm "{{name}}.wasm"
echo "built: {{name}}.wasm"
