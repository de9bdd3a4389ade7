//! Turning queries and keys by position: tables of cosines and sines, which the graph computes of its frequencies when it is
//! loaded, so that a file holds half a head's numbers and not a context's.
//! Knows scalings; must not know operators of attention.

use super::conventions::Rotary;
use super::graph::standard;
use super::network::Builder;
use crate::Result;
use families::{Reach, RopeScaling};
use formats::onnx::{DataType, attribute};

/// Names of a table's cosines and sines.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    pub(super) cosines: String,
    pub(super) sines: String,
}

/// How heads are turned.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Turning {
    /// Elements of a head that are turned.
    pub(super) n_turned: u64,
    /// Tokens for which there are tables.
    pub(super) context_tokens: u64,
    whole: Table,
    local: Option<Table>,
}

/// Scalings that become factors of frequencies.
struct Scaled {
    factors: Option<Vec<f32>>,
    divisor: f64,
    magnitude: f64,
    context_tokens: u64,
}

impl Turning {
    /// The tables of the model.
    ///
    /// # Errors
    /// A scaling that no table stands for.
    pub(super) fn of(builder: &mut Builder<'_>) -> Result<Self> {
        let description = builder.description;
        let stated = builder.stated("rope.dimension_count").map(|count| count as u64);
        let n_turned = stated.filter(|count| *count > 0).unwrap_or(u64::from(description.head_dim));
        let scaled = scaled(builder)?;
        let exponent = |pair: u64| -2.0 * pair as f64 / n_turned as f64;
        let frequencies = |theta: f64, scaled: Option<&Scaled>| -> Vec<f32> {
            let of = |pair: u64| {
                let factor =
                    scaled.and_then(|scaled| Some(f64::from(*scaled.factors.as_ref()?.get(pair as usize)?)));
                let divisor = scaled.map_or(1.0, |scaled| scaled.divisor);
                (theta.powf(exponent(pair)) / factor.unwrap_or(1.0) / divisor) as f32
            };
            (0..n_turned / 2).map(of).collect()
        };
        let is_local = |layer: &families::Layer| {
            layer.attention().is_some_and(|attention| attention.reach != Reach::Full)
        };
        let local_theta = description.rope.local_theta.filter(|_| description.layers.iter().any(is_local));
        let whole = frequencies(description.rope.theta, Some(&scaled));
        let context_tokens = scaled.context_tokens;
        let whole = table(builder, "turn", &whole, scaled.magnitude, context_tokens)?;
        let local = local_theta.map(|theta| frequencies(theta, None));
        let local =
            local.map(|local| table(builder, "turn_near", &local, 1.0, context_tokens)).transpose()?;
        Ok(Self { n_turned, context_tokens, whole, local })
    }

    /// The tables of a layer that sees so far.
    pub(super) fn table(&self, reach: Reach) -> &Table {
        self.local.as_ref().filter(|_| reach != Reach::Full).unwrap_or(&self.whole)
    }
}

/// What the model's scaling makes of frequencies.
fn scaled(builder: &Builder<'_>) -> Result<Scaled> {
    let description = builder.description;
    let plain =
        Scaled { factors: None, divisor: 1.0, magnitude: 1.0, context_tokens: description.max_context };
    let read = |name: &str| -> Result<Option<Vec<f32>>> {
        let tensors = builder.source.tensors();
        let Some(index) = tensors.iter().position(|tensor| tensor.name == name) else { return Ok(None) };
        let mut values = vec![0f32; tensors[index].dims[0] as usize];
        builder.source.read_rows(index, 0, &mut values)?;
        Ok(Some(values))
    };
    if let Some(short) = read("rope_factors_short.weight")? {
        // Beyond its first context such a model has other factors, which would turn what is cached already.
        let original = builder.stated("rope.scaling.original_context_length").unwrap_or(0.0) as u64;
        let context_tokens =
            if original > 0 { original.min(description.max_context) } else { description.max_context };
        let magnitude = builder.stated("rope.scaling.attn_factor").unwrap_or(1.0);
        return Ok(Scaled { factors: Some(short), magnitude, context_tokens, ..plain });
    }
    if let Some(factors) = read("rope_freqs.weight")? {
        return Ok(Scaled { factors: Some(factors), ..plain });
    }
    match &description.rope.scaling {
        RopeScaling::None => Ok(plain),
        RopeScaling::Linear { factor } => Ok(Scaled { divisor: *factor, ..plain }),
        other => {
            Err(builder
                .unknown("rope scaling", &format!("none, linear, llama3 or longrope and not {other:?}")))
        }
    }
}

/// Cosines and sines of every position times every frequency, times `magnitude`.
fn table(
    builder: &mut Builder<'_>,
    name: &str,
    frequencies: &[f32],
    magnitude: f64,
    context_tokens: u64,
) -> Result<Table> {
    let float = builder.float;
    let graph = &mut builder.graph;
    let [zero, one] = [("zero", 0), ("one", 1)].map(|(name, value)| graph.integer(name, value));
    let end = graph.integer("context_tokens", context_tokens as i64)?;
    let positions = graph.plain("Range", &[&zero?, &end, &one?], &format!("{name}/positions"));
    let positions = graph.cast(&positions, DataType::Float, &format!("{name}/positions/f32"));
    let column = graph.integers("column", &[-1, 1])?;
    let positions = graph.plain("Reshape", &[&positions, &column], &format!("{name}/column"));
    let dims = [1, frequencies.len() as i64];
    let frequencies = graph.numbers(&format!("{name}/frequencies"), DataType::Float, &dims, frequencies)?;
    let angles = graph.plain("Mul", &[&positions, &frequencies], &format!("{name}/angles"));
    let magnitude_of = (magnitude != 1.0)
        .then(|| graph.numbers(&format!("{name}/magnitude"), DataType::Float, &[], &[magnitude as f32]))
        .transpose()?;
    let mut of = |operator: &'static str, part: &str| {
        let mut made = graph.add(standard(operator), &[&angles], &format!("{name}/{part}"), Vec::new());
        if let Some(magnitude) = &magnitude_of {
            made = graph.plain("Mul", &[&made, magnitude], &format!("{name}/{part}/scaled"));
        }
        if float != DataType::Float {
            made = graph.cast(&made, float, &format!("{name}/{part}/f16"));
        }
        made
    };
    Ok(Table { cosines: of("Cos", "cosines"), sines: of("Sin", "sines") })
}

/// Whether elements of a head turn with their neighbours.
pub(super) fn interleaved(builder: &Builder<'_>) -> formats::onnx::AttributeProto {
    let pairs = builder.network.rotary == Rotary::Pairs;
    attribute::int("rotary_interleaved", i64::from(pairs))
}
