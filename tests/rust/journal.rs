//! The journal over real files: what a process leaves, the next one finds.

use std::path::PathBuf;
use std::sync::Arc;

use overheard::domain::{CellKey, QuestionRun};
use overheard::journal::{Journal, Submission};

use crate::support::answered;

/// A folder that is removed at the end of the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("overheard-test-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn journals(&self) -> usize {
        std::fs::read_dir(&self.0).unwrap().count()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn models() -> Vec<String> {
    vec!["chatgpt".into(), "m".into()]
}

fn key(number: u32) -> CellKey {
    CellKey { question_id: format!("q{number}"), model: "m".into(), location: "US".into(), repeat: 1 }
}

fn submission(id: &str) -> Submission {
    Submission { id: id.into(), model: "chatgpt".into(), cells: vec![key(1), key(2)], created_at_ms: 5, snapshot_id: None }
}

fn run(number: u32) -> Arc<QuestionRun> {
    let outcome = answered("text with \n a line break and \u{1F600}");
    Arc::new(QuestionRun {
        batch_id: "b".into(),
        run_id: "r".into(),
        org_id: "o".into(),
        key: key(number),
        question: "?".into(),
        outcome,
    })
}

#[tokio::test]
async fn what_is_open_is_found_again_and_what_is_done_is_not() {
    let folder = Folder::new();
    {
        let (journal, recovered) = Journal::open(&folder.0, "b", &models()).unwrap();
        assert!(recovered.submissions.is_empty() && recovered.replies.is_empty());
        for id in ["closed", "submitted", "intent"] {
            journal.intent(submission(id)).await.unwrap();
        }
        journal.submitted("closed", "s_1").await.unwrap();
        journal.submitted("submitted", "s_2").await.unwrap();
        journal.closed("closed").await.unwrap();
        journal.replies(&[run(1), run(2)]).await.unwrap();
        journal.finish().await;
    }
    // A dead process's file: its lock is gone with it.
    let (journal, recovered) = reopen(&folder).await;
    let found: Vec<_> = recovered.submissions.iter().map(|found| (found.id.as_str(), found.snapshot_id.as_deref())).collect();
    assert_eq!(found, [("intent", None), ("submitted", Some("s_2"))]);
    assert_eq!(recovered.replies.len(), 2);
    assert_eq!(recovered.replies[0].outcome, run(1).outcome);
    assert_eq!(folder.journals(), 1, "the old file is gone once its entries are durable in the new one");
    drop(journal);
}

#[tokio::test]
async fn nothing_open_leaves_no_file() {
    let folder = Folder::new();
    let (journal, _) = Journal::open(&folder.0, "b", &models()).unwrap();
    journal.intent(submission("one")).await.unwrap();
    journal.closed("one").await.unwrap();
    let replies = [run(1)];
    journal.replies(&replies).await.unwrap();
    journal.acknowledged(replies.iter().map(Arc::as_ref));
    journal.finish().await;
    assert_eq!(folder.journals(), 0);
}

#[tokio::test]
async fn each_model_has_its_own_and_another_batch_too() {
    let folder = Folder::new();
    let chatgpt = || vec!["chatgpt".to_owned()];
    let (first, _) = Journal::open(&folder.0, "b", &models()).unwrap();
    first.intent(submission("mine")).await.unwrap();
    first.replies(&[run(1)]).await.unwrap();
    first.finish().await;
    drop(first);
    let (_another_batch, recovered) = Journal::open(&folder.0, "another", &models()).unwrap();
    assert!(recovered.submissions.is_empty() && recovered.replies.is_empty(), "entries of batch b");
    let (second, recovered) = Journal::open(&folder.0, "b", &["m".to_owned()]).unwrap();
    assert_eq!((recovered.submissions.len(), recovered.replies.len()), (0, 1), "what the other model has in flight stays for it");
    let (third, recovered) = Journal::open(&folder.0, "b", &chatgpt()).unwrap();
    assert_eq!((recovered.submissions.len(), recovered.replies.len()), (1, 0), "while the second is alive");
    drop((second, third));
}

#[tokio::test]
async fn a_file_that_a_living_process_holds_is_refused_in_a_sentence() {
    let folder = Folder::new();
    let (journal, _) = Journal::open(&folder.0, "b", &models()).unwrap();
    journal.intent(submission("mine")).await.unwrap();
    journal.finish().await;
    drop(journal);
    let path = std::fs::read_dir(&folder.0).unwrap().next().unwrap().unwrap().path();
    wait_for_lock(&path).await;
    let theirs = std::fs::File::open(&path).unwrap();
    theirs.lock().unwrap();
    let error = Journal::open(&folder.0, "b", &models()).unwrap_err();
    assert!(error.message.starts_with("locked: another process works on chatgpt, m of this batch"), "{error}");
}

#[tokio::test]
async fn a_damaged_middle_is_refused_in_a_sentence() {
    let folder = Folder::new();
    {
        let (journal, _) = Journal::open(&folder.0, "b", &models()).unwrap();
        journal.intent(submission("one")).await.unwrap();
        journal.intent(submission("two")).await.unwrap();
        journal.finish().await;
    }
    let path = std::fs::read_dir(&folder.0).unwrap().next().unwrap().unwrap().path();
    wait_for_lock(&path).await;
    let mut bytes = std::fs::read(&path).unwrap();
    let first_line = bytes.iter().position(|byte| *byte == b'\n').unwrap();
    bytes[first_line + 20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = Journal::open(&folder.0, "b", &models()).unwrap_err();
    assert!(error.message.contains("is damaged at line 2"), "{error}");
}

async fn reopen(folder: &Folder) -> (Journal, overheard::journal::Recovered) {
    let path = std::fs::read_dir(&folder.0).unwrap().next().unwrap().unwrap().path();
    wait_for_lock(&path).await;
    Journal::open(&folder.0, "b", &models()).unwrap()
}

/// The writer's thread gives the lock back when it ends, shortly after the journal is dropped.
pub async fn wait_for_lock(path: &std::path::Path) {
    let file = std::fs::File::open(path).unwrap();
    tokio::task::spawn_blocking(move || file.lock().unwrap()).await.unwrap();
}
