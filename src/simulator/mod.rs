//! Fake provider APIs on a real socket: OpenAI, Anthropic and Bright Data as their vendors document them, over a seeded
//! fictional world. Uses no other module of this crate and knows nothing of the code under test.
//!
//! All base URLs lie below one server: OpenAI at `{url}/v1`, Anthropic and Bright Data at `{url}`. Every answer is a pure
//! function of (seed, engine and model, prompt, country, how often this was asked before). Nothing here streams.
//!
//! # Control
//!
//! | call | what |
//! |---|---|
//! | `GET /_sim/ledger[?charges=0]` | requests, replies by status, peak in flight, most 429 in five minutes; records; charges |
//! | `GET /_sim/truth` | what every served answer contains, and what every extraction call got wrong |
//! | `POST /_sim/faults` | `{"match": {"endpoint", "prompt_contains", "nth"}, "fault": "name[:argument]", "times": n, "headers": {}}` |
//! | `DELETE /_sim/faults` | forget all faults |
//!
//! `match` is optional, as are its fields; `endpoint` is a name of the ledger or a provider (`brightdata`); `nth` counts the
//! fitting requests from 1; `times` defaults to 1, `null` is always; `headers` are laid over the spoilt reply.
//!
//! # Faults
//!
//! | fault | effect | charged | catalogue |
//! |---|---|---|---|
//! | `status:CODE[:SECONDS]` | the provider's error of that status, with `retry-after` | no | F30, F31, F36–F39 |
//! | `rate_limited[:SECONDS]` | 429, too fast | no | F33–F35 |
//! | `insufficient_quota`, `quota:CODE`, `spend_limit`, `usage_limit` | out of money, in the provider's forms | no | F32 |
//! | `overloaded[:SECONDS]` | 503 (OpenAI `slow_down`), 529 (Anthropic) | no | F36 |
//! | `country_rejected` | Bright Data 400 `country is not available…` | no | |
//! | `redirect[:CODE]` | 307 to `{url}/_sim/elsewhere`; `headers.location` overrides | no | F29 |
//! | `close_before_reply` | closed after the request was read | no | F10 |
//! | `hang_uncharged` | no reply, no work | no | F13 |
//! | `hang_headers` | no reply, the work is done | yes | F13 |
//! | `close_after_reply` | a whole reply, then closed without saying so | yes | F12 |
//! | `charge_then_close` | closed, the work is done | yes | F10, F11 |
//! | `charge_then_500`, `charge_then:CODE[:SECONDS]` | an error, the work is done | yes | F37, F38 |
//! | `slow_body[:MS]` | the body byte by byte (200 ms) | yes | F14, F17 |
//! | `stall_body` | half the body, then silence | yes | F16 |
//! | `truncated_body` | half the body, then closed | yes | F18 |
//! | `bad_chunk` | a chunk size that is no number | yes | F19 |
//! | `two_lengths`, `length_and_chunked` | contradicting framing | yes | F20 |
//! | `header_flood`, `big_header` | 150 headers, a header of 1 MiB | yes | F15 |
//! | `huge_body[:MB]`, `endless_body` | 64 MB of JSON, spaces without end | yes | F21, F22 |
//! | `gzip_bomb[:MB]`, `corrupt_gzip` | 256 MB in 1.6 MB, no deflate at all | yes | F21, F23 |
//! | `deep_json` | 100,000 open brackets | yes | F24 |
//! | `bad_utf8`, `odd_json` | invalid bytes and a lone surrogate; duplicate key, NaN, 1e999 | yes | F25, F26 |
//! | `odd_text` | NUL, bidirectional marks, astral characters in the answer | yes | F25 |
//! | `not_json`, `html_200`, `empty_200`, `error_200` | a 200 that is none | yes | F27, F28 |
//! | `failed_200` | OpenAI responses: 200 with status failed | no | F28 |
//! | `no_snapshot_id`, `snapshot_id_number` | the trigger's reply lacks a usable id; the job runs | yes | F40 |
//! | `same_snapshot_id` | the id of the trigger before; no new job | no | F41 |
//! | `snapshot_failed[:WORDS]`, `snapshot_canceled` | ends without data | no | F42 |
//! | `snapshot_unknown_word[:WORD]` | progress says `reticulating` | as the snapshot | F42 |
//! | `snapshot_forever_running` | never ready | no | F44 |
//! | `snapshot_gone`, `snapshot_expired` | 404 or 400 for a known snapshot | as the snapshot | F45 |
//! | `inputs_expired`, `inputs_reordered` | the inputs of a snapshot: forgotten, or in another order | – | W1 |
//! | `ready_then_building[:N]`, `ready_then_200[:N]` | the first N (2) downloads say not yet, as 202 or as 200 | yes | F43 |
//! | `drop_rows[:N]` | N (1) rows missing; `drop_rows:all` on the download: an empty list | not the missing | F46, F50 |
//! | `duplicate_rows[:N]`, `foreign_rows[:N]` | rows too many | yes | F47 |
//! | `batch_expired[:N]` | a native batch expires after N (0) of its requests; the rest is expired | N | |
//! | `batch_failed` | OpenAI: a batch fails its validation (`token_limit_exceeded`) | no | |
//! | `shuffle_rows`, `changed_echo`, `no_index`, `string_index` | order and echo | yes | F48 |
//! | `decomposed_echo` | prompts echoed in Unicode form NFD, and no index | yes | F48 |
//! | `error_rows[:N]`, `auth_wall_all` | error rows | not those | F49 |
//! | `ndjson`, `data_wrapper`, `single_object` | other forms of the same rows | yes | |
//! | `sse_only`, `null_citations`, `string_citations`, `junk_citations` | other forms of a row | yes | |
//! | `lagging_list[:SECONDS]` | the list leaves out snapshots younger than that (60) | – | W1 |
//! | `empty_answer`, `refusal`, `incomplete[:REASON]` | an answer that is none, or cut (OpenAI: for that reason) | yes | F50 |
//! | `pause`, `search_error[:CODE]` | Anthropic: the turn is paused (again), a search fails | yes | |
//! | `broken_json`, `invalid_schema` | structured outputs | yes | F51 |
//! | `obeys:JSON` | a structured reply says what an injection in the text orders: `{"mentioned", "sentiment", "quote", "first": [names], "competitors": [names], "extra": {}}` | yes | |
//! | `false_statements` | every sentence of a comparison of figures says what its table does not hold | yes | |
//! | `no_usage`, `absurd_usage` | the reply's counts; the ledger keeps the true ones | yes | F52 |
//! | `other_model` | another model's name in the reply | yes | F53 |
//!
//! Bright Data faults given on `brightdata.trigger` stay with the snapshot; given on another endpoint they meet that one call
//! and change nothing about what is charged. After 25 times 429 in five minutes Bright Data refuses everything with 403.

mod anthropic;
mod brightdata;
mod config;
mod faults;
mod ledger;
mod obey;
mod openai;
mod prices;
mod render;
mod reply;
mod rng;
mod run;
mod schema;
mod serve;
mod server;
mod sim;
mod spoil;
mod statements;
mod structured;
mod subject;
mod text;
mod time;
mod truth;
mod wire;
mod world;
mod world_data;

pub use config::{Config, Rates};
pub use run::{Error, Running, Simulator};
