//! What faults do to replies: provider error bodies in place of the work, and everything that can go wrong between the
//! provider's work and the client. Decides nothing about which request is hit (`faults`) or what is charged.

use std::time::Duration;

use serde_json::{Value, json};

use super::faults::Fault;
use super::reply::Reply;
use super::server::Provider;
use super::wire::{Script, Then, Wire};
use super::{anthropic, openai};

/// What to do with a request.
#[derive(Debug)]
pub(crate) enum Fate {
    /// Send this.
    Send(Reply),
    /// The wire plays its script; nothing else is sent.
    Played,
    /// Never answer.
    Hang,
}

/// The provider's error of a status.
pub(crate) fn error(provider: Provider, status: u16) -> Reply {
    match provider {
        Provider::OpenAi => {
            let (kind, code, message) = match status {
                401 => ("invalid_request_error", Some("invalid_api_key"), "Incorrect API key provided."),
                403 => (
                    "invalid_request_error",
                    Some("unsupported_country_region_territory"),
                    "Country, region, or territory not supported",
                ),
                404 => (
                    "invalid_request_error",
                    Some("model_not_found"),
                    "The model does not exist or you do not have access to it.",
                ),
                429 => ("requests", Some("rate_limit_exceeded"), "Rate limit reached for requests. Please try again in 6ms."),
                400..=499 => ("invalid_request_error", None, "Invalid request."),
                503 => ("server_error", Some("slow_down"), "The engine is currently overloaded, please try again later."),
                _ => ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
            };
            openai::headers(openai::error(status, kind, code, None, message), u64::from(status))
        }
        Provider::Anthropic => {
            let (kind, message) = match status {
                401 => ("authentication_error", "invalid x-api-key"),
                402 => ("billing_error", "Your credit balance is too low to access the Anthropic API."),
                403 => ("permission_error", "Your API key does not have permission to use the specified resource."),
                404 => ("not_found_error", "Not found"),
                413 => ("request_too_large", "Request exceeds the maximum size"),
                429 => ("rate_limit_error", "This request would exceed your organization's rate limit."),
                504 => ("timeout_error", "The request timed out while processing."),
                529 => ("overloaded_error", "Overloaded"),
                400..=499 => ("invalid_request_error", "Invalid request."),
                _ => ("api_error", "Internal server error"),
            };
            anthropic::error(status, kind, message, u64::from(status))
        }
        Provider::BrightData => match status {
            401 => Reply::text(401, "Invalid token"),
            402 => Reply::text(402, "Account is suspended").header("x-brd-err-code", "client_10100"),
            404 => Reply::text(404, "dataset does not exist"),
            429 => Reply::text(
                429,
                "You have too many running jobs for this dataset. Please wait until some of them finish or consider combining multiple \
                 inputs into a single request. Running jobs: 100>=100",
            ),
            400..=499 => Reply::json(status, &json!({"validation_errors": ["Invalid request"]})),
            _ => Reply::text(status, "Internal server error"),
        },
    }
}

fn money(provider: Provider, code: Option<&str>) -> Reply {
    match provider {
        Provider::OpenAi => {
            let message = "You exceeded your current quota, please check your plan and billing details. For more information on this error, \
                           read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.";
            openai::headers(
                openai::error(429, "insufficient_quota", Some(code.unwrap_or("insufficient_quota")), None, message),
                429,
            )
        }
        Provider::Anthropic => error(provider, 402),
        Provider::BrightData => error(provider, 402),
    }
}

fn spend_limit(provider: Provider) -> Reply {
    match provider {
        Provider::OpenAi => money(provider, Some("organization_spend_limit_exceeded")),
        Provider::Anthropic => {
            let details = json!({"error_code": "enforced_spend_limit_reached"});
            let error =
                json!({"type": "rate_limit_error", "message": "You have reached your enforced spend limit.", "details": details});
            Reply::json(429, &json!({"type": "error", "error": error, "request_id": "req_simulated"}))
        }
        Provider::BrightData => error(provider, 402),
    }
}

/// The limit that the customer set for itself; Anthropic says so with a 400.
fn usage_limit(provider: Provider) -> Reply {
    match provider {
        Provider::OpenAi => money(provider, Some("organization_usage_limit_exceeded")),
        Provider::Anthropic => {
            let message = "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.";
            anthropic::error(400, "invalid_request_error", message, 400)
        }
        Provider::BrightData => error(provider, 402),
    }
}

/// A fault in place of the work.
pub(crate) fn before(fault: &Fault, provider: Provider, url: &str, wire: &Wire) -> Fate {
    let reply = match fault.name {
        "status" => {
            let reply = error(provider, u16::try_from(fault.number(0).unwrap_or(500)).unwrap_or(500));
            retry_after(reply, fault.number(1))
        }
        "rate_limited" => retry_after(error(provider, 429), fault.number(0)),
        "insufficient_quota" => money(provider, None),
        "quota" => money(provider, Some(fault.argument.as_str()).filter(|code| !code.is_empty())),
        "spend_limit" => spend_limit(provider),
        "usage_limit" => usage_limit(provider),
        "overloaded" => {
            let status = if provider == Provider::Anthropic { 529 } else { 503 };
            retry_after(error(provider, status), fault.number(0))
        }
        "country_rejected" => Reply::json(400, &json!({"error": "country is not available for this scraper"})),
        "close_before_reply" => {
            wire.close();
            return Fate::Played;
        }
        "redirect" => {
            let status = u16::try_from(fault.number(0).unwrap_or(307)).unwrap_or(307);
            Reply::text(status, "").header("location", format!("{url}/_sim/elsewhere"))
        }
        _ => return Fate::Hang,
    };
    Fate::Send(with_extra(reply, fault))
}

fn retry_after(reply: Reply, seconds: Option<u64>) -> Reply {
    match seconds {
        Some(seconds) => reply.header("retry-after", seconds.to_string()),
        None => reply,
    }
}

fn with_extra(mut reply: Reply, fault: &Fault) -> Reply {
    reply.extra.clone_from(&fault.headers);
    reply
}

/// A fault after the work.
pub(crate) fn after(fault: &Fault, provider: Provider, reply: Reply, wire: &Wire) -> Fate {
    let page = "<!doctype html><html><head><title>Sign in to the network</title></head><body><h1>Welcome</h1></body></html>";
    let spoilt = match fault.name {
        "charge_then_500" => error(provider, 500),
        "charge_then" => {
            retry_after(error(provider, u16::try_from(fault.number(0).unwrap_or(500)).unwrap_or(500)), fault.number(1))
        }
        "hang_headers" => return Fate::Hang,
        "not_json" => Reply::bytes(200, "application/json", b"Service is running fine.".to_vec()),
        "html_200" => Reply::text(200, page),
        "empty_200" => Reply::bytes(200, "application/json", Vec::new()),
        "error_200" => Reply { status: 200, ..error(provider, 500) },
        "huge_body" => Reply::bytes(200, "application/json", huge(fault.number(0).unwrap_or(64))),
        "gzip_bomb" => {
            Reply::bytes(200, "application/json", gzip_bomb(fault.number(0).unwrap_or(256))).header("content-encoding", "gzip")
        }
        "corrupt_gzip" => {
            Reply::bytes(200, "application/json", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03garbage, not deflate".to_vec())
                .header("content-encoding", "gzip")
        }
        "deep_json" => Reply::bytes(200, "application/json", "[".repeat(100_000).into_bytes()),
        "bad_utf8" => bad_utf8(reply),
        "odd_json" => odd_json(&reply),
        "header_flood" => {
            let mut flooded = reply;
            flooded.extra = (0..150).map(|number| (format!("x-flood-{number}"), "x".repeat(40))).collect();
            return Fate::Send(flooded);
        }
        "big_header" => {
            let mut flooded = reply;
            flooded.extra = vec![("x-big".to_owned(), "x".repeat(1 << 20))];
            return Fate::Send(flooded);
        }
        _ => {
            wire.play(script(fault, &reply));
            return Fate::Played;
        }
    };
    Fate::Send(with_extra(spoilt, fault))
}

fn script(fault: &Fault, reply: &Reply) -> Script {
    let length = reply.body.len();
    let framed = |framing: String| {
        let mut bytes = reply.raw_head(&framing);
        let head = bytes.len();
        bytes.extend_from_slice(&reply.body);
        (bytes, head)
    };
    let counted = || framed(format!("content-length: {length}\r\n"));
    match fault.name {
        "slow_body" => {
            let (bytes, head) = counted();
            Script { bytes, slow: Some((head, Duration::from_millis(fault.number(0).unwrap_or(200)))), then: Then::Close }
        }
        // Whole and promising keep-alive; the next request on this connection finds it closed.
        "close_after_reply" => Script { bytes: counted().0, slow: None, then: Then::Close },
        "stall_body" => {
            let (mut bytes, head) = counted();
            bytes.truncate(head + length / 2);
            Script { bytes, slow: None, then: Then::Hang }
        }
        "truncated_body" => {
            let (mut bytes, head) = counted();
            bytes.truncate(head + length / 2);
            Script { bytes, slow: None, then: Then::Close }
        }
        "bad_chunk" => {
            let mut bytes = reply.raw_head("transfer-encoding: chunked\r\n");
            bytes.extend_from_slice(b"10\r\n{\"id\": \"resp_0\"\r\nzz-not-hex\r\n");
            Script { bytes, slow: None, then: Then::Close }
        }
        "two_lengths" => {
            let (bytes, _) = framed(format!("content-length: {length}\r\ncontent-length: {}\r\n", length + 7));
            Script { bytes, slow: None, then: Then::Close }
        }
        "length_and_chunked" => {
            let mut bytes = reply.raw_head(&format!("content-length: {}\r\ntransfer-encoding: chunked\r\n", length + 7));
            bytes.extend_from_slice(format!("{length:x}\r\n").as_bytes());
            bytes.extend_from_slice(&reply.body);
            bytes.extend_from_slice(b"\r\n0\r\n\r\n");
            Script { bytes, slow: None, then: Then::Close }
        }
        "endless_body" => {
            let mut bytes = reply.raw_head("transfer-encoding: chunked\r\n");
            bytes.extend_from_slice(b"1\r\n[\r\n");
            let start = bytes.len();
            bytes.extend_from_slice(b"10000\r\n");
            bytes.extend_from_slice(&b" ".repeat(0x10000));
            bytes.extend_from_slice(b"\r\n");
            Script { bytes, slow: None, then: Then::Repeat(start) }
        }
        _ => Script { bytes: Vec::new(), slow: None, then: Then::Close },
    }
}

fn huge(megabytes: u64) -> Vec<u8> {
    let length = usize::try_from(megabytes.saturating_mul(1 << 20)).unwrap_or(1 << 26);
    let mut body = b"{\"padding\": \"".to_vec();
    body.resize(length, b'x');
    body.extend_from_slice(b"\"}");
    body
}

/// A gzip stream of spaces that is about 158 times smaller than its content. Fixed Huffman codes: one literal, then matches of
/// 258 bytes at distance 1, each 13 bits, so eight of them are a pattern of 13 bytes. The checksum at the end is not valid.
fn gzip_bomb(megabytes: u64) -> Vec<u8> {
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    let mut bits = BitWriter::default();
    bits.push(0b011, 3); // last block, fixed Huffman (BFINAL 1, BTYPE 01)
    bits.push_code(0x30 + 0x20, 8); // the literal 0x20
    let matches = megabytes.saturating_mul(1 << 20) / 258;
    for _ in 0..matches {
        bits.push_code(0b1100_0101, 8); // length 258
        bits.push_code(0, 5); // distance 1
    }
    bits.push_code(0, 7); // end of block
    bytes.extend(bits.finish());
    bytes.extend_from_slice(&[0; 8]);
    bytes
}

#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    pending: u32,
    count: u32,
}

impl BitWriter {
    fn push(&mut self, bits: u32, count: u32) {
        self.pending |= bits << self.count;
        self.count += count;
        while self.count >= 8 {
            self.bytes.push((self.pending & 0xff) as u8);
            self.pending >>= 8;
            self.count -= 8;
        }
    }

    /// Huffman codes go most significant bit first.
    fn push_code(&mut self, code: u32, count: u32) {
        self.push(code.reverse_bits() >> (32 - count), count);
    }

    fn finish(mut self) -> Vec<u8> {
        self.push(0, 7);
        self.bytes
    }
}

fn bad_utf8(mut reply: Reply) -> Reply {
    let mut body = reply.body.to_vec();
    // Inside a string of the JSON: an invalid byte and an escaped lone surrogate.
    if let Some(at) =
        body.windows(2).rposition(|pair| pair.first().is_some_and(u8::is_ascii_alphabetic) && pair.get(1) == Some(&b'"'))
    {
        body.splice(at..at, [0xff, 0xfe].iter().copied().chain(*b"\\ud800"));
    }
    reply.body = body.into();
    reply
}

fn odd_json(reply: &Reply) -> Reply {
    let text = String::from_utf8_lossy(&reply.body);
    let odd = match text.strip_prefix('{') {
        Some(rest) => format!("{{\"id\": \"first\", \"not_a_number\": NaN, \"too_large\": 1e999, {rest}"),
        None => format!("[NaN, {}", text.trim_start_matches('[')),
    };
    Reply { body: odd.into_bytes().into(), ..reply.clone() }
}

/// The reply when the speed limit of [`super::Config`] is reached.
pub(crate) fn too_fast(provider: Provider, milliseconds: u64) -> Reply {
    let reply = error(provider, 429).header("retry-after-ms", milliseconds.to_string());
    reply.header("retry-after", milliseconds.div_ceil(1_000).max(1).to_string())
}

/// A JSON error of the control endpoints.
pub(crate) fn refuse(message: &str) -> Reply {
    Reply::json(400, &json!({"error": Value::String(message.to_owned())}))
}
