//! Plots as SVG text that takes its ink from the page, so that it can be read
//! in light and dark.

use super::Curve;
use crate::watch::Point;
use plotters::coord::Shift;
use plotters::prelude::*;

type Failure = Box<dyn std::error::Error>;

const SIZE: (u32, u32) = (680, 300);
const FONT: (&str, u32) = ("sans-serif", 14);
const COLORS: [RGBColor; 4] = [RGBColor(45, 125, 220), RGBColor(225, 110, 40), RGBColor(50, 160, 90), RGBColor(170, 80, 190)];

/// One line of a plot.
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

/// A figure of `/proc` or of the clients over time.
pub(super) fn over_time(unit: &str, lines: &[Line]) -> Option<String> {
    let all = || lines.iter().flat_map(|line| &line.points);
    let x_max = all().map(|point| point.0).fold(0.0, f64::max);
    // Room above the lines for their names.
    let headroom = if lines.len() > 1 { 1.35 } else { 1.08 };
    let y_max = all().map(|point| point.1).fold(0.0, f64::max) * headroom;
    if all().count() < 2 || y_max <= 0.0 {
        return None;
    }
    draw(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(78)
            .build_cartesian_2d(0.0..x_max, 0.0..y_max)?;
        chart
            .configure_mesh()
            .label_style(FONT)
            .axis_desc_style(FONT)
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.15))
            .x_desc("seconds")
            .y_desc(unit)
            .y_label_formatter(&|value| short(*value))
            .draw()?;
        for (line, color) in lines.iter().zip(COLORS) {
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), color.stroke_width(2)))?
                .label(line.name)
                .legend(move |(x, y)| Rectangle::new([(x, y - 3), (x + 14, y + 3)], color.filled()));
        }
        if lines.len() > 1 {
            chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).label_font(FONT).draw()?;
        }
        Ok(())
    })
}

/// Latency by percentile: the axis gives each further nine the same room.
pub(super) fn percentiles(curves: &[Curve]) -> Option<String> {
    let depth = |quantile: f64| (1.0 / (1.0 - quantile)).log10();
    let line = |curve: &Curve| -> Vec<(f64, f64)> {
        let inside = curve.points.iter().filter(|(quantile, _)| *quantile < 1.0);
        inside.map(|(quantile, ms)| (depth(*quantile), ms.max(0.001))).collect()
    };
    let all: Vec<(f64, f64)> = curves.iter().flat_map(line).collect();
    let x_max = all.iter().map(|point| point.0).fold(2.0, f64::max);
    let low = all.iter().map(|point| point.1).fold(f64::MAX, f64::min);
    let high = all.iter().map(|point| point.1).fold(0.0, f64::max);
    if all.is_empty() || high <= 0.0 {
        return None;
    }
    draw(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(78)
            .build_cartesian_2d(0.0..x_max, (low * 0.8..high * 1.3).log_scale())?;
        chart
            .configure_mesh()
            .label_style(FONT)
            .axis_desc_style(FONT)
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.15))
            .x_labels(6)
            .x_label_formatter(&|depth| percent(*depth))
            .x_desc("percentile")
            .y_desc("ms")
            .y_label_formatter(&|value| short(*value))
            .draw()?;
        for (curve, color) in curves.iter().zip(COLORS) {
            chart
                .draw_series(LineSeries::new(line(curve), color.stroke_width(2)))?
                .label(curve.name)
                .legend(move |(x, y)| Rectangle::new([(x, y - 3), (x + 14, y + 3)], color.filled()));
        }
        chart.configure_series_labels().position(SeriesLabelPosition::LowerRight).label_font(FONT).draw()?;
        Ok(())
    })
}

/// The figures of a timeline as lines.
pub(super) fn line(name: &'static str, points: &[Point], value: impl Fn(&Point) -> f64) -> Line {
    Line { name, points: points.iter().map(|point| (point.at_s, value(point))).collect() }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// None when the library cannot draw it: a report without a plot is better
/// than none.
fn draw(content: impl FnOnce(&Area<'_>) -> Result<(), Failure>) -> Option<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        content(&area).ok()?;
        area.present().ok()?;
    }
    // All that is black follows the text of the page; size follows its width.
    let svg = svg.replace("\"#000000\"", "\"currentColor\"");
    let (width, height) = SIZE;
    let fixed = format!("width=\"{width}\" height=\"{height}\"");
    Some(svg.replacen(&fixed, "width=\"100%\"", 1))
}

fn percent(depth: f64) -> String {
    let percent = 100.0 * (1.0 - 10f64.powf(-depth));
    let text = format!("{percent:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.1} M", value / 1e6),
        value if value >= 1e4 => format!("{:.0} k", value / 1e3),
        value if value >= 10.0 => format!("{value:.0}"),
        value if value >= 0.1 => format!("{value:.1}"),
        value if value > 0.0 => format!("{value:.3}"),
        _ => "0".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plots_follow_the_ink_of_the_page() {
        let points = vec![(0.0, 1.0), (1.0, 5.0)];
        let svg = over_time("cores", &[Line { name: "server", points }]).unwrap();
        assert!(svg.contains("currentColor") && !svg.contains("#000000"));
        assert!(svg.contains("width=\"100%\"") && svg.contains("viewBox"));
        assert!(over_time("cores", &[]).is_none());
        let mut latency = crate::stats::Latency::default();
        (1..1000).for_each(|ms| latency.record(ms * 1_000_000));
        assert!(percentiles(&[Curve::new("x", &latency)]).is_some());
        assert!(percentiles(&[]).is_none());
    }

    #[test]
    fn labels() {
        assert_eq!([percent(0.0), percent(1.0), percent(3.0)], ["0", "90", "99.9"]);
        assert_eq!(short(7_050_000.0), "7.0 M".to_owned());
    }
}
