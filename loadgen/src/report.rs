//! What came out of a run, and how it is shown: a table for people, JSON and .hgrm for programs.

use std::fmt::Write as _;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::failure::{Doing, Failure, Result};
use crate::latency::{Latencies, LatencySummary};
use crate::units::{grouped, short};

#[derive(Serialize)]
pub struct Outcome {
    pub workload: String,
    pub payload_bytes: usize,
    pub published: u64,
    pub delivered: u64,
    pub elapsed_seconds: f64,
    pub published_per_second: f64,
    pub delivered_per_second: f64,
    /// Payload megabytes delivered (or, without subscribers, published) per second.
    pub megabytes_per_second: f64,
    pub latency: Option<LatencySummary>,
    pub client_cpu_seconds: f64,
    pub server_cpu_seconds: Option<f64>,
    pub server_rss_peak_bytes: Option<u64>,
    /// Figures that only this workload has.
    pub metrics: Vec<Metric>,
    pub notes: Vec<String>,
    /// Anything here means that the server broke a promise; the numbers above then mean nothing.
    pub failures: Vec<String>,
    #[serde(skip)]
    pub latencies: Option<Latencies>,
}

#[derive(Clone, Serialize)]
pub struct Metric {
    pub name: String,
    pub value: f64,
    pub unit: String,
}

impl Outcome {
    pub fn new(workload: &str, payload_bytes: usize) -> Self {
        Self {
            workload: workload.to_owned(),
            payload_bytes,
            published: 0,
            delivered: 0,
            elapsed_seconds: 0.0,
            published_per_second: 0.0,
            delivered_per_second: 0.0,
            megabytes_per_second: 0.0,
            latency: None,
            client_cpu_seconds: 0.0,
            server_cpu_seconds: None,
            server_rss_peak_bytes: None,
            metrics: Vec::new(),
            notes: Vec::new(),
            failures: Vec::new(),
            latencies: None,
        }
    }

    pub fn count(&mut self, published: u64, delivered: u64, elapsed: Duration) {
        // A run of no time has no rate; one nanosecond keeps the figures finite.
        let seconds = elapsed.as_secs_f64().max(1e-9);
        self.published = published;
        self.delivered = delivered;
        self.elapsed_seconds = seconds;
        self.published_per_second = published as f64 / seconds;
        self.delivered_per_second = delivered as f64 / seconds;
        let counted = if delivered > 0 {
            self.delivered_per_second
        } else {
            self.published_per_second
        };
        self.megabytes_per_second = counted * self.payload_bytes as f64 / 1e6;
    }

    pub fn set_latencies(&mut self, latencies: Latencies) {
        self.latency = Some(latencies.summary());
        self.latencies = Some(latencies);
    }

    pub fn add_metric(&mut self, name: &str, value: f64, unit: &str) {
        self.metrics.push(Metric {
            name: name.to_owned(),
            value,
            unit: unit.to_owned(),
        });
    }

    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics
            .iter()
            .find(|metric| metric.name == name)
            .map(|metric| metric.value)
    }

    /// The summary for people.
    pub fn to_text(&self) -> String {
        let mut rows: Vec<(String, String)> = Vec::new();
        let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
        if self.published > 0 {
            row(
                "published",
                format!(
                    "{} messages, {}/s",
                    grouped(self.published),
                    short(self.published_per_second)
                ),
            );
        }
        if self.delivered > 0 {
            row(
                "delivered",
                format!(
                    "{} messages, {}/s",
                    grouped(self.delivered),
                    short(self.delivered_per_second)
                ),
            );
        }
        if self.published.max(self.delivered) > 0 {
            row(
                "payload",
                format!(
                    "{} B each, {} MB/s",
                    self.payload_bytes,
                    short(self.megabytes_per_second)
                ),
            );
            row("time", format!("{:.3} s", self.elapsed_seconds));
        }
        let messages = self.published.max(self.delivered);
        let cpu_text = |seconds: f64| match messages {
            0 => format!("{seconds:.3} s"),
            _ => format!(
                "{seconds:.3} s, {} ns/message",
                short(seconds * 1e9 / messages as f64)
            ),
        };
        if self.client_cpu_seconds > 0.0 {
            row("client CPU", cpu_text(self.client_cpu_seconds));
        }
        if let Some(seconds) = self.server_cpu_seconds {
            row("server CPU", cpu_text(seconds));
        }
        if let Some(bytes) = self.server_rss_peak_bytes {
            row(
                "server RSS peak",
                format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
            );
        }
        if let Some(latency) = &self.latency {
            let named = [
                ("min", latency.min_us),
                ("mean", latency.mean_us),
                ("p50", latency.p50_us),
                ("p90", latency.p90_us),
                ("p99", latency.p99_us),
                ("p99.9", latency.p99_9_us),
                ("p99.99", latency.p99_99_us),
                ("max", latency.max_us),
            ];
            for (name, value_us) in named {
                row(&format!("latency {name}"), format!("{value_us:.1} µs"));
            }
        }
        for metric in &self.metrics {
            row(
                &metric.name,
                format!("{} {}", short(metric.value), metric.unit)
                    .trim_end()
                    .to_owned(),
            );
        }
        for note in &self.notes {
            row("note", note.clone());
        }
        let width = rows
            .iter()
            .map(|(name, _)| name.chars().count())
            .max()
            .unwrap_or(0);
        let mut text = format!("{}\n", self.workload);
        for (name, value) in rows {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {name:<width$}  {value}");
        }
        for failure in &self.failures {
            let _ = writeln!(text, "  *** FAILED: {failure} ***");
        }
        text
    }

    pub fn write_hgrm(&self, path: &Path) -> Result<()> {
        let doing = || format!("writing {}", path.display());
        let Some(latencies) = &self.latencies else {
            return Err(Failure::usage("--hgrm: this workload measures no latency"));
        };
        latencies
            .write_hgrm(&mut BufWriter::new(File::create(path).doing(doing)?))
            .doing(doing)
    }
}

pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let doing = || format!("writing {}", path.display());
    let json =
        serde_json::to_string_pretty(value).map_err(|error| Failure::usage(error.to_string()))?;
    std::fs::write(path, json + "\n").doing(doing)
}
