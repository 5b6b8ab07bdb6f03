//! What the transport tests share: servers on loopback that do on each connection exactly what a script says, and one question
//! asked through the real client. A server knows no client; it writes down what it received.

use std::io::{ErrorKind as Io, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use overheard::Error;
use overheard::config::{Secret, Timeouts};
use overheard::domain::Outcome;
use overheard::http::{HttpRequest, HttpResponse, HttpService, ReqwestService, Resolver};
use overheard::pipeline::ask;
use serde_json::{Value, json};

use crate::support::{TestHost, context};

/// What a server saw: one text per request, and connections without one.
#[derive(Debug, Default)]
pub struct Seen {
    pub requests: Vec<String>,
    pub connections: usize,
}

pub struct Server {
    pub address: SocketAddr,
    pub seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    thread: Option<JoinHandle<()>>,
}

/// A connection as a script has it.
pub struct Line {
    pub stream: TcpStream,
    seen: Arc<Mutex<Seen>>,
}

impl Server {
    /// `script(connection, its number)` runs in a thread of its own for each connection.
    pub fn start(script: impl Fn(&mut Line, usize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, stop, open) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<_>>>::default());
        let script = Arc::new(script);
        let thread = std::thread::spawn({
            let (seen, stop, open) = (seen.clone(), stop.clone(), open.clone());
            move || {
                let mut threads = Vec::new();
                for (number, stream) in listener.incoming().enumerate() {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let stream = stream.unwrap();
                    open.lock().unwrap().push(stream.try_clone().unwrap());
                    seen.lock().unwrap().connections += 1;
                    let (mut line, script) = (Line { stream, seen: seen.clone() }, script.clone());
                    threads.push(std::thread::spawn(move || {
                        script(&mut line, number);
                        let _ = line.stream.shutdown(Shutdown::Both);
                    }));
                }
                for thread in threads {
                    let _ = thread.join();
                }
            }
        });
        Self { address, seen, stop, open, thread: Some(thread) }
    }

    /// Answers every request of every connection with these bytes.
    pub fn always(reply: impl Into<Vec<u8>>) -> Self {
        let reply = reply.into();
        Self::start(move |line, _| {
            while line.request().is_some() {
                line.send(&reply);
            }
        })
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().requests.clone()
    }

    pub fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Line {
    /// The next whole request, written down; `None` at the end of the connection.
    pub fn request(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        loop {
            let mut piece = [0; 4096];
            if let Some(end) = find(&bytes, b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
                if bytes.len() >= end + 4 + length {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    self.seen.lock().unwrap().requests.push(text.clone());
                    return Some(text);
                }
            }
            match self.stream.read(&mut piece) {
                Ok(0) => return None,
                Ok(count) => bytes.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == Io::Interrupted => {}
                Err(_) => return None,
            }
        }
    }

    /// Writes; false when the client has gone.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).is_ok()
    }

    /// Waits until the client goes away.
    pub fn stall(&mut self) {
        let mut piece = [0; 4096];
        while matches!(self.stream.read(&mut piece), Ok(count) if count > 0) {}
    }

    /// Sends one byte every 20 ms for as long as the client stays.
    pub fn dribble(&mut self, bytes: impl IntoIterator<Item = u8>) {
        for byte in bytes {
            if !self.send(&[byte]) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Ends the connection with a reset instead of a close.
    pub fn reset(&mut self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// A 200 with this body and these extra header lines.
pub fn ok(headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// An answer of the Responses API with this text: 1,000 + 100 tokens.
pub fn answer(text: &str) -> Value {
    json!({
        "id": "resp_1", "object": "response", "status": "completed", "model": "gpt-4.1-2025-04-14",
        "output": [{"type": "message", "role": "assistant", "status": "completed", "content":
            [{"type": "output_text", "text": text, "annotations": []}]}],
        "usage": {"input_tokens": 1_000, "output_tokens": 100, "total_tokens": 1_100},
    })
}

/// Limits short enough for a test: connect 300 ms, idle 200 ms.
pub fn limits() -> Timeouts {
    Timeouts { connect_ms: 300, idle_ms: 200, ..Timeouts::default() }
}

pub fn client() -> ReqwestService {
    ReqwestService::new(&limits(), &Secret::default()).unwrap()
}

/// A client for which every name is `address`, whatever its port says.
pub fn client_of_names(resolver: Resolver) -> ReqwestService {
    ReqwestService::with_resolver(&limits(), &Secret::default(), Some(resolver)).unwrap()
}

/// The key of every request here.
pub const KEY: &str = "sk-proj-Zx81mQ7TtY4vB2nK9cD3rW6";

/// A POST with a key, a second in all, a megabyte at most.
pub fn post(url: &str) -> HttpRequest {
    HttpRequest::post(url, "{}", Duration::from_secs(1), 1 << 20)
        .with_secret(http::header::AUTHORIZATION, &format!("Bearer {KEY}"), "OPENAI_API_KEY")
        .unwrap()
}

pub async fn send(request: HttpRequest) -> Result<HttpResponse, Error> {
    client().send(request).await
}

/// One question to `model` at `base_url` through the engine and the real client, with waits of a millisecond.
pub async fn asked(model: &str, base_url: &str, change: impl FnOnce(&mut Value)) -> Outcome {
    let mut settings = json!({
        "openai": {"api_key": KEY, "base_url": base_url},
        "retry": {"base_ms": 1, "throttle_base_ms": 1},
        "timeouts": {"connect_ms": 300, "idle_ms": 200, "answer_ms": 1_000},
    });
    change(&mut settings);
    let spec: overheard::pipeline::AskSpec =
        serde_json::from_value(json!({"model": model, "questions": ["What is Acme?"], "settings": settings})).unwrap();
    let http = ReqwestService::new(&spec.settings.timeouts, &spec.settings.proxy).unwrap();
    let host = TestHost::new(|_, _| panic!("no custom provider here"));
    ask(context(Arc::new(http)), spec, host.host.clone()).await.unwrap().remove(0)
}
