//! ONNX Runtime's own operators, which its processor and CUDA code computes fastest.
//! Source: docs/ContribOperators.md of ONNX Runtime.

use super::graph::{Part, Weight, runtime, standard};
use super::network::Builder;
use super::recipe::Products;
use super::rotary::{Table, interleaved};
use super::stored::{BLOCK, Form, bits_of};
use super::{MASK, TOKENS, past, present};
use crate::Result;
use families::{Attention, Reach};
use formats::onnx::{AttributeProto, DataType, attribute};

/// How precisely products with codes are computed: by 8-bit codes of what goes in, as ggml does it.
const BY_CODES: i64 = 4;
const SEEN: &str = "tokens_before";
const TOTAL: &str = "tokens_in_all";

/// Lengths, as attention wants them.
pub(super) fn prepare(builder: &mut Builder<'_>) -> Result<()> {
    let graph = &mut builder.graph;
    let first = graph.integers("first", &[1])?;
    let sum =
        graph.add(standard("ReduceSum"), &[MASK, &first], "mask/sum", vec![attribute::int("keepdims", 0)]);
    let before = graph.plain("Sub", &[&sum, &first], "mask/before");
    graph.cast(&before, DataType::Int32, SEEN);
    let shape = graph.plain("Shape", &[MASK], "mask/shape");
    let one = graph.integer("one", 1)?;
    let width = graph.add(standard("Gather"), &[&shape, &one], "mask/width", vec![attribute::int("axis", 0)]);
    graph.cast(&width, DataType::Int32, TOTAL);
    Ok(())
}

impl Builder<'_> {
    /// A tensor of floats in those that the graph computes in; its shape, slowest first, where none is given.
    pub(super) fn floats(&mut self, name: &str, dims: &[u64]) -> Result<String> {
        self.floats_of(name, dims, self.float)
    }

    /// The same in floats of `ty`.
    pub(super) fn floats_of(&mut self, name: &str, dims: &[u64], ty: DataType) -> Result<String> {
        let index = self.need(name)?;
        let stored = self.stores.of(self.job, &[index], Form::Floats(ty));
        let own: Vec<u64> = self.job.tensors[index].dims.iter().rev().copied().collect();
        let dims = if dims.is_empty() { own } else { dims.to_vec() };
        Ok(self.graph.weight(Weight { name: name.into(), ty, dims, stored, part: Part::Values }))
    }

    /// Codes and scales of stacked or single matrices, whose rows may alternate, in these shapes of codes.
    fn codes(
        &mut self,
        (name, tensors): (&str, &[usize]),
        bits: u8,
        dims: &[u64],
        scale_dims: &[u64],
    ) -> (String, String) {
        let form = Form::Codes { bits, scales: self.float, signed: false };
        let stored = self.stores.of(self.job, tensors, form);
        let of =
            |part, ty, name: String, dims: &[u64]| Weight { name, ty, dims: dims.to_vec(), stored, part };
        let values = of(Part::Values, DataType::Uint8, name.into(), dims);
        let scales = of(Part::Scales, self.float, format!("{name}.scales"), scale_dims);
        (self.graph.weight(values), self.graph.weight(scales))
    }
}

/// Rows of the embedding by token.
pub(super) fn embed(builder: &mut Builder<'_>, weight: &str, name: &str) -> Result<String> {
    let index = builder.need(weight)?;
    let tensor = &builder.job.tensors[index];
    let (columns, rows) = (tensor.dims[0], tensor.dims[1]);
    let Some(bits) = bits_of(tensor.to) else {
        let table = builder.floats(weight, &[])?;
        return Ok(builder.graph.plain("Gather", &[&table, TOKENS], name));
    };
    // The same bytes as the output's, where that shares them, in the shape that this operator takes.
    let bytes = columns / 8 * u64::from(bits);
    let form = Form::Codes { bits, scales: builder.float, signed: false };
    let stored = builder.stores.of(builder.job, &[index], form);
    let float = builder.float;
    let of = |part, ty, end: &str, dims: [u64; 2]| Weight {
        name: format!("{weight}.{end}"),
        ty,
        dims: dims.to_vec(),
        stored,
        part,
    };
    let values = builder.graph.weight(of(Part::Values, DataType::Uint8, "rows", [rows, bytes]));
    let scales = builder.graph.weight(of(Part::Scales, float, "rows.scales", [rows, columns / BLOCK]));
    let settings =
        [("bits", i64::from(bits)), ("block_size", BLOCK as i64), ("gather_axis", 0), ("quantize_axis", 1)];
    Ok(builder.graph.add(
        runtime("GatherBlockQuantized"),
        &[&values, TOKENS, &scales],
        name,
        settings.map(|(name, value)| attribute::int(name, value)).to_vec(),
    ))
}

/// The root mean square norm.
pub(super) fn norm(builder: &mut Builder<'_>, weight: &str, x: &str, name: &str) -> Result<String> {
    let scale = builder.floats(weight, &[])?;
    let settings = vec![
        attribute::float("epsilon", builder.epsilon),
        attribute::int("axis", -1),
        attribute::int("stash_type", 1),
    ];
    Ok(builder.graph.add(standard("SimplifiedLayerNormalization"), &[x, &scale], name, settings))
}

/// A product with a matrix.
pub(super) fn product(builder: &mut Builder<'_>, weight: &str, x: &str, name: &str) -> Result<String> {
    let index = builder.need(weight)?;
    let tensor = &builder.job.tensors[index];
    let (columns, rows) = (tensor.dims[0], tensor.dims[1]);
    let Some(bits) = bits_of(tensor.to) else {
        let matrix = builder.floats(weight, &[])?;
        return Ok(by_rows(builder, &matrix, x, name));
    };
    let blocks = columns / BLOCK;
    let dims = [rows, blocks, BLOCK / 8 * u64::from(bits)];
    let (values, scales) = builder.codes((weight, &[index]), bits, &dims, &[rows, blocks]);
    let mut settings = vec![
        attribute::int("K", columns as i64),
        attribute::int("N", rows as i64),
        attribute::int("bits", bits.into()),
        attribute::int("block_size", BLOCK as i64),
    ];
    if builder.recipe.products == Products::Codes {
        settings.push(attribute::int("accuracy_level", BY_CODES));
    }
    Ok(builder.graph.add(runtime("MatMulNBits"), &[x, &values, &scales], name, settings))
}

/// A product with a matrix of floats that lies row by row.
fn by_rows(builder: &mut Builder<'_>, matrix: &str, x: &str, name: &str) -> String {
    builder.graph.add(runtime("FusedMatMul"), &[x, matrix], name, vec![attribute::int("transB", 1)])
}

/// Attention over what is cached and what is new, which goes into the cache.
pub(super) fn attend(
    builder: &mut Builder<'_>,
    layer: usize,
    attention: &Attention,
    scale: f32,
    table: &Table,
    [q, k, v]: [&str; 3],
) -> Result<String> {
    let mut settings = vec![
        attribute::int("num_heads", attention.n_heads.into()),
        attribute::int("kv_num_heads", attention.n_kv_heads.into()),
        attribute::float("scale", scale),
        attribute::int("do_rotary", 1),
        interleaved(builder),
    ];
    if let Reach::Sliding { window } = attention.reach {
        settings.push(attribute::int("local_window_size", window as i64));
    }
    if let Some(cap) = builder.stated("attn_logit_softcapping").filter(|cap| *cap > 0.0) {
        settings.push(attribute::float("softcap", cap as f32));
    }
    let name = format!("l{layer}/seen");
    let [before_k, before_v] = ["key", "value"].map(|kind| past(layer, kind));
    let [after_k, after_v] = ["key", "value"].map(|kind| present(layer, kind));
    builder.graph.add_many(
        runtime("GroupQueryAttention"),
        &[q, k, v, &before_k, &before_v, SEEN, TOTAL, &table.cosines, &table.sines],
        &[&name, &after_k, &after_v],
        settings,
    );
    Ok(name)
}

/// Experts behind a router whose shares add up to one.
pub(super) fn experts(builder: &mut Builder<'_>, layer: usize, x: &str) -> Result<String> {
    let name = |part: &str| format!("blk.{layer}.{part}");
    let of = |part: &str| format!("l{layer}/{part}");
    let moe = builder.description.moe.ok_or_else(|| builder.unknown("experts", "their numbers"))?;
    if moe.shared_ffn_size > 0 {
        return Err(builder.unknown("experts", "none that every token uses"));
    }
    let router = builder.floats(&name("ffn_gate_inp.weight"), &[])?;
    let scores = by_rows(builder, &router, x, &of("scores"));
    let flat = builder.graph.integers("by_token", &[-1, i64::from(moe.n_experts)])?;
    let scores = builder.graph.plain("Reshape", &[&scores, &flat], &of("scores/flat"));
    let [gate, up, down] = ["ffn_gate_exps.weight", "ffn_up_exps.weight", "ffn_down_exps.weight"]
        .map(|part| builder.need(&name(part)));
    let (gate, up, down) = (gate?, up?, down?);
    let types = [gate, up, down].map(|index| bits_of(builder.job.tensors[index].to));
    let tensor = &builder.job.tensors[gate];
    let (hidden, width, n) = (tensor.dims[0], tensor.dims[1], u64::from(moe.n_experts));
    let mut settings: Vec<AttributeProto> = vec![
        attribute::int("k", moe.n_active.into()),
        attribute::text("activation_type", "swiglu"),
        // Rows of gate and up alternate.
        attribute::int("swiglu_fusion", 1),
        attribute::float("activation_alpha", 1.0),
        attribute::float("activation_beta", 0.0),
        attribute::int("normalize_routing_weights", 1),
    ];
    let (first, last) = (name("ffn_gate_up_exps.weight"), name("ffn_down_exps.weight"));
    match types {
        [Some(bits), Some(again), Some(third)] if bits == again && bits == third => {
            let bytes = |columns: u64| columns / 8 * u64::from(bits);
            let (first, first_scales) = builder.codes(
                (&first, &[gate, up]),
                bits,
                &[n, 2 * width, bytes(hidden)],
                &[n, 2 * width, hidden / BLOCK],
            );
            let (last, last_scales) = builder.codes(
                (&last, &[down]),
                bits,
                &[n, hidden, bytes(width)],
                &[n, hidden, width / BLOCK],
            );
            settings.push(attribute::int("expert_weight_bits", bits.into()));
            settings.push(attribute::int("block_size", BLOCK as i64));
            let inputs = [x, &scores, &first, &first_scales, "", &last, &last_scales];
            Ok(builder.graph.add(runtime("QMoE"), &inputs, &of("made"), settings))
        }
        [None, None, None] => {
            let float = builder.float;
            let mut stack = |name: String, tensors: &[usize], dims: [u64; 3]| {
                let stored = builder.stores.of(builder.job, tensors, Form::Floats(float));
                let dims = dims.to_vec();
                builder.graph.weight(Weight { name, ty: float, dims, stored, part: Part::Values })
            };
            let first = stack(first, &[gate, up], [n, 2 * width, hidden]);
            let last = stack(last, &[down], [n, hidden, width]);
            Ok(builder.graph.add(runtime("MoE"), &[x, &scores, &first, "", &last], &of("made"), settings))
        }
        _ => Err(builder.unknown("experts", "rows of a multiple of 32 weights, or of none")),
    }
}
