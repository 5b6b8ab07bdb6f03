//! A stored answer by the rules of now beside an earlier extraction: what is kept, what is made anew, what it is a digest of.

use overheard::domain::{
    Competitor, Dropped, Evidence, Extraction, ExtractionMethod, MicroUsd, Org, OrgEvaluation, Sentiment, Usage,
};
use overheard::extract::Extractor;

use crate::extract_support::run;

const ANSWER: &str = "Bolt is cheap. Zeta is new. Acme is good.";

fn org(aliases: &[&str], competitors: &[&str]) -> Org {
    Org {
        id: "acme".into(),
        name: "Acme".into(),
        aliases: aliases.iter().map(ToString::to_string).collect(),
        competitors: competitors.iter().map(|name| (*name).into()).collect(),
        ..Org::default()
    }
}

fn extractor(org: &Org) -> Extractor {
    Extractor::new(org, &[])
}

/// What a model said of `ANSWER`, when it knew nothing of the order.
fn earlier(method: ExtractionMethod) -> Extraction {
    let base = extractor(&org(&[], &[])).local(&run(ANSWER), 1);
    Extraction {
        method,
        extractor_version: "0".into(),
        fingerprint: "0".into(),
        evaluation: OrgEvaluation {
            mentioned: true,
            sentiment: Some(Sentiment::Positive),
            sentiment_quote: Some("Acme is good.".into()),
            mention_text: Some("Acme is good.".into()),
            mention_rank: Some(1),
            ..OrgEvaluation::default()
        },
        competitors: vec![
            Competitor { name: "Zeta".into(), position: 1, ..Competitor::default() },
            Competitor { name: "Ghost".into(), position: 2, ..Competitor::default() },
        ],
        dropped: Dropped { invented_competitors: 3, ..Dropped::default() },
        evidence: Evidence::default(),
        cost_micro_usd: Some(MicroUsd(70)),
        maybe_charged_micro_usd: MicroUsd(5),
        usage: Usage { input_tokens: Some(100), ..Usage::default() },
        ..base
    }
}

fn names(extraction: &Extraction) -> Vec<&str> {
    extraction.competitors.iter().map(|brand| brand.name.as_str()).collect()
}

#[test]
fn what_only_a_model_can_say_is_kept_and_the_rest_made_anew() {
    let now = extractor(&org(&[], &["Bolt"]));
    let fresh = now.replay(&run(ANSWER), &earlier(ExtractionMethod::Llm), 9);
    assert_eq!(fresh.method, ExtractionMethod::Llm);
    assert_eq!(fresh.evaluation.sentiment, Some(Sentiment::Positive));
    assert_eq!(fresh.evaluation.sentiment_quote.as_deref(), Some("Acme is good."));
    assert_eq!(fresh.evaluation.mention_rank, Some(3), "the rank is the rules'");
    assert_eq!(names(&fresh), ["Bolt", "Zeta"], "what does not stand in the answer goes");
    assert_eq!(fresh.competitors.iter().map(|brand| brand.position).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((fresh.cost_micro_usd, fresh.maybe_charged_micro_usd), (Some(MicroUsd(70)), MicroUsd(5)));
    assert_eq!(fresh.usage.input_tokens, Some(100));
    assert_eq!(fresh.dropped.invented_competitors, 3);
    assert_eq!((fresh.fingerprint.as_str(), fresh.extracted_at_ms), (now.fingerprint(), 9));
}

#[test]
fn an_extraction_by_rules_is_made_anew_as_a_whole() {
    let now = extractor(&org(&[], &["Bolt"]));
    let fresh = now.replay(&run(ANSWER), &earlier(ExtractionMethod::Local), 9);
    let local = now.local(&run(ANSWER), 9);
    assert_eq!(fresh.evaluation, local.evaluation);
    assert_eq!(names(&fresh), ["Bolt"]);
    assert_eq!(fresh.cost_micro_usd, Some(MicroUsd(70)), "money stays whoever extracted");
}

#[test]
fn an_answer_that_is_no_mention_any_more_loses_what_the_model_said_of_it() {
    let other = Org { name: "Nobody".into(), ..org(&[], &[]) };
    let fresh = extractor(&other).replay(&run(ANSWER), &earlier(ExtractionMethod::Llm), 9);
    assert!(!fresh.evaluation.mentioned);
    assert_eq!((fresh.evaluation.sentiment, fresh.evaluation.mention_rank), (None, None));
    assert_eq!(fresh.evaluation.mention_text, None);
    assert_eq!(names(&fresh), ["Zeta"], "a competitor is one whether the org is named or not");
}

#[test]
fn a_replay_of_a_replay_changes_nothing() {
    let now = extractor(&org(&[], &["Bolt"]));
    let once = now.replay(&run(ANSWER), &earlier(ExtractionMethod::Llm), 9);
    assert_eq!(now.replay(&run(ANSWER), &once, 9), once);
}

#[test]
fn the_digest_is_of_what_the_rules_read() {
    let digest = |org: &Org, names: &[&str]| {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        Extractor::new(org, &names).fingerprint().to_owned()
    };
    let base = digest(&org(&[], &[]), &["a", "b"]);
    assert_eq!(base.len(), 16);
    assert_eq!(base, digest(&Org { id: "other".into(), models: vec!["m".into()], ..org(&[], &[]) }, &["b", "a", "a"]));
    assert_ne!(base, digest(&org(&[], &[]), &["a"]));
    assert_ne!(base, digest(&org(&["Akme"], &[]), &["a", "b"]));
    assert_ne!(base, digest(&org(&[], &["Bolt"]), &["a", "b"]));
    assert_ne!(base, digest(&Org { keep_apart: vec!["Bolt".into()], ..org(&[], &[]) }, &["a", "b"]));
}

#[test]
fn shares_of_own_pages_are_the_rules_also_where_a_model_made_the_earlier_extraction() {
    let text = "Bolt is cheap ([review](https://bolt.example/a)). Acme is good ([guide](https://acme.example/b)).";
    let org = Org { websites: vec!["https://acme.example".into()], ..org(&[], &["Bolt"]) };
    let by_rules = extractor(&org).local(&run(text), 1);
    let replayed = extractor(&org).replay(&run(text), &earlier(ExtractionMethod::Llm), 2);
    assert_eq!(replayed.evaluation.shares, by_rules.evaluation.shares);
    assert_eq!(replayed.evaluation.shares.citations, Some(0.5));
    let none = extractor(&Org { websites: Vec::new(), ..org }).local(&run(text), 1).evaluation.shares;
    assert!([none.words, none.position_adjusted].iter().all(|share| share.is_some_and(f64::is_sign_positive)), "{none:?}");
}
