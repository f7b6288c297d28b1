//! The function of the MQTT fuzz target with damaged packets: a bounded run of what `scripts/fuzz` does without end.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

#[path = "fuzz/bodies.rs"]
mod bodies;
#[allow(dead_code, reason = "shared by the tests of several crates")]
#[path = "../../../fuzz/mutations.rs"]
mod mutations;
#[path = "fuzz/seeds.rs"]
mod seeds;

#[test]
fn the_seeds_are_sessions() {
    let acknowledged: Vec<_> = seeds::hostile_broker().iter().filter_map(|seed| bodies::acknowledged(seed)).collect();
    assert!(acknowledged.len() > 10, "the sign-in fails with most seeds");
    // A message without an acknowledgement counts as soon as it is sent.
    assert!(acknowledged.iter().max() > Some(&0), "no seed acknowledges a message");
}

#[test]
fn any_packets_end_the_session() {
    let words = ["\x20\x02\0\0", "\x40\x02\0\x01", "\u{7f}\u{7f}\u{7f}\x7f", "\0\x04MQTT", "\x1f\0\x03abc"];
    mutations::run(&seeds::hostile_broker(), &words, bodies::hostile_broker);
}

#[test]
fn any_answer_of_a_proxy_ends_the_sign_in() {
    let words = ["HTTP/1.1 ", "\r\n\r\n", "Proxy-Authenticate: ", " 200 ", " 407 ", " 100 "];
    mutations::run(&seeds::hostile_proxy(), &words, bodies::hostile_proxy);
}
