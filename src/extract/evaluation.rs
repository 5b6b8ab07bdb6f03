//! The evaluation of the org: the call that verifies the mention, the checks of what comes back, rank and share of voice.
//!
//! Mention and rank are the rules' business; the model is heard on the mention where the rules are unsure, and adds the sentiment and
//! the passages. A passage counts only when it stands in the answer where the org is spoken of, and what is kept is the answer's
//! own wording.

use std::ops::Range;

use serde_json::{Map, Value, json};

use super::brands::Place;
use super::mentions::Document;
use super::quotes::{Checked, MAX_QUOTES, Quotes};
use super::{Verdict, fence, passages, rank, reply, shares, spans};
use crate::domain::{
    Evidence, ExtractedCitation, ExtractionMethod, FieldEvidence, OrgEvaluation, Ownership, Sentiment, Shares, StructuredRequest,
};
use crate::error::Result;

/// The call: `{"is_mention_verified": …, "sentiment": …, "sentiment_quote": …, "mention_text": [...]}`. `places`: where the org
/// is named in the text.
pub(super) fn request(
    names: &[String],
    websites: &[String],
    text: &str,
    places: &[Range<usize>],
    nonce: &str,
) -> StructuredRequest {
    let schema = reply::strict_object(json!({
        "is_mention_verified": {"type": "boolean", "description": "the answer speaks about this organisation"},
        "sentiment": {"type": "string", "enum": ["positive", "neutral", "negative"], "description": "how it speaks of the organisation"},
        "sentiment_quote": {"type": "string", "description": "the passage that shows the sentiment, copied word for word; empty when nothing does"},
        "mention_text": reply::string_list("the passages about the organisation, copied word for word"),
    }));
    let system = format!(
        "You check what an answer says about one organisation. A program has found one of its names in the answer.\n\
         is_mention_verified: true when the answer really speaks about this organisation; false when the name means something else \
         (an ordinary word, a namesake, a part of a longer name) or when the answer only says that it does not know, does not list \
         or could not find the organisation.\n\
         sentiment: positive when the answer recommends or praises the organisation, negative when it criticises it or warns of it, \
         else neutral.\n\
         sentiment_quote: the one passage that shows the sentiment best, copied word for word from the answer; empty when it is \
         neutral and no passage shows it.\n\
         mention_text: every passage about the organisation, each copied word for word from the answer, whole sentences or list \
         items, nothing added; an empty list when the mention is not verified.\n{}",
        fence::rule(nonce)
    );
    let user =
        format!("{}\nIts websites: {}\n\n{}", reply::introduced(names), json!(websites), fence::fenced(text, nonce, places));
    StructuredRequest { schema_name: "org_evaluation".into(), schema, system, user }
}

/// Parses and checks the reply. Only the word on the mention must be there: any other field that is missing, of another type,
/// outside its words, too long or not asked for is left out and counted, because the rest of a paid reply is still good.
///
/// # Errors
/// [`crate::ErrorKind::Semantic`] when it is no JSON object, or has no word on the mention.
pub(super) fn parse(document: &Document<'_>, places: &[Range<usize>], json: &str) -> Result<Verdict> {
    let reply: Map<String, Value> = reply::parse(json, "evaluation")?;
    let Some(says_mentioned) = reply.get("is_mention_verified").and_then(Value::as_bool) else {
        return Err(reply::unusable("evaluation", "'is_mention_verified' is missing or is neither true nor false", json));
    };
    let mut checks = Checks { quotes: Quotes::new(document, places), invented: 0, invalid: 0 };
    let passages = checks.passages(reply.get("mention_text"));
    let (sentiment, quote) = checks.sentiment(reply.get("sentiment"), reply.get("sentiment_quote"));
    let known = ["is_mention_verified", "sentiment", "sentiment_quote", "mention_text"];
    checks.invalid += reply.keys().filter(|name| !known.contains(&name.as_str())).count();
    let names_it = passages.iter().any(|passage| checks.quotes.names_the_org(passage));
    let verdict = Verdict {
        says_mentioned,
        invented_quotes: u32::try_from(checks.invented).unwrap_or(u32::MAX),
        invalid_fields: u32::try_from(checks.invalid).unwrap_or(u32::MAX),
        ..Verdict::default()
    };
    if !says_mentioned || !names_it {
        return Ok(verdict);
    }
    let text = document.text;
    Ok(Verdict {
        mentioned: true,
        sentiment,
        sentiment_quote: quote.as_ref().and_then(|quote| text.get(quote.clone())).map(str::to_owned),
        sentiment_spans: spans::spans(text, quote.as_slice()),
        mention_text: passages::joined(text, &passages),
        mention_spans: spans::spans(text, &passages),
        ..verdict
    })
}

/// The checks of one reply, and what they threw away.
struct Checks<'a> {
    quotes: Quotes<'a>,
    invented: usize,
    invalid: usize,
}

impl Checks<'_> {
    /// The passages that stand in the answer, in its order.
    fn passages(&mut self, given: Option<&Value>) -> Vec<Range<usize>> {
        let given = given.unwrap_or(&Value::Null);
        if !matches!(given, Value::Array(_) | Value::String(_)) {
            self.invalid += 1;
        }
        let mut found = Vec::new();
        let mut seen = 0_usize;
        for item in reply::items(given) {
            let Some(item) = item.as_str() else {
                self.invalid += 1;
                continue;
            };
            for quote in item.split("||").map(str::trim).filter(|quote| !quote.is_empty()) {
                seen += 1;
                if seen > MAX_QUOTES {
                    self.invalid += 1;
                } else {
                    found.extend(self.stands(quote));
                }
            }
        }
        united(found)
    }

    /// The sentiment and the quote that shows it: `None` for a word that is none of the three, and for a quote without it.
    fn sentiment(&mut self, word: Option<&Value>, quote: Option<&Value>) -> (Option<Sentiment>, Option<Range<usize>>) {
        let sentiment = match word.and_then(Value::as_str).map(|word| word.trim().to_ascii_lowercase()).as_deref() {
            Some("positive") => Some(Sentiment::Positive),
            Some("neutral") => Some(Sentiment::Neutral),
            Some("negative") => Some(Sentiment::Negative),
            _ => {
                self.invalid += 1;
                None
            }
        };
        let Some(quote) = quote.and_then(Value::as_str) else {
            self.invalid += 1;
            return (sentiment, None);
        };
        let quote = if quote.trim().is_empty() { None } else { self.stands(quote.trim()) };
        (sentiment, quote.filter(|_| sentiment.is_some()))
    }

    fn stands(&mut self, quote: &str) -> Option<Range<usize>> {
        match self.quotes.check(quote) {
            Checked::Stands(span) => return Some(span),
            Checked::Invented => self.invented += 1,
            Checked::Unfit => self.invalid += 1,
        }
        None
    }
}

/// In the order of the answer, overlapping ones as one: no character is counted twice.
fn united(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut united: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match united.last_mut().filter(|last| range.start < last.end) {
            Some(last) => last.end = last.end.max(range.end),
            None => united.push(range),
        }
    }
    united
}

/// What was found in an answer, for the evaluation.
pub(super) struct Facts<'a> {
    pub(super) text: &'a str,
    /// The model's or the rules' word; `None`: no name form stands in the answer.
    pub(super) verdict: Option<&'a Verdict>,
    /// Who gave sentiment and passages.
    pub(super) method: ExtractionMethod,
    /// The org's mentions, in order.
    pub(super) mentions: &'a [Range<usize>],
    /// The places of other brands, in order.
    pub(super) places: &'a [Place],
    pub(super) citations: &'a [ExtractedCitation],
}

/// Puts the evaluation together, with what rank, list position and share of voice rest on. Whose mention it is, what the
/// sentiment rests on and the shares of citations are added by who knows them.
pub(super) fn assemble(facts: &Facts<'_>) -> (OrgEvaluation, Evidence) {
    let text = facts.text;
    let citation = facts.citations.iter().any(|citation| citation.ownership == Ownership::Primary);
    let empty = text.trim().is_empty();
    let verdict = facts.verdict.filter(|verdict| verdict.mentioned);
    let (Some(verdict), Some(mention), false) = (verdict, facts.mentions.first(), empty) else {
        let shares = Shares { occurrences: shares::of_occurrences(0, facts.places.len()), ..Shares::default() };
        let share_of_voice = (!empty).then_some(0.0);
        return (OrgEvaluation { citation, share_of_voice, shares, ..OrgEvaluation::default() }, Evidence::default());
    };
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let before = rank::before(facts.places, mention);
    let listed = rank::list_position(text, facts.mentions, facts.places);
    let mention_text = verdict.mention_text.clone();
    let counted = spans::of_parts(text, mention_text.as_deref().unwrap_or_default());
    let rules = |ranges: &[Range<usize>]| field(text, ExtractionMethod::Local, ranges);
    let evidence = Evidence {
        mention_rank: Some(rules(&before)),
        list_position: listed.as_ref().map(|(_, head)| rules(std::slice::from_ref(head))),
        share_of_voice: Some(field(text, facts.method, &counted)),
        ..Evidence::default()
    };
    let evaluation = OrgEvaluation {
        mentioned: true,
        citation,
        sentiment: verdict.sentiment,
        mention_rank: Some(count(before.len()).saturating_add(1)),
        share_of_voice: Some(shares::of_text(mention_text.as_deref().unwrap_or_default(), text)),
        mention_text,
        list_position: listed.map(|(number, _)| number),
        occurrences: count(facts.mentions.len()),
        prominence: Some(shares::prominence(text, mention)),
        shares: Shares { occurrences: shares::of_occurrences(facts.mentions.len(), facts.places.len()), ..Shares::default() },
        sentiment_quote: None,
    };
    (evaluation, evidence)
}

/// Evidence that rests on these places.
pub(super) fn field(text: &str, method: ExtractionMethod, ranges: &[Range<usize>]) -> FieldEvidence {
    FieldEvidence { method, spans: spans::spans(text, ranges), note: None }
}
