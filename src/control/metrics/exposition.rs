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

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// What was before OpenMetrics, and is still asked for by most.
    Prometheus,
    OpenMetrics,
}

impl TextFormat {
    /// The one that is asked for, by what is accepted.
    pub fn accepted(accepted: &str) -> Self {
        match accepted.contains("application/openmetrics-text") {
            true => Self::OpenMetrics,
            false => Self::Prometheus,
        }
    }

    /// What such a text is called.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A text that is being written.
#[derive(Debug)]
pub struct Exposition {
    text: String,
    format: TextFormat,
    /// What a sample of the current family begins with.
    name: String,
}

impl Exposition {
    pub fn new(format: TextFormat) -> Self {
        Self {
            text: String::new(),
            format,
            name: String::new(),
        }
    }

    fn is_open(&self) -> bool {
        self.format == TextFormat::OpenMetrics
    }

    /// Begins a family; the samples that follow belong to it. `unit` is the end of the name, or empty.
    pub fn family(&mut self, name: &str, unit: &str, kind: Kind, help: &str) {
        self.name = match kind {
            Kind::Counter => format!("{name}_total"),
            Kind::Gauge | Kind::Histogram => name.to_owned(),
        };
        let shown = if self.is_open() { name } else { &self.name };
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        };
        // Writing to a string cannot fail; here and below.
        let _ = writeln!(self.text, "# HELP {shown} {help}");
        let _ = writeln!(self.text, "# TYPE {shown} {kind}");
        if self.is_open() && !unit.is_empty() {
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
        if self.is_open() {
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
        let of = |format| {
            let mut text = Exposition::new(format);
            text.family("a_bytes", "bytes", Kind::Counter, "An a.");
            text.sample("", &[("x", "\\ \" \n é"), ("y", "")], 7);
            text.family("b", "", Kind::Gauge, "A b.");
            text.sample("", &[], 0.5);
            text.end()
        };
        let samples = "a_bytes_total{x=\"\\\\ \\\" \\n é\",y=\"\"} 7\n";
        let b = "# HELP b A b.\n# TYPE b gauge\nb 0.5\n";
        assert_eq!(
            of(TextFormat::OpenMetrics),
            format!(
                "# HELP a_bytes An a.\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\n{samples}{b}# EOF\n"
            )
        );
        assert_eq!(
            of(TextFormat::Prometheus),
            format!("# HELP a_bytes_total An a.\n# TYPE a_bytes_total counter\n{samples}{b}")
        );
    }
}
