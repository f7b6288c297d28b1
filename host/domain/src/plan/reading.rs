//! Decodes the responses of one cycle into a frame.

use super::packing::{Plan, ReadRequest};
use crate::event::{Fault, FaultKind, Frame, Text};
use crate::profile::{Decoder, Role};
use crate::register::Format;

/// Exponents that the register of a scale factor may hold, as in SunSpec; 0x8000 and all others mean that there is
/// none.
const EXPONENTS: std::ops::RangeInclusive<i16> = -10..=10;

/// What the register of a scale factor holds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum FactorState {
    /// It has not been read yet.
    Unread,
    /// The device has no factor now.
    Unavailable,
    /// The power of ten to multiply with.
    Exponent(i32),
}

/// The values of one cycle so far.
#[derive(Clone, Debug)]
pub struct PartialReading {
    values: Vec<f64>,
    factors: Vec<FactorState>,
    /// Whether the header of each SunSpec model is another one than when the points were discovered.
    changed_headers: Vec<bool>,
    unavailable: Vec<usize>,
    texts: Vec<(usize, String)>,
}

impl Plan {
    /// An empty reading.
    pub fn reading(&self) -> PartialReading {
        PartialReading {
            values: vec![f64::NAN; self.map.decoders.len()],
            factors: vec![FactorState::Unread; self.map.factors],
            changed_headers: vec![false; self.map.headers.len()],
            unavailable: Vec::new(),
            texts: Vec::new(),
        }
    }

    /// Adds the response to a request to a reading: registers, or bits as 0 and 1.
    pub fn decode(&self, request: &ReadRequest, registers: &[u16], reading: &mut PartialReading) {
        for &index in &request.items {
            let Some(item) = self.item(index) else { continue };
            let offset = usize::from(item.address.saturating_sub(request.start));
            let Some(registers) = registers.get(offset..offset + usize::from(item.width)) else { continue };
            match item.role {
                Role::Value(channel) => self.decode_value(channel, registers, reading),
                Role::Factor(index) => reading.set_factor(index, registers),
                Role::Header(index) => self.check_header(index, registers, reading),
            }
        }
    }

    /// A header that has changed once in a cycle has changed: the registers behind it may have been read before or after.
    fn check_header(&self, index: usize, registers: &[u16], reading: &mut PartialReading) {
        let expected = self.map.headers.get(index).map(|header| [header.id, header.length]);
        if let Some(changed) = reading.changed_headers.get_mut(index) {
            *changed |= expected.is_none_or(|expected| registers != expected);
        }
    }

    fn decode_value(&self, channel: usize, registers: &[u16], reading: &mut PartialReading) {
        let Some(decoder) = self.map.decoders.get(channel) else { return };
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

    /// The frame of a source: values in their units, and a fault for each that is not good.
    pub fn finish(&self, mut reading: PartialReading, source: u32) -> Frame {
        reading.discard_moved(&self.map.decoders);
        reading.unavailable.sort_unstable();
        reading.texts.sort_by_key(|(channel, _)| *channel);
        // The search in a refused block reads some points twice.
        reading.texts.dedup_by_key(|(channel, _)| *channel);
        let mut faults = Vec::new();
        for (channel, decoder) in self.map.decoders.iter().enumerate() {
            if let (Some(kind), Ok(channel)) = (reading.finish_value(channel, decoder), u32::try_from(channel)) {
                faults.push(Fault { channel, kind });
            }
        }
        let text = |(channel, value)| Some(Text { channel: u32::try_from(channel).ok()?, value });
        let texts = reading.texts.into_iter().filter_map(text).collect();
        Frame { source, values: reading.values, faults, texts }
    }
}

impl PartialReading {
    /// Whether a SunSpec model is not where it was discovered, or has another length: the device has to be discovered again.
    pub fn has_changed_headers(&self) -> bool {
        self.changed_headers.contains(&true)
    }

    /// Discards what was read where a model used to be.
    fn discard_moved(&mut self, decoders: &[Decoder]) {
        if !self.has_changed_headers() {
            return;
        }
        let headers = &self.changed_headers;
        let has_moved = |channel: usize| {
            let header = decoders.get(channel).and_then(|decoder| decoder.header);
            header.is_some_and(|header| headers.get(header) == Some(&true))
        };
        for (channel, value) in self.values.iter_mut().enumerate() {
            if has_moved(channel) {
                *value = f64::NAN;
            }
        }
        self.texts.retain(|(channel, _)| !has_moved(*channel));
        self.unavailable.retain(|channel| !has_moved(*channel));
    }

    fn set_factor(&mut self, index: usize, registers: &[u16]) {
        let exponent = registers.first().map(|register| register.cast_signed());
        let exponent = exponent.filter(|exponent| EXPONENTS.contains(exponent)).map(i32::from);
        if let Some(slot) = self.factors.get_mut(index) {
            *slot = exponent.map_or(FactorState::Unavailable, FactorState::Exponent);
        }
    }

    /// Applies the scale factor to a value; returns the fault if it is not good.
    fn finish_value(&mut self, channel: usize, decoder: &Decoder) -> Option<FaultKind> {
        let value = self.values.get_mut(channel)?;
        if let Some(index) = decoder.factor {
            *value = match self.factors.get(index) {
                Some(FactorState::Exponent(exponent)) => decoder.scaling.times_ten_to(*exponent).to_value(*value),
                Some(FactorState::Unavailable) if !value.is_nan() => {
                    *value = f64::NAN;
                    return Some(FaultKind::Unavailable);
                }
                _ => f64::NAN,
            };
        }
        if !value.is_nan() {
            let is_in_range = (decoder.min..=decoder.max).contains(value);
            if !decoder.is_plausible(*value) {
                *value = f64::NAN;
                return Some(FaultKind::OutOfRange);
            }
            return (!is_in_range).then_some(FaultKind::OutOfRange);
        }
        let has_text = self.texts.binary_search_by_key(&channel, |(of, _)| *of).is_ok();
        if decoder.layout.format.is_text() && has_text {
            None
        } else if self.unavailable.binary_search(&channel).is_ok() {
            Some(FaultKind::Unavailable)
        } else {
            Some(FaultKind::Missing)
        }
    }
}
