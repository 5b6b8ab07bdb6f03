//! What a start holds before it reads what there is: its leases, its journal, and what earlier starts left in that. Asks nobody.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::Context;
use super::existing::Existing;
use super::leases::Leases;
use super::plan::Matrix;
use super::spec::{Phase, RunSpec};
use super::totals::Totals;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::journal::{Journal, Recovered};
use crate::store::Store;

pub(super) struct Opened {
    pub(super) leases: Arc<Leases>,
    pub(super) journal: Journal,
    pub(super) recovered: Recovered,
    /// The batch has ended and nothing of it is open: nothing is written, so nothing is leased.
    pub(super) idle: bool,
}

/// The leases, then the journal. A batch that has ended is looked at first: where nothing is open, there is nothing to lease.
pub(super) async fn open(
    context: &Context,
    spec: &RunSpec,
    matrix: &Matrix,
    host: &Host,
    store: &Arc<dyn Store>,
) -> Result<Opened> {
    if !spec.ended || is_open(spec, matrix, store).await? {
        let leases = Leases::acquire(context, spec, store, host).await?;
        return match open_journal(context, spec, leases.are_held()).await {
            Ok((journal, recovered)) => Ok(Opened { leases: Arc::new(leases), journal, recovered, idle: false }),
            Err(error) => {
                leases.release(host).await;
                Err(error)
            }
        };
    }
    let (journal, recovered) = open_journal(context, spec, false).await?;
    if is_nothing(&recovered) {
        let leases = Leases::none(context, spec.owner.clone(), spec.settings.lease_ms);
        return Ok(Opened { leases: Arc::new(leases), journal, recovered, idle: true });
    }
    match Leases::acquire(context, spec, store, host).await {
        Ok(leases) => Ok(Opened { leases: Arc::new(leases), journal, recovered, idle: false }),
        Err(error) => {
            journal.finish().await;
            Err(error)
        }
    }
}

/// True when the store says that something is to be asked or extracted.
async fn is_open(spec: &RunSpec, matrix: &Matrix, store: &Arc<dyn Store>) -> Result<bool> {
    let existing = Existing::read(store.as_ref(), spec, matrix, &Totals::default(), &HashSet::new()).await?;
    let to_ask = spec.phase != Phase::Extract && existing.done_count < matrix.len() as u64;
    Ok(to_ask || (spec.phase != Phase::Execute && existing.unextracted > 0))
}

fn is_nothing(recovered: &Recovered) -> bool {
    recovered.overhead.is_empty()
        && recovered.keys().is_empty()
        && recovered.extraction_batches.is_empty()
        && recovered.extractions.is_empty()
        && recovered.asked.is_empty()
}

async fn open_journal(context: &Context, spec: &RunSpec, leased: bool) -> Result<(Journal, Recovered)> {
    if spec.settings.journal.is_empty() {
        return Ok((Journal::none(), Recovered::default()));
    }
    let (folder, batch_id) = (spec.settings.journal.clone(), spec.batch_id.clone());
    let models: Vec<String> = spec.models.iter().map(|model| model.model.clone()).collect();
    let disk = context.disk.clone();
    let open = move || Journal::open_leased(disk, Path::new(&folder), &batch_id, &models, leased);
    if context.disk.is_instant() {
        return open();
    }
    let opened = tokio::task::spawn_blocking(open).await;
    opened.map_err(|error| Error::internal(format!("the journal's opening ended: {error}")))?
}
