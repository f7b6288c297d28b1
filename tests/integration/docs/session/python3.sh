#!/usr/bin/env bash
# Python, with a virtual environment in which scripts/build-examples has installed the same packages.
set -euo pipefail

examples="${XDG_CACHE_HOME:-$HOME/.cache}/bessai-edge/examples"
if [ "${1:-} ${2:-}" = "-m venv" ]; then
  ln -s "$examples/python" "$3"
else
  # The program behind this one on the path.
  PATH=${PATH#*:} exec python3 "$@"
fi
