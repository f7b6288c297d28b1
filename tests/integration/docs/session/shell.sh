# What a block of the documentation runs in. Functions stand for commands that a test must not run, or cannot.

[ ! -f "$DOCS_STATE" ] || cd "$(cat "$DOCS_STATE")"

# The program's commands within the arguments of something else are real ones.
look_at() {
  while [ $# -gt 0 ]; do
    if [ "$1" = bessai-edge ] && [[ "${2:-}" =~ ^(check|health|run)$ ]]; then
      "$DOCS_PROGRAM" "$2" --help >/dev/null
    fi
    shift
  done
}

for name in $DOCS_NOT_RUN; do
  eval "$name() { look_at \"\$@\"; }"
done

cargo() { [ -f Cargo.toml ]; }

docker() {
  case $1 in
    build) [ -f Dockerfile ] ;;
    run | exec | logs) look_at "$@" ;;
    *) return 1 ;;
  esac
}

mosquitto_sub() { [[ " $* " = *" SITE-CL-001/# "* ]]; }

# The port that every gateway has by default is the test's.
curl() {
  [[ " $* " = *" http://127.0.0.1:8000/health "* ]]
  bessai-edge health
}
