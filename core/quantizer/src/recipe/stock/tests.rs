//! Expected types are worked out by hand from `src/llama-quant.cpp`; the outside comparison of whole files is in
//! `tests/tests/interop_quantize.rs`.

use super::*;
use crate::recipe::order;
use formats::gguf::{Metadata, Value};

/// A model as the rules see it: `general.architecture`, layers, query heads, key-value heads, experts.
#[derive(Clone, Copy)]
struct Model(&'static str, usize, u32, u32, u32);

const DENSE: Model = Model("qwen3", 8, 4, 2, 0);
const GROUPED: Model = Model("llama", 8, 32, 8, 0);
const EIGHT_EXPERTS: Model = Model("llama", 8, 32, 8, 8);
const MANY_EXPERTS: Model = Model("qwen3moe", 8, 4, 2, 16);
const LLAMA_70B: Model = Model("llama", 80, 64, 8, 0);
const FALCON: Model = Model("falcon", 16, 8, 8, 0);

impl Model {
    fn shape(self, has_imatrix: bool) -> Shape {
        let Self(architecture, n_layers, heads, kv_heads, experts) = self;
        let mut metadata =
            Metadata::from_iter([("general.architecture", Value::String(architecture.into()))]);
        let numbers = [
            ("block_count", n_layers as u32),
            ("attention.head_count", heads),
            ("attention.head_count_kv", kv_heads),
            ("expert_count", experts),
        ];
        for (key, number) in numbers {
            metadata.insert(format!("{architecture}.{key}"), Value::U32(number));
        }
        Shape::of(&metadata, has_imatrix)
    }

    /// Every tensor of such a model with an output of its own, in order.
    fn tensors(self) -> Vec<(String, Vec<u64>)> {
        let Self(architecture, n_layers, .., experts) = self;
        let matrix = vec![256, 256];
        let mut tensors: Vec<_> =
            ["output.weight", "token_embd.weight"].map(|name| (name.to_string(), matrix.clone())).into();
        tensors.push(("output_norm.weight".into(), vec![256]));
        for layer in 0..n_layers {
            let attention: &[&str] = match architecture {
                "falcon" => &["attn_qkv", "attn_output"],
                _ => &["attn_q", "attn_k", "attn_v", "attn_output"],
            };
            for name in attention {
                tensors.push((format!("blk.{layer}.{name}.weight"), matrix.clone()));
            }
            for name in ["ffn_gate", "ffn_up", "ffn_down"] {
                tensors.push(match experts {
                    0 => (format!("blk.{layer}.{name}.weight"), matrix.clone()),
                    n => (format!("blk.{layer}.{name}_exps.weight"), vec![256, 256, n.into()]),
                });
            }
        }
        tensors.sort_by(|a, b| order(&a.0).cmp(&order(&b.0)));
        tensors
    }
}

/// Choices of the stock recipe for every tensor of `model`.
fn choices(model: Model, file_type: FileType, imatrix: bool, wishes: &Overrides) -> Vec<(String, Choice)> {
    let tensors = model.tensors();
    let rows: Vec<(&str, &[u64], T)> =
        tensors.iter().map(|(name, dims)| (&name[..], &dims[..], BF16)).collect();
    let chosen = stock(&rows, file_type, model.shape(imatrix), wishes);
    tensors.iter().map(|(name, _)| name.clone()).zip(chosen).collect()
}

/// The types of the tensors whose name contains `part` are `usual`, but for those of the layers in `other`.
#[track_caller]
fn check(model: Model, file_type: FileType, imatrix: bool, part: &str, usual: T, other: &[(&[i64], T)]) {
    let mut seen = 0;
    for (name, choice) in choices(model, file_type, imatrix, &Overrides::default()) {
        if !name.contains(part) {
            continue;
        }
        seen += 1;
        let layer = order(&name).0;
        let expected = other.iter().find(|(layers, _)| layers.contains(&layer)).map_or(usual, |(_, ty)| *ty);
        assert_eq!(choice.ty, expected, "{} {name}", file_type.name());
    }
    assert!(seen > 0, "no tensor is called {part}");
}

/// Rows: model, file type, imatrix, part of the name, usual type, layers of other types.
type Row<'a> = (Model, FileType, bool, &'a str, T, &'a [(&'a [i64], T)]);

#[track_caller]
fn check_all(rows: &[Row<'_>]) {
    for (model, file_type, imatrix, part, usual, other) in rows {
        check(*model, *file_type, *imatrix, part, *usual, other);
    }
}

/// First, last and every third of eight layers.
const MORE: &[i64] = &[0, 3, 6, 7];

#[test]
fn k_mixtures_of_dense_models() {
    use FileType as F;
    check_all(&[
        (DENSE, F::Q4_K_M, false, "output.weight", Q4_K, &[(&[-1], Q6_K)]), // of layers: the attention's
        (DENSE, F::Q4_K_M, false, "token_embd", Q4_K, &[]),
        (DENSE, F::Q4_K_M, false, "attn_v", Q4_K, &[(MORE, Q6_K)]),
        (DENSE, F::Q4_K_M, true, "ffn_down", Q4_K, &[(MORE, Q6_K)]),
        (DENSE, F::Q4_K_M, false, "ffn_up", Q4_K, &[]),
        (DENSE, F::Q4_K_M, false, "attn_k", Q4_K, &[]),
        (DENSE, F::Q5_K_M, false, "attn_v", Q5_K, &[(MORE, Q6_K)]),
        (DENSE, F::Q5_K_M, false, "ffn_down", Q5_K, &[(MORE, Q6_K)]),
        (DENSE, F::Q5_K_S, false, "blk", Q5_K, &[]),
        (DENSE, F::Q4_K_S, false, "attn_v", Q4_K, &[(&[0, 1, 2, 3], Q5_K)]),
        (DENSE, F::Q4_K_S, false, "ffn_down", Q4_K, &[(&[0], Q5_K)]),
        (DENSE, F::Q3_K_M, false, "attn_v", Q4_K, &[(&[0, 1], Q5_K)]),
        (DENSE, F::Q3_K_M, false, "ffn_down", Q4_K, &[]), // a sixteenth of eight layers is none
        (DENSE, F::Q3_K_M, false, "attn_output", Q4_K, &[]),
        (DENSE, F::Q3_K_M, false, "attn_q", Q3_K, &[]),
        (DENSE, F::Q3_K_L, false, "attn_v", Q5_K, &[]),
        (DENSE, F::Q3_K_L, false, "ffn_down", Q5_K, &[]),
        (DENSE, F::Q3_K_L, false, "attn_output", Q5_K, &[]),
        (DENSE, F::Q3_K_S, false, "blk", Q3_K, &[]),
        (DENSE, F::Q2_K, false, "attn_v", Q3_K, &[]),
        (GROUPED, F::Q2_K, false, "attn_v", Q4_K, &[]),
        (DENSE, F::Q2_K, false, "ffn_down", Q3_K, &[]),
        (DENSE, F::Q2_K, false, "attn_output", Q3_K, &[]),
        (DENSE, F::Q2_K, false, "ffn_gate", Q2_K, &[]),
        (DENSE, F::Q2_K_S, true, "attn_v", Q2_K, &[]),
        (GROUPED, F::Q2_K_S, true, "attn_v", Q4_K, &[]),
        (DENSE, F::Q2_K_S, true, "ffn_down", Q2_K, &[(&[0], Q4_K)]),
        (DENSE, F::Q6_K, false, "blk", Q6_K, &[]),
        (DENSE, F::Q8_0, false, "output.weight", Q8_0, &[]),
        (DENSE, F::Q4_0, false, "ffn_down", Q4_0, &[]),
        (DENSE, F::Q4_0, true, "ffn_down", Q4_0, &[(&[0], Q4_1)]),
        (DENSE, F::Q5_0, true, "ffn_down", Q5_0, &[(&[0], Q5_1)]),
        (DENSE, F::Q4_1, true, "ffn_down", Q4_1, &[]),
    ]);
}

#[test]
fn lattice_mixtures_of_dense_models() {
    use FileType as F;
    check_all(&[
        (GROUPED, F::IQ4_XS, true, "attn_v", Q5_K, &[]),
        (DENSE, F::IQ4_XS, true, "attn_v", IQ4_XS, &[]),
        (DENSE, F::IQ4_XS, false, "ffn_down", IQ4_XS, &[(&[0], Q5_K)]),
        (DENSE, F::IQ4_XS, true, "ffn_down", IQ4_XS, &[]),
        (DENSE, F::IQ4_NL, false, "ffn_down", IQ4_NL, &[(&[0], Q5_K)]),
        (DENSE, F::IQ3_M, true, "attn_v", Q4_K, &[]),
        (DENSE, F::IQ3_M, true, "ffn_down", IQ3_S, &[(&[0], Q4_K)]),
        (DENSE, F::IQ3_M, true, "attn_output", Q4_K, &[]),
        (GROUPED, F::IQ3_S, true, "attn_v", Q4_K, &[]),
        (DENSE, F::IQ3_S, true, "blk", IQ3_S, &[]),
        (DENSE, F::IQ3_XS, true, "attn_q", IQ3_XXS, &[]),
        (DENSE, F::IQ3_XS, true, "attn_k", IQ3_XXS, &[]),
        (DENSE, F::IQ3_XS, true, "ffn_gate", IQ3_XXS, &[(&[0, 7], IQ3_S)]),
        (DENSE, F::IQ3_XS, true, "ffn_up", IQ3_XXS, &[(&[0, 7], IQ3_S)]),
        (DENSE, F::IQ3_XS, true, "ffn_down", IQ3_S, &[]),
        (DENSE, F::IQ3_XXS, true, "token_embd", IQ3_S, &[]),
        (DENSE, F::IQ3_XXS, true, "output.weight", IQ3_S, &[(&[-1], Q5_K)]),
        (DENSE, F::IQ3_XXS, true, "attn_v", IQ3_XXS, &[]),
        (DENSE, F::IQ3_XXS, false, "attn_v", IQ3_S, &[]),
        (GROUPED, F::IQ3_XXS, false, "attn_v", Q4_K, &[]),
        (DENSE, F::IQ3_XXS, true, "attn_k", IQ2_S, &[]),
        (DENSE, F::IQ3_XXS, true, "attn_q", IQ2_S, &[]),
        (DENSE, F::IQ3_XXS, false, "ffn_down", Q3_K, &[(&[0], Q4_K)]),
        (DENSE, F::IQ3_XXS, true, "ffn_down", IQ3_XXS, &[]),
        (DENSE, F::IQ2_M, true, "attn_v", IQ3_S, &[]),
        (GROUPED, F::IQ2_M, true, "attn_v", Q4_K, &[]),
        (DENSE, F::IQ2_M, true, "ffn_down", IQ2_S, &[(&[0], IQ3_S)]),
        (DENSE, F::IQ2_M, true, "attn_output", IQ3_S, &[]),
        (DENSE, F::IQ2_S, true, "token_embd", IQ3_S, &[]),
        (DENSE, F::IQ2_S, true, "attn_q", IQ2_XS, &[]),
        (DENSE, F::IQ2_XS, true, "attn_v", Q2_K, &[]),
        (DENSE, F::IQ2_XS, true, "ffn_down", IQ2_XS, &[(&[0], Q2_K)]),
        (DENSE, F::IQ2_XS, true, "output.weight", IQ2_XS, &[(&[-1], Q5_K)]),
        (DENSE, F::IQ2_XXS, true, "token_embd", Q2_K, &[]),
        (DENSE, F::IQ1_S, true, "attn_output", IQ2_XXS, &[]),
        (DENSE, F::IQ1_M, true, "ffn_down", IQ1_M, &[(&[0], Q2_K)]),
        (DENSE, F::TQ1_0, false, "token_embd", Q4_K, &[]),
        (DENSE, F::TQ2_0, false, "output.weight", TQ2_0, &[(&[-1], Q6_K)]),
        (DENSE, F::Q2_0, false, "blk", Q2_0, &[]),
        (DENSE, F::Q1_0, false, "token_embd", Q1_0, &[]),
    ]);
}

#[test]
fn mixtures_of_experts() {
    use FileType as F;
    check_all(&[
        (EIGHT_EXPERTS, F::Q4_K_M, false, "attn_v", Q8_0, &[]),
        (EIGHT_EXPERTS, F::Q4_K_M, false, "attn_k", Q8_0, &[]),
        (EIGHT_EXPERTS, F::Q4_K_M, false, "attn_output", Q5_K, &[]),
        (EIGHT_EXPERTS, F::Q5_K_M, false, "attn_output", Q5_K, &[]),
        (EIGHT_EXPERTS, F::Q6_K, false, "attn_output", Q6_K, &[]),
        (EIGHT_EXPERTS, F::Q4_K_M, false, "ffn_down_exps", Q4_K, &[(MORE, Q6_K)]),
        (EIGHT_EXPERTS, F::IQ3_M, true, "ffn_down_exps", IQ3_S, &[(MORE, Q4_K)]),
        (EIGHT_EXPERTS, F::IQ3_XS, true, "attn_k", Q8_0, &[]),
        (EIGHT_EXPERTS, F::IQ2_XXS, true, "attn_k", Q4_K, &[]),
        (EIGHT_EXPERTS, F::IQ2_XXS, true, "attn_v", Q4_K, &[]),
        (EIGHT_EXPERTS, F::IQ1_S, true, "attn_output", Q5_K, &[]),
        (MANY_EXPERTS, F::Q4_K_M, false, "attn_v", Q4_K, &[(MORE, Q6_K)]),
        (MANY_EXPERTS, F::Q4_K_M, false, "attn_k", Q4_K, &[]),
        (MANY_EXPERTS, F::Q2_K, false, "attn_v", Q3_K, &[]),
        (MANY_EXPERTS, F::IQ2_XS, true, "attn_v", Q4_K, &[]),
        (MANY_EXPERTS, F::IQ2_XS, true, "ffn_down_exps", IQ2_XS, &[(&[0], Q2_K)]),
        (MANY_EXPERTS, F::MXFP4_MOE, false, "_exps", MXFP4, &[]),
        (MANY_EXPERTS, F::MXFP4_MOE, false, "attn", Q8_0, &[]),
        (MANY_EXPERTS, F::MXFP4_MOE, false, "output.weight", Q8_0, &[]),
        (MANY_EXPERTS, F::MXFP4_MOE, false, "token_embd", Q8_0, &[]),
        (DENSE, F::MXFP4_MOE, false, "blk", Q8_0, &[]),
    ]);
}

#[test]
fn experts_are_counted_by_the_layer_in_their_name() {
    // Layers 0 and 1 have no experts: counting down projections would make layer 3 the second.
    let names = [2, 3, 4].map(|layer| format!("blk.{layer}.ffn_down_exps.weight"));
    let tensors = names.each_ref().map(|name| (&name[..], &[256, 256, 16][..], BF16));
    let chosen = stock(&tensors, FileType::Q4_K_M, MANY_EXPERTS.shape(false), &Overrides::default());
    assert_eq!([chosen[0].ty, chosen[1].ty, chosen[2].ty], [Q4_K, Q6_K, Q4_K]);
}

#[test]
fn the_values_of_a_70b_model_are_small() {
    use FileType as F;
    let thirds: Vec<i64> = (0..80).filter(|i| !(10..70).contains(i) || (i - 10) % 3 == 2).collect();
    check_all(&[
        (LLAMA_70B, F::Q4_K_M, false, "attn_v", Q5_K, &[(&thirds, Q6_K)]),
        (LLAMA_70B, F::Q3_K_S, false, "attn_v", Q5_K, &[]),
        (LLAMA_70B, F::Q2_K, false, "attn_v", Q5_K, &[]),
        (LLAMA_70B, F::IQ3_M, true, "attn_v", Q5_K, &[]),
        (LLAMA_70B, F::IQ2_M, true, "attn_v", Q4_K, &[]), // the two-bit mixture knows no 70B
        (LLAMA_70B, F::Q3_K_S, false, "attn_k", Q3_K, &[]),
        (Model("llama", 80, 64, 64, 0), F::Q3_K_S, false, "attn_v", Q3_K, &[]),
        (Model("qwen2", 80, 64, 64, 0), F::Q3_K_S, false, "attn_v", Q5_K, &[]),
        (Model("qwen3", 80, 64, 8, 0), F::Q3_K_S, false, "attn_v", Q3_K, &[]),
        (Model("jais2", 68, 64, 8, 0), F::Q4_K_S, false, "attn_v", Q5_K, &[]),
    ]);
}

#[test]
fn falcon_takes_small_steps() {
    use FileType as F;
    check_all(&[
        (FALCON, F::Q4_K_M, false, "ffn_down", Q4_K, &[(&[0], Q6_K), (&[1, 4, 7, 10, 13, 14, 15], Q5_K)]),
        (FALCON, F::Q3_K_M, false, "ffn_down", Q3_K, &[(&[0], Q5_K), (&[1, 4, 7, 10, 13, 14, 15], Q4_K)]),
        (FALCON, F::Q3_K_L, false, "ffn_down", Q4_K, &[]),
        (FALCON, F::Q4_K_S, false, "ffn_down", Q4_K, &[]),
        (FALCON, F::Q2_K, false, "ffn_down", Q3_K, &[]),
        (FALCON, F::Q4_K_M, false, "attn_qkv", Q4_K, &[(&[0, 1, 4, 7, 10, 13, 14, 15], Q6_K)]),
        (FALCON, F::Q3_K_M, false, "attn_output", Q3_K, &[]),
        (FALCON, F::Q3_K_L, false, "attn_output", Q4_K, &[]),
        (FALCON, F::Q4_K_M, false, "output.weight", Q4_K, &[(&[-1], Q8_0)]),
        // The same layers of another architecture.
        (Model("mpt", 16, 8, 8, 0), F::Q3_K_M, false, "ffn_down", Q4_K, &[(&[0], Q5_K)]),
    ]);
}

#[test]
fn some_architectures_keep_some_tensors() {
    let of = |architecture: &'static str, name: &str, dims: &[u64], file_type: FileType| {
        let shape = Model(architecture, 8, 4, 4, 16).shape(false);
        stock(&[(name, dims, BF16)], file_type, shape, &Overrides::default())[0].ty
    };
    for (architecture, name, dims, file_type, expected) in [
        ("glm5-next", "blk.0.hc_attn.weight", &[256, 256][..], FileType::Q4_K_S, BF16),
        ("qwen3", "blk.0.hc_attn.weight", &[256, 256], FileType::Q4_K_S, Q4_K),
        ("glm5-next", "blk.0.attn_q_b.weight", &[256, 256], FileType::Q4_K_S, Q8_0),
        ("deepseek2", "blk.0.attn_q_b.weight", &[256, 256], FileType::Q4_K_S, Q4_K),
        ("deepseek2", "blk.0.attn_k_b.weight", &[256, 256, 16], FileType::MXFP4_MOE, MXFP4),
        ("bailingmoe3", "blk.0.attn_k_b.weight", &[256, 256, 16], FileType::MXFP4_MOE, Q8_0),
        ("bailingmoe3", "blk.0.ffn_up_exps.weight", &[256, 256, 16], FileType::MXFP4_MOE, MXFP4),
    ] {
        assert_eq!(of(architecture, name, dims, file_type), expected, "{architecture} {name}");
    }
}

#[test]
fn a_tied_embedding_is_also_the_output() {
    let dims: &[u64] = &[256, 256];
    let chosen = |file_type, wishes: &Overrides| {
        stock(&[("token_embd.weight", dims, BF16)], file_type, DENSE.shape(true), wishes)[0].ty
    };
    let none = Overrides::default();
    assert_eq!(chosen(FileType::Q4_K_M, &none), Q6_K);
    assert_eq!(chosen(FileType::IQ2_XS, &none), Q5_K);
    assert_eq!(chosen(FileType::Q8_0, &none), Q8_0);
    assert_eq!(chosen(FileType::Q4_K_M, &Overrides { output: Some(Q5_1), ..Overrides::default() }), Q5_1);
    assert_eq!(chosen(FileType::Q4_K_M, &Overrides { pure: true, ..Overrides::default() }), Q4_K);
}

#[test]
fn rows_that_do_not_divide_get_smaller_blocks() {
    let chosen = |columns: u64, file_type| {
        let dims = [columns, 4];
        stock(&[("blk.1.ffn_up.weight", &dims, F32)], file_type, DENSE.shape(true), &Overrides::default())[0]
    };
    use FileType as F;
    for (file_type, wished, smaller) in [
        (F::Q2_K, Q2_K, Q4_0),
        (F::Q3_K_S, Q3_K, Q4_0),
        (F::Q4_K_S, Q4_K, Q5_0),
        (F::Q5_K_S, Q5_K, Q5_1),
        (F::Q6_K, Q6_K, Q8_0),
        (F::IQ4_XS, IQ4_XS, IQ4_NL),
        (F::IQ2_XXS, IQ2_XXS, IQ4_NL),
        (F::IQ1_M, IQ1_M, IQ4_NL),
        (F::TQ1_0, TQ1_0, Q4_0),
        (F::Q2_0, Q2_0, Q4_0),
        (F::Q1_0, Q1_0, F16), // llama-quantize gives up here
    ] {
        let choice = |ty, instead_of| (ty, instead_of);
        let of = |columns| {
            let chosen = chosen(columns, file_type);
            (chosen.ty, chosen.instead_of)
        };
        assert_eq!(of(512), choice(wished, None), "{}", file_type.name());
        assert_eq!(of(96), choice(smaller, Some(wished)), "{}", file_type.name());
        assert_eq!(of(100), choice(F16, Some(wished)), "{}", file_type.name());
    }
    assert_eq!((chosen(96, F::Q4_0).ty, chosen(100, F::Q4_0).ty), (Q4_0, F16));
    assert_eq!(chosen(100, F::BF16).ty, BF16);
}

#[test]
fn wishes_come_before_rules_and_shapes_before_wishes() {
    let mut wishes = Overrides { token_embedding: Some(Q8_0), ..Overrides::default() };
    wishes.add_by_name("ffn_up=Q6_K").unwrap();
    wishes.add_by_name("ffn_.*=Q5_K").unwrap(); // the first match counts
    assert!(wishes.add_by_name("(=Q6_K").is_err());
    assert!(wishes.add_by_name("x=Q8_K").is_err());
    assert!(wishes.add_by_name("Q8_0").is_err());
    let tensors: [(&str, &[u64], T); 6] = [
        ("per_layer_token_embd.weight", &[256, 8], F16),
        ("token_embd.weight", &[256, 8], F16),
        ("blk.0.attn_norm.weight", &[256], F32),
        ("blk.0.ffn_down.weight", &[256, 8], F16),
        ("blk.0.ffn_gate_inp.weight", &[256, 8], F32),
        ("blk.0.ffn_up.weight", &[96, 8], F16),
    ];
    let types = |wishes: &Overrides, file_type| -> Vec<T> {
        stock(&tensors, file_type, DENSE.shape(false), wishes).into_iter().map(|choice| choice.ty).collect()
    };
    assert_eq!(types(&wishes, FileType::Q4_K_M), [Q8_0, Q8_0, F32, Q5_K, F32, Q8_0]);
    // Types by name are for file types of blocks, those of embedding and output for all.
    assert_eq!(types(&wishes, FileType::BF16), [Q8_0, Q8_0, F32, BF16, F32, BF16]);
    // The second table of embeddings may be singled out, the first may not.
    wishes.add_by_name("token_embd=Q5_0").unwrap();
    assert_eq!(types(&wishes, FileType::Q4_K_M)[..2], [Q5_0, Q8_0]);
    let copy = Overrides { copy: true, ..wishes.clone() };
    assert_eq!(types(&copy, FileType::Q4_K_M), [F16, F16, F32, F16, F32, F16]);
}

#[test]
fn an_output_left_alone_keeps_its_type() {
    let wishes = Overrides { leave_output_tensor: true, output: Some(Q8_0), ..Overrides::default() };
    let chosen = choices(DENSE, FileType::Q4_K_M, false, &wishes);
    let of = |wanted: &str| chosen.iter().find(|(name, _)| name == wanted).unwrap().1.ty;
    assert_eq!((of("output.weight"), of("token_embd.weight")), (BF16, Q4_K), "the embedding is not tied");
}

#[test]
fn some_types_are_garbage_without_an_importance_matrix() {
    for (name, ty, file_type, expected) in [
        ("blk.0.ffn_up.weight", IQ2_XS, FileType::IQ2_XS, true),
        ("blk.0.ffn_up.weight", IQ3_XXS, FileType::IQ3_XS, true),
        ("blk.0.ffn_up.weight", IQ3_S, FileType::IQ3_S, false),
        ("blk.0.ffn_up.weight", Q2_K, FileType::Q2_K_S, true),
        ("blk.0.ffn_up.weight", Q2_K, FileType::Q2_K, false),
        ("token_embd.weight", IQ2_XS, FileType::IQ2_XS, false),
    ] {
        assert_eq!(requires_imatrix(name, ty, file_type.into()), expected, "{name} {ty}");
    }
}

proptest::proptest! {
    #[test]
    fn every_choice_fits_its_rows(columns in 1u64..2000, file_type in 0..FileType::ALL.len(), layer in 0usize..6) {
        let names = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_gate", "ffn_down", "other"];
        let names: Vec<String> = names.iter().map(|name| format!("blk.{layer}.{name}.weight")).collect();
        let dims = [columns, 4];
        let tensors: Vec<(&str, &[u64], T)> = names.iter().map(|name| (name.as_str(), &dims[..], F32)).collect();
        for choice in stock(&tensors, FileType::ALL[file_type], DENSE.shape(false), &Overrides::default()) {
            proptest::prop_assert!(choice.ty.row_bytes(columns).is_some(), "{} for {columns}", choice.ty);
        }
    }
}
