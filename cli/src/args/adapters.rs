//! `--lora`: adapters that answers are computed with.
//! Owns the flag's form; must not know how adapters are applied.

use clap::Args;
use std::path::PathBuf;

/// An adapter's file and how strongly it works.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AdapterFile {
    pub(crate) path: PathBuf,
    pub(crate) scale: f32,
}

fn parse_adapter(text: &str) -> Result<AdapterFile, String> {
    // A scale is what can be read as one: paths have equal signs too.
    let scaled = text.rsplit_once('=').and_then(|(path, scale)| Some((path, scale.parse::<f32>().ok()?)));
    let (path, scale) = scaled.unwrap_or((text, 1.0));
    if path.is_empty() || !scale.is_finite() {
        return Err(format!("expected FILE or FILE=SCALE, got {text}"));
    }
    Ok(AdapterFile { path: path.into(), scale })
}

/// Adapters; shared by run, chat and serve.
#[derive(Debug, Clone, Args)]
pub(crate) struct Adapters {
    /// Answer with this adapter of the model: a GGUF file with low-rank factors or a control vector; several add up. `serve`
    /// applies it where a request's `lora` says nothing else, `=0` only where it does [default scale: 1]
    #[arg(long, visible_alias = "control-vector", value_name = "FILE[=SCALE]", value_parser = parse_adapter)]
    pub(crate) lora: Vec<AdapterFile>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_stands_behind_the_last_equal_sign() {
        for (text, path, scale) in [
            ("a.gguf", "a.gguf", 1.0),
            ("a.gguf=-0.5", "a.gguf", -0.5),
            ("x=y.gguf", "x=y.gguf", 1.0),
            ("x=1=2", "x=1", 2.0),
        ] {
            assert_eq!(parse_adapter(text), Ok(AdapterFile { path: path.into(), scale }));
        }
        for text in ["", "=1", "a=inf", "a=nan"] {
            assert!(parse_adapter(text).is_err(), "{text}");
        }
    }
}
