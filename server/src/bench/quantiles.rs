//! Quantiles of what was measured, without interpolation: each is a value that occurred.

use serde::Serialize;

/// Quantiles in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// 90 of 100 are not more.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1,000.
    pub p99_9: f64,
    /// 9,999 of 10,000.
    pub p99_99: f64,
    /// The most.
    pub max: f64,
}

impl Quantiles {
    /// The quantiles of these microseconds; `None` of nothing.
    #[must_use]
    pub fn of(mut values_us: Vec<u32>) -> Option<Self> {
        values_us.sort_unstable();
        let ms = |of_10_000: usize| {
            // The smallest value that so many of 10,000 do not exceed.
            let rank = (values_us.len() * of_10_000).div_ceil(10_000);
            values_us
                .get(rank.checked_sub(1)?)
                .map(|us| f64::from(*us) / 1000.0)
        };
        Some(Self {
            p50: ms(5000)?,
            p90: ms(9000)?,
            p99: ms(9900)?,
            p99_9: ms(9990)?,
            p99_99: ms(9999)?,
            max: ms(10_000)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_smallest_value_that_so_many_do_not_exceed() {
        let of = |values: Vec<u32>| {
            let all = Quantiles::of(values).unwrap();
            [all.p50, all.p90, all.p99, all.p99_9, all.p99_99, all.max]
        };
        assert_eq!(of(vec![7]), [0.007; 6]);
        assert_eq!(
            of((1..=10).rev().collect()),
            [0.005, 0.009, 0.010, 0.010, 0.010, 0.010]
        );
        let many = of((1..=20_000).collect());
        assert_eq!(many, [10.0, 18.0, 19.8, 19.98, 19.998, 20.0]);
        assert_eq!(Quantiles::of(Vec::new()), None);
    }
}
