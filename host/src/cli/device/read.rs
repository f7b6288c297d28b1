//! `bessai-edge device read`: points or registers, once or repeatedly.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::time::Duration;

use bessai_domain::profile::Point;
use bessai_domain::register::{Format, Layout, Table, TextLayout};
use bessai_modbus::DeviceClient;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use tokio::time::{MissedTickBehavior, interval};

use crate::cli::output::{print, print_error};
use crate::clock;
use crate::config::DeviceConfig;

use super::format;
use super::target::{self, find_point};

/// The name of text in `--type`, beside those of the number formats.
const TEXT: &str = "string";
/// Order of a text's characters, unless `--order` says otherwise.
const TEXT_ORDER: &str = "high-low";
/// Moves a terminal's cursor to the top left corner and clears the screen.
const CLEAR_SCREEN: &str = "\x1b[H\x1b[2J";

/// First address and number of registers.
pub(super) type RawRange = (u16, u16);

/// What is read.
pub(super) enum ReadSelection {
    /// The points with these names; all points of the profile if there are none.
    Points(Vec<String>),
    /// Registers without a profile.
    Registers { table: Table, range: RawRange, layout: Option<Layout> },
}

/// The format of registers that are read without a profile.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) enum RawFormat {
    Number(Format),
    Text,
}

/// Parses `40000+10`, or `100` for one register.
pub(super) fn register_range(text: &str) -> Result<RawRange, String> {
    let (start, count) = text.split_once('+').unwrap_or((text, "1"));
    let range = start.parse().ok().zip(count.parse().ok().filter(|count| *count > 0));
    let range = range.filter(|(start, count): &RawRange| u32::from(*start) + u32::from(*count) <= 65_536);
    range.ok_or_else(|| "write the first address and how many registers, such as 40000+10, within 0 to 65535".into())
}

/// A parser for a format's name in upper or lower case.
pub(super) fn raw_format() -> impl TypedValueParser<Value = RawFormat> {
    let names = Format::NAMES.iter().map(|(name, _)| *name).chain([TEXT]);
    let find = |name: String| Format::from_name(&name).map_or(RawFormat::Text, RawFormat::Number);
    PossibleValuesParser::new(names).map(find)
}

/// Registers as bare words, or as values of a format.
pub(super) fn registers(
    table: Table,
    range: RawRange,
    format: Option<RawFormat>,
    order: Option<&str>,
) -> Result<ReadSelection, String> {
    let layout = match format {
        None => None,
        Some(RawFormat::Text) => Some(text_layout(range.1, order.unwrap_or(TEXT_ORDER))?),
        Some(RawFormat::Number(format)) => Some(number_layout(format, order)?),
    };
    Ok(ReadSelection::Registers { table, range, layout })
}

fn text_layout(registers: u16, order: &str) -> Result<Layout, String> {
    let layout = TextLayout::NAMES.iter().find(|(name, _)| *name == order);
    let (_, layout) =
        layout.ok_or_else(|| format!("--order {order}: write high-low, low-high, high or low for a string"))?;
    Ok(Layout::plain(Format::Text(registers, *layout)))
}

fn number_layout(format: Format, order: Option<&str>) -> Result<Layout, String> {
    let plain = Layout::plain(format);
    let Some(order) = order else { return Ok(plain) };
    plain.with_byte_order(order).ok_or_else(|| {
        let (name, letters) = (plain.format.name(), plain.byte_order());
        format!("--order {order}: write the bytes of {name} in the device's order, such as {letters}")
    })
}

/// Points by their names or channels. Names that a device describes itself cannot be checked before it is read.
pub(super) fn points(device: &DeviceConfig, names: Vec<String>) -> Result<ReadSelection, String> {
    let profile = &device.profile;
    if !profile.is_discovered {
        if profile.points.is_empty() {
            return Err("nothing to read: add --profile NAME, or a range of registers such as --raw 0+10".into());
        }
        for name in &names {
            find_point(profile, name)?;
        }
    }
    Ok(ReadSelection::Points(names))
}

/// Reads once, or repeatedly with a period.
pub(super) async fn run(
    mut device: DeviceConfig,
    request: ReadSelection,
    watch: Option<Duration>,
    json: bool,
) -> anyhow::Result<()> {
    let mut client = target::client(&device);
    if device.profile.is_discovered {
        target::discover(&mut device, &mut client).await?;
    }
    let points = match &request {
        ReadSelection::Points(names) => named_points(&device, names).map_err(anyhow::Error::msg)?,
        ReadSelection::Registers { .. } => Vec::new(),
    };
    let Some(period) = watch else {
        let text = read(&device, &mut client, &request, &points, json).await?;
        return Ok(print(text)?);
    };
    let prefix = if !json && io::stdout().is_terminal() { CLEAR_SCREEN } else { "" };
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        match read(&device, &mut client, &request, &points, json).await {
            Ok(text) => print(format_args!("{prefix}{text}"))?,
            // A watched device may recover.
            Err(error) => print_error(error),
        }
    }
}

fn named_points<'a>(device: &'a DeviceConfig, names: &[String]) -> Result<Vec<&'a Point>, String> {
    if names.is_empty() {
        return Ok(device.profile.readable().collect());
    }
    names.iter().map(|name| find_point(&device.profile, name)).collect()
}

/// One reading as text; `points` are those of the request.
async fn read(
    device: &DeviceConfig,
    client: &mut DeviceClient,
    request: &ReadSelection,
    points: &[&Point],
    json: bool,
) -> anyhow::Result<String> {
    let failure = |reason: String| anyhow::anyhow!("{}: {reason}", device.address);
    match request {
        ReadSelection::Registers { table, range: (start, count), layout } => {
            let words = client.read_table(*table, *start, *count).await.map_err(failure)?;
            Ok(format::registers(*table, *start, &words, *layout, json))
        }
        ReadSelection::Points(_) => {
            let readings = client.read_points(points.iter().copied()).await.map_err(failure)?;
            let text = format::points(device, points, &readings, clock::now().wall, json);
            let is_refused = |channel: usize| readings.refusals.contains_key(&channel);
            if points.is_empty() || !(0..points.len()).all(is_refused) {
                return Ok(text);
            }
            print(text)?;
            let reasons: BTreeSet<_> = readings.refusals.into_values().collect();
            let reasons: Vec<_> = reasons.into_iter().collect();
            let what = if points.len() == 1 { "the point" } else { "every point" };
            Err(failure(format!("the device refuses {what}: {}", reasons.join(", "))))
        }
    }
}
