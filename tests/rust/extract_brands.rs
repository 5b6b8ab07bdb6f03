//! Which names are one brand: configured forms, what a model names, merges with their reasons, and how they are undone.

use overheard::domain::{Competitor, KnownCompetitor, MergeReason, Org};
use serde_json::json;

use crate::extract_support::{extractor, quillmark, run};

fn hubspot() -> KnownCompetitor {
    KnownCompetitor {
        aliases: vec!["HS".into()],
        products: vec!["Marketing Hub".into()],
        parent: Some("Orla Holding".into()),
        ..KnownCompetitor::from("HubSpot")
    }
}

fn with(competitors: Vec<KnownCompetitor>) -> Org {
    Org { competitors, ..quillmark() }
}

fn merged(competitor: &Competitor) -> Vec<(&str, MergeReason)> {
    competitor.merged.iter().map(|merge| (merge.name.as_str(), merge.reason)).collect()
}

fn named(org: &Org, text: &str, names: &[&str]) -> (Vec<Competitor>, u32, u32) {
    let (found, dropped) = extractor(org).parse_competitors(text, &json!({"competitors": names}).to_string()).unwrap();
    (found, dropped.invented_competitors, dropped.rejected_competitors)
}

fn names(found: &[Competitor]) -> Vec<&str> {
    found.iter().map(|competitor| competitor.name.as_str()).collect()
}

#[test]
fn a_configured_brand_is_found_in_all_its_forms() {
    let text = "Marketing Hub and Hub Spot; HS, HubSpot, and HubSpot again. Orla Holding owns it.";
    let found = extractor(&with(vec![hubspot()])).local(&run(text), 0).competitors;
    assert_eq!(names(&found), ["HubSpot"]);
    assert_eq!((found[0].occurrences, found[0].position, found[0].parent.as_deref()), (5, 1, Some("Orla Holding")));
    let reasons = [("Marketing Hub", MergeReason::Product), ("Hub Spot", MergeReason::Spelling), ("HS", MergeReason::Alias)];
    assert_eq!(merged(&found[0]), reasons);
}

#[test]
fn what_is_kept_apart_is_a_brand_of_its_own() {
    let org = Org { keep_apart: vec!["Marketing Hub".into(), "HubSpot Foundation".into()], ..with(vec![hubspot()]) };
    let text = "HubSpot Foundation, Marketing Hub and HubSpot.";
    let found = extractor(&org).local(&run(text), 0).competitors;
    assert_eq!(names(&found), ["HubSpot Foundation", "Marketing Hub", "HubSpot"]);
    assert!(found.iter().all(|competitor| competitor.occurrences == 1 && competitor.merged.is_empty()));
    let org = Org { keep_apart: vec!["HubSpot CRM".into()], ..with(vec![hubspot()]) };
    let (found, ..) = named(&org, "HubSpot CRM or HubSpot", &["HubSpot CRM", "HubSpot"]);
    assert_eq!(names(&found), ["HubSpot CRM", "HubSpot"]);
}

#[test]
fn what_a_model_names_is_merged_with_a_reason() {
    let org = with(vec![hubspot()]);
    let text = "HubSpot CRM, Braze, Inc., Braze, Zen Desk and Zendesk, Zendesk Suite, Klaviyo GmbH.";
    let given = ["HubSpot CRM", "Braze, Inc.", "Braze", "Zen Desk", "Zendesk", "Zendesk Suite", "Klaviyo GmbH"];
    let (found, invented, rejected) = named(&org, text, &given);
    assert_eq!(names(&found), ["HubSpot", "Braze", "Zen Desk", "Klaviyo"]);
    assert_eq!((invented, rejected), (0, 0));
    assert_eq!(merged(&found[0]), [("HubSpot CRM", MergeReason::Descriptor)]);
    assert_eq!((merged(&found[1]), found[1].occurrences), (vec![("Braze, Inc.", MergeReason::Spelling)], 2));
    assert_eq!(merged(&found[2]), [("Zendesk", MergeReason::Spelling), ("Zendesk Suite", MergeReason::Descriptor)]);
    assert_eq!(found[2].occurrences, 3);
}

#[test]
fn a_descriptor_needs_a_known_brand() {
    let (found, ..) = named(&quillmark(), "Orla Cloud and Blue Bottle Coffee", &["Orla Cloud", "Blue Bottle Coffee"]);
    assert_eq!(names(&found), ["Orla Cloud", "Blue Bottle Coffee"]);
    assert!(found.iter().all(|competitor| competitor.merged.is_empty()));
    let (found, ..) = named(&quillmark(), "Zoho Books is made by Zoho", &["Zoho Books", "Zoho"]);
    assert_eq!(names(&found), ["Zoho Books", "Zoho"], "books are no descriptor");
}

#[test]
fn configured_ones_are_found_without_the_model() {
    let (found, invented, rejected) = named(&quillmark(), "Orla, then Boxly.", &["Orla", "Vantora"]);
    assert_eq!((names(&found), invented, rejected), (vec!["Orla", "Boxly"], 1, 0));
    let (found, ..) = named(&quillmark(), "There is no information on Orla. Boxly leads.", &["Orla"]);
    assert_eq!(names(&found), ["Boxly"], "an absence statement names nobody");
}

#[test]
fn headings_places_dates_and_kinds_are_no_brands() {
    let text = "Key Features Pros Berlin Germany March 2025 Q3 2025 GDPR Vorteile 特徴 QuillMark Pro Orla 2024 Free trial";
    let given = [
        "Key features",
        "Pros",
        "Berlin",
        "Germany",
        "March 2025",
        "Q3 2025",
        "GDPR",
        "Vorteile",
        "特徴",
        "QuillMark Pro",
        "2024",
        "Free Trial",
        "Orla",
    ];
    let (found, invented, rejected) = named(&quillmark(), text, &given);
    assert_eq!((names(&found), invented, rejected), (vec!["Orla"], 0, 12));
    let (found, ..) = named(&with(vec!["Berlin".into()]), "Berlin is a tool", &["Berlin"]);
    assert_eq!(names(&found), ["Berlin"], "the user knows better");
}

#[test]
fn short_and_word_like_names_need_their_case_and_their_boundaries() {
    let org = with(["UR", "Wave", "Sage", "Box", "Illy", "SBI", "Lemonade", "Blue Bottle"].map(KnownCompetitor::from).to_vec());
    let text =
        "ur answer: wave to the sage, drink lemonade from a blue bottle; a box, silly, ours, Boxes, SBIX, Wavelength, UREA, sbi.";
    assert!(extractor(&org).local(&run(text), 0).competitors.is_empty());
    let text = "UR, Wave, Sage, Box, Illy, SBI, Lemonade, Blue Bottle.";
    assert_eq!(extractor(&org).local(&run(text), 0).competitors.len(), 8);
    let text = "ILLY’s WAVE, LEMONADE";
    assert_eq!(extractor(&org).local(&run(text), 0).competitors.len(), 3);
    let found = extractor(&with(vec!["HubSpot".into(), "Lemonade".into()])).local(&run("i like hubspot and lemonade"), 0);
    assert_eq!(found.competitors.len(), 2, "a text without capitals says nothing by its case");
}

#[test]
fn share_of_voice_is_computed_after_the_merge() {
    let org = with(vec![hubspot()]);
    let text = "Marketing Hub, HubSpot CRM, Zendesk Suite, Zendesk, QuillMark.";
    let extractor = extractor(&org);
    let (found, _) =
        extractor.parse_competitors(text, r#"{"competitors": ["HubSpot CRM", "Zendesk", "Zendesk Suite"]}"#).unwrap();
    let verdict = overheard::extract::Verdict { mentioned: true, ..Default::default() };
    let (evaluation, evidence) = extractor.evaluate(text, Some(&verdict), &found, &[]);
    assert_eq!((evaluation.mention_rank, evaluation.shares.occurrences), (Some(3), Some(0.2)));
    assert_eq!((evidence.mention_rank.unwrap().spans.len(), evidence.competitors.unwrap().spans.len()), (2, 2));
}

#[test]
fn a_hostile_entry_does_no_harm() {
    let odd =
        ["", " ", "\u{202e}", "...", "1", "a", "CRM", "\u{0}\u{1}", "\"'`|", "(((((", "**"].map(KnownCompetitor::from).to_vec();
    let org = Org { keep_apart: vec!["".into(), "QuillMark".into(), "\n".into()], ..with(odd) };
    assert!(extractor(&org).local(&run("QuillMark and CRM ... 1 a"), 0).competitors.is_empty());
}

#[test]
fn margin_and_co_is_margin() {
    let extractor = extractor(&quillmark());
    let (found, _) = extractor.parse_competitors("Margin and Co. is a brand.", r#"{"competitors": ["Margin and Co."]}"#).unwrap();
    let names: Vec<&str> = found.iter().map(|brand| brand.name.as_str()).collect();
    assert_eq!(names, ["Margin"]);
}
