//! Results as a guest lays them out in its memory (the component model's canonical ABI), made from any bytes, together with
//! the values that the host must make of them.

use bessai_domain::message::{Message, Properties, Qos};
use bessai_domain::session::{Endpoint, Login, Password, Protocol};
use bessai_domain::time::Timestamp;

use super::guest::{RESULT_AT, RESULT_BYTES};

/// Bytes of a message in memory.
const MESSAGE_BYTES: usize = 80;
/// Bytes of the result of `connect`.
const LOGIN_RESULT_BYTES: usize = 200;
/// Seconds that a shorter keep-alive is raised to.
const SHORTEST_KEEP_ALIVE_S: u16 = 5;
/// The most messages of a result.
const MESSAGES: u8 = 12;

/// Reads an input byte by byte; zeros when it is used up.
pub struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn number<const N: usize>(&mut self) -> u64 {
        (0..N).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Bytes of a length that the input gives, mostly short.
    pub fn bytes(&mut self) -> Vec<u8> {
        let length = match self.byte() {
            255 => self.number::<2>(),
            short => u64::from(short % 24),
        };
        let length = usize::try_from(length).unwrap().min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes.to_vec()
    }
}

/// A result in memory.
pub struct Image {
    bytes: Vec<u8>,
    /// Whether every text and every case is valid, so that the host has to accept the result.
    pub is_valid: bool,
}

impl Image {
    fn new(result_bytes: usize) -> Self {
        Self { bytes: vec![0; result_bytes], is_valid: true }
    }

    /// The successful result of `process` or `connected`: a list of messages.
    pub fn messages(input: &mut Input<'_>) -> (Self, Vec<Message>) {
        let mut image = Self::new(12);
        let count = usize::from(input.byte() % MESSAGES);
        let list = image.allocate(count * MESSAGE_BYTES);
        image.put_list(4, list, count);
        let messages = (0..count).map(|index| image.message(list + index * MESSAGE_BYTES, input)).collect();
        (image, messages)
    }

    /// The successful result of `connect`.
    pub fn login(input: &mut Input<'_>) -> (Self, Login) {
        let mut image = Self::new(LOGIN_RESULT_BYTES);
        // Behind the result's own discriminant.
        let at = 8;
        let endpoint = image.option(at, input).then(|| {
            let (host, port) = (image.text(at + 4, input), u16::try_from(input.number::<2>()).unwrap());
            image.put(at + 12, &port.to_le_bytes());
            Endpoint { host, port }
        });
        let protocol = image.option(at + 16, input).then(|| {
            [Protocol::V311, Protocol::V5].get(image.case(at + 17, 2, input)).copied().unwrap_or(Protocol::V5)
        });
        let client_id = image.option(at + 20, input).then(|| image.text(at + 24, input));
        let username = image.option(at + 32, input).then(|| image.text(at + 36, input));
        // Case 1, the name of a secret, is refused: there is none.
        let password = image.option(at + 44, input).then(|| Password(image.text(at + 52, input).into_bytes()));
        let clean_start = image.option(at + 60, input).then(|| image.boolean(at + 61, input));
        let session_expiry_s = image.option(at + 64, input).then(|| image.word(at + 68, input));
        let keep_alive_s = image.option(at + 72, input).then(|| {
            let seconds = u16::try_from(input.number::<2>()).unwrap();
            image.put(at + 74, &seconds.to_le_bytes());
            seconds.max(SHORTEST_KEEP_ALIVE_S)
        });
        let will = image.option(at + 76, input).then(|| image.message(at + 80, input));
        let properties = image.pairs(at + 160, input);
        let renew_at = image.option(at + 168, input).then(|| {
            let nanos = input.number::<8>();
            image.put(at + 176, &nanos.to_le_bytes());
            Timestamp::from_nanos(nanos)
        });
        let provisioning = image.boolean(at + 184, input);
        let login = Login {
            endpoint,
            protocol,
            client_id,
            username,
            password,
            clean_start,
            session_expiry_s,
            keep_alive_s,
            will,
            properties,
            renew_at,
            provisioning,
            receives: false,
        };
        (image, login)
    }

    /// Overwrites bytes as the input says; afterwards nothing is known about the result.
    pub fn damage(&mut self, input: &mut Input<'_>) {
        while !input.0.is_empty() {
            let at = usize::try_from(input.number::<2>()).unwrap() % self.bytes.len();
            self.bytes[at] = input.byte();
            self.is_valid = false;
        }
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn message(&mut self, at: usize, input: &mut Input<'_>) -> Message {
        let (topic, payload) = (self.text(at, input), input.bytes());
        self.put_bytes(at + 8, &payload);
        let qos = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce].get(self.case(at + 16, 3, input)).copied();
        let retain = self.boolean(at + 17, input);
        let properties = self.option(at + 20, input).then(|| self.properties(at + 24, input));
        Message { topic, payload, qos: qos.unwrap_or(Qos::AtMostOnce), retain, properties }
    }

    fn properties(&mut self, at: usize, input: &mut Input<'_>) -> Properties {
        Properties {
            content_type: self.option(at, input).then(|| self.text(at + 4, input)),
            expiry_s: self.option(at + 12, input).then(|| self.word(at + 16, input)),
            response_topic: self.option(at + 20, input).then(|| self.text(at + 24, input)),
            correlation_data: self.option(at + 32, input).then(|| {
                let data = input.bytes();
                self.put_bytes(at + 36, &data);
                data
            }),
            payload_utf8: self.boolean(at + 44, input),
            user: self.pairs(at + 48, input),
        }
    }

    /// A list of pairs of texts.
    fn pairs(&mut self, at: usize, input: &mut Input<'_>) -> Vec<(String, String)> {
        /// Bytes of a pair in memory.
        const PAIR_BYTES: usize = 16;
        let count = usize::from(input.byte() % 4);
        let list = self.allocate(count * PAIR_BYTES);
        self.put_list(at, list, count);
        let places = (0..count).map(|index| list + index * PAIR_BYTES);
        places.map(|at| (self.text(at, input), self.text(at + 8, input))).collect()
    }

    /// Whether an optional value is present.
    fn option(&mut self, at: usize, input: &mut Input<'_>) -> bool {
        self.case(at, 2, input) == 1
    }

    /// Any value but 0 is true.
    fn boolean(&mut self, at: usize, input: &mut Input<'_>) -> bool {
        let byte = input.byte();
        self.put(at, &[byte]);
        byte != 0
    }

    fn word(&mut self, at: usize, input: &mut Input<'_>) -> u32 {
        let word = u32::try_from(input.number::<4>()).unwrap();
        self.put(at, &word.to_le_bytes());
        word
    }

    /// The number of a case; now and then one that does not exist.
    fn case(&mut self, at: usize, cases: u8, input: &mut Input<'_>) -> usize {
        let byte = input.byte();
        let case = if byte == 255 { cases + 1 } else { byte % cases };
        self.is_valid &= case < cases;
        self.put(at, &[case]);
        case.into()
    }

    fn text(&mut self, at: usize, input: &mut Input<'_>) -> String {
        let bytes = input.bytes();
        self.put_bytes(at, &bytes);
        self.is_valid &= std::str::from_utf8(&bytes).is_ok();
        String::from_utf8(bytes).unwrap_or_default()
    }

    fn put_bytes(&mut self, at: usize, bytes: &[u8]) {
        let start = self.allocate(bytes.len());
        self.put(start, bytes);
        self.put_list(at, start, bytes.len());
    }

    fn put_list(&mut self, at: usize, start: usize, length: usize) {
        let address = RESULT_AT + u32::try_from(start).unwrap();
        self.put(at, &address.to_le_bytes());
        self.put(at + 4, &u32::try_from(length).unwrap().to_le_bytes());
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Room for this many bytes, aligned for every type.
    fn allocate(&mut self, bytes: usize) -> usize {
        let start = self.bytes.len().next_multiple_of(8);
        self.bytes.resize((start + bytes).next_multiple_of(8), 0);
        assert!(self.bytes.len() <= RESULT_BYTES, "an input of this length takes more than its bytes");
        start
    }
}
