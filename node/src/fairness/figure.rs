//! One number over many rings.

use serde::Serialize;

/// The mean of a number over many rings, and the range that holds nine of ten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Figure {
    pub(crate) mean: f64,
    /// Five in a hundred are below.
    pub(crate) p5: f64,
    /// Five in a hundred are above.
    pub(crate) p95: f64,
}

impl Figure {
    /// That of `values`; zeros if there are none.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        if values.is_empty() {
            return Self::default();
        }
        values.sort_by(f64::total_cmp);
        let mean = values.iter().sum::<f64>() / real(values.len());
        Self { mean, p5: quantile(&values, 5), p95: quantile(&values, 95) }
    }
}

/// The value of `sorted` that so many in a hundred do not exceed (nearest rank).
fn quantile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).clamp(1, sorted.len());
    sorted[rank - 1]
}

/// A count as a number.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^53")]
pub(super) fn real(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_means_and_nearest_ranks() {
        let check = |values: Vec<f64>, mean, p5, p95| assert_eq!(Figure::of(values), Figure { mean, p5, p95 });
        check((1..=100).rev().map(f64::from).collect(), 50.5, 5.0, 95.0);
        check(vec![3.0], 3.0, 3.0, 3.0);
        check(vec![2.0, 1.0], 1.5, 1.0, 2.0);
        check(vec![], 0.0, 0.0, 0.0);
    }
}
