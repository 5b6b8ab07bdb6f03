//! Which provider answers for a model: case-insensitive, first match wins. Must not guess: an unknown name is an error.

use std::sync::Arc;

use super::anthropic::{self, Anthropic, AnthropicStructured};
use super::brightdata::{self, BrightData, CHATGPT, Engine, GEMINI, PERPLEXITY};
use super::openai::{self, OpenAi, OpenAiStructured};
use super::{BatchModel, Provider, StructuredModel, known_models, price_of};
use crate::config::{Secret, Settings};
use crate::domain::Price;
use crate::error::{Error, ErrorKind, Result};

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
/// A prefix decides first: `openai:<id>` and `anthropic:<id>` send the id as it stands, `brightdata:<name>` takes the engine in
/// the name. Ids found by a rule are sent in lower case, with the family's first word where the user left it out (`4.1-mini` →
/// `gpt-4.1-mini`, `sonnet-4-5` → `claude-sonnet-4-5`).
///
/// # Errors
/// [`crate::ErrorKind::Config`] naming the known models.
pub fn route(model: &str) -> Result<Route> {
    let model = model.trim();
    let name = model.to_ascii_lowercase();
    let unknown = || {
        let known = known_models().join(", ");
        let message = format!(
            "no provider is known for model '{model}': use a registered provider's name, a prefix such as openai:, or one of {known}"
        );
        Error::config("models", message)
    };
    let engine = |name: &str| {
        [("chatgpt", Route::ChatGpt), ("perplexity", Route::Perplexity), ("gemini", Route::Gemini)]
            .into_iter()
            .find_map(|(word, route)| name.contains(word).then_some(route))
    };
    if let Some((prefix, id)) = model.split_once(':') {
        let id = id.trim();
        match prefix.trim().to_ascii_lowercase().as_str() {
            "openai" | "anthropic" | "brightdata" if id.is_empty() => return Err(unknown()),
            "openai" => return Ok(Route::OpenAi(id.to_owned())),
            "anthropic" => return Ok(Route::Anthropic(id.to_owned())),
            "brightdata" => return engine(&name).ok_or_else(unknown),
            _ => {}
        }
    }
    if let Some(route) = engine(&name) {
        return Ok(route);
    }
    let starts = |words: &[&str]| words.iter().any(|word| name.starts_with(word));
    if ["claude", "sonnet", "opus", "haiku"].iter().any(|word| name.contains(word)) {
        let id = if starts(&["sonnet", "opus", "haiku"]) { format!("claude-{name}") } else { name };
        return Ok(Route::Anthropic(id));
    }
    let o_series = name.strip_prefix('o').is_some_and(|rest| rest.starts_with(|character: char| character.is_ascii_digit()));
    if name.contains("gpt") || name.contains("4.1") || o_series {
        let id = if starts(&["4.1"]) { format!("gpt-{name}") } else { name };
        return Ok(Route::OpenAi(id));
    }
    Err(unknown())
}

/// The provider of a model.
///
/// # Errors
/// [`crate::ErrorKind::Config`]: unknown model, unknown price, or the variable of a missing key.
pub fn provider_for(model: &str, settings: &Settings) -> Result<Arc<dyn Provider>> {
    let scraped = |engine: &'static Engine| -> Result<Arc<dyn Provider>> {
        let price = price_of(&format!("brightdata/{}", engine.surface), settings)?;
        need_key(brightdata::KEY_VARIABLE, model, &settings.brightdata.api_key)?;
        engine.check_dataset(&settings.datasets)?;
        Ok(Arc::new(BrightData::new(model, engine, price, settings)))
    };
    match route(model)? {
        Route::ChatGpt => scraped(&CHATGPT),
        Route::Perplexity => scraped(&PERPLEXITY),
        Route::Gemini => scraped(&GEMINI),
        Route::Anthropic(id) => {
            let price = price_of(&id, settings)?;
            need_key(anthropic::KEY_VARIABLE, model, &settings.anthropic.api_key)?;
            Ok(Arc::new(Anthropic::new(model, &id, price, settings)))
        }
        Route::OpenAi(id) => {
            let price = price_of(&id, settings)?;
            need_key(openai::KEY_VARIABLE, model, &settings.openai.api_key)?;
            Ok(Arc::new(OpenAi::new(model, &id, price, settings)))
        }
    }
}

/// The extraction model.
///
/// # Errors
/// As [`provider_for`]; [`crate::ErrorKind::Unsupported`] for an engine behind Bright Data.
pub fn structured_model(model: &str, settings: &Settings) -> Result<Arc<dyn StructuredModel>> {
    match structured_route(model, settings)? {
        (Vendor::Anthropic(id), price) => Ok(Arc::new(AnthropicStructured::new(&id, price, settings))),
        (Vendor::OpenAi(id), price) => Ok(Arc::new(OpenAiStructured::new(&id, price, settings))),
    }
}

/// The extraction model inside its provider's batches, at their price.
///
/// # Errors
/// As [`structured_model`].
pub fn batch_model(model: &str, settings: &Settings) -> Result<Arc<dyn BatchModel>> {
    match structured_route(model, settings)? {
        (Vendor::Anthropic(id), price) => Ok(Arc::new(AnthropicStructured::new(&id, price.in_batch(), settings))),
        (Vendor::OpenAi(id), price) => Ok(Arc::new(OpenAiStructured::new(&id, price.in_batch(), settings))),
    }
}

/// Who has structured output, with the model id to send.
enum Vendor {
    Anthropic(String),
    OpenAi(String),
}

fn structured_route(model: &str, settings: &Settings) -> Result<(Vendor, Price)> {
    match route(model)? {
        Route::Anthropic(id) => {
            let price = price_of(&id, settings)?;
            need_key(anthropic::KEY_VARIABLE, model, &settings.anthropic.api_key)?;
            Ok((Vendor::Anthropic(id), price))
        }
        Route::OpenAi(id) => {
            let price = price_of(&id, settings)?;
            need_key(openai::KEY_VARIABLE, model, &settings.openai.api_key)?;
            Ok((Vendor::OpenAi(id), price))
        }
        Route::ChatGpt | Route::Perplexity | Route::Gemini => {
            let message =
                format!("model '{model}' has no structured output: set OVERHEARD_EXTRACTION_MODEL to one such as gpt-4.1-mini");
            Err(Error::new(ErrorKind::Unsupported, message)
                .with(|context| context.field = Some("OVERHEARD_EXTRACTION_MODEL".to_owned())))
        }
    }
}

fn need_key(variable: &str, model: &str, key: &Secret) -> Result<()> {
    if key.is_empty() {
        return Err(Error::config(variable, format!("{variable} is not set: model '{model}' needs it")));
    }
    Ok(())
}
