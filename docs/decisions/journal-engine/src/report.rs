//! The figures as tables in Markdown, a candidate a column.

use crate::measure::Figures;

type Cell = fn(&Figures) -> Option<String>;

fn number(value: Option<f64>, unit: &str) -> Option<String> {
    let value = value?;
    let digits = if value >= 100.0 || value.fract() == 0.0 { 0 } else { usize::from(value < 10.0) + 1 };
    Some(format!("{value:.digits$}{unit}"))
}

const ROWS: &[(&str, Cell)] = &[
    ("processor, 1,000 frames/s singly", |f| number(f.median("paced.processor_us"), " µs")),
    ("processor, full speed", |f| number(f.median("full.processor_us"), " µs")),
    ("frames/s, full speed", |f| number(f.median("full.rate"), "")),
    ("bytes made dirty, singly", |f| number(f.median("paced.written"), "")),
    ("bytes the disk was told to write, singly", |f| number(f.min("paced.disk"), "")),
    ("bytes made dirty, full speed", |f| number(f.median("full.written"), "")),
    ("bytes the disk was told to write, full speed", |f| number(f.min("full.disk"), "")),
    ("growth of the files, full speed", |f| number(f.median("full.stored"), "")),
    ("synced one by one: processor", |f| number(f.median("synced.processor_us"), " µs")),
    ("synced one by one: bytes made dirty", |f| number(f.median("synced.written"), "")),
    ("synced one by one: bytes the disk was told to write", |f| number(f.min("synced.disk"), "")),
    ("synced one by one: median", |f| number(f.median("synced.sync_median_us").map(|us| us / 1e3), " ms")),
    ("one append, median", |f| number(f.median("paced.append_median_us"), " µs")),
    ("one append, longest", |f| number(f.max("paced.append_max_us").map(|us| us / 1e3), " ms")),
    ("one sync, median", |f| number(f.median("paced.sync_median_us").map(|us| us / 1e3), " ms")),
    ("one sync, longest", |f| number(f.max("paced.sync_max_us").map(|us| us / 1e3), " ms")),
    ("memory, singly", |f| number(f.median("paced.resident_mib"), " MiB")),
    ("memory, full speed, peak", |f| number(f.max("full.peak_mib"), " MiB")),
    ("threads", |f| number(f.max("paced.threads"), "")),
    ("size on disk when killed", |f| number(f.max("kill.stored_mib"), " MiB")),
    ("events lost at SIGKILL, most", |f| number(f.max("kill.lost"), "")),
    ("open after SIGKILL, not cached", |f| number(f.median("open_cold.open_ms"), " ms")),
    ("open after SIGKILL, cached, longest", |f| number(f.max("open_warm.open_ms"), " ms")),
    ("memory of opening, peak", |f| number(f.max("open_cold.peak_mib"), " MiB")),
    ("reader in another process", |f| {
        let behind = f.max("beside.behind")?;
        Some(if f.min("beside.newest")? > 0.0 { format!("≤ {behind} events behind") } else { "no".to_owned() })
    }),
    ("drop the oldest half", |f| number(f.median("drop.drop_ms"), " ms")),
    ("… written for it", |f| number(f.median("drop.drop_written_mib"), " MiB")),
    ("… of the disk space freed", |f| number(f.median("drop.drop_freed").map(|part| part * 100.0), " %")),
    ("end cut: refused to open or read, of all", |f| share(f, "cut.refused")),
    ("end cut: events lost, most", |f| number(f.max("cut.lost"), "")),
    ("end cut: events wrong, most", |f| number(f.max("cut.wrong"), "")),
    ("512 bytes overwritten: refused, of all", |f| share(f, "spot.refused")),
    ("512 bytes overwritten: events lost, median", |f| number(f.median("spot.lost"), "")),
    ("512 bytes overwritten: events lost, most", |f| number(f.max("spot.lost"), "")),
    ("512 bytes overwritten: events wrong, most", |f| number(f.max("spot.wrong"), "")),
];

fn share(figures: &Figures, name: &str) -> Option<String> {
    let values = figures.all(name)?;
    let count = values.iter().filter(|value| **value > 0.0).count();
    Some(format!("{count} of {}", values.len()))
}

/// Prints the table.
pub(crate) fn print(candidates: &[(&str, Figures)]) {
    print!("| per frame, unless a unit says else |");
    for (name, _) in candidates {
        print!(" {name} |");
    }
    println!("\n|---|{}", "--:|".repeat(candidates.len()));
    for (title, cell) in ROWS {
        print!("| {title} |");
        for (_, figures) in candidates {
            print!(" {} |", cell(figures).unwrap_or_else(|| "–".to_owned()));
        }
        println!();
    }
}
