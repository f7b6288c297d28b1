#!/usr/bin/env bash
# Python, with a virtual environment in which scripts/build-examples has installed the same packages. A project in C has
# others.
set -euo pipefail

examples="${XDG_CACHE_HOME:-$HOME/.cache}/bessai-edge/examples"
if [ "${1:-} ${2:-}" = "-m venv" ]; then
  case $PWD in *-c) tools=c ;; *) tools=python ;; esac
  ln -s "$examples/$tools" "$3"
else
  # The program behind this one on the path.
  PATH=${PATH#*:} exec python3 "$@"
fi
