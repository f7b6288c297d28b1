//! SunSpec models whose registers all hold 0xFFFF: the device has no values for them at the moment.
//!
//! In an unsigned point 0xFFFF means "no value", in a signed one it is -1. Where every point of a model reads so, the signed
//! ones have no value either.

use std::collections::BTreeMap;

use crate::counter::withhold;
use crate::event::Frame;
use crate::profile::{ModelHeader, Point};

/// Points of a model from which on its values say that it is blank; of fewer, -1 may be the value of all.
const MIN_POINTS: usize = 3;
/// The exponent in a scale factor's register that holds 0xFFFF.
const BLANK_EXPONENT: i32 = -1;

/// The models of one source.
#[derive(Clone, Debug, Default)]
pub struct BlankModelFilter {
    models: Vec<Vec<BlankPoint>>,
}

#[derive(Clone, Copy, Debug)]
struct BlankPoint {
    /// Its position in a frame.
    channel: usize,
    /// Its value if its registers hold 0xFFFF; NaN if that means none.
    blank: f64,
}

impl BlankModelFilter {
    /// The models of these points, which are in the order of a frame's values.
    pub fn new<'a>(points: impl Iterator<Item = &'a Point>) -> Self {
        let mut models: BTreeMap<ModelHeader, Vec<BlankPoint>> = BTreeMap::new();
        for (channel, point) in points.enumerate().filter(|(_, point)| !point.layout.format.is_text()) {
            if let Some(header) = point.header {
                models.entry(header).or_default().push(BlankPoint { channel, blank: blank_value(point) });
            }
        }
        let can_be_mistaken =
            |points: &Vec<BlankPoint>| points.len() >= MIN_POINTS && points.iter().any(|point| !point.blank.is_nan());
        Self { models: models.into_values().filter(can_be_mistaken).collect() }
    }

    /// Takes the values of blank models out of a frame.
    pub fn remove_blank(&self, frame: &mut Frame) {
        for points in &self.models {
            let is_blank = |point: &BlankPoint| {
                let value = frame.values.get(point.channel).copied().unwrap_or(f64::NAN);
                value.is_nan() || value.total_cmp(&point.blank).is_eq()
            };
            if points.iter().all(is_blank) {
                let shown =
                    points.iter().filter(|point| frame.values.get(point.channel).is_some_and(|value| !value.is_nan()));
                let shown: Vec<usize> = shown.map(|point| point.channel).collect();
                shown.into_iter().for_each(|channel| withhold(frame, channel));
            }
        }
    }
}

fn blank_value(point: &Point) -> f64 {
    let words = vec![u16::MAX; usize::from(point.layout.format.width())];
    if point.layout.raw_bits(&words).is_none_or(|bits| point.unavailable.contains(&bits)) {
        return f64::NAN;
    }
    let scaling = match point.scale_register {
        Some(_) => point.scaling.times_ten_to(BLANK_EXPONENT),
        None => point.scaling,
    };
    point.layout.decode(&words).map_or(f64::NAN, |raw| scaling.to_value(raw))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Fault, FaultKind};
    use crate::register::{Format, Layout, Table};

    /// The frame of a model with a signed, a signed scaled, an unsigned and a float point that was read with these values.
    fn filtered(values: [f64; 4]) -> Frame {
        let header = Some(ModelHeader { address: 40_070, id: 103, length: 50 });
        let point = |format, scale_register, unavailable| Point {
            header,
            scale_register,
            unavailable,
            ..Point::new("p", Table::Holding, 0, Layout::plain(format))
        };
        let points = [
            point(Format::Int16, None, vec![0x8000]),
            point(Format::Int16, Some(9), vec![0x8000]),
            point(Format::UInt16, None, vec![0xffff]),
            point(Format::Float32, None, vec![]),
        ];
        let mut frame = Frame { source: 0, values: values.to_vec(), faults: Vec::new(), texts: Vec::new() };
        BlankModelFilter::new(points.iter()).remove_blank(&mut frame);
        frame
    }

    #[test]
    fn a_model_of_ones_has_no_values() {
        let frame = filtered([-1.0, -0.1, f64::NAN, f64::NAN]);
        assert!(frame.values.iter().all(|value| value.is_nan()), "{:?}", frame.values);
        let fault = |channel| Fault { channel, kind: FaultKind::Unavailable };
        assert_eq!(frame.faults, [fault(0), fault(1)]);
    }

    #[test]
    fn a_value_of_minus_one_among_others_stays() {
        for values in [[-1.0, -0.1, 5.0, f64::NAN], [-1.0, -0.2, f64::NAN, f64::NAN], [3.0, -0.1, f64::NAN, f64::NAN]] {
            let frame = filtered(values);
            assert_eq!(frame.values[..2], values[..2]);
            assert!(frame.faults.is_empty());
        }
    }
}
