//! The filter fed with what devices and buses really send, as a whole and byte by byte.

use super::*;

mod ids;

/// The unit that is asked.
const UNIT: u8 = 1;

/// A filter and the counts of its bus.
struct Line {
    filter: ReplyFilter,
    counts: Arc<FramingCounts>,
    is_rtu: bool,
}

/// A read of two holding registers, and its reply.
const READ: [u8; 5] = [3, 0, 5, 0, 2];
const VALUES: [u8; 6] = [3, 4, 0x11, 0x22, 0x33, 0x44];
const EXCEPTION: [u8; 2] = [0x83, 2];

fn crc(bytes: &[u8]) -> [u8; 2] {
    crc::Crc::<u16>::new(&crc::CRC_16_MODBUS).checksum(bytes).to_le_bytes()
}

fn rtu(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let covered = [&[unit], pdu].concat();
    let crc = crc(&covered);
    [covered.as_slice(), &crc].concat()
}

fn tcp(id: u16, length: usize, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let length = u16::try_from(length).unwrap();
    [&id.to_be_bytes()[..], &[0, 0], &length.to_be_bytes(), &[unit], pdu].concat()
}

impl Line {
    fn new(is_rtu: bool, habits: Habits) -> Self {
        let counts = Arc::<FramingCounts>::default();
        Self { filter: ReplyFilter::new(is_rtu, habits, Arc::clone(&counts)), counts, is_rtu }
    }

    fn tcp() -> Self {
        Self::new(false, Habits::default())
    }

    fn rtu() -> Self {
        Self::new(true, Habits::default())
    }

    /// A line on which a read was answered rightly.
    fn used(mut self) -> Self {
        let id = self.ask(&READ);
        let reply = if self.is_rtu { rtu(UNIT, &VALUES) } else { tcp(id, 7, UNIT, &VALUES) };
        assert_eq!(self.reply(&reply), Some(VALUES.to_vec()));
        self
    }

    /// Sends a request; returns its id on the wire.
    fn ask(&mut self, pdu: &[u8]) -> u16 {
        let request = if self.is_rtu { rtu(UNIT, pdu) } else { tcp(0xabcd, 1 + pdu.len(), UNIT, pdu) };
        let sent = self.filter.outgoing(&request).to_vec();
        self.filter.sent(sent.len());
        u16::from_be_bytes([sent[0], sent[1]])
    }

    /// The PDU that tokio-modbus is handed.
    fn taken(&mut self) -> Option<Vec<u8>> {
        let frame = self.filter.take(300).to_vec();
        if frame.is_empty() {
            return None;
        }
        if self.is_rtu {
            assert_eq!(rtu(UNIT, &frame[1..frame.len() - 2]), frame);
            return Some(frame[1..frame.len() - 2].to_vec());
        }
        assert_eq!(frame[..7], tcp(0xabcd, frame.len() - 6, UNIT, &[])[..]);
        Some(frame[7..].to_vec())
    }

    fn reply(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.filter.receive(bytes);
        self.taken()
    }

    fn count(&self, irregularity: Irregularity) -> u64 {
        self.counts.occurred().find(|(name, _)| *name == irregularity.name()).map_or(0, |(_, count)| count)
    }
}

/// The reply is found whether the bytes arrive together or one by one.
fn check_found(
    line: impl Fn() -> Line,
    bytes: impl Fn(u16) -> Vec<u8>,
    expected: &[u8],
    noticed: Option<Irregularity>,
) {
    for is_dribbled in [false, true] {
        let mut line = line();
        let before: Vec<_> = Irregularity::ALL.iter().map(|one| line.count(*one)).collect();
        let id = line.ask(&READ);
        let bytes = bytes(id);
        let mut found = None;
        if is_dribbled {
            for byte in &bytes {
                found = found.or(line.reply(&[*byte]));
            }
        } else {
            found = line.reply(&bytes);
        }
        assert_eq!(found.as_deref(), Some(expected), "{bytes:02x?}, dribbled {is_dribbled}");
        for (irregularity, before) in Irregularity::ALL.into_iter().zip(before) {
            let is_noticed = line.count(irregularity) > before;
            let is_rest = is_dribbled && irregularity == Irregularity::StrayBytes;
            assert!(is_noticed == (noticed == Some(irregularity)) || is_rest, "{irregularity:?} of {bytes:02x?}");
        }
    }
}

#[test]
fn the_stated_length_of_a_reply_may_be_wrong() {
    let used = || Line::tcp().used();
    check_found(used, |id| tcp(id, 7, UNIT, &VALUES), &VALUES, None);
    for stated in [0, 1, 2, 4, 9, 254, 300] {
        check_found(used, move |id| tcp(id, stated, UNIT, &EXCEPTION), &EXCEPTION, Some(Irregularity::WrongLength));
    }
    for stated in [0, 6, 8, 13] {
        check_found(used, move |id| tcp(id, stated, UNIT, &VALUES), &VALUES, Some(Irregularity::WrongLength));
    }
    let padded = |id| [tcp(id, 6, UNIT, &EXCEPTION), vec![0; 3]].concat();
    check_found(used, padded, &EXCEPTION, Some(Irregularity::WrongLength));
    let after = |id| [tcp(id, 7, UNIT, &VALUES), vec![0xde, 0xad]].concat();
    check_found(used, after, &VALUES, Some(Irregularity::StrayBytes));
}

#[test]
fn a_padded_exception_does_not_hide_the_next_reply() {
    let mut line = Line::tcp().used();
    for _ in 0..3 {
        let id = line.ask(&READ);
        assert_eq!(line.reply(&tcp(id, 3, UNIT, &EXCEPTION)), Some(EXCEPTION.to_vec()));
        let id = line.ask(&READ);
        // What follows the exception arrives after the next request was sent.
        line.filter.receive(&[0, 0, 0]);
        assert_eq!(line.reply(&tcp(id, 7, UNIT, &VALUES)), Some(VALUES.to_vec()));
    }
}

#[test]
fn frames_of_other_requests_are_skipped() {
    let used = || Line::tcp().used();
    let own = |id| tcp(id, 7, UNIT, &VALUES);
    let foreign = Some(Irregularity::ForeignFrame);
    check_found(used, |id| [tcp(9, 7, 2, &VALUES), own(id)].concat(), &VALUES, foreign);
    check_found(used, |id| [tcp(9, 6, UNIT, &READ), own(id)].concat(), &VALUES, foreign);
    check_found(used, |id| [tcp(9, 3, UNIT, &[0x84, 2]), own(id)].concat(), &VALUES, foreign);
    // The rest of a frame that states too much must not swallow the reply.
    check_found(used, |id| [tcp(9, 200, 2, &[3, 4, 0]), own(id)].concat(), &VALUES, None);
    check_found(used, |id| [vec![1, 2, 3], own(id)].concat(), &VALUES, Some(Irregularity::StrayBytes));
    // Also one that has all but the id of the reply; then nothing is learnt from it.
    for dup in [9, 0x4b1d] {
        let mut line = used();
        let id = line.ask(&READ);
        assert_eq!(line.reply(&tcp(dup, 7, UNIT, &[3, 4, 9, 9, 9, 9])), None);
        assert_eq!(line.reply(&own(id)), Some(VALUES.to_vec()));
        assert_eq!(line.filter.habits().ids, IdHabit::Copies);
    }
}

#[test]
fn a_device_that_is_silent_among_replies_to_others_is_not_taken_to_ignore_ids() {
    let mut line = Line::tcp().used();
    for foreign in 100..200 {
        line.filter.discard(&tcp(foreign, 7, UNIT, &VALUES));
        line.ask(&READ);
        assert_eq!(line.reply(&tcp(foreign + 1000, 7, UNIT, &VALUES)), None);
        line.filter.give_up();
    }
}

#[test]
fn the_first_reply_may_be_foreign_if_only_its_id_is_wrong() {
    let theirs = [3, 4, 9, 9, 9, 9];
    let mut line = Line::tcp();
    let id = line.ask(&READ);
    assert_eq!(line.reply(&tcp(9, 7, UNIT, &theirs)), Some(theirs.to_vec()));
    assert!(line.filter.may_be_foreign() && !line.filter.is_ambiguous());
    line.filter.discard(&tcp(id, 7, UNIT, &VALUES));
    assert!(line.filter.is_ambiguous());
    assert_eq!(line.filter.habits().ids, IdHabit::Copies);
    let mut line = Line::tcp().used();
    // Also that of a device that does not copy ids, until then.
    line.ask(&READ);
    line.reply(&tcp(7, 7, UNIT, &VALUES));
    line.filter.give_up();
    let id = line.ask(&READ);
    assert!(line.reply(&[tcp(700, 7, UNIT, &theirs), tcp(id, 7, UNIT, &VALUES)].concat()).is_some());
    assert!(line.filter.is_ambiguous() && line.filter.may_be_foreign());
    // Where other masters are known, it is not accepted at all.
    let mut line = Line::tcp();
    let id = line.ask(&READ);
    assert_eq!(line.reply(&[tcp(9, 7, 2, &VALUES), tcp(9, 7, UNIT, &theirs)].concat()), None);
    assert_eq!(line.reply(&tcp(id, 7, UNIT, &VALUES)), Some(VALUES.to_vec()));
    assert!(!line.filter.may_be_foreign());
}

#[test]
fn a_frame_with_the_right_id_and_a_wrong_content_is_refused_at_once() {
    let refused = |pdu: &[u8], unit: u8| {
        let mut line = Line::tcp().used();
        let id = line.ask(&READ);
        assert_eq!(line.reply(&tcp(id, 1 + pdu.len(), unit, pdu)), None);
        assert_eq!(line.count(Irregularity::Contradiction), 1);
        line.filter.take_contradiction().unwrap().to_string()
    };
    assert_eq!(refused(&VALUES, 2), "expected a reply of unit 1, received one of unit 2");
    assert_eq!(refused(&[4, 4, 0, 0, 0, 0], UNIT), "expected function 3, received function 4");
    assert_eq!(refused(&[3, 2, 0, 0], UNIT), "expected 4 bytes of values, received 2");
    let mut line = Line::tcp().used();
    let id = line.ask(&[6, 0, 9, 0, 80]);
    assert_eq!(line.reply(&tcp(id, 6, UNIT, &[6, 0, 9, 0, 81])), None);
    assert!(line.filter.take_contradiction().unwrap().to_string().contains("that of another one"));
}

#[test]
fn an_echo_is_recognised_and_skipped() {
    let echo = Some(Irregularity::LocalEcho);
    let own = rtu(UNIT, &VALUES);
    let with_echo = |_| [rtu(UNIT, &READ), rtu(UNIT, &VALUES)].concat();
    check_found(Line::rtu, with_echo, &VALUES, echo);
    check_found(|| Line::rtu().used(), with_echo, &VALUES, echo);
    check_found(Line::rtu, |_| [rtu(UNIT, &READ), rtu(UNIT, &EXCEPTION)].concat(), &EXCEPTION, echo);
    // A damaged echo is noise.
    let damaged = |_| [rtu(UNIT, &READ)[1..].to_vec(), rtu(UNIT, &VALUES)].concat();
    check_found(Line::rtu, damaged, &VALUES, Some(Irregularity::StrayBytes));
    check_found(Line::rtu, move |_| own.clone(), &VALUES, None);
}

#[test]
fn the_echo_of_a_write_is_never_taken_for_its_confirmation() {
    let write = [6, 0, 9, 0, 80];
    let echoing = || {
        let mut line = Line::rtu();
        line.ask(&READ);
        line.reply(&[rtu(UNIT, &READ), rtu(UNIT, &VALUES)].concat());
        line
    };
    let configured = || Line::new(true, Habits { echo: Echo::Configured, ..Habits::default() });
    for line in [echoing, configured, Line::rtu] {
        let mut line = line();
        line.ask(&write);
        assert_eq!(line.reply(&rtu(UNIT, &write)), None, "the echo");
        assert_eq!(line.reply(&rtu(UNIT, &write)), Some(write.to_vec()), "the confirmation");
        line.ask(&write);
        assert_eq!(line.reply(&[rtu(UNIT, &write), rtu(UNIT, &[0x86, 3])].concat()), Some(vec![0x86, 3]));
    }
    let mut line = Line::rtu().used();
    line.ask(&write);
    assert_eq!(line.reply(&rtu(UNIT, &write)), Some(write.to_vec()), "no echo has been seen on this bus");
    // A longer write and its confirmation differ.
    let many = [16, 0, 9, 0, 1, 2, 0, 80];
    let mut line = Line::rtu();
    line.ask(&many);
    assert_eq!(line.reply(&rtu(UNIT, &many)), None);
    assert_eq!(line.reply(&rtu(UNIT, &many[..5])), Some(many[..5].to_vec()));
}

#[test]
fn a_bus_may_begin_and_end_to_echo() {
    let mut line = Line::rtu().used();
    for _ in 0..2 {
        line.ask(&READ);
        assert!(line.reply(&[rtu(UNIT, &READ), rtu(UNIT, &VALUES)].concat()).is_some());
        assert_eq!(line.filter.habits().echo, Echo::Yes);
        for _ in 0..3 {
            line.ask(&READ);
            assert!(line.reply(&rtu(UNIT, &VALUES)).is_some());
        }
        assert_eq!(line.filter.habits().echo, Echo::No);
    }
}

#[test]
fn frames_of_another_master_are_skipped_on_a_serial_bus() {
    let used = || Line::rtu().used();
    let foreign = Some(Irregularity::ForeignFrame);
    let frames: [Vec<u8>; 7] = [
        rtu(2, &READ),
        rtu(2, &VALUES),
        rtu(0, &[6, 0, 1, 0, 1]),
        rtu(0, &[16, 0, 1, 0, 1, 2, 0, 7]),
        rtu(UNIT, &[4, 4, 1, 2, 3, 4]),
        rtu(UNIT, &[3, 6, 1, 2, 3, 4, 5, 6]),
        rtu(9, &[0x83, 2]),
    ];
    for frame in frames {
        check_found(used, |_| [frame.clone(), rtu(UNIT, &VALUES)].concat(), &VALUES, foreign);
    }
    let damaged = |_| {
        let mut damaged = rtu(UNIT, &VALUES);
        damaged[4] ^= 1;
        [damaged, rtu(UNIT, &VALUES)].concat()
    };
    check_found(used, damaged, &VALUES, Some(Irregularity::StrayBytes));
}

#[test]
fn the_reply_to_another_masters_request_of_the_same_length_is_not_taken() {
    let (rival, theirs) = ([3, 0, 90, 0, 2], [3, 4, 9, 9, 9, 9]);
    // Its request was seen after the gateway's, or before it.
    let mut line = Line::rtu().used();
    line.ask(&READ);
    assert_eq!(line.reply(&[rtu(UNIT, &rival), rtu(UNIT, &theirs)].concat()), None);
    assert_eq!(line.reply(&rtu(UNIT, &VALUES)), Some(VALUES.to_vec()));
    line.filter.discard(&rtu(UNIT, &rival));
    line.ask(&READ);
    assert_eq!(line.reply(&[rtu(UNIT, &theirs), rtu(UNIT, &VALUES)].concat()), Some(VALUES.to_vec()));
    assert!(!line.filter.may_be_foreign(), "no second reply has to be waited for");
    // It was not seen: two different replies are ambiguous.
    line.ask(&READ);
    assert!(line.reply(&[rtu(UNIT, &theirs), rtu(UNIT, &VALUES)].concat()).is_some());
    assert!(line.filter.may_be_foreign() && line.filter.is_ambiguous());
    line.ask(&READ);
    assert!(line.reply(&[rtu(UNIT, &VALUES), rtu(UNIT, &VALUES)].concat()).is_some());
    assert!(!line.filter.is_ambiguous(), "the same reply twice does no harm");
}

#[test]
fn endless_bytes_do_not_fill_the_memory() {
    for mut line in [Line::tcp().used(), Line::rtu().used()] {
        line.ask(&READ);
        for byte in 0..100_000_u32 {
            line.filter.receive(&[byte.to_be_bytes()[3] | 1]);
        }
        assert!(line.filter.received.len() <= MAX_RECEIVED);
    }
}

/// Reproducible pseudo-random numbers (Marsaglia's xorshift).
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn no_bytes_before_the_reply_hide_it() {
    // Of those that headers, requests and replies are made of.
    let bytes = [0, 0, 0, 1, 2, 3, 4, 6, 9, 0x4b, 0x1e, 0x83, 0xff];
    let mut state = 0x5eed;
    for _ in 0..20_000 {
        for line in [Line::tcp, Line::rtu] {
            let mut line = line().used();
            let id = line.ask(&READ);
            let before = random(&mut state) % 40;
            let index = |random: u64| usize::try_from(random % bytes.len() as u64).unwrap();
            let noise: Vec<u8> = (0..before).map(|_| bytes[index(random(&mut state))]).collect();
            let own = if line.is_rtu { rtu(UNIT, &VALUES) } else { tcp(id, 7, UNIT, &VALUES) };
            let (first, second) = own.split_at(index(random(&mut state)).min(own.len()));
            let mut found = line.reply(&[&noise, first].concat());
            found = found.or(line.reply(second));
            let is_refused = line.filter.take_contradiction().is_some();
            assert!(is_refused || found.as_deref() == Some(&VALUES), "{noise:02x?} before {own:02x?}: {found:02x?}");
        }
    }
}

#[test]
fn a_second_reply_whose_request_was_seen_is_the_other_masters() {
    let (foreign_request, foreign_reply) = (rtu(UNIT, &[3, 0, 9, 0, 2]), rtu(UNIT, &[3, 4, 9, 9, 9, 9]));
    let answered = || {
        let mut line = Line::rtu().used();
        line.ask(&READ);
        assert_eq!(line.reply(&rtu(UNIT, &VALUES)), Some(VALUES.to_vec()));
        line
    };
    for together in [false, true] {
        let mut line = answered();
        if together {
            line.filter.discard(&[foreign_request.clone(), foreign_reply.clone()].concat());
        } else {
            line.filter.discard(&foreign_request);
            line.filter.discard(&foreign_reply);
        }
        assert!(!line.filter.is_ambiguous(), "together {together}");
        line.filter.discard(&foreign_reply);
        assert!(line.filter.is_ambiguous(), "its request was not seen");
    }
    let mut line = answered();
    line.filter.discard(&foreign_reply);
    assert!(line.filter.is_ambiguous());
}
