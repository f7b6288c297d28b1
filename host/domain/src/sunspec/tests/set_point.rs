//! The writes that set the power of discovered devices, against SunSpec's published models 704 and 124.

use super::device::MemoryDevice;
use crate::profile::{Profile, Revert};
use crate::register::UnitId;

/// A request: address and words.
type Request = (u16, Vec<u16>);

/// A device with the common model and another one, whose values begin at 72.
fn profile(model: u16) -> Profile {
    let device = MemoryDevice::at(0).with(1, &[], 0).with(model, &[], 0).ended();
    device.found().profile(None)
}

/// What is written to set a power; none releases the device. Each scale factor is `exponent`.
fn written(
    profile: &Profile,
    kilowatts: Option<f64>,
    exponent: i32,
    reading: impl Fn(&str) -> Option<f64>,
) -> Vec<Request> {
    let recipe = profile.set_point.as_ref().unwrap().recipe.as_ref().unwrap();
    let writes = kilowatts.map_or_else(|| recipe.release(), |power| recipe.set_power(power, reading).unwrap());
    let request = |(point, value): (&str, f64)| {
        let point = profile.point(point).unwrap();
        let request = point.write(value, point.scale_register.map(|_| exponent), UnitId(1)).unwrap();
        (request.address, request.words)
    };
    writes.into_iter().map(request).collect()
}

#[test]
fn model_704_takes_a_power_in_watts_and_reverts_by_itself() {
    let profile = profile(704);
    // Offsets in the model: WSetEna 20, WSetMod 21, WSet 22, WSetEnaRvrt 28, WSetRvrtTms 29.
    let set =
        |power: [u16; 2]| vec![(100, vec![0]), (101, vec![0, 60]), (93, vec![1]), (94, power.to_vec()), (92, vec![1])];
    let all = |_: &str| Some(0.0);
    assert_eq!(written(&profile, Some(2.5), 1, all), set([0, 250]), "+ is generated");
    assert_eq!(written(&profile, Some(-2.5), 1, all), set([0xffff, 0xff06]));
    assert_eq!(written(&profile, Some(-2.5), 0, all), set([0xffff, 0xf63c]));
    assert_eq!(written(&profile, Some(0.0), 0, all), set([0, 0]));
    assert_eq!(written(&profile, None, 0, all), [(92, vec![0])]);
    let recipe = profile.set_point.unwrap().recipe.unwrap();
    assert_eq!(recipe.revert, Some(Revert::Point("m704_WSetRvrtTms".into())));
}

#[test]
fn what_a_device_marks_as_not_implemented_is_not_written() {
    let profile = profile(704);
    let has_mode_only = |name: &str| (name == "m704_WSetMod").then_some(1.0);
    let expected = [(93, vec![1]), (94, vec![0, 2500]), (92, vec![1])];
    assert_eq!(written(&profile, Some(2.5), 0, has_mode_only), expected);
    assert_eq!(written(&profile, Some(2.5), 0, |_| None), expected[1..]);
}

#[test]
fn model_124_takes_shares_of_the_greatest_power() {
    let profile = profile(124);
    let reading = |name: &str| Some(if name == "m124_WChaMax" { 8000.0 } else { 0.0 });
    // Offsets in the model: WChaMax 0, StorCtl_Mod 3, OutWRte 10, InWRte 11, InOutWRte_RvrtTms 13.
    let set = |charge: u16, discharge: u16| [(85, vec![60]), (83, vec![charge]), (82, vec![discharge]), (75, vec![3])];
    // 2 kW of 8 kW in hundredths of a percent.
    assert_eq!(written(&profile, Some(-2.0), -2, reading), set(2500, 0xf63c));
    assert_eq!(written(&profile, Some(2.0), -2, reading), set(0xf63c, 2500));
    assert_eq!(written(&profile, Some(2.0), 0, reading), set(0xffe7, 25));
    assert_eq!(written(&profile, None, 0, reading), [(75, vec![0]), (83, vec![100]), (82, vec![100])]);
    let recipe = profile.set_point.unwrap().recipe.unwrap();
    let unread = recipe.set_power(2.0, |_| None).unwrap_err();
    assert_eq!(unread.to_string(), "m124_WChaMax has no value yet, which the power has to be divided by");
}

#[test]
fn model_704_comes_before_124_and_a_limit_of_generation_is_no_set_point() {
    let both = MemoryDevice::at(0).with(1, &[], 0).with(124, &[], 0).with(704, &[], 0).ended().found();
    let power = |models: Option<&[u16]>| both.profile(models).set_point.map(|set_point| set_point.power);
    assert_eq!(power(None), Some(Some("m704_WSet".into())));
    assert_eq!(power(Some(&[124])), Some(None), "the settings leave 704 out");
    assert_eq!(profile(123).set_point, None);
}
