//! Converts between units of one quantity: UCUM codes with metric prefixes, temperatures and shares.

/// How a value is calculated from that of the channel: `value * factor + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Conversion {
    pub(crate) factor: f64,
    pub(crate) offset: f64,
}

/// A unit in terms of the base unit of its quantity.
struct Unit {
    base: &'static str,
    factor: f64,
    offset: f64,
}

/// Leaves a value as it is.
pub(crate) const SAME: Conversion = Conversion { factor: 1.0, offset: 0.0 };

/// Units that take metric prefixes, with their base unit and its size. `Wh` is what profiles write for UCUM's `W.h`.
const PREFIXED: [(&str, &str, f64); 14] = [
    ("W.h", "J", 3600.0),
    ("Wh", "J", 3600.0),
    ("varh", "varh", 1.0),
    ("VAh", "VAh", 1.0),
    ("var", "var", 1.0),
    ("VA", "VA", 1.0),
    ("Ah", "C", 3600.0),
    ("A.h", "C", 3600.0),
    ("Hz", "Hz", 1.0),
    ("Ohm", "Ohm", 1.0),
    ("W", "W", 1.0),
    ("V", "V", 1.0),
    ("A", "A", 1.0),
    ("J", "J", 1.0),
];

/// Metric prefixes from nano to giga.
const PREFIXES: [(&str, f64); 7] =
    [("", 1.0), ("n", 1e-9), ("u", 1e-6), ("m", 1e-3), ("k", 1e3), ("M", 1e6), ("G", 1e9)];

/// Units without prefixes.
const OTHERS: [(&str, &str, f64, f64); 10] = [
    ("Cel", "K", 1.0, 273.15),
    ("K", "K", 1.0, 0.0),
    ("[degF]", "K", 5.0 / 9.0, 459.67 * 5.0 / 9.0),
    ("1", "1", 1.0, 0.0),
    ("%", "1", 0.01, 0.0),
    ("s", "s", 1.0, 0.0),
    ("ms", "s", 1e-3, 0.0),
    ("min", "s", 60.0, 0.0),
    ("h", "s", 3600.0, 0.0),
    ("d", "s", 86_400.0, 0.0),
];

/// The conversion from one unit to another; none if they do not measure the same quantity, or one is not known.
pub(crate) fn conversion(from: &str, to: &str) -> Option<Conversion> {
    if from == to {
        return Some(SAME);
    }
    let (from, to) = (unit(from)?, unit(to)?);
    if from.base != to.base {
        return None;
    }

    let factor = from.factor / to.factor;
    Some(Conversion { factor, offset: (from.offset - to.offset) / to.factor })
}

fn unit(code: &str) -> Option<Unit> {
    if let Some(&(_, base, factor, offset)) = OTHERS.iter().find(|(known, ..)| *known == code) {
        return Some(Unit { base, factor, offset });
    }
    PREFIXED.iter().find_map(|&(name, base, size)| {
        let prefix = code.strip_suffix(name)?;
        let (_, scale) = PREFIXES.iter().find(|(known, _)| *known == prefix)?;
        Some(Unit { base, factor: size * scale, offset: 0.0 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_one_quantity_are_converted() {
        let check = |value: f64, from: &str, to: &str, expected: f64| {
            let Conversion { factor, offset } = conversion(from, to).unwrap();
            let got = value * factor + offset;
            assert!((got - expected).abs() <= expected.abs() * 1e-12, "{value} {from} is {got} {to}");
        };
        check(36.5, "kW", "W", 36_500.0);
        check(36_500.0, "W", "MW", 0.0365);
        check(2.0, "kWh", "J", 7_200_000.0);
        check(1500.0, "Wh", "kW.h", 1.5);
        check(25.0, "Cel", "[degF]", 77.0);
        check(25.0, "Cel", "K", 298.15);
        check(72.5, "%", "1", 0.725);
        check(90.0, "min", "h", 1.5);
        check(1.5, "kvar", "var", 1500.0);
        check(3.3, "V", "mV", 3300.0);
        check(1.0, "cycles", "cycles", 1.0);
    }

    #[test]
    fn other_units_are_not() {
        for (from, to) in [("kW", "kWh"), ("kW", "Cel"), ("cycles", "1"), ("kW", "xW"), ("VA", "W")] {
            assert_eq!(conversion(from, to), None, "{from} {to}");
        }
    }
}
