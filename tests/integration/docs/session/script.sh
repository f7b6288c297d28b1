#!/usr/bin/env bash
# A script of the checkout: it exists and knows its options; the demo alone is run.
set -euo pipefail

name=$(basename "$0")
if [ "$name" = demo ]; then
  [ $# -gt 0 ] || set -- --for 3s
  exec bessai-edge demo "$@"
fi
[ -x "$DOCS_ROOT/scripts/$name" ]
for option in "$@"; do
  case $option in
    --*) grep -q -r -e "${option%%=*}" "$DOCS_ROOT/scripts/$name" "$DOCS_ROOT/tests/bench/main.rs" ;;
  esac
done
