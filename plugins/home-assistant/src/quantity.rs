//! What Home Assistant calls a quantity: device class, unit and decimals for the unit and the name of a channel.

use bessai_plugin::{Channel, ChannelKind};

/// How Home Assistant shows a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quantity {
    /// One of Home Assistant's device classes; none if it has no class for this unit.
    pub(crate) device_class: Option<&'static str>,
    /// Decimals that it shows.
    pub(crate) decimals: u8,
    /// What a value is multiplied by, where Home Assistant has the class for another unit only.
    pub(crate) factor: f64,
}

/// UCUM code, Home Assistant's unit, device class, decimals, factor.
type Row = (&'static str, &'static str, Option<&'static str>, u8, f64);

/// Units with one meaning. A unit that is not listed is shown as it is, without a device class.
const UNITS: [Row; 40] = [
    ("mW", "mW", Some("power"), 0, 1.0),
    ("W", "W", Some("power"), 0, 1.0),
    ("kW", "kW", Some("power"), 2, 1.0),
    ("MW", "MW", Some("power"), 3, 1.0),
    ("VA", "VA", Some("apparent_power"), 0, 1.0),
    ("kVA", "VA", Some("apparent_power"), 0, 1e3),
    ("MVA", "VA", Some("apparent_power"), 0, 1e6),
    ("var", "var", Some("reactive_power"), 0, 1.0),
    ("kvar", "var", Some("reactive_power"), 0, 1e3),
    ("Mvar", "var", Some("reactive_power"), 0, 1e6),
    ("mV", "mV", Some("voltage"), 0, 1.0),
    ("V", "V", Some("voltage"), 1, 1.0),
    ("kV", "V", Some("voltage"), 0, 1e3),
    ("mA", "mA", Some("current"), 0, 1.0),
    ("A", "A", Some("current"), 2, 1.0),
    ("kA", "A", Some("current"), 0, 1e3),
    ("Hz", "Hz", Some("frequency"), 2, 1.0),
    ("kHz", "kHz", Some("frequency"), 3, 1.0),
    ("Cel", "°C", Some("temperature"), 1, 1.0),
    ("K", "K", Some("temperature"), 1, 1.0),
    ("[degF]", "°F", Some("temperature"), 1, 1.0),
    ("Wh", "Wh", Some("energy"), 0, 1.0),
    ("kWh", "kWh", Some("energy"), 2, 1.0),
    ("MWh", "MWh", Some("energy"), 3, 1.0),
    ("ms", "ms", Some("duration"), 0, 1.0),
    ("s", "s", Some("duration"), 0, 1.0),
    ("min", "min", Some("duration"), 0, 1.0),
    ("h", "h", Some("duration"), 2, 1.0),
    ("d", "d", Some("duration"), 2, 1.0),
    ("Pa", "Pa", Some("pressure"), 0, 1.0),
    ("hPa", "hPa", Some("pressure"), 0, 1.0),
    ("kPa", "kPa", Some("pressure"), 1, 1.0),
    ("bar", "bar", Some("pressure"), 2, 1.0),
    ("W/m2", "W/m²", Some("irradiance"), 0, 1.0),
    ("m/s", "m/s", Some("speed"), 1, 1.0),
    ("m", "m", Some("distance"), 1, 1.0),
    ("A.h", "Ah", None, 1, 1.0),
    ("Ohm", "Ω", None, 2, 1.0),
    ("kOhm", "kΩ", None, 1, 1.0),
    ("deg", "°", None, 1, 1.0),
];

/// The quantity and the unit of a channel that is a number; the unit is none for a pure number.
pub(crate) fn of(channel: &Channel) -> (Quantity, Option<String>) {
    let plain = |device_class, decimals| Quantity { device_class, decimals, factor: 1.0 };
    if let Some((_, unit, class, decimals, factor)) = UNITS.iter().find(|row| row.0 == channel.unit) {
        // Energy that is not counted is stored in something.
        let stored = *class == Some("energy") && channel.kind != ChannelKind::Counter;
        let class = if stored { Some("energy_storage") } else { *class };
        return (Quantity { device_class: class, decimals: *decimals, factor: *factor }, Some((*unit).to_owned()));
    }
    match channel.unit.as_str() {
        "%" if has_word(&channel.name, &["soc"]) => (plain(Some("battery"), 1), Some("%".into())),
        "%" if has_word(&channel.name, &["humidity"]) => (plain(Some("humidity"), 1), Some("%".into())),
        "1" if is_power_factor(&channel.name) => (plain(Some("power_factor"), 3), None),
        "1" if channel.kind == ChannelKind::Counter => (plain(None, 0), None),
        "1" => (plain(None, 2), None),
        "%" => (plain(None, 1), Some("%".into())),
        other => (plain(None, 2), Some(other.to_owned())),
    }
}

/// Whether a channel counts energy that a battery gave or took; the directions are those of the battery.
pub(crate) fn battery_direction(channel: &Channel) -> Option<Direction> {
    let is_energy = channel.kind == ChannelKind::Counter && matches!(channel.unit.as_str(), "Wh" | "kWh" | "MWh");
    let name = channel.name.to_ascii_lowercase();
    match () {
        () if !is_energy => None,
        // Of SunSpec's models, the port of a DC measurement that is a battery.
        () if name.contains("discharge") || name.ends_with("_dcwhinj") => Some(Direction::Out),
        () if name.contains("charge") || name.ends_with("_dcwhabs") => Some(Direction::In),
        () => None,
    }
}

/// Of a battery's energy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Charged.
    In,
    /// Discharged.
    Out,
}

/// Whether a flag tells of something that is wrong, by its name.
pub(crate) fn is_alarm(name: &str) -> bool {
    const WORDS: [&str; 7] = ["alarm", "alrm", "evt", "event", "fault", "error", "warn"];
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word))
}

fn is_power_factor(name: &str) -> bool {
    has_word(name, &["pf", "cosphi"]) || name.to_ascii_lowercase().contains("power_factor")
}

fn has_word(name: &str, words: &[&str]) -> bool {
    name.split('_').any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)))
}
