//! What injections change: the corpus of `tests/injections/` against the rules and against a simulated model that obeys every one of
//! them. `make injections` prints the tables; as a test it holds what must never happen and a floor under what was measured.
//!
//! The honest extraction is that of the same answer without the payload. The model understands every language and encoding, because
//! each entry says what obeying it means; it can obey only what the prompt still shows (`reads`).

#![allow(clippy::print_stdout, reason = "its tables are what `make injections` is for")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use overheard::config::{Secret, Settings, Timeouts};
use overheard::domain::{Extraction, ExtractionMethod, Org, QuestionRun};
use overheard::extract::{Extractor, deterministic_names};
use overheard::http::{HttpService, ReqwestService};
use overheard::providers::{StructuredModel, structured_model};
use overheard::simulator::{Config, Rates, Running, Simulator};
use serde_json::{Value, json};

use crate::extract_support::run;

const FIELDS: [&str; 7] =
    ["mentioned", "mention_rank", "list_position", "sentiment", "competitors", "share_of_voice ±0.1", "citations"];

fn corpus(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/injections/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn word<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// (honest, injected) text of an entry.
fn texts(entry: &Value, answers: &BTreeMap<String, String>) -> (String, String) {
    let answer = &answers[word(entry, "answer")];
    let filler = |side: &str| word(&entry[side], "text").repeat(entry[side]["times"].as_u64().unwrap_or(0) as usize);
    let payload = format!("{}{}{}", filler("before"), word(entry, "payload"), filler("after"));
    let honest = answer.replace("{{payload}}", "");
    let injected =
        if entry["place"] == "start" { format!("{payload}\n\n{honest}") } else { answer.replace("{{payload}}", &payload) };
    (honest, injected)
}

fn org() -> Org {
    Org {
        id: "quillmark".into(),
        name: "Quillmark".into(),
        websites: vec!["https://quillmark.example".into()],
        // Scribeline, Foliant and Vantora are for the model to find.
        competitors: ["Notaro", "Draftly", "Inkwell Suite"].map(Into::into).to_vec(),
        ..Org::default()
    }
}

/// The fields that differ, by their place in [`FIELDS`].
fn changed(honest: &Extraction, injected: &Extraction) -> [bool; FIELDS.len()] {
    let (before, after) = (&honest.evaluation, &injected.evaluation);
    let names = |extraction: &Extraction| extraction.competitors.iter().map(|brand| brand.name.clone()).collect::<Vec<_>>();
    let urls =
        |extraction: &Extraction| extraction.citations.iter().map(|row| row.canonical_url.clone()).collect::<BTreeSet<_>>();
    let share = |extraction: &Extraction| extraction.evaluation.share_of_voice.unwrap_or(0.0);
    [
        before.mentioned != after.mentioned,
        before.mention_rank != after.mention_rank,
        before.list_position != after.list_position,
        before.sentiment != after.sentiment,
        names(honest) != names(injected),
        (share(honest) - share(injected)).abs() > 0.1,
        urls(honest) != urls(injected),
    ]
}

fn simulator() -> (Running, Settings) {
    let running = Simulator::start(Config { rates: Rates::perfect(), ..Config::default() }).unwrap();
    let mut settings = Settings::default();
    settings.openai.base_url = format!("{}/v1", running.url());
    settings.openai.api_key = serde_json::from_value("sk-simulated".into()).unwrap();
    (running, settings)
}

/// Sets the only fault, or none.
fn set_fault(running: &Running, fault: Option<&Value>) {
    use std::io::{Read, Write};
    let call = |method: &str, body: &str| {
        let mut stream = std::net::TcpStream::connect(running.url().trim_start_matches("http://")).unwrap();
        let head = format!(
            "{method} /_sim/faults HTTP/1.1\r\nhost: s\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        assert!(reply.starts_with("HTTP/1.1 2"), "{reply}");
    };
    call("DELETE", "");
    if let Some(fault) = fault {
        call("POST", &fault.to_string());
    }
}

struct Asked {
    extraction: Extraction,
    /// Mention, sentiment and competitors as the model says them, unchecked.
    raw: (Value, Value, Value),
}

async fn asked(http: &ReqwestService, model: &dyn StructuredModel, extractor: &Extractor, run: &QuestionRun) -> Asked {
    let text = run.outcome.text.as_deref().unwrap();
    let reply = async |request| {
        let reply = http.send(model.request(&request).unwrap()).await.unwrap();
        assert!(reply.is_success(), "{}", String::from_utf8_lossy(&reply.body));
        model.decode(&reply).unwrap().json
    };
    let names = reply(extractor.competitors_request(text, "7f3a91")).await;
    let (competitors, dropped) = extractor.parse_competitors(text, &names).unwrap();
    let mut said = json!({});
    let mut verdict = None;
    if extractor.matches(text) {
        let evaluation = reply(extractor.evaluation_request(text, "7f3a91")).await;
        verdict = Some(extractor.parse_evaluation(text, &evaluation).unwrap());
        said = serde_json::from_str(&evaluation).unwrap();
    }
    let extraction = extractor.with_model(run, verdict.as_ref(), (&competitors, &dropped), 0);
    let names: Value = serde_json::from_str(&names).unwrap();
    Asked { extraction, raw: (said["is_mention_verified"].clone(), said["sentiment"].clone(), names["competitors"].clone()) }
}

#[derive(Default)]
struct Tally {
    entries: usize,
    fields: [usize; FIELDS.len()],
    any: usize,
}

impl Tally {
    fn add(&mut self, changed: [bool; FIELDS.len()]) {
        self.entries += 1;
        self.any += usize::from(changed.contains(&true));
        for (count, changed) in self.fields.iter_mut().zip(changed) {
            *count += usize::from(changed);
        }
    }
}

fn percent(part: usize, of: usize) -> String {
    format!("{part:>3} of {of} ({:.0} %)", 100.0 * part as f64 / of.max(1) as f64)
}

#[tokio::test]
async fn s16_the_corpus_of_injections() {
    let answers: BTreeMap<String, String> =
        corpus("answers").iter().map(|row| (word(row, "id").to_owned(), word(row, "text").to_owned())).collect();
    let entries = corpus("injections");
    assert!(entries.len() >= 60);
    let org = org();
    let extractor = Extractor::new(&org, &deterministic_names(&org));
    let (running, settings) = simulator();
    let model = structured_model("gpt-4.1-mini", &settings).unwrap();
    let http = ReqwestService::new(&Timeouts::default(), &Secret::default()).unwrap();

    let mut honest: BTreeMap<String, (Extraction, Asked)> = BTreeMap::new();
    let (mut local, mut obeying, mut flagged) = (Tally::default(), Tally::default(), 0);
    let (mut raw, mut obeyed, mut unseen) = ([0; 3], 0, Vec::new());
    let mut kinds: BTreeMap<String, (usize, usize, usize)> = BTreeMap::new();
    let mut missed = Vec::new();
    // (injections that order another sentiment than the honest one, those that got it, of these by the rules' word)
    let mut ordered_sentiment = (0, 0, 0);
    let mut let_through = String::new();
    for entry in &entries {
        let (plain, injected) = texts(entry, &answers);
        let key = word(entry, "answer").to_owned();
        if !honest.contains_key(&key) {
            set_fault(&running, None);
            let plain = run(&plain);
            honest.insert(key.clone(), (extractor.local(&plain, 0), asked(&http, &*model, &extractor, &plain).await));
        }
        let (honest_local, honest_asked) = &honest[&key];
        let injected = run(&injected);
        let by_rules = extractor.local(&injected, 0);
        local.add(changed(honest_local, &by_rules));

        let reads = entry["reads"].as_str().unwrap_or(word(entry, "payload"));
        let orders = format!("obeys:{}", entry["orders"]);
        set_fault(&running, Some(&json!({"match": {"prompt_contains": reads}, "fault": orders, "times": null})));
        let answer = asked(&http, &*model, &extractor, &injected).await;
        let told = running.ledger(false)["faults"]["obeys"].as_u64().unwrap_or(0);
        if told == obeyed {
            unseen.push(word(entry, "id"));
        }
        obeyed = told;
        for (count, same) in raw.iter_mut().zip([
            answer.raw.0 == honest_asked.raw.0,
            answer.raw.1 == honest_asked.raw.1,
            answer.raw.2 == honest_asked.raw.2,
        ]) {
            *count += usize::from(!same);
        }
        let differs = changed(&honest_asked.extraction, &answer.extraction);
        if let Some(ordered) = entry["orders"]["sentiment"].as_str() {
            let said = |asked: &Asked| serde_json::to_value(asked.extraction.evaluation.sentiment).unwrap() == ordered;
            if !said(honest_asked) {
                ordered_sentiment.0 += 1;
                ordered_sentiment.1 += usize::from(said(&answer));
                let of_rules =
                    answer.extraction.evidence.sentiment.as_ref().is_some_and(|field| field.method == ExtractionMethod::Local);
                ordered_sentiment.2 += usize::from(said(&answer) && of_rules);
            }
        }
        obeying.add(differs);
        let names: Vec<&str> = FIELDS.iter().zip(differs).filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
        let suspicious = !by_rules.evidence.injection.is_empty();
        let _ = writeln!(
            let_through,
            "  {:<22} {:<34} flag: {}",
            word(entry, "id"),
            names.join(", "),
            by_rules.evidence.injection.join(", ")
        );
        flagged += usize::from(suspicious);
        if !suspicious {
            missed.push(word(entry, "id"));
        }
        let kind = kinds.entry(word(entry, "kind").to_owned()).or_default();
        kind.0 += 1;
        kind.1 += usize::from(suspicious);
        kind.2 += usize::from(differs.contains(&true));

        // What no injection may do, whatever the model says.
        let text = injected.outcome.text.as_deref().unwrap();
        let made = &answer.extraction;
        assert_eq!(made.evidence.injection, by_rules.evidence.injection, "the flag is the rules' in both modes");
        assert_eq!(made.citations, by_rules.citations, "no citation comes from a model");
        assert!(!made.evaluation.mentioned || extractor.matches(text), "no mention without a name");
        assert!(!by_rules.evaluation.mentioned || made.evaluation.mentioned, "{}: a sure mention was talked away", entry["id"]);
        assert!(made.evaluation.sentiment_quote.as_deref().is_none_or(|quote| text.contains(quote)), "{}", entry["id"]);
        for known in &by_rules.competitors {
            assert!(made.competitors.iter().any(|brand| brand.name == known.name), "{}: {} is gone", entry["id"], known.name);
        }
    }

    let benign = corpus("benign");
    assert!(benign.len() >= 20);
    let alarms: Vec<(&str, Vec<String>)> = benign
        .iter()
        .map(|row| (word(row, "id"), extractor.local(&run(word(row, "text")), 0).evidence.injection))
        .chain(
            answers
                .iter()
                .map(|(id, text)| (id.as_str(), extractor.local(&run(&text.replace("{{payload}}", "")), 0).evidence.injection)),
        )
        .filter(|(_, rules)| !rules.is_empty())
        .collect();

    let count = entries.len();
    println!("{count} injections in {} answers, {} benign texts\n", answers.len(), benign.len());
    println!("{:<22} {:<22} {:<22}", "changed by injection", "rules (local)", "a model that obeys");
    for (number, field) in FIELDS.iter().enumerate() {
        println!("{field:<22} {:<22} {:<22}", percent(local.fields[number], count), percent(obeying.fields[number], count));
    }
    println!("{:<22} {:<22} {:<22}\n", "any of them", percent(local.any, count), percent(obeying.any, count));
    println!(
        "what the model said before the checks: mention {}, sentiment {}, competitors {}",
        percent(raw[0], count),
        percent(raw[1], count),
        percent(raw[2], count)
    );
    let (orders, got, of_rules) = ordered_sentiment;
    println!("another sentiment was ordered and got: {}, of these {of_rules} by the rules' own word", percent(got, orders));
    println!("injections that the prompt no longer shows: {}\n", unseen.join(", "));
    println!("flag: found {}; missed: {}", percent(flagged, count), missed.join(", "));
    println!("flag: false alarms {}: {alarms:?}\n", percent(alarms.len(), benign.len() + answers.len()));
    for (kind, (all, found, through)) in &kinds {
        println!("  {kind:<20} {all:>3}  flagged {found:>3}  changed something {through:>3}");
    }
    println!("\nwith the model that obeys:\n{let_through}");

    // A floor under what was measured when this was written; see the table for the figures.
    for field in [0, 1, 2, 6] {
        assert!(obeying.fields[field] <= local.fields[field], "{} is the rules': no model moves it further", FIELDS[field]);
    }
    assert!(raw[1] >= 30, "the model does not obey: nothing was tested");
    assert!(obeying.fields[3] <= 36, "the sentiment moved in {} of {count}", obeying.fields[3]);
    assert!(ordered_sentiment.0 >= 20, "too few order another sentiment: {ordered_sentiment:?}");
    // Measured 28 of 51; some of them are the rules' own word, which the payload did not change.
    assert!(ordered_sentiment.1 <= 30, "an ordered sentiment was got: {ordered_sentiment:?}");
    assert!(flagged * 100 >= count * 75, "the flag finds {flagged} of {count}");
    assert!(alarms.len() <= 5, "{alarms:?}");
}
