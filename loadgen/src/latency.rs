//! Latencies: recording, summary, and HdrHistogram's percentile text format.

use std::io::{self, Write};

use hdrhistogram::Histogram;
use serde::Serialize;

const LATENCY_NS_MAX: u64 = 600_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// Nanoseconds in, microseconds out.
#[derive(Clone)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct LatencySummary {
    pub samples: u64,
    pub min_us: f64,
    pub mean_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p99_9_us: f64,
    pub p99_99_us: f64,
    pub max_us: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, SIGNIFICANT_DIGITS);
        Self {
            histogram: histogram.expect("constant bounds are valid"),
        }
    }
}

impl Latencies {
    #[inline]
    pub fn record(&mut self, latency_ns: u64) {
        self.histogram.saturating_record(latency_ns.max(1));
    }

    pub fn add(&mut self, other: &Self) {
        self.histogram
            .add(&other.histogram)
            .expect("all histograms have the same bounds");
    }

    pub fn samples(&self) -> u64 {
        self.histogram.len()
    }

    pub fn summary(&self) -> LatencySummary {
        let at = |quantile| microseconds(self.histogram.value_at_quantile(quantile));
        LatencySummary {
            samples: self.histogram.len(),
            min_us: microseconds(self.histogram.min()),
            mean_us: self.histogram.mean() / 1e3,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            p99_99_us: at(0.9999),
            max_us: microseconds(self.histogram.max()),
        }
    }

    /// (percentile as a fraction, latency in µs) along the distribution, denser towards the tail.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        self.histogram
            .iter_quantiles(TICKS_PER_HALF_DISTANCE)
            .map(|point| {
                (
                    point.quantile_iterated_to(),
                    microseconds(point.value_iterated_to()),
                )
            })
            .collect()
    }

    /// The text that HdrHistogram's plotters read; values in microseconds.
    pub fn write_hgrm(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "{:>12} {:>14} {:>10} {:>14}\n",
            "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
        )?;
        let mut count = 0;
        for point in self.histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
            count += point.count_since_last_iteration();
            let (value_us, quantile) = (
                microseconds(point.value_iterated_to()),
                point.quantile_iterated_to(),
            );
            if quantile < 1.0 {
                writeln!(
                    out,
                    "{value_us:12.3} {quantile:14.12} {count:10} {:14.2}",
                    1.0 / (1.0 - quantile)
                )?;
            } else {
                writeln!(out, "{value_us:12.3} {quantile:14.12} {count:10}")?;
            }
        }
        let (mean_us, deviation_us) = (self.histogram.mean() / 1e3, self.histogram.stdev() / 1e3);
        let max_us = microseconds(self.histogram.max());
        writeln!(
            out,
            "#[Mean    = {mean_us:12.3}, StdDeviation   = {deviation_us:12.3}]"
        )?;
        writeln!(
            out,
            "#[Max     = {max_us:12.3}, Total count    = {:12}]",
            self.histogram.len()
        )?;
        let (buckets, sub_buckets) = (
            self.histogram.buckets(),
            2 * 10u64.pow(SIGNIFICANT_DIGITS.into()),
        );
        writeln!(
            out,
            "#[Buckets = {buckets:12}, SubBuckets     = {:12}]",
            sub_buckets.next_power_of_two()
        )
    }
}

fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_text_rises_to_the_maximum() {
        let mut latencies = Latencies::default();
        for microsecond in 1..=10_000u64 {
            latencies.record(microsecond * 1_000);
        }
        let summary = latencies.summary();
        assert!((summary.p50_us / 5_000.0 - 1.0).abs() < 0.002);
        assert!((summary.p99_99_us / 9_999.0 - 1.0).abs() < 0.002);
        let mut text = Vec::new();
        latencies.write_hgrm(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let rows: Vec<Vec<f64>> = text
            .lines()
            .filter(|line| !line.starts_with("#[") && !line.contains("Value") && !line.is_empty())
            .map(|line| {
                line.split_whitespace()
                    .map(|field| field.parse().unwrap())
                    .collect()
            })
            .collect();
        assert!(rows.len() > 20);
        assert!(
            rows.windows(2)
                .all(|pair| pair[0][0] <= pair[1][0] && pair[0][2] <= pair[1][2])
        );
        assert_eq!(rows.last().unwrap()[1..], [1.0, 10_000.0]);
        assert!(text.contains("Total count    =        10000]"));
    }
}
