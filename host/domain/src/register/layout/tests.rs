//! Every format in every byte order, from `tests/vectors/registers.txt`.

use super::*;

const VECTORS: &str = include_str!("../../../../../tests/vectors/registers.txt");

#[test]
fn every_format_decodes_and_encodes_in_every_byte_order() {
    let mut checked = 0;
    for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
        let (left, expected) = line.split_once(" = ").unwrap();
        let mut words = left.split(' ');
        let format = Format::from_name(words.next().unwrap()).unwrap();
        let layout = Layout::plain(format).with_byte_order(words.next().unwrap()).unwrap_or_else(|| panic!("{line}"));
        let registers: Vec<u16> = words.map(|word| u16::from_str_radix(word, 16).unwrap()).collect();
        match expected {
            "nothing" => assert_eq!(layout.decode(&registers), None, "{line}"),
            number => {
                let number: f64 = number.parse().unwrap();
                assert_eq!(layout.decode(&registers), Some(number), "{line}");
                assert_eq!(layout.encode(number), registers, "{line}");
            }
        }
        checked += 1;
    }
    assert!(checked > 60, "{checked} lines");
    for (name, format) in Format::NAMES {
        assert!(format == Format::Bool || VECTORS.contains(&format!("\n{name} ")), "{name} has no line");
    }
}

#[test]
fn a_byte_order_that_no_device_uses_is_refused() {
    assert_eq!(Layout::plain(Format::Float32).with_byte_order("ACBD"), None);
    assert_eq!(Layout::plain(Format::Float32).with_byte_order("AB"), None);
    assert_eq!(Layout::plain(Format::UInt16).with_byte_order("BA").unwrap().bytes, Order::Little);
}

#[test]
fn bits_of_a_value_are_extracted() {
    let take = |first, count, registers: &[u16]| {
        let bits = Some(BitRange { first, count });
        Layout { bits, ..Layout::plain(if registers.len() == 1 { Format::UInt16 } else { Format::UInt32 }) }
            .decode(registers)
    };
    assert_eq!(take(0, 1, &[0x0001]), Some(1.0));
    assert_eq!(take(15, 1, &[0x8000]), Some(1.0));
    assert_eq!(take(4, 4, &[0x1230]), Some(3.0));
    assert_eq!(take(8, 16, &[0x00ab, 0xcd00]), Some(f64::from(0xabcd)));
    assert_eq!(take(0, 32, &[0xffff, 0xffff]), Some(f64::from(u32::MAX)));
}

#[test]
fn a_wrong_number_of_registers_decodes_to_nothing() {
    let layout = Layout::plain(Format::Int32);
    assert_eq!(layout.decode(&[1]), None);
    assert_eq!(layout.decode(&[1, 2, 3]), None);
}

#[test]
fn values_outside_the_range_are_clamped() {
    let encode = |format, value| Layout::plain(format).encode(value);
    assert_eq!(encode(Format::Int16, 40_000.0), [0x7fff]);
    assert_eq!(encode(Format::Int16, -40_000.0), [0x8000]);
    assert_eq!(encode(Format::UInt16, -1.0), [0]);
    assert_eq!(encode(Format::Int48, -1e15), [0x8000, 0, 0]);
    assert_eq!(encode(Format::Bcd16, 12_345.0), [0x9999]);
    assert_eq!(encode(Format::Bool, 1.0), [1]);
}
