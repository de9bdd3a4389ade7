//! Errors as numbers and details that every language can read.
//!
//! Owns [`ErrorCode`], whose numbers never change their meaning, and the one conversion from rich errors. Must not know who reads
//! them.

use crate::Error;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::path::Path;

/// What kind of error it was. Numbers never change their meaning; new ones may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[repr(i32)]
pub enum ErrorCode {
    /// An argument is missing, malformed or out of range.
    InvalidArgument = 1,
    /// A file or a variant is not there.
    NotFound = 2,
    /// A file is there and is not what it should be: damaged or of an unknown kind.
    InvalidFile = 3,
    /// No variant of the model fits this device.
    DoesNotFit = 4,
    /// The prompt does not fit the context.
    ContextFull = 5,
    /// The caller cancelled.
    Cancelled = 6,
    /// The engine failed.
    Engine = 7,
    /// Anything else.
    Internal = 8,
    /// A defect of the library was caught.
    Panic = 9,
    /// No new work is taken at the moment; later it may be.
    Busy = 10,
    /// Another call uses the object.
    InUse = 11,
    /// This build of the library cannot do that.
    Unsupported = 12,
    /// A download failed for good.
    Network = 13,
    /// A signature is missing, wrong, or by nobody who is trusted.
    Untrusted = 14,
    /// Too little room on the disk, or below the cap of a store.
    DiskFull = 15,
}

impl ErrorCode {
    /// Every code, in the order of the numbers, which begin at 1.
    pub const ALL: [Self; 15] = [
        Self::InvalidArgument,
        Self::NotFound,
        Self::InvalidFile,
        Self::DoesNotFit,
        Self::ContextFull,
        Self::Cancelled,
        Self::Engine,
        Self::Internal,
        Self::Panic,
        Self::Busy,
        Self::InUse,
        Self::Unsupported,
        Self::Network,
        Self::Untrusted,
        Self::DiskFull,
    ];

    /// Its number.
    pub fn number(self) -> i32 {
        self as i32
    }

    /// Its name, e.g. `does_not_fit`.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::NotFound => "not_found",
            Self::InvalidFile => "invalid_file",
            Self::DoesNotFit => "does_not_fit",
            Self::ContextFull => "context_full",
            Self::Cancelled => "cancelled",
            Self::Engine => "engine",
            Self::Internal => "internal",
            Self::Panic => "panic",
            Self::Busy => "busy",
            Self::InUse => "in_use",
            Self::Unsupported => "unsupported",
            Self::Network => "network",
            Self::Untrusted => "untrusted",
            Self::DiskFull => "disk_full",
        }
    }
}

impl Error {
    /// What kind of error it is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Io { source, .. } => of_io(source),
            Self::Gguf { .. } | Self::Family { .. } | Self::Tokenizer(_) | Self::Template(_) => {
                ErrorCode::InvalidFile
            }
            Self::Bundle(error) => of_bundle(error),
            Self::Engine(error) => of_engine(error),
            Self::NothingFits(_) | Self::NoRoom { .. } => ErrorCode::DoesNotFit,
            Self::Request { what: "prompt", .. } => ErrorCode::ContextFull,
            Self::Request { .. } => ErrorCode::InvalidArgument,
            Self::Unsupported { .. } => ErrorCode::Unsupported,
            Self::Cancelled => ErrorCode::Cancelled,
            Self::Refused { .. } | Self::Busy { .. } => ErrorCode::Busy,
            Self::Hardware(_) | Self::Logits(_) | Self::Closed => ErrorCode::Internal,
        }
    }

    /// What the message says in words, by field: always `code`; `path`, `what`, `expected`, `got`, `need_bytes`, `have_bytes`,
    /// `variant`, `nearest` where they apply. Further fields may come.
    pub fn details(&self) -> Value {
        let mut fields = match self {
            Self::Io { path, .. } | Self::Gguf { path, .. } | Self::Family { path, .. } => at(path),
            Self::Bundle(error) => bundle_fields(error),
            Self::Engine(error) => engine_fields(error),
            Self::NoRoom { id, place, need_bytes, have_bytes, nearest } => {
                let nearest =
                    nearest.as_ref().map(|(id, context)| json!({"variant": id, "context_tokens": context}));
                fields(vec![
                    ("variant", json!(id)),
                    ("place", json!(place)),
                    ("need_bytes", json!(need_bytes)),
                    ("have_bytes", json!(have_bytes)),
                    ("nearest", json!(nearest)),
                ])
            }
            Self::Request { what, expected, got } => {
                fields(vec![("what", json!(what)), ("expected", json!(expected)), ("got", json!(got))])
            }
            Self::Unsupported { what, feature } => {
                fields(vec![("what", json!(what)), ("feature", json!(feature))])
            }
            Self::Refused { because } => fields(vec![("because", json!(because))]),
            Self::Busy { waiting } => fields(vec![("waiting", json!(waiting))]),
            Self::Tokenizer(_)
            | Self::Template(_)
            | Self::Hardware(_)
            | Self::NothingFits(_)
            | Self::Logits(_)
            | Self::Closed
            | Self::Cancelled => Map::new(),
        };
        fields.insert("code".into(), self.code().name().into());
        Value::Object(fields)
    }
}

fn fields(fields: Vec<(&str, Value)>) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn at(path: &Path) -> Map<String, Value> {
    fields(vec![("path", json!(path.to_string_lossy()))])
}

fn of_bundle(error: &bundle::Error) -> ErrorCode {
    use bundle::Error as E;
    match error {
        E::Io { source, .. } => of_io(source),
        E::MissingFile { .. } | E::UnknownVariant { .. } | E::Offline { .. } => ErrorCode::NotFound,
        E::Path { .. } | E::HubId { .. } => ErrorCode::InvalidArgument,
        E::DiskSpace { .. } | E::StorageCap { .. } => ErrorCode::DiskFull,
        E::Locked { .. } => ErrorCode::InUse,
        E::RuntimeTooOld { .. } => ErrorCode::Unsupported,
        E::Signature { .. } => ErrorCode::Untrusted,
        E::Download { .. } => ErrorCode::Network,
        E::Cancelled => ErrorCode::Cancelled,
        _ => ErrorCode::InvalidFile,
    }
}

fn bundle_fields(error: &bundle::Error) -> Map<String, Value> {
    use bundle::Error as E;
    match error {
        E::WrongSize { path, expected, got } => fields(vec![
            ("path", json!(path.to_string_lossy())),
            ("expected", json!(expected)),
            ("got", json!(got)),
        ]),
        E::WrongDigest { path, expected, got } => fields(vec![
            ("path", json!(path.to_string_lossy())),
            ("expected", json!(expected.to_string())),
            ("got", json!(got.to_string())),
        ]),
        E::MissingFile { path, variant } => {
            fields(vec![("path", json!(path.to_string_lossy())), ("variant", json!(variant))])
        }
        E::DiskSpace { path, need_bytes, have_bytes } => fields(vec![
            ("path", json!(path.to_string_lossy())),
            ("need_bytes", json!(need_bytes)),
            ("have_bytes", json!(have_bytes)),
        ]),
        E::UnknownVariant { path, id, known } => fields(vec![
            ("path", json!(path.to_string_lossy())),
            ("variant", json!(id)),
            ("known", json!(known)),
        ]),
        E::Io { path, .. }
        | E::Manifest { path, .. }
        | E::Escapes { path, .. }
        | E::Locked { path }
        | E::OtherModel { path, .. }
        | E::Signature { path, .. }
        | E::Key { path, .. }
        | E::StorageCap { path, .. } => at(path),
        E::Download { url, .. } | E::HubIndex { url, .. } => fields(vec![("url", json!(url))]),
        _ => Map::new(),
    }
}

fn of_engine(error: &engine::Error) -> ErrorCode {
    use engine::Error as E;
    match error {
        E::Read { source, .. } => of_io(source),
        E::InvalidFile { .. } => ErrorCode::InvalidFile,
        E::UnknownCpuVariant { .. } | E::UnsupportedCpuVariant { .. } | E::Setting { .. } => {
            ErrorCode::InvalidArgument
        }
        E::ContextFull { .. } => ErrorCode::ContextFull,
        E::Cancelled => ErrorCode::Cancelled,
        _ => ErrorCode::Engine,
    }
}

fn engine_fields(error: &engine::Error) -> Map<String, Value> {
    use engine::Error as E;
    match error {
        E::Read { path, .. } | E::InvalidFile { path, .. } | E::Load { path, .. } => at(path),
        E::Setting { name, got, expected } => {
            fields(vec![("what", json!(name)), ("expected", json!(expected)), ("got", json!(got))])
        }
        E::UnknownCpuVariant { wanted, available: known }
        | E::UnsupportedCpuVariant { wanted, usable: known } => {
            fields(vec![("what", json!("cpu_variant")), ("got", json!(wanted)), ("known", json!(known))])
        }
        _ => Map::new(),
    }
}

fn of_io(error: &std::io::Error) -> ErrorCode {
    match error.kind() {
        std::io::ErrorKind::NotFound => ErrorCode::NotFound,
        std::io::ErrorKind::StorageFull => ErrorCode::DiskFull,
        _ => ErrorCode::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_from_one_and_names_are_those_of_json() {
        for (index, code) in ErrorCode::ALL.into_iter().enumerate() {
            assert_eq!(code.number() as usize, index + 1);
            assert_eq!(serde_json::to_value(code).expect("a text"), code.name());
        }
    }

    #[test]
    fn details_tell_code_and_fields() {
        let error = Error::NoRoom {
            id: "gguf/Q8_0".into(),
            place: "memory".into(),
            need_bytes: 10,
            have_bytes: 4,
            nearest: Some(("gguf/Q4_K_M".into(), 512)),
        };
        assert_eq!(
            error.details(),
            json!({
                "code": "does_not_fit", "variant": "gguf/Q8_0", "place": "memory", "need_bytes": 10, "have_bytes": 4,
                "nearest": {"variant": "gguf/Q4_K_M", "context_tokens": 512},
            })
        );
        let gone = Error::Io { path: "a".into(), source: std::io::ErrorKind::NotFound.into() };
        assert_eq!(gone.details(), json!({"path": "a", "code": "not_found"}));
        assert_eq!(Error::Cancelled.details(), json!({"code": "cancelled"}));
    }
}
