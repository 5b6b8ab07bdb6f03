//! How many megabytes of answers a second the extraction by rules reads, on one core: mentions, rank and citations of 4 KB
//! answers, mostly ASCII, with 25 forms of the org's name and 50 competitors. Prints one line of JSON; asserts nothing.
//! `benches/extract.py` runs it beside the same job in Python. With a file name it writes its answers there first; with `hits`,
//! `citations`, `standing` (mentions, rank and citations from one reading) or `local` and a number of rounds it does that alone and prints how many bytes it read, for a profiler.
//! Time is that of this thread on a processor where the system tells it, so that a loaded machine changes little.

#![allow(clippy::indexing_slicing, reason = "fixed tables of this program")]

use std::io::Write as _;
use std::time::Instant;

use overheard::domain::{CellKey, KnownCompetitor, Org, Outcome, QuestionRun, RunStatus};
use overheard::extract::Extractor;

const ANSWERS: usize = 64;
const SECONDS: f64 = 2.0;

fn org() -> (Org, Vec<String>) {
    let competitors = (0..50)
        .map(|number| {
            KnownCompetitor::from(format!(
                "{}{}",
                ["Boxly", "Tidewater", "Norvik", "Larkspur", "Quorum"][number % 5],
                ["", " Labs", " CRM", "ware", " Point", "desk", " One", "grid", " Cloud", "flow"][number / 5]
            ))
        })
        .collect();
    let names = (0..24)
        .map(|number| {
            format!(
                "Northwind {}",
                ["Labels", "Inc.", "LLC", "GmbH", "Print", "Studio"][number % 6].to_owned()
                    + ["", " US", " EU", " Pro"][number / 6]
            )
        })
        .collect();
    let org = Org {
        id: "o".into(),
        name: "Northwind".into(),
        websites: vec!["https://northwind.example".into()],
        competitors,
        ..Org::default()
    };
    (org, names)
}

fn answer(number: usize) -> String {
    let mut text =
        format!("# Best label printers of {}\n\nIf you’re a small shop, these are worth a look:\n\n", 2020 + number % 7);
    let brands = ["Boxly", "Tidewater Labs", "Northwind", "Larkspur Point", "Quorumdesk"];
    let mut item = 0;
    while text.len() < 3_900 {
        let brand = brands[(item + number) % brands.len()];
        text.push_str(&format!(
            "{}. **{brand}** – prints plain and colour labels for parcels, bottles and shelves. Plans start at 12 dollars a month, and the free tier covers most bakeries; reviewers praise the support team and the way it imports spreadsheets without any setup. See the [comparison of vendors](https://reviews{}.example/compare/{item}?utm_source=chatgpt.com) for details.\n\n",
            item + 1, item % 4
        ));
        item += 1;
    }
    text
}

/// Seconds that this thread has run on a processor; `None` where the system does not tell.
fn on_processor() -> Option<f64> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    told.split_whitespace().next()?.parse::<f64>().ok().map(|nanoseconds| nanoseconds / 1e9)
}

fn main() {
    let (org, names) = org();
    let extractor = Extractor::new(&org, &names);
    let runs: Vec<QuestionRun> = (0..ANSWERS)
        .map(|number| QuestionRun {
            batch_id: "b".into(),
            run_id: "r".into(),
            org_id: "o".into(),
            key: CellKey { question_id: "q".into(), model: "m".into(), location: "US".into(), repeat: 1 },
            question: String::new(),
            outcome: Outcome { text: Some(answer(number)), ..Outcome::empty(RunStatus::Answered) },
        })
        .collect();
    let texts: Vec<&str> = runs.iter().filter_map(|run| run.outcome.text.as_deref()).collect();
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    let hits = |run: &QuestionRun| extractor.hits(run.outcome.text.as_deref().unwrap_or_default()).len();
    let citations = |run: &QuestionRun| extractor.citations(run).0.len();
    let standing = |run: &QuestionRun| {
        let (hits, rank, citations) = extractor.standing(run);
        hits.len() + rank.is_some_and(|rank| rank > 0) as usize + citations.len()
    };
    let local = |run: &QuestionRun| extractor.local(run, 0).citations.len();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [job, rounds] = arguments.as_slice() {
        let rounds: usize = rounds.parse().unwrap_or(1);
        let job: &dyn Fn(&QuestionRun) -> usize = match job.as_str() {
            "hits" => &hits,
            "citations" => &citations,
            "standing" => &standing,
            _ => &local,
        };
        let seen: usize = (0..rounds).flat_map(|_| &runs).map(job).sum();
        let _ = writeln!(std::io::stdout(), "{} bytes, {seen} found", bytes * rounds);
        return;
    }
    if let Some(path) = arguments.first() {
        let rivals: Vec<&str> = org.competitors.iter().map(|rival| rival.name.as_str()).collect();
        let names: Vec<&str> = std::iter::once(org.name.as_str()).chain(names.iter().map(String::as_str)).collect();
        let _ = std::fs::write(path, serde_json::json!({"answers": texts, "names": names, "competitors": rivals}).to_string());
    }
    let rate = |job: &dyn Fn(&QuestionRun) -> usize| {
        let (start, began, mut rounds, mut seen) = (Instant::now(), on_processor(), 0_usize, 0);
        while start.elapsed().as_secs_f64() < SECONDS {
            seen += runs.iter().map(job).sum::<usize>();
            rounds += 1;
        }
        assert!(seen > 0);
        let ran = on_processor().zip(began).map_or(start.elapsed().as_secs_f64(), |(now, began)| now - began);
        (bytes * rounds) as f64 / 1e6 / ran
    };
    let (hits, citations, standing, local) = (rate(&hits), rate(&citations), rate(&standing), rate(&local));
    let line = serde_json::json!({
        "hits_mb_s": hits,
        "citations_mb_s": citations,
        "standing_mb_s": standing,
        "local_mb_s": local,
        "answer_bytes": bytes / ANSWERS,
    });
    let _ = writeln!(std::io::stdout(), "{line}");
}
