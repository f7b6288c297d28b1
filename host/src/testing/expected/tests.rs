//! Expected messages: written, read, and compared with actual ones.

use super::*;

fn message(topic: &str, payload: &[u8]) -> Message {
    let (topic, payload) = (topic.into(), payload.to_vec());
    Message { topic, payload, qos: Qos::AtLeastOnce, retain: false, properties: None }
}

fn properties_of_all_kinds() -> Properties {
    let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    Properties {
        content_type: Some("application/json".into()),
        expiry_s: Some(60),
        response_topic: Some("answers".into()),
        correlation_data: Some(vec![0xff, 0]),
        payload_utf8: true,
        user: vec![pair("a", "1"), pair("a", "2")],
    }
}

#[test]
fn written_messages_are_read_as_their_own_expectation() {
    let messages = [
        message("a/b", r#"{"z":1,"a":[0.1,null,"ü"],"n":9007199254740993}"#.as_bytes()),
        message("a", b"online"),
        message("a", b""),
        message("a", b"12.50"),
        message("a", b"null"),
        message("a", &[0, 0xff]),
        Message { qos: Qos::AtMostOnce, retain: true, ..message("a", b"x\ny") },
        Message { qos: Qos::ExactlyOnce, properties: Some(properties_of_all_kinds()), ..message("a", b"1") },
        Message { properties: Some(Properties::default()), ..message("a", b"1") },
    ];
    let written = write(&messages);
    let expected = r#"{"topic":"a/b","json":{"z":1,"a":[0.1,null,"ü"],"n":9007199254740993}}
{"topic":"a","text":"online"}
{"topic":"a","text":""}
{"topic":"a","json":12.5}
{"topic":"a","json":null}
{"topic":"a","base64":"AP8="}
{"topic":"a","text":"x\ny","qos":0,"retain":true}
{"topic":"a","json":1,"qos":2,"properties":{"content_type":"application/json","expiry_s":60,"response_topic":"answers","correlation_data":{"base64":"/wA="},"payload_utf8":true,"user":[["a","1"],["a","2"]]}}
{"topic":"a","json":1}
"#;
    assert_eq!(written, expected);
    assert_eq!(differences(&read(&written).unwrap(), &messages), Vec::<String>::new());
}

#[test]
fn invalid_lines_are_reported() {
    let check = |line: &str, expected: &[&str]| {
        let mistakes = read(line).expect_err("no mistake");
        assert_eq!(mistakes.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{line}");
    };
    check("[]", &["line 1: is not an object; write {…}"]);
    check("\n{}", &["line 2: topic: is missing; write it", "line 2: has no payload; write one of json, text, base64"]);
    check(
        r#"{"topic":1,"json":1,"text":""}"#,
        &["line 1: topic = 1: write a text in quotes", "line 1: has two payloads; write one of json, text, base64"],
    );
    check(r#"{"topic":"a","jsn":1}"#, &["line 1: jsn: is unknown; did you mean `json`?"]);
    check(r#"{"topic":"a","text":1}"#, &["line 1: text = 1: write a text in quotes"]);
    check(r#"{"topic":"a","base64":"?"}"#, &["line 1: base64 = \"?\": write base64 in quotes"]);
    check(
        r#"{"topic":"a","text":"","qos":3,"retain":1}"#,
        &["line 1: qos = 3: write 0, 1 or 2", "line 1: retain = 1: write true or false"],
    );
    check(
        r#"{"topic":"a","text":"","properties":{"expiry":1,"user":{"a":1},"correlation_data":{"base64":1}}}"#,
        &[
            "line 1: properties.correlation_data.base64 = 1: write base64 in quotes",
            "line 1: properties.user = {\"a\":1}: write {\"name\":\"text\"}, or [[\"name\",\"text\"]] if a name occurs twice",
            "line 1: properties.expiry: is unknown; did you mean `expiry_s`?",
        ],
    );
}

fn differ(expected: &str, got: &[Message], differences: &[&str]) {
    assert_eq!(super::differences(&read(expected).unwrap(), got), differences, "{expected}");
}

/// One message under the topic `a`, and what differs.
fn check(payload: &str, got: &[u8], differences: &[&str]) {
    let differences: Vec<_> = differences.iter().map(|difference| format!("message 1 (a): {difference}")).collect();
    let differences: Vec<_> = differences.iter().map(String::as_str).collect();
    differ(&format!(r#"{{"topic":"a",{payload}}}"#), &[message("a", got)], &differences);
}

#[test]
fn json_is_compared_by_value() {
    check(r#""json":{"a":1,"b":[2.0,-0.0]}"#, br#" {"b":[2,0],"a":1.0} "#, &[]);
    check(r#""json":1e2"#, b"100", &[]);
    check(
        r#""json":9007199254740993"#,
        b"9007199254740992",
        &["json: expected 9007199254740993, got 9007199254740992"],
    );
    check(r#""json":18446744073709551615"#, b"-1", &["json: expected 18446744073709551615, got -1"]);
    check(r#""json":0.1"#, b"0.10000000000000002", &["json: expected 0.1, got 0.10000000000000002"]);
    check(
        r#""json":{"cells":[{"v":1},{"v":3.2}],"gone":1,"odd key":true,"s":"1","o":{}}"#,
        br#"{"cells":[{"v":1},{"v":3.3},5],"odd key":null,"new":[1],"s":1,"o":[]}"#,
        &[
            "json.cells[1].v: expected 3.2, got 3.3",
            "json.cells: expected 2 items, got 3",
            "json.gone: expected 1, is missing",
            "json[\"odd key\"]: expected true, got null",
            "json.s: expected \"1\", got 1",
            "json.o: expected {}, got []",
            "json.new: is unexpected, [1]",
        ],
    );
    check(
        r#""json":{"a":1}"#,
        b"online",
        &["json: expected {\"a\":1}, got `online`, which is not valid JSON: expected value at line 1 column 1"],
    );
    check(
        r#""json":{"a":1}"#,
        br#"{"a":1,"a":1}"#,
        &[
            "json: expected {\"a\":1}, got `{\"a\":1,\"a\":1}`, which is not valid JSON: the key `a` occurs twice at line 1 column 10",
        ],
    );
    let list = |from: u32| serde_json::to_string(&(from..from + 12).collect::<Vec<_>>()).unwrap();
    let expected = read(&format!(r#"{{"topic":"a","json":{}}}"#, list(0))).unwrap();
    let found = differences(&expected, &[message("a", list(1).as_bytes())]);
    assert_eq!((found.len(), found[10].as_str()), (11, "message 1 (a): … and 2 more"));
}

#[test]
fn text_and_bytes_are_compared_byte_by_byte() {
    check(r#""text":"12.50""#, b"12.50", &[]);
    check(r#""text":"12.50""#, b"12.5", &["text: differs from byte 4 on: expected `12.50`, got `12.5`"]);
    check(r#""text":"ü""#, "ö".as_bytes(), &["text: differs from byte 1 on: expected `ü`, got `ö`"]);
    check(r#""text":"a\n""#, b"a", &["text: differs from byte 1 on: expected `a\\n`, got `a`"]);
    let long = "x".repeat(40);
    let around = "x".repeat(24);
    check(
        &format!(r#""text":"{long}a{long}""#),
        format!("{long}b").as_bytes(),
        &[&format!("text: differs from byte 40 on: expected `…{around}a{}…`, got `…{around}b`", &around[1..])],
    );
    check(r#""base64":"AP8B""#, &[0, 0xff, 1], &[]);
    check(
        r#""base64":"AP8B""#,
        &[0, 0xfe],
        &["base64: differs from byte 1 on: expected 00 ff 01 (hexadecimal), got 00 fe (hexadecimal)"],
    );
}

#[test]
fn topic_qos_and_properties_are_compared() {
    let expected = r#"{"topic":"a","text":"x","properties":{"correlation_data":"1","user":{"k":"v"}}}"#;
    let user = vec![("k".to_owned(), "w".to_owned())];
    let properties = Properties { expiry_s: Some(5), payload_utf8: true, user, ..Properties::default() };
    let got = Message { qos: Qos::AtMostOnce, retain: true, properties: Some(properties), ..message("b", b"x") };
    let differences = [
        "message 1 (b): topic: expected \"a\", got \"b\"",
        "message 1 (b): qos: expected 1, got 0",
        "message 1 (b): retain: expected false, got true",
        "message 1 (b): properties.expiry_s: expected none, got 5",
        "message 1 (b): properties.correlation_data: expected `1`, got none",
        "message 1 (b): properties.payload_utf8: expected false, got true",
        "message 1 (b): properties.user: expected [(\"k\", \"v\")], got [(\"k\", \"w\")]",
    ];
    differ(expected, &[got], &differences);
}

#[test]
fn missing_and_unexpected_messages_do_not_shift_the_rest() {
    let expected = |texts: &[&str]| -> String {
        texts.iter().map(|text| format!("{{\"topic\":\"a\",\"text\":\"{text}\"}}\n")).collect()
    };
    let got = |texts: &[&str]| texts.iter().map(|text| message("a", text.as_bytes())).collect::<Vec<_>>();
    differ(&expected(&["1", "2", "3"]), &got(&["1", "3"]), &["message 2 (a): is missing"]);
    differ(
        &expected(&["1", "3"]),
        &got(&["1", "x", "3"]),
        &["message 2: unexpected: {\"topic\":\"a\",\"text\":\"x\"}"],
    );
    differ(&expected(&[]), &got(&["1"]), &["message 1: unexpected: {\"topic\":\"a\",\"json\":1}"]);
    differ(&expected(&["1"]), &got(&[]), &["message 1 (a): is missing"]);
    differ(
        &expected(&["1", "2", "3", "4"]),
        &got(&["1", "x", "4"]),
        &["message 2 (a): text: differs from byte 0 on: expected `2`, got `x`", "message 3 (a): is missing"],
    );
    let many = vec!["x"; 60];
    let found = differences(&[], &got(&many));
    assert_eq!((found.len(), found[50].as_str()), (51, "… and 10 more"));
}
