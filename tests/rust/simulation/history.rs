//! What happened in a simulated run, in order: a hash of all of it, the last lines to read, and how often each kind of thing
//! happened. Judges nothing.

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher;

use super::chance::Fingerprint;

/// Lines kept for whoever reads a failure.
const TAIL: usize = 5_000;

#[derive(Debug, Default)]
pub struct History {
    hash: Fingerprint,
    tail: VecDeque<String>,
    counts: BTreeMap<&'static str, u64>,
    violations: Vec<String>,
}

impl History {
    /// Something that both replays of a seed must do alike.
    pub fn event(&mut self, at_ms: i64, line: &str) {
        self.hash.write_i64(at_ms);
        self.hash.write(line.as_bytes());
        self.note(at_ms, line);
    }

    /// A line for the reader alone.
    pub fn note(&mut self, at_ms: i64, line: &str) {
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(format!("{:>9.3} s  {line}", at_ms as f64 / 1_000.0));
    }

    /// A fault, a crash point or a situation was met.
    pub fn count(&mut self, kind: &'static str) {
        *self.counts.entry(kind).or_default() += 1;
    }

    /// Something happened that may never happen, found where it happened.
    pub fn violation(&mut self, at_ms: i64, check: &str, what: &str) {
        let line = format!("{check}: {what}");
        self.event(at_ms, &format!("VIOLATION {line}"));
        if !self.violations.contains(&line) {
            self.violations.push(line);
        }
    }

    pub fn violations(&self) -> Vec<String> {
        self.violations.clone()
    }

    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.clone()
    }

    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    pub fn tail(&self, lines: usize) -> String {
        let skipped = self.tail.len().saturating_sub(lines);
        self.tail.iter().skip(skipped).map(|line| format!("{line}\n")).collect()
    }
}
