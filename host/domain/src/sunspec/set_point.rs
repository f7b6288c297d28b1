//! What sets the power of a SunSpec device: model 704, or else the rates of model 124.
//!
//! Model 123 only limits the power of generation, so that it is none.

use super::profile::named;
use crate::profile::{Point, Recipe, RecipeValue, RecipeWrite, Revert, SetPoint};

/// The time in seconds after which the device releases itself; renewed at half of it.
const REVERT_SECONDS: f64 = 60.0;
/// From kW to percent of a power in W.
const PERCENT_OF_WATTS: f64 = 100_000.0;
/// The value of `WSetMod` with which the power is in W.
const WATTS: f64 = 1.0;
/// The value of `StorCtl_Mod` with which both rates apply.
const BOTH_RATES: f64 = 3.0;

pub(super) fn of(points: &[Point]) -> Option<SetPoint> {
    active_power(points).or_else(|| storage_rates(points))
}

/// Model 704, which IEEE 1547-2018 devices have: + in `WSet` is what the device generates. `WSetEnaRvrt` is what `WSetEna`
/// becomes when the reversion time is over. A device need not have the mode, nor the reversion.
fn active_power(points: &[Point]) -> Option<SetPoint> {
    let power = named(points, "m704_WSet")?;
    let enable = named(points, "m704_WSetEna")?;
    let writes = |sign: f64| {
        let optional = [("m704_WSetEnaRvrt", 0.0), ("m704_WSetRvrtTms", REVERT_SECONDS), ("m704_WSetMod", WATTS)];
        let optional = optional.into_iter().filter_map(|(name, value)| constant(points, name, value));
        let mut writes: Vec<_> = optional.map(|write| RecipeWrite { optional: true, ..write }).collect();
        writes.push(RecipeWrite::new(&power, RecipeValue::Power { scale: sign, divided_by: None }));
        writes.push(RecipeWrite::new(&enable, RecipeValue::Constant(1.0)));
        writes
    };
    let recipe = Recipe {
        charge: writes(-1.0),
        discharge: writes(1.0),
        release: vec![RecipeWrite::new(&enable, RecipeValue::Constant(0.0))],
        revert: named(points, "m704_WSetRvrtTms").map(Revert::Point),
        ..Recipe::default()
    };
    let mode_values = vec![("remote".to_owned(), 1.0)];
    let (power, mode, recipe) = (Some(power), Some(enable), Some(recipe));
    Some(SetPoint { power, mode, mode_values, recipe, ..SetPoint::default() })
}

/// Model 124: both rates are a share of the greatest charging power, and a negative one forces the opposite direction, so that
/// together they leave one power. A device that takes no negative rate refuses it.
fn storage_rates(points: &[Point]) -> Option<SetPoint> {
    let greatest = named(points, "m124_WChaMax")?;
    let (charge, discharge) = (named(points, "m124_InWRte")?, named(points, "m124_OutWRte")?);
    let control = named(points, "m124_StorCtl_Mod")?;
    let rate = |name: &str, scale: f64| {
        RecipeWrite::new(name, RecipeValue::Power { scale, divided_by: Some(greatest.clone()) })
    };
    let writes = |sign: f64| {
        let timer = constant(points, "m124_InOutWRte_RvrtTms", REVERT_SECONDS);
        let mut writes: Vec<_> = timer.map(|write| RecipeWrite { optional: true, ..write }).into_iter().collect();
        writes.push(rate(&charge, sign * PERCENT_OF_WATTS));
        writes.push(rate(&discharge, -sign * PERCENT_OF_WATTS));
        writes.push(RecipeWrite::new(&control, RecipeValue::Constant(BOTH_RATES)));
        writes
    };
    let full = |name: &str| RecipeWrite::new(name, RecipeValue::Constant(100.0));
    let recipe = Recipe {
        charge: writes(1.0),
        discharge: writes(-1.0),
        release: vec![RecipeWrite::new(&control, RecipeValue::Constant(0.0)), full(&charge), full(&discharge)],
        revert: named(points, "m124_InOutWRte_RvrtTms").map(Revert::Point),
        ..Recipe::default()
    };
    Some(SetPoint { recipe: Some(recipe), ..SetPoint::default() })
}

/// The write of a value to a point, if the device's models have it.
fn constant(points: &[Point], name: &str, value: f64) -> Option<RecipeWrite> {
    Some(RecipeWrite::new(&named(points, name)?, RecipeValue::Constant(value)))
}
