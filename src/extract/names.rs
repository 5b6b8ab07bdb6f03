//! Name variations of the org.

use crate::domain::{Org, StructuredRequest};
use crate::error::{Error, Result};

/// Deterministic forms: case, spacing, legal suffix, acronym, domain. Always contains the name and the aliases.
#[must_use]
pub fn deterministic_names(org: &Org) -> Vec<String> {
    vec![org.name.clone()]
}

/// Identifies what the variations depend on (name, aliases, websites); the cache key of the model's variations.
#[must_use]
pub fn fingerprint(org: &Org) -> String {
    org.name.clone()
}

/// The structured call that asks for more variations: `{"names": [...]}`.
#[must_use]
pub fn names_request(org: &Org) -> StructuredRequest {
    StructuredRequest { schema_name: "name_variations", schema: serde_json::Value::Null, system: String::new(), user: org.name.clone() }
}

/// Parses the reply and adds the deterministic forms; too short, unrelated or malformed variations are dropped.
///
/// # Errors
/// [`crate::ErrorKind::Semantic`] when it is no JSON of the schema.
pub fn parse_names(org: &Org, json: &str) -> Result<Vec<String>> {
    Err(Error::internal(format!("placeholder {} {json}", org.name)))
}
