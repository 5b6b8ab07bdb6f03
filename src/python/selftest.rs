//! A session that only makes host calls, for the tests and benchmarks of the bridge: no provider, no network, no plan.

use std::sync::Arc;

use bytes::Bytes;
use pyo3::prelude::*;
use serde::Deserialize;
use tokio::task::JoinSet;

use super::port::{PyPort, Signal};
use super::session::{PySession, read_spec};
use crate::domain::{
    CellKey, Citation, Competitor, Dropped, ExtractedCitation, Extraction, ExtractionMethod, MicroUsd, OrgEvaluation, Outcome,
    Ownership, PairProgress, QuestionRun, RunStatus, Sentiment, Summary, Usage,
};
use crate::error::{Error, ErrorKind, Result};
use crate::host::{Host, HostCall, HostReply, Level};
use crate::providers::Ask;

/// What to do.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct SelfTest {
    /// A callback's name, or `panic`, `sleep`, `stop` (sleeps until stopped), `log`, `progress`.
    kind: String,
    /// How often.
    #[serde(default = "one")]
    calls: u64,
    /// Records per call.
    #[serde(default = "one")]
    records: u64,
    /// Calls at a time.
    #[serde(default = "one")]
    window: usize,
    /// Count failed calls in `failed` and go on, instead of ending with the first.
    #[serde(default)]
    go_on: bool,
    /// Save a fact after the last call was started, while they are open.
    #[serde(default)]
    then_save: bool,
    /// Milliseconds until a callback's answer is given up.
    #[serde(default = "half_a_minute")]
    host_ms: u64,
    /// Characters of an answer and bytes of its raw body.
    #[serde(default)]
    size: usize,
}

fn one<T: From<u8>>() -> T {
    1.into()
}

fn half_a_minute() -> u64 {
    30_000
}

/// Private: starts a session that makes host calls and nothing else.
#[pyfunction(name = "_selftest")]
#[pyo3(signature = (port, token, spec_json, /))]
pub(super) fn selftest(py: Python<'_>, port: &PyPort, token: u64, spec_json: &str) -> PyResult<PySession> {
    let spec: SelfTest = read_spec(py, spec_json)?;
    PySession::start(port, token, (spec.host_ms, spec.host_ms), |host, stop| async move {
        match spec.kind.as_str() {
            "stop" => stop.cancelled().await,
            "sleep" => std::future::pending::<()>().await,
            "panic" => return panic_inside(),
            "log" => host.log(Level::Warning, "line one\nline two"),
            "progress" => host.progress(vec![pair(), pair()]),
            _ => return calls(spec, host).await,
        }
        Ok(Signal::Summary(Box::default()))
    })
}

#[expect(clippy::panic, reason = "the test is about panics")]
fn panic_inside() -> Result<Signal> {
    panic!("on purpose")
}

fn pair() -> PairProgress {
    PairProgress { model: "m".into(), location: "US".into(), total: 2, executed: 1, failed: 0, extracted: 0 }
}

async fn calls(spec: SelfTest, host: Host) -> Result<Signal> {
    let (mut open, mut summary, mut last) = (JoinSet::new(), Summary::default(), HostReply::Done);
    let (mut next, mut saved) = (0, false);
    while next < spec.calls || !open.is_empty() {
        while next < spec.calls && open.len() < spec.window {
            let (host, call) = (host.clone(), call(&spec, next)?);
            open.spawn(async move { host.call(call).await });
            next += 1;
        }
        if spec.then_save && !std::mem::replace(&mut saved, true) {
            host.call(HostCall::SaveFact("fact".into(), String::new())).await?;
        }
        match open.join_next().await {
            Some(Ok(Ok(reply))) => {
                summary.processed += spec.records;
                last = reply;
            }
            Some(Ok(Err(error))) if spec.go_on => {
                summary.failed += 1;
                summary.processing_errors.push(error);
            }
            Some(Ok(Err(error))) => return Err(error),
            Some(Err(lost)) => return Err(Error::internal(lost.to_string())),
            None => {}
        }
    }
    Ok(match last {
        HostReply::Outcomes(outcomes) => Signal::Outcomes(outcomes),
        HostReply::Keys(keys) => Signal::Summary(Box::new(Summary { total: keys.len() as u64, ..summary })),
        HostReply::Runs(runs) => Signal::Outcomes(runs.into_iter().map(|run| run.outcome).collect()),
        HostReply::Fact(fact) => Signal::Summary(Box::new(Summary { status: fact.unwrap_or_default(), ..summary })),
        // No selftest asks for leases.
        HostReply::Done | HostReply::Leases(_) => Signal::Summary(Box::new(summary)),
    })
}

fn call(spec: &SelfTest, number: u64) -> Result<HostCall> {
    let numbers = || (0..spec.records).map(move |record| number * spec.records + record);
    let page = || ("batch".to_owned(), None, spec.records as usize);
    Ok(match spec.kind.as_str() {
        "save_question_runs" => HostCall::SaveQuestionRuns(numbers().map(|number| Arc::new(run(spec, number))).collect()),
        "save_extractions" => HostCall::SaveExtractions(numbers().map(|number| Arc::new(extraction(number))).collect()),
        "ask" => HostCall::Ask { provider: "mine".into(), asks: numbers().map(ask).collect() },
        "load_fact" => HostCall::LoadFact("fact".into()),
        "save_fact" => HostCall::SaveFact("fact".into(), number.to_string()),
        "existing_keys" => {
            let (batch_id, after, limit) = page();
            HostCall::ExistingKeys { batch_id, after, limit }
        }
        "question_runs" => {
            let (batch_id, after, limit) = page();
            HostCall::QuestionRuns { batch_id, after, limit }
        }
        other => return Err(Error::new(ErrorKind::Config, format!("'{other}' is no self-test"))),
    })
}

fn ask(number: u64) -> Ask {
    Ask { key: number.to_string().into(), question: format!("question {number}").into(), location: None, web_search: true }
}

fn key(number: u64) -> CellKey {
    CellKey { question_id: format!("q{number}"), model: "chatgpt".into(), location: "US".into(), repeat: 1 }
}

fn run(spec: &SelfTest, number: u64) -> QuestionRun {
    let citation = |place: u32| Citation {
        url: format!("https://example.com/page/{number}/{place}?utm_source=test"),
        title: Some(format!("Page {place}")),
        cited: Some(true),
        position: Some(place),
        ..Citation::default()
    };
    QuestionRun {
        batch_id: "batch".into(),
        run_id: "run".into(),
        org_id: "org".into(),
        key: key(number),
        question: format!("question {number}"),
        outcome: Outcome {
            text: Some("é".repeat(spec.size.max(1))),
            citations: (1..=10).map(citation).collect(),
            usage: Usage { input_tokens: Some(10), output_tokens: Some(20), records: 1, ..Usage::default() },
            cost_micro_usd: Some(MicroUsd(1500)),
            raw: Bytes::from(vec![0xff; spec.size]),
            attempts: 1,
            started_at_ms: 1_700_000_000_123,
            finished_at_ms: 1_700_000_001_123,
            ..Outcome::empty(RunStatus::Answered)
        },
    }
}

fn extraction(number: u64) -> Extraction {
    let citation = |position: u32| ExtractedCitation {
        url: format!("https://www.example.com/page/{number}/{position}/"),
        canonical_url: format!("https://example.com/page/{number}/{position}"),
        domain: "example.com".into(),
        ownership: if position == 1 { Ownership::Primary } else { Ownership::Secondary },
        title: None,
        cited: Some(true),
        position,
        ..ExtractedCitation::default()
    };
    Extraction {
        batch_id: "batch".into(),
        run_id: "run".into(),
        org_id: "org".into(),
        key: key(number),
        method: ExtractionMethod::Local,
        extractor_version: "1".into(),
        fingerprint: String::new(),
        evaluation: OrgEvaluation {
            mentioned: true,
            citation: true,
            sentiment: Some(Sentiment::Positive),
            mention_text: Some("Acme is fine.".into()),
            mention_rank: Some(1),
            share_of_voice: Some(0.1),
            ..OrgEvaluation::default()
        },
        competitors: vec![Competitor { name: "Zenith".into(), position: 1, ..Competitor::default() }],
        citations: (1..=10).map(citation).collect(),
        dropped: Dropped::default(),
        evidence: Default::default(),
        cost_micro_usd: Some(MicroUsd(0)),
        maybe_charged_micro_usd: MicroUsd::ZERO,
        usage: Usage::default(),
        // Every third one failed.
        error: (number % 3 == 2).then(|| Error::new(ErrorKind::Semantic, "broken JSON")),
        extracted_at_ms: 1_700_000_002_123,
    }
}
