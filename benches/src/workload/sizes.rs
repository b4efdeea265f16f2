//! Lengths, fixed or from a distribution.

use std::{fmt, str::FromStr};

use super::mix;

/// Lengths of keys or values. Every key keeps its own.
#[derive(Clone, Debug, PartialEq)]
pub enum Sizes {
    /// All the same.
    Fixed(usize),
    /// Evenly from the one to the other.
    Uniform(usize, usize),
    /// From the one to the other, every order of magnitude as often as the next.
    LogUniform(usize, usize),
    /// These, each with its weight.
    Weighted(Vec<(usize, u32)>),
}

impl Sizes {
    /// The length that belongs to `number`.
    pub fn of(&self, number: u64) -> usize {
        match self {
            Self::Fixed(size) => *size,
            Self::Uniform(from, to) => from + below(number, to - from + 1),
            Self::LogUniform(from, to) => {
                let share = (mix(number) >> 11) as f64 / (1u64 << 53) as f64;
                let size = *from as f64 * (*to as f64 / *from as f64).powf(share);
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two sizes")]
                let size = size.round() as usize;
                size.clamp(*from, *to)
            }
            Self::Weighted(sizes) => {
                let mut left = below(number, sizes.iter().map(|(_, weight)| *weight as usize).sum());
                let is_it = |(_, weight): &&(usize, u32)| match left.checked_sub(*weight as usize) {
                    Some(less) => {
                        left = less;
                        false
                    }
                    None => true,
                };
                sizes.iter().find(is_it).map_or(0, |(size, _)| *size)
            }
        }
    }

    /// The shortest.
    pub fn min(&self) -> usize {
        match self {
            Self::Fixed(from) | Self::Uniform(from, _) | Self::LogUniform(from, _) => *from,
            Self::Weighted(sizes) => sizes.iter().map(|(size, _)| *size).min().unwrap_or_default(),
        }
    }

    /// The longest.
    pub fn max(&self) -> usize {
        match self {
            Self::Fixed(to) | Self::Uniform(_, to) | Self::LogUniform(_, to) => *to,
            Self::Weighted(sizes) => sizes.iter().map(|(size, _)| *size).max().unwrap_or_default(),
        }
    }
}

/// A number below `bound`, which is not 0, that looks random.
fn below(number: u64, bound: usize) -> usize {
    let spread = u128::from(mix(number)) * bound as u128;
    usize::try_from(spread >> 64).expect("below a usize")
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size} B"),
            Self::Uniform(from, to) => write!(f, "{from}–{to} B"),
            Self::LogUniform(from, to) => write!(f, "{from}–{to} B, log"),
            Self::Weighted(sizes) => {
                let parts: Vec<_> = sizes.iter().map(|(size, weight)| format!("{size}x{weight}")).collect();
                write!(f, "{} B", parts.join("+"))
            }
        }
    }
}

/// What a length may not be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no length: 100, 16..1024 (evenly), log:16..65536 (by magnitude) or 100x90+1000x10 (length x weight)")]
pub struct NoSizes(String);

impl FromStr for Sizes {
    type Err = NoSizes;

    fn from_str(text: &str) -> Result<Self, NoSizes> {
        let wrong = || NoSizes(text.to_owned());
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|size| *size > 0).ok_or_else(wrong);
        let range = |text: &str| {
            let (from, to) = text.split_once("..").ok_or_else(wrong)?;
            let (from, to) = (number(from)?, number(to)?);
            if from <= to { Ok((from, to)) } else { Err(wrong()) }
        };
        if let Some(text) = text.strip_prefix("log:") {
            let (from, to) = range(text)?;
            return Ok(Self::LogUniform(from, to));
        }
        if text.contains("..") {
            let (from, to) = range(text)?;
            return Ok(Self::Uniform(from, to));
        }
        if text.contains('x') {
            let parts = text.split('+').map(|part| {
                let (size, weight) = part.split_once('x').ok_or_else(wrong)?;
                let weight = weight.trim().parse::<u32>().ok().filter(|weight| *weight > 0).ok_or_else(wrong)?;
                Ok((number(size)?, weight))
            });
            return Ok(Self::Weighted(parts.collect::<Result<_, _>>()?));
        }
        Ok(Self::Fixed(number(text)?))
    }
}
