//! Numbers and details of what goes wrong while variants are made.

use super::{ErrorCode, Fields, of_bundle, of_engine, of_io};
use crate::requantize::Error;
use serde_json::Value;

impl Error {
    /// What kind of error it was.
    pub fn code(&self) -> ErrorCode {
        if self.is_cancelled() {
            return ErrorCode::Cancelled;
        }
        match self {
            Self::Runtime(error) => error.code(),
            Self::Bundle(error) => of_bundle(error),
            Self::Quantizer(error) => of_quantizer(error),
            Self::Evaluator(_) => ErrorCode::Internal,
        }
    }

    /// What the message says in words, by field: as [`crate::Error::details`] tells it, and `tensor`.
    pub fn details(&self) -> Value {
        if let Self::Runtime(error) = self {
            return error.details();
        }
        let mut fields = Fields::default();
        match self {
            Self::Bundle(error) => fields.of_bundle(error),
            Self::Quantizer(error) => fields.of_quantizer(error),
            Self::Runtime(_) | Self::Evaluator(_) => {}
        }
        fields.text("code", &self.code().name());
        Value::Object(fields.0)
    }
}

impl Fields {
    fn of_quantizer(&mut self, error: &quantizer::Error) {
        use quantizer::Error as E;
        match error {
            E::Io { path, .. }
            | E::Json { path, .. }
            | E::Gguf { path, .. }
            | E::Safetensors { path, .. }
            | E::Onnx { path, .. }
            | E::Imatrix { path, .. }
            | E::Family { path, .. }
            | E::Checkpoint { path, .. }
            | E::Tokenizer { path, .. }
            | E::TokenizerJson { path, .. } => self.path(path),
            E::Tensor { path, tensor, .. } | E::Quantized { path, tensor, .. } => {
                self.path(path);
                self.text("tensor", tensor);
            }
            E::Importance { tensor, .. } => self.text("tensor", tensor),
            E::Engine { tensor, source } => {
                self.of_engine(source);
                self.text("tensor", tensor);
            }
            E::Reading { source } => self.of_engine(source),
            E::Request { wish, expected, got } => self.refusal(wish, expected, got),
            E::Memory { need_bytes, have_bytes } => {
                self.number("need_bytes", *need_bytes);
                self.number("have_bytes", *have_bytes);
            }
            E::Bundle(error) => self.of_bundle(error),
            _ => {}
        }
    }
}

fn of_quantizer(error: &quantizer::Error) -> ErrorCode {
    use quantizer::Error as E;
    match error {
        E::Io { source, .. } => of_io(source),
        // What a checkpoint lacks is named by the path at which it should be.
        E::Checkpoint { path, .. } if !path.exists() => ErrorCode::NotFound,
        E::Request { .. } | E::Quantized { .. } | E::Importance { .. } => ErrorCode::InvalidArgument,
        E::Engine { source, .. } | E::Reading { source } => of_engine(source),
        E::Judging { .. } => ErrorCode::Internal,
        E::Memory { .. } => ErrorCode::DoesNotFit,
        E::Bundle(error) => of_bundle(error),
        E::Cancelled => ErrorCode::Cancelled,
        _ => ErrorCode::InvalidFile,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_quantizer_says_has_a_number_and_fields() {
        let of = |error: quantizer::Error| Error::from(error).details();
        let nowhere = quantizer::Error::Checkpoint { path: "no/where".into(), problem: "nothing".into() };
        assert_eq!(of(nowhere), json!({"path": "no/where", "code": "not_found"}));
        let tensor = quantizer::Error::Tensor {
            path: "model.safetensors".into(),
            tensor: "norm".into(),
            problem: "shape".into(),
        };
        let expected = json!({"path": "model.safetensors", "tensor": "norm", "code": "invalid_file"});
        assert_eq!(of(tensor), expected);
        let memory = quantizer::Error::Memory { need_bytes: 9, have_bytes: 4 };
        assert_eq!(of(memory), json!({"need_bytes": 9, "have_bytes": 4, "code": "does_not_fit"}));
        assert_eq!(of(quantizer::Error::Cancelled), json!({"code": "cancelled"}));
        let locked = Error::from(bundle::Error::Locked { path: "a".into() });
        assert_eq!(locked.details(), json!({"path": "a", "code": "in_use"}));
    }
}
