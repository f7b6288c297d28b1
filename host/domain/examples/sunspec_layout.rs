//! Prints the register of every point of every SunSpec model, with repeating groups repeated as often as the argument
//! says.
//!
//! `scripts/make-sunspec --check` compares the output with that of the SunSpec Alliance's library.

use std::io::Write;

use bessai_domain::sunspec::Scale;
use bessai_domain::sunspec::layout::lay_out;
use bessai_domain::sunspec::models::{Repetition, ids, model};

fn main() -> std::io::Result<()> {
    let times: u16 = std::env::args().nth(1).and_then(|argument| argument.parse().ok()).unwrap_or(1);
    let mut out = std::io::stdout().lock();
    for model in ids().filter_map(model) {
        let length = model.group.registers(&|count| match count {
            Repetition::Once => 1,
            Repetition::Fixed(fixed) => u32::from(fixed),
            Repetition::FillsModel | Repetition::Point(_) => u32::from(times),
        });
        writeln!(out, "model {} {length}", model.id)?;
        let length = u16::try_from(length).map_err(std::io::Error::other)?;
        let (points, _) = lay_out(model, 1, 0, length, &|_| Some(times));
        for point in points {
            for repetition in &point.path {
                match repetition.index {
                    None => write!(out, "{}/", repetition.group)?,
                    Some(index) => write!(out, "{}({index})/", repetition.group)?,
                }
            }
            let scale = match point.scale {
                Scale::None => "-".to_owned(),
                Scale::Fixed(power) => power.to_string(),
                Scale::Register(address) => format!("@{address}"),
            };
            writeln!(out, "{} {} {} {scale}", point.definition.name, point.address, point.definition.size)?;
        }
    }
    Ok(())
}
