//! The simulator from Rust: starts, answers on a real socket, stops, and leans on no other module of the crate.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use overheard::simulator::{Config, Rates, Running, Simulator};
use serde_json::{Value, json};

fn start(config: Config) -> Running {
    Simulator::start(Config { rates: Rates::perfect(), ..config }).unwrap()
}

/// One call on a connection of its own: status and body.
fn call(running: &Running, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
    let mut stream = TcpStream::connect(running.url().trim_start_matches("http://")).unwrap();
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: simulator\r\nauthorization: Bearer k\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn ask(running: &Running, prompt: &str) -> Value {
    let (status, body) = call(running, "POST", "/v1/responses", Some(&json!({"model": "gpt-4.1", "input": prompt})));
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn it_starts_answers_and_stops() {
    let mut running = start(Config::default());
    let reply = ask(&running, "Which CRM?");
    let text = reply["output"][0]["content"][0]["text"].as_str().unwrap();
    assert_eq!(running.truth()["answers"][0]["text"], text);
    assert_eq!(running.ledger(false)["requests"]["openai.responses"], 1);
    let address = running.url().trim_start_matches("http://").to_owned();
    running.stop();
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn the_seed_alone_decides_the_answers() {
    let (one, two) = (start(Config::default()), start(Config::default()));
    let other = start(Config { seed: 2, ..Config::default() });
    let text = |running: &Running| ask(running, "Which CRM?")["output"][0]["content"][0]["text"].as_str().unwrap().to_owned();
    let first = text(&one);
    assert_eq!(first, text(&two));
    assert_ne!(first, text(&other));
    assert_ne!(first, text(&one), "asked again, it answers anew");
}

#[test]
fn an_answer_grows_to_the_length_asked_for() {
    for characters in [500, 8_000] {
        let running = start(Config { answer_chars: characters, ..Config::default() });
        let reply = ask(&running, "Which CRM?");
        let length = reply["output"][0]["content"][0]["text"].as_str().unwrap().len();
        assert!((characters..characters + 1_500).contains(&length), "{length} for {characters}");
    }
}

#[test]
fn a_taken_port_is_an_error_that_names_it() {
    let running = start(Config::default());
    let port = running.url().rsplit(':').next().unwrap().parse().unwrap();
    let error = Simulator::start(Config { port, ..Config::default() }).unwrap_err();
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
}

#[test]
fn every_rate_can_be_set_by_its_name() {
    let mut rates = Rates::perfect();
    for name in Rates::NAMES {
        rates.set(name, 0.5).unwrap();
        assert!(rates.set(name, -0.1).is_err());
    }
    assert!(rates.set("nothing", 0.5).is_err());
    let half = Rates::NAMES.iter().fold(Rates::default(), |mut rates, name| {
        rates.set(name, 0.5).unwrap();
        rates
    });
    assert_eq!(rates, half);
}

#[test]
fn snapshots_with_a_spread_differ_and_stay_within_it() {
    let running = start(Config { snapshot_ms: 10_000, spread: 0.5, ..Config::default() });
    let mut durations = Vec::new();
    for number in 0..6 {
        let input = json!([{"url": "https://gemini.google.com/", "prompt": format!("Which CRM {number}?")}]);
        call(&running, "POST", "/datasets/v3/trigger?dataset_id=gd_mbz66arm2mf9cu856y", Some(&input));
    }
    let (_, body) = call(&running, "GET", "/datasets/v3/snapshots?dataset_id=gd_mbz66arm2mf9cu856y", None);
    let listed: Value = serde_json::from_str(&body).unwrap();
    for line in listed.as_array().unwrap() {
        durations.push(line["status"].as_str().unwrap().to_owned());
    }
    assert_eq!(durations.len(), 6);
    assert!(durations.iter().all(|status| status != "ready"), "none is ready before half the time: {durations:?}");
}

#[test]
fn it_uses_no_other_module_of_the_crate() {
    fn check(folder: &Path, files: &mut usize) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                check(&path, files);
                continue;
            }
            *files += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("//!"), "{} has no first paragraph", path.display());
            assert!(!text.contains("crate::"), "{} names another module of the crate", path.display());
            assert!(!text.contains("overheard::"), "{} names the crate", path.display());
            assert!(text.lines().count() <= 500, "{} is too long", path.display());
        }
    }
    let mut files = 0;
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/simulator"), &mut files);
    assert!(files > 20);
}

#[test]
fn every_fault_stands_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/simulator");
    let table = std::fs::read_to_string(root.join("mod.rs")).unwrap();
    let list = std::fs::read_to_string(root.join("faults.rs")).unwrap();
    let names: Vec<&str> = list
        .lines()
        .filter_map(|line| line.trim().strip_prefix("(\"")?.split_once("\", Stage::"))
        .map(|(name, _)| name)
        .collect();
    assert!(names.len() > 60);
    for name in names {
        assert!(
            table.contains(&format!("`{name}`")) || table.contains(&format!("`{name}:")) || table.contains(&format!("`{name}[")),
            "{name}"
        );
    }
}
