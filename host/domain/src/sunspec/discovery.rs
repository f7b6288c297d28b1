//! Walks the chain of models: returns which registers to read next and takes the device's responses.

use std::collections::{BTreeMap, VecDeque};

use super::description::{describe, register};
use super::found::{DeviceDescription, DeviceModel};
use super::models::{self, COMMON, HEADER};
use super::quantity;
use super::read::{DiscoveryError, ReadError, RegisterRange};
use crate::register::MAX_READ;

/// Registers where the chain may begin (the specification's three), in the order in which they are tried.
const BASES: [u16; 3] = [40_000, 0, 50_000];

/// `SunS`, the marker at the beginning of the chain.
pub(super) const MARKER: [u16; 2] = [0x5375, 0x6e53];

/// The id that ends the chain.
pub(super) const END: u16 = 0xffff;
/// The most models of one device: the largest known device has about 40, and a chain of zeros would have 32,000.
const MAX_MODELS: usize = 128;

/// The most reads of one discovery: four for each model, and some for a common model that is read register by register.
const MAX_READS: usize = 1_024;

/// How often the same registers are requested while the device is busy or silent, before fewer are requested.
const TRIES: u8 = 2;

/// The most consecutive reads without a response; each takes a whole timeout.
const MAX_TIMEOUTS: usize = 8;

/// Number of registers of a table.
const REGISTERS: u32 = 0x1_0000;

/// A discovery in progress. No register is read twice, unless the read failed.
///
/// ```text
/// while let Some(read) = discovery.next() { discovery.answer(device.read_holding(read.start, read.count)) }
/// let found = discovery.finish()?;
/// ```
#[derive(Clone, Debug)]
pub struct Discovery {
    /// Where the chain may begin, in the order in which it is looked for.
    bases: Vec<u16>,
    step: DiscoveryStep,
    /// The registers being read; empty when the discovery has ended.
    span: Span,
    /// The most registers to request at once, as far as is known.
    block: u16,
    reads: usize,
    /// Number of consecutive reads without a response.
    timeouts: usize,
    registers: BTreeMap<u16, u16>,
    base: u16,
    models: Vec<DeviceModel>,
    /// What is wrong with the chain although it can be used.
    note: Option<String>,
}

#[derive(Clone, Debug)]
enum DiscoveryStep {
    /// Reads the marker at this index of the bases.
    Probe(usize),
    /// Reads the id and the length of the model at this address.
    Header(u32),
    /// Reads counts, known quantities and the nameplate; these spans are left.
    Details(VecDeque<Span>),
    Ended(Result<(), DiscoveryError>),
}

/// Registers that are read in as many requests as necessary.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
    /// The most registers to request at once.
    block: u16,
    /// How often the next read has failed.
    tries: u8,
    /// A single register was refused, so `block` is no limit of the device.
    has_gaps: bool,
}

impl Span {
    const EMPTY: Self = Self::new(0, 0, 0);

    const fn new(start: u32, end: u32, block: u16) -> Self {
        Self { start, end, block, tries: 0, has_gaps: false }
    }
}

impl Default for Discovery {
    fn default() -> Self {
        Self::new(MAX_READ)
    }
}

impl Discovery {
    /// A discovery of a device that returns at most this many registers at once, as far as is known.
    pub fn new(block: u16) -> Self {
        Self::at(None, block)
    }

    /// The same for a device whose chain begins at this register; without one, at any of the specification's.
    pub fn at(base: Option<u16>, block: u16) -> Self {
        let mut discovery = Self {
            bases: base.map_or_else(|| BASES.to_vec(), |base| vec![base]),
            step: DiscoveryStep::Probe(0),
            span: Span::EMPTY,
            block: block.clamp(1, MAX_READ),
            reads: 0,
            timeouts: 0,
            registers: BTreeMap::new(),
            base: 0,
            models: Vec::new(),
            note: None,
        };
        discovery.probe(0);
        discovery
    }

    /// The registers to read now; none when the discovery has ended.
    pub fn next(&self) -> Option<RegisterRange> {
        let left = self.span.end.checked_sub(self.span.start)?;
        let count = u16::try_from(left).unwrap_or(MAX_READ).min(self.span.block).min(MAX_READ);
        let start = u16::try_from(self.span.start).ok()?;
        (count > 0).then_some(RegisterRange { start, count })
    }

    /// Takes the response to [`next`](Self::next).
    pub fn answer(&mut self, answer: Result<&[u16], ReadError>) {
        let Some(read) = self.next() else { return };
        self.reads += 1;
        if self.reads > MAX_READS {
            self.end(Err(DiscoveryError::TooManyReads(MAX_READS)));
            return;
        }
        self.timeouts = if answer == Err(ReadError::Timeout) { self.timeouts + 1 } else { 0 };
        if self.timeouts >= MAX_TIMEOUTS {
            self.end(Err(DiscoveryError::Timeout(self.timeouts)));
            return;
        }
        match answer {
            Ok(registers) if registers.len() == usize::from(read.count) => self.take(read, registers),
            Ok(_) => self.refused(read, ReadError::WrongLength),
            Err(refused) => self.refused(read, refused),
        }
    }

    /// The result, once the discovery has ended.
    pub fn finish(self) -> Result<DeviceDescription, DiscoveryError> {
        let DiscoveryStep::Ended(end) = self.step else { return Err(DiscoveryError::Unfinished) };
        end?;
        Ok(DeviceDescription { note: self.note, ..describe(self.base, self.models, &self.registers) })
    }

    fn take(&mut self, read: RegisterRange, registers: &[u16]) {
        self.registers.extend((read.start..=u16::MAX).zip(registers.iter().copied()));
        self.span.start += u32::from(read.count);
        self.span.tries = 0;
        self.continue_if_read();
    }

    fn refused(&mut self, read: RegisterRange, refused: ReadError) {
        self.span.tries += 1;
        if refused.is_temporary() && self.span.tries < TRIES {
            return;
        }
        self.span.tries = 0;
        match &self.step {
            DiscoveryStep::Probe(index) => self.probe(index + 1),
            _ if read.count > 1 => self.span.block = read.count / 2,
            DiscoveryStep::Header(_) if self.has_quantities() && !refused.is_busy() => {
                self.end_without_marker(u32::from(read.start), &refused.to_string());
            }
            DiscoveryStep::Header(_) => self.fail(u32::from(read.start), refused.to_string()),
            // A register that the device refuses is left out of the description.
            DiscoveryStep::Details(_) | DiscoveryStep::Ended(_) => {
                self.span.start += 1;
                self.span.has_gaps = true;
                self.continue_if_read();
            }
        }
    }

    /// Takes the next step if the span, or as much of it as is needed, is read.
    fn continue_if_read(&mut self) {
        let done = self.span.start >= self.span.end;
        if done && !self.span.has_gaps {
            self.block = self.block.min(self.span.block);
        }
        match self.step {
            DiscoveryStep::Probe(index) if done => self.check_marker(index),
            DiscoveryStep::Header(address) => self.header(address),
            DiscoveryStep::Details(_) if done => self.next_detail(),
            DiscoveryStep::Probe(_) | DiscoveryStep::Details(_) | DiscoveryStep::Ended(_) => {}
        }
    }

    fn probe(&mut self, index: usize) {
        match self.bases.get(index) {
            Some(&base) => {
                self.step = DiscoveryStep::Probe(index);
                self.span = Span::new(u32::from(base), (u32::from(base) + 2).min(REGISTERS), self.block);
            }
            None if self.timeouts > 0 && self.timeouts == self.reads => {
                self.end(Err(DiscoveryError::Timeout(self.timeouts)))
            }
            None => self.end(Err(self.not_found())),
        }
    }

    fn not_found(&self) -> DiscoveryError {
        match self.bases.as_slice() {
            [base] => DiscoveryError::NotAtBase(*base),
            _ => DiscoveryError::NotSunSpec,
        }
    }

    fn check_marker(&mut self, index: usize) {
        let base = self.bases.get(index).copied().unwrap_or_default();
        if [register(&self.registers, base, 0), register(&self.registers, base, 1)] == MARKER.map(Some) {
            self.base = base;
            self.read_header(u32::from(base) + 2);
        } else {
            self.probe(index + 1);
        }
    }

    fn read_header(&mut self, address: u32) {
        if address >= REGISTERS {
            self.end_or_fail(address, "the registers end at 65535".to_owned());
            return;
        }
        self.step = DiscoveryStep::Header(address);
        self.span = Span::new(address, (address + HEADER).min(REGISTERS), self.block);
    }

    /// Takes a model's id and length if they are read.
    fn header(&mut self, at: u32) {
        let Ok(address) = u16::try_from(at) else { return };
        let Some(id) = register(&self.registers, address, 0) else { return };
        // Some devices have no length after the end marker.
        if id == END {
            self.read_details();
            return;
        }
        if id == 0 && self.has_quantities() {
            self.end_without_marker(at, "0 is not a model id");
            return;
        }
        let Some(length) = register(&self.registers, address, 1) else {
            if self.span.start >= self.span.end {
                self.end_or_fail(at, "the registers end at 65535".to_owned());
            }
            return;
        };
        let next = at + HEADER + u32::from(length);
        if id == 0 {
            self.fail(at, "0 is not a model id".to_owned());
        } else if next > REGISTERS {
            let reason = format!("model {id} has a length of {length} and would end after register 65535");
            self.end_or_fail(at, reason);
        } else if self.models.len() >= MAX_MODELS {
            self.end_too_long(at);
        } else {
            self.add(id, address, length);
            self.read_header(next);
        }
    }

    /// The chain cannot be followed further: what was found is used, if it is more than a nameplate.
    fn end_or_fail(&mut self, address: u32, reason: String) {
        if self.has_quantities() { self.end_without_marker(address, &reason) } else { self.fail(address, reason) }
    }

    /// Whether a model was found that is known and more than a nameplate.
    fn has_quantities(&self) -> bool {
        self.models.iter().any(|model| model.id != COMMON && !model.name.is_empty())
    }

    fn end_too_long(&mut self, address: u32) {
        if self.has_quantities() {
            self.end_without_marker(address, &format!("there are more than {MAX_MODELS} models"));
        } else {
            self.end(Err(DiscoveryError::TooLong(MAX_MODELS)));
        }
    }

    /// Some devices have zeros, or no registers, after their last model: what was found until there is used.
    fn end_without_marker(&mut self, address: u32, reason: &str) {
        let models = self.models.len();
        self.note = Some(format!(
            "the chain of SunSpec models has no end marker: {reason} (register {address}); using the {models} models before it"
        ));
        self.read_details();
    }

    fn add(&mut self, id: u16, address: u16, length: u16) {
        let group = models::model(id).map(|model| &model.group);
        let (name, label) = group.map_or(("", ""), |group| (group.name, group.label));
        let instance = self.models.iter().filter(|model| model.id == id).map(|model| model.instance).max().unwrap_or(0);
        self.models.push(DeviceModel { id, name, label, address, length, expected: None, instance: instance + 1 });
    }

    /// Reads what is needed to place the points (the models' counts), to choose the known quantities, and to name the
    /// device (the texts of the first common model).
    fn read_details(&mut self) {
        let mut spans = VecDeque::new();
        for found in &self.models {
            let Some(model) = models::model(found.id) else { continue };
            let first = u32::from(found.address) + HEADER;
            let end = first + u32::from(found.length);
            if found.id == COMMON && found.instance == 1 {
                let texts = model.group.point("SN").map_or(0, |(offset, point)| offset + u32::from(point.size));
                spans.push_back(Span::new(first, end.min(first + texts), self.block));
            }
            let names = model.counts().into_iter().chain(quantity::points_of(found.id));
            let single = names.filter_map(|name| model.group.point(name));
            let single = single.map(|(offset, point)| (first + offset, first + offset + u32::from(point.size)));
            let single = single.filter(|(_, point_end)| *point_end <= end);
            spans.extend(single.map(|(start, end)| Span::new(start, end, self.block)));
        }
        spans.retain(|span| span.start < span.end);
        self.step = DiscoveryStep::Details(spans);
        self.next_detail();
    }

    fn next_detail(&mut self) {
        let DiscoveryStep::Details(left) = &mut self.step else { return };
        match left.pop_front() {
            Some(span) => self.span = Span { block: self.block, ..span },
            None => self.end(Ok(())),
        }
    }

    fn fail(&mut self, address: u32, reason: String) {
        let after = match self.models.last() {
            Some(model) => format!("model {} at {}", model.id, model.address),
            None => format!("\"SunS\" at {}", self.base),
        };
        self.end(Err(DiscoveryError::BrokenChain { address, after, reason }));
    }

    fn end(&mut self, end: Result<(), DiscoveryError>) {
        self.step = DiscoveryStep::Ended(end);
        self.span = Span::EMPTY;
    }
}
