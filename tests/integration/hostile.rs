//! Plugins that fail, hang, flood or lie, each beside the default feed, which must deliver every reading in order.

mod components;
mod customer;
mod floods;
mod quarantine;
mod reserved_topics;
mod switched_off;
mod time_limits;
mod together;
