//! What goes wrong in a seed: which faults there are, how often, from when to when. Each seed has its own mix, so that faults
//! meet that a mix of everything would hide. Knows the wire and the store by name only.

use super::chance::Chance;
use super::store::StoreFault;

/// What a request is about, as far as faults differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    Trigger,
    Progress,
    List,
    Inputs,
    Download,
    OpenAi,
    Anthropic,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provider {
    BrightData,
    OpenAi,
    Anthropic,
}

impl Provider {
    pub const ALL: [Self; 3] = [Self::BrightData, Self::OpenAi, Self::Anthropic];
}

impl Call {
    pub fn provider(self) -> Provider {
        match self {
            Self::OpenAi => Provider::OpenAi,
            Self::Anthropic => Provider::Anthropic,
            _ => Provider::BrightData,
        }
    }

    pub fn is_direct(self) -> bool {
        self.provider() != Provider::BrightData
    }
}

/// What becomes of a request. `accepted`: the provider did its work (and charged for it) all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    Slow,
    NotSent,
    Lost { accepted: bool },
    Hang { accepted: bool },
    TooMany(Wait),
    Status { status: u16, accepted: bool },
    Html { accepted: bool },
    Truncated,
    BadKey,
    NoMoney,
    WithoutId,
    OldId,
}

/// The forms of retry-after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    Seconds(u64),
    Milliseconds(u64),
    Date(u64),
    Negative,
    Words,
    Unsaid,
    Hour,
}

/// How the provider's own side behaves, per seed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traits {
    pub list_lag_ms: u64,
    /// The inputs of a snapshot cannot be asked for.
    pub inputs_expired: bool,
    /// The inputs come back in other words.
    pub inputs_rewritten: bool,
    /// Somebody else submits the same inputs in the same account.
    pub twins: bool,
    /// Percent of snapshots, rows.
    pub never_ready: u64,
    pub failed: u64,
    pub gone: u64,
    pub building: u64,
    pub error_rows: u64,
    pub missing_rows: u64,
    pub double_rows: u64,
    pub foreign_rows: u64,
    pub empty_rows: u64,
    /// Rows echo the prompt in other letter case and spacing.
    pub row_echo: bool,
    pub paused_turns: u64,
}

impl Traits {
    /// True when whoever looks up a lost trigger in the list, and again when the grace is over, learns the truth.
    pub fn is_list_truthful(&self) -> bool {
        !(self.inputs_expired || self.twins) && self.is_loss_knowable()
    }

    /// True when the list shows a snapshot within the grace, and with the inputs it was sent: what is lost can be known to be.
    pub fn is_loss_knowable(&self) -> bool {
        self.list_lag_ms <= 40_000 && !self.inputs_rewritten
    }
}

#[derive(Debug)]
pub struct Weather {
    chance: Chance,
    calm: bool,
    rates: Vec<(u64, Kind)>,
    /// Only this kind of call is struck; `None`: all.
    pub struck: Option<Call>,
    outage: Option<Window>,
    storm: Option<Window>,
    bad_key: Option<Window>,
    no_money: Option<Window>,
    store_rate: u64,
    store_away: Option<(i64, i64)>,
    /// Appends until the disk is full.
    disk_full_after: Option<u64>,
    /// Syncs until one fails.
    sync_fails_after: Option<u64>,
    pub traits: Traits,
}

/// A provider within two instants, milliseconds since the first.
#[derive(Debug, Clone, Copy)]
struct Window {
    provider: Provider,
    from: i64,
    to: i64,
}

impl Window {
    fn holds(self, provider: Provider, now: i64) -> bool {
        self.provider == provider && (self.from..self.to).contains(&now)
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Slow,
    NotSent,
    Lost,
    Hang,
    TooMany,
    Status,
    Html,
    Truncated,
    Identity,
}

const KINDS: [Kind; 9] =
    [Kind::Slow, Kind::NotSent, Kind::Lost, Kind::Hang, Kind::TooMany, Kind::Status, Kind::Html, Kind::Truncated, Kind::Identity];
/// Longer than any seed.
const FOREVER: i64 = i64::MAX;

impl Weather {
    pub fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed, "weather");
        let clear = chance.percent(10);
        let mut rates = Vec::new();
        for kind in KINDS {
            if !clear && chance.percent(40) {
                rates.push((chance.between(2, 20), kind));
            }
        }
        let struck =
            chance.percent(25).then(|| *chance.pick(&[Call::Trigger, Call::Trigger, Call::OpenAi, Call::Anthropic, Call::List]));
        let mut window = |percent: u64, longest: u64| {
            let happens = !clear && chance.percent(percent);
            let provider = *chance.pick(&Provider::ALL);
            let from = chance.below(240_000) as i64;
            let length = chance.between(30_000, longest) as i64;
            happens.then_some(Window { provider, from, to: from + length })
        };
        let (outage, storm) = (window(25, 900_000), window(15, 400_000));
        let forever = |window: Window| Window { to: FOREVER, ..window };
        let (bad_key, no_money) = (window(8, 60_000).map(forever), window(8, 60_000).map(forever));
        let store_rate = if chance.percent(40) { chance.between(3, 25) } else { 0 };
        let store_away = chance.percent(12).then(|| {
            let from = chance.below(200_000) as i64;
            (from, from + chance.between(2_000, 120_000) as i64)
        });
        let disk_full_after = chance.percent(8).then(|| chance.between(1, 40));
        let sync_fails_after = chance.percent(8).then(|| chance.between(1, 40));
        let traits = traits(&mut chance, clear);
        Self {
            chance,
            calm: false,
            rates,
            struck,
            outage,
            storm,
            bad_key,
            no_money,
            store_rate,
            store_away,
            disk_full_after,
            sync_fails_after,
            traits,
        }
    }

    /// Nothing goes wrong from now on.
    pub fn calm(&mut self) {
        self.calm = true;
    }

    pub fn is_calm(&self) -> bool {
        self.calm
    }

    pub fn chance(&mut self) -> &mut Chance {
        &mut self.chance
    }

    /// How long an exchange takes that nothing disturbs, milliseconds.
    pub fn latency_ms(&mut self, call: Call) -> u64 {
        if call.is_direct() { self.chance.between(200, 20_000) } else { self.chance.between(20, 1_500) }
    }

    /// What becomes of a request sent now.
    pub fn wire(&mut self, call: Call, now: i64) -> Fault {
        if self.calm {
            return Fault::None;
        }
        let holds = |window: Option<Window>| window.is_some_and(|window| window.holds(call.provider(), now));
        if holds(self.outage) {
            return Fault::NotSent;
        }
        if holds(self.bad_key) {
            return Fault::BadKey;
        }
        if holds(self.no_money) && (call.is_direct() || call == Call::Trigger) {
            return Fault::NoMoney;
        }
        if holds(self.storm) {
            return Fault::TooMany(self.wait());
        }
        if self.struck.is_some_and(|struck| struck != call) {
            return Fault::None;
        }
        let struck = self.rates.iter().find(|(rate, _)| self.chance.percent(*rate)).map(|(_, kind)| *kind);
        struck.map_or(Fault::None, |kind| self.fault(kind, call))
    }

    fn fault(&mut self, kind: Kind, call: Call) -> Fault {
        let accepted = self.chance.percent(50);
        match kind {
            Kind::Slow => Fault::Slow,
            Kind::NotSent => Fault::NotSent,
            Kind::Lost => Fault::Lost { accepted },
            Kind::Hang => Fault::Hang { accepted },
            Kind::TooMany => Fault::TooMany(self.wait()),
            Kind::Status => {
                let status = *self.chance.pick(&[500, 502, 503, 504, 529]);
                // A model that is overloaded has done nothing; a trigger may have started its job whatever it says.
                let worked = accepted && (call == Call::Trigger || matches!(status, 500 | 502 | 504));
                Fault::Status { status, accepted: worked }
            }
            Kind::Html => Fault::Html { accepted },
            Kind::Truncated => Fault::Truncated,
            Kind::Identity if call == Call::Trigger => {
                if accepted {
                    Fault::WithoutId
                } else {
                    Fault::OldId
                }
            }
            Kind::Identity => Fault::None,
        }
    }

    fn wait(&mut self) -> Wait {
        match self.chance.below(8) {
            0 | 1 => Wait::Seconds(self.chance.between(1, 20)),
            2 => Wait::Milliseconds(self.chance.between(100, 9_000)),
            3 => Wait::Date(self.chance.between(1, 30)),
            4 => Wait::Negative,
            5 => Wait::Words,
            6 => Wait::Hour,
            _ => Wait::Unsaid,
        }
    }

    /// What becomes of a call of the store made now.
    pub fn store(&mut self, now: i64) -> StoreFault {
        if self.calm {
            return StoreFault::None;
        }
        if self.store_away.is_some_and(|(from, to)| (from..to).contains(&now)) {
            return StoreFault::Away;
        }
        if !self.chance.percent(self.store_rate) {
            return StoreFault::None;
        }
        match self.chance.below(3) {
            0 => StoreFault::Raise,
            1 => StoreFault::CommitThenRaise,
            _ => StoreFault::Slow(self.chance.between(100, 20_000)),
        }
    }

    /// To be asked once per append.
    pub fn is_disk_full(&mut self) -> bool {
        if let Some(left) = &mut self.disk_full_after {
            *left = left.saturating_sub(1);
            return *left == 0 && !self.calm;
        }
        false
    }

    /// To be asked once per sync.
    pub fn does_sync_fail(&mut self) -> bool {
        if self.calm {
            return false;
        }
        match self.sync_fails_after {
            Some(1) => {
                self.sync_fails_after = None;
                true
            }
            Some(left) => {
                self.sync_fails_after = Some(left - 1);
                false
            }
            None => false,
        }
    }
}

fn traits(chance: &mut Chance, clear: bool) -> Traits {
    let mut traits = Traits { list_lag_ms: chance.below(40_000), row_echo: chance.percent(20), ..Traits::default() };
    traits.paused_turns = if chance.percent(30) { 30 } else { 0 };
    if clear {
        return traits;
    }
    let mut some = |percent: u64, high: u64| if chance.percent(percent) { chance.between(5, high) } else { 0 };
    traits.never_ready = some(10, 40);
    traits.failed = some(15, 40);
    traits.gone = some(8, 30);
    traits.building = some(25, 60);
    traits.error_rows = some(25, 60);
    traits.missing_rows = some(20, 40);
    traits.double_rows = some(20, 40);
    traits.foreign_rows = some(20, 40);
    traits.empty_rows = some(15, 30);
    match chance.below(20) {
        0 => traits.list_lag_ms = chance.between(150_000, 900_000),
        1 => traits.inputs_expired = true,
        2 => traits.inputs_rewritten = true,
        3 => traits.twins = true,
        _ => {}
    }
    traits
}
