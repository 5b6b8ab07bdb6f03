//! The verdict over a played seed: what the store, the journal's folder and the summary say, against what the ledger says.
//! Numbers are those of the invariants in the reliability notes.

use std::collections::BTreeMap;

use overheard::domain::{QuestionRun, RunStatus};

use super::ledger::{About, Charge, reference};
use super::life::Case;
use super::plan::{BATCH, Plan};

/// Charges of one group that a brute-force search for a subset still handles.
const SEARCHED: usize = 16;

/// What is wrong, each with the invariant it breaks.
pub fn violations(case: &Case) -> Vec<String> {
    let mut found = case.sim.history().violations();
    // A provider that gives out an old id leads to all kinds of trouble: told apart, so that it hides nothing else.
    let because = if case.sim.history().counts().contains_key("wire: an old snapshot id") { "F41 " } else { "" };
    let mut check =
        |invariant: &str, wrong: Vec<String>| found.extend(wrong.into_iter().map(|what| format!("{because}{invariant}: {what}")));
    check("I1", every_cell_once(case));
    check("I4", summary_is_the_sum(case));
    check("I5", nothing_bought_twice(case));
    check("I3", records_are_accounted_for(case));
    check("F45", forgotten_records_are_booked(case));
    check("I3 direct", answers_are_accounted_for(case));
    check("I3 extraction", extractions_are_accounted_for(case));
    check("I6", answers_are_extracted(case));
    check("I9", answers_are_what_was_sold(case));
    check("I11", journal_is_closed(case));
    check("I13", attempts_are_few(case));
    check("I19", the_end_is_quiet(case));
    check("budget", cap_is_kept(case));
    found
}

fn rows(case: &Case) -> Vec<std::sync::Arc<QuestionRun>> {
    case.store.tables.runs(BATCH)
}

fn charges(case: &Case) -> Vec<Charge> {
    case.network.world(|world| world.ledger.charges().to_vec())
}

fn dataset(model: &str) -> Option<&'static str> {
    match model {
        "chatgpt" => Some("gd_m7aof0k82r803d5bjm"),
        "perplexity" => Some("gd_m7dhdot1vw9a7gc1n"),
        "gemini" => Some("gd_mbz66arm2mf9cu856y"),
        _ => None,
    }
}

/// What a row's cell asks, in the ledger's words.
fn about(case: &Case, run: &QuestionRun) -> About {
    let number: usize = run.key.question_id.trim_start_matches('q').parse().unwrap_or(0);
    let (question, country) = (Plan::question(number), run.key.location.clone());
    match dataset(&run.key.model) {
        Some(dataset) => About::Record { dataset: dataset.to_owned(), prompt: question, country },
        // Without a search there is nowhere to put the country.
        None => {
            let country = if case.plan.web_search { country } else { String::new() };
            About::Answer { model: run.key.model.clone(), question, country }
        }
    }
}

/// True when the batch can come to its end: the money suffices, and nothing is held because the provider's list does not tell
/// what became of it.
fn can_end(case: &Case) -> bool {
    case.plan.max_cost.is_none() && case.sim.weather().traits.is_list_truthful()
}

fn every_cell_once(case: &Case) -> Vec<String> {
    let stored = rows(case).len();
    let cells = case.plan.cells();
    let whole = stored == cells || (!can_end(case) && stored < cells);
    if whole { Vec::new() } else { vec![format!("{stored} rows for {cells} cells")] }
}

fn summary_is_the_sum(case: &Case) -> Vec<String> {
    let Some(summary) = &case.summary else { return vec!["no start ended by itself".to_owned()] };
    let (mut cost, mut maybe) = (0, 0);
    for run in rows(case) {
        cost += run.outcome.cost_micro_usd.unwrap_or_default().0;
        maybe += run.outcome.maybe_charged_micro_usd.0;
    }
    for extraction in case.store.tables.extractions(BATCH) {
        cost += extraction.cost_micro_usd.unwrap_or_default().0;
        maybe += extraction.maybe_charged_micro_usd.0;
    }
    let overhead = overhead(case);
    cost += overhead.0;
    maybe += overhead.1;
    let mut wrong = Vec::new();
    if summary.total_cost_micro_usd != cost {
        wrong.push(format!("the summary says {} micro-dollars, the rows {cost}", summary.total_cost_micro_usd));
    }
    // What is held, or waits for money to be asked again, is in the journal alone.
    let told = summary.maybe_charged_micro_usd;
    if told < maybe || (told > maybe && can_end(case)) {
        wrong.push(format!("the summary says maybe {} micro-dollars, the rows {maybe}", summary.maybe_charged_micro_usd));
    }
    let stored = rows(case).len() as u64;
    if summary.processed != stored && can_end(case) {
        wrong.push(format!("the summary says {} processed, stored are {stored}", summary.processed));
    }
    wrong
}

/// Charged and maybe charged, of no cell.
fn overhead(case: &Case) -> (i64, i64) {
    let runs = case.store.tables.model_runs(BATCH);
    let cost: i64 = runs.iter().map(|run| run.overhead_micro_usd).sum();
    let maybe = runs.iter().map(|run| run.overhead_maybe_charged_micro_usd).sum();
    (cost + case.store.batch().map_or(0, |batch| batch.overhead_micro_usd), maybe)
}

/// Where the provider's list tells the truth, no input is bought twice.
fn nothing_bought_twice(case: &Case) -> Vec<String> {
    // A trigger that names another submission's snapshot, whose own reply was lost, leaves that one nowhere to be found.
    let named_wrongly = case.sim.history().counts().contains_key("wire: an old snapshot id");
    if named_wrongly || !case.sim.weather().traits.is_list_truthful() {
        return Vec::new();
    }
    let mut bought: BTreeMap<About, Vec<Charge>> = BTreeMap::new();
    for charge in records(case, false) {
        bought.entry(charge.about.clone()).or_default().push(charge);
    }
    let twice = bought.into_iter().filter(|(_, charges)| charges.len() > case.plan.repeats);
    twice
        .map(|(about, charges)| {
            let snapshots: Vec<&str> = charges.iter().filter_map(|charge| charge.snapshot.as_deref()).collect();
            format!("{about:?} is bought {} times, in {snapshots:?}", charges.len())
        })
        .collect()
}

/// Records charged = records in stored rows + what is booked as lost.
fn records_are_accounted_for(case: &Case) -> Vec<String> {
    let charged: i64 = records(case, false).iter().map(|charge| charge.micro_usd).sum();
    let (stored, booked) = stored_and_booked(case);
    let held = case.summary.as_ref().map_or(0, |summary| summary.maybe_charged_micro_usd);
    let booked = if can_end(case) { booked } else { booked.max(held) };
    let lost = charged - stored;
    if lost < 0 && !case.sim.weather().traits.twins {
        return vec![format!("rows of {stored} micro-dollars are stored, {charged} were charged")];
    }
    // What the list shows only long after the grace, or in other words, is bought again by whoever keeps to the rules.
    let knowable = case.sim.weather().traits.is_loss_knowable();
    if lost > booked && knowable {
        return vec![format!("{charged} micro-dollars of records are charged, {stored} stored, {booked} booked as lost")];
    }
    Vec::new()
}

/// Charged records of ours, of snapshots that the provider still knows, or of those it has forgotten.
fn records(case: &Case, forgotten: bool) -> Vec<Charge> {
    let is_gone =
        |charge: &Charge| case.network.world(|world| world.brightdata.is_gone(charge.snapshot.as_deref().unwrap_or_default()));
    let ours = charges(case).into_iter().filter(|charge| charge.ours && charge.snapshot.is_some());
    ours.filter(|charge| is_gone(charge) == forgotten).collect()
}

/// Cost of stored records, and what is booked beside it.
fn stored_and_booked(case: &Case) -> (i64, i64) {
    let (mut stored, mut booked) = (0, 0);
    for run in rows(case).into_iter().filter(|run| dataset(&run.key.model).is_some()) {
        stored += run.outcome.cost_micro_usd.unwrap_or_default().0;
        booked += run.outcome.maybe_charged_micro_usd.0;
    }
    for run in case.store.tables.model_runs(BATCH).iter().filter(|run| dataset(&run.model).is_some()) {
        booked += run.overhead_micro_usd + run.overhead_maybe_charged_micro_usd;
    }
    (stored, booked)
}

/// A snapshot whose id was known and that the provider forgot was paid for: its records stand in the books.
fn forgotten_records_are_booked(case: &Case) -> Vec<String> {
    let told = |charge: &Charge| case.network.is_told(charge.snapshot.as_deref().unwrap_or_default());
    let lost: i64 = records(case, true).iter().filter(|charge| told(charge)).map(|charge| charge.micro_usd).sum();
    let (_, booked) = stored_and_booked(case);
    if lost > booked {
        return vec![format!("records of {lost} micro-dollars are gone with their snapshots, {booked} are booked")];
    }
    Vec::new()
}

/// Per question of a model: every charge is in a stored cost, or has one `maybe_charged` entry.
fn answers_are_accounted_for(case: &Case) -> Vec<String> {
    let unit = |model: &str| {
        let quote = overheard::pipeline::quote(&case.plan.spec("", "hold", false, &[])).expect("a quote");
        let line = quote.lines.into_iter().find(|line| line.what.starts_with(model));
        line.map_or(1, |line| line.expected_micro_usd / i64::try_from(line.questions).unwrap_or(1).max(1)).max(1)
    };
    let mut groups: BTreeMap<About, (Vec<i64>, i64, i64)> = BTreeMap::new();
    for charge in charges(case).into_iter().filter(|charge| matches!(charge.about, About::Answer { .. })) {
        groups.entry(charge.about).or_default().0.push(charge.micro_usd);
    }
    for run in rows(case).into_iter().filter(|run| dataset(&run.key.model).is_none()) {
        let group = groups.entry(about(case, &run)).or_default();
        group.1 += run.outcome.cost_micro_usd.unwrap_or_default().0;
        group.2 += run.outcome.maybe_charged_micro_usd.0;
    }
    let mut wrong = Vec::new();
    for (about, (charged, cost, maybe)) in groups {
        let About::Answer { model, .. } = &about else { continue };
        let unit = unit(model);
        let Some(lost) = left_over(&charged, cost) else {
            wrong.push(format!("{about:?}: charged {charged:?}, but its rows cost {cost}"));
            continue;
        };
        let entries = maybe / unit;
        if maybe % unit != 0 {
            wrong.push(format!("{about:?}: maybe {maybe} is no multiple of the expected cost {unit}"));
        } else if entries < lost && case.plan.max_cost.is_none() {
            wrong.push(format!("{about:?}: {lost} charges ({charged:?}, of which {cost} stored) have {entries} entries"));
        } else if entries > case.network.uncertain(&about) + case.crashes as i64 && !journal_failed(case) {
            wrong.push(format!("{about:?}: {entries} entries, more than replies were lost ({})", case.network.uncertain(&about)));
        }
    }
    wrong
}

/// A journal that cannot be written keeps calls that were certainly charged nothing: then more is booked than was lost.
fn journal_failed(case: &Case) -> bool {
    let counts = case.sim.history().counts();
    counts.contains_key("disk: full") || counts.contains_key("disk: failed sync")
}

/// Fewest charges that are left when those whose sum is `cost` are taken away; `None`: no charges have that sum.
fn left_over(charged: &[i64], cost: i64) -> Option<i64> {
    assert!(charged.len() <= SEARCHED, "{} charges are too many to search", charged.len());
    let sums = (0..1u32 << charged.len()).filter(|taken| {
        let of = |(place, charge): (usize, &i64)| if taken & (1 << place) == 0 { 0 } else { *charge };
        charged.iter().enumerate().map(of).sum::<i64>() == cost
    });
    sums.map(|taken| charged.len() as i64 - i64::from(taken.count_ones())).min()
}

/// Per answer, and for the calls about none: charges are in stored costs or under `maybe_charged`.
fn extractions_are_accounted_for(case: &Case) -> Vec<String> {
    if case.plan.max_cost.is_some() {
        return Vec::new(); // what waits for money is in the journal alone
    }
    let cells: BTreeMap<u64, String> =
        rows(case).iter().filter_map(|run| Some((reference(run.outcome.text.as_deref()?)?, run.key.to_string()))).collect();
    let (mut by_cell, mut of_none): (BTreeMap<String, Vec<i64>>, Vec<i64>) = (BTreeMap::new(), Vec::new());
    let mut wrong = Vec::new();
    for charge in charges(case) {
        match charge.about {
            About::Text { reference } => match cells.get(&reference) {
                Some(cell) => by_cell.entry(cell.clone()).or_default().push(charge.micro_usd),
                None => wrong.push(format!("extraction of the text R{reference}, which is not stored, was charged")),
            },
            About::Other => of_none.push(charge.micro_usd),
            _ => {}
        }
    }
    let mut booked: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for extraction in case.store.tables.extractions(BATCH) {
        if extraction.cost_micro_usd.is_none() {
            by_cell.remove(&extraction.key.to_string()); // unpriced, and counted as such
        }
        let money = (extraction.cost_micro_usd.unwrap_or_default().0, extraction.maybe_charged_micro_usd.0);
        booked.insert(extraction.key.to_string(), money);
    }
    for (cell, charged) in by_cell {
        let (cost, maybe) = booked.get(&cell).copied().unwrap_or_default();
        wrong.extend(settled(&cell, &charged, cost, maybe));
    }
    let (cost, maybe) = overhead(case);
    if dataset_only_overhead(case) == 0 {
        wrong.extend(settled("name variations", &of_none, cost, maybe));
    }
    wrong
}

/// Money of lost submissions stands in the same columns as that of name variations: then these cannot be told apart.
fn dataset_only_overhead(case: &Case) -> i64 {
    let runs = case.store.tables.model_runs(BATCH);
    let records = runs.iter().filter(|run| dataset(&run.model).is_some());
    records.map(|run| run.overhead_micro_usd + run.overhead_maybe_charged_micro_usd).sum()
}

fn settled(what: &str, charged: &[i64], cost: i64, maybe: i64) -> Option<String> {
    match left_over(charged, cost) {
        None => Some(format!("{what}: charged {charged:?}, but {cost} is stored")),
        Some(lost) if lost > 0 && maybe == 0 => Some(format!("{what}: charged {charged:?}, stored {cost}, nothing under maybe")),
        Some(_) => None,
    }
}

fn answers_are_extracted(case: &Case) -> Vec<String> {
    if case.plan.max_cost.is_some() {
        return Vec::new();
    }
    let extractions = case.store.tables.extractions(BATCH);
    let done = |run: &QuestionRun| extractions.iter().any(|extraction| extraction.key == run.key && extraction.error.is_none());
    let answered = rows(case).into_iter().filter(|run| run.outcome.status == RunStatus::Answered);
    answered.filter(|run| !done(run)).map(|run| format!("{} is answered and not extracted", run.key)).collect()
}

fn answers_are_what_was_sold(case: &Case) -> Vec<String> {
    let charges = charges(case);
    let mut wrong = Vec::new();
    for run in rows(case).into_iter().filter(|run| run.outcome.status == RunStatus::Answered) {
        let text = run.outcome.text.as_deref().unwrap_or_default();
        let sold = reference(text).and_then(|reference| charges.get(reference as usize - 1));
        match sold {
            None => wrong.push(format!("the answer of {} was never sold: {text:.80}", run.key)),
            Some(charge) if charge.about != about(case, &run) => {
                wrong.push(format!("{} has the answer of {:?}", run.key, charge.about));
            }
            Some(_) => {}
        }
    }
    wrong
}

fn journal_is_closed(case: &Case) -> Vec<String> {
    if !can_end(case) {
        return Vec::new();
    }
    let files = case.disk.contents().into_iter().filter(|(path, _)| path.extension().is_some_and(|name| name == "journal"));
    let mut wrong = Vec::new();
    for (_, text) in files {
        // A file that died before its first line was whole holds nothing; it is litter, not an open entry.
        let names_alone = text.lines().skip(1).all(|line| line.contains("\"call\":\"names\""));
        let what = match text.contains('\n') {
            false => "without a whole line is left",
            true if names_alone => "with a call for names alone is left",
            true => "is left",
        };
        wrong.push(format!("a journal file {what}: {:.300}", text));
    }
    wrong
}

/// Three attempts a start, and a pause of a turn asks again.
fn attempts_are_few(case: &Case) -> Vec<String> {
    let most = 3 * (1 + case.sim.weather().traits.paused_turns.min(1) as u32 * 4);
    let many = rows(case).into_iter().filter(|run| run.outcome.attempts > most);
    many.map(|run| format!("{} took {} attempts", run.key, run.outcome.attempts)).collect()
}

fn the_end_is_quiet(case: &Case) -> Vec<String> {
    match case.settled_after {
        None if can_end(case) => vec!["start after start goes on to send or to write".to_owned()],
        _ => Vec::new(),
    }
}

/// All that is or may be charged stays under the cap, but for what one call was charged above its reservation.
fn cap_is_kept(case: &Case) -> Vec<String> {
    let Some(cap) = case.plan.max_cost else { return Vec::new() };
    let charged: i64 = charges(case).iter().filter(|charge| charge.ours).map(|charge| charge.micro_usd).sum();
    if charged > cap { vec![format!("{charged} micro-dollars are charged, the cap is {cap}")] } else { Vec::new() }
}
