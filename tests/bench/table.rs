//! Tables of figures, as plain text and as Markdown.

/// The space between two columns of a plain-text table.
const GAP: &str = "  ";

/// A row of a table with this many columns.
pub(crate) trait Row<const COLUMNS: usize> {
    /// The headings of the columns.
    const HEADINGS: [&'static str; COLUMNS];

    fn cells(&self) -> [&str; COLUMNS];
}

/// A figure of the gateway beside that of a baseline in the same run.
pub(crate) struct ComparedFigure {
    pub(crate) figure: String,
    pub(crate) target: &'static str,
    pub(crate) gateway: String,
    pub(crate) baseline: String,
    pub(crate) elsewhere: &'static str,
}

/// A figure without a baseline in the same run.
pub(crate) struct MeasuredFigure {
    pub(crate) figure: String,
    pub(crate) target: &'static str,
    pub(crate) measured: String,
    pub(crate) elsewhere: &'static str,
}

impl Row<5> for ComparedFigure {
    const HEADINGS: [&'static str; 5] = ["figure", "target", "this gateway", "native, same run", "elsewhere"];

    fn cells(&self) -> [&str; 5] {
        [&self.figure, self.target, &self.gateway, &self.baseline, self.elsewhere]
    }
}

impl Row<4> for MeasuredFigure {
    const HEADINGS: [&'static str; 4] = ["figure", "target", "measured", "elsewhere"];

    fn cells(&self) -> [&str; 4] {
        [&self.figure, self.target, &self.measured, self.elsewhere]
    }
}

/// A table in both forms.
pub(crate) struct Table {
    /// With aligned columns.
    pub(crate) text: String,
    /// For documentation.
    pub(crate) markdown: String,
}

impl Table {
    pub(crate) fn of<const COLUMNS: usize, R: Row<COLUMNS>>(rows: &[R]) -> Self {
        Self::with_headings(R::HEADINGS, rows)
    }

    /// As [`Table::of`], with other headings.
    pub(crate) fn with_headings<const COLUMNS: usize, R: Row<COLUMNS>>(
        headings: [&'static str; COLUMNS],
        rows: &[R],
    ) -> Self {
        let lines: Vec<_> = std::iter::once(headings).chain(rows.iter().map(Row::cells)).collect();
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
