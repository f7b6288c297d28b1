//! Prints where every point of every SunSpec model lies, each group that repeats taken so often as the argument says.
//!
//! scripts/make-sunspec --check holds it against what the SunSpec Alliance's own library computes.

use std::io::Write;

use bessai_domain::sunspec::Scale;
use bessai_domain::sunspec::layout::lay_out;
use bessai_domain::sunspec::table::{Count, ids, model};

fn main() -> std::io::Result<()> {
    let times: u16 = std::env::args().nth(1).and_then(|argument| argument.parse().ok()).unwrap_or(1);
    let mut out = std::io::stdout().lock();
    for model in ids().filter_map(model) {
        let length = model.group.registers(&|count| match count {
            Count::Once => 1,
            Count::Times(fixed) => u32::from(fixed),
            Count::Room | Count::Point(_) => u32::from(times),
        });
        writeln!(out, "model {} {length}", model.id)?;
        let length = u16::try_from(length).map_err(std::io::Error::other)?;
        let (points, _) = lay_out(model, 1, 0, length, &|_| Some(times));
        for point in points {
            for place in &point.path {
                match place.index {
                    None => write!(out, "{}/", place.group)?,
                    Some(index) => write!(out, "{}({index})/", place.group)?,
                }
            }
            let scale = match point.scale {
                Scale::One => "-".to_owned(),
                Scale::Fixed(power) => power.to_string(),
                Scale::Register(address) => format!("@{address}"),
            };
            writeln!(out, "{} {} {} {scale}", point.definition.name, point.address, point.definition.size)?;
        }
    }
    Ok(())
}
