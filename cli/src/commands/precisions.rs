//! `quantize --formats --precision`: which format makes what of the names that were given.
//! Knows names alone; must not open a model.

use crate::args::ModelFormat;
use anyhow::{Result, bail};
use llama_pajamas::quantizer::{mlx, onnx, recipe::Recipe};

/// What each format makes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Precisions {
    pub(crate) gguf: Vec<Recipe>,
    pub(crate) mlx: Vec<mlx::Recipe>,
    pub(crate) onnx: Vec<onnx::Recipe>,
}

impl Precisions {
    /// Gives each of `names` to those of `formats` that know it.
    pub(crate) fn of(names: &[String], formats: &[ModelFormat]) -> Result<Self> {
        let mut precisions = Self::default();
        for name in names.iter().map(|name| name.trim()) {
            let wanted = |format| formats.contains(&format);
            let gguf = Recipe::from_name(name);
            let mlx = mlx::Recipe::from_name(name);
            precisions.gguf.extend(gguf.filter(|_| wanted(ModelFormat::Gguf)));
            let onnx = onnx::Recipe::from_name(name);
            precisions.mlx.extend(mlx.filter(|_| wanted(ModelFormat::Mlx)));
            precisions.onnx.extend(onnx.filter(|_| wanted(ModelFormat::Onnx)));
            let known = [
                (ModelFormat::Gguf, gguf.is_some()),
                (ModelFormat::Mlx, mlx.is_some()),
                (ModelFormat::Onnx, onnx.is_some()),
            ];
            let by: Vec<ModelFormat> =
                known.into_iter().filter(|(_, knows)| *knows).map(|(format, _)| format).collect();
            if !by.iter().any(|format| wanted(*format)) {
                match by.first() {
                    Some(format) => bail!(
                        "--precision: `{name}` is one of {0}, which --formats does not ask for",
                        format.name()
                    ),
                    None => bail!("--precision: `{name}` is none of {}", all_names(formats)),
                }
            }
        }
        let made = [
            (ModelFormat::Gguf, precisions.gguf.is_empty()),
            (ModelFormat::Mlx, precisions.mlx.is_empty()),
            (ModelFormat::Onnx, precisions.onnx.is_empty()),
        ];
        for (format, is_empty) in made {
            if formats.contains(&format) && is_empty && !names.is_empty() {
                let got = names.join(",");
                bail!(
                    "--precision: expected one of {} for {}, got {got}",
                    all_names(&[format]),
                    format.name()
                );
            }
        }
        Ok(precisions)
    }
}

fn all_names(formats: &[ModelFormat]) -> String {
    let names = formats.iter().map(|format| match format {
        ModelFormat::Gguf => Recipe::names().collect::<Vec<_>>().join(", "),
        ModelFormat::Mlx => mlx::Recipe::names().to_string(),
        ModelFormat::Onnx => onnx::Recipe::names().to_string(),
    });
    names.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_to_the_formats_that_know_them() {
        let of = |names: &str, formats: &[ModelFormat]| {
            let names: Vec<String> = names.split(',').map(String::from).collect();
            Precisions::of(&names, formats)
        };
        let both = [ModelFormat::Gguf, ModelFormat::Mlx];
        let made = of("Q4_K_M,4bit,balanced", &both).expect("known");
        assert_eq!((made.gguf.len(), made.mlx.len()), (2, 2));
        assert_eq!(made.mlx[0].name(), "4bit");
        let all = of("Q4_K_M,4bit,int4", &[ModelFormat::Gguf, ModelFormat::Mlx, ModelFormat::Onnx]);
        let all = all.expect("known");
        assert_eq!((all.gguf.len(), all.mlx.len(), all.onnx[0].name()), (1, 1, "int4".to_string()));
        let alone = of("balanced", &[ModelFormat::Mlx]).expect("known");
        assert_eq!((alone.gguf.len(), alone.mlx[0].name()), (0, "4bit-mixed".to_string()));
        let refused =
            |names: &str, formats: &[ModelFormat]| of(names, formats).expect_err("refused").to_string();
        assert!(refused("Q4_K_M,5bit", &[ModelFormat::Gguf]).contains("`5bit` is one of mlx"));
        assert!(refused("7bit", &[ModelFormat::Mlx]).contains("`7bit` is none of 2bit"));
        assert!(refused("Q4_K_M", &both).contains("for mlx, got Q4_K_M"));
    }
}
