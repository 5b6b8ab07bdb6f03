//! A call with structured output: what extraction and the comparison of models ask of a language model, whoever serves it.

use std::borrow::Cow;

/// A prompt and the schema its answer must follow.
#[derive(Debug, Clone)]
pub struct StructuredRequest {
    /// `[A-Za-z0-9_-]{1,64}`.
    pub schema_name: Cow<'static, str>,
    /// A strict JSON schema: an object, every property required, no additional properties.
    pub schema: serde_json::Value,
    /// Instructions.
    pub system: String,
    /// The data, what is untrusted inside a fence.
    pub user: String,
}
