//! Decodes the responses of one cycle into a frame.
//!
//! A value whose scale factor is in the same response is scaled at once. Another one waits for its factor, and is dropped
//! if that changed meanwhile.

use std::collections::BTreeMap;

use super::latest::LatestNumbers;
use super::packing::{Plan, ReadRequest};
use crate::event::{Fault, FaultKind, Frame, Text};
use crate::profile::{Decoder, RegisterMap, Role};
use crate::register::Format;

/// Exponents that the register of a scale factor may hold, as in SunSpec; 0x8000 and all others mean that there is
/// none.
const EXPONENTS: std::ops::RangeInclusive<i16> = -10..=10;

/// What the register of a scale factor holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum FactorState {
    /// It has not been read yet.
    #[default]
    Unread,
    /// The device has no factor now.
    Unavailable,
    /// The power of ten to multiply with.
    Exponent(i32),
}

/// A scale factor and the responses that had it.
#[derive(Clone, Copy, Debug, Default)]
struct ReadFactor {
    state: FactorState,
    first: u32,
    last: u32,
    has_changed: bool,
}

/// The values of one cycle so far.
#[derive(Clone, Debug)]
pub struct PartialReading {
    values: Vec<f64>,
    factors: Vec<ReadFactor>,
    /// Channels whose values are not yet multiplied with their factors, and the response that had them.
    unscaled: BTreeMap<usize, u32>,
    /// Whether the header of each SunSpec model is another one than when the points were discovered.
    changed_headers: Vec<bool>,
    unavailable: Vec<usize>,
    texts: Vec<(usize, String)>,
    /// Number of responses.
    responses: u32,
}

impl Plan {
    /// An empty reading.
    pub fn reading(&self) -> PartialReading {
        PartialReading {
            values: vec![f64::NAN; self.map.decoders.len()],
            factors: vec![ReadFactor::default(); self.map.factors],
            unscaled: BTreeMap::new(),
            changed_headers: vec![false; self.map.headers.len()],
            unavailable: Vec::new(),
            texts: Vec::new(),
            responses: 0,
        }
    }

    /// Adds the response to a request to a reading: registers, or bits as 0 and 1.
    pub fn decode(&mut self, request: &ReadRequest, registers: &[u16], reading: &mut PartialReading) {
        reading.responses = reading.responses.saturating_add(1);
        let Self { map, latest, .. } = self;
        let items = || {
            request.items.iter().filter_map(|&index| {
                let item = map.items.get(index)?;
                let offset = usize::from(item.address.saturating_sub(request.start));
                Some((item.role, registers.get(offset..offset + usize::from(item.width))?))
            })
        };
        if map.factors > 0 {
            for (role, registers) in items() {
                if let Role::Factor(index) = role {
                    reading.set_factor(index, registers);
                }
            }
        }
        for (role, registers) in items() {
            match role {
                Role::Value(channel) => reading.decode_value(map, latest, channel, registers),
                Role::Header(index) => reading.check_header(map, index, registers),
                Role::Factor(_) => {}
            }
        }
    }

    /// Scales the values whose factors came with other responses, and drops those whose factor may have changed meanwhile.
    fn scale_others(&self, reading: &mut PartialReading) {
        for (channel, response) in std::mem::take(&mut reading.unscaled) {
            let Some(decoder) = self.map.decoders.get(channel) else { continue };
            let Some((index, factor)) = decoder.factor.and_then(|index| Some((index, *reading.factors.get(index)?)))
            else {
                continue;
            };
            let is_unchecked = self.rereads.after.contains(&index) && factor.last < response
                || self.rereads.before.contains(&index) && factor.first > response;
            if (factor.has_changed || is_unchecked)
                && let Some(value) = reading.values.get_mut(channel)
            {
                *value = f64::NAN;
                continue;
            }
            reading.scale(channel, decoder, index);
        }
    }

    /// The frame of a source: values in their units, and a fault for each that is not good.
    pub fn finish(&self, mut reading: PartialReading, source: u32) -> Frame {
        self.scale_others(&mut reading);
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
    /// A header that has changed once in a cycle has changed: the registers behind it may have been read before or after.
    fn check_header(&mut self, map: &RegisterMap, index: usize, registers: &[u16]) {
        let expected = map.headers.get(index).map(|header| [header.id, header.length]);
        if let Some(changed) = self.changed_headers.get_mut(index) {
            *changed |= expected.is_none_or(|expected| registers != expected);
        }
    }

    fn decode_value(&mut self, map: &RegisterMap, latest: &mut LatestNumbers, channel: usize, registers: &[u16]) {
        let Some(decoder) = map.decoders.get(channel) else { return };
        if let Format::Text(_, layout) = decoder.layout.format {
            match layout.decode(registers) {
                Some(text) => self.texts.push((channel, text)),
                None => self.unavailable.push(channel),
            }
            return;
        }
        let number = latest.decode(channel, decoder, registers);
        if number.is_nan() {
            return self.unavailable.push(channel);
        }
        if let Some(value) = self.values.get_mut(channel) {
            *value = number;
        }
        let Some(factor) = decoder.factor else { return };
        if self.factors.get(factor).is_some_and(|factor| factor.last == self.responses) {
            self.unscaled.remove(&channel);
            self.scale(channel, decoder, factor);
        } else {
            self.unscaled.insert(channel, self.responses);
        }
    }

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
        let Some(factor) = self.factors.get_mut(index) else { return };
        let state = exponent.map_or(FactorState::Unavailable, FactorState::Exponent);
        match factor.state {
            FactorState::Unread => factor.first = self.responses,
            known => factor.has_changed |= known != state,
        }
        (factor.state, factor.last) = (state, self.responses);
    }

    /// Multiplies a value with its factor.
    fn scale(&mut self, channel: usize, decoder: &Decoder, factor: usize) {
        let state = self.factors.get(factor).map(|factor| factor.state).unwrap_or_default();
        let Some(value) = self.values.get_mut(channel) else { return };
        *value = match state {
            FactorState::Exponent(exponent) => decoder.scaling.times_ten_to(exponent).to_value(*value),
            FactorState::Unavailable => {
                self.unavailable.push(channel);
                f64::NAN
            }
            FactorState::Unread => f64::NAN,
        };
    }

    /// The fault of a value if it is not good.
    fn finish_value(&mut self, channel: usize, decoder: &Decoder) -> Option<FaultKind> {
        let value = self.values.get_mut(channel)?;
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

/// The channels whose values need a scale factor.
pub(super) fn scaled_by(map: &RegisterMap, factor: usize) -> impl Iterator<Item = usize> + '_ {
    map.decoders.iter().enumerate().filter(move |(_, decoder)| decoder.needs(factor)).map(|(channel, _)| channel)
}
