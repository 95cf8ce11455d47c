//! Plots of latency: by percentile, and over time.
//!
//! Owns the two SVG files. Invariant: axes that show the tail are logarithmic.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;

use super::outcome::Outcome;

const SIZE: (u32, u32) = (960, 480);
const COLOURS: [RGBColor; 8] = [
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(44, 160, 44),
    RGBColor(214, 39, 40),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(227, 119, 194),
    RGBColor(127, 127, 127),
];

type Series = (String, Vec<(f64, f64)>);

/// Writes latency-by-percentile.svg and latency-over-time.svg into `directory`, one line per named
/// outcome.
///
/// # Errors
/// The directory or a file cannot be written.
pub fn write(outcomes: &[(&str, &Outcome)], directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let by_percentile: Vec<Series> =
        outcomes.iter().map(|(name, outcome)| ((*name).to_owned(), percentiles(outcome))).collect();
    // Enough digits to distinguish 99.9 from 99.99.
    let label = |nines: f64| match 100.0 - 100.0 / 10_f64.powf(nines) {
        percentile if nines < 1.5 => format!("{percentile:.0} %"),
        percentile if nines < 3.5 => format!("{percentile:.2} %"),
        percentile => format!("{percentile:.4} %"),
    };
    draw(
        &directory.join("latency-by-percentile.svg"),
        "Latency by percentile",
        "percentile",
        &label,
        &by_percentile,
    )?;
    let over_time: Vec<Series> =
        outcomes.iter().flat_map(|(name, outcome)| timeline(name, outcome)).collect();
    let seconds = |seconds: f64| format!("{seconds:.1} s");
    draw(
        &directory.join("latency-over-time.svg"),
        "Latency over time",
        "when the request was due",
        &seconds,
        &over_time,
    )
}

/// x is the number of nines: 1 is 90 %, 3 is 99.9 %.
fn percentiles(outcome: &Outcome) -> Vec<(f64, f64)> {
    let points = outcome.percentiles.iter().filter(|point| point.percentile < 100.0);
    points.map(|point| (-(1.0 - point.percentile / 100.0).log10(), ms(point.latency_us))).collect()
}

fn timeline(name: &str, outcome: &Outcome) -> [Series; 3] {
    let line = |what: &str, of: fn(&super::outcome::Slice) -> u64| {
        let points = outcome.timeline.iter().map(|slice| (slice.start_s, ms(of(slice)))).collect();
        (format!("{name} {what}").trim().to_owned(), points)
    };
    [line("p50", |slice| slice.p50_us), line("p99", |slice| slice.p99_us), line("max", |slice| slice.max_us)]
}

fn ms(us: u64) -> f64 {
    crate::figures::float(us.max(1)) / 1000.0
}

fn draw(
    path: &Path,
    title: &str,
    x_name: &str,
    x_label: &dyn Fn(f64) -> String,
    lines: &[Series],
) -> Result<()> {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let x_max = points().map(|point| point.0).fold(0.1, f64::max);
    let low = points().map(|point| point.1).fold(f64::INFINITY, f64::min).min(1.0) / 1.2;
    let high = points().map(|point| point.1).fold(1.0, f64::max) * 1.2;
    let failed = |error| anyhow!("{}: {error}", path.display());
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    let run = || -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..x_max, (low..high).log_scale())?;
        chart
            .configure_mesh()
            .x_desc(x_name)
            .y_desc("milliseconds")
            .x_label_formatter(&|x| x_label(*x))
            .y_label_formatter(&|y| if *y < 1.0 { format!("{y:.2}") } else { format!("{y:.0}") })
            .draw()?;
        for ((name, points), colour) in lines.iter().zip(COLOURS.into_iter().cycle()) {
            let drawn = chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
            if !name.is_empty() {
                drawn.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
            }
        }
        if lines.iter().any(|(name, _)| !name.is_empty()) {
            let labels = &mut chart.configure_series_labels();
            labels.background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3));
            labels.position(SeriesLabelPosition::UpperLeft).draw()?;
        }
        area.present()
    };
    run().map_err(|error| failed(error.to_string()))
}
