//! Figures as tables, for people and as Markdown.

const GAP: &str = "  ";

/// A line of a table of `COLUMNS` columns.
pub(crate) trait Row<const COLUMNS: usize> {
    const HEADINGS: [&'static str; COLUMNS];

    fn cells(&self) -> [&str; COLUMNS];
}

/// A figure of the gateway beside the program written by hand.
pub(crate) struct Compared {
    pub(crate) figure: String,
    pub(crate) target: &'static str,
    pub(crate) gateway: String,
    pub(crate) bare: String,
    pub(crate) elsewhere: &'static str,
}

/// A figure that the program written by hand has no counterpart to.
pub(crate) struct Measured {
    pub(crate) figure: String,
    pub(crate) target: &'static str,
    pub(crate) measured: String,
    pub(crate) elsewhere: &'static str,
}

impl Row<5> for Compared {
    const HEADINGS: [&'static str; 5] = ["figure", "target", "gateway", "bare native, same run", "known elsewhere"];

    fn cells(&self) -> [&str; 5] {
        [&self.figure, self.target, &self.gateway, &self.bare, self.elsewhere]
    }
}

impl Row<4> for Measured {
    const HEADINGS: [&'static str; 4] = ["figure", "target", "measured", "known elsewhere"];

    fn cells(&self) -> [&str; 4] {
        [&self.figure, self.target, &self.measured, self.elsewhere]
    }
}

/// A table in both of its forms.
pub(crate) struct Table {
    /// Columns of even width.
    pub(crate) text: String,
    /// For a README.
    pub(crate) markdown: String,
}

impl Table {
    pub(crate) fn of<const COLUMNS: usize, R: Row<COLUMNS>>(rows: &[R]) -> Self {
        let lines: Vec<_> = std::iter::once(R::HEADINGS).chain(rows.iter().map(Row::cells)).collect();
        Self { text: text(&lines), markdown: markdown(&lines) }
    }
}

fn text<const COLUMNS: usize>(lines: &[[&str; COLUMNS]]) -> String {
    let mut widths = [0; COLUMNS];
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let padded = |line: &[&str; COLUMNS]| {
        let cells: Vec<_> = widths.iter().zip(line).map(|(width, cell)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join(GAP).trim_end())
    };
    lines.iter().map(padded).collect()
}

fn markdown<const COLUMNS: usize>(lines: &[[&str; COLUMNS]]) -> String {
    let line = |cells: &[&str; COLUMNS]| format!("| {} |\n", cells.join(" | "));
    let mut lines = lines.iter().map(line);
    let headings = lines.next().into_iter();
    headings.chain(std::iter::once(line(&["---"; COLUMNS]))).chain(lines).collect()
}
