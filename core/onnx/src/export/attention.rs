//! Attention in a graph: among the vectors themselves, with a cache of earlier ones, or to what an encoder made.
//! Knows both sets of operators, with ONNX's own attention and without; must not know tables or files.

use super::graph::Graph;
use super::network::{Builder, TOKENS};
use super::table::Attention;
use crate::Error;
use formats::onnx::attribute;

/// ONNX has an operator for attention from here on.
pub(super) const WHOLE: i64 = 23;
/// What is added to scores of what must not be seen: nothing is left of it, in halves too.
const HIDDEN: f32 = -1e4;

/// What attention is told of the tokens: who sees whom, and whether earlier ones come in.
#[derive(Debug, Clone, Default)]
pub(super) struct Caches {
    /// `[new, all]`: true or 0 where seen.
    mask: Option<String>,
    cached: bool,
}

/// The cache before, or after.
fn cache(when: &str, layer: i64, side: &str, kind: &str) -> String {
    let name = if when == "past" { "past_key_values" } else { "present" };
    format!("{name}.{layer}.{side}.{kind}")
}

impl Caches {
    /// Of tokens that see themselves and those before: the places of the new ones, and what attention needs.
    pub(super) fn of_tokens(builder: &mut Builder<'_>, cached: bool) -> Result<(String, Self), Error> {
        let graph = &mut builder.graph;
        let (zero, one) = (graph.integer(0)?, graph.integer(1)?);
        let extent = |graph: &mut Graph, of: &str, axis: i64, name: &str| {
            let shape = graph.plain("Shape", &[of], &format!("{name}/shape"));
            let axis = graph.integer(axis)?;
            Ok::<_, Error>(graph.plain("Gather", &[&shape, &axis], name))
        };
        let new = extent(graph, TOKENS, 1, "new")?;
        let (before, all) = if cached {
            // The first layer's cache, which is declared by its attention.
            let before = extent(graph, &cache("past", 0, "decoder", "key"), 2, "before")?;
            let all = graph.plain("Add", &[&before, &new], "all");
            (before, all)
        } else {
            (zero.clone(), new)
        };
        let own = graph.plain("Range", &[&before, &all, &one], "own");
        let every = graph.plain("Range", &[&zero, &all, &one], "every");
        let column = graph.reshape(&own, &[-1, 1], "own/column")?;
        let sees = graph.plain("LessOrEqual", &[&every, &column], "sees");
        let mask = if graph.opset >= WHOLE {
            sees
        } else {
            let (shown, hidden) = (graph.number(0.0)?, graph.number(HIDDEN)?);
            graph.plain("Where", &[&sees, &shown, &hidden], "mask")
        };
        Ok((own, Self { mask: Some(mask), cached }))
    }
}

/// What vectors see of each other, or of those before them.
pub(super) fn attend(
    builder: &mut Builder<'_>,
    prefix: &str,
    of: &Attention,
    layer: i64,
    x: &str,
    caches: &Caches,
    name: &str,
) -> Result<String, Error> {
    let (width, heads) = (builder.width, builder.heads);
    let mut made = Vec::new();
    for (part, tensor) in [("query", &of.query), ("key", &of.key), ("value", &of.value)] {
        let tensor = format!("{prefix}{tensor}");
        made.push(builder.linear(&tensor, (width, width), x, &format!("{name}/{part}"))?);
    }
    if caches.cached {
        declare(builder, layer, "decoder", true);
    }
    let seen = if builder.graph.opset >= WHOLE {
        let (mut inputs, mut outputs) = (made.clone(), vec![format!("{name}/all")]);
        inputs.extend(caches.mask.clone());
        if caches.cached {
            inputs.extend(["key", "value"].map(|kind| cache("past", layer, "decoder", kind)));
            outputs.extend(["key", "value"].map(|kind| cache("present", layer, "decoder", kind)));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let settings = ["q_num_heads", "kv_num_heads"].map(|key| attribute::int(key, heads)).to_vec();
        builder.graph.add_many("Attention", &inputs, &outputs, settings);
        outputs[0].to_string()
    } else {
        let query = keys_or_values(builder, &made[0], heads, &format!("{name}/query/heads"))?;
        let mut sides = Vec::new();
        for (kind, flat) in ["key", "value"].into_iter().zip(&made[1..]) {
            let mut side = keys_or_values(builder, flat, heads, &format!("{name}/{kind}/heads"))?;
            if caches.cached {
                let before = cache("past", layer, "decoder", kind);
                let after = cache("present", layer, "decoder", kind);
                let settings = vec![attribute::int("axis", 2)];
                side = builder.graph.add("Concat", &[&before, &side], &after, settings);
            }
            sides.push(side);
        }
        mix(builder, [&query, &sides[0], &sides[1]], caches.mask.as_deref(), name)?
    };
    builder.linear(&format!("{prefix}{}", of.output), (width, width), &seen, name)
}

/// What vectors see of what an encoder made, whose keys and values come in.
pub(super) fn attend_across(
    builder: &mut Builder<'_>,
    prefix: &str,
    of: &Attention,
    layer: i64,
    x: &str,
    name: &str,
) -> Result<String, Error> {
    let (width, heads) = (builder.width, builder.heads);
    declare(builder, layer, "encoder", false);
    let query = format!("{prefix}{}", of.query);
    let query = builder.linear(&query, (width, width), x, &format!("{name}/query"))?;
    let query = keys_or_values(builder, &query, heads, &format!("{name}/query/heads"))?;
    let [key, value] = ["key", "value"].map(|kind| cache("past", layer, "encoder", kind));
    let seen = if builder.graph.opset >= WHOLE {
        let all = builder.graph.plain("Attention", &[&query, &key, &value], &format!("{name}/heads"));
        let rows = builder.graph.transpose(&all, &[0, 2, 1, 3], &format!("{name}/rows"));
        builder.graph.reshape(&rows, &[0, 0, width], &format!("{name}/all"))?
    } else {
        mix(builder, [&query, &key, &value], None, name)?
    };
    builder.linear(&format!("{prefix}{}", of.output), (width, width), &seen, name)
}

/// `[batch, length, width]` as `[batch, heads, length, width / heads]`.
pub(super) fn keys_or_values(
    builder: &mut Builder<'_>,
    flat: &str,
    heads: i64,
    name: &str,
) -> Result<String, Error> {
    let parts =
        builder.graph.reshape(flat, &[0, 0, heads, builder.width / heads], &format!("{name}/parts"))?;
    Ok(builder.graph.transpose(&parts, &[0, 2, 1, 3], name))
}

/// Queries, keys and values by head → what is seen, as vectors.
fn mix(
    builder: &mut Builder<'_>,
    [query, key, value]: [&str; 3],
    mask: Option<&str>,
    name: &str,
) -> Result<String, Error> {
    let (width, heads) = (builder.width, builder.heads);
    let graph = &mut builder.graph;
    let of = |part: &str| format!("{name}/{part}");
    let scale = graph.number(((width / heads) as f32).powf(-0.5))?;
    let query = graph.plain("Mul", &[query, &scale], &of("query/scaled"));
    let turned = graph.transpose(key, &[0, 1, 3, 2], &of("key/turned"));
    let mut scores = graph.plain("MatMul", &[&query, &turned], &of("scores"));
    if let Some(mask) = mask {
        scores = graph.plain("Add", &[&scores, mask], &of("scores/masked"));
    }
    let shares = graph.add("Softmax", &[&scores], &of("shares"), vec![attribute::int("axis", -1)]);
    let mixed = graph.plain("MatMul", &[&shares, value], &of("mixed"));
    let rows = graph.transpose(&mixed, &[0, 2, 1, 3], &of("rows"));
    graph.reshape(&rows, &[0, 0, width], &of("all"))
}

/// Keys and values of a layer as inputs, and as outputs where they grow.
fn declare(builder: &mut Builder<'_>, layer: i64, side: &str, grows: bool) {
    let (heads, head, float) = (Ok(builder.heads), Ok(builder.width / builder.heads), builder.graph.float);
    let length = if grows { "past_sequence_length" } else { "encoder_sequence_length" };
    for kind in ["key", "value"] {
        let dims = [Err("batch_size"), heads, Err(length), head];
        builder.graph.input(&cache("past", layer, side, kind), float, &dims);
        if grows {
            let dims = [Err("batch_size"), heads, Err("total_sequence_length"), head];
            builder.graph.output(&cache("present", layer, side, kind), float, &dims);
        }
    }
}
