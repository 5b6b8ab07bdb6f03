//! Bad days on request: which fault meets which request. Holds the list and the matching; the effect of a fault is in
//! `spoil` (wire and status faults) and in the providers (faults of the content). The table is in the module's
//! documentation (`simulator/mod.rs`).

use serde_json::Value;

/// When a fault acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Instead of the work: nothing is made, nothing is charged.
    Before,
    /// After the work: it is charged, then the reply is spoilt.
    After,
    /// Inside the work: the content is changed.
    Content,
}

/// Every fault by name.
pub(crate) const FAULTS: &[(&str, Stage)] = &[
    ("status", Stage::Before),
    ("rate_limited", Stage::Before),
    ("insufficient_quota", Stage::Before),
    ("quota", Stage::Before),
    ("spend_limit", Stage::Before),
    ("usage_limit", Stage::Before),
    ("overloaded", Stage::Before),
    ("country_rejected", Stage::Before),
    ("close_before_reply", Stage::Before),
    ("hang_uncharged", Stage::Before),
    ("redirect", Stage::Before),
    ("charge_then_500", Stage::After),
    ("charge_then", Stage::After),
    ("charge_then_close", Stage::After),
    ("hang_headers", Stage::After),
    ("close_after_reply", Stage::After),
    ("slow_body", Stage::After),
    ("stall_body", Stage::After),
    ("truncated_body", Stage::After),
    ("bad_chunk", Stage::After),
    ("two_lengths", Stage::After),
    ("length_and_chunked", Stage::After),
    ("header_flood", Stage::After),
    ("big_header", Stage::After),
    ("not_json", Stage::After),
    ("html_200", Stage::After),
    ("empty_200", Stage::After),
    ("error_200", Stage::After),
    ("huge_body", Stage::After),
    ("endless_body", Stage::After),
    ("gzip_bomb", Stage::After),
    ("corrupt_gzip", Stage::After),
    ("deep_json", Stage::After),
    ("bad_utf8", Stage::After),
    ("odd_json", Stage::After),
    ("no_snapshot_id", Stage::Content),
    ("snapshot_id_number", Stage::Content),
    ("same_snapshot_id", Stage::Content),
    ("snapshot_failed", Stage::Content),
    ("snapshot_canceled", Stage::Content),
    ("snapshot_gone", Stage::Content),
    ("snapshot_expired", Stage::Content),
    ("inputs_expired", Stage::Content),
    ("inputs_reordered", Stage::Content),
    ("snapshot_forever_running", Stage::Content),
    ("snapshot_unknown_word", Stage::Content),
    ("ready_then_building", Stage::Content),
    ("ready_then_200", Stage::Content),
    ("drop_rows", Stage::Content),
    ("duplicate_rows", Stage::Content),
    ("foreign_rows", Stage::Content),
    ("shuffle_rows", Stage::Content),
    ("changed_echo", Stage::Content),
    ("decomposed_echo", Stage::Content),
    ("no_index", Stage::Content),
    ("string_index", Stage::Content),
    ("ndjson", Stage::Content),
    ("data_wrapper", Stage::Content),
    ("single_object", Stage::Content),
    ("error_rows", Stage::Content),
    ("auth_wall_all", Stage::Content),
    ("sse_only", Stage::Content),
    ("junk_citations", Stage::Content),
    ("string_citations", Stage::Content),
    ("null_citations", Stage::Content),
    ("lagging_list", Stage::Content),
    ("empty_answer", Stage::Content),
    ("odd_text", Stage::Content),
    ("refusal", Stage::Content),
    ("incomplete", Stage::Content),
    ("failed_200", Stage::Content),
    ("no_usage", Stage::Content),
    ("absurd_usage", Stage::Content),
    ("other_model", Stage::Content),
    ("pause", Stage::Content),
    ("search_error", Stage::Content),
    ("broken_json", Stage::Content),
    ("invalid_schema", Stage::Content),
    ("false_statements", Stage::Content),
    ("batch_expired", Stage::Content),
    ("batch_failed", Stage::Content),
    ("obeys", Stage::Content),
];

/// A fault to apply.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    /// From [`FAULTS`].
    pub(crate) name: &'static str,
    pub(crate) stage: Stage,
    /// What stood behind the colon.
    pub(crate) argument: String,
    /// Extra headers of the spoilt reply.
    pub(crate) headers: Vec<(String, String)>,
}

impl Fault {
    /// True for this name.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// The number behind the first or a later colon.
    pub(crate) fn number(&self, position: usize) -> Option<u64> {
        self.argument.split(':').nth(position).and_then(|text| text.parse().ok())
    }
}

/// True when the optional fault has this name.
pub(crate) fn is(fault: Option<&Fault>, name: &str) -> bool {
    fault.is_some_and(|fault| fault.is(name))
}

#[derive(Debug)]
struct Rule {
    endpoint: Option<String>,
    prompt_contains: Option<String>,
    /// Only this match counts (1-based); `None`: every one.
    nth: Option<u64>,
    seen: u64,
    /// Applications left; `None`: without end.
    left: Option<u64>,
    fault: Fault,
}

/// The rules in force, in the order they came.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Vec<Rule>,
}

impl Faults {
    /// Adds a rule from the body of `POST /_sim/faults`.
    pub(crate) fn add(&mut self, body: &Value) -> Result<(), String> {
        let object = body.as_object().ok_or("the body must be an object {match, fault, times}")?;
        if let Some(key) = object.keys().find(|key| !matches!(key.as_str(), "match" | "fault" | "times" | "headers")) {
            return Err(format!("unknown field '{key}'; known: match, fault, times, headers"));
        }
        let text = body.get("fault").and_then(Value::as_str).ok_or("'fault' must be a name")?;
        let (name, argument) = text.split_once(':').unwrap_or((text, ""));
        let (name, stage) = FAULTS.iter().find(|(known, _)| *known == name).copied().ok_or_else(|| {
            let names: Vec<&str> = FAULTS.iter().map(|(name, _)| *name).collect();
            format!("unknown fault '{name}'; known: {}", names.join(", "))
        })?;
        if matches!(name, "status" | "charge_then")
            && argument.split(':').next().and_then(|code| code.parse::<u16>().ok()).is_none()
        {
            return Err(format!("{name} needs a code, such as {name}:503"));
        }
        let matching = body.get("match").cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        let matching = matching.as_object().ok_or("'match' must be an object {endpoint, prompt_contains, nth}")?;
        if let Some(key) = matching.keys().find(|key| !matches!(key.as_str(), "endpoint" | "prompt_contains" | "nth")) {
            return Err(format!("unknown field '{key}' in match; known: endpoint, prompt_contains, nth"));
        }
        let word = |key: &str| matching.get(key).and_then(Value::as_str).map(str::to_owned);
        let left = match body.get("times") {
            None => Some(1),
            Some(Value::Null) => None,
            Some(times) => Some(times.as_u64().ok_or("'times' must be a whole number, or null for always")?),
        };
        let headers = body.get("headers").and_then(Value::as_object).into_iter().flatten();
        let headers = headers.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
        self.rules.push(Rule {
            endpoint: word("endpoint"),
            prompt_contains: word("prompt_contains"),
            nth: matching.get("nth").and_then(Value::as_u64),
            seen: 0,
            left,
            fault: Fault { name, stage, argument: argument.to_owned(), headers },
        });
        Ok(())
    }

    /// Forgets all rules.
    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// True when nothing is to be matched.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The fault for this request: the first rule that fits. A rule on `brightdata` fits every endpoint of it.
    pub(crate) fn take(&mut self, endpoint: &str, text: &str) -> Option<Fault> {
        let mut chosen = None;
        for rule in &mut self.rules {
            let fits =
                rule.endpoint.as_deref().is_none_or(|wanted| wanted == endpoint || endpoint.split('.').next() == Some(wanted))
                    && rule.prompt_contains.as_deref().is_none_or(|part| text.contains(part));
            if !fits || rule.left == Some(0) || chosen.is_some() {
                continue;
            }
            rule.seen += 1;
            if rule.nth.is_none_or(|nth| nth == rule.seen) {
                if let Some(left) = &mut rule.left {
                    *left -= 1;
                }
                chosen = Some(rule.fault.clone());
            }
        }
        self.rules.retain(|rule| rule.left != Some(0));
        chosen
    }
}
