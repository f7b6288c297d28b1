//! What the answers of one cycle mean: registers become a frame.

use super::{Plan, Request, Role};
use crate::event::{Fault, FaultKind, Frame, Text};
use crate::profile::Point;
use crate::register::{Format, Layout, Scaling};

/// How a channel's value is made of its registers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Decoder {
    layout: Layout,
    scaling: Scaling,
    /// The power of ten that it is multiplied with, by its number.
    factor: Option<usize>,
    unavailable: Vec<u64>,
    min: f64,
    max: f64,
}

/// Powers of ten that a scale factor's register may hold, as SunSpec has it; 0x8000 and anything else mean none.
const EXPONENTS: std::ops::RangeInclusive<i16> = -10..=10;

impl Decoder {
    pub(super) fn new(point: &Point, factor: Option<usize>) -> Self {
        Self {
            layout: point.layout,
            scaling: point.scaling,
            factor,
            unavailable: point.unavailable.clone(),
            // Without limits of its own a value is still a number: one that its scale makes infinite is not.
            min: point.min.unwrap_or(f64::MIN),
            max: point.max.unwrap_or(f64::MAX),
        }
    }

    pub(super) fn needs(&self, factor: usize) -> bool {
        self.factor == Some(factor)
    }

    /// None where the device says that it has no value.
    fn number(&self, registers: &[u16]) -> Option<f64> {
        let bits = self.layout.raw_bits(registers)?;
        let raw = if self.unavailable.contains(&bits) { None } else { self.layout.number(bits) }?;
        Some(if self.factor.is_some() { raw } else { self.scaling.apply(raw) })
    }
}

/// The values of one cycle so far.
#[derive(Clone, Debug)]
pub struct Reading {
    values: Vec<f64>,
    factors: Vec<Option<i32>>,
    unavailable: Vec<usize>,
    texts: Vec<(usize, String)>,
}

impl Plan {
    /// A reading with nothing read yet.
    pub fn reading(&self) -> Reading {
        Reading {
            values: vec![f64::NAN; self.wanted.decoders.len()],
            factors: vec![None; self.wanted.factors],
            unavailable: Vec::new(),
            texts: Vec::new(),
        }
    }

    /// Puts what a request brought into a reading: registers, or bits as 0 and 1.
    pub fn decode(&self, request: &Request, registers: &[u16], reading: &mut Reading) {
        for &index in &request.items {
            let Some(item) = self.item(index) else { continue };
            let offset = usize::from(item.address.saturating_sub(request.start));
            let Some(registers) = registers.get(offset..offset + usize::from(item.width)) else { continue };
            match item.role {
                Role::Value(channel) => self.decode_value(channel, registers, reading),
                Role::Factor(number) => reading.set_factor(number, registers),
            }
        }
    }

    fn decode_value(&self, channel: usize, registers: &[u16], reading: &mut Reading) {
        let Some(decoder) = self.wanted.decoders.get(channel) else { return };
        if let Format::Text(_, layout) = decoder.layout.format {
            match layout.decode(registers) {
                Some(text) => reading.texts.push((channel, text)),
                None => reading.unavailable.push(channel),
            }
            return;
        }
        match (decoder.number(registers), reading.values.get_mut(channel)) {
            (Some(value), Some(slot)) => *slot = value,
            _ => reading.unavailable.push(channel),
        }
    }

    /// The frame of a source: values in their units, a fault for each that is not good.
    pub fn finish(&self, reading: Reading, source: u32) -> Frame {
        let Reading { mut values, factors, mut unavailable, mut texts } = reading;
        unavailable.sort_unstable();
        texts.sort_by_key(|(channel, _)| *channel);
        // A search for what was refused reads some points twice.
        texts.dedup_by_key(|(channel, _)| *channel);
        let mut faults = Vec::new();
        for (channel, (value, decoder)) in values.iter_mut().zip(&self.wanted.decoders).enumerate() {
            if let Some(number) = decoder.factor {
                let exponent = factors.get(number).copied().flatten();
                *value = exponent.map_or(f64::NAN, |exponent| decoder.scaling.times_ten_to(exponent).apply(*value));
            }
            let kind = if value.is_nan() {
                match decoder.layout.format {
                    Format::Text(..) if texts.binary_search_by_key(&channel, |(of, _)| *of).is_ok() => continue,
                    _ if unavailable.binary_search(&channel).is_ok() => FaultKind::Unavailable,
                    _ => FaultKind::Missing,
                }
            } else if *value < decoder.min || *value > decoder.max {
                if value.is_infinite() {
                    *value = f64::NAN;
                }
                FaultKind::OutOfRange
            } else {
                continue;
            };
            faults.extend(u32::try_from(channel).map(|channel| Fault { channel, kind }));
        }
        let text = |(channel, value)| Some(Text { channel: u32::try_from(channel).ok()?, value });
        Frame { source, values, faults, texts: texts.into_iter().filter_map(text).collect() }
    }
}

impl Reading {
    fn set_factor(&mut self, number: usize, registers: &[u16]) {
        let exponent = registers.first().map(|register| register.cast_signed());
        let exponent = exponent.filter(|exponent| EXPONENTS.contains(exponent)).map(i32::from);
        if let Some(slot) = self.factors.get_mut(number) {
            *slot = exponent;
        }
    }
}
