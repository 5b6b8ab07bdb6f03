//! Insights on hand-made rows: reference values of the formulas, what is left out, agreement, change.

use overheard::insights::{
    Metric, Table, benjamini_hochberg, compare, explain, mcnemar, measure, name_key, normal_cdf, overall, percentile_of,
    position_score, position_weight, ratio_intervals, t_quantile_975, wilson,
};
use serde_json::{Map, Value, json};

pub fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => panic!("{other} is no object"),
    }
}

/// An extracted answer that mentions nobody and cites nothing; `changes` override.
pub fn row(question: &str, model: &str, changes: Value) -> Map<String, Value> {
    let mut row = fields(json!({
        "question_id": question, "question": format!("Question {question}?"), "model": model, "location": "US",
        "repeat": 1, "status": "answered", "served_model": null, "cost_micro_usd": 1500, "maybe_charged_micro_usd": 0,
        "extracted": true, "extraction_cost_micro_usd": 70, "extraction_maybe_charged_micro_usd": 0, "mentioned": false,
        "citation": false, "sentiment": null, "mention_rank": null, "share_of_voice": 0.0, "competitors": [],
        "citations": [],
    }));
    row.extend(fields(changes));
    row
}

pub fn mention(rank: u32, sentiment: &str) -> Value {
    json!({"mentioned": true, "mention_rank": rank, "sentiment": sentiment, "share_of_voice": 0.5})
}

pub fn org() -> Value {
    json!({"name": "Acme", "aliases": ["ACME Inc"], "competitors": ["Bolt", "Crate"]})
}

pub fn table(rows: impl IntoIterator<Item = Map<String, Value>>) -> Table {
    let mut table = Table::new(&org(), 7);
    for row in rows {
        table.add("b1", &row);
    }
    table
}

pub fn report(table: &Table) -> Value {
    measure(table, "{}").unwrap()
}

fn close(found: &Value, wanted: f64) {
    let found = found.as_f64().unwrap_or(f64::NAN);
    assert!((found - wanted).abs() < 1e-9, "{found} is not {wanted}");
}

fn close_to(found: f64, wanted: f64, off: f64) {
    assert!((found - wanted).abs() < off, "{found} is not {wanted}");
}

// --- reference values of domain.md §3.3 and §3.4 ---

#[test]
fn wilson_to_four_decimals() {
    let table = [
        (0, 1, 0.0, 0.7935),
        (1, 1, 0.2065, 1.0),
        (1, 3, 0.0615, 0.7923),
        (3, 3, 0.4385, 1.0),
        (0, 5, 0.0, 0.4345),
        (3, 5, 0.2307, 0.8824),
        (5, 5, 0.5655, 1.0),
        (4, 9, 0.1888, 0.7333),
        (0, 10, 0.0, 0.2775),
        (8, 22, 0.1973, 0.5705),
        (10, 22, 0.2692, 0.6534),
        (18, 30, 0.4232, 0.7541),
        (60, 100, 0.5020, 0.6906),
    ];
    for (successes, trials, lower, upper) in table {
        let (low, high) = wilson(f64::from(successes), f64::from(trials)).unwrap();
        assert!(
            (low - lower).abs() < 0.000_051 && (high - upper).abs() < 0.000_051,
            "{successes}/{trials}: ({low:.4}, {high:.4}) is not ({lower}, {upper})"
        );
    }
    assert_eq!(wilson(0.0, 0.0), None);
}

#[test]
fn position_and_overall_score() {
    for (rank, score) in [(1, 100.0), (2, 90.0), (3, 80.0), (5, 60.0), (10, 10.0), (11, 10.0), (u32::MAX, 10.0)] {
        close_to(position_score(Some(rank)), score, 1e-12);
    }
    close_to(position_score(None), 0.0, 1e-12);
    close_to(overall(100.0, 100.0, 100.0, 100.0), 100.0, 1e-12);
    close_to(overall(90.0, 80.0, 50.0, 25.0), 40.5 + 20.0 + 10.0 + 2.5, 1e-12);
}

#[test]
fn tests_in_closed_form() {
    close_to(normal_cdf(1.959_964), 0.975, 1e-6);
    for (freedom, quantile) in [(4.0, 2.7764), (5.0, 2.5706), (9.0, 2.2622), (24.0, 2.0639), (999.0, 1.9623)] {
        close_to(t_quantile_975(freedom), quantile, 0.004);
    }
    // Exact: 2 · P(X ≤ 1 of 8 at one half) = 2 · 9/256; of 5, none: 2/32.
    close_to(mcnemar(1, 7), 18.0 / 256.0, 1e-12);
    close_to(mcnemar(7, 1), 18.0 / 256.0, 1e-12);
    close_to(mcnemar(0, 5), 2.0 / 32.0, 1e-12);
    assert!(mcnemar(0, 0) == 1.0 && mcnemar(4, 4) == 1.0);
    // χ² = (|30 − 10| − 1)² / 40 = 9.025, one degree of freedom: p = 0.002663.
    close_to(mcnemar(10, 30), 0.002_663, 0.000_001);
    close_to(mcnemar(12, 12), 1.0, 1e-12);
    let adjusted = benjamini_hochberg(&[0.01, 0.04, 0.03, 0.005]);
    for (found, wanted) in adjusted.iter().zip([0.02, 0.04, 0.04, 0.02]) {
        close_to(*found, wanted, 1e-12);
    }
    assert_eq!(percentile_of(&[1.0, 2.0, 4.0], 0.75), Some(3.0));
    assert_eq!(percentile_of(&[], 0.5), None);
}

#[test]
fn share_of_voice_examples() {
    // Elmo: own 40, all 150 → 26.7 %; presence 22 of 50 → 44 %.
    let rows = (0..150).map(|number| {
        let question = format!("q{:02}", number % 50);
        if number < 40 {
            row(&question, "m", mention(1, "neutral"))
        } else {
            row(&question, "m", json!({"competitors": ["Bolt"]}))
        }
    });
    assert_eq!(report(&table(rows))["summary"]["brandSOV"], "26.7");
    let rows = (0..50).map(|number| {
        let seen = if number < 22 { mention(1, "neutral") } else { json!({}) };
        row(&format!("q{number:02}"), "m", seen)
    });
    let told = report(&table(rows));
    close(&told["summary"]["visibility"]["value"], 44.0);
    close(&told["summary"]["visibility"]["numerator"], 22.0);
}

// --- a batch by hand ---

fn source(domain: &str, own: bool, position: u32) -> Value {
    json!({"domain": domain, "type": if own { "primary" } else { "secondary" }, "position": position, "cited": true})
}

fn small() -> Table {
    let mut first = mention(2, "positive");
    first["competitors"] = json!(["Bolt", "bolt ", "Dynamo", "ACME inc"]);
    first["citations"] = json!([source("x.example", false, 1), source("acme.example", true, 2), source("x.example", false, 3)]);
    first["citation"] = json!(true);
    let mut second = mention(1, "negative");
    second["sentiment"] = Value::Null;
    second["citations"] = json!([source("y.example", false, 1)]);
    let ghost = json!({
        "competitors": ["BOLT", "Dynamo", "dynamo"], "citation": true,
        "citations": [source("acme.example", true, 1)],
    });
    table([
        row("q1", "m", first),
        row("q2", "m", second),
        row("q3", "m", ghost),
        row("q4", "m", json!({"status": "refused", "extracted": false})),
        row("q5", "m", json!({"status": "no_answer", "extracted": false})),
        row("q6", "m", json!({"status": "failed", "extracted": false, "cost_micro_usd": null})),
        row("q7", "m", json!({"extracted": false})),
        row("q8", "m", json!({})),
    ])
}

#[test]
fn every_metric_of_a_batch_by_hand() {
    let told = report(&small());
    let summary = &told["summary"];
    let expected = [
        ("visibility", 2.0, 4.0, 50.0),
        ("ownCitationRate", 2.0, 4.0, 50.0),
        ("ownCitationShare", 2.0, 5.0, 40.0),
        // Own 2; Bolt and Dynamo in q1, Bolt and Dynamo in q3.
        ("shareOfVoiceBinary", 2.0, 6.0, 100.0 / 3.0),
        ("shareOfVoiceText", 1.0, 4.0, 25.0),
        ("averageRank", 3.0, 2.0, 1.5),
        ("meanReciprocalRank", 1.5, 4.0, 0.375),
        ("positionScore", 190.0, 4.0, 47.5),
        ("sentiment", 100.0, 1.0, 100.0),
        ("ghostCitationRate", 1.0, 2.0, 50.0),
    ];
    for (name, numerator, denominator, value) in expected {
        let figure = &summary[name];
        assert_eq!(figure["metric"], name);
        close(&figure["numerator"], numerator);
        close(&figure["denominator"], denominator);
        close(&figure["value"], value);
        assert_eq!((&figure["verdict"], &figure["interval"]), (&json!("insufficient"), &Value::Null), "{name}");
        let unknown = u64::from(name == "sentiment");
        let left = json!({"refused": 1, "noAnswer": 1, "failed": 1, "notExtracted": 1, "notKnown": unknown});
        assert_eq!(figure["leftOut"], left, "{name}");
    }
    // q1: rank 2, link 2, a third of the citations; q2: rank 1, no link; q3: no rank, link 1, all; q8: no source at all.
    let scores = overall(90.0, 90.0, 100.0 / 3.0, 100.0)
        + overall(100.0, 0.0, 0.0, 100.0)
        + overall(0.0, 100.0, 100.0, 100.0)
        + overall(0.0, 0.0, 0.0, 25.0);
    close(&summary["overallScore"]["value"], scores / 4.0);
    assert_eq!(summary["brandSOV"], "33.3");
    assert_eq!(summary["brandSOVInterval"], Value::Null);
    assert_eq!(summary["topCompetitor"], "Bolt");
    assert_eq!(summary["questions"], 8);
    let outcomes = json!({"answered": 5, "refused": 1, "noAnswer": 1, "failed": 1, "notExtracted": 1, "notKnown": 0});
    assert_eq!(summary["outcomes"], outcomes);
    assert_eq!(
        summary["cost"],
        json!({"totalMicroUsd": 7 * 1570 + 70, "total": "0.011060", "maybeChargedMicroUsd": 0, "notKnown": 1})
    );
}

#[test]
fn competitors_are_one_name_in_every_spelling_and_never_the_org() {
    let told = report(&small());
    let names: Vec<(&str, u64)> = told["competitors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["name"].as_str().unwrap(), line["answers"].as_u64().unwrap()))
        .collect();
    assert_eq!(names, [("Bolt", 2), ("Dynamo", 2), ("Crate", 0)]);
    let bolt = &told["competitors"][0];
    close(&bolt["visibility"]["value"], 50.0);
    close(&bolt["shareOfVoice"]["value"], 100.0 * 2.0 / 6.0);
    close(&bolt["averagePosition"], 1.0);
    assert_eq!(bolt["models"], json!({"m": 2}));
    assert_eq!(name_key("  Straße\u{a0}ﬁve "), name_key("STRASSE FIVE"));
    assert_eq!(name_key("ΟΔΟΣ"), name_key("οδος"));
    assert_ne!(name_key("Bolt"), name_key("Bolt CRM"));
}

#[test]
fn without_any_competitor_there_is_no_share_of_voice() {
    let mut table = Table::new(&json!({"name": "Acme"}), 1);
    for number in 0..6 {
        table.add("b", &row(&format!("q{number}"), "m", mention(1, "neutral")));
    }
    let told = report(&table);
    assert_eq!((&told["summary"]["brandSOV"], &told["summary"]["topCompetitor"]), (&Value::Null, &Value::Null));
    assert_eq!(told["summary"]["shareOfVoiceBinary"]["verdict"], "no data");
    close(&told["summary"]["visibility"]["value"], 100.0);
}

#[test]
fn domains_count_answers_and_citations() {
    let told = report(&small());
    let lines: Vec<(&str, &str, u64, u64)> = told["domains"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap();
            let number = |name: &str| line[name].as_u64().unwrap();
            (text("domain"), text("type"), number("answers"), number("citations"))
        })
        .collect();
    let expected = [("acme.example", "primary", 2, 2), ("x.example", "secondary", 1, 2), ("y.example", "secondary", 1, 1)];
    assert_eq!(lines, expected);
    close(&told["domains"][0]["share"]["value"], 40.0);
}

#[test]
fn classes_of_citations_have_shares_and_domains_their_most_common_one() {
    let of = |domain: &str, class: Value, position: u32| {
        let mut source = source(domain, class == "own", position);
        source["class"] = class;
        source
    };
    let cites = |sources: Vec<Value>| json!({"citations": sources});
    let told = report(&table([
        row("q1", "m", cites(vec![of("acme.example", json!("own"), 1), of("google.com", json!("news"), 2)])),
        row("q2", "m", cites(vec![of("google.com", json!("directory"), 1), of("google.com", json!("directory"), 2)])),
        // An older version did not say the class; a later one may know another word.
        row("q3", "m", cites(vec![of("x.example", Value::Null, 1), of("acme.example", json!("own"), 2)])),
        row("q4", "m", cites(vec![of("y.example", json!("moon"), 1)])),
        row("q5", "m", cites(vec![])),
    ]));
    let shares = &told["summary"]["citationClasses"];
    for (class, numerator) in [("own", 1.0), ("news", 1.0), ("directory", 2.0), ("government", 0.0), ("competitor", 0.0)] {
        assert_eq!(shares[class]["metric"], "citationClassShare");
        close(&shares[class]["numerator"], numerator);
        close(&shares[class]["denominator"], 4.0);
        assert_eq!(shares[class]["leftOut"]["notKnown"], 2, "{class}");
    }
    assert_eq!(shares.as_object().unwrap().len(), 8);
    let classes: Vec<(&str, &Value)> =
        told["domains"].as_array().unwrap().iter().map(|line| (line["domain"].as_str().unwrap(), &line["class"])).collect();
    let (none, own, directory) = (Value::Null, json!("own"), json!("directory"));
    assert_eq!(classes, [("google.com", &directory), ("acme.example", &own), ("x.example", &none), ("y.example", &none)]);
}

// --- intervals ---

#[test]
fn an_interval_needs_five_questions_and_repeats_are_not_questions() {
    let rows = |questions: u32| {
        (0..questions).flat_map(|question| {
            (1..=5).map(move |repeat| {
                let mut changes = if (question + repeat) % 2 == 0 { mention(1, "neutral") } else { json!({}) };
                changes["repeat"] = json!(repeat);
                row(&format!("q{question}"), "m", changes)
            })
        })
    };
    let four = report(&table(rows(4)));
    let visibility = &four["summary"]["visibility"];
    assert_eq!((&visibility["verdict"], &visibility["interval"]), (&json!("insufficient"), &Value::Null));
    assert_eq!(visibility["denominator"], 20.0);
    let five = report(&table(rows(5)));
    let visibility = &five["summary"]["visibility"];
    assert_eq!((&visibility["verdict"], &visibility["intervalMethod"]), (&json!("ok"), &json!("bootstrap")));
    let cell = &five["questions"][0]["cells"][0]["visibility"];
    assert_eq!((&cell["denominator"], &cell["intervalMethod"]), (&json!(5.0), &json!("wilson")));
    let (low, high) = wilson(cell["numerator"].as_f64().unwrap(), 5.0).unwrap();
    close(&cell["interval"][0], 100.0 * low);
    close(&cell["interval"][1], 100.0 * high);
}

#[test]
fn when_all_questions_say_the_same_wilson_counts_questions() {
    let rows = (0..6).flat_map(|question| {
        (1..=3).map(move |repeat| {
            let mut changes = mention(1, "positive");
            changes["repeat"] = json!(repeat);
            row(&format!("q{question}"), "m", changes)
        })
    });
    let told = report(&table(rows));
    let visibility = &told["summary"]["visibility"];
    assert_eq!(visibility["intervalMethod"], "wilson");
    close(&visibility["interval"][0], 100.0 * wilson(6.0, 6.0).unwrap().0);
    let score = &told["summary"]["positionScore"];
    close(&score["interval"][0], 100.0 * wilson(6.0, 6.0).unwrap().0);
    // A mean rank has no upper end: there is nothing to say how sure 1.0 is.
    assert_eq!(told["summary"]["averageRank"]["interval"], Value::Null);
    assert_eq!(told["summary"]["averageRank"]["verdict"], "ok");
}

#[test]
fn the_same_seed_gives_the_same_intervals_and_another_others() {
    let rows: Vec<_> = (0..12)
        .map(|number| {
            row(&format!("q{number:02}"), "m", if number % 3 == 0 { mention(number + 1, "neutral") } else { json!({}) })
        })
        .collect();
    let interval = |table: &Table| report(table)["summary"]["meanReciprocalRank"]["interval"].clone();
    assert_eq!(interval(&table(rows.clone())), interval(&table(rows.clone())));
    let mut other = Table::new(&org(), 8);
    rows.iter().for_each(|row| other.add("b1", row));
    assert_ne!(interval(&table(rows)), interval(&other));
}

/// A few hundred repetitions; `make intervals` prints thousands.
#[test]
fn intervals_cover_what_they_claim() {
    let mut state = 42_u64;
    let mut chance = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    // Twenty questions, each with a visibility of its own, four answers a question: the answers of a question hang together.
    let (questions, answers, repetitions) = (20, 4, 300);
    let truth = 0.4;
    let mut covered = (0, 0);
    for repetition in 0..repetitions {
        let clusters: Vec<(f64, f64)> = (0..questions)
            .map(|_| {
                let p = if chance() < truth { 0.9 } else { 0.066_667 };
                let seen: u32 = (0..answers).map(|_| u32::from(chance() < p)).sum();
                (f64::from(seen), f64::from(answers))
            })
            .collect();
        let p = truth * 0.9 + (1.0 - truth) * 0.066_667;
        let found = ratio_intervals(repetition, std::slice::from_ref(&clusters));
        let (low, high) = found.first().copied().flatten().unwrap();
        covered.0 += u32::from(low <= p && p <= high);
        let seen: f64 = clusters.iter().map(|(seen, _)| seen).sum();
        let (low, high) = wilson(seen, f64::from(questions * answers)).unwrap();
        covered.1 += u32::from(low <= p && p <= high);
    }
    let share = |count: u32| f64::from(count) / repetitions as f64;
    // 300 repetitions of 95 %: three standard errors are 3.8 points.
    assert!((0.90..=0.99).contains(&share(covered.0)), "bootstrap covers {:.3}", share(covered.0));
    // Wilson over all answers, as if they were independent, is too sure of itself here: that is why there is a bootstrap.
    assert!(share(covered.1) < 0.88, "wilson over answers covers {:.3}", share(covered.1));
}

// --- agreement ---

#[test]
fn agreement_by_hand() {
    let mut rows = Vec::new();
    // a: yes yes yes no no no; b: yes yes no no no yes → 4 of 6; both say yes half the time → kappa (2/3 − 1/2) / (1/2).
    for (number, (one, other)) in
        [(true, true), (true, true), (true, false), (false, false), (false, false), (false, true)].into_iter().enumerate()
    {
        let say = |yes: bool, names: Value, domains: &[&str]| {
            let mut changes = if yes { mention(1, "neutral") } else { json!({}) };
            changes["competitors"] = names;
            changes["citations"] = domains.iter().map(|domain| source(domain, false, 1)).collect();
            changes
        };
        let question = format!("q{number}");
        rows.push(row(&question, "a", say(one, json!(["Bolt", "Crate"]), &["x.example", "y.example"])));
        rows.push(row(&question, "b", say(other, json!(["Crate", "Dynamo"]), &["x.example", "x.example"])));
    }
    rows.push(row("q9", "a", mention(1, "neutral")));
    rows.push(row("q9", "b", json!({"status": "refused"})));
    let told = report(&table(rows));
    let pair = &told["agreement"][0];
    assert_eq!((&pair["models"], &pair["cells"]), (&json!(["a", "b"]), &json!(6)));
    close(&pair["raw"]["value"], 100.0 * 4.0 / 6.0);
    close(&pair["kappa"], 1.0 / 3.0);
    close(&pair["domainsJaccard"], 0.5);
    close(&pair["competitorsOverlap"]["value"], 1.0 / 3.0);
    close(&told["summary"]["agreement"]["kappa"], 1.0 / 3.0);
    close(&told["summary"]["agreement"]["raw"]["denominator"], 6.0);
}

#[test]
fn kappa_is_not_defined_when_both_always_say_the_same() {
    let rows = (0..5).flat_map(|number| ["a", "b"].map(|model| row(&format!("q{number}"), model, mention(1, "neutral"))));
    let told = report(&table(rows));
    assert_eq!(told["agreement"][0]["kappa"], Value::Null);
    assert_eq!(told["agreement"][0]["domainsJaccard"], Value::Null);
    close(&told["agreement"][0]["raw"]["value"], 100.0);
}

// --- change ---

/// Forty questions on model `m`; those below `seen` mention the org.
fn answers(seen: std::ops::Range<u32>, count: u32, served: &str) -> Vec<Map<String, Value>> {
    (0..count)
        .map(|number| {
            let mut changes = if seen.contains(&number) { mention(1, "neutral") } else { json!({}) };
            changes["served_model"] = json!(served);
            row(&format!("q{number:02}"), "m", changes)
        })
        .collect()
}

#[test]
fn change_has_a_verdict() {
    let before = table(answers(0..5, 40, "m-1"));
    let moved = compare(&before, &table(answers(0..20, 40, "m-1")));
    assert_eq!((&moved["verdict"], &moved["b"], &moved["c"]), (&json!("moved"), &json!(0), &json!(15)), "{moved}");
    close(&moved["before"]["value"], 12.5);
    close(&moved["after"]["value"], 50.0);
    close(&moved["p"], mcnemar(0, 15));
    assert_eq!(moved["models"][0]["verdict"], "moved");

    let noise = compare(&before, &table(answers(1..8, 40, "m-1")));
    assert_eq!((&noise["verdict"], &noise["b"], &noise["c"]), (&json!("within noise"), &json!(1), &json!(3)), "{noise}");

    let other_model = compare(&before, &table(answers(0..20, 40, "m-2")));
    assert_eq!((&other_model["verdict"], &other_model["p"]), (&json!("not comparable"), &Value::Null));
    assert!(other_model["reason"].as_str().unwrap().contains("m-2"), "{other_model}");

    let other_questions = compare(&before, &table(answers(0..20, 39, "m-1")));
    assert_eq!(other_questions["verdict"], "not comparable");
    let mut texts = answers(0..5, 40, "m-1");
    texts[7]["question"] = json!("Another text?");
    let reworded = compare(&before, &table(texts));
    assert_eq!((&reworded["verdict"], &reworded["reason"]), (&json!("not comparable"), &json!("question q07 has another text")));

    let few = compare(&table(answers(0..4, 4, "m-1")), &table(answers(0..0, 4, "m-1")));
    assert_eq!((&few["verdict"], &few["b"]), (&json!("insufficient"), &json!(4)));
    let refused = answers(0..5, 40, "m-1").into_iter().map(|mut row| {
        row.insert("status".to_owned(), json!("refused"));
        row
    });
    assert_eq!(compare(&before, &table(refused))["verdict"], "insufficient");
    let nothing = compare(&before, &table([row("q1", "another", json!({}))]));
    assert_eq!((&nothing["verdict"], &nothing["reason"]), (&json!("insufficient"), &json!("no model is in both batches")));
}

#[test]
fn what_both_do_not_tell_about_the_served_model_does_not_forbid_a_comparison() {
    let before = table(answers(0..5, 10, ""));
    assert_eq!(compare(&before, &table(answers(0..5, 10, "m-1")))["verdict"], "within noise");
}

#[test]
fn a_change_on_one_of_many_models_must_stand_out_from_all() {
    // 1 lost, 8 won: p = 0.039; the smallest of ten models, so 0.39 after the adjustment.
    let of = |model: &str, seen: std::ops::Range<u32>| {
        answers(seen, 30, "s").into_iter().map({
            let model = model.to_owned();
            move |mut row| {
                row.insert("model".to_owned(), json!(model.clone()));
                row
            }
        })
    };
    let models: Vec<String> = (0..10).map(|number| format!("m{number}")).collect();
    let before = table(models.iter().flat_map(|model| of(model, 0..5)).collect::<Vec<_>>());
    let now = table(models.iter().flat_map(|model| of(model, if model == "m0" { 1..13 } else { 0..5 })).collect::<Vec<_>>());
    let told = compare(&before, &now);
    let first = &told["models"][0];
    close(&first["p"], mcnemar(1, 8));
    assert!(first["p"].as_f64().unwrap() < 0.05 && first["pAdjusted"].as_f64().unwrap() > 0.3, "{first}");
    assert_eq!(first["verdict"], "within noise");
    // Alone it would be one.
    let alone = compare(&table(of("m0", 0..5)), &table(of("m0", 1..13)));
    assert_eq!(alone["models"][0]["verdict"], "moved");
}

// --- explain ---

#[test]
fn explain_names_the_runs_and_why_one_adds_nothing() {
    let lines = explain(&small(), "visibility", None, None).unwrap();
    let why: Vec<Option<&str>> = lines.iter().map(|line| line.why).collect();
    let left = [Some("refused"), Some("noAnswer"), Some("failed"), Some("notExtracted")];
    assert_eq!(why, [&[None; 3][..], &left, &[None]].concat());
    assert_eq!(lines[0].cell_key.as_deref(), Some("q1|m|US|1"));
    let sentiment = explain(&small(), "models.m.sentiment", None, Some("US")).unwrap();
    assert_eq!((sentiment[1].why, sentiment[2].why), (Some("notKnown"), Some("not mentioned")));
    for unknown in [
        "nothing",
        "models.x.visibility",
        "competitors.Nobody.visibility",
        "domains.x.example.visibility",
        "summary.citationClasses.moon",
        "",
    ] {
        assert!(explain(&small(), unknown, None, None).is_none(), "{unknown}");
    }
    assert!(explain(&small(), "visibility", Some("x"), None).is_none());
    assert!(explain(&small(), "visibility", None, Some("DE")).is_none());
}

#[test]
fn metrics_are_found_by_their_names() {
    for metric in Metric::ALL {
        assert_eq!(Metric::named(metric.name()), Some(metric));
    }
    assert_eq!(Metric::named("brandSOV"), Some(Metric::ShareOfVoiceBinary));
}

/// Reference values: `domain.md` §3.1 (Evertune's weights) and §3.4 (own 40 of 150 is 26.7 %, Profound's 50 of 500 is 10 %).
#[test]
fn shares_prominence_and_list_position_by_hand() {
    for (rank, weight) in [(Some(1), 1.0), (Some(2), 0.9), (Some(3), 0.81), (None, 0.0)] {
        close_to(position_weight(rank), weight, 1e-12);
    }
    let answer = |question: &str, own: u32, others: Value, more: Value| {
        let names: Vec<&str> = ["Bolt", "Crate"].into_iter().take(others.as_array().unwrap().len()).collect();
        let told = json!({"occurrences": own, "competitors": names, "competitor_occurrences": others});
        row(question, "m", Value::Object(fields(told).into_iter().chain(fields(more)).collect()))
    };
    let named = |prominence: f64, position: Value| {
        let mut told = fields(mention(1, "neutral"));
        told.extend(fields(json!({"prominence": prominence, "list_position": position})));
        Value::Object(told)
    };
    let source = json!([{"domain": "x.example", "type": "secondary", "position": 1, "cited": true}]);
    let table = table([
        answer("q1", 30, json!([60, 10]), named(1.0, json!(2))),
        answer("q2", 10, json!([40]), named(0.5, Value::Null)),
        answer("q3", 0, json!([]), json!({"shares": "{\"words\": 0.25, \"position_adjusted\": 0.5}", "citations": source})),
        answer("q4", 0, json!([]), json!({"shares": {"words": 0.75, "position_adjusted": null}, "citations": source})),
        // Of an older extraction: nothing of it is known.
        row("q5", "m", mention(2, "neutral")),
        // One count too many, so that none is known.
        row("q6", "m", json!({"occurrences": 1, "competitors": ["Bolt"], "competitor_occurrences": [1, 2]})),
    ]);
    let told = report(&table);
    for (name, numerator, denominator, value, unknown) in [
        ("shareOfVoiceOccurrences", 40.0, 150.0, 100.0 * 40.0 / 150.0, 2),
        ("shareOfVoiceWords", 1.0, 2.0, 50.0, 0),
        ("shareOfVoicePositionAdjusted", 0.5, 1.0, 50.0, 1),
        ("prominence", 1.5, 2.0, 0.75, 1),
        ("averageListPosition", 2.0, 1.0, 2.0, 1),
        ("positionWeight", 2.9, 6.0, 2.9 / 6.0, 0),
    ] {
        let figure = &told["summary"][name];
        close(&figure["numerator"], numerator);
        close(&figure["denominator"], denominator);
        close(&figure["value"], value);
        assert_eq!(figure["leftOut"]["notKnown"], unknown, "{name}");
    }
    assert_eq!(Metric::named("shareOfVoiceCitations"), Some(Metric::OwnCitationShare));
}

#[test]
fn a_competitor_with_more_than_a_name_is_known_by_its_name() {
    let org = json!({"name": "Acme", "competitors": [{"name": "Bolt", "aliases": ["B."]}, "Crate", {"aliases": []}]});
    let mut table = Table::new(&org, 7);
    table.add("b1", &row("q1", "m", json!({"competitors": ["Bolt"]})));
    let told = report(&table);
    let names: Vec<&str> = told["competitors"].as_array().unwrap().iter().filter_map(|line| line["name"].as_str()).collect();
    assert_eq!(names, ["Bolt", "Crate"]);
}
