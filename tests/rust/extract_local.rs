//! The extraction by rules: whole runs, absence statements, sentiment, and texts that no rule expects.

use overheard::domain::{Citation, EXTRACTOR_VERSION, ExtractionMethod, KnownCompetitor, MicroUsd, Org, RunStatus, Sentiment};

use crate::extract_support::{extractor, org, quillmark, run, run_with};

#[test]
fn a_whole_run() {
    let text = "For bakeries there are several tools:\n\n- **Boxly**: cheap but slow.\n- [Quill Mark](https://www.quillmark.example/?utm_source=chatgpt.com): \
                the best and most reliable choice. It has a free plan.\n- Pêche Royale\n\nSource: https://news.example/crm. In short, quillmark wins.";
    let listed =
        vec![Citation { url: "https://blog.example/a?utm_source=openai".into(), cited: Some(true), ..Citation::default() }];
    let run = run_with(text, listed);
    let extraction = extractor(&quillmark()).local(&run, 1_700_000_000_123);
    assert_eq!((extraction.method, extraction.extractor_version.as_str()), (ExtractionMethod::Local, EXTRACTOR_VERSION));
    assert_eq!(
        (&extraction.batch_id, &extraction.run_id, &extraction.org_id, &extraction.key),
        (&run.batch_id, &run.run_id, &run.org_id, &run.key)
    );
    assert_eq!((extraction.cost_micro_usd, extraction.maybe_charged_micro_usd), (Some(MicroUsd::ZERO), MicroUsd::ZERO));
    assert_eq!(extraction.extracted_at_ms, 1_700_000_000_123);
    assert_eq!(extraction.error, None);
    let evaluation = extraction.evaluation;
    assert!(evaluation.mentioned && evaluation.citation);
    assert_eq!(evaluation.mention_rank, Some(2));
    assert_eq!(evaluation.sentiment, Some(Sentiment::Positive));
    let mention_text = evaluation.mention_text.unwrap();
    assert_eq!(
        mention_text,
        "- [Quill Mark](https://www.quillmark.example/?utm_source=chatgpt.com): the best and most reliable choice. || In short, quillmark wins."
    );
    assert_eq!(evaluation.share_of_voice, Some(mention_text.chars().count() as f64 / text.chars().count() as f64));
    let names: Vec<_> = extraction.competitors.iter().map(|competitor| (competitor.position, competitor.name.as_str())).collect();
    assert_eq!(names, [(1, "Boxly"), (2, "Pêche Royale")]);
    let urls: Vec<_> = extraction.citations.iter().map(|citation| citation.canonical_url.as_str()).collect();
    assert_eq!(urls, ["https://blog.example/a", "https://quillmark.example", "https://news.example/crm"]);
}

#[test]
fn absence_statements_are_no_mentions() {
    let extractor = extractor(&quillmark());
    for text in [
        "QuillMark does not appear in this list.",
        "**QuillMark** doesn’t appear in the results.",
        "QuillMark itself is not mentioned in any of the sources.",
        "Note: QuillMark (quillmark.example) is not listed here.",
        "There is no information on QuillMark.",
        "I couldn't find any information about QuillMark.",
        "I could not find any reliable information about a company called “QuillMark”.",
        "I'm not familiar with QuillMark, sorry.",
        "I am not aware of a tool named QuillMark",
        "The sources do not mention QuillMark at all.",
        "We were unable to find QuillMark. I have no record of Quill Mark either.",
    ] {
        let evaluation = extractor.local(&run(text), 0).evaluation;
        assert!(!evaluation.mentioned, "{text}");
        assert_eq!((evaluation.share_of_voice, evaluation.mention_text, evaluation.mention_rank), (Some(0.0), None, None));
        assert!(extractor.matches(text), "the string is there: a model would be asked");
    }
    for text in [
        "QuillMark is good; Boxly does not appear in this list.",
        "QuillMark stands out, although Boxly does not appear.",
        "QuillMark does not appear to be expensive.",
        "I couldn't find the price, but QuillMark is cheap.",
        "There is no information on prices from QuillMark.",
        "I know nothing of Boxly. QuillMark is good.",
        "QuillMark does not appear in list A. QuillMark leads list B.",
        "Unlike Boxly, which is not mentioned anywhere, QuillMark leads.",
    ] {
        assert!(extractor.local(&run(text), 0).evaluation.mentioned, "{text}");
    }
}

#[test]
fn an_absence_does_not_give_the_rank() {
    let text = "QuillMark does not appear in list A. Boxly leads it. QuillMark leads list B.";
    let evaluation = extractor(&quillmark()).local(&run(text), 0).evaluation;
    assert_eq!(evaluation.mention_rank, Some(2));
    assert_eq!(evaluation.mention_text.as_deref(), Some("QuillMark leads list B."));
}

#[test]
fn sentences() {
    for (text, mention) in [
        ("One. QuillMark Inc. is here. Three.", "QuillMark Inc. is here."),
        ("Is it QuillMark? Yes! No.", "Is it QuillMark?"),
        ("Ask Yahoo! about QuillMark. Next.", "Ask Yahoo! about QuillMark."),
        ("甲。QuillMark很好。乙。", "QuillMark很好。"),
        ("| A | b |\n| QuillMark | 20 |\n| C | d |", "| QuillMark | 20 |"),
        ("Prices e.g. for QuillMark vs. Boxly. Next.", "Prices e.g. for QuillMark vs. Boxly."),
        ("QuillMark", "QuillMark"),
        ("  QuillMark  ", "QuillMark"),
        ("QuillMark and QuillMark. QuillMark.", "QuillMark and QuillMark. || QuillMark."),
    ] {
        assert_eq!(extractor(&quillmark()).local(&run(text), 0).evaluation.mention_text.as_deref(), Some(mention), "{text}");
    }
    let long = format!("{} QuillMark {}", "word ".repeat(10_000), "word ".repeat(10_000));
    let mention = extractor(&quillmark()).local(&run(&long), 0).evaluation.mention_text.unwrap();
    assert!(mention.len() < 1_100 && mention.contains("QuillMark"), "a text without sentences is cut around the name");
}

#[test]
fn only_an_answer_is_evaluated() {
    for status in [RunStatus::Refused, RunStatus::NoAnswer, RunStatus::Failed] {
        let mut run = run("QuillMark is great, Boxly too: https://quillmark.example");
        run.outcome.status = status;
        let extraction = extractor(&quillmark()).local(&run, 0);
        assert!(!extraction.evaluation.mentioned);
        assert_eq!(extraction.evaluation.share_of_voice, None);
        assert!(extraction.competitors.is_empty() && extraction.citations.is_empty());
    }
    let mut run = run("");
    run.outcome.text = None;
    assert_eq!(extractor(&quillmark()).local(&run, 0).evaluation.share_of_voice, None);
}

#[test]
fn the_org_is_never_its_own_competitor() {
    let competitors = ["Boxly", "quill mark", "QuillMark Ltd", "CRM", "", "quillmark.example", "QuillMark Pro"]
        .map(KnownCompetitor::from)
        .to_vec();
    let org = Org { competitors, ..quillmark() };
    let extraction = extractor(&org).local(&run("QuillMark Pro, a CRM on quillmark.example, beats Boxly Inc."), 0);
    let names: Vec<_> = extraction.competitors.iter().map(|competitor| competitor.name.as_str()).collect();
    assert_eq!(names, ["Boxly"]);
    assert_eq!(extraction.evaluation.mention_rank, Some(1));
}

#[test]
fn a_competitor_that_is_said_to_be_absent_is_not_named() {
    let extraction = extractor(&quillmark())
        .local(&run("I could not find reliable information about Boxly. QuillMark leads, then Boxly Inc."), 0);
    assert_eq!(extraction.evaluation.mention_rank, Some(1));
    assert_eq!(extraction.competitors.len(), 1, "named later");
    let extraction = extractor(&quillmark()).local(&run("There is no mention of Boxly in the rankings. QuillMark leads."), 0);
    assert!(extraction.competitors.is_empty());
}

#[test]
fn competitors_are_found_in_their_spellings() {
    let org = Org { competitors: vec!["HubSpot, Inc.".into(), "Brot & Butter GmbH".into()], ..quillmark() };
    let extraction = extractor(&org).local(&run("Hub Spot, then Brot and Butter, then HubSpot again."), 0);
    let names: Vec<_> = extraction.competitors.iter().map(|competitor| competitor.name.as_str()).collect();
    assert_eq!(names, ["HubSpot, Inc.", "Brot & Butter GmbH"], "by their configured names");
}

#[test]
fn an_empty_org_finds_nothing_and_does_not_fail() {
    let extraction = extractor(&org("")).local(&run("Anything https://x.example"), 0);
    assert!(!extraction.evaluation.mentioned);
    assert_eq!(extraction.citations.len(), 1);
}

#[test]
fn a_recorded_chatgpt_row() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/brightdata/brightdata-chatgpt-3.community-fixture.json");
    let rows: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let row = &rows[0];
    let listed = row["citations"].as_array().unwrap().iter().map(|citation| Citation {
        url: citation["url"].as_str().unwrap().into(),
        title: citation["title"].as_str().map(str::to_owned),
        cited: citation["cited"].as_bool(),
        position: citation["position"].as_u64().and_then(|position| position.try_into().ok()),
        ..Citation::default()
    });
    let org = Org { websites: vec!["couloir3.com".into()], competitors: vec!["Candidate Studio".into()], ..org("Couloir 3") };
    let extraction = extractor(&org).local(&run_with(row["answer_text_markdown"].as_str().unwrap(), listed.collect()), 0);
    let evaluation = &extraction.evaluation;
    assert!(evaluation.mentioned && evaluation.citation);
    assert_eq!(evaluation.mention_text.as_deref(), Some("**Couloir 3** is a strong option."));
    assert_eq!((evaluation.mention_rank, evaluation.sentiment), (Some(1), Some(Sentiment::Positive)));
    assert!(extraction.competitors.is_empty(), "named in the list of sources only");
    let citations: Vec<_> =
        extraction.citations.iter().map(|row| (row.canonical_url.as_str(), row.domain.as_str(), row.cited)).collect();
    assert_eq!(
        citations,
        [
            ("https://couloir3.com", "couloir3.com", Some(true)),
            ("https://candidate.example/work", "candidate.example", Some(false))
        ]
    );
}
