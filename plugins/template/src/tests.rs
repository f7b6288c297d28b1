//! The plugin as a whole, run natively.

use bessai_plugin::testing::{Harness, logged, site};

use super::*;

fn harness(config: &str) -> Harness<Template> {
    let battery = site("S").device("battery", &[("soc_pct", "%"), ("power_kw", "kW")]);
    Harness::new(battery, config).map_err(|error| format!("{config}: {error}")).unwrap()
}

fn payloads(messages: &[bessai_plugin::Message]) -> Vec<String> {
    messages.iter().map(|message| String::from_utf8(message.payload.clone()).unwrap()).collect()
}

#[test]
fn a_restart_between_two_readings_loses_nothing() {
    let configs = [
        r#"{"window":"10s","aggregate":["min","max","mean","last","integral"]}"#,
        r#"{"every":"3s"}"#,
        r#"{"every":"2s","deadband":0.5}"#,
        r#"{"swinging_door":0.5}"#,
        r#"{"deadband":1.5,"longest_silence":"10s"}"#,
    ];
    for config in configs {
        let run = |restarts: bool| -> Vec<String> {
            let mut harness = harness(config);
            let mut all = Vec::new();
            for step in 0..60_u32 {
                if restarts {
                    harness.restart().unwrap();
                }
                let value = f64::from(step * step % 17);
                all.extend(payloads(&harness.frame(&[value, -value / 3.0]).unwrap()));
            }
            all
        };
        let (whole, restarted) = (run(false), run(true));
        assert!(!whole.is_empty(), "{config}");
        assert_eq!(whole, restarted, "{config}");
    }
}

#[test]
fn a_backlog_gives_the_rows_of_live_events() {
    let run = |historical: bool| -> Vec<String> {
        let mut harness = harness(r#"{"window":"10s"}"#);
        let frames = (0..40_u32).flat_map(|step| {
            let messages = harness.historical(historical).frame(&[f64::from(step), 1.0]).unwrap();
            payloads(&messages)
        });
        frames.collect()
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn what_fails_for_want_of_a_value_is_left_out_and_logged_once() {
    let mut harness = harness(r#"{"payload":"{{ (1 / 0) if power_kw is missing else power_kw }}"}"#);
    assert_eq!(payloads(&harness.frame(&[1.0, 2.0]).unwrap()), ["2.0"]);
    for _ in 0..3 {
        assert_eq!(harness.frame(&[1.0, f64::NAN]), Ok(Vec::new()));
    }
    assert_eq!(logged().len(), 1, "{:?}", logged());
}

#[test]
fn a_failing_template_names_its_place() {
    let mut harness = harness(r#"{"payload":"a\n {{ units[device.name] if soc_pct > 50 else 1 }}"}"#);
    assert_eq!(payloads(&harness.frame(&[1.0, 2.0]).unwrap()), ["a\n 1"]);
    let Err(Failure::Reject(error)) = harness.frame(&[60.0, 2.0]) else { panic!("is published") };
    assert!(error.starts_with("config.payload, line 2, column "), "{error}");
}

#[test]
fn lines_are_escaped() {
    let mut labels = row::Labels { site: "a b,c=d\ne".into(), device: "x\\".into(), ..row::Labels::default() };
    labels.columns = vec![row::Column { name: "f 1".into(), unit: String::new(), decimals: None, integer: false }; 2];
    let settings = Settings::read(r#"{"format":"influx","measurement":"m,n o","tags":{"empty":"","k k":"v=w"}}"#);
    let mut layout = format::Layout::new(config::Format::Influx, &settings.unwrap(), &labels);
    let texts = [(1, "say \"hi\" \\ there\nnext".to_owned())].into();
    let row = row::Row { at: 5, labels: labels.into(), values: vec![-0.5, f64::NAN], texts };
    let line = String::from_utf8(layout.write(&row)).unwrap();
    let expected =
        "m\\,n\\ o,site=a\\ b\\,c\\=d\\ e,device=x,k\\ k=v\\=w f\\ 1=-0.5,f\\ 1=\"say \\\"hi\\\" \\\\ there\nnext\" 5";
    assert_eq!(line, expected);
}
