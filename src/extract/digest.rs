//! The digest of what an org's entry tells the rules. Equal digest and equal extractor version: extracting the same answer by
//! rules again gives the same. Whatever a rule reads of [`Org`] must be in here.

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::domain::Org;

/// Bytes of the digest that are kept: 16 hexadecimal digits.
const KEPT: usize = 8;

/// 16 hexadecimal digits over names, websites, competitors, confusables, homonyms, context and the name variations. What is asked,
/// of whom and from where is not in it; nor is the order of the variations.
pub(super) fn rules_digest(org: &Org, names: &[String]) -> String {
    let mut variations: Vec<&str> = names.iter().map(String::as_str).collect();
    variations.sort_unstable();
    variations.dedup();
    let key = json!([
        org.name,
        org.websites,
        org.aliases,
        org.competitors,
        org.confusables,
        org.homonyms,
        org.context,
        org.keep_apart,
        variations,
    ])
    .to_string();
    Sha256::digest(key.as_bytes()).iter().take(KEPT).map(|byte| format!("{byte:02x}")).collect()
}
