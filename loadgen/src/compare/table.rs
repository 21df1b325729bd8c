//! The arithmetic and the Markdown of a comparison: medians, ratios, spreads. Numbers in, text out.

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
    /// One cell per round for A and for B.
    pub cells: [Vec<Cell>; 2],
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
}

impl Row {
    pub fn new(named: &Named) -> Self {
        let Named {
            title,
            unit,
            better,
            target,
            ..
        } = *named;
        Self {
            title,
            unit,
            better,
            target,
            cells: [Vec::new(), Vec::new()],
        }
    }

    /// Median B over median A; `None` if a side has no clean result, or A's is zero.
    fn ratio(&self) -> Option<f64> {
        let [a, b] = [
            spread(&self.cells[0])?.median,
            spread(&self.cells[1])?.median,
        ];
        (a > 0.0).then(|| b / a)
    }

    fn target_text(&self) -> String {
        match (self.target, self.better) {
            (None, _) => String::new(),
            (Some(target), Better::Higher) => format!("≥ {target:.2}"),
            (Some(target), Better::Lower) => format!("≤ {target:.2}"),
        }
    }
}

pub fn markdown(rows: &[Row], names: [&str; 2]) -> String {
    let with_targets = rows.iter().any(|row| row.target.is_some());
    let mut text = format!(
        "| workload | unit | better | {} | {} | {}/{} |",
        names[0], names[1], names[1], names[0]
    );
    text.push_str(if with_targets { " target |\n" } else { "\n" });
    text.push_str(if with_targets {
        "|---|---|---|--:|--:|--:|--:|\n"
    } else {
        "|---|---|---|--:|--:|--:|\n"
    });
    for row in rows {
        let better = match row.better {
            Better::Higher => "higher",
            Better::Lower => "lower",
        };
        let ratio = row
            .ratio()
            .map_or("–".to_owned(), |ratio| format!("**{ratio:.2}**"));
        let [a, b] = [cell_text(&row.cells[0]), cell_text(&row.cells[1])];
        text.push_str(&format!(
            "| {} | {} | {better} | {a} | {b} | {ratio} |",
            row.title, row.unit
        ));
        text.push_str(&if with_targets {
            format!(" {} |\n", row.target_text())
        } else {
            "\n".to_owned()
        });
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
            cells: [a, b],
        };
        let good = row(cells(&[1e6, 2e6, 3e6]), cells(&[9e6, 8e6, 1e7]), Some(3.0));
        let failed = row(cells(&[1e6]), vec![Cell::Failed], None);
        assert_eq!(good.ratio(), Some(4.5));
        assert_eq!(failed.ratio(), None);
        let text = markdown(&[good, failed], ["old", "new"]);
        let expected = "\
| workload | unit | better | old | new | new/old | target |
|---|---|---|--:|--:|--:|--:|
| 1:1 | msg/s | higher | 2.00 M (1.00 M–3.00 M) | 9.00 M (8.00 M–10.0 M) | **4.50** | ≥ 3.00 |
| 1:1 | msg/s | higher | 1.00 M (1.00 M–1.00 M) | ❌ FAILED 1 of 1 | – |  |
";
        assert_eq!(text, expected);
    }
}
