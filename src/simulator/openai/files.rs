//! `/v1/files`: upload, list, retrieve, content, delete. Keeps bytes; looks into them only for batches.

use serde_json::{Value, json};

use super::super::reply::Reply;
use super::super::sim::{Sim, lock, now_ms};
use super::{error, invalid};

/// A stored file.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) purpose: String,
    pub(super) bytes: Vec<u8>,
    pub(super) created: u64,
}

/// The parts of a multipart upload.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    pub(crate) purpose: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) bytes: Option<Vec<u8>>,
}

fn object(file: &File) -> Value {
    json!({
        "id": file.id, "object": "file", "bytes": file.bytes.len(), "created_at": file.created, "expires_at": null,
        "filename": file.name, "purpose": file.purpose, "status": "processed", "status_details": null,
    })
}

fn missing(id: &str) -> Reply {
    error(404, "invalid_request_error", None, Some("id"), &format!("No such File object: {id}"))
}

pub(super) fn create(sim: &Sim, upload: Upload) -> Reply {
    let Some(purpose) = upload.purpose else {
        return invalid("Missing required parameter: 'purpose'.", Some("purpose"), Some("missing_required_parameter"));
    };
    let Some(bytes) = upload.bytes else {
        return invalid("Missing required parameter: 'file'.", Some("file"), Some("missing_required_parameter"));
    };
    if !["assistants", "batch", "fine-tune", "vision", "user_data", "evals"].contains(&purpose.as_str()) {
        return invalid(&format!("'{purpose}' is not one of ['assistants', 'batch', 'fine-tune'] - 'purpose'"), Some("purpose"), None);
    }
    let name = upload.name.unwrap_or_else(|| "file".to_owned());
    if purpose == "batch" && !name.ends_with(".jsonl") {
        return invalid("Invalid file format for Batch API. Must be .jsonl", None, Some("invalid_file_format"));
    }
    let file = store(sim, name, purpose, bytes);
    Reply::json(200, &object(&file))
}

/// Keeps a file.
pub(super) fn store(sim: &Sim, name: String, purpose: String, bytes: Vec<u8>) -> File {
    let mut store = lock(&sim.openai);
    let id = store.id(sim.nonce, "file-");
    let file = File { id, name, purpose, bytes, created: now_ms() / 1000 };
    store.files.push(file.clone());
    file
}

pub(super) fn list(sim: &Sim, query: &[(String, String)]) -> Reply {
    let purpose = query.iter().find(|(name, _)| name == "purpose").map(|(_, value)| value.as_str());
    let store = lock(&sim.openai);
    let files = store.files.iter().rev().filter(|file| purpose.is_none_or(|purpose| purpose == file.purpose));
    let data: Vec<Value> = files.map(object).collect();
    let edge = |file: Option<&Value>| file.and_then(|file| file.get("id")).cloned();
    Reply::json(200, &json!({"object": "list", "data": data, "first_id": edge(data.first()), "last_id": edge(data.last()), "has_more": false}))
}

pub(super) fn retrieve(sim: &Sim, id: &str) -> Reply {
    lock(&sim.openai).files.iter().find(|file| file.id == id).map_or_else(|| missing(id), |file| Reply::json(200, &object(file)))
}

pub(super) fn content(sim: &Sim, id: &str) -> Reply {
    let store = lock(&sim.openai);
    let file = store.files.iter().find(|file| file.id == id);
    file.map_or_else(|| missing(id), |file| Reply::bytes(200, "application/octet-stream", file.bytes.clone()))
}

pub(super) fn delete(sim: &Sim, id: &str) -> Reply {
    let mut store = lock(&sim.openai);
    let before = store.files.len();
    store.files.retain(|file| file.id != id);
    if store.files.len() == before {
        return missing(id);
    }
    Reply::json(200, &json!({"id": id, "object": "file", "deleted": true}))
}
