//! How far loads are from fair shares.

use puruspe::gammq;
use serde::Serialize;

use super::figure::real;

/// How far the loads of nodes are from their fair shares. A load that is fair counts as 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Evenness {
    /// The fullest node.
    pub(crate) max: f64,
    /// The emptiest node.
    pub(crate) min: f64,
    /// The standard deviation, as a part of the mean.
    pub(crate) cv: f64,
}

impl Evenness {
    /// That of `loads`, each beside its fair share. Who is to have nothing does not count.
    pub(crate) fn of(loads: &[f64], fair: &[f64]) -> Self {
        let (load, share): (f64, f64) = (loads.iter().sum(), fair.iter().sum());
        if load <= 0.0 || share <= 0.0 {
            return Self::default();
        }
        let counted = loads.iter().zip(fair).filter(|(_, fair)| **fair > 0.0);
        let relative: Vec<f64> = counted.map(|(one, fair)| (one / load) / (fair / share)).collect();
        let mean = relative.iter().sum::<f64>() / real(relative.len());
        let variance = relative.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / real(relative.len());
        Self {
            max: relative.iter().copied().fold(f64::MIN, f64::max),
            min: relative.iter().copied().fold(f64::MAX, f64::min),
            cv: variance.sqrt() / mean,
        }
    }
}

/// Pearson's test of whether counts come from fair shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct ChiSquare {
    /// The sum of the squared differences from what is expected, each as a part of that.
    pub(crate) statistic: f64,
    /// The chance of a sum at least so large if the shares were fair and each count fell by itself.
    pub(crate) p: f64,
}

impl ChiSquare {
    /// That of `counts`, each beside its fair share.
    pub(crate) fn of(counts: &[f64], fair: &[f64]) -> Self {
        let (total, share): (f64, f64) = (counts.iter().sum(), fair.iter().sum());
        let counted: Vec<_> = counts.iter().zip(fair).filter(|(_, fair)| **fair > 0.0).collect();
        if counted.len() < 2 || total <= 0.0 {
            return Self { statistic: 0.0, p: 1.0 };
        }
        let part = |(count, fair): &(&f64, &f64)| {
            let expected = total * **fair / share;
            (**count - expected).powi(2) / expected
        };
        let statistic: f64 = counted.iter().map(part).sum();
        let freedom = real(counted.len() - 1);
        // Beyond this the chance has no digit left, and the library's series no end.
        let p = if statistic > 50.0 * freedom { 0.0 } else { gammq(freedom / 2.0, statistic / 2.0).clamp(0.0, 1.0) };
        Self { statistic, p }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_measured_against_fair_shares() {
        let even = Evenness::of(&[20.0, 10.0, 0.0], &[0.5, 0.25, 0.0]);
        assert_eq!(even, Evenness { max: 1.0, min: 1.0, cv: 0.0 });
        let uneven = Evenness::of(&[3.0, 1.0], &[1.0, 1.0]);
        assert_eq!(uneven, Evenness { max: 1.5, min: 0.5, cv: 0.5 });
        assert_eq!(Evenness::of(&[0.0], &[1.0]), Evenness::default());
    }

    #[test]
    fn the_chance_is_that_of_the_tables() {
        // The critical values of five in a hundred, from any table of the distribution.
        for (freedom, critical) in [(1_u32, 3.841), (4, 9.488), (9, 16.919), (99, 123.225)] {
            let nodes = freedom as usize + 1;
            // Two nodes off by the same amount, the others as expected.
            let expected = 1000.0;
            let off = (critical * expected / 2.0_f64).sqrt();
            let mut counts = vec![expected; nodes];
            (counts[0], counts[1]) = (expected + off, expected - off);
            let found = ChiSquare::of(&counts, &vec![1.0; nodes]);
            assert!((found.statistic - critical).abs() < 1e-6, "{found:?}");
            assert!((found.p - 0.05).abs() < 1e-4, "{freedom}: {found:?}");
        }
        assert_eq!(ChiSquare::of(&[5.0, 5.0], &[1.0, 1.0]).p, 1.0);
        assert_eq!(ChiSquare::of(&[1e9, 1.0], &[1.0, 1.0]).p, 0.0);
    }
}
