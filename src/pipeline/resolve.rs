//! From model names to providers: the user's own first, then the routing rules.

use std::sync::Arc;

use super::account::Account;
use super::custom::HostProvider;
use super::session::Session;
use super::spec::CustomProvider;
use crate::config::Settings;
use crate::error::Result;
use crate::providers::{self, Provider};

/// The provider of a model.
///
/// # Errors
/// [`crate::ErrorKind::Config`]: unknown model, unknown price, missing key.
pub(super) fn provider(model: &str, custom: &[CustomProvider], settings: &Settings) -> Result<Arc<dyn Provider>> {
    match custom.iter().find(|provider| provider.name.eq_ignore_ascii_case(model)) {
        Some(spec) => Ok(Arc::new(HostProvider::new(spec.clone()))),
        None => providers::provider_for(model, settings),
    }
}

/// The account of a provider within a session.
pub(super) fn account(session: &Session, provider: &dyn Provider, custom: &[CustomProvider]) -> Arc<Account> {
    let own = custom.iter().find(|spec| spec.name == provider.name()).map(|spec| spec.max_in_flight.max(1));
    session.account(provider.name(), own)
}
