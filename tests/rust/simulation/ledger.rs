//! What the provider's side accepted and what it charges for it: append-only, integer micro-dollars, a price table of its own
//! (vendors' price pages as the wire-format notes have them). The judge: it knows nothing of the engine.

/// What a charge is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// A record of a dataset.
    Record { dataset: String, prompt: String, country: String },
    /// A question asked of a model.
    Answer { model: String, question: String, country: String },
    /// Something asked about the text that carries this reference.
    Text { reference: u64 },
    /// Anything else.
    Other,
}

/// One charge.
#[derive(Debug, Clone)]
pub struct Charge {
    pub about: About,
    pub micro_usd: i64,
    /// The snapshot of a record.
    pub snapshot: Option<String>,
    /// False: somebody else's work in the same account.
    pub ours: bool,
}

#[derive(Debug, Default)]
pub struct Ledger {
    charges: Vec<Charge>,
}

impl Ledger {
    /// Books a charge; returns its reference, which stands in the text that is sold, so that a stored text names its charge.
    pub fn book(&mut self, about: About, micro_usd: i64, snapshot: Option<&str>, ours: bool) -> u64 {
        self.charges.push(Charge { about, micro_usd, snapshot: snapshot.map(str::to_owned), ours });
        self.charges.len() as u64
    }

    pub fn charges(&self) -> &[Charge] {
        &self.charges
    }
}

/// One delivered record.
pub const RECORD: i64 = 1_500;

/// Micro-dollars per input token and output token in tenths, and per search.
pub fn price(model: &str) -> (i64, i64, i64) {
    match model {
        model if model.starts_with("gpt-4.1-mini") => (4, 16, 25_000),
        model if model.starts_with("gpt-4.1") => (20, 80, 25_000),
        model if model.starts_with("claude-sonnet-4-5") => (30, 150, 10_000),
        other => panic!("the ledger has no price for {other}"),
    }
}

/// A text that is sold: it names its charge.
pub fn sold_text(question: &str, reference: u64) -> String {
    format!(
        "Asked “{question}”, many people name Acme Cloud first, then Globex and Initech. Acme Cloud is well liked for its support. \
         Reference R{reference}R. See [Globex](https://www.globex.example/crm)."
    )
}

/// The reference in a sold text, also inside other text.
pub fn reference(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("Reference R")?;
    rest.split_once('R')?.0.parse().ok()
}
