//! Tests of the whole program with real peers: Modbus devices, mosquitto, files and signals.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::float_cmp,
    clippy::new_without_default,
    clippy::disallowed_methods
)]

mod anomaly;
mod architecture;
mod aws_iot;
mod azure;
mod broker;
mod check;
mod command_line;
mod commands;
mod commissioning;
mod configuration;
mod control;
mod delivery;
mod device;
mod device_values;
mod disk;
mod docs;
mod drop_in;
mod dumps;
mod example_token;
mod feeds;
mod hivemq;
mod home_assistant;
mod hostile;
mod inference;
mod journal;
mod json_formats;
mod kinds;
mod limits;
mod log;
mod messages;
mod modbus;
mod modbus_server;
mod plugin_commands;
mod plugin_languages;
mod private;
mod program;
mod proxy;
mod pymodbus;
mod register_maps;
mod requeue;
mod second_broker;
mod sessions;
mod sign_in;
mod sparkplug;
mod supervision;
mod support;
mod template;
mod tidy;
mod tls;
mod wasi;
