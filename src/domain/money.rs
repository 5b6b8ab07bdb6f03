//! Integer money. One micro-dollar is a millionth of a US dollar; a float is never money.

use serde::{Deserialize, Serialize};

use super::Usage;
use crate::error::{Error, Result};

/// An amount in micro-dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MicroUsd(pub i64);

impl MicroUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Reads a decimal dollar amount such as `5`, `5.00` or `$0.0015`, to at most six decimals.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] when the text is not such an amount or is negative.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        let refuse =
            || Error::config(field, format!("{field}: '{text}' is not a dollar amount such as 5.00 (at most six decimals)"));
        let digits = text.trim().trim_start_matches('$');
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let only_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 6 || !only_digits(whole) || !only_digits(fraction) {
            return Err(refuse());
        }
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| refuse())? };
        let fraction: i64 = format!("{fraction:0<6}").parse().map_err(|_| refuse())?;
        whole.checked_mul(1_000_000).and_then(|micro| micro.checked_add(fraction)).map(Self).ok_or_else(refuse)
    }

    /// Adds, staying at the largest amount instead of wrapping.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Multiplies by a count, staying at the largest amount instead of wrapping.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(i64::try_from(count).unwrap_or(i64::MAX)))
    }
}

impl std::iter::Sum for MicroUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::plus)
    }
}

/// Dollars with six decimals and no sign of currency: `0.150000`.
impl std::fmt::Display for MicroUsd {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let absolute = self.0.unsigned_abs();
        write!(formatter, "{sign}{}.{:06}", absolute / 1_000_000, absolute % 1_000_000)
    }
}

/// What a model costs. All amounts in micro-dollars; token prices per million tokens. `None`: the provider has no such charge.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Price {
    /// Per million input tokens.
    pub input: Option<i64>,
    /// Per million input tokens read from the provider's cache; `None` = as `input`.
    pub cached_input: Option<i64>,
    /// Per million input tokens written to the provider's cache; `None` = as `input`.
    pub cache_write: Option<i64>,
    /// Per million output tokens.
    pub output: Option<i64>,
    /// Per web search.
    pub search: Option<i64>,
    /// Per delivered record (Bright Data).
    pub record: Option<i64>,
    /// Per request, whatever it used.
    pub request: Option<i64>,
    /// The largest input the model takes, in tokens: the ceiling of a reservation.
    pub max_input_tokens: Option<u64>,
    /// Token prices in a provider's batch, in percent of the plain ones; `None`: 50. Searches cost the same there.
    pub batch_percent: Option<u32>,
    /// These are the prices inside a provider's batch: see [`Price::in_batch`].
    #[serde(skip)]
    pub batched: bool,
}

/// What both vendors take for the tokens of a batch, in percent of the plain price (their Batch API guides: "50%").
const BATCH_PERCENT: u32 = 50;

/// What a call cost, or that it cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priced {
    /// The charge.
    Charge(MicroUsd),
    /// The usage needed is missing from the reply: unknown is not zero.
    Unpriced,
}

impl Price {
    /// The price of a request inside a provider's batch.
    #[must_use]
    pub fn in_batch(&self) -> Self {
        Self { batched: true, ..self.clone() }
    }

    /// The charge for `usage`. All components are added exactly and rounded once, half up, to a micro-dollar.
    ///
    /// `Unpriced` when a token price is set and the reply carried no token counts.
    #[must_use]
    pub fn charge(&self, usage: &Usage) -> Priced {
        let mut picos: i128 = 0; // 10⁻¹² dollars: tokens × micro-dollars per million
        if self.input.is_some() || self.output.is_some() {
            let (Some(input), Some(output)) = (usage.input_tokens, usage.output_tokens) else { return Priced::Unpriced };
            let cached = usage.cached_input_tokens.min(input);
            let plain = input - cached;
            let input_price = i128::from(self.input.unwrap_or(0));
            // A price times a count fits; the sums saturate, because the counts are whatever the reply said.
            for part in [
                i128::from(plain) * input_price,
                i128::from(cached) * self.cached_input.map_or(input_price, i128::from),
                i128::from(usage.cache_write_tokens) * self.cache_write.map_or(input_price, i128::from),
                i128::from(output) * i128::from(self.output.unwrap_or(0)),
            ] {
                picos = picos.saturating_add(part);
            }
        }
        let percent = if self.batched { self.batch_percent.unwrap_or(BATCH_PERCENT) } else { 100 };
        // From here on in hundredths of 10⁻¹² dollars, so that half a price is exact.
        picos = picos.saturating_mul(i128::from(percent));
        for (price, count) in [(self.search, usage.searches), (self.record, usage.records), (self.request, 1)] {
            let micro = i128::from(price.unwrap_or(0)) * i128::from(count);
            picos = picos.saturating_add(micro.saturating_mul(100_000_000));
        }
        let micro = picos.saturating_add(50_000_000) / 100_000_000;
        Priced::Charge(MicroUsd(i64::try_from(micro).unwrap_or(i64::MAX)))
    }

    /// Laid over this one: what `other` sets wins.
    #[must_use]
    pub fn overlaid(&self, other: &Self) -> Self {
        Self {
            input: other.input.or(self.input),
            cached_input: other.cached_input.or(self.cached_input),
            cache_write: other.cache_write.or(self.cache_write),
            output: other.output.or(self.output),
            search: other.search.or(self.search),
            record: other.record.or(self.record),
            request: other.request.or(self.request),
            max_input_tokens: other.max_input_tokens.or(self.max_input_tokens),
            batch_percent: other.batch_percent.or(self.batch_percent),
            batched: self.batched,
        }
    }
}
