//! Architecture metadata of a GGUF file, in the keys, types and order that llama.cpp's converter writes.

use crate::config::{Config, number_in};
use crate::family::KeyLength;
use crate::{Error, Family, RopeScaling, detect_config};
use formats::gguf::{GgmlType, Metadata, Value};

/// The float type that a conversion writes matrices in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputType {
    /// Everything in F32.
    F32,
    /// Matrices in F16, the rest in F32.
    F16,
    /// Matrices in BF16, the rest in F32.
    Bf16,
}

impl OutputType {
    /// The type of matrices.
    pub fn ggml_type(self) -> GgmlType {
        match self {
            Self::F32 => GgmlType::F32,
            Self::F16 => GgmlType::F16,
            Self::Bf16 => GgmlType::BF16,
        }
    }

    /// `general.file_type` (`enum llama_ftype`).
    pub fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Bf16 => 32,
        }
    }

    /// The type of one tensor: vectors, norms, routers and whatever is no `.weight` stay in F32.
    pub fn of_tensor(self, name: &str, n_dims: usize) -> GgmlType {
        let full = n_dims <= 1
            || name.ends_with("_norm.weight")
            || name.ends_with(".ffn_gate_inp.weight")
            || !name.ends_with(".weight");
        if full { GgmlType::F32 } else { self.ggml_type() }
    }
}

impl Family {
    /// Architecture keys of a checkpoint's configuration.
    ///
    /// # Errors
    /// As [`detect_config`].
    pub fn metadata(&self, config: &serde_json::Value, output: OutputType) -> Result<Metadata, Error> {
        let description = detect_config(config)?;
        let config = Config::new(config, Some(&self.defaults))?;
        let mut metadata = Metadata::new();
        let mut put = |key: &str, value: Value| {
            metadata.insert(format!("{}.{key}", self.architecture()), value);
        };
        put("block_count", Value::U32(description.n_layers));
        put("context_length", Value::U32(description.max_context as u32));
        put("embedding_length", Value::U32(description.hidden_size as u32));
        put("feed_forward_length", Value::U32(description.ffn_size as u32));
        put("attention.head_count", Value::U32(description.n_heads));
        put("attention.head_count_kv", Value::U32(description.n_kv_heads));
        match description.rope.scaling {
            RopeScaling::None | RopeScaling::Llama3 { .. } => {}
            RopeScaling::Linear { factor } => {
                put("rope.scaling.type", Value::String("linear".into()));
                put("rope.scaling.factor", Value::F32(factor as f32));
            }
            RopeScaling::Yarn { factor, original_context } => {
                put("rope.scaling.type", Value::String("yarn".into()));
                put("rope.scaling.factor", Value::F32(factor as f32));
                put("rope.scaling.original_context_length", Value::U32(original_context as u32));
                let inner = config.get("rope_parameters").or_else(|| config.get("rope_scaling"));
                for (field, key) in [
                    ("extrapolation_factor", "yarn_ext_factor"),
                    ("attention_factor", "yarn_attn_factor"),
                    ("beta_fast", "yarn_beta_fast"),
                    ("beta_slow", "yarn_beta_slow"),
                ] {
                    if let Some(number) = inner.map(|inner| number_in(inner, field)).transpose()?.flatten() {
                        put(&format!("rope.scaling.{key}"), Value::F32(number as f32));
                    }
                }
            }
        }
        put("rope.freq_base", Value::F32(description.rope.theta as f32));
        put(
            "attention.layer_norm_rms_epsilon",
            Value::F32(config.number("rms_norm_eps")?.unwrap_or(1e-6) as f32),
        );
        if let Some(moe) = description.moe {
            put("expert_count", Value::U32(moe.n_experts));
            put("expert_used_count", Value::U32(moe.n_active));
        }
        match self.key_length() {
            KeyLength::Always => {
                put("attention.key_length", Value::U32(description.head_dim));
                put("attention.value_length", Value::U32(description.head_dim));
            }
        }
        metadata.insert("general.file_type", Value::U32(output.file_type()));
        for extra in &self.extra_keys {
            let value = match extra.from.as_str() {
                "head_dim" => description.head_dim,
                field => config.required_extent(&[field])? as u32,
            };
            metadata.insert(format!("{}.{}", self.architecture(), extra.key), Value::U32(value));
        }
        Ok(metadata)
    }

    /// The factors that stand for Llama-3 RoPE scaling (`rope_freqs.weight`, one per pair of a head's dimensions):
    /// 1 for short wavelengths, `factor` for long ones, smooth between (transformers' `rope_type: llama3`).
    ///
    /// # Errors
    /// As [`detect_config`].
    pub fn rope_factors(&self, config: &serde_json::Value) -> Result<Option<Vec<f32>>, Error> {
        let description = detect_config(config)?;
        let RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } =
            description.rope.scaling
        else {
            return Ok(None);
        };
        if !self.mechanisms.llama3_rope_factors {
            return Ok(None);
        }
        let (dim, theta, context) =
            (description.head_dim, description.rope.theta as f32, original_context as f64);
        let factors = (0..dim / 2).map(|pair| {
            // The reference computes frequencies in f32 and everything behind them on f32 values too.
            let frequency = 1.0 / theta.powf((2 * pair) as f32 / dim as f32);
            let wavelength = (2.0 * std::f64::consts::PI) as f32 / frequency;
            if f64::from(wavelength) < context / high_freq_factor {
                1.0
            } else if f64::from(wavelength) > context / low_freq_factor {
                factor as f32
            } else {
                let smooth = (context as f32 / wavelength - low_freq_factor as f32)
                    / (high_freq_factor - low_freq_factor) as f32;
                1.0 / ((1.0 - smooth) / factor as f32 + smooth)
            }
        });
        Ok(Some(factors.collect()))
    }
}
