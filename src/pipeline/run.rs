//! A run of a batch, from what the store and the journal already have to the summary. Start and resume are this one path.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::existing::Existing;
use super::extract::{self, ModelCalls};
use super::model_runs::ModelRuns;
use super::open::{self, Opened};
use super::overhead::Overhead;
use super::plan::{Bits, Matrix};
use super::queries::Queries;
use super::session::Session;
use super::snapshot::{self, Unseen};
use super::spec::{Phase, RunSpec};
use super::takeover::{self, InFlightByPair, TakeOver};
use super::totals::Totals;
use super::work::{CarriedBy, Done, Job, Pair, QUEUE, Sink};
use super::{Context, custom, direct, extract_batch, names, quote, resolve, save};
use crate::config::ExtractionMode;
use crate::domain::{Batch, CellKey, Extraction, MicroUsd, PreviousJournal, QuestionRun, Summary};
use crate::error::{Error, ErrorKind, Result};
use crate::extract::Extractor;
use crate::host::{Host, Level};
use crate::journal::{Call, Recovered};
use crate::providers::{self, Protocol, Provider, StructuredModel};
use crate::store::Store;

/// Stored answers per page on their way to extraction.
const PAGE: usize = 200;
/// What tasks get to book their given up calls.
const ABORT_GRACE: Duration = Duration::from_secs(2);
/// Between two looks at the counters for progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Runs the batch against `store`. The leases come first: what is read before them may be another start's work.
pub(super) async fn run(
    context: Context,
    spec: RunSpec,
    host: Host,
    store: Arc<dyn Store>,
    stop: CancellationToken,
) -> Result<Summary> {
    spec.settings.check()?;
    let host = host.redacting(spec.settings.redactor());
    let spec = Arc::new(spec);
    let matrix = Arc::new(Matrix::new(&spec)?);
    let providers = resolve_all(&spec)?;
    let model = match spec.extraction {
        mode if mode.asks_a_model() && spec.phase != Phase::Execute => {
            Some(providers::structured_model(&spec.settings.extraction_model, &spec.settings)?)
        }
        _ => None,
    };
    let opened = open::open(&context, &spec, &matrix, &host, &store).await?;
    let leases = opened.leases.clone();
    let plan = Resolved { spec, matrix, providers, model };
    // Boxed, here and below: a state machine of the whole run by value would fill a thread's stack in a build without optimisation.
    let result = Box::pin(opened_run(context, plan, &host, store, stop, opened)).await;
    leases.release(&host).await;
    result
}

/// What is asked of whom.
struct Resolved {
    spec: Arc<RunSpec>,
    matrix: Arc<Matrix>,
    providers: Vec<Arc<dyn Provider>>,
    model: Option<Arc<dyn StructuredModel>>,
}

async fn opened_run(
    context: Context,
    Resolved { spec, matrix, providers, model }: Resolved,
    host: &Host,
    store: Arc<dyn Store>,
    stop: CancellationToken,
    Opened { leases, journal, recovered, idle }: Opened,
) -> Result<Summary> {
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
    tell_plan(host, &spec, &matrix, &providers, &existing)?;
    let overhead = spec.batch_overhead_micro_usd + spec.batch_overhead_maybe_charged_micro_usd;
    let spent = MicroUsd(existing.cost).plus(MicroUsd(overhead));
    let budget = Budget::new(spec.cap(spent), spent);
    let settings = spec.settings.clone();
    let question_set = question_set(&matrix);
    let (host, cells) = (host.clone(), matrix.len() as u64);
    let mut session = Session::new(context, settings, host, stop, budget, journal, leases, totals, question_set, cells);
    session.unreplied = unreplied(&recovered);
    session.overhead = Overhead::of_start(&spec);
    let session = Arc::new(session);
    let calls = model.map(|model| Arc::new(ModelCalls::new(&session, model)));
    let mut run = Run { session, spec, matrix, store, providers, calls, existing, idle };
    let result = run.work(recovered).await;
    run.session.journal.finish().await;
    result
}

/// What earlier starts left for phase 3.
struct Extracting {
    /// Paid extractions that the store did not take.
    spilled: Vec<Arc<Extraction>>,
    /// Submissions at the extraction model's provider.
    batches: Vec<extract_batch::InFlight>,
}

struct Run {
    session: Arc<Session>,
    spec: Arc<RunSpec>,
    matrix: Arc<Matrix>,
    store: Arc<dyn Store>,
    providers: Vec<Arc<dyn Provider>>,
    calls: Option<Arc<ModelCalls>>,
    existing: Existing,
    idle: bool,
}

impl Run {
    async fn work(&mut self, mut recovered: Recovered) -> Result<Summary> {
        let lost_names = takeover::unreplied(&self.session, self.spec.phase, &self.matrix, &mut self.existing, &recovered);
        if lost_names > MicroUsd::ZERO {
            self.session.budget.correct(lost_names);
            self.session.book_overhead(None, (0, lost_names.0)).await?;
        }
        let spilled = takeover::spilled(&self.session, &self.spec, &self.matrix, &mut self.existing, &mut recovered);
        let batches =
            takeover::extraction_batches(&self.session, &self.spec, &self.matrix, &mut self.existing, &mut recovered).await;
        let mut model_runs = ModelRuns::new(&self.session, &self.spec, &self.providers, self.idle);
        if self.session.settings.simulated {
            self.session.host.log(Level::Warning, "SIMULATED: a simulator answers, no provider is asked and nothing is charged");
        }
        self.save_batch(None).await?;
        model_runs.begin(self.store.as_ref()).await?;
        for model in self.matrix.models.iter() {
            self.session.learned.load(self.store.as_ref(), model).await;
        }
        let worked = self.stages(recovered, Extracting { spilled, batches }, &model_runs).await;
        let worked = self.session.fatal().map_or(worked, Err);
        if !self.idle {
            self.session.learned.save(self.store.as_ref()).await;
        }
        if let Some(progress) = self.session.totals.changes() {
            self.session.host.progress(progress);
        }
        if let Err(error) = worked {
            // The rows say `queued` again if the store can still be told; the lease says it otherwise.
            let _ = model_runs.end(self.store.as_ref()).await;
            return Err(error);
        }
        let complete = model_runs.end(self.store.as_ref()).await?;
        let finished = complete.then(|| self.session.context.clock.now_ms());
        self.save_batch(finished).await?;
        Ok(self.summary(complete))
    }

    /// Execution and extraction side by side.
    async fn stages(&self, recovered: Recovered, left: Extracting, model_runs: &ModelRuns) -> Result<()> {
        let (sink, finished) = mpsc::channel::<Done>(QUEUE);
        let extracting = self.spec.phase != Phase::Execute;
        let (answers, answered) = mpsc::channel::<Arc<QuestionRun>>(QUEUE);
        let next = extracting.then(|| answers.clone());
        let (noted, to_save) = mpsc::channel(QUEUE);
        let journal = save::journaled(self.session.clone(), self.spec.clone(), finished, noted);
        let saver = save::question_runs(self.session.clone(), self.store.clone(), to_save, next);
        let execution = Box::pin(self.execution(recovered, sink));
        let backlog = Box::pin(self.backlog(answers));
        let extraction = Box::pin(self.extraction(answered, left, model_runs));
        let heartbeat = self.heartbeat(model_runs);
        // `execution` and `backlog` end on their own; the savers end when their queues do. Whoever fails stops the run and
        // lets the others finish: an answer that is paid for must reach the store, or at least the journal.
        let work = async {
            let ((), noted, saved, read, extracted) =
                tokio::join!(execution, self.stopping(journal), self.stopping(saver), self.stopping(backlog), extraction);
            saved.and(noted).and(read).and(extracted)
        };
        let work = self.session.within_grace(work);
        tokio::pin!(work);
        tokio::select! {
            biased;
            done = &mut work => done,
            failed = heartbeat => {
                self.session.stop.cancel();
                work.await.and(Err(failed))
            }
        }
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
            biased;
            () = self.ending(&mut pairs) => return,
            () = self.session.abort.cancelled() => {}
        }
        // The tasks book what they give up; only what does not even notice the end of the grace is ended by force.
        if tokio::time::timeout(ABORT_GRACE, self.ending(&mut pairs)).await.is_err() {
            pairs.shutdown().await;
        }
    }

    async fn ending(&self, pairs: &mut JoinSet<()>) {
        while let Some(ended) = pairs.join_next().await {
            self.session.ended(ended);
        }
    }

    fn start_pairs(&self, pairs: &mut JoinSet<()>, mut in_flight: InFlightByPair, taken: &Arc<Bits>, sink: &Sink) {
        for (model, provider) in self.providers.iter().enumerate() {
            let account = resolve::account(&self.session, provider.as_ref(), &self.spec.custom_providers);
            let stop = self.session.model_stop(provider.model());
            let elsewhere = self.elsewhere(provider.as_ref());
            let queries = Some(Arc::new(self.queries(model, provider.as_ref(), taken)));
            for (place, location) in self.matrix.locations.iter().enumerate() {
                let pair = Arc::new(Pair {
                    provider: provider.clone(),
                    account: account.clone(),
                    stop: stop.clone(),
                    location: location.clone(),
                    queries: queries.clone(),
                });
                let in_flight = in_flight.remove(&(model, place)).unwrap_or_default();
                let range = self.matrix.pair(model, place);
                let total = range.len() - taken.count(range.clone());
                if total == 0 && in_flight.is_empty() {
                    self.session.found_unseen(provider.model());
                    continue;
                }
                let unseen = elsewhere.as_ref().map(|previous| self.unseen(previous, model, place));
                let (matrix, carried, web_search) = (self.matrix.clone(), self.existing.carried.clone(), self.spec.web_search);
                let taken = taken.clone();
                let jobs = range.filter(move |number| !taken.get(*number)).filter_map(move |number| {
                    let cell = matrix.cell(number)?;
                    Some(Job::of_cell(cell, web_search, carried.get(&number).copied().unwrap_or_default()))
                });
                let (session, sink) = (self.session.clone(), sink.clone());
                match provider.protocol() {
                    Protocol::Direct(_) => drop(pairs.spawn(Box::pin(direct::run(session, pair, jobs, sink)))),
                    Protocol::Snapshot(_) => {
                        drop(pairs.spawn(Box::pin(snapshot::run(session, pair, in_flight, unseen, jobs, total, sink))))
                    }
                    Protocol::Host(_) => drop(pairs.spawn(Box::pin(custom::run(session, pair, jobs, sink)))),
                }
            }
        }
    }

    /// What is said of a model's queries as their calls begin.
    fn queries(&self, model: usize, provider: &dyn Provider, taken: &Bits) -> Queries {
        let label = self.spec.models.get(model).and_then(|spec| spec.label.clone());
        let pairs = (0..self.matrix.locations.len()).map(|place| self.matrix.pair(model, place));
        let (total, done) = pairs.fold((0, 0), |(total, done), range| (total + range.len(), done + taken.count(range)));
        Queries::new(label.unwrap_or_else(|| provider.title().to_owned()), total as u64, done as u64)
    }

    /// Where a model was worked on with a journal that is not here.
    fn elsewhere(&self, provider: &dyn Provider) -> Option<PreviousJournal> {
        let model = provider.model();
        let previous = self.session.unseen_journal(model)?;
        let host = previous.host.as_deref().unwrap_or("another host");
        let looks = matches!(provider.protocol(), Protocol::Snapshot(_));
        let what =
            if looks { "what it bought is looked for at the provider" } else { "answers that are only there are asked again" };
        self.session
            .host
            .log(Level::Warning, format!("{model} was worked on with a journal on {host} that cannot be seen here: {what}"));
        self.session.looks_for_unseen(model, if looks { self.matrix.locations.len() } else { 0 });
        looks.then_some(previous)
    }

    /// What is known of it for a pair.
    fn unseen(&self, previous: &PreviousJournal, model: usize, place: usize) -> Unseen {
        let now = self.session.context.clock.now_ms();
        let ask = |number| self.matrix.cell(number).map(|cell| Job::of_cell(cell, self.spec.web_search, (0, 0)).ask);
        let stored_of = |place| self.matrix.pair(model, place).filter(|number| self.existing.done.get(*number)).filter_map(ask);
        let locations = &self.matrix.locations;
        let others = (0..locations.len()).filter(|other| *other != place);
        let anywhere = locations.iter().any(|location| location.is_anywhere());
        Unseen {
            since_ms: self.spec.created_at_ms.unwrap_or(now),
            last_alive_ms: previous.last_alive_ms.unwrap_or(now),
            stored: stored_of(place).collect(),
            elsewhere: (!anywhere).then(|| others.flat_map(stored_of).map(|ask| ask.question).collect()),
        }
    }

    /// Answers that are stored and not extracted.
    async fn backlog(&self, answers: mpsc::Sender<Arc<QuestionRun>>) -> Result<()> {
        if self.spec.phase == Phase::Execute || self.existing.unextracted == 0 {
            return Ok(());
        }
        let mut after = None;
        while !self.session.stop.is_cancelled() {
            let page = || self.store.unextracted_runs(self.spec.batch_id.clone(), after.clone(), PAGE);
            let page = save::hand_over(&self.session, "question_runs", page).await?;
            let Some(last) = page.last().map(|run| run.key.to_string()) else { return Ok(()) };
            if after.as_ref() == Some(&last) {
                let message = "the callback question_runs returned the same page twice: a page begins after the key it is given";
                return Err(Error::new(ErrorKind::Host, message));
            }
            after = Some(last);
            for run in page {
                let before = self.matrix.number(&run.key).is_some_and(|number| self.existing.backlog.get(number));
                if before && answers.send(Arc::new(run)).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Phases 1 and 3.
    async fn extraction(
        &self,
        answered: mpsc::Receiver<Arc<QuestionRun>>,
        left: Extracting,
        model_runs: &ModelRuns,
    ) -> Result<()> {
        if self.spec.phase == Phase::Execute {
            return Ok(());
        }
        let session = &self.session;
        let (results, extracted) = mpsc::channel::<Arc<Extraction>>(QUEUE);
        let (matrix, carried) = (self.matrix.clone(), self.existing.extraction_carried.clone());
        let carried =
            move |key: &CellKey| matrix.number(key).and_then(|number| carried.get(&number).copied()).unwrap_or_default();
        let carried: Arc<CarriedBy> = Arc::new(carried);
        let all_asked = self.spec.phase == Phase::Extract || self.existing.done_count >= self.matrix.len() as u64;
        let nothing_to_do = all_asked && self.existing.unextracted == 0;
        let saver = save::extractions(session.clone(), self.store.clone(), carried.clone(), extracted);
        let stage = async {
            for extraction in left.spilled {
                let _ = results.send(extraction).await; // a failed saver reports itself
            }
            if nothing_to_do {
                return Ok(()); // a start of a finished batch makes no call
            }
            let calls = self.calls.as_deref();
            let names = names::variations(session, self.store.as_ref(), model_runs, &self.spec.org, calls).await?;
            let extractor = Arc::new(Extractor::new(&self.spec.org, &names));
            if let (ExtractionMode::LlmBatch, Some(calls)) = (self.spec.extraction, &self.calls) {
                let results = extract_batch::Results { sender: results, carried };
                let work = extract_batch::Work::new(session, calls.clone(), extractor, results, &self.spec.batch_id)?;
                let (store, batch_id, matrix) = (self.store.clone(), self.spec.batch_id.clone(), self.matrix.clone());
                let source = extract_batch::Source { store, batch_id, matrix };
                return extract_batch::run(work, source, answered, left.batches).await;
            }
            extract::run(session.clone(), self.spec.extraction, self.calls.clone(), extractor, answered, results).await;
            Ok(())
        };
        // The stage owns `results`; when it ends, the saver's queue ends.
        let (staged, saved) = tokio::join!(self.stopping(stage), saver);
        saved.and(staged)
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
            if let Err(error) = model_runs.end_early(self.store.as_ref()).await {
                return error;
            }
        }
    }

    async fn save_batch(&self, finished_at_ms: Option<i64>) -> Result<()> {
        if self.idle {
            return Ok(());
        }
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
            overhead_micro_usd: spec.overhead_micro_usd,
            created_at_ms: spec.created_at_ms.unwrap_or_else(|| self.session.context.clock.now_ms()),
            finished_at_ms,
        };
        save::hand_over(&self.session, "save_batch", || self.store.save_batch(batch.clone())).await
    }

    fn summary(&self, complete: bool) -> Summary {
        let mut summary = self.session.totals.summary();
        summary.batch_id.clone_from(&self.spec.batch_id);
        summary.org_id.clone_from(&self.spec.org.id);
        summary.status = if complete { "complete" } else { "partial" }.to_owned();
        summary.requests_made = self.session.requests();
        summary.interrupted = self.session.stop.is_cancelled() && !complete;
        summary.over_reserved_micro_usd = self.session.budget.over_reserved().0;
        summary
    }
}

/// Says what the start is going to cost, and where `max_cost` ends before it begins.
fn tell_plan(host: &Host, spec: &RunSpec, matrix: &Matrix, providers: &[Arc<dyn Provider>], existing: &Existing) -> Result<()> {
    let quote = quote::plan(spec, matrix, providers, Some(existing), true)?;
    if !quote.lines.is_empty() {
        host.log(Level::Info, quote::line(&quote));
    }
    if !quote.uncovered.is_empty() {
        let what = quote.uncovered.join("; ");
        host.log(Level::Warning, format!("max_cost covers not even the first call: {what}. Raise max_cost and resume"));
    }
    Ok(())
}

fn plan_totals(totals: &Totals, spec: &RunSpec, matrix: &Matrix) {
    for model in &matrix.models {
        for location in &matrix.locations {
            totals.plan(model, &location.to_string(), matrix.cells_per_pair() as u64);
        }
    }
    totals.overhead(spec.batch_overhead_micro_usd, spec.batch_overhead_maybe_charged_micro_usd);
}

fn resolve_all(spec: &RunSpec) -> Result<Vec<Arc<dyn Provider>>> {
    if spec.phase == Phase::Extract {
        return Ok(Vec::new());
    }
    spec.models.iter().map(|model| resolve::provider(&model.model, &spec.custom_providers, &spec.settings)).collect()
}

/// What calls of earlier starts without a reply may have been charged. That for name variations is booked at once.
fn unreplied(recovered: &Recovered) -> HashMap<String, MicroUsd> {
    let of_cells = recovered.asked.iter().filter(|asked| asked.call != Call::Names);
    of_cells.map(|asked| (asked.id(), MicroUsd(asked.micro_usd))).collect()
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
