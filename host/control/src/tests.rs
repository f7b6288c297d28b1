//! Sequences of inputs against a simulated device.

mod bench;
mod properties;
mod recipes;
mod sequences;
