//! Conversion between raw numbers and values in the channel's unit.

/// From the raw number to the channel's unit: `raw × scale + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    factor: f64,
    // A double cannot represent 0.1 exactly; dividing by 10 instead gives the digits that the device meant.
    divisor: f64,
    offset: f64,
}

impl Scaling {
    /// The value is the raw number.
    pub(crate) const NONE: Self = Self { factor: 1.0, divisor: 1.0, offset: 0.0 };

    /// A finite, non-zero scale and a finite offset; none for other numbers.
    pub fn new(scale: f64, offset: f64) -> Option<Self> {
        if !scale.is_finite() || scale == 0.0 || !offset.is_finite() {
            return None;
        }
        let (factor, divisor) = decimal_fraction(scale).unwrap_or((scale, 1.0));
        Some(Self { factor, divisor, offset })
    }

    /// The value of a raw number.
    pub fn to_value(self, raw: f64) -> f64 {
        let product = raw * self.factor;
        // The division is the expensive part.
        let scaled = if self.divisor == 1.0 { product } else { product / self.divisor };
        scaled + self.offset
    }

    /// The raw number of a value.
    pub fn to_raw(self, value: f64) -> f64 {
        (value - self.offset) * self.divisor / self.factor
    }

    /// The same with the value multiplied by 10^exponent, for a change of unit or a scale factor from another register.
    #[must_use]
    pub fn times_ten_to(self, exponent: i32) -> Self {
        let power = 10_f64.powi(exponent.abs());
        let offset = if exponent < 0 { self.offset / power } else { self.offset * power };
        if exponent < 0 {
            Self { divisor: self.divisor * power, offset, ..self }
        } else {
            Self { factor: self.factor * power, offset, ..self }
        }
    }

    /// The same with the value's sign inverted.
    #[must_use]
    pub(crate) fn negated(self) -> Self {
        Self { factor: -self.factor, divisor: self.divisor, offset: -self.offset }
    }
}

/// Splits a scale such as 0.25 or -0.001 into an integer and the power of ten that divides it.
fn decimal_fraction(scale: f64) -> Option<(f64, f64)> {
    /// No profile gives a scale with more digits after the point.
    const MAX_DIGITS: i32 = 9;
    (0..=MAX_DIGITS).map(|digits| 10_f64.powi(digits)).find_map(|power| {
        let whole = (scale * power).round();
        (whole != 0.0 && whole / power == scale).then_some((whole, power))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_is_exact_in_decimal_digits() {
        let check = |scale: f64, offset: f64, raw: f64, expected: f64| {
            let scaling = Scaling::new(scale, offset).unwrap();
            assert_eq!(scaling.to_value(raw), expected, "{raw} × {scale} + {offset}");
            assert!((scaling.to_raw(expected) - raw).abs() < 1e-6 * raw.abs(), "{raw} × {scale} + {offset}");
        };
        check(0.1, 0.0, 723.0, 72.3);
        check(0.01, 0.0, 7.0, 0.07);
        check(-0.001, 0.0, 2500.0, -2.5);
        check(0.25, -40.0, 273.0, 28.25);
        check(10.0, 0.0, 7.0, 70.0);
        check(1e-12, 0.0, 1e12, 1.0);
        assert_eq!(Scaling::new(0.0, 0.0), None);
        assert_eq!(Scaling::new(f64::NAN, 0.0), None);
        assert_eq!(Scaling::NONE.times_ten_to(-3).negated().to_value(1500.0), -1.5);
        assert_eq!(Scaling::NONE.times_ten_to(2).to_value(3.0), 300.0);
    }
}
