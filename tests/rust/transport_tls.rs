//! TLS, proxies, memory and logs of the client (faults F06–F08, F21, F79; security items 1, 7, 8). What needs variables of its
//! own (a trusted test CA, proxy variables, a logger) runs in a child process; the servers stay here.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use overheard::ErrorKind;
use overheard::config::{Secret, Timeouts};
use overheard::http::{HttpRequest, HttpService, ReqwestService};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::transport_support::{KEY, Server, answer, asked, ok, post, send};

const HOST: &str = "api.provider.test";
/// The plan of a child, as JSON: `{"urls": […], "max_body", "proxy", "log"}`.
const PLAN: &str = "OVERHEARD_TEST_CHILD";

// --- certificates and a server that shows them ---

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for `name`, signed by `issuer` (`None`: by itself).
fn certificate(name: &str, issuer: Option<&Issuer>, change: impl FnOnce(&mut CertificateParams)) -> Shown {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    change(&mut params);
    let certificate = match issuer {
        Some(issuer) => params.signed_by(&key, issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    Shown { chain: vec![certificate.der().clone()], key: key.serialize_der() }
}

struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

/// A server on loopback that shows a certificate and answers every request with `{}`; counts requests it could read.
struct TlsServer {
    port: u16,
    requests: Arc<AtomicUsize>,
    handshakes: Arc<AtomicUsize>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl TlsServer {
    fn start(shown: Shown) -> Self {
        let key = PrivateKeyDer::try_from(shown.key).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(shown.chain, key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (requests, handshakes) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (counted, tried) = (requests.clone(), handshakes.clone());
        // Ends with its runtime, which ends with the test.
        drop(runtime.spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tried.fetch_add(1, Ordering::SeqCst);
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut piece = [0; 8192];
                if matches!(stream.read(&mut piece).await, Ok(count) if count > 0) {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}").await;
                    let _ = stream.shutdown().await;
                }
            }
        }));
        Self { port, requests, handshakes, runtime: Some(runtime) }
    }

    fn url(&self, host: &str) -> String {
        format!("https://{host}:{}/v1?secret=query", self.port)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

// --- the child ---

/// Not a test of its own: what a child process does. Every name leads to loopback.
#[test]
#[ignore = "run by the tests below, in a process of its own"]
fn child() {
    let Ok(plan) = std::env::var(PLAN) else { return };
    let plan: Value = serde_json::from_str(&plan).unwrap();
    if plan["log"] == true {
        log::set_logger(&Lines).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    }
    let limits = Timeouts { connect_ms: 2_000, ..Timeouts::default() };
    let proxy = Secret::new(plan["proxy"].as_str().unwrap_or_default());
    let loopback: overheard::http::Resolver = Arc::new(|_| Box::pin(async { Ok(vec![([127, 0, 0, 1], 0).into()]) }));
    let client = ReqwestService::with_resolver(&limits, &proxy, Some(loopback)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let before = peak_kilobytes();
    for url in plan["urls"].as_array().unwrap() {
        let max_body = plan["max_body"].as_u64().unwrap_or(1 << 20) as usize;
        let request = HttpRequest { timeout: Duration::from_secs(30), max_body, ..post(url.as_str().unwrap()) };
        let told = match runtime.block_on(client.send(request)) {
            Ok(reply) => json!({"status": reply.status}),
            Err(error) => json!({"kind": error.kind, "message": error.to_string(), "code": error.context.code}),
        };
        say(&format!("RESULT {told}"));
    }
    say(&format!("PEAK {}", peak_kilobytes() - before));
}

struct Lines;

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        say(&format!("LOG {} {:?}", record.args(), record.target()));
    }
    fn flush(&self) {}
}

fn say(line: &str) {
    use std::io::Write;
    writeln!(std::io::stdout().lock(), "\n{line}").unwrap();
}

/// The most memory this process ever had, in kB.
fn peak_kilobytes() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

struct Told {
    results: Vec<Value>,
    peak: i64,
    output: String,
}

/// Runs the plan in a child with these variables.
fn in_a_child(plan: &Value, variables: &[(&str, &str)]) -> Told {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "transport_tls::child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(PLAN, plan.to_string())
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    let after = |word: &str| text.lines().filter_map(|line| line.strip_prefix(word)).map(str::to_owned).collect::<Vec<_>>();
    let results = after("RESULT ").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let peak = after("PEAK ")[0].parse().unwrap();
    Told { results, peak, output: text }
}

/// A child that trusts `issuer` and nobody else.
fn trusting(issuer: &Issuer, plan: &Value) -> Told {
    let folder = std::env::temp_dir().join(format!("overheard-ca-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("ca.pem");
    std::fs::write(&path, issuer.pem()).unwrap();
    let told = in_a_child(plan, &[("SSL_CERT_FILE", path.to_str().unwrap()), ("SSL_CERT_DIR", folder.to_str().unwrap())]);
    std::fs::remove_dir_all(&folder).unwrap();
    told
}

// --- tests ---

#[tokio::test]
async fn f06_a_handshake_that_stalls_ends_with_the_connect_limit() {
    let server = Server::start(|line, _| line.stall());
    let error = send(post(&format!("https://{}/", server.address))).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotSent);
    let outcome = asked("gpt-4.1", &format!("https://{}/v1", server.address), |_| {}).await;
    let error = outcome.error.unwrap();
    assert_eq!((error.kind, error.context.attempts, error.context.maybe_charged), (ErrorKind::NotSent, 3, false));
}

#[test]
fn f07_s01_a_bad_certificate_is_refused_and_a_good_one_is_not() {
    let (issuer, stranger) = (authority(), authority());
    let good = TlsServer::start(certificate(HOST, Some(&issuer), |_| {}));
    let bad = [
        ("self-signed", TlsServer::start(certificate(HOST, None, |_| {}))),
        ("of an unknown authority", TlsServer::start(certificate(HOST, Some(&stranger), |_| {}))),
        ("for another host", TlsServer::start(certificate("elsewhere.test", Some(&issuer), |_| {}))),
        ("expired", TlsServer::start(certificate(HOST, Some(&issuer), |params| params.not_after = date_time_ymd(2020, 1, 1)))),
        (
            "not yet valid",
            TlsServer::start(certificate(HOST, Some(&issuer), |params| params.not_before = date_time_ymd(2096, 1, 1))),
        ),
    ];
    let mut urls = vec![good.url(HOST)];
    urls.extend(bad.iter().map(|(_, server)| server.url(HOST)));
    let told = trusting(&issuer, &json!({"urls": urls}));
    assert_eq!(told.results[0], json!({"status": 200}), "{}", told.output);
    assert_eq!(good.requests(), 1);
    for ((what, server), result) in bad.iter().zip(&told.results[1..]) {
        assert_eq!((&result["kind"], &result["code"]), (&json!("auth"), &json!("tls_failed")), "{what}: {result}");
        assert!(result["message"].as_str().unwrap().contains("certificate was refused"), "{result}");
        assert!(!told.output.contains("secret=query"));
        assert_eq!((server.requests(), server.handshakes.load(Ordering::SeqCst)), (0, 1), "{what}: nothing sent, no retry");
    }
}

#[tokio::test]
async fn f07_a_bad_certificate_stops_the_provider() {
    let server = TlsServer::start(certificate("localhost", None, |_| {}));
    let settings =
        json!({"openai": {"api_key": KEY, "base_url": format!("https://localhost:{}/v1", server.port), "max_in_flight": 1}});
    let questions: Vec<String> = (0..20).map(|number| format!("Question {number}?")).collect();
    let spec: overheard::pipeline::AskSpec =
        serde_json::from_value(json!({"model": "gpt-4.1", "questions": questions, "settings": settings})).unwrap();
    let http = Arc::new(ReqwestService::new(&spec.settings.timeouts, &Secret::default()).unwrap());
    let host = crate::support::TestHost::new(|_, _| panic!("no custom provider here"));
    let outcomes = overheard::pipeline::ask(crate::support::context(http), spec, host.host.clone()).await.unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.error.as_ref().unwrap().kind == ErrorKind::Auth));
    assert!(outcomes.iter().all(|outcome| outcome.maybe_charged_micro_usd.0 == 0));
    assert!(server.handshakes.load(Ordering::SeqCst) <= 2, "those on their way, and then nobody");
}

#[tokio::test]
async fn f08_plain_http_where_tls_is_expected_breaks_the_protocol() {
    let server = Server::start(|line, _| {
        line.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        line.stall();
    });
    let outcome = asked("gpt-4.1", &format!("https://{}/v1", server.address), |_| {}).await;
    let error = outcome.error.unwrap();
    assert_eq!((error.kind, error.context.attempts, error.context.maybe_charged), (ErrorKind::Protocol, 1, false), "{error}");
    assert!(error.message.contains("base URL"), "{error}");
    assert_eq!((outcome.maybe_charged_micro_usd.0, server.connections()), (0, 1), "no retry, nothing charged");
}

/// A member of 8 MiB that packs 1:100, so that the cap ends it and not the ratio.
fn member() -> Vec<u8> {
    use std::io::Write;
    let mut text = vec![b' '; 8 << 20];
    let mut state = 7_u64;
    for byte in text.iter_mut().take(64 << 10) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = (state >> 56) as u8;
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&text).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn f21_a_gzip_bomb_costs_no_more_memory_than_its_cap() {
    let server = Server::always(ok("content-encoding: gzip\r\n", member().repeat(64)));
    let cap = 24 << 20;
    let told = in_a_child(&json!({"urls": [server.url("/")], "max_body": cap}), &[]);
    assert_eq!(told.results[0]["kind"], "too_large", "{}", told.output);
    assert!(told.results[0]["message"].as_str().unwrap().contains("cap of"), "half a gigabyte came to its cap: {}", told.output);
    assert!(told.peak < (cap + (16 << 20)) >> 10, "{} kB for a cap of {} kB", told.peak, cap >> 10);
    assert!(told.peak > 0 || !cfg!(target_os = "linux"), "nothing was measured");
}

#[test]
fn f79_s08_proxy_variables_are_not_read_and_a_configured_proxy_is_used() {
    let issuer = authority();
    let target = TlsServer::start(certificate(HOST, Some(&issuer), |_| {}));
    let local = Server::always(ok("", "{}"));
    let proxy = Server::always("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n");
    let urls = json!([local.url("/v1"), target.url(HOST)]);
    let address = proxy.url("");
    let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let mut variables: Vec<(&str, &str)> = names.iter().map(|name| (*name, address.as_str())).collect();
    let folder = std::env::temp_dir().join(format!("overheard-proxy-{}.pem", uuid::Uuid::new_v4()));
    std::fs::write(&folder, issuer.pem()).unwrap();
    variables.push(("SSL_CERT_FILE", folder.to_str().unwrap()));
    let told = in_a_child(&json!({"urls": urls}), &variables);
    std::fs::remove_file(&folder).unwrap();
    assert_eq!(told.results, vec![json!({"status": 200}), json!({"status": 200})], "{}", told.output);
    assert_eq!((proxy.connections(), local.requests().len(), target.requests()), (0, 1, 1));

    let told = trusting(&issuer, &json!({"urls": urls, "proxy": address.replace("http://", "http://user:pw-canary-123456@")}));
    assert_eq!(told.results[0], json!({"status": 200}), "this machine is reached directly");
    assert_eq!(told.results[1]["kind"], "not_sent", "{}", told.output);
    assert!(!told.output.contains("canary"), "{}", told.output);
    let seen = proxy.requests();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].starts_with(&format!("CONNECT {HOST}:{} HTTP/1.1\r\n", target.port)), "{}", seen[0]);
    assert!(!seen[0].contains(KEY) && !seen[0].contains("/v1"), "the proxy sees no key and no path");
    assert_eq!(target.requests(), 1);
}

#[test]
fn s07_the_http_stack_logs_no_key_at_its_loudest() {
    let issuer = authority();
    let target = TlsServer::start(certificate(HOST, Some(&issuer), |_| {}));
    let broken = Server::always("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n");
    let echo = Server::always(format!("HTTP/1.1 401 No\r\nx-request-id: {KEY}\r\ncontent-length: {}\r\n\r\n{KEY}", KEY.len()));
    let sound = Server::always(ok("", answer("Acme").to_string()));
    let urls = json!([target.url(HOST), broken.url("/"), echo.url("/"), sound.url("/"), "https://127.0.0.1:1/"]);
    let told = trusting(&issuer, &json!({"urls": urls, "log": true}));
    assert!(told.output.lines().any(|line| line.starts_with("LOG ")), "nothing was captured: {}", told.output);
    let secret = KEY.strip_prefix("sk-proj-").unwrap();
    assert!(
        !secret.as_bytes().windows(8).any(|piece| told.output.contains(std::str::from_utf8(piece).unwrap())),
        "{}",
        told.output
    );
}
