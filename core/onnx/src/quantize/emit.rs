//! The quantized graph: steps that quantize and dequantize around what computes in eight bits, weights and biases as levels.
//! Owns names and order of what it adds; knows the plan, and chooses nothing.

mod lstm;
mod matrix;

use crate::Error;
use crate::quantize::graph::{Index, drop_unused, graph, graph_mut, import_runtime_domain, sort};
use crate::quantize::plan::{Choice, Placement, Plan};
use crate::quantize::ranges::{RangeMethod, range};
use crate::quantize::record::Record;
use crate::quantize::target::{Activations, Fp16, Target};
use crate::quantize::weights::{Levels, layout, quantize};
use formats::onnx::{
    DataType, GraphProto, ModelProto, NodeProto, TensorProto, attribute, node, tensor_floats,
    tensor_of_bytes, tensor_of_floats,
};
use std::collections::{BTreeMap, HashSet};

/// What is emitted, beside plan and target.
#[derive(Clone, Copy)]
pub(crate) struct Choices {
    pub(crate) method: RangeMethod,
    /// Whether biases take up what weights lost on average.
    pub(crate) correct_bias: bool,
}

/// Scale and zero point of an activation.
#[derive(Debug, Clone, Copy)]
struct QParam {
    scale: f32,
    zero: i32,
}

struct Emitter<'a> {
    target: &'a Target,
    record: &'a Record,
    choices: Choices,
    /// What is added to the graph.
    nodes: Vec<NodeProto>,
    tensors: Vec<TensorProto>,
    taken: HashSet<String>,
    params: BTreeMap<String, QParam>,
    counter: usize,
}

/// The model with every node as the plan says.
pub(crate) fn emit(
    model: &ModelProto,
    record: &Record,
    plan: &Plan,
    target: &Target,
    choices: Choices,
) -> Result<ModelProto, Error> {
    let original = graph(model)?;
    let (index, placement) = (Index::of(original), Placement::of(original, plan, target));
    let mut emitter = Emitter {
        target,
        record,
        choices,
        nodes: Vec::new(),
        tensors: Vec::new(),
        taken: names_of(original),
        params: BTreeMap::new(),
        counter: 0,
    };
    let mut model = model.clone();
    let graph = graph_mut(&mut model)?;
    let renamed = emitter.activations(&placement);
    for at in 0..graph.node.len() {
        let reads_levels = placement.weighted.contains(&at) || placement.between.contains(&at);
        let first_alone = placement.weighted.contains(&at);
        for (place, input) in graph.node[at].input.iter_mut().enumerate() {
            let Some(new) = renamed.get(input.as_str()) else { continue };
            if (reads_levels && (place == 0 || !first_alone)) || placement.whole.contains(input.as_str()) {
                new.clone_into(input);
            }
        }
    }
    for at in 0..graph.node.len() {
        match plan.choice(original.node[at].name()) {
            Choice::Int8 => emitter.weighted(original, &index, &placement, at, &mut graph.node[at])?,
            Choice::Dynamic if original.node[at].op_type() == "LSTM" => {
                lstm::emit(&mut emitter, original, &index, &mut graph.node[at])?;
            }
            Choice::Dynamic => matrix::emit(&mut emitter, original, &index, &mut graph.node[at])?,
            Choice::Weights => emitter.weights_alone(original, &index, at, &mut graph.node[at])?,
            Choice::Float => {}
        }
    }
    graph.node.append(&mut emitter.nodes);
    graph.initializer.append(&mut emitter.tensors);
    sort(graph)?;
    drop_unused(graph);
    import_runtime_domain(&mut model);
    crate::quantize::sign(&mut model);
    Ok(model)
}

fn names_of(graph: &GraphProto) -> HashSet<String> {
    let made = graph.node.iter().flat_map(|node| node.output.iter().cloned());
    let constants = graph.initializer.iter().map(|tensor| tensor.name().to_string());
    made.chain(constants).chain(graph.input.iter().map(|input| input.name().to_string())).collect()
}

impl Emitter<'_> {
    /// A short name that nothing has.
    fn name(&mut self, kind: &str) -> String {
        loop {
            self.counter += 1;
            let name = format!("{kind}{}", self.counter);
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }

    /// Zeros of a type, one tensor for all that need as many.
    fn zeros(&mut self, ty: DataType, n: usize, scalar: bool) -> Result<String, Error> {
        let name =
            format!("zeros_{}_{n}{}", ty.as_str_name().to_lowercase(), if scalar { "_scalar" } else { "" });
        if self.taken.insert(name.clone()) {
            let width = if ty == DataType::Int32 { 4 } else { 1 };
            let dims: &[i64] = if scalar { &[] } else { &[n as i64] };
            self.tensors.push(tensor_of_bytes(name.clone(), ty, dims, vec![0u8; n * width])?);
        }
        Ok(name)
    }

    fn activation_type(&self) -> DataType {
        match self.target.activations {
            Activations::U8 => DataType::Uint8,
            Activations::S8 => DataType::Int8,
        }
    }

    fn param(&self, tensor: &str) -> Option<QParam> {
        let (low, high) = range(self.record.get(tensor)?, self.choices.method, self.target.symmetric);
        let signed = self.target.activations == Activations::S8;
        if self.target.symmetric {
            return Some(QParam { scale: high.max(self.target.min_range / 2.0) / 127.0, zero: 0 });
        }
        let scale = (high - low).max(self.target.min_range) / 255.0;
        let zero = (-low / scale).round_ties_even().clamp(0.0, 255.0) as i32;
        Some(QParam { scale, zero: if signed { zero - 128 } else { zero } })
    }

    /// Quantizing and dequantizing steps for each tensor; gives what its readers read instead.
    fn activations(&mut self, placement: &Placement) -> BTreeMap<String, String> {
        let mut renamed = BTreeMap::new();
        let mut constants: BTreeMap<String, (String, String)> = BTreeMap::new();
        for (tensor, root) in &placement.tensors {
            let Some(param) = self.param(root) else { continue };
            self.params.insert(tensor.clone(), param);
            let ty = self.activation_type();
            let (scale, zero) =
                constants.get(root).cloned().unwrap_or_else(|| (self.name("s"), self.name("z")));
            if constants.insert(root.clone(), (scale.clone(), zero.clone())).is_none() {
                let made = [
                    tensor_of_floats(scale.clone(), &[], &[param.scale]),
                    tensor_of_bytes(zero.clone(), ty, &[], vec![param.zero as u8]),
                ];
                self.tensors.extend(made.into_iter().flatten());
            }
            let (levels, back) = (self.name("q"), self.name("d"));
            let (one, two) = (self.name("Q"), self.name("D"));
            self.nodes.push(node("QuantizeLinear", one, &[tensor, &scale, &zero], &[&levels]));
            self.nodes.push(node("DequantizeLinear", two, &[&levels, &scale, &zero], &[&back]));
            renamed.insert(tensor.clone(), back);
        }
        renamed
    }

    /// Weights and bias of one node.
    fn weighted(
        &mut self,
        original: &GraphProto,
        index: &Index,
        placement: &Placement,
        at: usize,
        changed: &mut NodeProto,
    ) -> Result<(), Error> {
        let node = &original.node[at];
        let Some(weight) = node.input.get(1).and_then(|name| index.constant(original, name)) else {
            return Ok(());
        };
        let values = tensor_floats(weight)?;
        let axis = self
            .target
            .by_channel
            .contains(node.op_type())
            .then(|| channel_axis(node, &weight.dims))
            .flatten();
        let levels = quantize(&values, &weight.dims, axis);
        changed.input[1] = self.dequantized(&levels, &weight.dims, axis)?;
        let has_bias = matches!(node.op_type(), "Conv" | "ConvTranspose" | "Gemm");
        let bias = node.input.get(2).filter(|name| !name.is_empty());
        let bias =
            bias.map(|name| index.constant(original, name).map(tensor_floats).transpose()).transpose()?;
        let n_channels = channels(node, &weight.dims);
        let mut sums = match bias {
            _ if !has_bias => return Ok(()),
            // A bias that is computed stays as it is.
            Some(None) => return Ok(()),
            Some(Some(values)) if values.len() != n_channels => return Ok(()),
            Some(Some(values)) => values,
            None if !self.choices.correct_bias => return Ok(()),
            None => vec![0.0; n_channels],
        };
        if self.choices.correct_bias {
            self.correct(node, &weight.dims, &levels.residuals(&values, &weight.dims, axis), &mut sums);
        }
        let param = self.params.get(&original.node[at].input[0]).copied();
        let name = match param.filter(|_| self.target.int32_bias && placement.weighted.contains(&at)) {
            Some(param) => self.whole_bias(&sums, &levels, param)?,
            None => {
                let name = self.name("b");
                self.tensors.push(tensor_of_floats(name.clone(), &[sums.len() as i64], &sums)?);
                name
            }
        };
        changed.input.truncate(2);
        changed.input.push(name);
        Ok(())
    }

    /// Weights as levels that become floats before they are used: once, at the load, where the target folds constants.
    fn weights_alone(
        &mut self,
        original: &GraphProto,
        index: &Index,
        at: usize,
        changed: &mut NodeProto,
    ) -> Result<(), Error> {
        let node = &original.node[at];
        let places = if node.op_type() == "LSTM" { 1..3 } else { 1..2 };
        for place in places {
            let Some(weight) = node.input.get(place).and_then(|name| index.constant(original, name)) else {
                continue;
            };
            let values = tensor_floats(weight)?;
            let axis = channel_axis(node, &weight.dims);
            let levels = quantize(&values, &weight.dims, axis);
            changed.input[place] = match self.target.fp16 {
                Fp16::Stored => self.folded(&levels, &weight.dims, axis)?,
                Fp16::Computed => self.dequantized(&levels, &weight.dims, axis)?,
            };
            let bias = node.input.get(2).and_then(|name| index.constant(original, name));
            let Some(bias) =
                bias.filter(|_| self.choices.correct_bias && matches!(node.op_type(), "Conv" | "Gemm"))
            else {
                continue;
            };
            let mut sums = tensor_floats(bias)?;
            if sums.len() == channels(node, &weight.dims) {
                self.correct(node, &weight.dims, &levels.residuals(&values, &weight.dims, axis), &mut sums);
                let name = self.name("b");
                self.tensors.push(tensor_of_floats(name.clone(), &[sums.len() as i64], &sums)?);
                changed.input[2] = name;
            }
        }
        Ok(())
    }

    /// A constant of levels, and steps that the library computes once.
    fn folded(&mut self, levels: &Levels, dims: &[i64], axis: Option<usize>) -> Result<String, Error> {
        let [weight, scale, real, back] = ["w", "s", "r", "d"].map(|kind| self.name(kind));
        let [casts, scales] = ["C", "M"].map(|kind| self.name(kind));
        let mut scale_dims = vec![1; dims.len()];
        if let Some(axis) = axis {
            scale_dims[axis] = levels.scales.len() as i64;
        }
        self.tensors.push(tensor_of_bytes(weight.clone(), DataType::Int8, dims, levels.bytes())?);
        self.tensors.push(tensor_of_floats(scale.clone(), &scale_dims, &levels.scales)?);
        let cast =
            node("Cast", casts, &[&weight], &[&real]).with(attribute::int("to", DataType::Float as i64));
        self.nodes.extend([cast, node("Mul", scales, &[&real, &scale], &[&back])]);
        Ok(back)
    }

    /// A constant of levels and the step that makes floats of it.
    fn dequantized(&mut self, levels: &Levels, dims: &[i64], axis: Option<usize>) -> Result<String, Error> {
        let (weight, scale, back, step) = (self.name("w"), self.name("s"), self.name("d"), self.name("D"));
        let n = levels.scales.len();
        let zero = self.zeros(DataType::Int8, n, axis.is_none())?;
        let scale_dims: &[i64] = if axis.is_some() { &[n as i64] } else { &[] };
        self.tensors.push(tensor_of_bytes(weight.clone(), DataType::Int8, dims, levels.bytes())?);
        self.tensors.push(tensor_of_floats(scale.clone(), scale_dims, &levels.scales)?);
        let mut made = node("DequantizeLinear", step, &[&weight, &scale, &zero], &[&back]);
        if let Some(axis) = axis {
            made = made.with(attribute::int("axis", axis as i64));
        }
        self.nodes.push(made);
        Ok(back)
    }

    /// A bias in units of its products: input scale times weight scale.
    fn whole_bias(&mut self, sums: &[f32], levels: &Levels, param: QParam) -> Result<String, Error> {
        let unit = |at: usize| levels.scales[at % levels.scales.len()] * param.scale;
        let whole = |(at, &sum): (usize, &f32)| {
            (f64::from(sum) / f64::from(unit(at)))
                .round_ties_even()
                .clamp(-f64::from(i32::MAX), f64::from(i32::MAX)) as i32
        };
        let values: Vec<u8> = sums.iter().enumerate().map(whole).flat_map(i32::to_le_bytes).collect();
        let by_channel = levels.scales.len() > 1 || sums.len() == 1;
        let units: Vec<f32> = (0..if by_channel { sums.len() } else { 1 }).map(unit).collect();
        let (bias, scale, back, step) = (self.name("b"), self.name("s"), self.name("d"), self.name("D"));
        let zero = self.zeros(DataType::Int32, units.len(), !by_channel)?;
        let scale_dims: &[i64] = if by_channel { &[units.len() as i64] } else { &[] };
        self.tensors.push(tensor_of_bytes(bias.clone(), DataType::Int32, &[sums.len() as i64], values)?);
        self.tensors.push(tensor_of_floats(scale.clone(), scale_dims, &units)?);
        let mut made = node("DequantizeLinear", step, &[&bias, &scale, &zero], &[&back]);
        if by_channel {
            made = made.with(attribute::int("axis", 0));
        }
        self.nodes.push(made);
        Ok(back)
    }

    /// Adds `(W − Wq)·E[x]`, what the rounding of weights takes from each output on average.
    fn correct(&self, node: &NodeProto, dims: &[i64], residuals: &[f32], sums: &mut [f32]) {
        let Some(stat) = self.record.get(&node.input[0]) else { return };
        let n = sums.len();
        match node.op_type() {
            "Conv" if stat.channel_mean.len() as i64 == dims[1] * node.int_or("group", 1) => {
                let (per_group, inner) =
                    (dims[1] as usize, dims[2..].iter().product::<i64>().max(1) as usize);
                let outputs_per_group = n / node.int_or("group", 1).max(1) as usize;
                for (output, part) in residuals.chunks_exact(per_group * inner).enumerate() {
                    let first = output / outputs_per_group.max(1) * per_group;
                    for (input, window) in part.chunks_exact(inner).enumerate() {
                        sums[output] += window.iter().sum::<f32>() * stat.channel_mean[first + input];
                    }
                }
            }
            "Gemm" if node.float_or("alpha", 1.0) == 1.0 && node.int_or("transA", 0) == 0 => {
                let transposed = node.int_or("transB", 0) == 1;
                let columns = dims[usize::from(transposed)] as usize;
                if stat.column_mean.len() != columns {
                    return;
                }
                for (at, residual) in residuals.iter().enumerate() {
                    let (output, input) =
                        if transposed { (at / columns, at % columns) } else { (at % n, at / n) };
                    sums[output] += residual * stat.column_mean[input];
                }
            }
            _ => {}
        }
    }
}

/// The axis of a weight's output channels.
pub(crate) fn channel_axis(node: &NodeProto, dims: &[i64]) -> Option<usize> {
    match node.op_type() {
        "Conv" => Some(0),
        "ConvTranspose" if node.int_or("group", 1) == 1 => Some(1),
        "Gemm" => Some(usize::from(node.int_or("transB", 0) == 0)),
        "MatMul" if dims.len() == 2 => Some(1),
        "LSTM" => Some(1),
        _ => None,
    }
}

fn channels(node: &NodeProto, dims: &[i64]) -> usize {
    match node.op_type() {
        "ConvTranspose" => (dims[1] * node.int_or("group", 1)) as usize,
        _ => channel_axis(node, dims).map_or(0, |axis| layout(dims, Some(axis)).0),
    }
}
