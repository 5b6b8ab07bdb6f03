//! The extraction against the simulator's truth: over every engine's form of an answer, on a day without model mistakes.
//! What the rules find and what the checked replies of a model give must be exactly what the answers contain.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use overheard::config::{Secret, Settings, Timeouts};
use overheard::domain::{KnownCompetitor, Org, Outcome, RunStatus};
use overheard::extract::{Extractor, names_request, parse_names};
use overheard::http::{HttpRequest, HttpResponse, HttpService, ReqwestService};
use overheard::providers::{Ask, Download, Progress, Protocol, StructuredModel, Turn, provider_for, structured_model};
use overheard::simulator::{Config, Rates, Running, Simulator};
use serde_json::Value;

use crate::extract_support::run_with;

const QUESTIONS: &[&str] = &[
    "Which documentation tools do startups use?",
    "Is Quillmark good documentation software?",
    "Best CRM for a bakery?",
    "Otto & Bloom or Able: which CRM?",
    "Which accounting package is best for freelancers?",
    "What do reviewers say about Zürn Konto for invoicing?",
    "Best project tool for a small team?",
    "Is Yonder! better than Kestrel Inc. for kanban?",
    "Best café in town?",
    "Which running shoes last longest?",
    "Is node.haven a good cloud database host?",
    "Hôtel Sérac or Tidewater Inns?",
];

fn simulator() -> (Running, Settings) {
    // No mistakes of the extraction model; absences stay, they are what the answers say.
    let rates = Rates { absence: 0.3, ..Rates::perfect() };
    let running = Simulator::start(Config { seed: 11, snapshot_ms: 0, rates, ..Config::default() }).unwrap();
    let mut settings = Settings::default();
    for (account, base_url) in [
        (&mut settings.openai, format!("{}/v1", running.url())),
        (&mut settings.anthropic, running.url().to_owned()),
        (&mut settings.brightdata, running.url().to_owned()),
    ] {
        account.base_url = base_url;
        account.api_key = serde_json::from_value("sk-simulated".into()).unwrap();
    }
    (running, settings)
}

async fn sent(http: &ReqwestService, request: HttpRequest) -> HttpResponse {
    let reply = http.send(request).await.unwrap();
    assert!(reply.is_success(), "{} {}", reply.status, String::from_utf8_lossy(&reply.body));
    reply
}

async fn outcomes(http: &ReqwestService, model: &str, settings: &Settings) -> Vec<Outcome> {
    let provider = provider_for(model, settings).unwrap();
    let ask = |(number, question): (usize, &&str)| Ask {
        key: number.to_string().into(),
        question: Arc::from(*question),
        location: None,
        web_search: true,
    };
    let asks: Vec<Ask> = QUESTIONS.iter().enumerate().map(ask).collect();
    match provider.protocol() {
        Protocol::Direct(direct) => {
            let mut outcomes = Vec::new();
            for ask in &asks {
                let reply = sent(http, direct.request(ask).unwrap()).await;
                let Turn::Done(outcome) = direct.decode(ask, &[reply]).unwrap() else { panic!("paused") };
                outcomes.push(*outcome);
            }
            outcomes
        }
        Protocol::Snapshot(snapshot) => {
            let id = snapshot.decode_trigger(&sent(http, snapshot.trigger(&asks).unwrap()).await).unwrap();
            loop {
                let progress = snapshot.decode_progress(&sent(http, snapshot.progress(&id).unwrap()).await).unwrap();
                if progress != Progress::Ready {
                    continue;
                }
                let reply = sent(http, snapshot.download(&id).unwrap()).await;
                if let Download::Rows { outcomes, .. } = snapshot.decode_download(&asks, &reply).unwrap() {
                    return outcomes;
                }
            }
        }
        Protocol::Host(_) => panic!("no custom provider here"),
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

/// Every brand of the truth as an org: its name, the other spellings seen, its domain, all spellings of the others as competitors.
fn orgs(answers: &[Value]) -> BTreeMap<String, Org> {
    let mut orgs: BTreeMap<String, Org> = BTreeMap::new();
    for brand in answers.iter().flat_map(|answer| answer["brands"].as_array().unwrap()) {
        let name = text(brand, "name").to_owned();
        let org = orgs.entry(name.clone()).or_insert_with(|| Org {
            id: name.clone(),
            name,
            websites: vec![format!("https://www.{}", text(brand, "domain"))],
            ..Org::default()
        });
        let written = text(brand, "written").to_owned();
        if written != org.name && !org.aliases.contains(&written) {
            org.aliases.push(written);
        }
    }
    let names: BTreeMap<String, Vec<String>> =
        orgs.iter().map(|(name, org)| (name.clone(), [&[name.clone()][..], &org.aliases].concat())).collect();
    for org in orgs.values_mut() {
        org.competitors = names
            .iter()
            .filter(|(name, _)| **name != org.name)
            .flat_map(|(_, spellings)| spellings.clone())
            .map(KnownCompetitor::from)
            .collect();
    }
    orgs
}

async fn structured(
    http: &ReqwestService,
    model: &dyn StructuredModel,
    request: &overheard::domain::StructuredRequest,
) -> String {
    model.decode(&sent(http, model.request(request).unwrap()).await).unwrap().json
}

#[tokio::test]
async fn what_is_extracted_is_what_the_answers_contain() {
    let (running, settings) = simulator();
    let http = ReqwestService::new(&Timeouts::default(), &Secret::default()).unwrap();
    let mut by_text: HashMap<String, Outcome> = HashMap::new();
    for model in ["gpt-4.1", "claude-sonnet-4-5", "chatgpt", "perplexity", "gemini"] {
        for outcome in outcomes(&http, model, &settings).await {
            assert_eq!(outcome.status, RunStatus::Answered, "{model}: {:?}", outcome.error);
            by_text.insert(outcome.text.clone().unwrap(), outcome);
        }
    }
    let truth = running.truth();
    let answers = truth["answers"].as_array().unwrap();
    let orgs = orgs(answers);
    let model = structured_model("gpt-4.1-mini", &settings).unwrap();
    let mut extractors = BTreeMap::new();
    for (name, org) in &orgs {
        let reply = structured(&http, &*model, &names_request(org)).await;
        let names = parse_names(org, &reply).unwrap();
        assert!(reply.contains(&org.name), "the prompt must show whom it is about: {name}: {reply}");
        extractors.insert(name, Extractor::new(org, &names));
    }
    let (mut compared, mut absent, mut verified) = (0, 0, 0);
    for answer in answers {
        let Some(outcome) = by_text.get(text(answer, "text")) else { continue };
        compared += 1;
        let answer_text = text(answer, "text");
        let run = run_with(answer_text, outcome.citations.clone());
        let brands: Vec<(&str, &str)> =
            answer["brands"].as_array().unwrap().iter().map(|brand| (text(brand, "name"), text(brand, "written"))).collect();
        absent += answer["absences"].as_array().unwrap().len();
        for (name, extractor) in &extractors {
            let extraction = extractor.local(&run, 0);
            let place = brands.iter().position(|(brand, _)| brand == name);
            assert_eq!(
                extraction.evaluation.mention_rank,
                place.map(|place| u32::try_from(place).unwrap() + 1),
                "{name}\n{answer_text}"
            );
            let urls: BTreeSet<&str> = extraction.citations.iter().map(|citation| citation.canonical_url.as_str()).collect();
            let expected: BTreeSet<&str> =
                answer["citations"].as_array().unwrap().iter().map(|citation| text(citation, "canonical_url")).collect();
            assert_eq!(urls, expected, "{answer_text}");
        }
        // The model's way, for the first brand of the answer.
        let Some((name, _)) = brands.first() else { continue };
        let extractor = &extractors[&(*name).to_owned()];
        let reply = structured(&http, &*model, &extractor.competitors_request(answer_text, "5e7a")).await;
        let (competitors, dropped) = extractor.parse_competitors(answer_text, &reply).unwrap();
        let found: Vec<&str> = competitors.iter().map(|competitor| competitor.name.as_str()).collect();
        // By the configured name where it is configured, else as the answer writes it.
        let others: Vec<&(&str, &str)> = brands.iter().filter(|(brand, _)| brand != name).collect();
        let right = |(found, (brand, written)): (&&str, &&(&str, &str))| found == brand || found == written;
        assert!(found.len() == others.len() && found.iter().zip(&others).all(right), "{found:?} {dropped:?}\n{answer_text}");
        let reply = structured(&http, &*model, &extractor.evaluation_request(answer_text, "5e7a")).await;
        let verdict = extractor.parse_evaluation(answer_text, &reply).unwrap();
        assert!(verdict.mentioned && verdict.sentiment.is_some(), "{reply}\n{answer_text}");
        assert_eq!(verdict.invented_quotes, 0, "{reply}\n{answer_text}");
        let evaluation = extractor.evaluation(answer_text, Some(&verdict), &competitors, &[]);
        assert_eq!(evaluation.mention_rank, Some(1));
        verified += 1;
    }
    assert!(compared >= 50 && absent > 5 && verified > 40, "{compared} answers, {absent} absences, {verified} verified");
}
