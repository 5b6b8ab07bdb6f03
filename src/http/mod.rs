//! One method that sends one request. No retry, no limit, no meaning: a reply of any status is a reply.
//!
//! Contract of [`HttpService::send`]: (1) it never follows a redirect; (2) the whole exchange, body included, ends within
//! `timeout`; (3) a decompressed body above `max_body` is [`ErrorKind::TooLarge`]; (4) a failure is
//! [`ErrorKind::NotSent`], or has the code [`TLS_FAILED`](crate::error::TLS_FAILED), only when no byte of the request can have
//! reached the provider; (5) errors name neither a header value nor a query; (6) a reply does not hold the key that was sent.

mod body;
pub mod breaker;
mod client;
mod failure;
pub mod guard;
pub mod limit;
pub mod rate;
mod registry;
pub mod retry;
pub mod throttle;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::error::Result;

pub use client::{ReqwestService, Resolver};

/// A boxed future, as object-safe traits need it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Largest decompressed body of a direct call: 8 MiB.
pub const ANSWER_CAP: usize = 8 << 20;
/// Largest decompressed body of a download: 256 MiB.
pub const DOWNLOAD_CAP: usize = 256 << 20;
/// Largest body of a poll, a trigger reply or an error: 1 MiB.
pub const SMALL_CAP: usize = 1 << 20;

/// A request as a codec makes it.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    /// `GET` or `POST`.
    pub method: Method,
    /// Whole URL; never carries a key.
    pub url: String,
    /// Headers; the one with the key is marked sensitive, so `Debug` hides it.
    pub headers: HeaderMap,
    /// JSON, or empty.
    pub body: Bytes,
    /// Budget of the whole exchange.
    pub timeout: Duration,
    /// Cap of the decompressed body.
    pub max_body: usize,
    /// True: use a connection that carried nothing before (a trigger must not meet a stale keep-alive).
    pub fresh_connection: bool,
}

impl HttpRequest {
    /// A GET without headers.
    pub fn get(url: impl Into<String>, timeout: Duration, max_body: usize) -> Self {
        let (method, headers) = (Method::GET, HeaderMap::new());
        Self { method, url: url.into(), headers, body: Bytes::new(), timeout, max_body, fresh_connection: false }
    }

    /// A POST of a JSON body.
    pub fn post(url: impl Into<String>, body: impl Into<Bytes>, timeout: Duration, max_body: usize) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self { method: Method::POST, url: url.into(), headers, body: body.into(), timeout, max_body, fresh_connection: false }
    }

    /// Adds a header that holds a key.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] naming `variable` when the key has characters a header cannot carry.
    pub fn with_secret(mut self, name: HeaderName, value: &str, variable: &str) -> Result<Self> {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| crate::Error::config(variable, format!("{variable} holds characters that no HTTP header can carry")))?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }

    /// Adds a fixed header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }
}

/// A reply, whatever its status.
#[derive(Debug, Clone)]
pub struct HttpResponse {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Decompressed body.
    pub body: Bytes,
}

impl HttpResponse {
    /// A header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// 200–299.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Sends requests. See the module's contract.
pub trait HttpService: Send + Sync + std::fmt::Debug {
    /// Sends one request and reads the whole reply.
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse>>;
}
