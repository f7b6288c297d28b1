//! The figures as a table, for people and as Markdown.

const HEADINGS: [&str; 5] = ["figure", "target", "gateway", "bare native, same run", "known elsewhere"];
const GAP: &str = "  ";

/// One figure.
pub(crate) struct Row {
    pub(crate) figure: String,
    pub(crate) target: &'static str,
    pub(crate) gateway: String,
    pub(crate) bare: String,
    pub(crate) elsewhere: &'static str,
}

impl Row {
    fn cells(&self) -> [&str; 5] {
        [&self.figure, self.target, &self.gateway, &self.bare, self.elsewhere]
    }
}

/// Columns of even width.
pub(crate) fn text(rows: &[Row]) -> String {
    let lines: Vec<_> = std::iter::once(HEADINGS).chain(rows.iter().map(Row::cells)).collect();
    let mut widths = [0; HEADINGS.len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let padded = |line: &[&str; 5]| {
        let cells: Vec<_> = widths.iter().zip(line).map(|(width, cell)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join(GAP).trim_end())
    };
    lines.iter().map(padded).collect()
}

/// The same for a README.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let line = |cells: [&str; 5]| format!("| {} |\n", cells.join(" | "));
    let rows = rows.iter().map(|row| line(row.cells()));
    std::iter::once(line(HEADINGS)).chain(std::iter::once(line(["---"; 5]))).chain(rows).collect()
}
