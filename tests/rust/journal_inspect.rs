//! Looking into a journal while a process works on it: what is open is seen, and the folder stays as it was.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use overheard::domain::CellKey;
use overheard::journal::disk::OsDisk;
use overheard::journal::inspect::inspect;
use overheard::journal::{Asked, Call, Journal, Overhead, Submission};

use crate::journal::{Folder, wait_for_lock};

fn key(number: u32) -> CellKey {
    CellKey { question_id: format!("q{number}"), model: "m".into(), location: "US".into(), repeat: 1 }
}

fn submission(id: &str) -> Submission {
    Submission {
        id: id.into(),
        model: "m".into(),
        cells: vec![key(1), key(2)],
        created_at_ms: 5,
        snapshot_id: None,
        without_location: Vec::new(),
        carried: Vec::new(),
        extraction: None,
    }
}

fn content(folder: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[tokio::test]
async fn what_is_open_is_seen_beside_the_writer_and_nothing_changes() {
    let folder = Folder::new();
    let (journal, _) = Journal::open(Arc::new(OsDisk), &folder.0, "b", &["m".to_owned()]).unwrap();
    journal.intent(submission("closed")).await.unwrap();
    journal.intent(submission("open")).await.unwrap();
    journal.submitted("open", "s_1").await.unwrap();
    journal.closed("closed").await.unwrap();
    journal.asked(vec![Asked { key: Some(key(3)), call: Call::Answer, micro_usd: 7 }]).await.unwrap();
    journal.overhead(Overhead { model: Some("chatgpt".into()), micro_usd: 11, ..Overhead::default() }).await.unwrap();
    let before = content(&folder.0);
    let seen = inspect(&OsDisk, &folder.0, "b").unwrap();
    assert_eq!(seen.folder_id.as_deref(), journal.folder_id());
    let [file] = seen.files.as_slice() else { panic!("{seen:?}") };
    assert_eq!((file.problem.as_deref(), file.torn, file.models.as_slice()), (None, false, ["m".to_owned()].as_slice()));
    let open: Vec<_> = file.submissions.iter().map(|found| (found.id.as_str(), found.snapshot_id.as_deref())).collect();
    assert_eq!(open, [("open", Some("s_1"))]);
    assert_eq!(file.asked.iter().map(|asked| asked.micro_usd).collect::<Vec<_>>(), [7]);
    assert_eq!(file.overhead.iter().map(|overhead| overhead.micro_usd).collect::<Vec<_>>(), [11]);
    assert!(inspect(&OsDisk, &folder.0, "another").unwrap().files.is_empty());
    assert_eq!(content(&folder.0), before);
    // The writer was not in the way of the look, nor the look in the way of the writer.
    journal.closed("open").await.unwrap();
    assert!(inspect(&OsDisk, &folder.0, "b").unwrap().files[0].submissions.is_empty());
}

#[tokio::test]
async fn a_torn_tail_is_told_and_a_damaged_line_is_a_problem_wherever_it_is() {
    let folder = Folder::new();
    let (journal, _) = Journal::open(Arc::new(OsDisk), &folder.0, "b", &["m".to_owned()]).unwrap();
    journal.intent(submission("one")).await.unwrap();
    journal.intent(submission("two")).await.unwrap();
    journal.finish().await;
    drop(journal);
    let path = content(&folder.0).into_keys().find(|path| path.extension().is_some_and(|kind| kind == "journal")).unwrap();
    wait_for_lock(&path).await;
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    let seen = inspect(&OsDisk, &folder.0, "b").unwrap();
    assert!(seen.files[0].torn && seen.files[0].problem.is_none(), "{seen:?}");
    assert_eq!((seen.files[0].lines, seen.files[0].submissions.len()), (2, 1));
    for (line, position) in [(1, 12), (2, whole.iter().position(|byte| *byte == b'\n').unwrap() + 12)] {
        let mut damaged = whole.clone();
        damaged[position] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        let seen = inspect(&OsDisk, &folder.0, "b").unwrap();
        let problem = seen.files[0].problem.as_deref().unwrap();
        assert!(problem.contains(&format!("damaged at line {line}")), "{problem}");
    }
}

#[test]
fn a_folder_that_is_not_there_holds_nothing_and_is_not_made() {
    let folder = Folder::new();
    let missing = folder.0.join("none");
    let seen = inspect(&OsDisk, &missing, "b").unwrap();
    assert!(seen.folder_id.is_none() && seen.files.is_empty());
    assert!(!missing.exists());
}
