//! What the integration tests share: real PostgreSQL servers, real object stores of
//! every kind and wires that spoil the way to them, the real Barman Cloud tools, a workload
//! whose outcome is known, and repositories made from them.
//!
//! Everything is started by the test that needs it, listens on loopback or a socket of its
//! own, and is ended by its process id when its value is dropped. Should the test process
//! itself be killed, the kernel ends its servers (`setpriv --pdeathsig`).
//!
//! Begin a test with `require!(Postgres, S3, Barman)`: what is missing fails the test where
//! `CI=true`, and is shouted about elsewhere.
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "each test binary compiles this module and uses a part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is test code; clippy knows only functions marked #[test] as such"
)]
#![allow(unreachable_pub, reason = "a private module of a test binary")]

pub mod azure;
pub mod barman;
pub mod cache;
pub mod codec;
pub mod damage;
pub mod deploy;
pub mod gcs;
pub mod http;
pub mod json_schema;
pub mod kubernetes;
pub mod load;
pub mod minio;
pub mod pages;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod receiver;
pub mod repository;
pub mod require;
pub mod s3;
pub mod s3_api;
pub mod scratch;
pub mod sign;
pub mod source;
pub mod tape;
pub mod tls;
pub mod wal_bytes;
pub mod waldump;
pub mod walproof;
pub mod wire;
pub mod workload;

pub(crate) use require::require;
