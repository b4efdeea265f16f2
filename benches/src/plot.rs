//! A chart of latencies for a terminal.

use std::fmt::Write;

use hdrhistogram::Histogram;

/// The latencies in `histogram`, which holds nanoseconds, by percentile. Both axes are logarithmic: as wide as from 0 to 90 is
/// from 90 to 99, and so on, so that the slowest requests have as much room as all the others.
pub fn percentiles(histogram: &Histogram<u64>) -> String {
    if histogram.is_empty() {
        return "  nothing to show\n".into();
    }
    let at = |column: usize| {
        let nines = column as f64 / NINE_COLUMNS as f64;
        histogram.value_at_quantile(1.0 - 10f64.powf(-nines)).max(1) as f64
    };
    let heights: Vec<f64> = (0..=COLUMNS).map(|column| at(column).log10()).collect();
    let bottom = (heights[0] * 2.0).floor() / 2.0;
    let top = ((heights[COLUMNS] * 2.0).ceil() / 2.0).max(bottom + 0.5);
    let mut chart = String::new();
    for row in (0..ROWS).rev() {
        let floor = bottom + (top - bottom) * row as f64 / ROWS as f64;
        let ceiling = bottom + (top - bottom) * (row + 1) as f64 / ROWS as f64;
        let label = if row % 2 == 1 { time(10f64.powf(ceiling)) } else { String::new() };
        let line: String = heights.iter().map(|height| block((height - floor) / (ceiling - floor))).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(chart, "{label:>9} ┤{line}");
    }
    let _ = writeln!(chart, "{:>9} └{}", time(10f64.powf(bottom)), "─".repeat(COLUMNS + 1));
    let mut scale = String::new();
    for (column, name) in ["0", "90", "99", "99.9", "99.99"].into_iter().enumerate() {
        let _ = write!(scale, "{:<width$}", name, width = NINE_COLUMNS);
        debug_assert!(column * NINE_COLUMNS <= COLUMNS);
    }
    let _ = writeln!(chart, "{:>9}  {}", "percent", scale.trim_end());
    chart
}

/// A column of a row that is filled to this share.
fn block(share: f64) -> char {
    const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 8")]
    let eighths = (share.clamp(0.0, 1.0) * 8.0).round() as usize;
    EIGHTHS[eighths]
}

/// Nanoseconds, in the unit that suits them.
pub fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e4 => format!("{:.1} µs", ns / 1e3),
        ns if ns < 1e6 => format!("{:.0} µs", ns / 1e3),
        ns if ns < 1e7 => format!("{:.1} ms", ns / 1e6),
        ns if ns < 1e9 => format!("{:.0} ms", ns / 1e6),
        ns => format!("{:.1} s", ns / 1e9),
    }
}

/// Columns of each nine.
const NINE_COLUMNS: usize = 14;
const COLUMNS: usize = 4 * NINE_COLUMNS;
const ROWS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slower_requests_stand_further_to_the_right_and_higher() {
        let mut histogram = Histogram::new(3).unwrap();
        for percent in 0..100 {
            histogram.record_n(if percent < 95 { 50_000 } else { 5_000_000 }, 10).unwrap();
        }
        let chart = percentiles(&histogram);
        let lines: Vec<Vec<char>> = chart.lines().map(|line| line.chars().collect()).collect();
        assert_eq!(lines.len(), ROWS + 2);
        let filled = |line: &Vec<char>| line.iter().filter(|c| **c == '█').count();
        assert!(filled(&lines[0]) < filled(&lines[ROWS - 1]), "{chart}");
        assert!(chart.contains("10 ms") && chart.contains("99.99"), "{chart}");
        assert!(percentiles(&Histogram::new(3).unwrap()).contains("nothing"));
    }

    #[test]
    fn times_have_the_unit_that_suits_them() {
        let told = [999.0, 1500.0, 57_000.0, 4.2e6, 17e6, 2.6e9].map(time);
        assert_eq!(told, ["999 ns", "1.5 µs", "57 µs", "4.2 ms", "17 ms", "2.6 s"]);
    }
}
