//! The rate-limit headers of a reply: `x-ratelimit-*` (OpenAI and those compatible with it) and `anthropic-ratelimit-*`.
//! Whatever is no sensible number is read as not told: a header of garbage must never slow us down.

use std::time::Duration;

use crate::http::HttpResponse;
use crate::http::rate::{Told, Window};

/// What the reply tells about the account's limits; `None`: nothing.
pub(crate) fn told(reply: &HttpResponse) -> Option<Told> {
    let openai = Told {
        requests: openai(reply, ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"]),
        tokens: openai(reply, ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"]),
        ..Told::default()
    };
    if openai != Told::default() {
        return Some(openai);
    }
    let told = Told {
        requests: window(reply, "anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-remaining"),
        tokens: window(reply, "anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-remaining"),
        input_tokens: window(reply, "anthropic-ratelimit-input-tokens-limit", "anthropic-ratelimit-input-tokens-remaining"),
        output_tokens: window(reply, "anthropic-ratelimit-output-tokens-limit", "anthropic-ratelimit-output-tokens-remaining"),
    };
    (told != Told::default()).then_some(told)
}

/// OpenAI tells when all of it is there again as a duration of Go: `6ms`, `1m30s`.
fn openai(reply: &HttpResponse, [limit, remaining, reset]: [&'static str; 3]) -> Option<Window> {
    let window = window(reply, limit, remaining)?;
    Some(Window { full_in: reply.header(reset).and_then(duration), ..window })
}

/// Anthropic's reset is a time of day in whole seconds, too coarse for a rate; its limits are per minute.
fn window(reply: &HttpResponse, limit: &'static str, remaining: &'static str) -> Option<Window> {
    let number = |name| reply.header(name).and_then(|text| text.trim().parse::<f64>().ok()).filter(|number| number.is_finite());
    let (limit, remaining) = (number(limit)?, number(remaining)?);
    let sensible = (1.0..=1e12).contains(&limit) && (0.0..=limit).contains(&remaining);
    sensible.then_some(Window { limit, remaining, full_in: None })
}

/// A duration as Go prints it: numbers, each with its unit.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let (number, unit) = rest.split_at(digits);
        let end = unit.find(|character: char| character.is_ascii_digit()).unwrap_or(unit.len());
        let (unit, after) = unit.split_at(end);
        let factor = match unit {
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    (seconds <= 1e7).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(headers: &[(&'static str, &str)]) -> HttpResponse {
        let mut map = http::HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        HttpResponse { status: 200, headers: map, body: bytes::Bytes::new() }
    }

    #[test]
    fn durations_of_go() {
        for (text, expected) in [
            ("6ms", Some(6_000)),
            ("12ms", Some(12_000)),
            ("6s", Some(6_000_000)),
            ("1m30s", Some(90_000_000)),
            ("7m12s", Some(432_000_000)),
            ("1h0m0.5s", Some(3_600_500_000)),
            ("1.5s", Some(1_500_000)),
            ("120µs", Some(120)),
            ("0s", Some(0)),
            ("", None),
            ("-1s", None),
            ("6", None),
            ("NaNs", None),
            ("1.2.3s", None),
            ("99999999999h", None),
            ("6 ms", None),
            ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ] {
            assert_eq!(duration(text).map(|duration| duration.as_micros()), expected, "{text}");
        }
    }

    #[test]
    fn headers_of_both_families_and_garbage() {
        let told_by = |headers: &[(&'static str, &str)]| told(&reply(headers));
        let openai = told_by(&[
            ("x-ratelimit-limit-requests", "500"),
            ("x-ratelimit-remaining-requests", "499"),
            ("x-ratelimit-reset-requests", "120ms"),
            ("x-ratelimit-limit-tokens", "30000"),
            ("x-ratelimit-remaining-tokens", "29000"),
        ])
        .unwrap();
        let full_in = Some(Duration::from_millis(120));
        assert_eq!(openai.requests, Some(Window { limit: 500.0, remaining: 499.0, full_in }));
        assert_eq!(openai.tokens, Some(Window { limit: 30_000.0, remaining: 29_000.0, full_in: None }));
        let anthropic = told_by(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "2026-11-21T00:00:00Z"),
            ("anthropic-ratelimit-output-tokens-limit", "8000"),
            ("anthropic-ratelimit-output-tokens-remaining", "7000"),
        ])
        .unwrap();
        assert_eq!(anthropic.requests, Some(Window { limit: 50.0, remaining: 0.0, full_in: None }));
        assert_eq!((anthropic.tokens, anthropic.input_tokens), (None, None));
        assert_eq!(anthropic.output_tokens, Some(Window { limit: 8_000.0, remaining: 7_000.0, full_in: None }));
        for (limit, remaining) in [
            ("-1", "0"),
            ("0", "0"),
            ("NaN", "1"),
            ("inf", "1"),
            ("100", "-5"),
            ("100", "101"),
            ("1e300", "1"),
            ("many", "few"),
            ("", ""),
            ("100", ""),
        ] {
            let garbage = [("x-ratelimit-limit-requests", limit), ("x-ratelimit-remaining-requests", remaining)];
            assert_eq!(told_by(&garbage), None, "{limit} {remaining}");
        }
        assert_eq!(told_by(&[]), None);
    }
}
