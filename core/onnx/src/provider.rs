//! Providers of ONNX Runtime: what computes. Owns their names, how one is asked for, and what is said when it does not come.
//! Knows that "compiled in" is not "works": only a session that was made with a provider has it.

use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};
use std::path::PathBuf;

/// What can compute a graph. `Cpu` is always there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Provider {
    /// The library's own kernels.
    Cpu,
    /// NVIDIA's CUDA.
    Cuda,
    /// NVIDIA's TensorRT.
    TensorRt,
    /// Apple's CoreML.
    CoreMl,
    /// Android's NNAPI.
    Nnapi,
    /// Qualcomm's NPUs.
    Qnn,
    /// XNNPACK, for ARM and x86 processors.
    Xnnpack,
    /// DirectX devices on Windows.
    DirectMl,
}

/// A provider that was asked for and is not used.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Fallback {
    /// Which.
    pub provider: Provider,
    /// What the library says.
    pub reason: String,
}

impl Provider {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Cpu,
        Self::Cuda,
        Self::TensorRt,
        Self::CoreMl,
        Self::Nnapi,
        Self::Qnn,
        Self::Xnnpack,
        Self::DirectMl,
    ];

    /// Its name in files and options, e.g. `tensorrt`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
            Self::CoreMl => "coreml",
            Self::Nnapi => "nnapi",
            Self::Qnn => "qnn",
            Self::Xnnpack => "xnnpack",
            Self::DirectMl => "directml",
        }
    }

    /// Of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.name() == name)
    }

    pub(crate) fn is_compiled_in(self) -> bool {
        let answer = match self {
            Self::Cpu => ep::CPU::is_available(),
            Self::Cuda => ep::CUDA::is_available(),
            Self::TensorRt => ep::TensorRT::is_available(),
            Self::CoreMl => ep::CoreML::is_available(),
            Self::Nnapi => ep::NNAPI::is_available(),
            Self::Qnn => ep::QNN::is_available(),
            Self::Xnnpack => ep::XNNPACK::is_available(),
            Self::DirectMl => ep::DirectML::is_available(),
        };
        answer.unwrap_or(false)
    }

    /// `cache` is where TensorRT and CoreML keep what they compile.
    pub(crate) fn registration(self, cache: Option<&PathBuf>) -> ExecutionProviderDispatch {
        let cache = cache.map(|path| path.display().to_string());
        let registration = match self {
            Self::Cpu => ep::CPU::default().build(),
            Self::Cuda => ep::CUDA::default().build(),
            Self::TensorRt => match cache {
                Some(path) => {
                    ep::TensorRT::default().with_engine_cache(true).with_engine_cache_path(path).build()
                }
                None => ep::TensorRT::default().build(),
            },
            Self::CoreMl => match cache {
                Some(path) => ep::CoreML::default().with_model_cache_dir(path).build(),
                None => ep::CoreML::default().build(),
            },
            Self::Nnapi => ep::NNAPI::default().build(),
            Self::Qnn => ep::QNN::default().build(),
            Self::Xnnpack => ep::XNNPACK::default().build(),
            Self::DirectMl => ep::DirectML::default().build(),
        };
        registration.error_on_failure()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for provider in Provider::ALL {
            assert_eq!(Provider::of_name(provider.name()), Some(provider));
            assert_eq!(serde_json::to_string(&provider).unwrap(), format!("\"{}\"", provider.name()));
        }
    }
}
