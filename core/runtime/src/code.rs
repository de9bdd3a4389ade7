//! Errors as numbers and details that every language can read.
//!
//! Owns [`ErrorCode`], whose numbers never change their meaning, and the one conversion from rich errors. Must not know who reads
//! them.

#[cfg(feature = "quantize")]
mod making;

use crate::Error;
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt::Display;
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
        let mut fields = Fields::default();
        match self {
            Self::Io { path, .. } | Self::Gguf { path, .. } | Self::Family { path, .. } => fields.path(path),
            Self::Bundle(error) => fields.of_bundle(error),
            Self::Engine(error) => fields.of_engine(error),
            Self::NoRoom { id, place, need_bytes, have_bytes, nearest } => {
                fields.text("variant", id);
                fields.text("place", place);
                fields.number("need_bytes", *need_bytes);
                fields.number("have_bytes", *have_bytes);
                if let Some((id, context_tokens)) = nearest {
                    let mut nearest = Fields::default();
                    nearest.text("variant", id);
                    nearest.number("context_tokens", *context_tokens);
                    fields.0.insert("nearest".into(), Value::Object(nearest.0));
                }
            }
            Self::Request { what, expected, got } => fields.refusal(what, expected, got),
            Self::Unsupported { what, feature } => {
                fields.text("what", what);
                fields.text("feature", feature);
            }
            Self::Refused { because } => fields.text("because", because),
            Self::Busy { waiting } => fields.number("waiting", *waiting as u64),
            Self::Tokenizer(_)
            | Self::Template(_)
            | Self::Hardware(_)
            | Self::NothingFits(_)
            | Self::Logits(_)
            | Self::Closed
            | Self::Cancelled => {}
        }
        fields.text("code", &self.code().name());
        Value::Object(fields.0)
    }
}

/// The details under way.
#[derive(Default)]
struct Fields(Map<String, Value>);

// Not inlined: libraries that are embedded count bytes, and errors may take their time.
impl Fields {
    #[inline(never)]
    fn text(&mut self, name: &str, value: &dyn Display) {
        self.0.insert(name.to_owned(), Value::String(value.to_string()));
    }

    #[inline(never)]
    fn number(&mut self, name: &str, value: u64) {
        self.0.insert(name.to_owned(), value.into());
    }

    #[inline(never)]
    fn list(&mut self, name: &str, values: impl Iterator<Item = String>) {
        self.0.insert(name.to_owned(), values.collect());
    }

    fn path(&mut self, path: &Path) {
        self.text("path", &path.display());
    }

    #[inline(never)]
    fn refusal(&mut self, what: &dyn Display, expected: &dyn Display, got: &dyn Display) {
        self.text("what", what);
        self.text("expected", expected);
        self.text("got", got);
    }

    fn of_bundle(&mut self, error: &bundle::Error) {
        use bundle::Error as E;
        match error {
            E::WrongSize { path, expected, got } => {
                self.path(path);
                self.number("expected", *expected);
                self.number("got", *got);
            }
            E::WrongDigest { path, expected, got } => {
                self.path(path);
                self.text("expected", expected);
                self.text("got", got);
            }
            E::MissingFile { path, variant } => {
                self.path(path);
                self.text("variant", variant);
            }
            E::DiskSpace { path, need_bytes, have_bytes } => {
                self.path(path);
                self.number("need_bytes", *need_bytes);
                self.number("have_bytes", *have_bytes);
            }
            E::UnknownVariant { path, id, known } => {
                self.path(path);
                self.text("variant", id);
                self.list("known", known.iter().cloned());
            }
            E::Io { path, .. }
            | E::Manifest { path, .. }
            | E::Escapes { path, .. }
            | E::Locked { path }
            | E::OtherModel { path, .. }
            | E::Signature { path, .. }
            | E::Key { path, .. }
            | E::StorageCap { path, .. } => self.path(path),
            E::Download { url, .. } | E::HubIndex { url, .. } => self.text("url", url),
            _ => {}
        }
    }

    fn of_engine(&mut self, error: &engine::Error) {
        use engine::Error as E;
        match error {
            E::Read { path, .. } | E::InvalidFile { path, .. } | E::Load { path, .. } => self.path(path),
            E::Setting { name, got, expected } => self.refusal(name, expected, got),
            E::UnknownCpuVariant { wanted, available: known }
            | E::UnsupportedCpuVariant { wanted, usable: known } => {
                self.text("what", &"cpu_variant");
                self.text("got", wanted);
                self.list("known", known.iter().map(ToString::to_string));
            }
            _ => {}
        }
    }
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
    use serde_json::json;

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
