//! Normalisations with fixed figures become part of the weights before or behind them.
//! Knows Conv, ConvTranspose and Gemm; a normalisation is `y = scale · x + shift` by channel.

use crate::Error;
use crate::quantize::graph::{Index, drop_unused};
use formats::onnx::{GraphProto, NodeProto, TensorProto, tensor_floats, tensor_of_floats};

/// `scale` and `shift` by channel: γ/√(σ²+ε) and β − μ·scale.
struct Affine {
    scale: Vec<f32>,
    shift: Vec<f32>,
}

/// Gives how many were folded.
pub(super) fn fold(graph: &mut GraphProto) -> Result<usize, Error> {
    let mut n_folded = 0;
    'again: loop {
        let index = Index::of(graph);
        for at in 0..graph.node.len() {
            if graph.node[at].op_type() != "BatchNormalization"
                || graph.node[at].int_or("training_mode", 0) != 0
            {
                continue;
            }
            let Some(affine) = affine(graph, &index, at)? else { continue };
            if into_producer(graph, &index, at, &affine)? || into_reader(graph, &index, at, &affine)? {
                n_folded += 1;
                drop_unused(graph);
                continue 'again;
            }
        }
        return Ok(n_folded);
    }
}

fn affine(graph: &GraphProto, index: &Index, at: usize) -> Result<Option<Affine>, Error> {
    let node = &graph.node[at];
    let mut figures = Vec::new();
    for input in node.input.iter().skip(1).take(4) {
        let Some(tensor) = index.constant(graph, input) else { return Ok(None) };
        figures.push(tensor_floats(tensor)?);
    }
    let [gamma, beta, mean, variance] = figures.as_slice() else { return Ok(None) };
    let epsilon = f64::from(node.float_or("epsilon", 1e-5));
    let scale: Vec<f32> = gamma
        .iter()
        .zip(variance)
        .map(|(&gamma, &variance)| (f64::from(gamma) / (f64::from(variance) + epsilon).sqrt()) as f32)
        .collect();
    let shift =
        beta.iter().zip(mean).zip(&scale).map(|((&beta, &mean), &scale)| beta - mean * scale).collect();
    Ok(Some(Affine { scale, shift }))
}

/// `W' = scale·W`, `b' = scale·b + shift` in the node that makes the normalisation's input.
fn into_producer(graph: &mut GraphProto, index: &Index, at: usize, affine: &Affine) -> Result<bool, Error> {
    let node = &graph.node[at];
    let (Some(input), Some(output)) = (node.input.first().cloned(), node.output.first().cloned()) else {
        return Ok(false);
    };
    let Some(before) = index.producer(&input).filter(|_| index.only_reader(&input) == Some(at)) else {
        return Ok(false);
    };
    let producer = &graph.node[before];
    let Some((weight, axis)) = weight(graph, index, producer) else { return Ok(false) };
    let mut values = tensor_floats(weight)?;
    let channels = affine.scale.len();
    let group = if producer.op_type() == "ConvTranspose" { producer.int_or("group", 1) } else { 1 };
    if group != 1 || weight.dims.get(axis) != Some(&(channels as i64)) {
        return Ok(false);
    }
    scale_axis(&mut values, &weight.dims, axis, &affine.scale);
    let bias = match producer.input.get(2).filter(|name| !name.is_empty()) {
        Some(name) => match index.constant(graph, name) {
            Some(bias) if bias.dims == [channels as i64] => tensor_floats(bias)?,
            _ => return Ok(false),
        },
        None => vec![0.0; channels],
    };
    if producer.op_type() == "Gemm"
        && (producer.float_or("alpha", 1.0) != 1.0 || producer.float_or("beta", 1.0) != 1.0)
    {
        return Ok(false);
    }
    let bias: Vec<f32> =
        bias.iter().zip(&affine.scale).zip(&affine.shift).map(|((&b, &s), &t)| b * s + t).collect();
    let weight = tensor_of_floats(format!("{}_n", weight.name()), &weight.dims, &values)?;
    let own = format!("{}_bias_n", producer.name());
    let bias = tensor_of_floats(own, &[channels as i64], &bias)?;
    set_weights(graph, before, weight, bias);
    graph.node[before].output[0] = output;
    graph.node.remove(at);
    Ok(true)
}

/// `W' = W·scale` by column, `b' = b + W·shift` in a Gemm that reads the normalisation's output, flattened or not.
fn into_reader(graph: &mut GraphProto, index: &Index, at: usize, affine: &Affine) -> Result<bool, Error> {
    let node = &graph.node[at];
    let (Some(input), Some(mut output)) = (node.input.first().cloned(), node.output.first().cloned()) else {
        return Ok(false);
    };
    let mut reader = index.only_reader(&output);
    let flatten = reader
        .filter(|&next| graph.node[next].op_type() == "Flatten" && graph.node[next].int_or("axis", 1) == 1);
    if let Some(flatten) = flatten {
        output.clone_from(&graph.node[flatten].output[0]);
        reader = index.only_reader(&output);
    }
    let Some(gemm) = reader.filter(|&next| graph.node[next].op_type() == "Gemm") else { return Ok(false) };
    let node = &graph.node[gemm];
    let plain = node.int_or("transA", 0) == 0
        && node.int_or("transB", 0) == 1
        && node.float_or("alpha", 1.0) == 1.0
        && node.float_or("beta", 1.0) == 1.0
        && node.input[0] == output;
    let Some(weight) = index.constant(graph, &node.input[1]).filter(|_| plain) else { return Ok(false) };
    let (&[rows, columns], channels) = (weight.dims.as_slice(), affine.scale.len()) else { return Ok(false) };
    let Some(bias) = node.input.get(2).and_then(|name| index.constant(graph, name)) else { return Ok(false) };
    if !(columns as usize).is_multiple_of(channels) || bias.dims != [rows] {
        return Ok(false);
    }
    let per_channel = columns as usize / channels;
    let (mut values, mut sums) = (tensor_floats(weight)?, tensor_floats(bias)?);
    for (row, sum) in values.chunks_exact_mut(columns as usize).zip(&mut sums) {
        let mut shifted = 0f64;
        for (part, (&scale, &shift)) in
            row.chunks_exact_mut(per_channel).zip(affine.scale.iter().zip(&affine.shift))
        {
            shifted += part.iter().map(|&value| f64::from(value)).sum::<f64>() * f64::from(shift);
            part.iter_mut().for_each(|value| *value *= scale);
        }
        *sum += shifted as f32;
    }
    let weight = tensor_of_floats(format!("{}_n", weight.name()), &[rows, columns], &values)?;
    let bias = tensor_of_floats(format!("{}_n", bias.name()), &[rows], &sums)?;
    set_weights(graph, gemm, weight, bias);
    graph.node[flatten.unwrap_or(gemm)].input[0] = input;
    graph.node.remove(at);
    Ok(true)
}

/// A constant weight and the axis of its output channels.
fn weight<'g>(graph: &'g GraphProto, index: &Index, node: &NodeProto) -> Option<(&'g TensorProto, usize)> {
    let axis = match node.op_type() {
        "Conv" => 0,
        "ConvTranspose" => 1,
        "Gemm" => usize::from(node.int_or("transB", 0) == 0),
        _ => return None,
    };
    Some((index.constant(graph, node.input.get(1)?)?, axis))
}

fn scale_axis(values: &mut [f32], dims: &[i64], axis: usize, scale: &[f32]) {
    let inner: usize = dims[axis + 1..].iter().map(|&dim| dim as usize).product();
    for (at, part) in values.chunks_exact_mut(inner.max(1)).enumerate() {
        let factor = scale[at % scale.len()];
        part.iter_mut().for_each(|value| *value *= factor);
    }
}

fn set_weights(graph: &mut GraphProto, at: usize, weight: TensorProto, bias: TensorProto) {
    let node = &mut graph.node[at];
    node.input.truncate(2);
    node.input[1] = weight.name().to_string();
    node.input.push(bias.name().to_string());
    graph.initializer.extend([weight, bias]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::onnx::{DataType, attribute, node, value_info};

    fn constant(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
        tensor_of_floats(name, dims, values).unwrap()
    }

    /// Normalises two channels: y = 2x + 1, y = −x + 2.5.
    fn normalisation() -> Vec<TensorProto> {
        vec![
            constant("gamma", &[2], &[4.0, -3.0]),
            constant("beta", &[2], &[1.0, 2.0]),
            constant("mean", &[2], &[0.0, 0.5]),
            constant("variance", &[2], &[4.0, 9.0]),
        ]
    }

    fn norm(input: &str, output: &str) -> NodeProto {
        let names = [input, "gamma", "beta", "mean", "variance"];
        node("BatchNormalization", "norm", &names, &[output]).with(attribute::float("epsilon", 0.0))
    }

    fn floats(graph: &GraphProto, node: usize, place: usize) -> Vec<f32> {
        let name = &graph.node[node].input[place];
        tensor_floats(graph.initializer.iter().find(|tensor| tensor.name() == name).unwrap()).unwrap()
    }

    #[test]
    fn it_becomes_part_of_what_makes_its_input() {
        let mut initializer = normalisation();
        initializer.push(constant("w", &[2, 1, 1, 1], &[3.0, 5.0]));
        let mut graph = GraphProto {
            node: vec![node("Conv", "c", &["x", "w"], &["a"]), norm("a", "y")],
            initializer,
            output: vec![value_info("y", DataType::Float, &[])],
            ..Default::default()
        };
        assert_eq!(fold(&mut graph).unwrap(), 1);
        assert_eq!((graph.node.len(), graph.node[0].output[0].as_str()), (1, "y"));
        assert_eq!((floats(&graph, 0, 1), floats(&graph, 0, 2)), (vec![6.0, -5.0], vec![1.0, 2.5]));
    }

    #[test]
    fn it_becomes_part_of_what_reads_its_output_flattened() {
        let mut initializer = normalisation();
        initializer.extend([constant("w", &[1, 4], &[1.0, 2.0, 3.0, 4.0]), constant("b", &[1], &[10.0])]);
        let mut graph = GraphProto {
            node: vec![
                node("Relu", "r", &["x"], &["a"]),
                norm("a", "n"),
                node("Flatten", "f", &["n"], &["v"]),
                node("Gemm", "g", &["v", "w", "b"], &["y"]).with(attribute::int("transB", 1)),
            ],
            initializer,
            output: vec![value_info("y", DataType::Float, &[])],
            ..Default::default()
        };
        assert_eq!(fold(&mut graph).unwrap(), 1);
        assert_eq!(graph.node[1].input[0], "a");
        // Two values per channel: w·(2x + 1) and w·(−x + 2.5).
        assert_eq!((floats(&graph, 2, 1), floats(&graph, 2, 2)), (vec![2.0, 4.0, -3.0, -4.0], vec![30.5]));
    }

    #[test]
    fn it_stays_where_somebody_else_reads_what_it_does() {
        let mut initializer = normalisation();
        initializer.push(constant("w", &[2, 1, 1, 1], &[3.0, 5.0]));
        let mut graph = GraphProto {
            node: vec![
                node("Conv", "c", &["x", "w"], &["a"]),
                norm("a", "y"),
                node("Relu", "r", &["a"], &["z"]),
            ],
            initializer,
            output: vec![value_info("y", DataType::Float, &[]), value_info("z", DataType::Float, &[])],
            ..Default::default()
        };
        assert_eq!((fold(&mut graph).unwrap(), graph.node.len()), (0, 3));
    }
}
