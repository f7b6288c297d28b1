//! The key `set_point` of a profile: the registers that take a power, or the recipe that sets one.

use std::time::Duration;

use super::is_writable;
use crate::profile::model::{Profile, SetPoint};
use crate::profile::recipe::{Recipe, RecipeValue, RecipeWrite, Revert};
use crate::settings::{SettingsTable, unknown_name_hint};

/// The shortest time after which a device may release itself; no gateway renews a set-point more often.
const MIN_REVERT: Duration = Duration::from_secs(1);
/// The longest such time.
const MAX_REVERT: Duration = Duration::from_secs(24 * 3600);

pub(super) fn read(table: &SettingsTable<'_>, profile: &Profile) -> Option<SetPoint> {
    let table = table.table("set_point")?;
    let point = |key: &'static str| {
        let name = table.text(key).filter(|name| is_writable(&table, key, name, profile));
        name.map(str::to_owned)
    };
    // A list of writes has the same key as the register that takes the power.
    let is_list = |key: &'static str| table.value(key).is_some_and(toml::Value::is_array);
    let register = |key: &'static str| if is_list(key) { None } else { point(key) };
    let set_point = SetPoint {
        power: point("power"),
        charge: register("charge"),
        discharge: register("discharge"),
        mode: point("mode"),
        mode_values: table.named_entries("mode_values", |_, value| number(value), "write the register's raw value"),
        recipe: read_recipe(&table, profile, [is_list("charge"), is_list("discharge")]),
    };
    table.report_unknown_keys();
    Some(set_point)
}

#[allow(clippy::cast_precision_loss, reason = "a mode is a small number")]
fn number(value: &toml::Value) -> Option<f64> {
    value.as_integer().map(|number| number as f64).or_else(|| value.as_float())
}

fn read_recipe(table: &SettingsTable<'_>, profile: &Profile, [charges, discharges]: [bool; 2]) -> Option<Recipe> {
    let writes = |key: &'static str| -> Vec<RecipeWrite> {
        table.tables(key).iter().filter_map(|write| read_write(write, profile)).collect()
    };
    let power = |key: &'static str| read_power(table, key);
    let mistakes_before = table.mistakes().count();
    let recipe = Recipe {
        charge: if charges { writes("charge") } else { Vec::new() },
        discharge: if discharges { writes("discharge") } else { Vec::new() },
        hold: writes("hold"),
        release: writes("release"),
        charge_kw: power("charge_kw"),
        discharge_kw: power("discharge_kw"),
        revert: read_revert(table, profile),
    };
    let sets_power = charges || discharges;
    if sets_power && table.value("release").is_none() {
        table.add_mistake("release", "is missing; write the writes that give control back to the device");
    }
    for (key, writes) in [("release", &recipe.release), ("hold", &recipe.hold)] {
        if let Some(write) = writes.iter().find(|write| write.value.is_power()) {
            let reason = format!("{} depends on a power, which a {key} has not; write a value", write.point);
            table.add_mistake(key, reason);
        }
    }
    check_revert(table, &recipe);
    // A write with a mistake may be the one that takes the power.
    if table.mistakes().count() == mistakes_before {
        check_mode_only(table, ["charge", "charge_kw"], &recipe.charge, recipe.charge_kw);
        check_mode_only(table, ["discharge", "discharge_kw"], &recipe.discharge, recipe.discharge_kw);
    }
    (sets_power || table.value("release").is_some()).then_some(recipe)
}

fn read_power(table: &SettingsTable<'_>, key: &'static str) -> Option<f64> {
    let power = table.number(key)?;
    if !power.is_finite() || power <= 0.0 {
        table.add_mistake(key, "write a power in kW that is greater than 0");
        return None;
    }
    Some(power)
}

/// A direction whose writes do not depend on the power has a power of its own, and no other direction has.
fn check_mode_only(
    table: &SettingsTable<'_>,
    [list, key]: [&'static str; 2],
    writes: &[RecipeWrite],
    power: Option<f64>,
) {
    let takes_power = writes.iter().any(|write| write.value.is_power());
    if !writes.is_empty() && !takes_power && table.value(key).is_none() {
        let reason = format!(
            "is missing: no write of {list} depends on the power; write the power in kW that the device then takes"
        );
        table.add_mistake(key, reason);
    }
    if takes_power && power.is_some() {
        table.add_mistake(key, format!("contradicts {list}, which sets the power; leave it out"));
    }
}

/// A time of 0 switches the device's own timer off, so that nothing releases it when the gateway is gone.
fn check_revert(table: &SettingsTable<'_>, recipe: &Recipe) {
    let Some(Revert::Point(timer)) = &recipe.revert else { return };
    for (list, writes) in [("charge", &recipe.charge), ("discharge", &recipe.discharge), ("hold", &recipe.hold)] {
        let set = writes.iter().find_map(|write| match write.value {
            RecipeValue::Constant(value) if write.point == *timer && value <= 0.0 => Some(value),
            _ => None,
        });
        if let Some(value) = set {
            let reason = format!(
                "{list} sets {timer} to {value}, so that the device would never release itself; write the time after which \
                 it does, such as 60"
            );
            table.add_mistake("revert", reason);
        }
    }
}

fn read_write(table: &SettingsTable<'_>, profile: &Profile) -> Option<RecipeWrite> {
    let Some(point) = table.text("point") else {
        if table.value("point").is_none() {
            table.add_mistake("point", "is missing; write the name of a point");
        }
        return None;
    };
    let is_valid = is_writable(table, "point", point, profile);
    let (constant, scale) = (table.number("value"), table.number("scale"));
    let divided_by = table.text("divided_by").filter(|name| is_readable(table, name, profile));
    let value = match (constant, scale) {
        (Some(value), None) => Some(RecipeValue::Constant(value)),
        (None, Some(scale)) if scale != 0.0 => {
            Some(RecipeValue::Power { scale, divided_by: divided_by.map(str::to_owned) })
        }
        _ => {
            table.add_mistake("value", "write either a value, or scale = 1000 for the power in W");
            None
        }
    };
    if let Some(value) = constant.filter(|_| is_valid) {
        check_range(table, value, profile, point);
    }
    table.report_unknown_keys();
    Some(RecipeWrite::new(point, value.filter(|_| is_valid)?))
}

/// Reports a constant that the point would refuse.
fn check_range(table: &SettingsTable<'_>, value: f64, profile: &Profile, name: &str) {
    let Some(point) = profile.points.iter().find(|point| point.name == name) else { return };
    // What factor the device states is known only when it is written: any one serves here.
    if let Err(error) = point.write(value, point.scale_register.map(|_| 0), profile.unit) {
        table.add_mistake("value", error.to_string());
    }
}

fn is_readable(table: &SettingsTable<'_>, name: &str, profile: &Profile) -> bool {
    let is_known = profile.readable().any(|point| point.name == name);
    if !is_known {
        let hint = unknown_name_hint(name, profile.readable().map(|point| point.name.as_str()));
        table.add_mistake("divided_by", hint);
    }
    is_known
}

fn read_revert(table: &SettingsTable<'_>, profile: &Profile) -> Option<Revert> {
    let table = table.table("revert")?;
    let point = table.text("point").filter(|name| is_writable(&table, "point", name, profile));
    let after = table.duration("after", MIN_REVERT..=MAX_REVERT);
    if table.value("point").is_some() == table.value("after").is_some() {
        table.add_mistake("after", "write either a time such as \"60s\", or the point that holds it");
    }
    table.report_unknown_keys();
    point.map(|name| Revert::Point(name.to_owned())).or(after.map(Revert::After))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::profile::toml::read;
    use crate::profile::{Recipe, RecipeError, Revert};

    const POINTS: &str = "[points]
        mode = { address = 1, type = \"uint16\", scale = 1, min = 0, max = 2, access = \"RW\" }
        power = { address = 2, type = \"uint16\", scale = 1, unit = \"W\", access = \"RW\" }
        share = { address = 3, type = \"int16\", scale = 0.01, unit = \"%\", min = -100, max = 100, access = \"RW\" }
        greatest = { address = 4, type = \"uint16\", scale = 1, unit = \"W\" }
        doubtful = { address = 5, type = \"uint16\", scale = 1, access = \"RW\", unverified = true }\n";

    #[test]
    fn a_recipe_is_an_ordered_list_of_writes_in_each_direction() {
        let text = format!(
            "[set_point]
            charge = [{{ point = \"power\", scale = 1000 }}, {{ point = \"mode\", value = 1 }}]
            discharge = [{{ point = \"share\", scale = 100000, divided_by = \"greatest\" }}, {{ point = \"mode\", value = 2 }}]
            release = [{{ point = \"mode\", value = 0 }}]
            revert = {{ after = \"60s\" }}\n{POINTS}"
        );
        let set_point = read("box", &text).unwrap().set_point.unwrap();
        let recipe = set_point.recipe.unwrap();
        assert_eq!((&set_point.charge, &recipe.revert), (&None, &Some(Revert::After(Duration::from_secs(60)))));
        let reading = |name: &str| (name == "greatest").then_some(8000.0);
        assert_eq!(recipe.set_power(-3.5, reading).unwrap(), [("power", 3500.0), ("mode", 1.0)]);
        assert_eq!(recipe.set_power(2.0, reading).unwrap(), [("share", 25.0), ("mode", 2.0)]);
        assert_eq!(recipe.release(), [("mode", 0.0)]);
        let unread = recipe.set_power(2.0, |_| None).unwrap_err();
        assert_eq!(unread.to_string(), "greatest has no value yet, which the power has to be divided by");
        assert_eq!(recipe.set_power(f64::NAN, reading).unwrap_err().to_string(), "NaN kW is no power");
        let charges = Recipe { discharge: Vec::new(), ..recipe };
        assert_eq!(charges.set_power(1.0, reading), Err(RecipeError::Missing("discharging")));
    }

    #[test]
    fn a_device_that_only_takes_modes_has_a_power_of_its_own() {
        let recipe = |hold: &str| {
            let text = format!(
                "[set_point]
                charge = [{{ point = \"mode\", value = 1 }}]
                charge_kw = 5
                {hold}
                release = [{{ point = \"mode\", value = 0 }}]\n{POINTS}"
            );
            read("box", &text).unwrap().set_point.unwrap().recipe.unwrap()
        };
        let holds = recipe("hold = [{ point = \"mode\", value = 2 }]");
        let set = |kilowatts| holds.set_power(kilowatts, |_| None);
        assert_eq!((set(-2.0), set(0.0)), (Ok(vec![("mode", 1.0)]), Ok(vec![("mode", 2.0)])));
        assert_eq!(set(2.0), Err(RecipeError::Missing("discharging")));
        assert_eq!([-2.0, -5.0, 0.0, 2.0].map(|power| holds.mode_power(power)), [Some(-5.0), Some(-5.0), None, None]);
        let modes = Recipe { discharge: holds.charge.clone(), discharge_kw: Some(4.0), ..recipe("") };
        assert_eq!(modes.set_power(0.0, |_| None), Err(RecipeError::NoHold), "0 kW would discharge with 4 kW");
        assert_eq!(modes.mode_power(0.5), Some(4.0));
    }

    #[test]
    fn an_optional_write_is_left_out_where_the_device_has_no_value() {
        let mut recipe = read(
            "box",
            &format!(
                "[set_point]
            charge = [{{ point = \"mode\", value = 1 }}, {{ point = \"power\", scale = 1000 }}]
            release = [{{ point = \"mode\", value = 0 }}]\n{POINTS}"
            ),
        )
        .unwrap()
        .set_point
        .unwrap()
        .recipe
        .unwrap();
        recipe.charge[0].optional = true;
        let reading = |name: &str| (name == "mode").then_some(0.0);
        assert_eq!(recipe.set_power(-1.0, reading).unwrap(), [("mode", 1.0), ("power", 1000.0)]);
        assert_eq!(recipe.set_power(-1.0, |_| None).unwrap(), [("power", 1000.0)]);
    }

    #[test]
    fn every_mistake_in_a_recipe_names_the_write() {
        let check = |recipe: &str, expected: &str| {
            let mistakes = read("box", &format!("[set_point]\n{recipe}\n{POINTS}")).unwrap_err();
            let mistakes: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
            assert_eq!(mistakes, [expected], "{recipe}");
        };
        let charge = |write: &str| format!("charge = [{write}]\nrelease = [{{ point = \"mode\", value = 0 }}]");
        check(
            "charge = [{ point = \"power\", scale = 1000 }]",
            "box.set_point.release: is missing; write the writes that give control back to the device",
        );
        check(
            &charge("{ point = \"mode\", value = 3 }"),
            "box.set_point.charge[0].value = 3: mode cannot be set to 3: its profile allows 0 to 2",
        );
        check(
            &charge("{ point = \"doubtful\", value = 1 }"),
            "box.set_point.charge[0].point = \"doubtful\": `doubtful` is unverified and never written; name another point",
        );
        check(
            &charge("{ point = \"greatest\", value = 1 }"),
            "box.set_point.charge[0].point = \"greatest\": `greatest` is read-only; give it access = \"RW\"",
        );
        check(
            &charge("{ point = \"mode\" }"),
            "box.set_point.charge[0].value: write either a value, or scale = 1000 for the power in W",
        );
        check(
            &charge("{ point = \"share\", scale = 1, divided_by = \"greatst\" }"),
            "box.set_point.charge[0].divided_by = \"greatst\": is unknown; did you mean `greatest`?",
        );
        check(
            "release = [{ point = \"power\", scale = 1 }]",
            "box.set_point.release = [{ point = \"power\", scale = 1 }]: power depends on a power, which a release has not; \
             write a value",
        );
        check(
            "hold = [{ point = \"power\", scale = 1 }]\nrelease = [{ point = \"mode\", value = 0 }]",
            "box.set_point.hold = [{ point = \"power\", scale = 1 }]: power depends on a power, which a hold has not; write a \
             value",
        );
        check(
            &charge("{ point = \"mode\", value = 1 }"),
            "box.set_point.charge_kw: is missing: no write of charge depends on the power; write the power in kW that the \
             device then takes",
        );
        check(
            &format!("charge_kw = 0\n{}", charge("{ point = \"mode\", value = 1 }")),
            "box.set_point.charge_kw = 0: write a power in kW that is greater than 0",
        );
        check(
            &format!("charge_kw = 5\n{}", charge("{ point = \"power\", scale = 1000 }")),
            "box.set_point.charge_kw = 5: contradicts charge, which sets the power; leave it out",
        );
        check(
            &format!(
                "revert = {{ point = \"power\" }}\n{}",
                charge("{ point = \"share\", scale = 1 }, { point = \"power\", value = 0 }")
            ),
            "box.set_point.revert = { point = \"power\" }: charge sets power to 0, so that the device would never release \
             itself; write the time after which it does, such as 60",
        );
        check(
            "revert = {}\nrelease = [{ point = \"mode\", value = 0 }]",
            "box.set_point.revert.after: write either a time such as \"60s\", or the point that holds it",
        );
    }
}
