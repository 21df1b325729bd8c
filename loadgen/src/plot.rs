//! Latency by percentile as SVG; the x axis is logarithmic in the distance to 100 % ("nines").

use std::path::Path;

use plotters::prelude::{
    BLACK, ChartBuilder, IntoDrawingArea, IntoLogRange, LineSeries, RGBColor, SVGBackend, WHITE,
};

use crate::failure::{Failure, Result};
use crate::latency::Latencies;

const SIZE_PIXELS: (u32, u32) = (960, 540);
const CURVE: RGBColor = RGBColor(0x1f, 0x6f, 0xb4);

pub fn write_svg(path: &Path, title: &str, latencies: &Latencies) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::usage(format!("drawing {}: {error}", path.display()))
    };
    let samples = latencies.samples().max(1) as f64;
    // The last sample stands at 100 %, infinitely many nines away; it is drawn where one in all samples would be.
    let nines_max = samples.log10().max(1.0);
    let points: Vec<(f64, f64)> = latencies
        .curve()
        .into_iter()
        .map(|(fraction, latency_us)| {
            (
                (-(1.0 - fraction).log10()).min(nines_max),
                latency_us.max(0.001),
            )
        })
        .collect();
    let low = points.first().map_or(1.0, |point| point.1) * 0.8;
    let high = points.last().map_or(10.0, |point| point.1) * 1.25;

    let area = SVGBackend::new(path, SIZE_PIXELS).into_drawing_area();
    area.fill(&WHITE).map_err(|error| failed(&error))?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(76)
        .build_cartesian_2d(0.0..nines_max, (low..high).log_scale())
        .map_err(|error| failed(&error))?;
    chart
        .configure_mesh()
        .x_desc("percentile")
        .y_desc("latency (µs)")
        .x_labels(nines_max as usize + 1)
        .x_label_formatter(&|nines| percentile_label(*nines))
        .y_label_formatter(&|latency_us| format!("{latency_us:.0}"))
        .axis_style(BLACK)
        .draw()
        .map_err(|error| failed(&error))?;
    chart
        .draw_series(LineSeries::new(points, &CURVE))
        .map_err(|error| failed(&error))?;
    area.present().map_err(|error| failed(&error))
}

/// 0 → 0 %, 1 → 90 %, 2 → 99 %, 3 → 99.9 %.
fn percentile_label(nines: f64) -> String {
    let decimals = (nines.ceil() as usize).saturating_sub(2);
    format!("{:.decimals$}%", 100.0 * (1.0 - 10f64.powf(-nines)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_count_nines() {
        let labels: Vec<String> = (0..5)
            .map(|nines| percentile_label(f64::from(nines)))
            .collect();
        assert_eq!(labels, ["0%", "90%", "99%", "99.9%", "99.99%"]);
    }

    #[test]
    fn a_plot_is_drawn() {
        let mut latencies = Latencies::default();
        (1..100_000).for_each(|nanoseconds| latencies.record(nanoseconds));
        let path = std::env::temp_dir().join(format!("loadgen-plot-{}.svg", std::process::id()));
        write_svg(&path, "test", &latencies).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(svg.contains("<svg") && svg.contains("99.9%"));
    }
}
