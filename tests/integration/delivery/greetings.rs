//! Brokers that answer a sign-in badly, at first or after a while, each with a feed of its own.

use bessai_simulator::scripted::{Greeting, Script};

use super::scripted::{Customers, HESITANT};

/// MQTT 5.0 §3.2.2.2.
const BAD_CREDENTIALS: u8 = 0x86;
const NOT_AUTHORIZED: u8 = 0x87;
const SERVER_UNAVAILABLE: u8 = 0x88;
const SERVER_BUSY: u8 = 0x89;

const BAD: [(&str, Greeting); 7] = [
    ("credentials", Greeting::Refuse(BAD_CREDENTIALS)),
    ("unauthorized", Greeting::Refuse(NOT_AUTHORIZED)),
    ("unavailable", Greeting::Refuse(SERVER_UNAVAILABLE)),
    ("busy", Greeting::Refuse(SERVER_BUSY)),
    ("closing", Greeting::Close),
    ("greeting-and-closing", Greeting::WelcomeAndClose),
    ("garbage", Greeting::WelcomeAndGarbage),
];

/// Every bad greeting, in both versions.
fn bad() -> Vec<(String, Script)> {
    let both = |(name, greeting): (&str, Greeting)| {
        ["5", "3.1.1"].map(|version| (format!("{name}-{}", version.replace('.', "")), Script::greeting(greeting)))
    };
    BAD.into_iter().flat_map(both).collect()
}

#[tokio::test]
async fn brokers_that_are_bad_at_first() {
    let mut customers = Customers::start(bad()).await;
    customers.each_had(|seen| seen.connections >= 2).await;
    customers.follow(&Script::default());
    customers.all().await;
}

#[tokio::test]
async fn brokers_that_turn_bad() {
    let scripts = bad();
    let mut customers =
        Customers::start(scripts.iter().map(|(name, _)| (name.clone(), Script::acknowledging(HESITANT))).collect())
            .await;
    customers.all().await;
    for (broker, (_, script)) in customers.brokers().zip(&scripts) {
        broker.follow(script.clone());
        broker.cut();
    }
    customers.each_had(|seen| seen.connections >= 2).await;
    customers.follow(&Script::default());
    customers.all().await;
}
