//! What models cost: the packaged table (`prices.json`), overlaid with the user's. Must never answer with another model's price.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::config::Settings;
use crate::domain::Price;
use crate::error::{Error, Result};

#[derive(Debug, Deserialize)]
struct Table {
    models: BTreeMap<String, Price>,
}

/// The file is part of the binary; a test reads it, so an unreadable one cannot be released.
static PACKAGED: LazyLock<BTreeMap<String, Price>> =
    LazyLock::new(|| serde_json::from_str::<Table>(include_str!("prices.json")).map(|table| table.models).unwrap_or_default());

/// The price of a model id (`gpt-4.1`, `brightdata/chatgpt`). A dated id takes its base id's price, unless the table has the
/// dated one. The user's `prices=` lie over the packaged table; they may name the model as the user does (`chatgpt`) or as
/// the table does (`brightdata/chatgpt`), with or without `openai:`, `anthropic:`, `brightdata:`.
///
/// # Errors
/// [`crate::ErrorKind::Config`] when nothing is known: never another model's price.
pub fn price_of(model: &str, settings: &Settings) -> Result<Price> {
    let wanted = plain(model);
    let base = undated(&wanted);
    let packaged = PACKAGED.get(&wanted).or_else(|| PACKAGED.get(base)).or_else(|| PACKAGED.get(&format!("brightdata/{wanted}")));
    let mut price = packaged.cloned();
    // The base id first, so that a price for the exact id wins.
    for id in [base, wanted.as_str()] {
        for (name, own) in settings.prices.iter().filter(|(name, _)| plain(name) == id) {
            check(name, own)?;
            price = Some(price.unwrap_or_default().overlaid(own));
        }
    }
    price.ok_or_else(|| {
        let message = format!(
            "no price is known for model '{model}': give it one through OVERHEARD_PRICES or prices=, or use one of {}",
            known_models().join(", ")
        );
        Error::config("OVERHEARD_PRICES", message)
    })
}

/// Names that route and have a packaged price, for error messages.
#[must_use]
pub fn known_models() -> Vec<String> {
    PACKAGED.keys().map(|name| plain(name)).collect()
}

/// Lower case, without the name of the account.
fn plain(model: &str) -> String {
    let model = model.trim().to_ascii_lowercase();
    let bare = ["openai:", "anthropic:", "brightdata:", "brightdata/"].iter().find_map(|prefix| model.strip_prefix(prefix));
    bare.map(str::to_owned).unwrap_or(model)
}

/// The id without `-YYYY-MM-DD` or `-YYYYMMDD`.
/// True when two ids name the same model, dated or not, with or without the provider before it.
#[must_use]
pub fn is_same_model(one: &str, other: &str) -> bool {
    let base = |id: &str| {
        let id = plain(id);
        undated(id.strip_suffix("-latest").unwrap_or(&id)).to_owned()
    };
    base(one) == base(other)
}

fn undated(model: &str) -> &str {
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = model.rsplitn(4, '-');
    let (last, second, third) = (parts.next(), parts.next(), parts.next());
    let dashed = last.is_some_and(|day| digits(day, 2))
        && second.is_some_and(|month| digits(month, 2))
        && third.is_some_and(|year| digits(year, 4) && year.starts_with(['1', '2']));
    let length = if dashed {
        "-YYYY-MM-DD".len()
    } else if last.is_some_and(|date| digits(date, 8)) {
        "-YYYYMMDD".len()
    } else {
        0
    };
    model.len().checked_sub(length).and_then(|end| model.get(..end)).filter(|base| !base.is_empty()).unwrap_or(model)
}

fn check(name: &str, price: &Price) -> Result<()> {
    let amounts = [price.input, price.cached_input, price.cache_write, price.output, price.search, price.record, price.request];
    if amounts.iter().flatten().any(|amount| *amount < 0) {
        return Err(Error::config("OVERHEARD_PRICES", format!("the price of '{name}' is negative")));
    }
    if amounts.iter().all(Option::is_none) && price.batch_percent.is_none() {
        return Err(Error::config("OVERHEARD_PRICES", format!("the price of '{name}' names no amount")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(prices: &[(&str, Price)]) -> Settings {
        Settings {
            prices: prices.iter().map(|(name, price)| ((*name).to_owned(), price.clone())).collect(),
            ..Settings::default()
        }
    }

    #[test]
    fn the_packaged_file_can_be_read_and_every_model_has_what_its_charge_needs() {
        assert!(PACKAGED.len() > 40);
        for (model, price) in PACKAGED.iter() {
            assert!(check(model, price).is_ok(), "{model}");
            if model.starts_with("brightdata/") {
                assert_eq!(price, &Price { record: Some(1_500), ..Price::default() });
            } else {
                assert!(price.input.is_some() && price.output.is_some() && price.max_input_tokens.is_some(), "{model}");
            }
        }
    }

    #[test]
    fn dates_fall_away_and_nothing_else() {
        let none = Settings::default();
        for (dated, base) in [
            ("gpt-4.1-2025-04-14", "gpt-4.1"),
            ("GPT-4.1-mini-2025-04-14", "gpt-4.1-mini"),
            ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
            ("openai:gpt-5-2025-08-07", "gpt-5"),
            ("brightdata/chatgpt", "chatgpt"),
        ] {
            assert_eq!(price_of(dated, &none).unwrap(), price_of(base, &none).unwrap(), "{dated}");
        }
        assert_ne!(
            price_of("gpt-4o-2024-05-13", &none).unwrap(),
            price_of("gpt-4o", &none).unwrap(),
            "a dated entry of its own wins"
        );
        for unknown in ["gpt-4.1-turbo", "gpt-9", "claude-sonnet", "gpt-4.1-20250", "2025-04-14", "", "-20250414"] {
            let error = price_of(unknown, &none).unwrap_err();
            assert_eq!(error.kind, crate::ErrorKind::Config, "{unknown}");
            assert!(
                error.message.contains("OVERHEARD_PRICES")
                    && error.message.contains("prices=")
                    && error.message.contains("gpt-4.1")
            );
        }
    }

    #[test]
    fn the_users_prices_lie_over_ours() {
        let own = Price { output: Some(1), ..Price::default() };
        let price = price_of("gpt-4.1-2025-04-14", &settings(&[("GPT-4.1", own.clone())])).unwrap();
        assert_eq!((price.input, price.output), (Some(2_000_000), Some(1)));
        let exact = Price { output: Some(2), ..Price::default() };
        let both = settings(&[("gpt-4.1", own.clone()), ("gpt-4.1-2025-04-14", exact)]);
        assert_eq!(price_of("gpt-4.1-2025-04-14", &both).unwrap().output, Some(2));
        assert_eq!(price_of("my-model", &settings(&[("openai:my-model", own)])).unwrap().output, Some(1));
        let record = Price { record: Some(5_000), ..Price::default() };
        assert_eq!(price_of("brightdata/gemini", &settings(&[("gemini", record)])).unwrap().record, Some(5_000));
        let negative = Price { input: Some(-1), ..Price::default() };
        assert!(price_of("gpt-4.1", &settings(&[("gpt-4.1", negative)])).is_err());
        assert!(price_of("gpt-4.1", &settings(&[("gpt-4.1", Price::default())])).is_err());
    }
}
