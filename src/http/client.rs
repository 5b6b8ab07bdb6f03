//! [`HttpService`] over reqwest and rustls. Redirects are off, environment proxies are ignored, the body is read in
//! chunks against its cap.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{BoxFuture, HttpRequest, HttpResponse, HttpService};
use crate::error::{Error, ErrorKind, Result};

/// Idle connections are closed after this long: shorter than servers do, so a request rarely meets a stale one.
const POOL_IDLE: Duration = Duration::from_secs(20);

/// The real client. Two pools: one kept alive, one that never reuses a connection (for triggers).
#[derive(Debug, Clone)]
pub struct ReqwestService {
    pooled: reqwest::Client,
    fresh: reqwest::Client,
}

impl ReqwestService {
    /// A client whose TCP and TLS set-up must be done within `connect`.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when the TLS back end cannot start.
    pub fn new(connect: Duration) -> Result<Self> {
        let builder = || {
            reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .referer(false)
                .connect_timeout(connect)
                .pool_idle_timeout(POOL_IDLE)
                .tcp_nodelay(true)
                .user_agent(concat!("overheard/", env!("CARGO_PKG_VERSION")))
        };
        let build = |builder: reqwest::ClientBuilder| {
            builder.build().map_err(|error| Error::internal(format!("the HTTP client could not start: {}", error.without_url())))
        };
        Ok(Self { pooled: build(builder())?, fresh: build(builder().pool_max_idle_per_host(0))? })
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse> {
        let url =
            reqwest::Url::parse(&request.url).map_err(|_| Error::config("base_url", "the request's URL cannot be parsed"))?;
        let client = if request.fresh_connection { &self.fresh } else { &self.pooled };
        let mut outgoing = reqwest::Request::new(request.method, url);
        *outgoing.headers_mut() = request.headers;
        if !request.body.is_empty() {
            *outgoing.body_mut() = Some(request.body.into());
        }
        let mut reply = client.execute(outgoing).await.map_err(meaning)?;
        let status = reply.status().as_u16();
        let headers = std::mem::take(reply.headers_mut());
        let body = read_body(&mut reply, request.max_body).await?;
        Ok(HttpResponse { status, headers, body })
    }
}

/// Copies the body into memory of its own: a chunk is a slice of the connection's buffer and would keep all of it alive.
async fn read_body(reply: &mut reqwest::Response, cap: usize) -> Result<Bytes> {
    let too_large = || Error::new(ErrorKind::TooLarge, format!("the reply is larger than the cap of {cap} bytes"));
    let announced = reply.content_length().and_then(|length| usize::try_from(length).ok());
    if announced.is_some_and(|length| length > cap) {
        return Err(too_large());
    }
    let mut body = BytesMut::with_capacity(announced.unwrap_or(0));
    while let Some(chunk) = reply.chunk().await.map_err(meaning)? {
        if body.len() + chunk.len() > cap {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Sent or not sent? Only a failed connect is certainly not; a TLS refusal is an authentication problem.
fn meaning(error: reqwest::Error) -> Error {
    let error = error.without_url();
    let mut causes = Vec::new();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    let detail = causes.last().cloned().unwrap_or_else(|| error.to_string());
    let certificate = causes.iter().any(|cause| cause.contains("certificate"));
    if error.is_timeout() && error.is_connect() {
        Error::new(ErrorKind::NotSent, "no connection within the time limit")
    } else if error.is_timeout() {
        Error::new(ErrorKind::OutcomeUnknown, "no complete reply within the time limit")
    } else if error.is_connect() && certificate {
        Error::new(ErrorKind::Auth, format!("the server's certificate was refused: {detail}"))
    } else if error.is_connect() {
        Error::new(ErrorKind::NotSent, format!("no connection: {detail}"))
    } else if error.is_decode() {
        Error::new(ErrorKind::Undecodable, format!("the reply broke off or cannot be decompressed: {detail}"))
    } else {
        Error::new(ErrorKind::OutcomeUnknown, format!("the connection broke after the request was sent: {detail}"))
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
