//! What models cost: the packaged table (`prices.json`), overlaid with the user's.

use crate::config::Settings;
use crate::domain::Price;
use crate::error::{Error, Result};

/// The price of a model id (`gpt-4.1`, `brightdata/chatgpt`). A dated id takes its base id's price.
///
/// # Errors
/// [`crate::ErrorKind::Config`] when nothing is known: never another model's price.
pub fn price_of(model: &str, settings: &Settings) -> Result<Price> {
    let _ = settings;
    Err(Error::internal(format!("not built yet: {model}")))
}

/// Names that route and have a packaged price, for error messages.
#[must_use]
pub fn known_models() -> Vec<String> {
    Vec::new()
}
