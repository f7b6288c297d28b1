//! Generated from `wit/`: the world `transformer` as a guest sees it.
#![allow(missing_docs, unsafe_code, unreachable_pub, clippy::all, clippy::pedantic, clippy::restriction)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "transformer",
    pub_export_macro: true,
    export_macro_name: "export_transformer",
    additional_derives: [PartialEq],
});
