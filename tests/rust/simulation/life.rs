//! Lives of the engine in one world: started, killed at some point, started again, until nothing changes any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use overheard::Result;
use overheard::domain::{Extraction, QuestionRun, Summary};
use overheard::host::{Event, Host, HostPort};
use overheard::http::limit::LimitRegistry;
use overheard::pipeline::{Context, run_with_store};
use tokio_util::sync::CancellationToken;

use super::chance::Chance;
use super::crash::Point;
use super::disk::SimDisk;
use super::network::Network;
use super::plan::{BATCH, Plan};
use super::planted::Planted;
use super::sim::Sim;
use super::store::SimStore;
use super::weather::Weather;

/// A start that takes longer than this in virtual time hangs.
const LONGEST_LIFE: Duration = Duration::from_secs(6 * 3600);
/// Starts in fair weather until nothing changes.
const STARTS: usize = 10;
/// Between two starts in fair weather: longer than any grace.
const GAP_MS: i64 = 180_000;

/// One world, with what its engine left behind.
pub struct Case {
    pub seed: u64,
    pub plan: Plan,
    pub sim: Arc<Sim>,
    pub network: Arc<Network>,
    pub disk: SimDisk,
    pub store: Arc<SimStore>,
    /// The last start that ended by itself.
    pub summary: Option<Summary>,
    pub crashes: u64,
    /// Starts until the world stood still; `None`: it never did.
    pub settled_after: Option<usize>,
    folder: String,
}

/// How a start ended.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time")]
enum End {
    Finished(Result<Summary>),
    Crashed,
    Hung,
}

struct Port(Arc<Sim>);

impl HostPort for Port {
    fn push(&self, event: Event) {
        if let Event::Log(level, line) = event {
            self.0.note(format!("    {level:?}: {line}"));
        }
    }
}

/// Plays a seed to its end. To be called in a thread whose entropy is seeded.
pub fn play(seed: u64, planted: Option<Planted>) -> Case {
    // The journal knows in this process which folders are open; two plays of one seed must not meet there. Of one width, because
    // errors name the folder and are stored.
    static FOLDERS: AtomicU64 = AtomicU64::new(0);
    let plan = Plan::new(seed);
    let sim = Sim::new(seed, Weather::new(seed), planted);
    let mut case = Case {
        seed,
        network: Network::new(sim.clone(), seed, plan.caps()),
        disk: SimDisk::new(sim.clone(), seed),
        store: SimStore::new(sim.clone()),
        plan,
        sim,
        summary: None,
        crashes: 0,
        settled_after: None,
        folder: format!("/simulated/{:08}", FOLDERS.fetch_add(1, Ordering::Relaxed)),
    };
    case.storm();
    case.fair_weather();
    case
}

impl Case {
    /// Everything goes wrong, and the process dies now and then.
    fn storm(&mut self) {
        let mut chance = Chance::new(self.seed, "lives");
        for _ in 0..self.plan.lives {
            let point = *chance.pick(&Point::ALL);
            // Often early, seldom late.
            let count = 1 + chance.below(40) * chance.below(40) / 40;
            let instant = (point == Point::Instant).then(|| chance.between(10, 400_000));
            let stop = chance.percent(8).then(|| chance.between(10, 120_000));
            let gap = chance.below(600_000) as i64;
            let retry_failed = chance.percent(40);
            self.live(gap, Some((point, count)), instant, stop, retry_failed);
        }
    }

    /// The provider is back: the batch must come to its end.
    fn fair_weather(&mut self) {
        self.sim.weather().calm();
        let now = self.sim.now_ms();
        self.network.world(|world| {
            world.brightdata.recover(now);
            world.direct.paused_turns = 0;
        });
        self.sim.event("the weather is fair from here on");
        let mut quiet = 0;
        for start in 0..STARTS {
            let (sent, before) = (self.network.sent(), self.rows());
            self.live(GAP_MS, None, None, None, start > 0);
            let changed = self.network.sent() != sent || self.rows() != before;
            quiet = if changed { 0 } else { quiet + 1 };
            if quiet == 2 {
                self.settled_after = Some(start - 1);
                return;
            }
        }
    }

    /// Every row of question runs and extractions, as it stands.
    fn rows(&self) -> (Vec<Arc<QuestionRun>>, Vec<Arc<Extraction>>) {
        (self.store.tables.runs(BATCH), self.store.tables.extractions(BATCH))
    }

    /// One start, to its end or its death.
    fn live(&mut self, gap_ms: i64, armed: Option<(Point, u64)>, instant: Option<u64>, stop_ms: Option<u64>, retry_failed: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let end = runtime.block_on(async {
            let fuse = self.sim.begin_life(gap_ms, armed);
            self.sim.event(format!("START, retry_failed {retry_failed}"));
            let stop = CancellationToken::new();
            let running = self.start(retry_failed, stop.clone());
            let doom = async {
                match instant {
                    Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
                    None => std::future::pending().await,
                }
            };
            let stopping = async {
                if let Some(ms) = stop_ms {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    self.sim.event("stop is asked for");
                    self.sim.count("stop: asked for");
                    stop.cancel();
                }
                std::future::pending::<()>().await;
            };
            let end = tokio::select! {
                biased;
                () = fuse.burning() => End::Crashed,
                () = doom => End::Crashed,
                () = stopping => End::Hung,
                end = running => End::Finished(end),
                () = tokio::time::sleep(LONGEST_LIFE) => End::Hung,
            };
            // A process that reached its point and ended in the same breath is dead all the same.
            let end = if fuse.is_burnt() { End::Crashed } else { end };
            self.sim.end_life();
            end
        });
        drop(runtime);
        self.ended(end, armed);
    }

    fn start(&self, retry_failed: bool, stop: CancellationToken) -> impl Future<Output = Result<Summary>> + use<> {
        let context = Context {
            http: self.network.clone(),
            clock: self.sim.clone(),
            limits: Arc::new(LimitRegistry::default()),
            disk: Arc::new(self.disk.clone()),
        };
        let on_unknown = self.sim.planted().map_or("reconcile", Planted::on_unknown);
        let spec = self.plan.spec(&self.folder, on_unknown, retry_failed, &self.store.tables.model_runs(BATCH));
        let host = Host::new(Arc::new(Port(self.sim.clone())), Duration::from_secs(30));
        run_with_store(context, spec, host, self.store.clone(), stop)
    }

    fn ended(&mut self, end: End, armed: Option<(Point, u64)>) {
        match end {
            End::Finished(Ok(summary)) => {
                self.sim.event(format!("END: {}, {} of {}", summary.status, summary.processed, summary.total));
                self.summary = Some(summary);
            }
            End::Finished(Err(error)) => {
                self.sim.event(format!("END: {:?}", error.kind));
                self.sim.note(format!("    {error}"));
                self.sim.count("end: the start failed");
                if self.sim.weather().is_calm() {
                    self.sim.violation("I11", format!("a start in fair weather fails: {:?} {error}", error.kind));
                }
            }
            End::Crashed => {
                self.crashes += 1;
                self.sim.event("CRASH");
                if let Some((point, _)) = armed {
                    self.sim.count(point.name());
                }
                self.disk.crash();
            }
            End::Hung => self.sim.violation("I17", "the start did not end within six virtual hours"),
        }
    }
}
