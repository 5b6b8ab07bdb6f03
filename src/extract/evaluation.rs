//! Placeholder.
use crate::domain::StructuredRequest;
pub(super) fn request(text: &str, nonce: &str) -> StructuredRequest {
    StructuredRequest { schema_name: "x", schema: serde_json::Value::Null, system: nonce.into(), user: text.into() }
}
