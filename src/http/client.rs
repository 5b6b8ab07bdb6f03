//! [`HttpService`] over reqwest and rustls: redirects are off, a proxy is used only when it is configured, certificates are
//! always verified. Every limit that a reply could break is ours: time, idle time, headers, body size, compression ratio.
//!
//! Must not know what a reply means, and must not let the key that was sent come back: where a reply repeats it, it is masked.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue};

use super::body::{Body, Refused};
use super::failure::{body_failure, failure};
use super::{BoxFuture, HttpRequest, HttpResponse, HttpService};
use crate::config::{Secret, Timeouts};
use crate::error::{Error, ErrorKind, Result};

/// Idle connections are closed after this long: shorter than servers do, so a request rarely meets a stale one.
const POOL_IDLE: Duration = Duration::from_secs(20);
/// Headers of a reply at most.
const MAX_HEADERS: usize = 100;
/// Bytes of all headers of a reply at most; what lies above is refused after the client's own buffer of 400 KiB.
const MAX_HEADER_BYTES: usize = 64 << 10;
/// Never sent through a proxy.
const THIS_MACHINE: &str = "localhost,127.0.0.0/8,::1";
/// Shorter "keys" are placeholders: looking for them would garble replies.
const LEAST_KEY: usize = 16;

/// The real client. Two pools: one kept alive, one that never reuses a connection (for triggers).
#[derive(Debug)]
pub struct ReqwestService {
    pooled: reqwest::Client,
    fresh: reqwest::Client,
    idle: Duration,
    /// Hosts whose replies had two lengths: what follows on such a connection cannot be told from what came before.
    distrusted: RwLock<HashSet<String>>,
}

impl ReqwestService {
    /// A client with these time limits (`connect_ms` for name, TCP and TLS together, `idle_ms` between two pieces of a body),
    /// and through this proxy when it is not empty.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the proxy is no URL, [`ErrorKind::Internal`] when the TLS back end cannot start.
    pub fn new(timeouts: &Timeouts, proxy: &Secret) -> Result<Self> {
        Self::with_resolver(timeouts, proxy, None)
    }

    /// The same, with another way from a host name to addresses; `None`: the system's.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_resolver(timeouts: &Timeouts, proxy: &Secret, resolver: Option<Resolver>) -> Result<Self> {
        let build = |pooled: bool| {
            let mut builder = reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .referer(false)
                .tls_version_min(reqwest::tls::Version::TLS_1_2)
                .http1_max_headers(MAX_HEADERS)
                .connect_timeout(Duration::from_millis(timeouts.connect_ms))
                .pool_idle_timeout(POOL_IDLE)
                .tcp_nodelay(true)
                .user_agent(concat!("overheard/", env!("CARGO_PKG_VERSION")));
            if !pooled {
                builder = builder.pool_max_idle_per_host(0);
            }
            if let Some(resolver) = &resolver {
                builder = builder.dns_resolver(Names(resolver.clone()));
            }
            if !proxy.is_empty() {
                builder = builder.proxy(through(proxy)?);
            }
            builder.build().map_err(|error| Error::internal(format!("the HTTP client could not start: {}", error.without_url())))
        };
        let idle = Duration::from_millis(timeouts.idle_ms);
        Ok(Self { pooled: build(true)?, fresh: build(false)?, idle, distrusted: RwLock::default() })
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse> {
        let url =
            reqwest::Url::parse(&request.url).map_err(|_| Error::config("base_url", "the request's URL cannot be parsed"))?;
        let host = url.authority().to_owned();
        let client = if request.fresh_connection || self.distrusts(&host) { &self.fresh } else { &self.pooled };
        let keys: Vec<HeaderValue> = request.headers.values().filter(|value| value.is_sensitive()).cloned().collect();
        let mut outgoing = reqwest::Request::new(request.method, url);
        *outgoing.headers_mut() = request.headers;
        outgoing.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        if !request.body.is_empty() {
            *outgoing.body_mut() = Some(request.body.into());
        }
        let mut reply = client.execute(outgoing).await.map_err(failure)?;
        let status = reply.status().as_u16();
        let mut headers = std::mem::take(reply.headers_mut());
        if headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH) {
            self.distrusted.write().unwrap_or_else(PoisonError::into_inner).insert(host);
        }
        check_headers(&headers)?;
        let mut body = self.read_body(&mut reply, &headers, request.max_body).await?;
        for key in keys.iter().filter_map(|value| key_in(value)) {
            mask_headers(&mut headers, key);
            mask(&mut body, key);
        }
        Ok(HttpResponse { status, headers, body: Bytes::from(body) })
    }

    /// Reads the body in pieces against its cap, its ratio and the idle limit, and unpacks it.
    async fn read_body(&self, reply: &mut reqwest::Response, headers: &HeaderMap, cap: usize) -> Result<Vec<u8>> {
        let announced = length(headers);
        let mut body = match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
            None | Some(b"" | b"identity") if announced.is_some_and(|length| length > cap) => {
                return Err(Refused::TooLarge(cap).into());
            }
            None | Some(b"" | b"identity") => Body::plain(announced.unwrap_or(0), cap),
            Some(b"gzip" | b"x-gzip") => Body::gzip(cap),
            Some(_) => return Err(Error::new(ErrorKind::Undecodable, "the reply comes in an encoding that was not asked for")),
        };
        loop {
            let Ok(piece) = tokio::time::timeout(self.idle, reply.chunk()).await else {
                let message = format!("the reply stood still for {:.0} s", self.idle.as_secs_f64());
                return Err(Error::new(ErrorKind::OutcomeUnknown, message));
            };
            match piece.map_err(body_failure)? {
                Some(piece) => body.push(&piece)?,
                None => return Ok(body.finish()?),
            }
        }
    }

    fn distrusts(&self, host: &str) -> bool {
        let hosts = self.distrusted.read().unwrap_or_else(PoisonError::into_inner);
        !hosts.is_empty() && hosts.contains(host)
    }
}

/// From a host name to its addresses.
pub type Resolver = Arc<dyn Fn(&str) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> + Send + Sync>;

struct Names(Resolver);

impl reqwest::dns::Resolve for Names {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let found = (self.0)(name.as_str());
        Box::pin(async move {
            let addresses: reqwest::dns::Addrs = Box::new(found.await?.into_iter());
            Ok(addresses)
        })
    }
}

fn through(proxy: &Secret) -> Result<reqwest::Proxy> {
    let refused = |_| Error::config("OVERHEARD_PROXY", "OVERHEARD_PROXY: is not the URL of a proxy");
    let proxy = reqwest::Proxy::all(proxy.reveal()).map_err(refused)?;
    Ok(proxy.no_proxy(reqwest::NoProxy::from_string(THIS_MACHINE)))
}

/// The request was answered, so a reply with too many headers may have been charged.
fn check_headers(headers: &HeaderMap) -> Result<()> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes <= MAX_HEADER_BYTES {
        return Ok(());
    }
    Err(Error::new(ErrorKind::OutcomeUnknown, format!("the reply's headers are larger than {MAX_HEADER_BYTES} bytes")))
}

fn length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// The key in a header such as `Bearer …`; `None` for a placeholder.
fn key_in(value: &HeaderValue) -> Option<&[u8]> {
    let key = value.as_bytes().rsplit(|byte| *byte == b' ').next()?;
    (key.len() >= LEAST_KEY).then_some(key)
}

/// Overwrites every occurrence of `key`; the length stays.
fn mask(text: &mut [u8], key: &[u8]) {
    let finder = memchr::memmem::Finder::new(key);
    let mut from = 0;
    while let Some(found) = text.get(from..).and_then(|rest| finder.find(rest)) {
        let (start, end) = (from + found, from + found + key.len());
        text.get_mut(start..end).unwrap_or_default().fill(b'*');
        from = end;
    }
}

fn mask_headers(headers: &mut HeaderMap, key: &[u8]) {
    for value in headers.values_mut() {
        if memchr::memmem::find(value.as_bytes(), key).is_some() {
            *value = HeaderValue::from_static("***");
        }
    }
}

impl HttpService for ReqwestService {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse>> {
        let timeout = request.timeout;
        Box::pin(async move {
            match tokio::time::timeout(timeout, self.exchange(request)).await {
                Ok(reply) => reply,
                Err(_) => {
                    Err(Error::new(ErrorKind::OutcomeUnknown, format!("no complete reply within {:.0} s", timeout.as_secs_f64())))
                }
            }
        })
    }
}
