//! Values in, values out: what a site, a profile, a frame, a message and a safe battery are.
//!
//! This crate knows no clock, file, socket, runtime or engine; it is where the tests are cheapest. The words are those of
//! `wit/types.wit`; a value that reaches a plugin has the same shape here.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::float_cmp, clippy::panic, clippy::expect_used)
)]

pub mod event;
pub mod message;
pub mod plan;
pub mod profile;
pub mod record;
pub mod register;
pub mod report;
pub mod safety;
pub mod session;
pub mod settings;
pub mod site;
pub mod state;
pub mod sunspec;
pub mod time;
pub mod topic;
pub mod view;
pub mod write;
