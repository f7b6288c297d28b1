//! Nothing of its own: the integration tests are in `integration/`, the benchmark in `src/bin/bench/`.
