//! Settings of the simulator: where it listens, how fast it is, how often something goes wrong. Plain data.

/// How the simulator runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address to bind; `127.0.0.1` unless told otherwise.
    pub host: String,
    /// Port; 0 lets the system choose.
    pub port: u16,
    /// Decides every answer and every imperfection.
    pub seed: u64,
    /// Milliseconds until a direct answer (OpenAI, Anthropic) is sent.
    pub latency_ms: u64,
    /// Milliseconds until a snapshot or a provider batch is ready.
    pub snapshot_ms: u64,
    /// Durations vary by this share up and down, fixed by the seed; 0 = not at all, 0.5 = from half to one and a half.
    pub spread: f64,
    /// An answer grows to about this many characters.
    pub answer_chars: usize,
    /// Single charges, answers and finished snapshots are kept. `false`: counters only, for a million requests.
    pub record: bool,
    /// Threads of the server.
    pub threads: usize,
    /// Direct calls a second and provider before a 429, told in the rate-limit headers; 0 = no limit.
    pub requests_per_second: f64,
    /// Bright Data: running triggers of at most 20 inputs before a 429.
    pub running_small: usize,
    /// Bright Data: running triggers of more than 20 inputs before a 429.
    pub running_large: usize,
    /// How often something goes wrong.
    pub rates: Rates,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 0,
            seed: 1,
            latency_ms: 0,
            snapshot_ms: 300,
            spread: 0.0,
            answer_chars: 1_800,
            record: true,
            threads: 2,
            requests_per_second: 0.0,
            running_small: 1_500,
            running_large: 100,
            rates: Rates::default(),
        }
    }
}

macro_rules! rates {
    ($($(#[doc = $doc:literal])* $name:ident = $default:literal,)*) => {
        /// Seeded imperfections, each a probability from 0 to 1. All at 0 is a perfect day.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Rates {
            $($(#[doc = $doc])* pub $name: f64,)*
        }

        impl Default for Rates {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Rates {
            /// The names, in the order of the fields.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name),)*];

            /// A perfect day.
            #[must_use]
            pub fn perfect() -> Self {
                Self { $($name: 0.0,)* }
            }

            /// Sets one rate by name.
            ///
            /// # Errors
            /// A sentence when there is no such rate or the value is not between 0 and 1.
            pub fn set(&mut self, name: &str, value: f64) -> Result<(), String> {
                if !(0.0..=1.0).contains(&value) {
                    return Err(format!("rate {name}: {value} is not between 0 and 1"));
                }
                match name {
                    $(stringify!($name) => self.$name = value,)*
                    _ => return Err(format!("unknown rate '{name}'; known: {}", Self::NAMES.join(", "))),
                }
                Ok(())
            }
        }
    };
}

rates! {
    /// A model declines to answer (all providers).
    refusal = 0.01,
    /// A brand the question names is said to be unknown.
    absence = 0.08,
    /// The search tool is offered and not used.
    no_search = 0.04,
    /// OpenAI: a search was made, and the annotations are empty.
    empty_annotations = 0.02,
    /// Anthropic: the turn is paused and must be continued.
    pause = 0.05,
    /// Anthropic: a search fails inside a 200.
    search_error = 0.02,
    /// Anthropic: a thinking block though nobody asked.
    thinking = 0.1,
    /// Bright Data: a row is an error row (timeout, crawler error).
    error_row = 0.01,
    /// Bright Data: a row is an auth wall.
    auth_wall = 0.005,
    /// Bright Data: a row is missing although errors were to be included.
    missing_row = 0.003,
    /// Bright Data: progress says ready, the first download says not yet.
    late_ready = 0.1,
    /// Bright Data ChatGPT: the answer begins with the line `Give feedback`.
    feedback_line = 0.05,
    /// An extraction misses a name, or denies a mention.
    structured_miss = 0.02,
    /// An extraction invents a name.
    structured_invented_name = 0.02,
    /// An extraction invents a quote.
    structured_invented_quote = 0.02,
    /// An extraction returns broken JSON.
    structured_broken_json = 0.005,
    /// A sentence of a comparison says what its table does not hold.
    false_statements = 0.05,
}
