//! `plugin test` and `plugin replay` with sign-ins and messages from the broker.

use std::process::Output;

use crate::support::gateway::Setup;
use crate::support::guests;

const EVENTS: &str = concat!(
    r#"{"at":"2025-02-21T15:20:00Z","site":{"id":"S","devices":[{"name":"battery"}],"sources":[{"device":"battery","#,
    r#""period_ms":5000,"channels":[{"name":"power_kw","unit":"kW"}]}]}}"#,
    "\n",
    r#"{"at":"2025-02-21T15:20:05Z","frame":{"source":0,"values":[1.0]}}"#,
    "\n",
    r#"{"at":"2025-02-21T15:20:30Z","frame":{"source":0,"values":[2.0]}}"#,
);

const SESSION: &str = concat!(
    r#"{"at":"2025-02-21T15:20:01Z","connect":{}}"#,
    "\n",
    r#"{"at":"2025-02-21T15:20:02Z","connected":{}}"#,
    "\n",
    r#"{"at":"2025-02-21T15:20:10Z","receive":{"topic":"S/cmd/a","text":"hello","retained":true}}"#,
    "\n",
    r#"{"at":"2025-02-21T15:20:11Z","receive":{"topic":"S/cmd/a","text":"write a1"}}"#,
    "\n",
    r#"{"at":"2025-02-21T15:20:12Z","receive":{"topic":"S/cmd/a","text":"assign hub-7"}}"#,
    "\n",
    r#"{"at":"2025-02-21T15:20:13Z","connect":{}}"#,
);

/// In the order of time: each call comes after the events up to it.
const MESSAGES: &str = concat!(
    r#"{"topic":"S/birth","text":""}"#,
    "\n",
    r#"{"topic":"S/frame","json":2}"#,
    "\n",
    r#"{"topic":"S/answer","text":"1 S/cmd/a hello retained"}"#,
    "\n",
    r#"{"topic":"S/answer","text":"a1 Outcome::Refused(\"[control] is off: this gateway writes no set-points\")"}"#,
    "\n",
    r#"{"topic":"S/frame","json":3}"#,
    "\n",
);

const WANTED: &str = concat!(
    r#"{"login":{"clean_start":true,"provisioning":true}}"#,
    "\n",
    r#"{"subscriptions":[{"filter":"S/cmd/#","qos":1}]}"#,
    "\n",
    r#"{"write":{"device":"battery","channel":"power_kw","value":20.0,"reference":"a1"}}"#,
    "\n",
    r#"{"sign_in_again":true}"#,
    "\n",
    r#"{"login":{"clean_start":true}}"#,
    "\n",
);

fn setup() -> Setup {
    let case = "[config]\nprovision = \"yes\"\n[rights]\nsubscribe = [\"S/cmd/#\"]\n";
    let setup = Setup::new().file("commander.wasm", guests::commander()).file("cases/first/case.toml", case);
    setup.file("cases/first/events.jsonl", EVENTS).file("cases/first/session.jsonl", SESSION)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_case_expects_messages_logins_and_set_points() {
    let setup = setup().file("cases/first/expected.jsonl", MESSAGES).file("cases/first/expected-session.jsonl", WANTED);
    let output = setup.output(&["plugin", "test", "commander.wasm"]);
    assert!(output.status.success(), "{}", text(&output));
    let wrong = WANTED.replace("\"value\":20.0", "\"value\":21");
    let setup = setup.file("cases/first/expected-session.jsonl", wrong);
    let output = setup.output(&["plugin", "test", "commander.wasm"]);
    assert!(text(&output).contains("session line 3: json.write.value: expected 21, got 20.0"), "{}", text(&output));
    let output = setup.output(&["plugin", "test", "commander.wasm", "--update"]);
    assert!(text(&output).contains("wrote cases/first/expected-session.jsonl"), "{}", text(&output));
    let written = std::fs::read_to_string(setup.folder().join("cases/first/expected-session.jsonl")).unwrap();
    assert_eq!(written, WANTED);
}

#[test]
fn a_case_without_the_right_to_subscribe_fails() {
    let setup = setup().file("cases/first/case.toml", "").file("cases/first/expected.jsonl", MESSAGES);
    let output = setup.output(&["plugin", "test", "commander.wasm"]);
    let expected = "not subscribed to S/cmd/#: the feed has no right to it: add it to [rights] subscribe";
    assert!(text(&output).contains(expected), "{}", text(&output));
}

#[test]
fn a_replay_shows_what_a_session_leads_to() {
    let setup = setup().file("acme.toml", "[config]\nprovision = \"yes\"\n[rights]\nsubscribe = [\"S/#\"]\n");
    let files = ["--events", "cases/first/events.jsonl", "--session", "cases/first/session.jsonl"];
    let arguments = [&["plugin", "replay", "commander.wasm", "--settings", "acme.toml"][..], &files].concat();
    let output = setup.output(&arguments);
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{MESSAGES}{WANTED}"), "{}", text(&output));
    assert!(output.status.success());
}

#[test]
fn a_case_contains_proposals_and_their_outcomes() {
    let write = r#""proposer":"operator","device":"battery","channel":"power_kw","unit":"kW""#;
    let events = format!(
        "{}\n{}\n{}\n{}\n",
        EVENTS.lines().next().unwrap(),
        format_args!(
            r#"{{"sequence":7,"at":"2025-02-21T15:20:05Z","write":{{{write},"value":-5,"until":"2025-02-21T15:21:05Z"}}}}"#
        ),
        format_args!(
            r#"{{"at":"2025-02-21T15:20:06Z","write":{{{write},"value":-5,"proposed":7,"outcome":{{"verified":-5}}}}}}"#
        ),
        format_args!(r#"{{"at":"2025-02-21T15:20:07Z","write":{{{write},"proposed":7,"outcome":"expired"}}}}"#),
    );
    let expected = concat!(
        r#"{"topic":"S/write","text":"made operator battery/power_kw Some(Value::Number(-5.0)) kW  None"}"#,
        "\n",
        r#"{"topic":"S/write","text":"1 operator battery/power_kw Some(Value::Number(-5.0)) kW  Some(Outcome::Verified(Value::Number(-5.0)))"}"#,
        "\n",
        r#"{"topic":"S/write","text":"2 operator battery/power_kw None kW  Some(Outcome::Expired)"}"#,
        "\n",
    );
    let setup = Setup::new().file("commander.wasm", guests::commander()).file("cases/first/events.jsonl", events);
    let output = setup.file("cases/first/expected.jsonl", expected).output(&["plugin", "test", "commander.wasm"]);
    assert!(output.status.success(), "{}", text(&output));
}
