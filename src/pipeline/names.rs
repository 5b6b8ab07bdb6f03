//! Phase 1: the org's name variations, once. From the model, cached in the store by what they depend on; without a model, or
//! when it fails, the deterministic forms.

use super::extract::{ModelCalls, structured};
use super::session::Session;
use crate::domain::Org;
use crate::error::ErrorKind;
use crate::extract::{deterministic_names, fingerprint, names_request, parse_names};
use crate::host::Level;
use crate::store::Store;

/// The variations, and what they cost this time (charged, maybe charged).
pub(super) async fn variations(
    session: &Session,
    store: &dyn Store,
    org: &Org,
    calls: Option<&ModelCalls>,
) -> (Vec<String>, i64, i64) {
    let Some(calls) = calls else { return (deterministic_names(org), 0, 0) };
    let fact = format!("names:{}:{}", calls.model.model(), fingerprint(org));
    let cached = store.load_fact(fact.clone()).await.ok().flatten();
    if let Some(names) = cached.and_then(|json| serde_json::from_str::<Vec<String>>(&json).ok()) {
        session.host.log(Level::Info, format!("Name variations of {}: {} from the cache", org.name, names.len()));
        return (names, 0, 0);
    }
    let (names, bill) = structured(session, calls, "name variations", names_request(org), |json| parse_names(org, json)).await;
    let (cost, maybe) = (bill.cost().unwrap_or_default().0, bill.maybe_charged().0);
    match names {
        Ok(names) => {
            session.host.log(Level::Info, format!("Name variations of {}: {}", org.name, names.len()));
            if let Ok(json) = serde_json::to_string(&names) {
                let _ = store.save_fact(fact, json).await; // without the cache the next run asks again
            }
            (names, cost, maybe)
        }
        Err(error) => {
            session.host.log(Level::Warning, format!("Name variations: the deterministic forms are used, because {error}"));
            if error.kind != ErrorKind::Cancelled {
                session.totals.error(error);
            }
            (deterministic_names(org), cost, maybe)
        }
    }
}
