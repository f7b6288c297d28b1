//! The values and rules of the gateway: sites, profiles, events, messages, safety, and the interfaces of a feed.
//!
//! This crate uses no clock, file, socket, runtime or engine. Its terms are those of `wit/types.wit`, and a value that
//! is passed to a plugin has the same structure here.

#![forbid(clippy::disallowed_methods)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::float_cmp, clippy::panic, clippy::expect_used)
)]

pub mod address;
pub mod anomaly;
pub mod blank_model;
pub mod broker_limits;
pub mod command;
pub mod counter;
pub mod device;
pub mod dispatch;
pub mod event;
pub mod exchange;
pub mod journal;
pub mod message;
pub mod outage;
pub mod plan;
pub mod ports;
pub mod profile;
pub mod proposal;
pub mod record;
pub mod refusal;
pub mod register;
pub mod relay;
pub mod report;
pub mod safety;
pub mod session;
pub mod settings;
pub mod site;
pub mod state;
pub mod sunspec;
pub mod text;
pub mod time;
pub mod topic;
pub mod view;
pub mod write;
