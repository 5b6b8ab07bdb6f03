//! Intervals and tests in closed form. Pure functions of numbers. Source: `domain.md` §3.3.

/// The 97.5 % quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Wilson's 95 % interval of `successes` out of `trials`, from 0 to 1; `None` without a trial.
///
/// `centre = (p + z²/2n) / (1 + z²/n)`, `half = z·√(p(1−p)/n + z²/4n²) / (1 + z²/n)`.
#[must_use]
pub fn wilson(successes: f64, trials: f64) -> Option<(f64, f64)> {
    if !(trials > 0.0 && successes.is_finite()) {
        return None;
    }
    let p = (successes / trials).clamp(0.0, 1.0);
    let square = Z * Z;
    let below = 1.0 + square / trials;
    let centre = (p + square / (2.0 * trials)) / below;
    let half = Z * (p * (1.0 - p) / trials + square / (4.0 * trials * trials)).sqrt() / below;
    // At 0 and 1 the bound is exactly that; the subtraction would leave a trace.
    let low = if p == 0.0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if p >= 1.0 { 1.0 } else { (centre + half).min(1.0) };
    Some((low, high))
}

/// The complementary error function, relative error below 1.2e-7 (Numerical Recipes, `erfcc`).
fn erfc(x: f64) -> f64 {
    let z = x.abs();
    let t = 1.0 / (1.0 + 0.5 * z);
    let factors = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let sum = factors.iter().rev().fold(0.0, |sum, factor| factor + t * sum);
    let value = t * (-z * z + sum).exp();
    if x < 0.0 { 2.0 - value } else { value }
}

/// The normal distribution function.
#[must_use]
pub fn normal_cdf(x: f64) -> f64 {
    0.5 * erfc(-x / std::f64::consts::SQRT_2)
}

/// The 97.5 % quantile of Student's t, for four degrees of freedom or more: Cornish and Fisher's expansion, off by less
/// than 0.004.
#[must_use]
pub fn t_quantile_975(freedom: f64) -> f64 {
    let (z2, v) = (Z * Z, freedom);
    let first = Z * (z2 + 1.0) / 4.0;
    let second = Z * (5.0 * z2 * z2 + 16.0 * z2 + 3.0) / 96.0;
    let third = Z * (3.0 * z2.powi(3) + 19.0 * z2 * z2 + 17.0 * z2 - 15.0) / 384.0;
    let fourth = Z * (79.0 * z2.powi(4) + 776.0 * z2.powi(3) + 1482.0 * z2 * z2 - 1920.0 * z2 - 945.0) / 92_160.0;
    Z + first / v + second / v.powi(2) + third / v.powi(3) + fourth / v.powi(4)
}

/// `McNemar`'s test of a paired change, two-sided: the chance of a split as uneven as `b` to `c` when nothing changed.
///
/// Exact binomial below 25 changes, else `χ² = (|b − c| − 1)² / (b + c)`. Without a change: 1.
#[must_use]
pub fn mcnemar(b: u64, c: u64) -> f64 {
    let changes = b + c;
    if changes == 0 {
        return 1.0;
    }
    if changes < 25 {
        let mut ways = 1.0_f64;
        let mut sum = 0.0;
        for drawn in 0..=b.min(c) {
            sum += ways;
            ways *= (changes - drawn) as f64 / (drawn + 1) as f64;
        }
        return (2.0 * sum / 2.0_f64.powf(changes as f64)).min(1.0);
    }
    let excess = (b.abs_diff(c) as f64 - 1.0).max(0.0);
    erfc((excess * excess / changes as f64 / 2.0).sqrt())
}

/// Benjamini and Hochberg's adjusted p-values, in the order given.
#[must_use]
pub fn benjamini_hochberg(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<(usize, f64)> = p_values.iter().copied().enumerate().collect();
    order.sort_by(|left, right| left.1.total_cmp(&right.1));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut least = 1.0_f64;
    for (place, (index, p)) in order.iter().enumerate().rev() {
        least = least.min(p * p_values.len() as f64 / (place + 1) as f64);
        if let Some(slot) = adjusted.get_mut(*index) {
            *slot = least;
        }
    }
    adjusted
}
