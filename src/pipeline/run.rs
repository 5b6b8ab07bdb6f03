//! A run of a batch, from what the store and the journal already have to the summary. Start and resume are this one path.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::existing::Existing;
use super::extract::{self, ModelCalls};
use super::model_runs::ModelRuns;
use super::plan::{Bits, Matrix};
use super::session::Session;
use super::snapshot;
use super::spec::{Phase, RunSpec};
use super::takeover::{self, InFlightByPair, TakeOver};
use super::totals::Totals;
use super::work::{CarriedBy, Done, Job, Pair, QUEUE, Sink};
use super::{Context, custom, direct, names, resolve, save};
use crate::config::ExtractionMode;
use crate::domain::{Batch, CellKey, Extraction, MicroUsd, QuestionRun, Summary};
use crate::error::{Error, Result};
use crate::extract::Extractor;
use crate::host::{Host, Level};
use crate::journal::{Journal, Recovered};
use crate::providers::{self, Protocol, Provider};
use crate::store::Store;

/// Stored answers per page on their way to extraction.
const PAGE: usize = 200;
/// What tasks get to book their given up calls.
const ABORT_GRACE: Duration = Duration::from_secs(2);
/// Between two looks at the counters for progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Runs the batch against `store`.
pub(super) async fn run(
    context: Context,
    spec: RunSpec,
    host: Host,
    store: Arc<dyn Store>,
    stop: CancellationToken,
) -> Result<Summary> {
    spec.settings.check()?;
    let spec = Arc::new(spec);
    let matrix = Arc::new(Matrix::new(&spec)?);
    let providers = resolve_all(&spec)?;
    let model = match spec.extraction {
        ExtractionMode::Llm if spec.phase != Phase::Execute => {
            Some(providers::structured_model(&spec.settings.extraction_model, &spec.settings)?)
        }
        _ => None,
    };
    let (journal, recovered) = open_journal(&spec).await?;
    let spec = takeover::booked(spec, &recovered);
    let totals = Totals::default();
    plan_totals(&totals, &spec, &matrix);
    let existing = Existing::read(store.as_ref(), &spec, &matrix, &totals, &recovered.keys()).await?;
    if existing.done_count > 0 {
        host.log(
            Level::Info,
            format!("Resuming batch {}: {} questions skipped (already run)", spec.batch_id, existing.done_count),
        );
    }
    let spent = MicroUsd(existing.cost).plus(MicroUsd(spec.overhead_micro_usd));
    let budget = Budget::new(spec.max_cost_micro_usd.map(MicroUsd), spent);
    let settings = spec.settings.clone();
    let question_set = question_set(&matrix);
    let session =
        Arc::new(Session::new(context, settings, host, stop, budget, journal, totals, question_set, matrix.len() as u64));
    let calls = model.map(|model| Arc::new(ModelCalls { account: session.account(model.name(), None), model }));
    let mut run = Run { session, spec, matrix, store, providers, calls, existing };
    let result = run.work(recovered).await;
    run.session.journal.finish().await;
    result
}

struct Run {
    session: Arc<Session>,
    spec: Arc<RunSpec>,
    matrix: Arc<Matrix>,
    store: Arc<dyn Store>,
    providers: Vec<Arc<dyn Provider>>,
    calls: Option<Arc<ModelCalls>>,
    existing: Existing,
}

impl Run {
    async fn work(&mut self, mut recovered: Recovered) -> Result<Summary> {
        let spilled = takeover::spilled(&self.session, &self.spec, &self.matrix, &mut self.existing, &mut recovered);
        let mut model_runs = ModelRuns::new(&self.session, &self.spec, &self.providers);
        if self.session.settings.simulated {
            self.session.host.log(Level::Warning, "SIMULATED: a simulator answers, no provider is asked and nothing is charged");
        }
        self.save_batch(0, None).await?;
        model_runs.begin(self.store.as_ref()).await?;
        for model in self.matrix.models.iter() {
            self.session.learned.load(self.store.as_ref(), model).await;
        }
        let worked = self.stages(recovered, spilled, &model_runs).await;
        self.session.learned.save(self.store.as_ref()).await;
        if let Some(progress) = self.session.totals.changes() {
            self.session.host.progress(progress);
        }
        let overhead = match worked {
            Ok(overhead) => overhead,
            Err(error) => {
                // The rows say `queued` again if the store can still be told; the lease says it otherwise.
                let _ = model_runs.end(self.store.as_ref()).await;
                return Err(error);
            }
        };
        let complete = model_runs.end(self.store.as_ref()).await?;
        let finished = complete.then(|| self.session.context.clock.now_ms());
        self.save_batch(overhead, finished).await?;
        Ok(self.summary(complete))
    }

    /// Execution and extraction side by side; returns what the name variations cost.
    async fn stages(&self, recovered: Recovered, spilled: Vec<Arc<Extraction>>, model_runs: &ModelRuns) -> Result<i64> {
        let (sink, finished) = mpsc::channel::<Done>(QUEUE);
        let extracting = self.spec.phase != Phase::Execute;
        let (answers, answered) = mpsc::channel::<Arc<QuestionRun>>(QUEUE);
        let next = extracting.then(|| answers.clone());
        let (noted, to_save) = mpsc::channel(QUEUE);
        let journal = save::journaled(self.session.clone(), self.spec.clone(), finished, noted);
        let saver = save::question_runs(self.session.clone(), self.store.clone(), to_save, next);
        let execution = self.execution(recovered, sink);
        let backlog = self.backlog(answers);
        let extraction = self.extraction(answered, spilled);
        let heartbeat = self.heartbeat(model_runs);
        // `execution` and `backlog` end on their own; the savers end when their queues do. Whoever fails stops the run and
        // lets the others finish: an answer that is paid for must reach the store, or at least the journal.
        let work = async {
            let ((), noted, saved, read, extracted) =
                tokio::join!(execution, self.stopping(journal), self.stopping(saver), self.stopping(backlog), extraction);
            saved.and(noted).and(read).and(extracted)
        };
        let work = self.within_grace(work);
        tokio::pin!(work);
        tokio::select! {
            done = &mut work => done,
            failed = heartbeat => {
                self.session.stop.cancel();
                work.await.and(Err(failed))
            }
        }
    }

    /// Lets `work` end. After a stop, what is in flight when the grace is over is given up and booked.
    async fn within_grace<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        let grace = async {
            self.session.stop.cancelled().await;
            tokio::time::sleep(Duration::from_millis(self.session.settings.grace_ms)).await;
        };
        tokio::select! {
            done = &mut work => return done,
            () = grace => self.session.abort.cancel(),
        }
        work.await
    }

    async fn stopping<T>(&self, part: impl Future<Output = Result<T>>) -> Result<T> {
        let result = part.await;
        if result.is_err() {
            self.session.stop.cancel();
        }
        result
    }

    /// Phase 2. Ends when every pair is done, or its grace after a stop is over.
    async fn execution(&self, recovered: Recovered, sink: Sink) {
        if self.spec.phase == Phase::Extract {
            return;
        }
        let mut pairs = JoinSet::new();
        let takeover = TakeOver {
            session: &self.session,
            spec: &self.spec,
            matrix: &self.matrix,
            existing: &self.existing,
            providers: &self.providers,
        };
        let (in_flight, taken) = takeover.in_flight(recovered, &sink).await;
        self.start_pairs(&mut pairs, in_flight, &Arc::new(taken), &sink);
        drop(sink);
        tokio::select! {
            () = async { while pairs.join_next().await.is_some() {} } => return,
            () = self.session.abort.cancelled() => {}
        }
        // The tasks book what they give up; only what does not even notice the end of the grace is ended by force.
        let ended = async { while pairs.join_next().await.is_some() {} };
        if tokio::time::timeout(ABORT_GRACE, ended).await.is_err() {
            pairs.shutdown().await;
        }
    }

    fn start_pairs(&self, pairs: &mut JoinSet<()>, mut in_flight: InFlightByPair, taken: &Arc<Bits>, sink: &Sink) {
        for (model, provider) in self.providers.iter().enumerate() {
            let account = resolve::account(&self.session, provider.as_ref(), &self.spec.custom_providers);
            for (place, location) in self.matrix.locations.iter().enumerate() {
                let pair = Arc::new(Pair { provider: provider.clone(), account: account.clone(), location: location.clone() });
                let in_flight = in_flight.remove(&(model, place)).unwrap_or_default();
                let range = self.matrix.pair(model, place);
                let total = range.len() - taken.count(range.clone());
                if total == 0 && in_flight.is_empty() {
                    continue;
                }
                let (matrix, carried, web_search) = (self.matrix.clone(), self.existing.carried.clone(), self.spec.web_search);
                let taken = taken.clone();
                let jobs = range.filter(move |number| !taken.get(*number)).filter_map(move |number| {
                    let cell = matrix.cell(number)?;
                    Some(Job::of_cell(cell, web_search, carried.get(&number).copied().unwrap_or_default()))
                });
                let (session, sink) = (self.session.clone(), sink.clone());
                match provider.protocol() {
                    Protocol::Direct(_) => drop(pairs.spawn(direct::run(session, pair, jobs, sink))),
                    Protocol::Snapshot(_) => drop(pairs.spawn(snapshot::run(session, pair, in_flight, jobs, total, sink))),
                    Protocol::Host(_) => drop(pairs.spawn(custom::run(session, pair, jobs, sink))),
                }
            }
        }
    }

    /// Answers that are stored and not extracted.
    async fn backlog(&self, answers: mpsc::Sender<Arc<QuestionRun>>) -> Result<()> {
        if self.spec.phase == Phase::Execute || self.existing.unextracted == 0 {
            return Ok(());
        }
        let mut after = None;
        while !self.session.stop.is_cancelled() {
            let page = self.store.unextracted_runs(self.spec.batch_id.clone(), after.take(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.key.to_string());
            for run in page {
                let before = self.matrix.number(&run.key).is_some_and(|number| self.existing.backlog.get(number));
                if before && answers.send(Arc::new(run)).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Phases 1 and 3; returns what the name variations cost.
    async fn extraction(&self, answered: mpsc::Receiver<Arc<QuestionRun>>, spilled: Vec<Arc<Extraction>>) -> Result<i64> {
        if self.spec.phase == Phase::Execute {
            return Ok(0);
        }
        let session = &self.session;
        let (results, extracted) = mpsc::channel::<Arc<Extraction>>(QUEUE);
        let (matrix, carried) = (self.matrix.clone(), self.existing.extraction_carried.clone());
        let carried =
            move |key: &CellKey| matrix.number(key).and_then(|number| carried.get(&number).copied()).unwrap_or_default();
        let carried: Arc<CarriedBy> = Arc::new(carried);
        let all_asked = self.spec.phase == Phase::Extract || self.existing.done_count >= self.matrix.len() as u64;
        let nothing_to_do = all_asked && self.existing.unextracted == 0;
        let saver = save::extractions(session.clone(), self.store.clone(), carried, extracted);
        let stage = async {
            for extraction in spilled {
                let _ = results.send(extraction).await; // a failed saver reports itself
            }
            if nothing_to_do {
                return Ok(0); // a start of a finished batch makes no call
            }
            let (names, cost, maybe) =
                names::variations(session, self.store.as_ref(), &self.spec.org, self.calls.as_deref()).await;
            session.totals.overhead(cost, maybe);
            if cost != 0 {
                // Booked now: a start that dies later was charged all the same.
                session.journal.overhead(self.spec.overhead_micro_usd + cost).await?;
                self.save_batch(cost, None).await?;
            }
            let extractor = Arc::new(Extractor::new(&self.spec.org, &names));
            extract::run(session.clone(), self.spec.extraction, self.calls.clone(), extractor, answered, results).await;
            Ok(cost)
        };
        // The stage owns `results`; when it ends, the saver's queue ends.
        let (overhead, saved) = tokio::join!(self.stopping(stage), saver);
        saved.and(overhead)
    }

    /// Progress events and lease renewals while the stages work. Ends only with an error.
    async fn heartbeat(&self, model_runs: &ModelRuns) -> Error {
        let mut ticks = tokio::time::interval(PROGRESS_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(progress) = self.session.totals.changes() {
                self.session.host.progress(progress);
            }
            if let Err(error) = model_runs.renew(self.store.as_ref()).await {
                return error;
            }
        }
    }

    async fn save_batch(&self, overhead: i64, finished_at_ms: Option<i64>) -> Result<()> {
        let spec = &self.spec;
        let config = serde_json::json!({
            "models": spec.models.iter().map(|model| &model.model).collect::<Vec<_>>(),
            "locations": self.matrix.locations,
            "questions": spec.questions.iter().map(|question| &question.id).collect::<Vec<_>>(),
            "repeats": spec.repeats,
            "extraction": spec.extraction,
            "extraction_model": spec.settings.extraction_model,
            "max_cost_micro_usd": spec.max_cost_micro_usd,
        });
        let batch = Batch {
            batch_id: spec.batch_id.clone(),
            org_id: spec.org.id.clone(),
            batch_key: spec.batch_key.clone(),
            batch_size: spec.batch_size,
            config,
            overhead_micro_usd: spec.overhead_micro_usd + overhead,
            created_at_ms: spec.created_at_ms.unwrap_or_else(|| self.session.context.clock.now_ms()),
            finished_at_ms,
        };
        save::hand_over(&self.session, "save_batch", || self.store.save_batch(batch.clone())).await?;
        self.session.journal.overhead_acknowledged();
        Ok(())
    }

    fn summary(&self, complete: bool) -> Summary {
        let mut summary = self.session.totals.summary();
        summary.batch_id.clone_from(&self.spec.batch_id);
        summary.org_id.clone_from(&self.spec.org.id);
        summary.status = if complete { "complete" } else { "partial" }.to_owned();
        summary.requests_made = self.session.requests();
        summary.interrupted = self.session.stop.is_cancelled() && !complete;
        let over = self.session.budget.over_reserved();
        if over > MicroUsd::ZERO {
            self.session.host.log(Level::Warning, format!("${over} were charged above what was reserved"));
        }
        self.session.host.log(
            Level::Info,
            format!(
                "Question matrix completed: {} processed, {} evaluations, {} citations, {} competitors, ${} total cost",
                summary.processed,
                summary.evaluations,
                summary.citations,
                summary.competitors,
                MicroUsd(summary.total_cost_micro_usd)
            ),
        );
        summary
    }
}

fn plan_totals(totals: &Totals, spec: &RunSpec, matrix: &Matrix) {
    for model in &matrix.models {
        for location in &matrix.locations {
            totals.plan(model, &location.to_string(), matrix.cells_per_pair() as u64);
        }
    }
    totals.overhead(spec.overhead_micro_usd, 0);
}

fn resolve_all(spec: &RunSpec) -> Result<Vec<Arc<dyn Provider>>> {
    if spec.phase == Phase::Extract {
        return Ok(Vec::new());
    }
    spec.models.iter().map(|model| resolve::provider(&model.model, &spec.custom_providers, &spec.settings)).collect()
}

async fn open_journal(spec: &RunSpec) -> Result<(Journal, Recovered)> {
    if spec.settings.journal.is_empty() {
        return Ok((Journal::none(), Recovered::default()));
    }
    let (folder, batch_id) = (spec.settings.journal.clone(), spec.batch_id.clone());
    let models: Vec<String> = spec.models.iter().map(|model| model.model.clone()).collect();
    let opened = tokio::task::spawn_blocking(move || Journal::open(Path::new(&folder), &batch_id, &models)).await;
    opened.map_err(|error| Error::internal(format!("the journal's opening ended: {error}")))?
}

/// Identifies the question set, for what is learned about it.
fn question_set(matrix: &Matrix) -> String {
    use sha2::Digest;
    let mut hash = sha2::Sha256::new();
    for question in &matrix.questions {
        hash.update(question.text.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
