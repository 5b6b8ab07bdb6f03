//! What every provider does when it serves an answer: notes the truth of it, cuts it at a cap, applies faults of the text.
//! Holds no provider's form.

use super::faults::Fault;
use super::render::{Rendered, Style, tracked_url};
use super::rng::{self, Rng};
use super::sim::Call;
use super::text::Answer;
use super::truth::{Extraction, Served, TruthCitation};
use super::world_data::REFUSALS;

/// How an answer ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind<'a> {
    /// With the rendered text.
    Answer,
    /// With these words in its place.
    Refusal(&'a str),
}

/// The circumstances of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) engine: &'static str,
    pub(crate) model: &'a str,
    pub(crate) prompt: &'a str,
    pub(crate) country: Option<&'a str>,
    pub(crate) occurrence: u32,
    pub(crate) style: Style,
}

/// A way to decline.
pub(crate) fn refusal(rng: &mut Rng) -> &'static str {
    rng.word(REFUSALS)
}

/// The id under which the truth knows the answer of a key.
pub(crate) fn answer_id(key: u64) -> String {
    format!("ans_{}", rng::hex(key, 16))
}

/// Notes a served answer. `retrieved`: the reply also lists sources that are only retrieved.
pub(crate) fn served(call: Call<'_>, facts: Facts<'_>, key: u64, answer: &Answer, rendered: &Rendered, kind: Kind<'_>, retrieved: bool) {
    if !call.sim.config.record {
        return;
    }
    let (text, status) = match kind {
        Kind::Refusal(words) => (words, "refusal"),
        Kind::Answer if rendered.cut => (rendered.text.as_str(), "incomplete"),
        Kind::Answer => (rendered.text.as_str(), "answer"),
    };
    let citations = if matches!(kind, Kind::Answer) { citations(answer, rendered, facts.style, retrieved) } else { Vec::new() };
    let mentions = if matches!(kind, Kind::Answer) { rendered.mentions.clone() } else { Vec::new() };
    let absences = if matches!(kind, Kind::Answer) { rendered.absences.clone() } else { Vec::new() };
    call.sim.truth().served(Served {
        id: answer_id(key),
        endpoint: call.endpoint,
        engine: facts.engine,
        model: facts.model.to_owned(),
        country: facts.country.map(str::to_owned),
        prompt: facts.prompt.to_owned(),
        occurrence: facts.occurrence,
        text: text.to_owned(),
        mentions,
        absences,
        citations,
        status,
    });
}

/// The sources of the served text: linked ones as cited, the rest as retrieved when the reply lists them.
fn citations(answer: &Answer, rendered: &Rendered, style: Style, retrieved: bool) -> Vec<TruthCitation> {
    let mut citations: Vec<TruthCitation> = Vec::new();
    for url in &rendered.own_links {
        citations.push(TruthCitation { url: url.clone(), canonical: url.clone(), cited: true });
    }
    for link in &rendered.links {
        if let Some(source) = answer.sources.get(link.source) {
            citations.push(TruthCitation { url: link.url.clone(), canonical: source.canonical.clone(), cited: true });
        }
    }
    if retrieved {
        for (position, source) in answer.sources.iter().enumerate() {
            if !rendered.links.iter().any(|link| link.source == position) {
                // OpenAI lists what it retrieved without its tracking parameter.
                let url = if style == Style::OpenAi { source.url.clone() } else { tracked_url(source, style, true) };
                citations.push(TruthCitation { url, canonical: source.canonical.clone(), cited: false });
            }
        }
    }
    citations
}

/// Notes an extraction.
pub(crate) fn extraction(call: Call<'_>, mut report: Extraction, model: &str, key: u64) {
    if call.sim.config.record {
        report.id = format!("ext_{}", rng::hex(key, 16));
        report.endpoint = call.endpoint;
        report.model = model.to_owned();
        call.sim.truth().extracted(report);
    }
}

/// Cuts a text at a token cap (four characters a token); true when something was cut.
pub(crate) fn cut(text: &mut String, cap: Option<u64>) -> bool {
    let limit = cap.map_or(usize::MAX, |cap| usize::try_from(cap.saturating_mul(4)).unwrap_or(usize::MAX));
    match text.char_indices().nth(limit) {
        Some((at, _)) => {
            text.truncate(at);
            true
        }
        None => false,
    }
}

/// Faults of the text itself: nothing at all, or characters that break careless stores.
pub(crate) fn odd_text(fault: Option<&Fault>, rendered: &mut Rendered) {
    let Some(fault) = fault else { return };
    if fault.is("empty_answer") {
        *rendered = Rendered::default();
    }
    if fault.is("odd_text") {
        rendered.text.push_str("\n\nOdd: \u{0} \u{202e}abc\u{202c} \u{1F980} e\u{301} \u{FFFD} \u{2028}");
    }
}

/// The prompts for a charge; none when single charges are not kept.
pub(crate) fn inputs(call: Call<'_>, prompt: &str) -> Vec<String> {
    if call.sim.config.record { vec![prompt.to_owned()] } else { Vec::new() }
}
