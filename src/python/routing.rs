//! What Python asks about a model before anything is sent: who answers, and how many questions go into a submission.
//! Routing itself is `providers`; this only carries it across.

use pyo3::prelude::*;

use super::error::raise;
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::providers;

/// `{"provider", "title", "surface", "max_batch_size"}` of a model as JSON; raises `ConfigError` as a run would.
#[pyfunction]
#[pyo3(signature = (model, settings_json, /))]
pub(super) fn provider_facts(py: Python<'_>, model: &str, settings_json: &str) -> PyResult<String> {
    facts(model, settings_json).map_err(|error| raise(py, &error))
}

fn facts(model: &str, settings_json: &str) -> Result<String> {
    let settings: Settings = serde_json::from_str(settings_json)
        .map_err(|error| Error::internal(format!("the settings are not as agreed: {}", super::session::why(&error))))?;
    settings.check()?;
    let provider = providers::provider_for(model, &settings)?;
    let facts = serde_json::json!({
        "provider": provider.name(),
        "title": provider.title(),
        "surface": provider.surface(),
        "max_batch_size": provider.max_batch_size(),
    });
    Ok(facts.to_string())
}
