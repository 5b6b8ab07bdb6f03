//! Absence statements and refusals against real mentions in the same words, of `tests/fixtures/absence`, written for this test. The
//! halves `work` and `check` are older than the rules; `later` was written after the first ones. Only what is missed in `work` was
//! looked at while the rules were made. The bounds are what was reached.

#![allow(clippy::print_stdout, reason = "its figures are what it is for")]

use crate::extract_support::{extractor, org, run};

struct Statement<'a> {
    half: &'a str,
    absent: bool,
    name: &'a str,
    text: String,
}

/// Of one half: (absences found, absences, mentions kept, mentions).
fn figures(half: &str) -> [usize; 4] {
    let table = include_str!("../fixtures/absence/statements.tsv");
    let mut figures = [0; 4];
    for statement in table.lines().filter(|line| !line.starts_with('#')).map(parsed).filter(|statement| statement.half == half) {
        let extraction = extractor(&org(statement.name)).local(&run(&statement.text), 0);
        let right = extraction.evaluation.mentioned != statement.absent;
        let at = if statement.absent { 0 } else { 2 };
        figures[at] += usize::from(right);
        figures[at + 1] += 1;
        if !right && half == "work" {
            println!("{} {:?}", if statement.absent { "missed:" } else { "false: " }, statement.text);
        }
    }
    println!("{half}: {} of {} absences found, {} of {} mentions kept", figures[0], figures[1], figures[2], figures[3]);
    figures
}

fn parsed(line: &str) -> Statement<'_> {
    let [half, verdict, _language, name, text] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
    Statement { half, absent: verdict != "present", name, text: text.replace("\\n", "\n") }
}

fn holds(half: &str, absences: usize, mentions: usize) {
    let figures = figures(half);
    assert!(figures[0] >= absences && figures[2] >= mentions, "{half}: {figures:?}");
}

#[test]
fn the_work_half() {
    holds("work", 76, 72);
}

#[test]
fn the_check_half() {
    holds("check", 66, 42);
}

#[test]
fn the_later_half() {
    holds("later", 13, 20);
}
