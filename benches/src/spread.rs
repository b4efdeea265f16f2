//! Numbers of several rounds.

use std::fmt;

use serde::Serialize;

/// Smallest, middle and largest of the rounds' numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The smallest.
    pub min: f64,
    /// The middle one; of an even count, the mean of the two.
    pub median: f64,
    /// The largest.
    pub max: f64,
}

impl FromIterator<f64> for Spread {
    /// Of nothing, it is all NaN.
    fn from_iter<I: IntoIterator<Item = f64>>(numbers: I) -> Self {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let last = sorted.len().saturating_sub(1);
        Self { min: at(0), median: f64::midpoint(at(last / 2), at(sorted.len() / 2)), max: at(last) }
    }
}

/// `median (min–max)`, to as many digits as the formatter's precision; `-` where nothing was measured.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        if [self.min, self.median, self.max].iter().all(|number| number.is_finite()) {
            write!(f, "{:.digits$} ({:.digits$}–{:.digits$})", self.median, self.min, self.max)
        } else {
            f.write_str("-")
        }
    }
}

impl Spread {
    /// The same in another unit.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        Self { min: self.min * factor, median: self.median * factor, max: self.max * factor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_smallest_middle_and_largest() {
        let spread = |numbers: &[f64]| numbers.iter().copied().collect::<Spread>();
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Spread { min: 1.0, median: 2.0, max: 3.0 });
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), Spread { min: 1.0, median: 2.5, max: 4.0 });
        assert_eq!(spread(&[5.0]), Spread { min: 5.0, median: 5.0, max: 5.0 });
        assert_eq!(format!("{:.1}", spread(&[3.0, 1.0, 2.0])), "2.0 (1.0–3.0)");
        assert_eq!(spread(&[]).to_string(), "-");
        assert_eq!(spread(&[1.0, f64::NAN]).to_string(), "-");
    }
}
