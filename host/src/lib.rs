//! The gateway between a battery plant and everyone who wants its data.
//!
//! The way of a sample: [`modbus`] reads registers into a frame, [`pipeline`] judges it and appends it to the
//! [`journal`], each [`feed`] runs it through its [`plugin`] and hands the messages to [`mqtt`]. These rooms do not name
//! each other; [`app`] connects them.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::float_cmp, clippy::panic, clippy::expect_used)
)]

pub mod cli;
pub mod config;

pub mod app;

pub mod feed;
pub mod journal;
pub mod modbus;
pub mod mqtt;
pub mod pipeline;

pub mod inference;
pub mod plugin;
pub mod quarantine;
pub mod tls;
pub mod watch;

pub mod demo;
pub mod health;
pub mod scaffold;
pub mod testing;
