//! A picture of latency percentiles: one line for each kind of operation.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use crate::error::BenchError;
use crate::report::Latencies;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 260.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 50.0;

/// Positions on the horizontal axis are evenly spaced nines.
const PERCENTILES: [(f64, &str); 6] = [
    (0.0, "min"),
    (0.5, "50"),
    (0.9, "90"),
    (0.99, "99"),
    (0.999, "99.9"),
    (1.0, "max"),
];
const COLOURS: [&str; 8] = [
    "#0b6e4f", "#c1440e", "#1f4e8c", "#8e44ad", "#b7950b", "#117a8b", "#7f8c8d", "#c2185b",
];

/// Writes the picture. Nothing is written when there is nothing to show.
pub(crate) fn write(path: &Path, all: &[Latencies]) -> Result<(), BenchError> {
    if all.is_empty() {
        return Ok(());
    }
    let failed = |source| BenchError::File {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(path, picture(all)).map_err(failed)
}

fn picture(all: &[Latencies]) -> String {
    let (low, high) = decades(all);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"18\">Latency by percentile, logarithmic</text>\n"
    );
    for decade in low..=high {
        let y = height(f64::from(decade), low, high);
        let label = seconds_label(decade);
        line(&mut svg, (LEFT, y), (WIDTH - RIGHT, y), "#ddd");
        text(&mut svg, (LEFT - 60.0, y + 4.0), &label, "#444");
    }
    for (place, (_, label)) in PERCENTILES.iter().enumerate() {
        text(
            &mut svg,
            (across(place) - 8.0, HEIGHT - 25.0),
            label,
            "#444",
        );
    }
    for (number, latencies) in all.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let points: Vec<String> = PERCENTILES
            .iter()
            .enumerate()
            .map(|(place, (share, _))| {
                let took = at(&latencies.sorted, *share).as_secs_f64().max(1e-9);
                format!(
                    "{:.1},{:.1}",
                    across(place),
                    height(took.log10(), low, high)
                )
            })
            .collect();
        writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
            points.join(" ")
        )
        .expect("a String can be written to");
        let row = f64::from(u32::try_from(number).unwrap_or(u32::MAX));
        let y = TOP + 14.0 + 18.0 * row;
        text(&mut svg, (WIDTH - RIGHT + 15.0, y), &latencies.what, colour);
    }
    svg.push_str("</svg>\n");
    svg
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>",
        from.0, from.1, to.0, to.1
    )
    .expect("a String can be written to");
}

fn text(svg: &mut String, at: (f64, f64), text: &str, colour: &str) {
    writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{text}</text>",
        at.0, at.1
    )
    .expect("a String can be written to");
}

fn at(sorted: &[Duration], share: f64) -> Duration {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a small count"
    )]
    let place = (share * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(place).copied().unwrap_or_default()
}

/// The powers of ten, in seconds, between which all durations are.
#[expect(
    clippy::cast_possible_truncation,
    reason = "durations are between 10^-9 and 10^9 seconds"
)]
fn decades(all: &[Latencies]) -> (i32, i32) {
    let seconds = all
        .iter()
        .flat_map(|latencies| [latencies.sorted.first(), latencies.sorted.last()])
        .flatten()
        .map(|took| took.as_secs_f64().max(1e-9).log10());
    let (low, high) = seconds.fold((f64::MAX, f64::MIN), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    (
        low.floor() as i32,
        (high.ceil() as i32).max(low.floor() as i32 + 1),
    )
}

fn across(place: usize) -> f64 {
    let place = f64::from(u32::try_from(place).unwrap_or(u32::MAX));
    LEFT + 15.0 + place * (WIDTH - LEFT - RIGHT - 30.0) / 5.0
}

fn height(log10: f64, low: i32, high: i32) -> f64 {
    let share = (log10 - f64::from(low)) / f64::from(high - low);
    HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
}

fn seconds_label(decade: i32) -> String {
    let (unit, exponent) = match decade {
        ..=-7 => ("ns", decade + 9),
        -6..=-4 => ("us", decade + 6),
        -3..=-1 => ("ms", decade + 3),
        _ => ("s", decade),
    };
    format!("{} {unit}", 10_f64.powi(exponent))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{at, picture};
    use crate::report::Latencies;

    #[test]
    fn every_kind_of_operation_is_a_line() {
        let all: Vec<_> = ["one", "two"]
            .map(|what| Latencies {
                what: what.to_owned(),
                sorted: (1..=1000).map(Duration::from_micros).collect(),
            })
            .into();
        let svg = picture(&all);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains(">two</text>"));
    }

    #[test]
    fn a_percentile_is_one_of_the_durations() {
        let sorted: Vec<_> = (0..=100).map(Duration::from_millis).collect();
        assert_eq!(at(&sorted, 0.99), Duration::from_millis(99));
        assert_eq!(at(&sorted, 1.0), Duration::from_millis(100));
        assert_eq!(at(&[], 0.5), Duration::ZERO);
    }
}
