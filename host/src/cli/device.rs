//! `bessai-edge device`: looks at a device, and sets a point, without a gateway.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::profile::{Point, Profile};
use bessai_domain::register::{Format, Layout, Table, TextLayout, UnitId};
use bessai_domain::settings::nearest;
use clap::{Args, Subcommand};
use tokio::task::LocalSet;

use crate::app;
use crate::config::{self, Device};
use crate::modbus::Console;

use super::{CONFIGURATION, USAGE, duration, finish, load};

mod shown;

/// How often a watched device is read, unless the command says otherwise.
const WATCH_PERIOD: &str = "1s";
/// Time for an answer while unit ids are tried: most of them are nobody's.
const TRY_TIMEOUT: Duration = Duration::from_millis(300);

#[derive(Subcommand)]
pub(super) enum Command {
    /// Reads points by their names, all points, or a range of registers.
    Read {
        #[command(flatten)]
        place: Place,
        /// Points, or channels [default: all that the profile has].
        #[arg(value_name = "POINT")]
        points: Vec<String>,
        /// A range instead, such as 40000+10, or 100 for one.
        #[arg(long, value_name = "START+COUNT", value_parser = range, conflicts_with = "points")]
        raw: Option<(u16, u16)>,
        /// Table of the range: holding, input, coil or discrete.
        #[arg(long, value_name = "TABLE", value_parser = table, default_value = "holding", requires = "raw")]
        table: Table,
        /// What the range is read as, such as float32, int16 or string.
        #[arg(long = "type", value_name = "TYPE", value_parser = read_as, requires = "raw")]
        read_as: Option<ReadAs>,
        /// Order of the bytes, such as CDAB; of a string's, such as low-high.
        #[arg(long, value_name = "ORDER", requires = "read_as")]
        order: Option<String>,
        /// Reads again and again, each second or at this period.
        #[arg(long, value_name = "PERIOD", value_parser = duration, num_args = 0..=1, default_missing_value = WATCH_PERIOD)]
        watch: Option<Duration>,
        /// One line of JSON for each reading.
        #[arg(long)]
        json: bool,
    },
    /// Says whether it is a SunSpec device, and what models it has; or which unit ids answer.
    Scan {
        #[command(flatten)]
        place: Place,
        /// Tries these unit ids instead, such as 1-247.
        #[arg(long, value_name = "FIRST-LAST", value_parser = units)]
        units: Option<(u8, u8)>,
        /// Lists every point of every model.
        #[arg(long, conflicts_with = "units")]
        points: bool,
    },
    /// Sets a point to a value in its unit and reads it back. The plant obeys: nothing but the profile's range checks it.
    Write {
        #[command(flatten)]
        place: Place,
        /// The point, or its channel.
        #[arg(value_name = "POINT")]
        point: String,
        /// In the point's unit.
        #[arg(value_name = "VALUE", allow_hyphen_values = true, value_parser = number)]
        value: f64,
    },
}

#[derive(Args)]
pub(super) struct Place {
    /// Settings that describe the device [default: bessai.toml, if present].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The device's name in the settings [default: the first].
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// A device that no settings describe, such as tcp://192.168.1.20:502 or rtu:///dev/ttyUSB0?baud=9600.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["config", "device"])]
    address: Option<String>,
    /// Unit id [default: the settings', else the profile's].
    #[arg(long, value_name = "ID")]
    unit: Option<u8>,
    /// Profile of the device at the address: a built-in one's name, or a file.
    #[arg(long, value_name = "PROFILE", requires = "address")]
    profile: Option<String>,
    /// Time for an answer, such as 500ms.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let (start, count) = text.split_once('+').unwrap_or((text, "1"));
    let range = start.parse().ok().zip(count.parse().ok().filter(|count| *count > 0));
    let range = range.filter(|(start, count): &(u16, u16)| u32::from(*start) + u32::from(*count) <= 65_536);
    range.ok_or_else(|| "write the first address and how many, such as 40000+10, within 0 to 65535".into())
}

fn table(text: &str) -> Result<Table, String> {
    let named = Table::NAMES.iter().find(|(name, _)| *name == text);
    named.map(|&(_, table)| table).ok_or_else(|| "write holding, input, coil or discrete".into())
}

/// What a raw range is read as.
#[derive(Clone, Copy, Debug)]
pub(super) enum ReadAs {
    Number(Format),
    Text,
}

fn read_as(text: &str) -> Result<ReadAs, String> {
    if text == "string" {
        return Ok(ReadAs::Text);
    }
    let names: Vec<_> = Format::NAMES.iter().map(|(name, _)| *name).collect();
    Format::named(text).map(ReadAs::Number).ok_or_else(|| format!("write one of {} or string", names.join(", ")))
}

fn number(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value: &f64| value.is_finite());
    value.ok_or_else(|| "write a number in the point's unit; on is 1 and off is 0, and a state is its number".into())
}

fn units(text: &str) -> Result<(u8, u8), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let units = first.parse().ok().zip(last.parse().ok()).filter(|(first, last)| first <= last);
    units.ok_or_else(|| "write the first and the last unit id, such as 1-247".into())
}

pub(super) fn run(command: Command) -> ExitCode {
    match command {
        Command::Read { place, points, raw, table, read_as, order, watch, json } => {
            let device = match find(&place) {
                Ok(device) => device,
                Err(code) => return code,
            };
            let what = match raw {
                Some(range) => match layout(read_as, order.as_deref(), range.1) {
                    Ok(layout) => What::Raw { table, range, layout },
                    Err(mend) => return wrong(&mend),
                },
                None => match choose(&device, points) {
                    Ok(what) => what,
                    Err(mend) => return wrong(&mend),
                },
            };
            within(read(device, what, watch, json))
        }
        Command::Scan { place, units, points } => match find(&place) {
            Ok(device) => within(scan(device, units, points, place.timeout)),
            Err(code) => code,
        },
        Command::Write { place, point, value } => match find(&place) {
            Ok(device) => match (!device.profile.is_discovered).then(|| self::point(&device.profile, &point)) {
                Some(Err(mend)) => wrong(&mend),
                _ => within(write(device, point, value)),
            },
            Err(code) => code,
        },
    }
}

fn wrong(mend: &str) -> ExitCode {
    eprintln!("{mend}");
    ExitCode::from(USAGE)
}

fn within(work: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    finish(app::runtime().and_then(|runtime| LocalSet::new().block_on(&runtime, work)))
}

/// The device that is meant, from the settings or from the command line alone.
fn find(place: &Place) -> Result<Device, ExitCode> {
    let mut device = match &place.address {
        Some(address) => described(address, place.profile.as_deref())?,
        None => configured(place)?,
    };
    if let Some(unit) = place.unit {
        (device.unit, device.unit_was_given) = (UnitId(unit), true);
    }
    if let Some(timeout) = place.timeout {
        device.reading.timeout = timeout;
    }
    Ok(device)
}

fn configured(place: &Place) -> Result<Device, ExitCode> {
    let config = load(place.config.as_deref())?;
    let names: Vec<_> = config.devices.iter().map(|device| device.name.clone()).collect();
    let mut devices = config.devices.into_iter();
    let device = match &place.device {
        None => devices.next(),
        Some(name) => devices.find(|device| device.name == *name),
    };
    device.ok_or_else(|| {
        let name = place.device.as_deref().unwrap_or_default();
        wrong(&format!("--device {name}: there is none of this name; the settings have {}", names.join(", ")))
    })
}

fn described(address: &str, profile: Option<&str>) -> Result<Device, ExitCode> {
    let address = config::parse_address(address).map_err(|mend| wrong(&format!("--address {address}: {mend}")))?;
    let profile = match profile {
        None => Profile::new(""),
        Some(name) => config::profile(name).map_err(|mistakes| {
            mistakes.iter().for_each(|mistake| eprintln!("{mistake}"));
            ExitCode::from(CONFIGURATION)
        })?,
    };
    Ok(Device {
        name: "device".into(),
        address,
        unit: profile.unit,
        unit_was_given: false,
        period: Duration::from_secs(1),
        reading: config::Reading::of(&profile),
        profile: Arc::new(profile),
    })
}

/// What is read.
enum What {
    /// These points; all where none is named, also those that the device tells itself.
    Points(Vec<String>),
    Raw {
        table: Table,
        range: (u16, u16),
        layout: Option<Layout>,
    },
}

fn layout(read_as: Option<ReadAs>, order: Option<&str>, registers: u16) -> Result<Option<Layout>, String> {
    let format = match read_as {
        None => return Ok(None),
        Some(ReadAs::Number(format)) => format,
        Some(ReadAs::Text) => {
            let order = order.unwrap_or("high-low");
            let named = TextLayout::NAMES.iter().find(|(name, _)| *name == order);
            let (_, layout) =
                named.ok_or_else(|| format!("--order {order}: write high-low, low-high, high or low for a string"))?;
            return Ok(Some(Layout::plain(Format::Text(registers, *layout))));
        }
    };
    let plain = Layout::plain(format);
    let Some(order) = order else { return Ok(Some(plain)) };
    let ordered = plain.ordered(order);
    ordered.map(Some).ok_or_else(|| {
        format!(
            "--order {order}: write the bytes of {} in the device's order, such as {}",
            plain.format.name(),
            plain.letters()
        )
    })
}

fn choose(device: &Device, names: Vec<String>) -> Result<What, String> {
    let profile = &device.profile;
    if !profile.is_discovered && profile.points.is_empty() {
        return Err("say what to read: --profile NAME, or a range such as --raw 0+10".into());
    }
    for name in names.iter().filter(|_| !profile.is_discovered) {
        point(profile, name)?;
    }
    Ok(What::Points(names))
}

fn point<'a>(profile: &'a Profile, name: &str) -> Result<&'a Point, String> {
    profile.point(name).ok_or_else(|| {
        let known = profile.points.iter().flat_map(|point| [point.name.as_str(), point.channel.as_str()]);
        match nearest(name, known) {
            Some(near) => format!("{name}: the profile {} has no such point; did you mean `{near}`?", profile.name),
            None => format!("{name}: the profile {} has no such point", profile.name),
        }
    })
}

fn console(device: &Device) -> Console {
    let line = app::line(device);
    Console::new(line.0, line.1)
}

async fn read(mut device: Device, what: What, watch: Option<Duration>, json: bool) -> anyhow::Result<()> {
    let mut console = console(&device);
    if device.profile.is_discovered {
        discover(&mut device, &mut console).await?;
    }
    let in_place = watch.is_some() && !json && std::io::stdout().is_terminal();
    let mut ticks = tokio::time::interval(watch.unwrap_or(Duration::from_secs(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let shown = match &what {
            What::Raw { table, range: (start, count), layout } => {
                let words = console.raw(*table, *start, *count).await;
                words.map(|words| shown::raw(*table, *start, &words, *layout, json))
            }
            What::Points(names) => {
                let points = points(&device.profile, names).map_err(anyhow::Error::msg)?;
                let frame = console.points(points.iter().copied()).await;
                frame.map(|frame| shown::points(&device, &points, &frame, app::now(), json))
            }
        };
        match (shown, watch) {
            (Ok(text), _) if in_place => print!("\x1b[H\x1b[2J{text}"),
            (Ok(text), _) => print!("{text}"),
            (Err(reason), None) => anyhow::bail!("{}: {reason}", device.address),
            // Who watches wants to see it come back.
            (Err(reason), Some(_)) => eprintln!("{}: {reason}", device.address),
        }
        if watch.is_none() {
            return Ok(());
        }
    }
}

/// The device's own points, where it tells them.
async fn discover(device: &mut Device, console: &mut Console) -> anyhow::Result<()> {
    let found = console.scan().await.map_err(|reason| anyhow::anyhow!("{}: {reason}", device.address))?;
    device.profile = Arc::new(found.profile(device.reading.models.as_deref()));
    Ok(())
}

fn points<'a>(profile: &'a Profile, names: &[String]) -> Result<Vec<&'a Point>, String> {
    if names.is_empty() {
        return Ok(profile.readable().collect());
    }
    names.iter().map(|name| point(profile, name)).collect()
}

async fn scan(
    mut device: Device,
    units: Option<(u8, u8)>,
    points: bool,
    timeout: Option<Duration>,
) -> anyhow::Result<()> {
    if let Some((first, last)) = units {
        device.reading.timeout = timeout.unwrap_or(TRY_TIMEOUT);
        return try_units(&device, first, last).await;
    }
    let mut console = console(&device);
    match console.scan().await {
        Ok(found) => {
            print!("{}", shown::found(&device, &found, points));
            Ok(())
        }
        Err(reason) => anyhow::bail!("{} unit {}: {reason}", device.address, device.unit.0),
    }
}

async fn try_units(device: &Device, first: u8, last: u8) -> anyhow::Result<()> {
    let mut console = console(device);
    let mut found = 0;
    for unit in first..=last {
        if console.answers(UnitId(unit)).await.map_err(anyhow::Error::msg)? {
            println!("unit {unit} answers");
            found += 1;
        }
    }
    anyhow::ensure!(found > 0, "{}: no unit from {first} to {last} answers", device.address);
    Ok(())
}

async fn write(mut device: Device, name: String, value: f64) -> anyhow::Result<()> {
    let mut console = console(&device);
    if device.profile.is_discovered {
        discover(&mut device, &mut console).await?;
    }
    let point = point(&device.profile, &name).map_err(anyhow::Error::msg)?;
    let written = console.write(point, value).await.map_err(anyhow::Error::msg)?;
    let value = format!("{value} {}", shown::unit(&point.unit));
    match written.read_back {
        Some(now) => println!("{} is set to {}, and reads {now}", point.name, value.trim_end()),
        None => println!("{} is set to {}; it cannot be read back", point.name, value.trim_end()),
    }
    Ok(())
}
