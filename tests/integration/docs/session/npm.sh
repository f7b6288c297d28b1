#!/usr/bin/env bash
# The packages that scripts/build-examples has installed from the same list.
set -euo pipefail

[ "$1" = ci ]
examples="${XDG_CACHE_HOME:-$HOME/.cache}/bessai-edge/examples"
cmp package-lock.json "$examples/javascript/installed"
ln -s "$examples/javascript/node_modules" node_modules
