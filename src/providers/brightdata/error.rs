//! What a Bright Data reply that is not 2xx means. Bodies are text or JSON, and the codes are no closed set: the words decide.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::error::{Error, ErrorKind};
use crate::http::HttpResponse;
use crate::providers::Ask;
use crate::providers::wire::{Caller, Failure};

/// The error of a reply; `dataset_variable` is named where the dataset is what is wrong.
pub(super) fn of_reply(caller: &Caller<'_>, dataset_variable: &str, asks: &[Ask], reply: &HttpResponse) -> Error {
    let json: Value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
    let text = words(&json).unwrap_or_else(|| String::from_utf8_lossy(&reply.body).trim().to_owned());
    let lower = text.to_lowercase();
    let header_code = reply.header("x-brd-err-code").map(str::to_owned);
    let dataset = lower.contains("dataset does not exist");
    let country = lower.contains("country");
    let kind = meaning(reply.status, &lower, header_code.as_deref());
    let mut error = caller.error(reply, Failure { kind, code: header_code, message: Some(text), request_id: None });
    if error.context.code.is_none() {
        let code = match error.kind {
            ErrorKind::SnapshotGone if lower.contains("expired") => Some("snapshot_expired"),
            ErrorKind::SnapshotFailed => Some("snapshot_empty"),
            ErrorKind::Overloaded if kind.is_some() => Some("not_ready"),
            ErrorKind::InvalidRequest if dataset => Some("dataset_not_found"),
            ErrorKind::InvalidRequest if json.get("validation_errors").is_some() => Some("validation_errors"),
            ErrorKind::InvalidRequest if lower.contains("country is not available") => Some("country_not_available"),
            ErrorKind::InvalidRequest if country => Some("country"),
            _ => None,
        };
        error.context.code = code.map(str::to_owned);
    }
    if error.kind == ErrorKind::InvalidRequest {
        if dataset {
            error.message.push_str(&format!("; check {dataset_variable}"));
            error.context.field = Some(dataset_variable.to_owned());
        } else if reply.status == 400 {
            error.context.bad_inputs = bad_inputs(&json, asks);
            if country && error.context.bad_inputs.is_empty() {
                // The country is the same for the whole trigger, so every input that carries one is bad.
                let with =
                    asks.iter().enumerate().filter(|(_, ask)| ask.location.as_deref().is_some_and(|at| !at.country.is_empty()));
                error.context.bad_inputs = with.map(|(position, _)| position).collect();
                error.context.field = Some("country".to_owned());
                error.message.push_str("; use another country, or list this engine in without_country");
            }
        }
    }
    if error.context.retry_after_ms.is_none() {
        error.context.retry_after_ms = try_again_in(&lower);
    }
    error
}

/// `None`: the status decides.
fn meaning(status: u16, words: &str, code: Option<&str>) -> Option<ErrorKind> {
    let has = |pieces: &[&str]| pieces.iter().any(|piece| words.contains(piece));
    Some(match status {
        // 402 is about money whatever it says: an account without funds is called suspended, too.
        400 | 402 | 403 | 429
            if status == 402
                || code == Some("client_10100")
                || has(&[
                    "insufficient fund",
                    "insufficient balance",
                    "insufficient credit",
                    "out of credit",
                    "not enough credit",
                    "no credit",
                    "payment required",
                    "usage limit",
                    "spending limit",
                    "budget exceeded",
                    "quota exceeded",
                ]) =>
        {
            ErrorKind::QuotaExhausted
        }
        400 | 403 | 429 if has(&["account is suspended", "customer is not active"]) => ErrorKind::Auth,
        400 if has(&["snapshot is expired"]) => ErrorKind::SnapshotGone,
        400 if has(&["snapshot is empty"]) => ErrorKind::SnapshotFailed,
        400 | 404 | 409 if has(&["not ready", "building"]) => ErrorKind::Overloaded,
        400 | 404 if has(&["dataset does not exist"]) => ErrorKind::InvalidRequest,
        // Right after a trigger the engine takes a 404 for "not yet".
        404 => ErrorKind::SnapshotGone,
        _ => return None,
    })
}

/// The provider's sentence in a JSON body.
fn words(json: &Value) -> Option<String> {
    let direct = ["error", "message", "error_message", "validation_errors"].iter().find_map(|key| json.get(key));
    match direct? {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let texts = items.iter().map(|item| match item {
                Value::String(text) => text.clone(),
                other => other.get("message").and_then(Value::as_str).map_or_else(|| other.to_string(), str::to_owned),
            });
            Some(texts.collect::<Vec<_>>().join("; "))
        }
        Value::Object(inner) => {
            inner.get("message").and_then(Value::as_str).map(str::to_owned).or_else(|| Some(json.to_string()))
        }
        other => Some(other.to_string()),
    }
}

/// Positions, from 0, of the inputs that `validation_errors` names. The form is not documented; read are, in this order:
/// an echoed prompt (`prompt`, `value`, `input.prompt`, or the question inside a text), our own `index` (from 1; also
/// `input.index`, `line`, `row`), a JSON path with a bracket (`[2].prompt`, from 0), and "input 3", "line 3", "row 3",
/// "index 3", "#3" in a text (from 1). Where a list holds a 0, all its bare numbers count from 0.
fn bad_inputs(json: &Value, asks: &[Ask]) -> Vec<usize> {
    let Some(Value::Array(errors)) = json.get("validation_errors").or_else(|| json.get("errors")) else { return Vec::new() };
    let named: Vec<Named> = errors.iter().filter_map(|error| name(error, asks)).collect();
    let from_zero = named.iter().any(|named| matches!(named, Named::Number(0)));
    let positions = named.into_iter().filter_map(|named| match named {
        Named::Position(position) => Some(position),
        Named::Number(number) if from_zero => Some(number),
        Named::Number(number) => number.checked_sub(1),
    });
    positions.filter(|position| *position < asks.len()).collect::<BTreeSet<_>>().into_iter().collect()
}

enum Named {
    /// Certain, from 0.
    Position(usize),
    /// A bare number.
    Number(usize),
}

fn name(error: &Value, asks: &[Ask]) -> Option<Named> {
    let by_prompt = |text: &str| {
        let mut hits = asks.iter().enumerate().filter(|(_, ask)| text.trim() == ask.question.trim());
        hits.next().filter(|_| hits.next().is_none()).map(|(position, _)| Named::Position(position))
    };
    let number = |value: &Value| {
        let number = value.as_u64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
        number.and_then(|number| usize::try_from(number).ok()).map(Named::Number)
    };
    match error {
        Value::String(text) => in_text(text, asks),
        Value::Object(_) => {
            let at = |keys: &[&str]| keys.iter().try_fold(error, |value, key| value.get(key));
            let prompts = [&["prompt"][..], &["value"], &["input", "prompt"]];
            let numbers = [&["index"][..], &["input", "index"], &["input_index"], &["line"], &["row"], &["input"]];
            let texts = [&["path"][..], &["field"], &["message"], &["error"]];
            prompts
                .iter()
                .find_map(|keys| by_prompt(at(keys)?.as_str()?))
                .or_else(|| numbers.iter().find_map(|keys| number(at(keys)?)))
                .or_else(|| texts.iter().find_map(|keys| in_text(at(keys)?.as_str()?, asks)))
        }
        _ => None,
    }
}

fn in_text(text: &str, asks: &[Ask]) -> Option<Named> {
    let mut quoted = asks.iter().enumerate().filter(|(_, ask)| ask.question.len() >= 8 && text.contains(ask.question.trim()));
    if let (Some((position, _)), None) = (quoted.next(), quoted.next()) {
        return Some(Named::Position(position));
    }
    let lower = text.to_lowercase();
    let digits = |rest: &str| {
        let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        rest.get(..end).and_then(|digits| digits.parse::<usize>().ok()).map(|number| (number, end))
    };
    let bracket = lower.match_indices('[').find_map(|(at, _)| {
        let rest = lower.get(at + 1..)?;
        let (number, end) = digits(rest)?;
        rest.get(end..)?.starts_with(']').then_some(Named::Position(number))
    });
    let worded = || {
        ["input", "line", "row", "index", "record", "#"].iter().find_map(|word| {
            lower.match_indices(word).find_map(|(at, _)| {
                let rest = lower.get(at + word.len()..)?.trim_start_matches([' ', '#', ':', '=']);
                digits(rest).map(|(number, _)| Named::Number(number))
            })
        })
    };
    bracket.or_else(worded)
}

/// Milliseconds in "try again in 10s"; `None` when the words hold no such hint.
pub(super) fn try_again_in(words: &str) -> Option<u64> {
    let lower = words.to_lowercase();
    let (_, rest) = lower.split_once("try again in ")?;
    let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    let (number, unit) = rest.split_at(end);
    let factor = if unit.trim_start().starts_with('m') && !unit.trim_start().starts_with("ms") { 60_000 } else { 1_000 };
    number.parse::<u64>().ok()?.checked_mul(factor).filter(|wait| *wait > 0)
}
