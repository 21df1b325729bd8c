//! The arithmetic and the Markdown of a comparison: medians, ratios, spreads. Numbers in, text out.
//!
//! Servers are columns: A, which is compared against, B, and where there is one C, which B is compared against too.

use serde::Serialize;

use crate::compare::workloads::{Better, Named};
use crate::units::short;

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Cell {
    Value(f64),
    /// The run failed verification or could not be made; its number would mean nothing.
    Failed,
}

#[derive(Serialize)]
pub struct Row {
    pub title: &'static str,
    pub unit: &'static str,
    pub better: Better,
    pub target: Option<f64>,
    /// The ratio B/C wanted.
    pub target_c: Option<f64>,
    /// For each server one cell per round.
    pub cells: Vec<Vec<Cell>>,
    pub details: Vec<Detail>,
}

/// A figure beside the row's own, by name.
#[derive(Serialize)]
pub struct Detail {
    pub name: String,
    pub unit: String,
    pub cells: Vec<Vec<Cell>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
}

impl Row {
    pub fn new(named: &Named, servers: usize) -> Self {
        let Named {
            title,
            unit,
            better,
            target,
            target_c,
            ..
        } = *named;
        Self {
            title,
            unit,
            better,
            target,
            target_c,
            cells: vec![Vec::new(); servers],
            details: Vec::new(),
        }
    }

    pub fn add_detail(&mut self, server: usize, name: &str, unit: &str, value: f64) {
        let known = self.details.iter().position(|detail| detail.name == name);
        let index = known.unwrap_or_else(|| {
            self.details.push(Detail {
                name: name.to_owned(),
                unit: unit.to_owned(),
                cells: vec![Vec::new(); self.cells.len()],
            });
            self.details.len() - 1
        });
        self.details[index].cells[server].push(Cell::Value(value));
    }

    fn target_text(&self, target: Option<f64>) -> String {
        match (target, self.better) {
            (None, _) => String::new(),
            (Some(target), Better::Higher) => format!("≥ {target:.2}"),
            (Some(target), Better::Lower) => format!("≤ {target:.2}"),
        }
    }
}

/// Median over median; `None` if a side has no clean result, or the lower one is zero.
fn ratio(over: &[Cell], under: &[Cell]) -> Option<f64> {
    let [over, under] = [spread(over)?.median, spread(under)?.median];
    (under > 0.0).then(|| over / under)
}

fn ratio_text(over: &[Cell], under: &[Cell]) -> String {
    ratio(over, under).map_or("–".to_owned(), |ratio| format!("**{ratio:.2}**"))
}

pub fn markdown(rows: &[Row], names: &[&str]) -> String {
    let [a, b] = [names[0], names[1]];
    let with_targets = rows.iter().any(|row| row.target.is_some());
    let with_targets_c = rows.iter().any(|row| row.target_c.is_some());
    let mut text = format!("| workload | unit | better | {a} | {b} | {b}/{a} |");
    let mut rule = "|---|---|---|--:|--:|--:|".to_owned();
    let mut column = |title: &str| {
        text.push_str(&format!(" {title} |"));
        rule.push_str("--:|");
    };
    if with_targets {
        column("target");
    }
    if let Some(c) = names.get(2) {
        column(c);
        column(&format!("{b}/{c}"));
        if with_targets_c {
            column("target");
        }
    }
    text.push_str(&format!("\n{rule}\n"));
    for row in rows {
        let better = match row.better {
            Better::Higher => "higher",
            Better::Lower => "lower",
        };
        let [a, b] = [&row.cells[0], &row.cells[1]];
        let mut columns = vec![
            row.title.to_owned(),
            row.unit.to_owned(),
            better.to_owned(),
            cell_text(a),
            cell_text(b),
            ratio_text(b, a),
        ];
        if with_targets {
            columns.push(row.target_text(row.target));
        }
        if let Some(c) = row.cells.get(2) {
            columns.extend([cell_text(c), ratio_text(b, c)]);
            if with_targets_c {
                columns.push(row.target_text(row.target_c));
            }
        }
        text.push_str(&format!("| {} |\n", columns.join(" | ")));
    }
    text
}

/// What was measured beside the rows' own figures; nothing if nothing was.
pub fn details_markdown(rows: &[Row], names: &[&str]) -> String {
    if rows.iter().all(|row| row.details.is_empty()) {
        return String::new();
    }
    let mut text = format!(
        "\n| workload | beside | unit | {} |\n|---|---|---|{}\n",
        names.join(" | "),
        "--:|".repeat(names.len())
    );
    for row in rows {
        for detail in &row.details {
            let cells: Vec<String> = detail.cells.iter().map(|cells| cell_text(cells)).collect();
            text.push_str(&format!(
                "| {} | {} | {} | {} |\n",
                row.title,
                detail.name,
                detail.unit,
                cells.join(" | ")
            ));
        }
    }
    text
}

/// Median and extremes; `None` if any round failed or there is none.
pub fn spread(cells: &[Cell]) -> Option<Spread> {
    let mut values = Vec::with_capacity(cells.len());
    for cell in cells {
        match cell {
            Cell::Value(value) => values.push(*value),
            Cell::Failed => return None,
        }
    }
    values.sort_by(f64::total_cmp);
    let (lowest, highest) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    };
    Some(Spread {
        median,
        lowest,
        highest,
    })
}

fn cell_text(cells: &[Cell]) -> String {
    match spread(cells) {
        Some(Spread {
            median,
            lowest,
            highest,
        }) => format!("{} ({}–{})", short(median), short(lowest), short(highest)),
        None if cells.is_empty() => "–".to_owned(),
        None => {
            let failed = cells.iter().filter(|cell| **cell == Cell::Failed).count();
            format!("❌ FAILED {failed} of {}", cells.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(values: &[f64]) -> Vec<Cell> {
        values.iter().map(|value| Cell::Value(*value)).collect()
    }

    #[test]
    fn medians_and_extremes() {
        assert_eq!(
            spread(&cells(&[3.0, 1.0, 2.0])),
            Some(Spread {
                median: 2.0,
                lowest: 1.0,
                highest: 3.0
            })
        );
        assert_eq!(
            spread(&cells(&[4.0, 1.0])),
            Some(Spread {
                median: 2.5,
                lowest: 1.0,
                highest: 4.0
            })
        );
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[Cell::Value(1.0), Cell::Failed]), None);
    }

    #[test]
    fn a_failed_round_is_marked_and_has_no_ratio() {
        let row = |a: Vec<Cell>, b: Vec<Cell>, target| Row {
            title: "1:1",
            unit: "msg/s",
            better: Better::Higher,
            target,
            target_c: None,
            cells: vec![a, b],
            details: Vec::new(),
        };
        let good = row(cells(&[1e6, 2e6, 3e6]), cells(&[9e6, 8e6, 1e7]), Some(3.0));
        let failed = row(cells(&[1e6]), vec![Cell::Failed], None);
        assert_eq!(ratio(&good.cells[1], &good.cells[0]), Some(4.5));
        assert_eq!(ratio(&failed.cells[1], &failed.cells[0]), None);
        let text = markdown(&[good, failed], &["old", "new"]);
        let expected = "\
| workload | unit | better | old | new | new/old | target |
|---|---|---|--:|--:|--:|--:|
| 1:1 | msg/s | higher | 2.00 M (1.00 M–3.00 M) | 9.00 M (8.00 M–10.0 M) | **4.50** | ≥ 3.00 |
| 1:1 | msg/s | higher | 1.00 M (1.00 M–1.00 M) | ❌ FAILED 1 of 1 | – |  |
";
        assert_eq!(text, expected);
    }
    #[test]
    fn a_third_server_has_its_own_ratio() {
        let mut row = Row {
            title: "1:1",
            unit: "msg/s",
            better: Better::Higher,
            target: None,
            target_c: Some(100.0),
            cells: vec![cells(&[1e6]), cells(&[2e6]), cells(&[1e4])],
            details: Vec::new(),
        };
        row.add_detail(1, "server CPU", "µs", 2.0);
        row.add_detail(1, "server CPU", "µs", 4.0);
        let names = ["old", "new", "safe"];
        let expected = "\
| workload | unit | better | old | new | new/old | safe | new/safe | target |
|---|---|---|--:|--:|--:|--:|--:|--:|
| 1:1 | msg/s | higher | 1.00 M (1.00 M–1.00 M) | 2.00 M (2.00 M–2.00 M) | **2.00** | 10.0 k (10.0 k–10.0 k) | **200.00** | ≥ 100.00 |
";
        let rows = [row];
        assert_eq!(markdown(&rows, &names), expected);
        let expected = "
| workload | beside | unit | old | new | safe |
|---|---|---|--:|--:|--:|
| 1:1 | server CPU | µs | – | 3.00 (2.00–4.00) | – |
";
        assert_eq!(details_markdown(&rows, &names), expected);
    }
}
