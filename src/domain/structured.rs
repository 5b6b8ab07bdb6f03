//! A call with structured output: what extraction asks of a language model, whoever serves it.

/// A prompt and the schema its answer must follow.
#[derive(Debug, Clone)]
pub struct StructuredRequest {
    /// `[A-Za-z0-9_-]{1,64}`.
    pub schema_name: &'static str,
    /// A strict JSON schema: an object, every property required, no additional properties.
    pub schema: serde_json::Value,
    /// Instructions.
    pub system: String,
    /// The data, the untrusted answer inside a fence.
    pub user: String,
}
