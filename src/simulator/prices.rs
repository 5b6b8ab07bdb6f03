//! The simulator's own price table and the arithmetic of a charge. Written from the vendors' published prices; must not be
//! shared with the code under test, or a wrong price would confirm itself.

/// Prices of a model: micro-dollars per million tokens, micro-dollars per web search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ModelPrice {
    pub(crate) input: u64,
    pub(crate) cached: u64,
    pub(crate) output: u64,
    pub(crate) search: u64,
}

/// Micro-dollars per delivered record: $1.50 per 1,000.
pub(crate) const RECORD: u64 = 1_500;

const fn price(input: u64, cached: u64, output: u64, search: u64) -> ModelPrice {
    ModelPrice { input, cached, output, search }
}

/// Model and price; the longest name a model starts with (at a `-` border or exactly) decides.
const TABLE: &[(&str, ModelPrice)] = &[
    ("gpt-4.1", price(2_000_000, 500_000, 8_000_000, 25_000)),
    ("gpt-4.1-mini", price(400_000, 100_000, 1_600_000, 25_000)),
    ("gpt-4.1-nano", price(100_000, 25_000, 400_000, 25_000)),
    ("gpt-4o", price(2_500_000, 1_250_000, 10_000_000, 25_000)),
    ("gpt-4o-mini", price(150_000, 75_000, 600_000, 25_000)),
    ("gpt-5", price(1_250_000, 125_000, 10_000_000, 10_000)),
    ("gpt-5.1", price(1_250_000, 125_000, 10_000_000, 10_000)),
    ("gpt-5-mini", price(250_000, 25_000, 2_000_000, 10_000)),
    ("gpt-5-nano", price(50_000, 5_000, 400_000, 10_000)),
    ("gpt-5.2", price(1_750_000, 175_000, 14_000_000, 10_000)),
    ("gpt-5.4", price(2_500_000, 250_000, 15_000_000, 10_000)),
    ("gpt-5.4-mini", price(750_000, 75_000, 4_500_000, 10_000)),
    ("gpt-5.4-nano", price(200_000, 20_000, 1_250_000, 10_000)),
    ("gpt-5.5", price(5_000_000, 500_000, 30_000_000, 10_000)),
    ("gpt-5.6", price(4_000_000, 400_000, 20_000_000, 10_000)),
    ("gpt-5.6-terra", price(2_000_000, 200_000, 12_000_000, 10_000)),
    ("gpt-5.6-luna", price(200_000, 20_000, 1_200_000, 10_000)),
    ("gpt-5-search-api", price(1_250_000, 125_000, 10_000_000, 10_000)),
    ("o3", price(2_000_000, 500_000, 8_000_000, 10_000)),
    ("o4-mini", price(1_100_000, 275_000, 4_400_000, 10_000)),
    ("claude-haiku-4-5", price(1_000_000, 100_000, 5_000_000, 10_000)),
    ("claude-sonnet-4-5", price(3_000_000, 300_000, 15_000_000, 10_000)),
    ("claude-sonnet-4-6", price(3_000_000, 300_000, 15_000_000, 10_000)),
    ("claude-sonnet-5", price(2_000_000, 200_000, 10_000_000, 10_000)),
    ("claude-opus-4-5", price(5_000_000, 500_000, 25_000_000, 10_000)),
    ("claude-opus-4-6", price(5_000_000, 500_000, 25_000_000, 10_000)),
    ("claude-opus-5", price(5_000_000, 500_000, 25_000_000, 10_000)),
    ("claude-opus-5-5", price(4_000_000, 200_000, 20_000_000, 10_000)),
    ("claude-haiku-5-5", price(100_000, 10_000, 500_000, 10_000)),
    ("claude-fable-5", price(10_000_000, 1_000_000, 50_000_000, 10_000)),
    ("claude-mythos-5", price(10_000_000, 1_000_000, 50_000_000, 10_000)),
];

/// The base name and price of a model; `None`: the provider does not know it. A dated id takes its base's price.
pub(crate) fn lookup(model: &str) -> Option<(&'static str, ModelPrice)> {
    let base = undated(model);
    TABLE.iter().find(|(name, _)| *name == base).map(|(name, price)| (*name, *price))
}

/// All names.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, _)| *name)
}

/// Without a date at the end: `-YYYY-MM-DD` or `-YYYYMMDD`.
fn undated(model: &str) -> &str {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((head, day)) = model.rsplit_once('-') {
        if day.len() == 8 && digits(day) {
            return head;
        }
        if let Some((head, month)) = head.rsplit_once('-')
            && let Some((head, year)) = head.rsplit_once('-')
            && [year, month, day].into_iter().all(digits)
            && (year.len(), month.len(), day.len()) == (4, 2, 2)
        {
            return head;
        }
    }
    model
}

/// What a call used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Used {
    /// All input tokens, cached ones included.
    pub(crate) input: u64,
    /// Of these, read from the cache.
    pub(crate) cached: u64,
    pub(crate) output: u64,
    /// Paid search actions.
    pub(crate) searches: u64,
    /// Half the token price; the search fee stays whole.
    pub(crate) batch: bool,
}

/// The charge in micro-dollars: summed exactly, rounded once, half up.
pub(crate) fn charge(price: ModelPrice, used: Used) -> u64 {
    let tokens = u128::from(used.input.saturating_sub(used.cached)) * u128::from(price.input)
        + u128::from(used.cached) * u128::from(price.cached)
        + u128::from(used.output) * u128::from(price.output);
    // In halves of 10⁻¹² dollars, so that half a token price stays a whole number.
    let halves = if used.batch { tokens } else { tokens * 2 };
    let search = u128::from(used.searches) * u128::from(price.search) * 2_000_000;
    u64::try_from((halves + search + 1_000_000) / 2_000_000).unwrap_or(u64::MAX)
}
