//! What a failed exchange means: was a byte of the request sent or not? When in doubt it was. Must not let a URL into an error:
//! its query is the user's.

use std::io;

use crate::error::{Error, ErrorKind, TLS_FAILED};

/// Every cause, outermost first, as text.
fn causes(error: &reqwest::Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    causes
}

/// A request without a reply. In this order, because a time-out while connecting is both, and "request" says nothing: it
/// stands for a refused connection as well as for a server that closed after it had read everything.
pub(super) fn failure(error: reqwest::Error) -> Error {
    let error = error.without_url();
    let causes = causes(&error);
    let detail = causes.last().cloned().unwrap_or_else(|| error.to_string());
    if error.is_timeout() && error.is_connect() {
        Error::new(ErrorKind::NotSent, "no connection within the time limit")
    } else if error.is_timeout() {
        Error::new(ErrorKind::OutcomeUnknown, "no complete reply within the time limit")
    } else if error.is_connect() {
        tls_failure(&causes).unwrap_or_else(|| Error::new(ErrorKind::NotSent, format!("no connection: {detail}")))
    } else {
        Error::new(ErrorKind::OutcomeUnknown, format!("the connection broke after the request was sent: {detail}"))
    }
}

/// A refusal by TLS: nothing was sent, and trying again would not help. A handshake that breaks off is none.
fn tls_failure(causes: &[String]) -> Option<Error> {
    let says = |words: &str| causes.iter().any(|cause| cause.contains(words));
    let detail = causes.last().map(String::as_str).unwrap_or_default();
    let failed = |kind, message| Some(Error::new(kind, message).with(|context| context.code = Some(TLS_FAILED.to_owned())));
    if says("invalid peer certificate") {
        failed(ErrorKind::Auth, format!("the server's certificate was refused: {detail}"))
    } else if says("peer is incompatible") {
        failed(ErrorKind::Auth, format!("the server has no TLS that is safe enough: {detail}"))
    } else if says("received corrupt message") {
        failed(ErrorKind::Protocol, "the server does not answer with TLS: check the host and port of the base URL".to_owned())
    } else {
        None
    }
}

/// A reply whose head came and whose body did not.
pub(super) fn body_failure(error: reqwest::Error) -> Error {
    let error = error.without_url();
    let detail = causes(&error).last().cloned().unwrap_or_else(|| error.to_string());
    if error.is_timeout() {
        Error::new(ErrorKind::OutcomeUnknown, "no complete reply within the time limit")
    } else if matches!(io_kind(&error), Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)) {
        Error::new(ErrorKind::Protocol, format!("the reply's chunks are broken: {detail}"))
    } else {
        Error::new(ErrorKind::Undecodable, format!("the reply broke off: {detail}"))
    }
}

fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        source = cause.source();
    }
    None
}
