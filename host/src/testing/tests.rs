//! Whole cases, each with its files in a temporary folder.

use std::path::Path;

use bessai_domain::event::EventBody;
use bessai_domain::message::Qos;

use super::expected::Expectation;
use super::verdict::CaseVerdict;
use super::*;

const SITE: &str = r#"{"at":"2025-02-21T15:20:00Z","site":{"id":"S","devices":[{"name":"battery"},{"name":"meter"}],"sources":[{"device":"battery","period_ms":1000,"channels":[{"name":"soc_pct","unit":"%"},{"name":"limit_kw","unit":"kW","writable":true}]}]}}"#;
const HEARTBEAT: &str = r#"{"at":"2025-02-21T15:20:01Z","heartbeat":{}}"#;
const UPDATE: TestOptions = TestOptions { update: true };

/// A temporary folder with files.
struct CaseFolder(tempfile::TempDir);

impl CaseFolder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    /// The files of one case, whose events are a site and a heartbeat unless the files contain others.
    fn case(files: &[(&str, &str)]) -> Self {
        let folder = Self::new(files);
        if !folder.path().join("events.jsonl").exists() {
            std::fs::write(folder.path().join("events.jsonl"), format!("{SITE}\n{HEARTBEAT}\n")).unwrap();
        }
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn text(&self, file: &str) -> Option<String> {
        std::fs::read_to_string(self.path().join(file)).ok()
    }

    fn find(&self, options: &TestOptions) -> Vec<TestCase> {
        find(self.path(), options).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
    }

    fn mistakes(&self) -> Vec<String> {
        let mistakes = find(self.path(), &TestOptions::default()).err().expect("no mistake");
        let folder = format!("{}/", self.path().display());
        mistakes.iter().map(|mistake| mistake.to_string().replace(&folder, "")).collect()
    }

    fn run(&self, options: &TestOptions, outcome: &RunOutcome) -> CaseVerdict {
        let summary = super::run(&self.find(options), options, &mut |_| outcome.clone());
        summary.cases.into_iter().next().unwrap().verdict
    }
}

fn mistakes_of(settings: &str) -> Vec<String> {
    CaseFolder::case(&[("case.toml", settings)]).mistakes()
}

fn message(payload: &str) -> Message {
    let (topic, payload) = ("a".into(), payload.into());
    Message { topic, payload, qos: Qos::AtLeastOnce, retain: false, properties: None }
}

fn outcome_with(payloads: &[&str]) -> RunOutcome {
    RunOutcome {
        messages: payloads.iter().map(|payload| message(payload)).collect(),
        calls: 1,
        ..RunOutcome::default()
    }
}

fn failed(failure: &str) -> RunOutcome {
    RunOutcome { failure: Some(failure.into()), ..RunOutcome::default() }
}

#[test]
fn cases_are_found_by_name() {
    let empty = [("expected.jsonl", "")];
    let folder = CaseFolder::case(&empty);
    let cases = folder.find(&TestOptions::default());
    assert_eq!(cases.len(), 1);
    assert_eq!(cases[0].name, folder.path().file_name().unwrap().to_str().unwrap());
    let folder = CaseFolder::new(&[
        ("b/events.jsonl", SITE),
        ("a/events.jsonl", SITE),
        ("c/y/events.jsonl", SITE),
        ("c/x/events.jsonl", SITE),
        ("c/x/deep/events.jsonl", "no case of its own"),
        (".hidden/events.jsonl", "no case"),
        ("d/readme", "no case"),
    ]);
    let names: Vec<_> = folder.find(&TestOptions::default()).into_iter().map(|case| case.name).collect();
    assert_eq!(names, ["a", "b", "c/x", "c/y"]);
    let mistakes = CaseFolder::new(&[("a/event.jsonl", SITE)]).mistakes();
    assert!(mistakes[0].ends_with(": has no test case; a case is a folder with events.jsonl"), "{mistakes:?}");
    let expected = "a/events.jsonl: is missing beside case.toml; write one event per line, the site description first";
    assert_eq!(CaseFolder::new(&[("a/case.toml", ""), ("b/events.jsonl", SITE)]).mistakes(), [expected]);
    let mistakes = find(Path::new("/no/such"), &TestOptions::default()).err().unwrap();
    assert_eq!(mistakes[0].to_string(), "/no/such: cannot be read: No such file or directory (os error 2)");
}

#[test]
fn all_settings_of_a_case_are_read() {
    let settings = r#"
        fuel = 123456
        events_per_call = 3
        [config]
        zeta = "a"
        alpha = [1, 2.5]
        [secrets]
        key = "hunter2"
        device-key = { base64 = "/wA=" }
        [state]
        seen = "7"
        [rights]
        read = ["battery"]
        topics = ["S/#"]
        write = ["battery/limit_kw"]
        [limits]
        memory = "16MiB"
        call = "50ms"
        qos = 2
        max_age = "72h"
    "#;
    let case = CaseFolder::case(&[("case.toml", settings), ("expected-error.txt", "\nno soc\n")])
        .find(&TestOptions::default());
    let case = &case[0];
    assert_eq!(case.config_json, r#"{"zeta":"a","alpha":[1,2.5]}"#);
    assert_eq!(case.secrets.get("key").unwrap(), b"hunter2");
    assert_eq!(case.secrets.get("device-key").unwrap(), &[0xff, 0]);
    assert_eq!(case.state.get("seen").unwrap(), b"7");
    assert_eq!(case.rights.read.as_deref(), Some(&["battery".to_owned()][..]));
    assert_eq!((case.limits.memory_bytes, case.limits.qos), (16 << 20, Qos::ExactlyOnce));
    assert_eq!((case.fuel, case.events_per_call), (Some(123_456), Some(3)));
    assert_eq!(case.expected, Expectation::Error("no soc".into()));
    let event = case.site_event().unwrap();
    let EventBody::Site(site) = &event.body else { panic!("{event:?}") };
    assert_eq!((event.at.seconds(), site.id.as_str()), (1_740_151_200, "S"));
    assert_eq!((case.events.len(), case.process_events().len()), (2, 1));
    let plain = &CaseFolder::case(&[]).find(&TestOptions::default())[0];
    assert_eq!((plain.config_json.as_str(), plain.fuel, plain.events_per_call), ("{}", None, None));
    assert_eq!(plain.limits, crate::config::FeedLimits::default());
    assert_eq!(plain.expected, Expectation::Missing);
}

#[test]
fn settings_are_checked_like_those_of_a_feed() {
    let check = |settings: &str, expected: &str| assert_eq!(mistakes_of(settings), [format!("case.toml: {expected}")]);
    check("fule = 1", "fule: is unknown; did you mean `fuel`?");
    check("fuel = 0", &format!("fuel = 0: write a whole number from 1 to {}", i64::MAX));
    check("events_per_call = 65", "events_per_call = 65: write a whole number from 1 to 64");
    check("config = 1", "config = 1: write a table");
    check("[rights]\nread = [\"batery\"]", "rights.read = \"batery\": the device is unknown; did you mean `battery`?");
    check(
        "[rights]\nwrite = [\"battery/soc_pct\"]",
        "rights.write = \"battery/soc_pct\": the device's profile makes this channel read-only; remove it",
    );
    check("[limits]\nmemmory = 1", "limits.memmory: is unknown; did you mean `memory`?");
    check("state = 1", "state: write a table");
    let hint = "write a text in quotes, or { base64 = \"…\" }";
    for secret in ["1", "{}", "{ base64 = \"?\" }", "{ base64 = \"AA==\", x = 1 }"] {
        check(&format!("[secrets]\nk = {secret}"), &format!("secrets.k: {hint}"));
    }
    assert!(mistakes_of("= 1")[0].starts_with("case.toml: is not TOML: line 1: "));
}

#[test]
fn invalid_files_are_reported() {
    let check = |files: &[(&str, &str)], expected: &[&str]| assert_eq!(CaseFolder::case(files).mistakes(), expected);
    let hint = "does not begin with the site description; write {\"at\":…,\"site\":{…}} as its first line";
    check(&[("events.jsonl", " \n")], &[&format!("events.jsonl: {hint}")]);
    check(&[("events.jsonl", HEARTBEAT)], &[&format!("events.jsonl: {hint}")]);
    check(
        &[
            ("events.jsonl", "{}"),
            ("expected.jsonl", "{\"topic\":1,\"text\":\"\"}"),
            ("case.toml", "fuel = \"x\"\n[rights]\nread = [\"x\"]"),
        ],
        &[
            "events.jsonl: line 1: at: is missing; write it",
            "events.jsonl: line 1: has no event; write one of site, gap, frame, safety, anomaly, dispatch, device, heartbeat, write",
            &format!("case.toml: fuel = \"x\": write a whole number from 1 to {}", i64::MAX),
            "expected.jsonl: line 1: topic = 1: write a text in quotes",
        ],
    );
    check(&[("expected-error.txt", "\n")], &["expected-error.txt: is empty; write a part of the error's text"]);
    check(
        &[("expected-error.txt", "x"), ("expected.jsonl", "")],
        &["expected-error.txt: exists beside expected.jsonl; remove one of them"],
    );
}

#[test]
fn a_case_passes_if_the_outcome_is_as_expected() {
    let check = |files: &[(&str, &str)], outcome: &RunOutcome, expected: &[&str]| {
        let folder = CaseFolder::case(files);
        let before = folder.text("expected.jsonl");
        let expected: Vec<_> = expected.iter().map(|line| (*line).to_owned()).collect();
        let expected = if expected.is_empty() { CaseVerdict::Passed } else { CaseVerdict::Failed(expected) };
        assert_eq!(folder.run(&TestOptions::default(), outcome), expected);
        assert_eq!(folder.text("expected.jsonl"), before);
    };
    let one = [("expected.jsonl", r#"{"topic":"a","json":1}"#)];
    check(&one, &outcome_with(&["1.0"]), &[]);
    check(&one, &outcome_with(&["2"]), &["message 1 (a): json: expected 1, got 2"]);
    check(&one, &failed("trapped: unreachable"), &["trapped: unreachable"]);
    check(&[("expected.jsonl", "")], &outcome_with(&[]), &[]);
    check(&[], &outcome_with(&[]), &["expected.jsonl is missing; write it, or create it with --update"]);
    let hint = "if this error is expected, write a part of it to expected-error.txt";
    check(&[], &failed("trapped"), &["trapped", hint]);
    let error = [("expected-error.txt", "no soc\n")];
    check(&error, &failed("refuses its configuration: no soc_pct"), &[]);
    check(&error, &failed("trapped"), &["expected an error that contains: no soc", "got: trapped"]);
    check(&error, &outcome_with(&["1"]), &["expected an error that contains: no soc", "got no error and 1 message"]);
}

#[test]
fn a_case_that_uses_too_much_fuel_fails() {
    let folder = CaseFolder::case(&[("expected.jsonl", ""), ("case.toml", "fuel = 123456")]);
    for (fuel, expected) in [
        (Some(123_456), CaseVerdict::Passed),
        (Some(130_000), CaseVerdict::Failed(vec!["used 130,000 fuel; the ceiling is 123,456".into()])),
        (None, CaseVerdict::Failed(vec!["the fuel was not counted; the ceiling is 123,456".into()])),
    ] {
        assert_eq!(folder.run(&UPDATE, &RunOutcome { fuel, ..outcome_with(&[]) }), expected);
    }
}

#[test]
fn an_update_replaces_the_expectation() {
    let folder = CaseFolder::case(&[]);
    let file = folder.path().join("expected.jsonl");
    assert_eq!(folder.run(&UPDATE, &outcome_with(&["1", "x"])), CaseVerdict::Written(file.clone()));
    let written = "{\"topic\":\"a\",\"json\":1}\n{\"topic\":\"a\",\"text\":\"x\"}\n";
    assert_eq!(folder.text("expected.jsonl").as_deref(), Some(written));
    // Equal by value: the file stays as a person wrote it.
    assert_eq!(folder.run(&UPDATE, &outcome_with(&["1.0", "x"])), CaseVerdict::Passed);
    assert_eq!(folder.text("expected.jsonl").as_deref(), Some(written));
    std::fs::write(&file, "not yet").unwrap();
    assert!(folder.mistakes()[0].starts_with("expected.jsonl: line 1: is not JSON: "));
    assert_eq!(folder.run(&UPDATE, &failed("trapped")), CaseFolder::case(&[]).run(&UPDATE, &failed("trapped")));
    assert_eq!(folder.text("expected.jsonl").as_deref(), Some("not yet"));
    assert_eq!(folder.run(&UPDATE, &outcome_with(&[])), CaseVerdict::Written(file));
    assert_eq!(folder.text("expected.jsonl").as_deref(), Some(""));
    let folder = CaseFolder::case(&[("expected-error.txt", "old")]);
    assert_eq!(folder.run(&UPDATE, &failed("new")), CaseVerdict::Written(folder.path().join("expected-error.txt")));
    assert_eq!(folder.text("expected-error.txt").as_deref(), Some("new\n"));
    assert!(matches!(folder.run(&UPDATE, &outcome_with(&[])), CaseVerdict::Failed(_)));
}

#[test]
fn all_cases_are_run_and_counted() {
    let files =
        [("a/events.jsonl", SITE), ("a/expected.jsonl", ""), ("b/events.jsonl", SITE), ("c/events.jsonl", SITE)];
    let cases = CaseFolder::new(&files).find(&TestOptions::default());
    let mut names = Vec::new();
    let summary = run(&cases, &TestOptions::default(), &mut |case| {
        names.push(case.name.clone());
        outcome_with(&[])
    });
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!((summary.cases.len(), summary.failed(), summary.written(), summary.all_passed()), (3, 2, 0, false));
    assert!(report::text(&summary, false).ends_with("3 cases: 1 ok, 2 failed\n"));
    assert!(junit::xml("p", &summary).contains("tests=\"3\" failures=\"2\""));
}
