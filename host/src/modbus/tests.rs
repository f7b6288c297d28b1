//! The room against the simulator.
