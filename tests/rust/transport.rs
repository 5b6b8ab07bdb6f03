//! The client against servers that break every rule of HTTP (faults F01–F29; security items 3, 6, 9–11): which error, how
//! many attempts, what the other side received.

use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use overheard::ErrorKind;
use overheard::config::RetrySettings;
use overheard::domain::RunStatus;
use overheard::http::retry::{CallKind, Decision, decide, may_have_bought, maybe_charged};
use overheard::http::{HttpRequest, HttpService};
use serde_json::{Value, json};

use crate::transport_support::{KEY, Line, Server, answer, asked, client, client_of_names, ok, post, send};

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// The kind of the error, which must not hold the key or the URL's query.
fn kind(reply: Result<overheard::http::HttpResponse, overheard::Error>) -> ErrorKind {
    let error = reply.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(!text.contains("Zx81mQ7T") && !text.contains("secret=query"), "{text}");
    error.kind
}

/// What one POST to a server with this script ends with.
async fn scripted(script: impl Fn(&mut Line, usize) + Send + Sync + 'static) -> (ErrorKind, Server) {
    let server = Server::start(script);
    let found = kind(send(post(&server.url("/v1?secret=query"))).await);
    (found, server)
}

/// A server that answers every request with `reply`: what one POST ends with.
async fn replied(reply: impl Into<Vec<u8>>) -> (ErrorKind, Server) {
    let reply = reply.into();
    scripted(move |line, _| while line.request().is_some() && line.send(&reply) {}).await
}

// --- before anything is sent ---

#[tokio::test]
async fn f01_a_name_that_does_not_exist_is_not_sent() {
    let asked_for = Arc::new(AtomicUsize::new(0));
    let counted = asked_for.clone();
    let client = client_of_names(Arc::new(move |name| {
        assert_eq!(name, "api.example.invalid");
        counted.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Err(std::io::Error::other("no such name")) })
    }));
    assert_eq!(kind(client.send(post("https://api.example.invalid/v1")).await), ErrorKind::NotSent);
    assert_eq!(asked_for.load(Ordering::SeqCst), 1);
    let outcome = asked("gpt-4.1", "https://api.example.invalid/v1", |_| {}).await;
    let error = outcome.error.unwrap();
    assert_eq!((error.kind, error.context.attempts, error.context.maybe_charged), (ErrorKind::NotSent, 3, false));
    assert_eq!(outcome.maybe_charged_micro_usd.0, 0);
}

#[tokio::test]
async fn f02_a_slow_name_server_ends_with_the_connect_limit() {
    let client = client_of_names(Arc::new(|_| Box::pin(std::future::pending())));
    assert_eq!(kind(client.send(post("https://api.example.invalid/v1")).await), ErrorKind::NotSent);
}

#[tokio::test]
async fn f03_a_refused_connection_is_not_sent_and_tried_three_times() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let outcome = asked("gpt-4.1", &format!("http://127.0.0.1:{port}/v1"), |_| {}).await;
    let error = outcome.error.unwrap();
    assert_eq!((outcome.status, error.kind, error.context.attempts), (RunStatus::Failed, ErrorKind::NotSent, 3));
    assert_eq!(outcome.maybe_charged_micro_usd.0, 0);
}

#[tokio::test]
async fn f04_a_black_hole_ends_with_the_connect_limit() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // Whoever comes after these finds the queue full and hears nothing.
    let mut waiting = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
        assert!(waiting.len() < 1_000, "the queue never fills");
    }
    assert_eq!(kind(send(post(&format!("http://{address}/"))).await), ErrorKind::NotSent);
}

#[tokio::test]
async fn f05_an_address_without_a_route_is_not_sent() {
    // TCP has no route to a group of hosts, whatever the machine's table says.
    assert_eq!(kind(send(post("http://224.0.0.1:9/")).await), ErrorKind::NotSent);
}

#[tokio::test]
async fn f09_a_reset_before_the_request_is_not_sent() {
    // With TLS, as every provider has it: the handshake comes first, so nothing of the request has left.
    let server = Server::start(|line, _| line.reset());
    let url = format!("https://{}/v1", server.address);
    assert_eq!(kind(send(post(&url)).await), ErrorKind::NotSent);
    let outcome = asked("gpt-4.1", &url, |_| {}).await;
    assert_eq!(outcome.error.unwrap().context.attempts, 3);
    assert!(server.requests().is_empty());
}

// --- after the request ---

#[tokio::test]
async fn f10_f12_a_connection_that_ends_after_the_request_is_re_sent_at_most_once() {
    // F10: a reset after the request. F12: a kept connection that ends as the next request arrives on it.
    let server = Server::start(|line, number| {
        let answered = number > 0 || line.request().is_some_and(|_| line.send(&ok("", answer("Acme is a company.").to_string())));
        if answered && line.request().is_some() {
            line.reset();
        }
    });
    let client = client();
    assert!(client.send(post(&server.url("/"))).await.is_ok());
    assert_eq!(kind(client.send(post(&server.url("/"))).await), ErrorKind::OutcomeUnknown);
    assert_eq!((server.requests().len(), server.connections()), (2, 1), "the second request used the kept connection");

    let server = Server::start(|line, _| {
        line.request();
        line.reset();
    });
    let outcome = asked("gpt-4.1", &server.url("/v1"), |_| {}).await;
    let error = outcome.error.unwrap();
    assert_eq!((error.kind, error.context.attempts), (ErrorKind::OutcomeUnknown, 2));
    assert_eq!(server.requests().len(), 2, "one paid re-send");
    assert!(error.context.maybe_charged && outcome.maybe_charged_micro_usd.0 > 0);
}

#[tokio::test]
async fn f11_f12_a_trigger_never_meets_a_used_connection() {
    let server = Server::always(ok("", "{}"));
    let client = client();
    for _ in 0..3 {
        client.send(post(&server.url("/pooled"))).await.unwrap();
    }
    assert_eq!(server.connections(), 1);
    for _ in 0..3 {
        client.send(HttpRequest { fresh_connection: true, ..post(&server.url("/trigger")) }).await.unwrap();
    }
    assert_eq!(server.connections(), 4);
}

#[tokio::test]
async fn f11_what_follows_on_a_lost_reply_depends_on_what_was_bought() {
    let server = Server::start(|line, _| {
        line.request();
    });
    let error = send(HttpRequest { fresh_connection: true, ..post(&server.url("/trigger")) }).await.unwrap_err();
    assert_eq!((error.kind, server.requests().len()), (ErrorKind::OutcomeUnknown, 1), "the client itself sends nothing again");
    assert!(may_have_bought(&error));
    let settings = RetrySettings::default();
    let again = |call, attempt, resends| decide(&error, call, attempt, resends, &settings, 0.5) != Decision::GiveUp;
    assert!(!again(CallKind::Trigger, 1, 0), "a trigger is looked for, not sent again");
    assert!(again(CallKind::Paid, 1, 0) && !again(CallKind::Paid, 2, 1), "one paid re-send");
    assert!((1..9).all(|attempt| again(CallKind::Free, attempt, 0)) && !again(CallKind::Free, 9, 0), "eight retries of a poll");
}

#[tokio::test]
async fn f13_headers_that_never_come_end_with_the_total_limit() {
    let (found, server) = scripted(|line, _| {
        line.request();
        line.stall();
    })
    .await;
    assert_eq!((found, server.requests().len()), (ErrorKind::OutcomeUnknown, 1));
}

#[tokio::test]
async fn f14_headers_in_drops_end_with_the_total_limit() {
    let (found, _) = scripted(|line, _| {
        line.request();
        line.dribble(b"HTTP/1.1 200 OK\r\nx-slow: ".iter().copied().chain(std::iter::repeat(b'a')));
    })
    .await;
    assert_eq!(found, ErrorKind::OutcomeUnknown);
}

#[tokio::test]
async fn f15_s10_too_many_or_too_large_headers_are_an_unknown_outcome() {
    let many: String = (0..101).map(|number| format!("x-{number}: a\r\n")).collect();
    let long = |bytes: usize| format!("x-long: {}\r\n", "a".repeat(bytes));
    for headers in [many, long(64 << 10), long(600 << 10)] {
        let (found, server) = replied(ok(&headers, "{}")).await;
        assert_eq!((found, server.requests().len()), (ErrorKind::OutcomeUnknown, 1), "{} bytes", headers.len());
    }
    let most: String = (0..90).map(|number| format!("x-{number}: {}\r\n", "a".repeat(600))).collect();
    let server = Server::always(ok(&most, "{}"));
    assert_eq!(send(post(&server.url("/"))).await.unwrap().body, "{}");
    let outcome = asked("gpt-4.1", &Server::always(ok(&long(70 << 10), "{}")).url("/v1"), |_| {}).await;
    let error = outcome.error.unwrap();
    assert_eq!((error.kind, error.context.attempts, error.context.maybe_charged), (ErrorKind::OutcomeUnknown, 2, true));
}

#[tokio::test]
async fn f16_a_body_that_stands_still_ends_with_the_idle_limit() {
    let server = Server::start(|line, _| {
        line.request();
        line.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"half\":");
        line.stall();
    });
    // An hour in all: only the idle limit can end this.
    let request = HttpRequest { timeout: Duration::from_secs(3_600), ..post(&server.url("/")) };
    let error = send(request).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::OutcomeUnknown);
    assert!(error.message.contains("stood still"), "{error}");
}

#[tokio::test]
async fn f17_s11_a_body_in_drops_ends_with_the_total_limit() {
    let server = Server::start(|line, _| {
        line.request();
        line.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n");
        line.dribble(std::iter::repeat(b' '));
    });
    let request = HttpRequest { timeout: Duration::from_millis(700), ..post(&server.url("/")) };
    let error = send(request).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::OutcomeUnknown);
    assert!(error.message.contains("no complete reply within"), "{error}");
}

#[tokio::test]
async fn f18_a_body_that_is_cut_is_undecodable() {
    let (found, _) = scripted(|line, _| {
        line.request();
        line.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"half\":");
    })
    .await;
    assert_eq!(found, ErrorKind::Undecodable);
    let server = Server::start(|line, _| {
        line.request();
        line.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"hal");
    });
    let outcome = asked("gpt-4.1", &server.url("/v1"), |_| {}).await;
    let error = outcome.error.unwrap();
    assert_eq!((error.kind, error.context.attempts, error.context.maybe_charged), (ErrorKind::Undecodable, 2, true));
    assert_eq!(server.requests().len(), 2, "one paid re-send");
}

#[tokio::test]
async fn f19_broken_chunks_break_the_protocol() {
    for chunk in ["zz\r\n{}\r\n0\r\n\r\n", "fffffffffffffffff\r\n{}", "2\r\n{}xx0\r\n\r\n", "-2\r\n{}\r\n0\r\n\r\n"] {
        let (found, _) = replied(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunk}")).await;
        assert_eq!(found, ErrorKind::Protocol, "{chunk}");
    }
    let server = Server::always("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n");
    let outcome = asked("gpt-4.1", &server.url("/v1"), |_| {}).await;
    assert_eq!(server.requests().len(), 2, "one paid re-send");
    let error = outcome.error.unwrap();
    assert_eq!((error.kind, error.context.attempts, error.context.maybe_charged), (ErrorKind::Protocol, 2, true));
}

#[tokio::test]
async fn f20_s10_two_lengths_are_refused_or_the_connection_is_not_used_again() {
    let (found, _) = replied("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 40\r\n\r\n{}").await;
    assert_eq!(found, ErrorKind::OutcomeUnknown);

    // Chunked wins; what the length would leave over must not become the next reply on this connection.
    let both = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    let server = Server::always(both);
    let client = client();
    for _ in 0..3 {
        assert_eq!(client.send(post(&server.url("/"))).await.unwrap().body, "{}");
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn f21_s09_a_gzip_bomb_ends_at_the_cap_or_the_ratio() {
    let bomb = gzip(&vec![b' '; 4 << 20]);
    let server = Server::always(ok("content-encoding: gzip\r\n", &bomb));
    let error = send(HttpRequest { max_body: 1 << 19, ..post(&server.url("/")) }).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge);
    assert!(error.message.contains("cap of 524288 bytes"), "{error}");
    let error = send(HttpRequest { max_body: 256 << 20, ..post(&server.url("/")) }).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge);
    assert!(error.message.contains("200 times"), "{error}");
    let outcome = asked("gpt-4.1", &server.url("/v1"), |_| {}).await;
    let error = outcome.error.unwrap();
    assert_eq!((error.kind, error.context.attempts, error.context.maybe_charged), (ErrorKind::TooLarge, 1, true));
}

#[tokio::test]
async fn f22_an_endless_body_ends_at_the_cap() {
    let (found, _) = scripted(|line, _| {
        line.request();
        line.send(b"HTTP/1.1 200 OK\r\n\r\n");
        while line.send(&[b' '; 4096]) {}
    })
    .await;
    assert_eq!(found, ErrorKind::TooLarge);
    let (found, server) = replied("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n").await;
    assert_eq!((found, server.requests().len()), (ErrorKind::TooLarge, 1), "its length alone is enough");
}

#[tokio::test]
async fn f23_broken_packing_is_undecodable() {
    let body = answer("Acme is a company that makes everything.").to_string();
    let sound = gzip(body.as_bytes());
    let server = Server::always(ok("content-encoding: gzip\r\n", &sound));
    assert_eq!(send(post(&server.url("/"))).await.unwrap().body, body);
    assert!(server.requests()[0].to_lowercase().contains("accept-encoding: gzip\r\n"));
    let cut = &sound[..sound.len() - 9];
    for (encoding, body) in [("gzip", cut), ("gzip", body.as_bytes()), ("br", &sound), ("gzip, gzip", &sound)] {
        let (found, _) = replied(ok(&format!("content-encoding: {encoding}\r\n"), body)).await;
        assert_eq!(found, ErrorKind::Undecodable, "{encoding}");
    }
    let outcome = asked("gpt-4.1", &Server::always(ok("content-encoding: gzip\r\n", cut)).url("/v1"), |_| {}).await;
    assert_eq!(outcome.error.unwrap().context.attempts, 2);
}

// --- content ---

#[tokio::test]
async fn f24_s09_deep_json_is_undecodable_and_costs_no_stack() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for body in [deep.clone(), format!(r#"{{"output":{deep}}}"#), format!(r#"{{"error":{deep}}}"#)] {
        let server = Server::always(ok("", &body));
        let outcome = asked("gpt-4.1", &server.url("/v1"), |_| {}).await;
        let error = outcome.error.unwrap();
        assert!(matches!(error.kind, ErrorKind::Undecodable | ErrorKind::Semantic), "{error}");
        assert!(server.requests().len() <= 2, "at most one paid re-send");
    }
}

#[tokio::test]
async fn f25_odd_bytes_are_stored_as_they_came() {
    let mut bodies = vec![
        answer("NUL \u{0} stands here, Acme.").to_string().into_bytes(),
        answer("Acme, a text: LONE").to_string().replace("LONE", "\\ud83d").into_bytes(),
        answer(&format!("Acme {}", "x".repeat(3 << 20))).to_string().into_bytes(),
    ];
    let mut broken = answer("Acme, a text: ?").to_string().into_bytes();
    let at = broken.iter().position(|byte| *byte == b'?').unwrap();
    broken[at] = 0xff;
    bodies.push(broken);
    for body in bodies {
        let outcome = asked("gpt-4.1", &Server::always(ok("", &body)).url("/v1"), |_| {}).await;
        assert_eq!((outcome.status, outcome.attempts), (RunStatus::Answered, 1), "{:?}", outcome.error);
        assert!(outcome.raw == body, "the raw body is what was served");
        assert!(outcome.text.unwrap().contains("Acme"));
        assert_eq!(outcome.cost_micro_usd.unwrap().0, 2_800);
    }
}

#[tokio::test]
async fn f26_doubled_keys_and_impossible_numbers_follow_one_rule() {
    let body = answer("Acme is here.").to_string();
    let doubled = body.replacen('{', r#"{"status":"failed","#, 1);
    for (body, cost) in [
        (doubled, Some(2_800)),
        (body.replace("1000", "1e999"), None),
        (body.replace("1000", "NaN"), None),
        (body.replace("1000", "99999999999999999999999999"), None),
        (body.replace("1000", "-5"), None),
    ] {
        let outcome = asked("gpt-4.1", &Server::always(ok("", &body)).url("/v1"), |_| {}).await;
        assert_eq!((outcome.status, outcome.attempts), (RunStatus::Answered, 1), "{body}");
        assert_eq!(outcome.cost_micro_usd.map(|cost| cost.0), cost, "unknown is not zero: {body}");
        assert!(outcome.raw == body.as_bytes());
    }
}

#[tokio::test]
async fn f27_a_page_with_a_200_is_no_answer() {
    let page = b"<html><body>Please log in to the airport network</body></html>";
    let server =
        Server::always([&b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 62\r\n\r\n"[..], page].concat());
    let outcome = asked("gpt-4.1", &server.url("/v1"), |_| {}).await;
    let error = outcome.error.unwrap();
    assert!(matches!(error.kind, ErrorKind::Undecodable | ErrorKind::Semantic), "{error}");
    assert_eq!((server.requests().len(), error.context.maybe_charged), (2, true));
    assert_eq!(outcome.status, RunStatus::Failed);
}

#[tokio::test]
async fn f28_s06_an_error_inside_a_200_counts_as_the_error_it_is_and_the_echoed_key_is_masked() {
    let body =
        json!({"error": {"message": format!("Incorrect API key provided: {KEY}"), "type": "x", "code": "invalid_api_key"}});
    let server = Server::always(ok("", body.to_string()));
    let outcome = asked("gpt-4.1", &server.url("/v1"), |_| {}).await;
    let error = outcome.error.clone().unwrap();
    assert_eq!((error.kind, server.requests().len()), (ErrorKind::Auth, 1));
    let everything = format!("{error} {outcome:?} {}", serde_json::to_string(&error).unwrap());
    assert!(everything.contains("Incorrect API key"), "{everything}");
    assert!(!leaks(&everything), "{everything}");
    assert!(!leaks(&String::from_utf8_lossy(&outcome.raw)));
}

/// True when eight characters in a row of the key's secret part stand in the text.
fn leaks(text: &str) -> bool {
    KEY.as_bytes()[8..].windows(8).any(|piece| text.contains(std::str::from_utf8(piece).unwrap()))
}

#[tokio::test]
async fn s06_a_401_that_echoes_the_key_does_not_bring_it_back() {
    let half = &KEY[..20];
    for echoed in [KEY.to_owned(), format!("{half}****"), format!("{KEY}{KEY}"), format!("a key {KEY}\u{1b}[31m")] {
        let body = json!({"error": {"message": format!("bad key {echoed}"), "type": echoed, "code": echoed}}).to_string();
        let reply = format!("HTTP/1.1 401 Unauthorized\r\nx-request-id: {KEY}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let server = Server::always(reply);
        let outcome = asked("gpt-4.1", &server.url("/v1"), |_| {}).await;
        let error = outcome.error.clone().unwrap();
        assert_eq!((error.kind, server.requests().len()), (ErrorKind::Auth, 1), "no retry");
        let everything = format!("{error} {outcome:?} {}", serde_json::to_string(&error).unwrap());
        assert!(!leaks(&everything), "{everything}");
    }
}

#[tokio::test]
async fn f29_s03_redirects_are_never_followed() {
    let elsewhere = Server::always(ok("", answer("You were led astray.").to_string()));
    for status in [301, 302, 303, 307, 308] {
        let server = Server::always(format!(
            "HTTP/1.1 {status} Moved\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
            elsewhere.url("/v1/responses")
        ));
        let outcome = asked("gpt-4.1", &server.url("/v1"), |_| {}).await;
        let error = outcome.error.unwrap();
        assert_eq!(
            (error.kind, error.context.attempts, error.context.maybe_charged),
            (ErrorKind::Protocol, 1, false),
            "{status}"
        );
        assert_eq!(outcome.maybe_charged_micro_usd.0, 0);
        assert!(!may_have_bought(&error) && !maybe_charged(&error));
        assert_eq!(server.requests().len(), 1);
    }
    assert_eq!(elsewhere.connections(), 0, "the key stays with the configured origin");
}

#[tokio::test]
async fn s04_keys_travel_in_headers_only() {
    let server = Server::always(ok("", answer("Acme is a company.").to_string()));
    for (model, account, header) in
        [("gpt-4.1", "openai", "authorization: bearer "), ("claude-sonnet-4-5", "anthropic", "x-api-key: ")]
    {
        asked(model, &server.url(""), |settings| {
            settings[account] = json!({"api_key": KEY, "base_url": server.url("")});
        })
        .await;
        let request = server.requests().pop().unwrap();
        let line = request.lines().next().unwrap();
        assert!(!leaks(line), "{line}");
        assert_eq!(request.matches(KEY).count(), 1);
        let header_line = request.lines().find(|line| line.contains(KEY)).unwrap().to_lowercase();
        assert!(header_line.starts_with(header), "{header_line}");
    }
    assert!(!leaks(&format!("{:?}", post("http://127.0.0.1:1/"))), "marked as sensitive");
}

/// The host name of an URL in an answer is never even looked up.
#[tokio::test]
async fn s12_only_the_configured_origin_is_reached() {
    let mut reply: Value = answer("Acme: see http://169.254.169.254/latest, http://cited.example/page.");
    let bait = Server::always(ok("", "{}"));
    reply["output"][0]["content"][0]["annotations"] = json!([
        {"type": "url_citation", "url": bait.url("/cited"), "title": "a", "start_index": 0, "end_index": 4},
        {"type": "url_citation", "url": "http://cited.example/page", "title": "b", "start_index": 0, "end_index": 4},
    ]);
    let server = Server::always(ok("", reply.to_string()));
    let port = server.address.port();
    let names = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = names.clone();
    let client = client_of_names(Arc::new(move |name| {
        seen.lock().unwrap().push(name.to_owned());
        Box::pin(async move { Ok(vec![([127, 0, 0, 1], port).into()]) })
    }));
    let settings = json!({"openai": {"api_key": KEY, "base_url": format!("http://localhost:{port}/v1")}});
    let spec = json!({"model": "gpt-4.1", "questions": ["What is Acme?", "http://169.254.169.254/"], "settings": settings});
    let host = crate::support::TestHost::new(|_, _| panic!("no custom provider here"));
    let context = crate::support::context(Arc::new(client));
    let outcomes = overheard::pipeline::ask(context, serde_json::from_value(spec).unwrap(), host.host.clone()).await.unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.status == RunStatus::Answered && outcome.citations.len() == 2));
    let names = names.lock().unwrap();
    assert!(!names.is_empty() && names.iter().all(|name| name == "localhost"), "{names:?}");
    assert_eq!((server.requests().len(), bait.connections()), (2, 0));
}
