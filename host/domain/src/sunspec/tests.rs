//! The parsed models against the published offsets; discovery of devices in memory, valid and broken.

use self::device::MemoryDevice;
use super::layout::lay_out;
use super::models::{self, PointType, Repetition};
use super::{ChainCheck, ChainState, DeviceDescription, DevicePoint, Discovery, DiscoveryError, ReadError, Scale};

mod any_answer;
mod device;
mod profile;
mod set_point;

/// Name, offset from the model's id and scale factor's offset, as the specification counts.
fn check_offsets(id: u16, counts: &[(&str, u16)], times: u16, expected: &[(&str, u16, Option<u16>)]) {
    let model = models::model(id).unwrap();
    let count = |name: &str| counts.iter().find(|(count, _)| *count == name).map(|(_, value)| *value);
    let length = model.group.registers(&|of| match of {
        Repetition::Once => 1,
        Repetition::Fixed(fixed) => u32::from(fixed),
        Repetition::FillsModel => u32::from(times),
        Repetition::Point(name) => u32::from(count(name).unwrap()),
    });
    let (points, expects) = lay_out(model, 1, 0, u16::try_from(length).unwrap(), &count);
    assert_eq!(expects, length, "model {id}");
    for (name, offset, scale) in expected {
        let point = points.iter().find(|point| path(point) == *name).unwrap_or_else(|| panic!("{id} {name}"));
        let factor = scale.map_or(Scale::None, Scale::Register);
        assert_eq!((point.address, point.scale), (*offset, factor), "model {id} {name}");
    }
}

/// The point's first register and the one after its last.
fn registers(point: &DevicePoint) -> (u32, u32) {
    let start = u32::from(point.address);
    (start, start + u32::from(point.definition.size))
}

/// The point's path in the model, such as `Prt(2).DCA`.
fn path(point: &DevicePoint) -> String {
    let mut path = String::new();
    for group in &point.path {
        path += group.group;
        path += &group.index.map_or_else(String::new, |index| format!("({index})"));
        path += ".";
    }
    path + point.definition.name
}

fn names(found: &DeviceDescription, model: u16) -> Vec<(String, u16)> {
    let of_model = found.points.iter().filter(|point| point.model == model);
    of_model.map(|point| (path(point), point.address)).collect()
}

#[test]
fn every_published_model_is_valid() {
    let ids: Vec<_> = models::ids().collect();
    assert_eq!(ids.len(), 112);
    assert!(ids.is_sorted());
    for id in ids {
        let model = models::model(id).unwrap_or_else(|| panic!("model {id} does not parse"));
        let (points, expected) = lay_out(model, 1, 0, u16::MAX - 2, &|_| Some(2));
        assert!(!points.is_empty() || id == 63001 || expected > 0, "model {id}");
        for name in model.counts() {
            let (_, point) = model.group.point(name).unwrap_or_else(|| panic!("model {id} has no {name}"));
            assert_eq!(point.size, 1, "model {id} {name}");
        }
        assert!(points.iter().all(|point| point.kind().is_value()), "model {id}");
        let apart = points.windows(2).all(|pair| registers(&pair[0]).1 <= registers(&pair[1]).0);
        assert!(apart, "points of model {id} overlap");
    }
    assert!(models::model(0).is_none() && models::model(65_535).is_none());
}

#[test]
fn offsets_are_the_published_ones() {
    check_offsets(
        1,
        &[],
        0,
        &[("Mn", 2, None), ("Md", 18, None), ("Opt", 34, None), ("Vr", 42, None), ("DA", 66, None)],
    );
    check_offsets(
        103,
        &[],
        0,
        &[("A", 2, Some(6)), ("PhVphA", 10, Some(13)), ("W", 14, Some(15)), ("WH", 24, Some(26)), ("St", 38, None)],
    );
    check_offsets(103, &[], 0, &[("TmpOt", 36, Some(37)), ("Evt1", 40, None), ("EvtVnd4", 50, None)]);
    check_offsets(120, &[], 0, &[("DERTyp", 2, None), ("WRtg", 3, Some(4)), ("MaxDisChaRte", 25, Some(26))]);
    check_offsets(123, &[], 0, &[("WMaxLimPct", 5, Some(23)), ("OutPFSet", 10, Some(24)), ("VArPct_Ena", 22, None)]);
    check_offsets(
        124,
        &[],
        0,
        &[("WChaMax", 2, Some(18)), ("StorCtl_Mod", 5, None), ("ChaState", 8, Some(22)), ("OutWRte", 12, Some(25))],
    );
    check_offsets(203, &[], 0, &[("PhV", 7, Some(15)), ("TotWhImp", 46, Some(54)), ("Evt", 105, None)]);
    check_offsets(701, &[], 0, &[("W", 10, Some(116)), ("Hz", 17, Some(115)), ("TotWhAbs", 23, Some(120))]);
    check_offsets(713, &[], 0, &[("WHRtg", 2, Some(7)), ("SoC", 4, Some(8)), ("Sta", 6, None)]);
    check_offsets(802, &[], 0, &[("SoC", 11, Some(56)), ("NCyc", 14, None), ("CtrlHb", 19, None), ("W", 47, Some(63))]);
}

#[test]
fn groups_repeat_according_to_the_devices_counts() {
    let first = &[("N", 8, None), ("module(1).DCA", 19, Some(2)), ("module(3).DCW", 61, Some(4))];
    check_offsets(160, &[], 3, first);
    check_offsets(
        714,
        &[("NPrt", 2)],
        0,
        &[("DCA", 5, Some(15)), ("Prt(1).DCA", 30, Some(15)), ("Prt(2).DCV", 56, Some(16))],
    );
    check_offsets(803, &[("NStr", 2)], 0, &[("ModTmpMax", 4, Some(23)), ("string(2).StrSoC", 64, Some(26))]);
    let crv = models::model(705).unwrap().group.groups.first().unwrap();
    assert_eq!((crv.count, crv.groups[0].count), (Repetition::Point("NCrv"), Repetition::Point("NPt")));
    let model = models::model(705).unwrap();
    let (points, _) = lay_out(model, 1, 0, 500, &|name| Some(if name == "NCrv" { 3 } else { 4 }));
    assert_eq!(points.iter().filter(|point| point.path.len() == 2).count(), 3 * 4 * 2);
}

#[test]
fn types_symbols_and_access_are_parsed() {
    let state = models::model(103).unwrap().group.point("St").unwrap().1;
    assert_eq!((state.kind, state.writable), (PointType::Enum16, false));
    assert_eq!(state.symbols[3], (4, "MPPT"));
    let limit = models::model(123).unwrap().group.point("WMaxLimPct").unwrap().1;
    assert_eq!((limit.unit, limit.writable, limit.label), ("% WMax", true, "WMaxLimPct"));
    let factor = models::model(103).unwrap().group.point("W_SF").unwrap().1;
    assert_eq!((factor.kind, factor.kind.is_value()), (PointType::ScaleFactor, false));
}

/// A hybrid inverter with two strings and a battery.
fn inverter(base: u16) -> MemoryDevice {
    MemoryDevice::at(base)
        .with(1, &[], 0)
        .with(103, &[], 0)
        .with_length(64_999, 11)
        .with(160, &[("N", 2)], 2)
        .with(705, &[("NCrv", 2), ("NPt", 3)], 0)
        .with(803, &[("NStr", 2)], 0)
        .with(103, &[], 0)
        .ended()
        .text(2, "Fronius")
        .text(18, "GEN24 10.0 Plus ")
        .text(34, "")
        .text(42, "1.2\u{7}.3")
        .text(50, "SN-0815\0left over")
}

#[test]
fn a_device_is_found_at_each_base() {
    for base in [40_000, 0, 50_000] {
        let found = inverter(base).found();
        assert_eq!(found.base, base);
        let models: Vec<_> =
            found.models.iter().map(|model| (model.id, model.address - base, model.instance)).collect();
        let expected =
            [(1, 2, 1), (103, 70, 1), (64_999, 122, 1), (160, 135, 1), (705, 185, 1), (803, 232, 1), (103, 324, 2)];
        assert_eq!(models, expected);
        let nameplate = &found.nameplate;
        let texts =
            [&nameplate.manufacturer, &nameplate.model, &nameplate.options, &nameplate.version, &nameplate.serial];
        assert_eq!(texts, ["Fronius", "GEN24 10.0 Plus", "", "1.2.3", "SN-0815"]);
        let vendor = &found.models[2];
        assert_eq!((vendor.name, vendor.expected, vendor.length), ("", None, 11));
        assert!(found.models.iter().all(|model| model.expected.is_none_or(|length| length == u32::from(model.length))));
        assert!(names(&found, 160).contains(&("module(2).DCW".to_owned(), base + 135 + 41)));
        assert!(names(&found, 705).iter().any(|(name, _)| name == "Crv(2).Pt(3).Var"));
        assert!(names(&found, 64_999).is_empty());
        assert_eq!(found.points.iter().filter(|point| (point.model, point.instance) == (103, 2)).count(), 31);
    }
}

#[test]
fn few_reads_are_enough() {
    let (found, reads) = inverter(40_000).discover();
    // The marker, seven models and the end; the nameplate; two counts of 705, one of 803; power twice, temperature
    // twice.
    assert_eq!((found.unwrap().models.len(), reads.len()), (7, 1 + 8 + 1 + 2 + 1 + 4));
    assert!(reads.iter().all(|read| read.count <= 125));
}

#[test]
fn a_small_block_limit_is_learned() {
    let whole = inverter(0).found();
    for block in [1, 2, 8, 32] {
        let device = MemoryDevice { block, ..inverter(0) };
        let (found, reads) = device.discover();
        if block == 1 {
            // The marker itself has two registers.
            assert!(found.is_err());
            continue;
        }
        assert_eq!(found.unwrap(), whole, "blocks of {block}");
        let refused = reads.iter().filter(|read| read.count > block).count();
        assert!(refused <= 7, "{refused} reads of more than {block} registers");
    }
}

#[test]
fn the_common_model_may_be_one_short() {
    let found = MemoryDevice::at(40_000).with_length(1, 65).with(103, &[], 0).ended().text(2, "SMA").found();
    assert_eq!(found.nameplate.manufacturer, "SMA");
    let common = &found.models[0];
    assert_eq!((common.length, common.expected), (65, Some(66)));
    assert_eq!(names(&found, 1).last(), Some(&("DA".to_owned(), 40_068)));
    assert_eq!(found.models[1].address, 40_069);
}

#[test]
fn points_beyond_a_models_length_are_left_out() {
    // The count of 803 is nine strings, but its length has room for two and a half.
    let mut device = MemoryDevice::at(0).with(1, &[], 0).with_length(803, 26 + 2 * 32 + 16).ended();
    device.registers.insert(72, 9);
    let found = device.found();
    let strings: Vec<_> = names(&found, 803).into_iter().filter(|(name, _)| name.ends_with("StrSoC")).collect();
    assert_eq!(strings.len(), 2);
    assert_eq!(found.models[1].expected, Some(26 + 9 * 32));
    // An old model 103 ends before the scale factor of the temperatures: no temperature instead of a wrong one.
    let found = MemoryDevice::at(0).with_length(103, 34).ended().found();
    assert_eq!(names(&found, 103).last().map(|(name, _)| name.as_str()), Some("DCW"));
}

#[test]
fn a_missing_count_follows_from_the_length() {
    let mut device = MemoryDevice::at(0).with(714, &[("NPrt", 3)], 0).ended();
    device.registers.insert(6, u16::MAX);
    assert_eq!(names(&device.found(), 714).iter().filter(|(name, _)| name.ends_with(".DCW")).count(), 3);
    // The same if the register of the count is refused.
    let mut device = MemoryDevice::at(0).with(714, &[("NPrt", 3)], 0).ended();
    device.registers.remove(&6);
    assert_eq!(names(&device.found(), 714).iter().filter(|(name, _)| name.ends_with(".DCW")).count(), 3);
}

#[test]
fn the_end_marker_may_have_no_length() {
    let mut device = inverter(0);
    let (end, _) = device.registers.pop_last().unwrap();
    assert_eq!(device.registers[&(end - 1)], super::discovery::END);
    assert_eq!(device.found().models.len(), 7);
    // The same in the last register of the table.
    let room = 65_535 - 40_002 - 68 - 2;
    let mut device = MemoryDevice::at(40_000).with(1, &[], 0).with_length(64_998, room);
    device.registers.insert(65_535, super::discovery::END);
    assert_eq!(device.found().models.len(), 2);
}

#[test]
fn a_device_without_the_marker_is_reported() {
    let expected = "no SunSpec device: \"SunS\" is not at register 40000, 0 or 50000; write its register as sunspec_base, or give it a profile of its own";
    let mut device = MemoryDevice::at(40_000);
    device.registers.insert(40_001, 0x6e54);
    assert_eq!(device.error(), expected);
    device.registers.clear();
    assert_eq!(device.error(), expected);
    let (error, reads) = MemoryDevice { refusal: ReadError::Timeout, ..device }.discover();
    assert_eq!(reads.iter().map(|read| read.start).collect::<Vec<_>>(), [40_000, 40_000, 0, 0, 50_000, 50_000]);
    assert!(error.unwrap_err().to_string().starts_with("no response to 6 consecutive reads"));
}

#[test]
fn a_chain_without_an_end_marker_is_used_as_far_as_it_goes() {
    let models = |device: &MemoryDevice| {
        let found = device.found();
        let ids: Vec<u16> = found.models.iter().map(|model| model.id).collect();
        (ids, found.note.unwrap())
    };
    // One register 0 instead of the marker; the register behind it is refused.
    let mut device = MemoryDevice::at(40_000).with(1, &[], 0).with(103, &[], 0).with(802, &[], 0);
    let end = u16::try_from(device.next).unwrap();
    device.registers.insert(end, 0);
    let (ids, note) = models(&device);
    assert_eq!(ids, [1, 103, 802]);
    let expected = "the chain of SunSpec models has no end marker: 0 is not a model id";
    assert_eq!(note, format!("{expected} (register {end}); using the 3 models before it"));
    // Nothing at all, or zeros without an end.
    device.registers.remove(&end);
    assert_eq!(models(&device).0, [1, 103, 802]);
    device.registers.extend((end..end + 100).map(|address| (address, 0)));
    assert_eq!(models(&device).0, [1, 103, 802]);
}

#[test]
fn what_precedes_a_broken_model_is_used() {
    let note = |device: &MemoryDevice| {
        let found = device.found();
        assert_eq!(found.models.iter().map(|model| model.id).collect::<Vec<_>>(), [1, 103]);
        found.note.unwrap()
    };
    let inverter = || MemoryDevice::at(40_000).with(1, &[], 0).with(103, &[], 0);
    let mut device = inverter().with_length(802, 62);
    device.registers.insert(40_123, 40_000);
    assert!(note(&device).contains("model 802 has a length of 40000 and would end after register 65535"));
    // The header cannot be read: refused for another reason than its address, or never answered.
    for refusal in [ReadError::Exception(4), ReadError::Timeout] {
        let device = MemoryDevice { refusal, ..inverter() };
        assert!(note(&device).contains(&refusal.to_string()));
    }
    // A device that is busy is asked again later.
    assert!(MemoryDevice { refusal: ReadError::Exception(6), ..inverter() }.error().contains("exception 6"));
}

#[test]
fn models_of_odd_lengths_and_repeated_models_are_used() {
    let device = MemoryDevice::at(40_000)
        .with(1, &[], 0)
        .with_length(103, 0)
        .with_length(103, 14)
        .with_length(64_999, 3)
        .with_length(802, 70)
        .with(713, &[], 0)
        .ended();
    let profile = device.found().profile(None);
    let has = |name: &str| profile.points.iter().any(|point| point.name == name);
    assert!(!has("m103_W") && !has("m103_2_WH"), "beyond the device's length");
    assert!(has("m103_2_W") && has("m802_SoC") && has("m713_SoC"));
    let headers: Vec<_> = profile.points.iter().filter_map(|point| point.header).map(|header| header.id).collect();
    assert_eq!(headers.len(), profile.points.len(), "each point has the header of its model");
}

#[test]
fn the_chain_may_begin_at_a_configured_register() {
    let found = |device: &MemoryDevice, base| {
        let mut discovery = Discovery::at(base, 125);
        while let Some(read) = discovery.next() {
            discovery.answer(device.read(read).as_deref().map_err(|refusal| *refusal));
        }
        discovery.finish()
    };
    let odd = MemoryDevice::at(1234).with(1, &[], 0).with(103, &[], 0).ended();
    assert_eq!(found(&odd, Some(1234)).unwrap().models.len(), 2);
    assert_eq!(found(&odd, None), Err(DiscoveryError::NotSunSpec));
    let error = found(&odd, Some(40_000)).unwrap_err().to_string();
    assert!(error.contains("\"SunS\" is not at register 40000; correct sunspec_base"), "{error}");
    assert!(found(&odd, Some(65_535)).is_err());
}

#[test]
fn a_change_of_the_chain_is_found() {
    let device = || MemoryDevice::at(40_000).with(1, &[], 0).with(714, &[("NPrt", 1)], 0).with(802, &[], 0);
    let state = |found: &DeviceDescription, now: &MemoryDevice, block| {
        let (mut check, mut reads) = (ChainCheck::new(found, block), 0);
        while let Some(read) = check.next() {
            assert!(read.count <= block.max(2));
            reads += 1;
            check.answer(now.read(read).as_deref().map_err(|refusal| *refusal));
        }
        (check.state(), reads)
    };
    let found = device().ended().found();
    for block in [1, 2, 50, 125] {
        assert_eq!(state(&found, &device().ended(), block).0, ChainState::Same);
        // One more model behind the others, one that has grown, one less, and another one in its place.
        assert_eq!(state(&found, &device().with(803, &[("NStr", 0)], 0).ended(), block).0, ChainState::Changed);
        let grown = MemoryDevice::at(40_000).with(1, &[], 0).with(714, &[("NPrt", 2)], 0).with(802, &[], 0).ended();
        assert_eq!(state(&found, &grown, block).0, ChainState::Changed);
        let gone = MemoryDevice::at(40_000).with(1, &[], 0).with(714, &[("NPrt", 1)], 0).ended();
        assert_eq!(state(&found, &gone, block).0, ChainState::Changed);
        assert_eq!(state(&found, &MemoryDevice::at(0).ended(), block).0, ChainState::Changed);
    }
    assert!(state(&found, &device().ended(), 125).1 < 5, "adjacent headers share a read");
    // Without an end marker there is nothing behind the last model, or zeros.
    let open = device().found();
    assert_eq!(state(&open, &device(), 125).0, ChainState::Same);
    assert_eq!(state(&open, &device().with(803, &[("NStr", 0)], 0), 125).0, ChainState::Changed);
    let silent = MemoryDevice { refusal: ReadError::Timeout, ..MemoryDevice::at(0) };
    assert_eq!(state(&found, &silent, 125).0, ChainState::Unknown);
}

#[test]
fn broken_chains_are_reported_with_their_position() {
    let common = || MemoryDevice::at(40_000).with(1, &[], 0);
    assert_eq!(
        common().error(),
        "the chain of SunSpec models is broken at register 40070, after model 1 at 40002: refused with exception 2"
    );
    assert_eq!(
        MemoryDevice::at(40_000).with_length(0, 0).error(),
        "the chain of SunSpec models is broken at register 40002, after \"SunS\" at 40000: 0 is not a model id"
    );
    let mut device = common().with_length(103, 50);
    device.registers.insert(40_071, 40_000);
    assert_eq!(
        device.error(),
        "the chain of SunSpec models is broken at register 40070, after model 1 at 40002: model 103 has a length of 40000 and \
         would end after register 65535"
    );
    let device = common().with_length(64_998, 65_535 - 40_070 - 1);
    assert_eq!(
        device.error(),
        "the chain of SunSpec models is broken at register 65536, after model 64998 at 40070: the registers end at 65535"
    );
    let device = common().with_length(64_998, 65_535 - 40_070 - 2).with_last(64_998);
    assert_eq!(
        device.error(),
        "the chain of SunSpec models is broken at register 65535, after model 64998 at 40070: the registers end at 65535"
    );
}

impl MemoryDevice {
    fn with_last(mut self, id: u16) -> Self {
        self.registers.insert(65_535, id);
        self
    }
}

#[test]
fn a_chain_without_end_is_abandoned() {
    let device = (0..200).fold(MemoryDevice::at(0), |device, _| device.with_length(64_998, 0));
    assert_eq!(device.error(), "the chain of SunSpec models does not end: 128 models without an end marker (65535)");
}

#[test]
fn reads_of_a_busy_or_silent_device_are_repeated() {
    for refused in [ReadError::Exception(6), ReadError::Exception(5), ReadError::Exception(11), ReadError::Timeout] {
        let device = inverter(40_000);
        let mut discovery = Discovery::default();
        let mut turn = 0;
        while let Some(read) = discovery.next() {
            turn += 1;
            let answer = if turn % 2 == 1 { Err(refused) } else { device.read(read) };
            discovery.answer(answer.as_deref().map_err(|refused| *refused));
        }
        assert_eq!(discovery.finish().unwrap(), device.found());
    }
}

#[test]
fn discovery_of_a_device_that_stops_answering_ends() {
    let device = inverter(40_000);
    let mut discovery = Discovery::default();
    for reads in 0.. {
        let Some(read) = discovery.next() else { break };
        let answer = if reads > 9 { Err(ReadError::Timeout) } else { device.read(read) };
        discovery.answer(answer.as_deref().map_err(|refused| *refused));
        assert!(reads < 20);
    }
    let error = discovery.finish().unwrap_err().to_string();
    assert_eq!(error, "no response to 8 consecutive reads: check that the device is on and has this unit id");
}

#[test]
fn an_unfinished_discovery_has_no_result() {
    assert!(Discovery::default().finish().unwrap_err().to_string().contains("not complete"));
}
