//! Products between codes, as TensorRT and others recognise them: what flows in and the matrix are each codes that are made
//! floats again right before they multiply.
//! Knows what was learned of the model; must not know how.

use super::graph::{Part, Weight, standard};
use super::network::Builder;
use super::stored::Form;
use crate::Result;
use formats::onnx::{DataType, attribute};

/// What flows into `weight`, through its codes where it has any: coded once for all that it flows into, and made floats for each
/// alone, by which ONNX Runtime knows them.
pub(super) fn flowing(builder: &mut Builder<'_>, weight: &str, x: &str) -> Result<String> {
    let Some(step) = builder.statics.and_then(|statics| statics.step(weight)) else { return Ok(x.into()) };
    let codes = format!("{x}/codes");
    let step = builder.graph.numbers(&format!("{x}/step"), DataType::Float, &[], &[step])?;
    let zero = builder.graph.zeros("zero_code", &[])?;
    if !builder.graph.has(&codes) {
        builder.graph.plain("QuantizeLinear", &[x, &step, &zero], &codes);
    }
    Ok(builder.graph.plain("DequantizeLinear", &[&codes, &step, &zero], &format!("{weight}/flowing")))
}

/// A matrix of codes in floats, turned for products, with a scale for each of its rows, which are columns then.
pub(super) fn turned(builder: &mut Builder<'_>, weight: &str) -> Result<String> {
    let index = builder.need(weight)?;
    let (columns, rows) = (builder.job.tensors[index].dims[0], builder.job.tensors[index].dims[1]);
    let stored = builder.stores.of(builder.job, &[index], Form::ByRow);
    let of = |part, ty, name: String, dims: &[u64]| Weight { name, ty, dims: dims.to_vec(), stored, part };
    let values = builder.graph.weight(of(Part::Values, DataType::Int8, weight.into(), &[columns, rows]));
    let scales = builder.graph.weight(of(Part::Scales, DataType::Float, format!("{weight}.scales"), &[rows]));
    let zeros = builder.graph.zeros(&format!("zero_codes_{rows}"), &[rows])?;
    let settings = vec![attribute::int("axis", 1)];
    let inputs = [values.as_str(), &scales, &zeros];
    Ok(builder.graph.add(standard("DequantizeLinear"), &inputs, &format!("{weight}/floats"), settings))
}
