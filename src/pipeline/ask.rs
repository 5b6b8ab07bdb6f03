//! A plain list of questions for one model: no store, no journal, one outcome per question in order.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::leases::Leases;
use super::session::Session;
use super::spec::AskSpec;
use super::totals::Totals;
use super::work::{Job, Pair, QUEUE};
use super::{Context, custom, direct, resolve, snapshot};
use crate::domain::Outcome;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::journal::Journal;
use crate::providers::{Ask, Protocol};

pub(super) async fn ask(context: Context, spec: AskSpec, host: Host) -> Result<Vec<Outcome>> {
    spec.settings.check()?;
    let host = host.redacting(spec.settings.redactor());
    let provider = resolve::provider(&spec.model, &spec.custom_providers, &spec.settings)?;
    let count = spec.questions.len();
    let budget = Budget::none();
    let stop = CancellationToken::new();
    let leases = Arc::new(Leases::none(&context, None, spec.settings.lease_ms)); // a plain list belongs to no batch
    let (journal, totals) = (Journal::none(), Totals::default());
    let session = Session::new(context, spec.settings, host, stop, budget, journal, leases, totals, String::new(), count as u64);
    let session = Arc::new(session);
    let account = resolve::account(&session, provider.as_ref(), &spec.custom_providers);
    let location = Arc::new(spec.location.unwrap_or_default());
    let stop = session.model_stop(provider.model());
    let pair = Arc::new(Pair {
        provider: provider.clone(),
        account: account.clone(),
        stop: stop.clone(),
        location: location.clone(),
        queries: None,
    });
    let (web_search, asked_from) = (spec.web_search, (!location.is_anywhere()).then_some(location));
    let jobs = spec.questions.into_iter().enumerate().map(move |(position, question)| {
        let ask = Ask { key: position.to_string().into(), question: question.into(), location: asked_from.clone(), web_search };
        Job { ask, position, cell: None, carried: (0, 0), counted: (0, 0), wanted: true }
    });
    let (sink, mut finished) = mpsc::channel(QUEUE);
    let execution = async {
        match provider.protocol() {
            Protocol::Direct(_) => direct::run(session.clone(), pair, jobs, sink).await,
            Protocol::Snapshot(_) => snapshot::run(session.clone(), pair, Vec::new(), None, jobs, count, sink).await,
            Protocol::Host(_) => custom::run(session.clone(), pair, jobs, sink).await,
        }
    };
    let collection = async {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; count];
        while let Some(done) = finished.recv().await {
            if let Some(place) = outcomes.get_mut(done.job.position) {
                let mut outcome = done.outcome.unwrap_or_else(Outcome::failed);
                outcome.carry(done.job.carried);
                *place = Some(outcome);
            }
        }
        outcomes
    };
    let ((), outcomes) = tokio::join!(execution, collection);
    let missing = || {
        session
            .fatal()
            .or_else(|| account.stopped())
            .or_else(|| stop.stopped())
            .unwrap_or_else(|| Error::internal("the question was not asked"))
    };
    Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| Outcome::failed(missing()))).collect())
}
