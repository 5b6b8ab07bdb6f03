//! The cluster bootstrap: how a ratio moves when other questions had been asked. Knows sums by question, no row.
//!
//! Questions are drawn with replacement, all answers of a question together, [`RESAMPLES`] times; each time the ratio
//! Σ numerator / Σ denominator is taken. The bounds are percentiles of these ratios. With few questions the plain 2.5 % and
//! 97.5 % are too narrow, so they are moved outwards as far as Student's t lies outside the normal distribution
//! (Hesterberg 2015, "What Teachers Should Know About the Bootstrap", the expanded percentile interval).

use std::collections::HashMap;

use super::intervals::{normal_cdf, t_quantile_975};

/// How often the questions are drawn.
pub const RESAMPLES: usize = 2000;
/// Ratios kept at the same time: 8 bytes each, times [`RESAMPLES`].
const BLOCK: usize = 256;
/// Draws made together, so that a value is looked up once for all of them; a part of [`RESAMPLES`].
const LANES: usize = 8;

/// Values by question; those that are 0 are not there.
type Column = Vec<(u32, f64)>;

struct Series {
    denominators: usize,
    numerators: Column,
    clusters: usize,
}

/// Ratios whose intervals are wanted. All share the draws, so that one pass serves all.
#[derive(Default)]
pub(super) struct Bootstrap {
    columns: Vec<Column>,
    known: HashMap<Vec<(u32, u64)>, usize>,
    series: Vec<Series>,
}

impl Bootstrap {
    /// Wants the interval of Σ numerator / Σ denominator over these questions; each stands here once. Gives its number.
    pub(super) fn add(&mut self, clusters: &[(u32, f64, f64)]) -> usize {
        let numerators = clusters.iter().filter(|(_, value, _)| *value != 0.0).map(|(at, value, _)| (*at, *value)).collect();
        let column: Column = clusters.iter().filter(|(_, _, value)| *value != 0.0).map(|(at, _, value)| (*at, *value)).collect();
        // Most figures of a model have the same denominators.
        let key: Vec<(u32, u64)> = column.iter().map(|(at, value)| (*at, value.to_bits())).collect();
        let clusters = column.len();
        let denominators = *self.known.entry(key).or_insert_with(|| {
            self.columns.push(column);
            self.columns.len() - 1
        });
        self.series.push(Series { denominators, numerators, clusters });
        self.series.len() - 1
    }

    /// The intervals, in the order of the numbers. `questions`: how many there are to draw from.
    pub(super) fn intervals(&self, seed: u64, questions: usize) -> Vec<Option<(f64, f64)>> {
        self.series.chunks(BLOCK).flat_map(|block| self.of_block(block, seed, questions)).collect()
    }

    fn of_block(&self, block: &[Series], seed: u64, questions: usize) -> Vec<Option<(f64, f64)>> {
        let mut draws = Draws(seed);
        let mut ratios: Vec<Vec<f64>> = block.iter().map(|_| Vec::with_capacity(RESAMPLES)).collect();
        let mut times = vec![[0.0; LANES]; questions];
        let mut totals = vec![[0.0; LANES]; self.columns.len()];
        for _ in 0..RESAMPLES / LANES {
            times.fill([0.0; LANES]);
            for lane in 0..LANES {
                for _ in 0..questions {
                    if let Some(count) = times.get_mut(draws.below(questions)).and_then(|counts| counts.get_mut(lane)) {
                        *count += 1.0;
                    }
                }
            }
            for (total, column) in totals.iter_mut().zip(&self.columns) {
                *total = weighted(column, &times);
            }
            for (ratios, series) in ratios.iter_mut().zip(block) {
                let sums = weighted(&series.numerators, &times);
                let below = totals.get(series.denominators).copied().unwrap_or_default();
                ratios.extend(sums.iter().zip(below).filter(|(_, below)| *below > 0.0).map(|(sum, below)| sum / below));
            }
        }
        ratios.into_iter().zip(block).map(|(ratios, series)| bounds(ratios, series.clusters)).collect()
    }
}

/// Σ value · times, for all draws that are made together.
fn weighted(column: &[(u32, f64)], times: &[[f64; LANES]]) -> [f64; LANES] {
    let mut sums = [0.0; LANES];
    for (at, value) in column {
        if let Some(counts) = times.get(*at as usize) {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += value * count;
            }
        }
    }
    sums
}

/// Both percentiles of the ratios of so many questions.
fn bounds(mut ratios: Vec<f64>, clusters: usize) -> Option<(f64, f64)> {
    ratios.sort_by(f64::total_cmp);
    let part = outer_part(clusters);
    Some((percentile_of(&ratios, part)?, percentile_of(&ratios, 1.0 - part)?))
}

/// The part of the ratios that lies outside of each bound: 0.025 for many questions, less for few.
fn outer_part(clusters: usize) -> f64 {
    let n = clusters.max(5) as f64;
    normal_cdf(-(n / (n - 1.0)).sqrt() * t_quantile_975(n - 1.0))
}

/// The value below which this part of the sorted values lies, straight between neighbours; `None` without values.
#[must_use]
pub fn percentile_of(sorted: &[f64], part: f64) -> Option<f64> {
    let place = part.clamp(0.0, 1.0) * (sorted.len().checked_sub(1)?) as f64;
    let (low, high) = (*sorted.get(place.floor() as usize)?, *sorted.get(place.ceil() as usize)?);
    Some(low + (high - low) * (place - place.floor()))
}

/// The interval of each ratio, of clusters given as (numerator, denominator); `None` below five clusters with data.
///
/// All lists have the same clusters in the same order. For simulations of the coverage.
#[must_use]
pub fn ratio_intervals(seed: u64, ratios: &[Vec<(f64, f64)>]) -> Vec<Option<(f64, f64)>> {
    let questions = ratios.iter().map(Vec::len).max().unwrap_or(0);
    let mut bootstrap = Bootstrap::default();
    for clusters in ratios {
        let numbered: Vec<(u32, f64, f64)> =
            (0..).zip(clusters).map(|(at, (numerator, denominator))| (at, *numerator, *denominator)).collect();
        bootstrap.add(&numbered);
    }
    let enough = bootstrap.series.iter().map(|series| series.clusters >= super::figure::MIN_QUESTIONS);
    bootstrap.intervals(seed, questions).into_iter().zip(enough).map(|(found, enough)| found.filter(|_| enough)).collect()
}

/// `SplitMix64` (Steele, Lea and Flood 2014): small, seeded, the same on every machine.
struct Draws(u64);

impl Draws {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * limit as u128) >> 64) as usize
    }
}
