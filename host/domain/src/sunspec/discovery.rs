//! Walks the chain of models: says which registers to read next, and takes what the device answers.

use std::collections::{BTreeMap, VecDeque};

use super::layout::lay_out;
use super::table::{self, HEADER};
use super::{COMMON, END, Found, FoundModel, Nameplate, quantity};
use crate::register::MAX_READ;

/// Where the chain may begin, in the order in which they are tried (the specification's three, the usual one first).
const BASES: [u16; 3] = [40_000, 0, 50_000];

/// `SunS`, which is at the beginning.
const MARK: [u16; 2] = [0x5375, 0x6e53];

/// Models that one device may have: the largest known has about 40, and a chain of zeros would go on for 32,000.
const MAX_MODELS: usize = 128;

/// Reads that one discovery may take: four for each model, and some for a common model read in single registers.
const MAX_READS: usize = 1_024;

/// Times that the same registers are asked for when the device is busy or silent; then fewer are.
const TRIES: u8 = 2;

/// Questions in a row that a device may leave without an answer; each costs the whole time that it has for one.
const MAX_SILENCES: usize = 8;

/// The register after the last.
const ADDRESSES: u32 = 0x1_0000;

/// Registers to be read next, of the holding table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// The first.
    pub start: u16,
    /// How many, 1 to 125.
    pub count: u16,
}

/// How a device did not answer. A broken connection is not its answer: the caller connects again, and asks the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// With this exception code.
    #[error("refused with exception {0}")]
    Exception(u8),
    /// With other than the registers that were asked for.
    #[error("answered with a wrong number of registers")]
    Wrong,
    /// Not at all, in the time that it has.
    #[error("not answered")]
    Silence,
}

impl Refused {
    /// Whether the same question may be answered a moment later: silence, acknowledge (5), busy (6), gateway without an answer (11).
    fn may_pass(self) -> bool {
        matches!(self, Self::Silence | Self::Exception(5 | 6 | 11))
    }
}

/// Why no description came of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum DiscoveryError {
    #[error("no SunSpec device: \"SunS\" is not at register 40000, 0 or 50000; give it a profile of its own")]
    NotSunSpec,
    #[error("no answer to {0} reads in a row: is the device on, and has it this unit id?")]
    Silent(usize),
    #[error("the chain of SunSpec models is cut at register {address}, after {after}: {reason}")]
    Cut { address: u32, after: String, reason: String },
    #[error("the chain of SunSpec models does not end: {0} models, and no end marker (65535)")]
    TooLong(usize),
    #[error("the SunSpec device was asked {0} times without an end: it answers too little at a time")]
    TooManyReads(usize),
    #[error("the SunSpec discovery is not finished: there are registers to be read")]
    Unfinished,
}

/// A discovery under way. Registers that were answered are not asked for again.
///
/// ```text
/// while let Some(read) = discovery.next() { discovery.answer(device.read_holding(read.start, read.count)) }
/// let found = discovery.found()?;
/// ```
#[derive(Clone, Debug)]
pub struct Discovery {
    step: Step,
    /// What is being read; empty when the discovery has ended.
    span: Span,
    /// Most registers that the device is known to answer at once.
    block: u16,
    reads: usize,
    /// The last so many of them had no answer.
    silences: usize,
    registers: BTreeMap<u16, u16>,
    base: u16,
    models: Vec<FoundModel>,
}

#[derive(Clone, Debug)]
enum Step {
    /// Looks for the mark at this one of the bases.
    Probe(usize),
    /// Reads the id and the length of the model here.
    Header(u32),
    /// Reads the counts and the nameplate: these spans are left.
    Details(VecDeque<Span>),
    Ended(Result<(), DiscoveryError>),
}

/// Registers that are read, in as many requests as it takes.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
    /// Most registers to ask for at once.
    block: u16,
    /// How often the next ones were asked for.
    tries: u8,
    /// A single register was refused, so that `block` says nothing about the device.
    holed: bool,
}

impl Span {
    const EMPTY: Self = Self::new(0, 0, 0);

    const fn new(start: u32, end: u32, block: u16) -> Self {
        Self { start, end, block, tries: 0, holed: false }
    }
}

impl Default for Discovery {
    fn default() -> Self {
        Self::new(MAX_READ)
    }
}

impl Discovery {
    /// Of a device that answers at most so many registers at once, as far as is known.
    pub fn new(block: u16) -> Self {
        let mut discovery = Self {
            step: Step::Probe(0),
            span: Span::EMPTY,
            block: block.clamp(1, MAX_READ),
            reads: 0,
            silences: 0,
            registers: BTreeMap::new(),
            base: 0,
            models: Vec::new(),
        };
        discovery.probe(0);
        discovery
    }

    /// What to read now; none when it has ended.
    pub fn next(&self) -> Option<Read> {
        let left = self.span.end.checked_sub(self.span.start)?;
        let count = u16::try_from(left).unwrap_or(MAX_READ).min(self.span.block).min(MAX_READ);
        let start = u16::try_from(self.span.start).ok()?;
        (count > 0).then_some(Read { start, count })
    }

    /// Takes the answer to [`next`](Self::next).
    pub fn answer(&mut self, answer: Result<&[u16], Refused>) {
        let Some(read) = self.next() else { return };
        self.reads += 1;
        if self.reads > MAX_READS {
            self.end(Err(DiscoveryError::TooManyReads(MAX_READS)));
            return;
        }
        self.silences = if answer == Err(Refused::Silence) { self.silences + 1 } else { 0 };
        if self.silences >= MAX_SILENCES {
            self.end(Err(DiscoveryError::Silent(self.silences)));
            return;
        }
        match answer {
            Ok(registers) if registers.len() == usize::from(read.count) => self.take(read, registers),
            Ok(_) => self.refused(read, Refused::Wrong),
            Err(refused) => self.refused(read, refused),
        }
    }

    /// What came of it.
    pub fn found(self) -> Result<Found, DiscoveryError> {
        let Step::Ended(end) = self.step else { return Err(DiscoveryError::Unfinished) };
        end?;
        Ok(describe(self.base, self.models, &self.registers))
    }

    fn take(&mut self, read: Read, registers: &[u16]) {
        self.registers.extend((read.start..=u16::MAX).zip(registers.iter().copied()));
        self.span.start += u32::from(read.count);
        self.span.tries = 0;
        self.go_on_if_read();
    }

    fn refused(&mut self, read: Read, refused: Refused) {
        self.span.tries += 1;
        if refused.may_pass() && self.span.tries < TRIES {
            return;
        }
        self.span.tries = 0;
        match &self.step {
            Step::Probe(place) => self.probe(place + 1),
            _ if read.count > 1 => self.span.block = read.count / 2,
            Step::Header(_) => self.cut(u32::from(read.start), refused.to_string()),
            // What the device does not let one read is left out of the description.
            Step::Details(_) | Step::Ended(_) => {
                self.span.start += 1;
                self.span.holed = true;
                self.go_on_if_read();
            }
        }
    }

    /// Goes on when the span is read, or as much of it as is needed.
    fn go_on_if_read(&mut self) {
        let done = self.span.start >= self.span.end;
        if done && !self.span.holed {
            self.block = self.block.min(self.span.block);
        }
        match self.step {
            Step::Probe(place) if done => self.probed(place),
            Step::Header(address) => self.header(address),
            Step::Details(_) if done => self.next_detail(),
            Step::Probe(_) | Step::Details(_) | Step::Ended(_) => {}
        }
    }

    fn probe(&mut self, place: usize) {
        match BASES.get(place) {
            Some(&base) => {
                self.step = Step::Probe(place);
                self.span = Span::new(u32::from(base), u32::from(base) + 2, self.block);
            }
            None if self.silences > 0 && self.silences == self.reads => {
                self.end(Err(DiscoveryError::Silent(self.silences)))
            }
            None => self.end(Err(DiscoveryError::NotSunSpec)),
        }
    }

    fn probed(&mut self, place: usize) {
        let base = BASES.get(place).copied().unwrap_or_default();
        if [register(&self.registers, base, 0), register(&self.registers, base, 1)] == MARK.map(Some) {
            self.base = base;
            self.read_header(u32::from(base) + 2);
        } else {
            self.probe(place + 1);
        }
    }

    fn read_header(&mut self, address: u32) {
        if address >= ADDRESSES {
            self.cut(address, "the registers end at 65535".to_owned());
            return;
        }
        self.step = Step::Header(address);
        self.span = Span::new(address, (address + HEADER).min(ADDRESSES), self.block);
    }

    /// Takes a model's id and length, as far as they are read.
    fn header(&mut self, at: u32) {
        let Ok(address) = u16::try_from(at) else { return };
        let Some(id) = register(&self.registers, address, 0) else { return };
        // Some devices have no length behind the end marker.
        if id == END {
            self.read_details();
            return;
        }
        let Some(length) = register(&self.registers, address, 1) else {
            if self.span.start >= self.span.end {
                self.cut(at, "the registers end at 65535".to_owned());
            }
            return;
        };
        let next = at + HEADER + u32::from(length);
        if id == 0 {
            self.cut(at, "0 is no model".to_owned());
        } else if next > ADDRESSES {
            self.cut(at, format!("model {id} has a length of {length} and would end behind register 65535"));
        } else if self.models.len() >= MAX_MODELS {
            self.end(Err(DiscoveryError::TooLong(MAX_MODELS)));
        } else {
            self.add(id, address, length);
            self.read_header(next);
        }
    }

    fn add(&mut self, id: u16, address: u16, length: u16) {
        let group = table::model(id).map(|model| &model.group);
        let (name, label) = group.map_or(("", ""), |group| (group.name, group.label));
        let instance = self.models.iter().filter(|model| model.id == id).map(|model| model.instance).max().unwrap_or(0);
        self.models.push(FoundModel { id, name, label, address, length, expected: None, instance: instance + 1 });
    }

    /// What is needed to lay the models out (their counts), to choose the channels that the gateway knows by name, and to name
    /// the device (the texts of the first common model).
    fn read_details(&mut self) {
        let mut spans = VecDeque::new();
        for found in &self.models {
            let Some(model) = table::model(found.id) else { continue };
            let first = u32::from(found.address) + HEADER;
            let end = first + u32::from(found.length);
            if found.id == COMMON && found.instance == 1 {
                let texts = model.group.point("SN").map_or(0, |(place, point)| place + u32::from(point.size));
                spans.push_back(Span::new(first, end.min(first + texts), self.block));
            }
            let names = model.counts().into_iter().chain(quantity::points_of(found.id));
            let single = names.filter_map(|name| model.group.point(name));
            let single = single.map(|(place, point)| (first + place, first + place + u32::from(point.size)));
            let single = single.filter(|(_, behind)| *behind <= end);
            spans.extend(single.map(|(start, end)| Span::new(start, end, self.block)));
        }
        spans.retain(|span| span.start < span.end);
        self.step = Step::Details(spans);
        self.next_detail();
    }

    fn next_detail(&mut self) {
        let Step::Details(left) = &mut self.step else { return };
        match left.pop_front() {
            Some(span) => self.span = Span { block: self.block, ..span },
            None => self.end(Ok(())),
        }
    }

    fn cut(&mut self, address: u32, reason: String) {
        let after = match self.models.last() {
            Some(model) => format!("model {} at {}", model.id, model.address),
            None => format!("\"SunS\" at {}", self.base),
        };
        self.end(Err(DiscoveryError::Cut { address, after, reason }));
    }

    fn end(&mut self, end: Result<(), DiscoveryError>) {
        self.step = Step::Ended(end);
        self.span = Span::EMPTY;
    }
}

fn register(registers: &BTreeMap<u16, u16>, address: u16, offset: u16) -> Option<u16> {
    registers.get(&address.checked_add(offset)?).copied()
}

/// Puts what was read together with what the table says.
fn describe(base: u16, mut models: Vec<FoundModel>, registers: &BTreeMap<u16, u16>) -> Found {
    let mut points = Vec::new();
    for found in &mut models {
        let Some(model) = table::model(found.id) else { continue };
        let count = |name: &str| {
            let (place, _) = model.group.point(name)?;
            let place = u16::try_from(HEADER + place).ok()?;
            register(registers, found.address, place).filter(|count| *count != u16::MAX)
        };
        let (laid, expected) = lay_out(model, found.instance, found.address, found.length, &count);
        found.expected = Some(expected);
        points.extend(laid);
    }
    for point in &mut points {
        let size = point.definition.size;
        let read: Option<Vec<_>> = (0..size).map(|offset| register(registers, point.address, offset)).collect();
        point.implemented = read.map(|registers| point.kind().is_implemented(&registers));
    }
    let text = |name: &str| {
        let of_name = |point: &&super::FoundPoint| point.model == COMMON && point.definition.name == name;
        points
            .iter()
            .find(of_name)
            .map_or_else(String::new, |point| text(registers, point.address, point.definition.size))
    };
    let nameplate = Nameplate {
        manufacturer: text("Mn"),
        model: text("Md"),
        options: text("Opt"),
        version: text("Vr"),
        serial: text("SN"),
    };
    Found { base, models, nameplate, points }
}

/// What is legible of a text that ends with the first NUL.
fn text(registers: &BTreeMap<u16, u16>, address: u16, size: u16) -> String {
    let bytes = (0..size).filter_map(|offset| register(registers, address, offset)).flat_map(u16::to_be_bytes);
    let bytes: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
    let legible = |letter: &char| !letter.is_control() && *letter != char::REPLACEMENT_CHARACTER;
    String::from_utf8_lossy(&bytes).chars().filter(legible).collect::<String>().trim().to_owned()
}
