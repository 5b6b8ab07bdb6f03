//! The evaluation of the org: the call that verifies the mention, the checks of what comes back, rank and share of voice.
//!
//! Mention and rank are the rules' business; the model confirms the mention and adds the sentiment and the passages. A passage
//! counts only when it stands in the answer, and what is kept is the answer's own wording.

use std::ops::Range;

use serde::Deserialize;
use serde_json::{Value, json};

use super::fold::{Folded, Mode};
use super::mentions::Document;
use super::{Verdict, passages, reply};
use crate::domain::{ExtractedCitation, OrgEvaluation, Ownership, Sentiment, StructuredRequest};
use crate::error::Result;

/// Most passages of one reply that are looked at; further ones are counted as invented.
const MAX_QUOTES: usize = 100;

/// The call: `{"is_mention_verified": …, "sentiment": …, "mention_text": [...]}`.
pub(super) fn request(names: &[String], websites: &[String], text: &str, nonce: &str) -> StructuredRequest {
    let schema = reply::strict_object(json!({
        "is_mention_verified": {"type": "boolean", "description": "the answer speaks about this organisation"},
        "sentiment": {"type": "string", "enum": ["positive", "neutral", "negative"], "description": "how it speaks of the organisation"},
        "mention_text": reply::string_list("the passages about the organisation, copied word for word"),
    }));
    let system = format!(
        "You check what an answer says about one organisation. A program has found one of its names in the answer.\n\
         is_mention_verified: true when the answer really speaks about this organisation; false when the name means something else \
         (an ordinary word, a namesake, a part of a longer name) or when the answer only says that it does not know, does not list \
         or could not find the organisation.\n\
         sentiment: positive when the answer recommends or praises the organisation, negative when it criticises it or warns of it, \
         else neutral.\n\
         mention_text: every passage about the organisation, each copied word for word from the answer, whole sentences or list \
         items, nothing added; an empty list when the mention is not verified.\n{}",
        reply::fence_rule(nonce)
    );
    let user = format!("{}\nIts websites: {}\n\n{}", reply::introduced(names), json!(websites), reply::fenced(text, nonce));
    StructuredRequest { schema_name: "org_evaluation", schema, system, user }
}

#[derive(Deserialize)]
struct EvaluationReply {
    is_mention_verified: bool,
    #[serde(default)]
    sentiment: Value,
    #[serde(default)]
    mention_text: Value,
}

/// Parses and checks the reply. A sentiment outside the three words is unknown, not an error.
///
/// # Errors
/// [`crate::ErrorKind::Semantic`] when it is no JSON of the schema.
pub(super) fn parse(document: &Document<'_>, json: &str) -> Result<Verdict> {
    let reply: EvaluationReply = reply::parse(json, "evaluation")?;
    let quotes: Vec<&str> = reply::strings(&reply.mention_text)
        .iter()
        .flat_map(|quote| quote.split("||"))
        .map(str::trim)
        .filter(|quote| !quote.is_empty())
        .collect();
    let answer = Folded::without(document.text, Mode::Quote, document.link_targets());
    let mut found: Vec<Range<usize>> = Vec::new();
    for quote in quotes.iter().take(MAX_QUOTES) {
        found.extend(find_quote(document.text, &answer, quote));
    }
    let invented_quotes = u32::try_from(quotes.len() - found.len()).unwrap_or(u32::MAX);
    if !reply.is_mention_verified || found.is_empty() {
        return Ok(Verdict { invented_quotes, ..Verdict::default() });
    }
    let sentiment = match reply.sentiment.as_str().map(|word| word.trim().to_ascii_lowercase()).as_deref() {
        Some("positive") => Some(Sentiment::Positive),
        Some("neutral") => Some(Sentiment::Neutral),
        Some("negative") => Some(Sentiment::Negative),
        _ => None,
    };
    Ok(Verdict { mentioned: true, sentiment, mention_text: passages::joined(document.text, &united(found)), invented_quotes })
}

/// Where a quote stands in the answer, compared after NFKD, with white space collapsed and without Markdown emphasis and link
/// targets.
fn find_quote(text: &str, answer: &Folded, quote: &str) -> Option<Range<usize>> {
    let document = Document::new(quote);
    let folded = Folded::without(quote, Mode::Quote, document.link_targets()).text;
    let plain = folded.trim().trim_end_matches("...").trim_end();
    let wanted = if answer.text.contains(plain) { plain } else { plain.trim_matches('"').trim() };
    if wanted.chars().count() < 2 {
        return None;
    }
    let at = answer.text.find(wanted)?;
    answer.span(text, at..at + wanted.len()).map(|span| with_its_markup(text, span))
}

/// Takes in the bracket or the asterisks that the quote left out and whose other half stands inside it.
fn with_its_markup(text: &str, mut span: Range<usize>) -> Range<usize> {
    let inside = |span: &Range<usize>| text.get(span.clone()).unwrap_or_default();
    let before = |span: &Range<usize>, markup| text.get(..span.start).is_some_and(|before| before.ends_with(markup));
    let cut_link = inside(&span).find("](").is_some_and(|close| inside(&span).find('[').is_none_or(|open| open > close));
    if cut_link && before(&span, "[") {
        span.start -= 1;
    }
    if !inside(&span).matches("**").count().is_multiple_of(2) {
        if before(&span, "**") {
            span.start -= 2;
        } else if text.get(span.end..).is_some_and(|after| after.starts_with("**")) {
            span.end += 2;
        }
    }
    span
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

/// Puts the evaluation together. `mention` is the org's first mention and `rivals` the first occurrence of every competitor.
pub(super) fn assemble(
    text: &str,
    verdict: Option<&Verdict>,
    mention: Option<&Range<usize>>,
    rivals: &[Option<Range<usize>>],
    citations: &[ExtractedCitation],
) -> OrgEvaluation {
    let citation = citations.iter().any(|citation| citation.ownership == Ownership::Primary);
    let empty = text.trim().is_empty();
    let (Some(verdict), Some(mention), false) = (verdict.filter(|verdict| verdict.mentioned), mention, empty) else {
        return OrgEvaluation { citation, share_of_voice: (!empty).then_some(0.0), ..OrgEvaluation::default() };
    };
    // Names that first stand at one place (`Orla`, `Orla CRM`) are one brand.
    let before = united(rivals.iter().flatten().filter(|rival| rival.start < mention.start).cloned().collect()).len();
    OrgEvaluation {
        mentioned: true,
        citation,
        sentiment: verdict.sentiment,
        mention_text: verdict.mention_text.clone(),
        mention_rank: Some(u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1)),
        share_of_voice: Some(share(verdict.mention_text.as_deref().unwrap_or_default(), text)),
    }
}

/// Characters (Unicode scalar values) of the mention text by those of the answer; 1 at most, whatever the separators add.
fn share(mention_text: &str, text: &str) -> f64 {
    let characters = |text: &str| text.chars().count() as f64;
    (characters(mention_text) / characters(text).max(1.0)).min(1.0)
}
