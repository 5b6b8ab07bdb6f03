//! Which provider answers for a model: case-insensitive, first match wins.

use std::sync::Arc;

use super::{Provider, StructuredModel};
use crate::config::Settings;
use crate::error::{Error, Result};

/// Where a model name leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Bright Data, ChatGPT.
    ChatGpt,
    /// Bright Data, Perplexity.
    Perplexity,
    /// Bright Data, Gemini.
    Gemini,
    /// Anthropic, with the model id to send.
    Anthropic(String),
    /// OpenAI, with the model id to send.
    OpenAi(String),
}

/// Routes a model name. Registered custom names are looked up before this is called.
///
/// # Errors
/// [`crate::ErrorKind::Config`] naming the known models.
pub fn route(model: &str) -> Result<Route> {
    Err(Error::internal(format!("not built yet: {model}")))
}

/// The provider of a model.
///
/// # Errors
/// [`crate::ErrorKind::Config`]: unknown model, unknown price, or the variable of a missing key.
pub fn provider_for(model: &str, settings: &Settings) -> Result<Arc<dyn Provider>> {
    let _ = settings;
    Err(Error::internal(format!("not built yet: {model}")))
}

/// The extraction model.
///
/// # Errors
/// As [`provider_for`].
pub fn structured_model(model: &str, settings: &Settings) -> Result<Arc<dyn StructuredModel>> {
    let _ = settings;
    Err(Error::internal(format!("not built yet: {model}")))
}
