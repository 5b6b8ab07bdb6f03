//! What a reply that is not 2xx means, as far as it is the same for every provider: status, waiting hints, request id, words.
//!
//! Must not know a provider's own codes, and must not let a key into an error: whatever the provider echoes is redacted.

use std::time::Duration;

use crate::config::Redactor;
use crate::error::{BODY_EXCERPT, Error, ErrorKind};
use crate::http::HttpResponse;

/// Who was called, for words and for redaction. Not printable: it holds the key as it is.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    /// `openai`.
    pub(crate) provider: &'static str,
    /// `OpenAI`.
    pub(crate) title: &'static str,
    /// The variable that holds the key.
    pub(crate) key_variable: &'static str,
    /// The key, to keep it out of errors.
    pub(crate) key: &'a str,
}

/// What the provider's own error body said.
#[derive(Debug, Default, Clone)]
pub(crate) struct Failure {
    /// Overrides what the status means; `None`: the status decides.
    pub(crate) kind: Option<ErrorKind>,
    /// The provider's machine-readable code.
    pub(crate) code: Option<String>,
    /// The provider's words.
    pub(crate) message: Option<String>,
    /// The provider's id of the request, when the body carries it.
    pub(crate) request_id: Option<String>,
}

/// Longest piece of the provider's words inside a message, in characters.
const WORDS: usize = 300;
/// Longest code or request id of the provider, in characters.
const NAME: usize = 200;

impl Caller<'_> {
    /// The error of a reply: `<title> API returned status <n>: <words>`, with what to check.
    pub(crate) fn error(&self, reply: &HttpResponse, failure: Failure) -> Error {
        let kind = failure.kind.unwrap_or_else(|| meaning(reply.status));
        let mut message = format!("{} API returned status {}", self.title, reply.status);
        let words = self.words(failure.message.as_deref().unwrap_or_default());
        if !words.is_empty() {
            message.push_str(": ");
            message.push_str(&words);
        }
        let advice = match kind {
            ErrorKind::Auth => format!("check {}", self.key_variable),
            ErrorKind::QuotaExhausted => {
                format!("the account behind {} is out of money or at its spend limit", self.key_variable)
            }
            _ => String::new(),
        };
        if !advice.is_empty() {
            message.push_str(if message.ends_with(['.', '!', '?']) { " " } else { "; " });
            message.push_str(&advice);
        }
        Error::new(kind, message).with(|context| {
            context.provider = Some(self.provider.to_owned());
            context.status_code = Some(reply.status);
            context.code = failure.code.map(|code| self.name(&code));
            let header = ["x-request-id", "request-id", "x-brd-request-id"].iter().find_map(|name| reply.header(name));
            context.request_id = header.or(failure.request_id.as_deref()).map(|id| self.name(id));
            context.retry_after_ms = retry_after_ms(reply);
            context.should_retry = match reply.header("x-should-retry").map(str::trim) {
                Some("true") => Some(true),
                Some("false") => Some(false),
                _ => None,
            };
            if kind == ErrorKind::Auth {
                context.field = Some(self.key_variable.to_owned());
            }
            // Cut after it is redacted, and generously before: half a key at the end is no key any more to the one who looks.
            let cut = reply.body.get(..BODY_EXCERPT * 8).unwrap_or(&reply.body);
            context.body = Some(self.excerpt(&String::from_utf8_lossy(cut))).filter(|body| !body.is_empty());
        })
    }

    /// An error about the content of a 2xx reply.
    pub(crate) fn content(&self, reply: &HttpResponse, kind: ErrorKind, code: Option<&str>, what: &str) -> Error {
        let mut error = self.error(reply, Failure { kind: Some(kind), code: code.map(str::to_owned), ..Failure::default() });
        error.message = format!("{}: {}", self.title, self.words(what));
        error
    }

    /// The provider's words on one line, short, without the key and without control characters: they end in logs and on
    /// terminals.
    pub(crate) fn words(&self, text: &str) -> String {
        let text = self.redact(text).replace(char::is_control, " ");
        excerpt(&text.split_whitespace().collect::<Vec<_>>().join(" "), WORDS)
    }

    /// What an error keeps of the provider's text.
    pub(crate) fn excerpt(&self, text: &str) -> String {
        excerpt(&self.redact(text), BODY_EXCERPT)
    }

    /// A code or an id, which the provider chose: short and on one line.
    fn name(&self, text: &str) -> String {
        excerpt(&self.redact(text).replace(char::is_control, " "), NAME)
    }

    /// The text without the key and without every larger piece of it: providers echo the ends of a key they refuse.
    fn redact(&self, text: &str) -> String {
        let text = text.trim();
        // Shorter "keys" are placeholders; replacing them would only garble the words.
        let whole = if self.key.len() < 8 { text.to_owned() } else { text.replace(self.key, "***") };
        Redactor::new([self.key]).clean(&whole).into_owned()
    }
}

/// At most `limit` characters.
pub(crate) fn excerpt(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// What a status means where the body does not say more.
fn meaning(status: u16) -> ErrorKind {
    match status {
        401 | 403 => ErrorKind::Auth,
        402 => ErrorKind::QuotaExhausted,
        429 => ErrorKind::RateLimited,
        // A conflict or a server-side time-out passes; so do all 5xx, 529 included.
        408 | 409 | 500.. => ErrorKind::Overloaded,
        400..=499 => ErrorKind::InvalidRequest,
        _ => ErrorKind::Protocol,
    }
}

/// Milliseconds the reply asks us to wait: `retry-after-ms`, else `retry-after` as seconds or as an HTTP date. A date counts
/// from the reply's own `date` header, so no clock is read and a wrong clock on either side does no harm.
/// `None` for anything that is not a positive finite time.
pub(crate) fn retry_after_ms(reply: &HttpResponse) -> Option<u64> {
    let positive = |milliseconds: f64| (milliseconds.is_finite() && milliseconds > 0.0).then(|| milliseconds.ceil() as u64);
    let number = |text: &str| text.trim().parse::<f64>().ok();
    if let Some(milliseconds) = reply.header("retry-after-ms").and_then(number).and_then(positive) {
        return Some(milliseconds);
    }
    let value = reply.header("retry-after")?;
    if let Some(seconds) = number(value) {
        return positive(seconds * 1000.0);
    }
    let until = httpdate::parse_http_date(value.trim()).ok()?;
    let sent = httpdate::parse_http_date(reply.header("date")?.trim()).ok()?;
    let wait = until.duration_since(sent).unwrap_or(Duration::ZERO);
    u64::try_from(wait.as_millis()).ok().filter(|milliseconds| *milliseconds > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(headers: &[(&'static str, &str)]) -> HttpResponse {
        let mut map = http::HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        HttpResponse { status: 429, headers: map, body: bytes::Bytes::from_static(b"key sk-secret-123 is wrong") }
    }

    #[test]
    fn waiting_hints_in_every_form() {
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        for (headers, expected) in [
            (vec![("retry-after", "7")], Some(7_000)),
            (vec![("retry-after", "0.25")], Some(250)),
            (vec![("retry-after-ms", "1500"), ("retry-after", "7")], Some(1_500)),
            (vec![("retry-after-ms", "x"), ("retry-after", "7")], Some(7_000)),
            (vec![("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT"), date], Some(10_000)),
            (vec![("retry-after", "Sunday, 06-Nov-94 08:49:47 GMT"), date], Some(10_000)),
            (vec![("retry-after", "Sun Nov  6 08:49:47 1994"), date], Some(10_000)),
            (vec![("retry-after", "Sun, 06 Nov 1994 08:49:27 GMT"), date], None),
            (vec![("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")], None),
            (vec![("retry-after", "3600")], Some(3_600_000)),
            (vec![("retry-after", "-1")], None),
            (vec![("retry-after", "0")], None),
            (vec![("retry-after", "NaN")], None),
            (vec![("retry-after", "inf")], None),
            (vec![("retry-after", "soon")], None),
            (vec![], None),
        ] {
            assert_eq!(retry_after_ms(&reply(&headers)), expected, "{headers:?}");
        }
    }

    #[test]
    fn a_key_never_stands_in_an_error() {
        let caller = Caller { provider: "openai", title: "OpenAI", key_variable: "OPENAI_API_KEY", key: "sk-secret-123" };
        let failure =
            Failure { message: Some("no such key sk-secret-123".into()), kind: Some(ErrorKind::Auth), ..Failure::default() };
        let error = caller.error(&reply(&[]), failure);
        assert_eq!(error.message, "OpenAI API returned status 429: no such key ***; check OPENAI_API_KEY");
        assert!(!format!("{error:?}").contains("secret"));
        assert_eq!(caller.words("a\u{1b}[31m\n\tb  sk-secret-123"), "a [31m b ***");
        let key = "sk-proj-Zx81mQ7TtY4vB2nK9cD3";
        let caller = Caller { key, ..caller };
        let masked = "Incorrect API key provided: sk-proj-********vB2nK9cD3.";
        let failure = Failure { message: Some(masked.into()), code: Some(format!("bad:{key}")), ..Failure::default() };
        let body = bytes::Bytes::from(format!("{}{key}", "x".repeat(BODY_EXCERPT - 20)));
        let error = caller.error(&HttpResponse { body, ..reply(&[("x-request-id", &format!("req-{key}"))]) }, failure);
        let text = format!("{error} {error:?}");
        assert!(!key.as_bytes()[8..].windows(8).any(|piece| text.contains(std::str::from_utf8(piece).unwrap())), "{text}");
    }
}
