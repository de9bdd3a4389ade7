//! `quantize` by hand: what the options ask for, as wishes of the quantizer.
//! Knows options and formats; must not open a model.

use super::precisions::Precisions;
use crate::args::{ByHand, ModelFormat};
use anyhow::{Context, Result, bail};
use llama_pajamas::formats::gguf::GgmlType;
use llama_pajamas::quantizer::mlx;
use llama_pajamas::quantizer::recipe::{Overrides, parse_type};

/// Bits of an embedding, as a type of GGUF and as a grid of MLX.
const EMBEDDINGS: [(u32, GgmlType); 6] = [
    (2, GgmlType::Q2_K),
    (3, GgmlType::Q3_K),
    (4, GgmlType::Q4_K),
    (5, GgmlType::Q5_K),
    (6, GgmlType::Q6_K),
    (8, GgmlType::Q8_0),
];

/// Wishes for types of GGUF.
pub(crate) fn overrides(by_hand: &ByHand, copy: bool, formats: &[ModelFormat]) -> Result<Overrides> {
    let asked = |name: &Option<String>| -> Result<Option<GgmlType>> {
        Ok(name.as_deref().map(parse_type).transpose()?)
    };
    let embedding = embedding(by_hand, formats)?.map(|(_, ty)| ty);
    let mut overrides = Overrides {
        copy,
        pure: by_hand.pure,
        keep_mxfp4: by_hand.keep_mxfp4,
        leave_output_tensor: by_hand.leave_output_tensor,
        token_embedding: asked(&by_hand.token_embedding_type)?.or(embedding),
        output: asked(&by_hand.output_tensor_type)?.or(embedding),
        ..Overrides::default()
    };
    for wish in &by_hand.tensor_type {
        overrides.add_by_name(wish)?;
    }
    Ok(overrides)
}

/// Wishes for grids of MLX; groups are changed in `precisions`.
pub(crate) fn grids(
    by_hand: &ByHand,
    formats: &[ModelFormat],
    precisions: &mut Precisions,
) -> Result<mlx::Wishes> {
    if let Some(group) = by_hand.group_size {
        if !formats.contains(&ModelFormat::Mlx) {
            bail!("--group-size: expected mlx among --formats, whose grids have a choice of groups");
        }
        for recipe in &mut precisions.mlx {
            let groups = mlx::AFFINE_GROUPS.map(|group| group.to_string()).join(", ");
            *recipe = recipe.with_group(group).with_context(|| {
                format!(
                    "--group-size: expected {groups} and a grid that has them, got {group} for {}",
                    recipe.name()
                )
            })?;
        }
    }
    Ok(mlx::Wishes { embedding_bits: embedding(by_hand, formats)?.map(|(bits, _)| bits) })
}

fn embedding(by_hand: &ByHand, formats: &[ModelFormat]) -> Result<Option<(u32, GgmlType)>> {
    let Some(bits) = by_hand.embedding_bits else { return Ok(None) };
    if formats.contains(&ModelFormat::Onnx) {
        bail!("--embedding-bits: expected gguf or mlx as formats, got onnx, whose graphs have one precision");
    }
    let found = EMBEDDINGS.into_iter().find(|(known, _)| *known == bits);
    found.map(Some).with_context(|| format!("--embedding-bits: expected 2, 3, 4, 5, 6 or 8, got {bits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_hand() -> ByHand {
        ByHand {
            pure: false,
            leave_output_tensor: false,
            token_embedding_type: None,
            output_tensor_type: None,
            embedding_bits: None,
            tensor_type: Vec::new(),
            group_size: None,
            keep_mxfp4: false,
            pad: false,
            prune_layers: Vec::new(),
            override_kv: Vec::new(),
        }
    }

    #[test]
    fn bits_of_an_embedding_are_types_and_grids() {
        let asked = ByHand { embedding_bits: Some(6), ..by_hand() };
        let overrides = overrides(&asked, false, &[ModelFormat::Gguf]).unwrap();
        assert_eq!([overrides.token_embedding, overrides.output], [Some(GgmlType::Q6_K); 2]);
        let mut precisions = Precisions::default();
        let wishes = grids(&asked, &[ModelFormat::Mlx], &mut precisions).unwrap();
        assert_eq!(wishes.embedding_bits, Some(6));
        let refused = |bits, format| {
            let asked = ByHand { embedding_bits: Some(bits), ..by_hand() };
            grids(&asked, &[format], &mut Precisions::default()).unwrap_err().to_string()
        };
        assert_eq!(refused(7, ModelFormat::Gguf), "--embedding-bits: expected 2, 3, 4, 5, 6 or 8, got 7");
        assert!(refused(8, ModelFormat::Onnx).contains("got onnx"));
    }

    #[test]
    fn groups_are_for_grids_that_have_a_choice() {
        let asked = |group| ByHand { group_size: Some(group), ..by_hand() };
        let of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
            Precisions::of(&names, &[ModelFormat::Mlx]).unwrap()
        };
        let mut precisions = of(&["4bit", "3bit-mixed"]);
        grids(&asked(32), &[ModelFormat::Mlx], &mut precisions).unwrap();
        let names: Vec<String> = precisions.mlx.iter().map(|recipe| recipe.name()).collect();
        assert_eq!(names, ["4bit-g32", "3bit-g32-mixed"]);
        let refused = grids(&asked(48), &[ModelFormat::Mlx], &mut of(&["4bit"])).unwrap_err().to_string();
        assert_eq!(refused, "--group-size: expected 32, 64, 128 and a grid that has them, got 48 for 4bit");
        assert!(grids(&asked(64), &[ModelFormat::Gguf], &mut Precisions::default()).is_err());
    }
}
