//! The two text formats of Prometheus. They differ in where `_total` stands, and in the units and the end that only
//! OpenMetrics has.

use std::fmt::{Display, Write as _};

/// What a family's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gauge,
    Counter,
    Histogram,
}

/// A text that is being written.
#[derive(Debug)]
pub struct Exposition {
    text: String,
    is_open: bool,
    /// What a sample of the current family begins with.
    name: String,
}

impl Exposition {
    /// OpenMetrics, or what was before it.
    pub fn new(is_open: bool) -> Self {
        Self {
            text: String::new(),
            is_open,
            name: String::new(),
        }
    }

    /// Begins a family; the samples that follow belong to it. `unit` is the end of the name, or empty.
    pub fn family(&mut self, name: &str, unit: &str, kind: Kind, help: &str) {
        self.name = match kind {
            Kind::Counter => format!("{name}_total"),
            Kind::Gauge | Kind::Histogram => name.to_owned(),
        };
        let shown = if self.is_open { name } else { &self.name };
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        };
        // Writing to a string cannot fail; here and below.
        let _ = writeln!(self.text, "# HELP {shown} {help}");
        let _ = writeln!(self.text, "# TYPE {shown} {kind}");
        if self.is_open && !unit.is_empty() {
            let _ = writeln!(self.text, "# UNIT {shown} {unit}");
        }
    }

    /// A number of the current family.
    pub fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(&self.name);
        self.text.push_str(suffix);
        for (i, (label, value)) in labels.iter().enumerate() {
            self.text.push(if i == 0 { '{' } else { ',' });
            let _ = write!(self.text, "{label}=\"");
            for character in value.chars() {
                match character {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    /// The whole text.
    pub fn end(mut self) -> String {
        if self.is_open {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats() {
        let of = |is_open| {
            let mut text = Exposition::new(is_open);
            text.family("a_bytes", "bytes", Kind::Counter, "An a.");
            text.sample("", &[("x", "\\ \" \n é"), ("y", "")], 7);
            text.family("b", "", Kind::Gauge, "A b.");
            text.sample("", &[], 0.5);
            text.end()
        };
        let samples = "a_bytes_total{x=\"\\\\ \\\" \\n é\",y=\"\"} 7\n";
        let b = "# HELP b A b.\n# TYPE b gauge\nb 0.5\n";
        assert_eq!(
            of(true),
            format!(
                "# HELP a_bytes An a.\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\n{samples}{b}# EOF\n"
            )
        );
        assert_eq!(
            of(false),
            format!("# HELP a_bytes_total An a.\n# TYPE a_bytes_total counter\n{samples}{b}")
        );
    }
}
