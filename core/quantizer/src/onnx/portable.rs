//! ONNX's own operators of set 23: root mean square norms, turning, attention, and codes that are scaled before they multiply.
//! Source: docs/Operators.md of ONNX 1.18.

use super::graph::{Part, Weight, standard};
use super::network::Builder;
use super::rotary::{Table, Turning, interleaved};
use super::stored::{BLOCK, Form, bits_of};
use super::{MASK, TOKENS, coded, past, present};
use crate::Result;
use families::{Attention, Reach};
use formats::gguf::GgmlType;
use formats::onnx::{DataType, attribute};

/// Which places each new token sees, in layers that see all.
const SEES: &str = "sees";
const POSITIONS: &str = "positions";

fn sees(window: u64) -> String {
    if window == 0 { SEES.into() } else { format!("{SEES}/last_{window}") }
}

/// Positions of the new tokens, and who sees whom.
pub(super) fn prepare(builder: &mut Builder<'_>, _turning: &Turning) -> Result<()> {
    let windows: std::collections::BTreeSet<u64> = builder
        .description
        .layers
        .iter()
        .filter_map(|layer| match layer.attention()?.reach {
            Reach::Sliding { window } => Some(window),
            _ => None,
        })
        .collect();
    let graph = &mut builder.graph;
    let (zero, one) = (graph.integer("zero", 0)?, graph.integer("one", 1)?);
    let gather = |graph: &mut super::graph::Graph, of: &str, name: &str| {
        let shape = graph.plain("Shape", &[of], &format!("{name}/shape"));
        graph.add(standard("Gather"), &[&shape, &one], name, vec![attribute::int("axis", 0)])
    };
    let total = gather(graph, MASK, "total");
    let new = gather(graph, TOKENS, "new");
    let before = graph.plain("Sub", &[&total, &new], "before");
    let own = graph.plain("Range", &[&before, &total, &one], "own");
    let row = graph.integers("row", &[1, -1])?;
    let column = graph.integers("column", &[-1, 1])?;
    let positions = graph.plain("Reshape", &[&own, &row], "positions/row");
    let batch = graph.plain("Shape", &[TOKENS], "tokens/shape");
    graph.plain("Expand", &[&positions, &batch], POSITIONS);
    let own = graph.plain("Reshape", &[&own, &column], "own/column");
    let all = graph.plain("Range", &[&zero, &total, &one], "all");
    let all = graph.plain("Reshape", &[&all, &row], "all/row");
    let earlier = graph.plain("LessOrEqual", &[&all, &own], "earlier");
    let real = graph.cast(MASK, DataType::Bool, "real");
    let axes = graph.integers("axes_1_2", &[1, 2])?;
    let real = graph.plain("Unsqueeze", &[&real, &axes], "real/by_head");
    graph.plain("And", &[&earlier, &real], SEES);
    for window in windows {
        let reach = graph.integer(&format!("window_{window}"), window as i64)?;
        let end = graph.plain("Add", &[&all, &reach], &format!("all/and_{window}"));
        let near = graph.plain("Greater", &[&end, &own], &format!("near_{window}"));
        graph.plain("And", &[SEES, &near], &sees(window));
    }
    Ok(())
}

/// A stored matrix in floats, by whole rows.
fn rows(builder: &mut Builder<'_>, weight: &str) -> Result<String> {
    let index = builder.need(weight)?;
    if is_half(builder, index) {
        let stored = builder.floats_of(weight, &[], DataType::Float16)?;
        return Ok(widened(builder, &stored, &format!("{weight}/floats")));
    }
    let tensor = &builder.job.tensors[index];
    let Some(bits) = bits_of(tensor.to) else { return builder.floats(weight, &[]) };
    let (values, scales) = codes(builder, weight, bits)?;
    Ok(scaled(builder, &values, &scales, 1, &format!("{weight}/floats")))
}

/// Whether a matrix lies there in 16 bits and the graph computes in 32.
fn is_half(builder: &Builder<'_>, index: usize) -> bool {
    builder.job.tensors[index].to == GgmlType::F16 && builder.float == DataType::Float
}

fn widened(builder: &mut Builder<'_>, x: &str, name: &str) -> String {
    if builder.graph.has(name) { name.into() } else { builder.graph.cast(x, DataType::Float, name) }
}

fn codes(builder: &mut Builder<'_>, weight: &str, bits: u8) -> Result<(String, String)> {
    let index = builder.need(weight)?;
    let (columns, rows) = (builder.job.tensors[index].dims[0], builder.job.tensors[index].dims[1]);
    let float = builder.float;
    let form = Form::Codes { bits, scales: float, signed: true };
    let stored = builder.stores.of(builder.job, &[index], form);
    let ty = if bits == 4 { DataType::Int4 } else { DataType::Int8 };
    let values = Weight { name: weight.into(), ty, dims: vec![rows, columns], stored, part: Part::Values };
    let (name, dims) = (format!("{weight}.scales"), vec![rows, columns / BLOCK]);
    let scales = Weight { name, ty: float, dims, stored, part: Part::Scales };
    Ok((builder.graph.weight(values), builder.graph.weight(scales)))
}

/// Codes times the scales of their blocks along `axis`.
fn scaled(builder: &mut Builder<'_>, values: &str, scales: &str, axis: i64, name: &str) -> String {
    let settings = vec![attribute::int("axis", axis), attribute::int("block_size", BLOCK as i64)];
    builder.graph.add(standard("DequantizeLinear"), &[values, scales], name, settings)
}

/// Rows of the embedding by token, scaled after they were taken.
pub(super) fn embed(builder: &mut Builder<'_>, weight: &str, name: &str) -> Result<String> {
    let index = builder.need(weight)?;
    match bits_of(builder.job.tensors[index].to) {
        Some(8) => {
            let (values, scales) = codes(builder, weight, 8)?;
            let values = builder.graph.plain("Gather", &[&values, TOKENS], &format!("{name}/codes"));
            let scales = builder.graph.plain("Gather", &[&scales, TOKENS], &format!("{name}/scales"));
            Ok(scaled(builder, &values, &scales, 2, name))
        }
        _ if is_half(builder, index) => {
            let table = builder.floats_of(weight, &[], DataType::Float16)?;
            let taken = builder.graph.plain("Gather", &[&table, TOKENS], &format!("{name}/f16"));
            Ok(widened(builder, &taken, name))
        }
        _ => {
            let table = rows(builder, weight)?;
            Ok(builder.graph.plain("Gather", &[&table, TOKENS], name))
        }
    }
}

/// The root mean square norm.
pub(super) fn norm(builder: &mut Builder<'_>, weight: &str, x: &str, name: &str) -> Result<String> {
    let scale = builder.floats(weight, &[])?;
    let settings = vec![
        attribute::int("axis", -1),
        attribute::float("epsilon", builder.epsilon),
        attribute::int("stash_type", 1),
    ];
    Ok(builder.graph.add(standard("RMSNormalization"), &[x, &scale], name, settings))
}

/// A product with a matrix.
pub(super) fn product(builder: &mut Builder<'_>, weight: &str, x: &str, name: &str) -> Result<String> {
    if builder.statics.is_some_and(|statics| statics.has(weight)) {
        let (x, matrix) = (coded::flowing(builder, weight, x)?, coded::turned(builder, weight)?);
        return Ok(builder.graph.plain("MatMul", &[&x, &matrix], name));
    }
    let matrix = rows(builder, weight)?;
    let turned = format!("{weight}/turned");
    // Turned once, however often it multiplies.
    if !builder.graph.has(&turned) {
        builder.graph.plain("Transpose", &[&matrix], &turned);
    }
    Ok(builder.graph.plain("MatMul", &[x, &turned], name))
}

/// Attention over what is cached and what is new, which goes into the cache.
pub(super) fn attend(
    builder: &mut Builder<'_>,
    layer: usize,
    (attention, n_turned): (&Attention, u64),
    scale: f32,
    table: &Table,
    [q, k, v]: [&str; 3],
) -> Result<String> {
    let of = |part: &str| format!("l{layer}/{part}");
    let [q, k] = [(q, "q", attention.n_heads), (k, "k", attention.n_kv_heads)].map(|(x, part, heads)| {
        let mut settings = vec![
            attribute::int("num_heads", heads.into()),
            attribute::int("interleaved", interleaved(builder).i.unwrap_or(0)),
        ];
        if n_turned != u64::from(attention.key_dim) {
            settings.push(attribute::int("rotary_embedding_dim", n_turned as i64));
        }
        let inputs = [x, &table.cosines, &table.sines, POSITIONS];
        builder.graph.add(standard("RotaryEmbedding"), &inputs, &of(&format!("{part}/turned")), settings)
    });
    let window = match attention.reach {
        Reach::Sliding { window } => window,
        _ => 0,
    };
    let mut settings = vec![
        attribute::int("q_num_heads", attention.n_heads.into()),
        attribute::int("kv_num_heads", attention.n_kv_heads.into()),
        attribute::float("scale", scale),
    ];
    if let Some(cap) = builder.stated("attn_logit_softcapping").filter(|cap| *cap > 0.0) {
        settings.push(attribute::float("softcap", cap as f32));
    }
    let name = of("seen");
    let [before_k, before_v] = ["key", "value"].map(|kind| past(layer, kind));
    let [after_k, after_v] = ["key", "value"].map(|kind| present(layer, kind));
    builder.graph.add_many(
        standard("Attention"),
        &[&q, &k, v, &sees(window), &before_k, &before_v],
        &[&name, &after_k, &after_v],
        settings,
    );
    Ok(name)
}
