//! Phase 1: the org's name variations, once. From the model, cached in the store by what they depend on; without a model, or
//! when it fails, the deterministic forms.

use super::extract::{ModelCalls, structured};
use super::model_runs::ModelRuns;
use super::session::Session;
use crate::domain::Org;
use crate::error::{ErrorKind, Result};
use crate::extract::{deterministic_names, fingerprint, names_request, parse_names};
use crate::host::Level;
use crate::journal::Call;
use crate::store::Store;

/// The variations.
///
/// # Errors
/// What they cost could not be noted, or not be stored. A call that failed is no error: see above.
pub(super) async fn variations(
    session: &Session,
    store: &dyn Store,
    model_runs: &ModelRuns,
    org: &Org,
    calls: Option<&ModelCalls>,
) -> Result<Vec<String>> {
    let Some(calls) = calls else { return Ok(deterministic_names(org)) };
    let fact = fact(org, calls.model.model());
    let cached = store.load_fact(fact.clone()).await.ok().flatten();
    if let Some(names) = cached.and_then(|json| serde_json::from_str::<Vec<String>>(&json).ok()) {
        session.host.log(Level::Info, format!("Name variations of {}: {} from the cache", org.name, names.len()));
        return Ok(names);
    }
    let (names, bill) = structured(session, calls, (None, Call::Names), names_request(org), |json| parse_names(org, json)).await;
    let money = (bill.cost().unwrap_or_default().0, bill.maybe_charged().0);
    if money != (0, 0) {
        // Before the names are kept: with them in the store nobody asks again, and a start that died in between would leave a
        // call that was answered as one that may have been charged.
        session.book_overhead(None, money).await?;
        model_runs.save_overhead(store).await?;
    }
    match names {
        Ok(names) => {
            session.host.log(Level::Info, format!("Name variations of {}: {}", org.name, names.len()));
            if let Ok(json) = serde_json::to_string(&names) {
                let _ = store.save_fact(fact, json).await; // without the cache the next run asks again
            }
            Ok(names)
        }
        Err(error) => {
            session.host.log(Level::Warning, format!("Name variations: the deterministic forms are used, because {error}"));
            if error.kind != ErrorKind::Cancelled {
                session.totals.error(error);
            }
            Ok(deterministic_names(org))
        }
    }
}

/// The fact under which the store keeps them.
pub(super) fn fact(org: &Org, model: &str) -> String {
    format!("names:{model}:{}", fingerprint(org))
}
