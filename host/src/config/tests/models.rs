//! `[[model]]`: mistakes, and settings that have no effect.

use super::*;

#[test]
fn invalid_rules_and_sizes_of_models() {
    let check = |line: &str, expected: &str| check_file(&format!("[[model]]\nfile = \"a\"\n{line}"), &[expected]);
    let hint = "write a size from 1MiB to 256MiB, such as \"64MiB\"";
    check("max_size = \"1GiB\"", &format!("model[0].max_size = \"1GiB\": {hint}"));
    let hint = "write a number that is not negative; the key itself says the direction";
    check("max_charge_kw = -5.5", &format!("model[0].max_charge_kw = -5.5: {hint}"));
    let hint = "no set-point could ever change; write a number above 0";
    check("ramp_kw_per_min = 0", &format!("model[0].ramp_kw_per_min = 0: {hint}"));
    check("alert_at = 1.5", "model[0].alert_at = 1.5: write a number from 0 to 1");
    check("dir = \"b\"", "model[0].file = \"a\": name either a file or, with dir, a folder of them");
    let hint = "the models of a folder are named after their files; remove it";
    check_file("[[model]]\ndir = \"b\"\nname = \"c\"", &[&format!("model[0].name = \"c\": {hint}")]);
    let case = Case::new().file("bessai.toml", "[[model]]\ndir = \"models\"\nmax_size = \"200MiB\"");
    let models = case.config().models;
    assert_eq!((models[0].is_folder, models[0].max_bytes), (true, 200 << 20));
}

#[test]
fn names_that_no_topic_may_have() {
    let check = |name: &str, expected: &str| {
        check_file(
            &format!("[[model]]\nfile = \"a\"\nname = \"{name}\""),
            &[&format!("model[0].name = \"{name}\": {expected}")],
        );
    };
    check("a/b", "contains '/', which is not allowed in a topic level; remove it");
    check("a#", "contains '#', which is not allowed in a topic level; remove it");
    check("", "is empty; write a name");
}

#[test]
fn rules_with_which_a_model_can_do_nothing() {
    let check = |lines: &str, expected: &str| check_file(&format!("[[model]]\nfile = \"a\"\n{lines}"), &[expected]);
    check(
        "max_charge_kw = 2\nmax_discharge_kw = 3\nmin_step_kw = 6",
        "model[0].min_step_kw = 6: no set-point could ever change: they lie within 5 kW; lower it",
    );
    check(
        "model_weight = 0\ntiming_weight = 0",
        "model[0].model_weight = 0: is 0, and so is timing_weight, so that every score is 0; raise one of them",
    );
    check("alert_at = 0", "model[0].alert_at = 0: every reading would be an alert; write a number above 0");
}

#[test]
fn settings_without_effect_are_warned_of() {
    let config = |more: &str, lines: &str| {
        let case = Case::new().file("bessai.toml", &format!("{more}\n[[model]]\nfile = \"a\"\n{lines}"));
        let of_models =
            |texts: Vec<String>| texts.into_iter().filter(|text| text.starts_with("model[")).collect::<Vec<_>>();
        (of_models(case.warnings()), of_models(case.notes()))
    };
    let none = Vec::<String>::new;
    let warned =
        |lines: &str, expected: &str| assert_eq!(config("", lines), (vec![expected.to_owned()], none()), "{lines}");
    warned("alarm_above = 1", "model[0].alarm_above = 1: scores are at most 1, so that there is no alarm; lower it");
    warned(
        "alarm_above = 0.5",
        "model[0].alarm_above = 0.5 is below alert_at = 0.65: an alarm would be no alert; raise it",
    );
    let weights = "model_weight = 0.4\ntiming_weight = 0.1";
    let low = |key: &str, value: f64, what: &str| {
        format!("model[0].{key} = {value}: scores are at most 0.5, so that there is no {what}; lower it")
    };
    assert_eq!(config("", weights).0, [low("alert_at", 0.65, "alert"), low("alarm_above", 0.7, "alarm")]);
    let noted = "model[0].period = 1s has no effect: battery is read every 5s, and each reading runs the model";
    assert_eq!(config("", "period = \"1s\""), (none(), vec![noted.to_owned()]));
    let control = "[control]\nenabled = true\ndevices = [\"battery\"]";
    let refused = "model[0].period: a set-point of a model that runs every 600s holds for 1800s, and is refused as \
                   control.longest_lease = 900s; lower the period or raise longest_lease";
    assert_eq!(config(control, "period = \"10min\""), (vec![refused.to_owned()], none()));
    assert_eq!(config(control, "period = \"10min\"\nshadow = true"), (none(), none()));
    assert_eq!(config(control, "period = \"5min\""), (none(), none()));
}
