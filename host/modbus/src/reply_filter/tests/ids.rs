//! Transaction ids as devices really return them.

use super::*;

#[test]
fn any_constant_id_is_accepted_on_the_first_connection() {
    for constant in (0..=u16::MAX).step_by(97).chain([1, u16::MAX, 0x4b1c, 0x4b1e, 0x4b20, 0x4b7f]) {
        let mut line = Line::tcp();
        for _ in 0..300 {
            line.ask(&READ);
            assert_eq!(line.reply(&tcp(constant, 7, UNIT, &VALUES)), Some(VALUES.to_vec()), "{constant:#06x}");
        }
        assert_eq!(line.filter.habits().ids, IdHabit::Ignores);
        assert_eq!(line.count(Irregularity::WrongId), 300);
    }
}

#[test]
fn a_constant_id_that_is_the_first_of_the_gateway_costs_one_reply() {
    let mut line = Line::tcp();
    let constant = line.ask(&READ);
    assert!(line.reply(&tcp(constant, 7, UNIT, &VALUES)).is_some());
    line.ask(&READ);
    assert_eq!(line.reply(&tcp(constant, 7, UNIT, &VALUES)), None, "it may be the first reply again");
    line.filter.give_up();
    for _ in 0..70_000 {
        assert_ne!(line.ask(&READ), constant);
        assert_eq!(line.reply(&tcp(constant, 7, UNIT, &VALUES)), Some(VALUES.to_vec()));
    }
}

#[test]
fn ids_of_the_devices_own_are_accepted() {
    for own in [
        |id: u16| id.wrapping_add(1),
        |id: u16| id.swap_bytes(),
        |id: u16| id.wrapping_sub(1),
        |id: u16| id.wrapping_mul(3),
    ] {
        let mut line = Line::tcp();
        for _ in 0..1000 {
            let id = line.ask(&READ);
            assert_eq!(line.reply(&tcp(own(id), 7, UNIT, &VALUES)), Some(VALUES.to_vec()), "{id:#06x}");
        }
    }
}

#[test]
fn a_device_may_begin_and_end_to_copy_ids() {
    let mut line = Line::tcp().used();
    for wrong in [7, 8, 7] {
        // A new wrong id costs one reply.
        line.ask(&READ);
        assert_eq!(line.reply(&tcp(wrong, 7, UNIT, &VALUES)), None);
        line.filter.give_up();
        for _ in 0..10 {
            line.ask(&READ);
            assert_eq!(line.reply(&tcp(wrong, 7, UNIT, &VALUES)), Some(VALUES.to_vec()));
        }
        assert_eq!(line.filter.habits().ids, IdHabit::Ignores);
        for _ in 0..10 {
            let id = line.ask(&READ);
            assert_eq!(line.reply(&tcp(id, 7, UNIT, &VALUES)), Some(VALUES.to_vec()));
        }
        assert_eq!(line.filter.habits().ids, IdHabit::Copies);
    }
}

#[test]
fn a_device_may_copy_ids_in_replies_and_not_in_exceptions() {
    let mut line = Line::tcp().used();
    line.ask(&READ);
    assert_eq!(line.reply(&tcp(0, 3, UNIT, &EXCEPTION)), None, "it may be another master's");
    line.filter.give_up();
    for _ in 0..100 {
        for _ in 0..5 {
            let id = line.ask(&READ);
            assert_eq!(line.reply(&tcp(id, 7, UNIT, &VALUES)), Some(VALUES.to_vec()));
        }
        line.ask(&READ);
        assert_eq!(line.reply(&tcp(0, 3, UNIT, &EXCEPTION)), Some(EXCEPTION.to_vec()));
    }
}

#[test]
fn a_late_reply_is_never_taken_for_another_even_after_the_ids_have_wrapped() {
    let mut line = Line::tcp().used();
    let late = line.ask(&READ);
    line.filter.give_up();
    for request in 0..70_000 {
        let id = line.ask(&READ);
        assert_ne!(id, late, "{request}");
        if request % 10_000 == 9_999 {
            assert_eq!(line.reply(&tcp(late, 7, UNIT, &VALUES)), None);
            // Only one reply is late; it may come again as another one's.
            line.filter.give_up();
            return assert_eq!(line.count(Irregularity::LateReply), 1);
        }
        assert!(line.reply(&tcp(id, 7, UNIT, &VALUES)).is_some());
    }
}

#[test]
fn replies_that_are_all_late_do_not_look_like_wrong_ids() {
    let mut line = Line::tcp().used();
    let mut last = None;
    for _ in 0..20 {
        let id = line.ask(&READ);
        if let Some(last) = last {
            assert_eq!(line.reply(&tcp(last, 7, UNIT, &VALUES)), None);
        }
        line.filter.give_up();
        last = Some(id);
    }
    assert_eq!(line.filter.habits().ids, IdHabit::Copies);
}

#[test]
fn a_late_reply_with_an_id_that_is_off_by_one_is_not_taken_for_the_next_reply() {
    for off in [1, u16::MAX] {
        let mut line = Line::tcp().used();
        let id = line.ask(&READ);
        line.filter.give_up();
        line.ask(&READ);
        assert_eq!(line.reply(&tcp(id.wrapping_add(off), 7, UNIT, &VALUES)), None);
    }
}

#[test]
fn late_replies_of_a_device_that_copies_ids_again_are_not_taken_for_others() {
    let mut line = Line::tcp().used();
    // It begins not to copy ids, which costs a reply.
    for _ in 0..10 {
        line.ask(&READ);
        line.reply(&tcp(7, 7, UNIT, &VALUES));
        line.filter.give_up();
    }
    assert_eq!(line.filter.habits().ids, IdHabit::Ignores);
    let mut last = None;
    for _ in 0..20 {
        let id = line.ask(&READ);
        if let Some(last) = last.replace(id) {
            assert_eq!(line.reply(&tcp(last, 7, UNIT, &VALUES)), None);
        }
        line.filter.give_up();
    }
}
