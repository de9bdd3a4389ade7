//! A graph as exporters of models with channels last write it, with a change of layout before and behind every convolution:
//! made plain it answers the same with two of them left, and in eight bits it is computed as one piece.
//! Knows such graphs; must not know how the changes are carried.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use formats::onnx::{
    DataType, GraphProto, ModelProto, NodeProto, TensorProto, attribute, node, read_model, tensor_of_floats,
    value_info, write_model,
};
use llama_pajamas_tests::onnx_library;
use onnx::quantize::{Feed, Goal, Precision, Quantized, Request, Samples, Target, quantize};
use onnx::{Library, Options, Session, Value};
use std::ops::ControlFlow;

const SIDE: i64 = 16;
const N_CHANNELS: i64 = 8;

/// Values between -1 and 1, the same for a seed.
fn values(seed: usize, n: i64) -> Vec<f32> {
    (0..n as usize).map(|at| (((seed * 7919 + at * 104_729) % 2001) as f32 - 1000.0) / 1000.0).collect()
}

fn to_first(input: &str, output: &str) -> NodeProto {
    node("Transpose", output, &[input], &[output]).with(attribute::ints("perm", &[0, 3, 1, 2]))
}

fn to_last(input: &str, output: &str) -> NodeProto {
    node("Transpose", output, &[input], &[output]).with(attribute::ints("perm", &[0, 2, 3, 1]))
}

/// A convolution of channels last, and a bias by channel.
fn convolution(name: &str, input: &str, nodes: &mut Vec<NodeProto>) -> String {
    let named = |part: &str| format!("{name}/{part}");
    nodes.extend([
        to_first(input, &named("first")),
        node("Conv", name, &[&named("first"), &named("weight")], &[&named("convolved")])
            .with(attribute::ints("pads", &[1, 1, 1, 1])),
        to_last(&named("convolved"), &named("last")),
        node("Add", named("add"), &[&named("last"), &named("bias")], &[&named("sum")]),
    ]);
    named("sum")
}

/// Three convolutions, the second with a way around it, and a gate.
fn exported() -> ModelProto {
    let mut nodes = Vec::new();
    let one = convolution("one", "x", &mut nodes);
    nodes.push(node("Relu", "relu", &[&one], &["relu"]));
    let two = convolution("two", "relu", &mut nodes);
    nodes.extend([
        node("Sigmoid", "gate", &[&two], &["gate"]),
        node("Mul", "gated", &[&two, "gate"], &["gated"]),
        node("Add", "around", &["gated", "relu"], &["around"]),
        node("Clip", "clip", &["around", "zero", "six"], &["clip"]),
    ]);
    let three = convolution("three", "clip", &mut nodes);
    nodes.push(node("Concat", "y", &[&three, "clip"], &["y"]).with(attribute::int("axis", 3)));
    let mut constants: Vec<TensorProto> =
        vec![tensor_of_floats("zero", &[], &[0.0]).unwrap(), tensor_of_floats("six", &[], &[6.0]).unwrap()];
    for (seed, (name, n_in)) in
        [("one", 3), ("two", N_CHANNELS), ("three", N_CHANNELS)].into_iter().enumerate()
    {
        let dims = [N_CHANNELS, n_in, 3, 3];
        let weight = values(seed, dims.iter().product());
        constants.push(tensor_of_floats(format!("{name}/weight"), &dims, &weight).unwrap());
        let bias = values(seed + 10, N_CHANNELS);
        constants.push(tensor_of_floats(format!("{name}/bias"), &[N_CHANNELS], &bias).unwrap());
    }
    let mut model = ModelProto {
        ir_version: Some(8),
        graph: Some(GraphProto {
            name: Some("channels-last".into()),
            node: nodes,
            initializer: constants,
            input: vec![value_info("x", DataType::Float, &[Ok(1), Ok(SIDE), Ok(SIDE), Ok(3)])],
            output: vec![value_info("y", DataType::Float, &[Ok(1), Ok(SIDE), Ok(SIDE), Ok(2 * N_CHANNELS)])],
            ..Default::default()
        }),
        ..Default::default()
    };
    model.opset_import.push(formats::onnx::OperatorSetIdProto { domain: None, version: Some(17) });
    model
}

fn feeds(seeds: std::ops::Range<usize>) -> Samples {
    let feed = |seed| -> Vec<Feed> {
        let picture = tensor_of_floats("x", &[1, SIDE, SIDE, 3], &values(seed, SIDE * SIDE * 3)).unwrap();
        vec![[("x".to_string(), picture)].into()]
    };
    Samples { sequences: seeds.map(feed).collect(), carried: vec![] }
}

fn answers(model: &[u8]) -> Vec<f32> {
    let library = Library::open(&onnx_library()).unwrap();
    let mut session = Session::of_bytes(&library, model, &Options::default()).unwrap();
    let answer = |seed| {
        let picture = Value::floats(&[1, SIDE, SIDE, 3], values(seed, SIDE * SIDE * 3)).unwrap();
        session.run(&[("x", &picture)]).unwrap()[0].as_floats().unwrap().to_vec()
    };
    (100..110).flat_map(answer).collect()
}

fn made(model: &[u8], precision: Precision) -> Quantized {
    let library = Library::open(&onnx_library()).unwrap();
    let target = Target::of_name("cpu").unwrap();
    let request = Request { goal: Goal::Size, ..Request::new(precision, target) };
    quantize(
        &library,
        &read_model(model.to_vec()).unwrap(),
        &request,
        &feeds(0..8),
        &feeds(20..24),
        &mut |_, _, _| ControlFlow::Continue(()),
    )
    .unwrap()
}

fn operators(model: &[u8]) -> Vec<String> {
    let graph = read_model(model.to_vec()).unwrap().graph.unwrap();
    graph.node.iter().map(|node| node.op_type().to_string()).collect()
}

#[test]
fn changes_of_layout_go_and_answers_stay() {
    let original = write_model(&exported()).unwrap();
    let expected = answers(&original);
    let int8 = made(&original, Precision::Int8);
    let n = |model: &[u8]| operators(model).iter().filter(|name| *name == "Transpose").count();
    println!(
        "changes of layout: {} as exported, {} plain, {} in int8",
        n(&original),
        n(&int8.plain),
        n(&int8.model)
    );
    assert_eq!((n(&original), n(&int8.plain), n(&int8.model)), (6, 2, 2));
    assert_eq!(int8.report.cleaning.n_transposes, 4);
    let plain = answers(&int8.plain);
    let apart = expected.iter().zip(&plain).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let spread = expected.iter().map(|value| value.abs()).fold(0.0, f32::max);
    println!("plain: {apart:e} apart of {spread}");
    assert!(apart <= 1e-5 * spread, "{apart} of {spread}");
    let quantized = answers(&int8.model);
    let (mut error, mut power) = (0.0, 0.0);
    for (a, b) in expected.iter().zip(&quantized) {
        error += f64::from(a - b).powi(2);
        power += f64::from(*a).powi(2);
    }
    println!("int8: {:.2e} of the power", error / power);
    assert!(error <= 0.01 * power);
}

const N_INPUTS: i64 = 64;

/// Tensors of four equal extents that flow through pointwise operators and changes of layout at random, behind one product.
fn random(seed: usize) -> ModelProto {
    const EDGE: i64 = 3;
    let mut state = seed as u64 * 7919 + 1;
    let mut below = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as usize) % n
    };
    let orders = [[0, 3, 1, 2], [0, 2, 3, 1], [1, 0, 3, 2], [3, 2, 1, 0]];
    let mut nodes = vec![
        node("MatMul", "product", &["x", "weight"], &["t"]),
        node("Reshape", "cube", &["t", "shape"], &["t0"]),
        node("Transpose", "first", &["t0"], &["t1"]).with(attribute::ints("perm", &orders[seed % 4])),
    ];
    for at in 2..14 {
        let output = format!("t{at}");
        // Late ones for the most part: ways that meet again.
        let any = format!("t{}", at - 1 - below(at.min(4)));
        let other = format!("t{}", below(at));
        let made = |operator: &str, inputs: &[&str]| node(operator, &output, inputs, &[&output]);
        nodes.push(match below(8) {
            0..3 => made("Transpose", &[&any]).with(attribute::ints("perm", &orders[below(4)])),
            3 => made("Sigmoid", &[&any]),
            4 => made("Add", &[&any, "row"]),
            5 => made("Add", &["block", &any]),
            6 => made("Sub", &[&any, &other]),
            _ => made("Softmax", &[&any]).with(attribute::int("axis", below(4) as i64 - 2)),
        });
    }
    nodes.push(node("Concat", "y", &["t13", "t12", "t11"], &["y"]).with(attribute::int("axis", 0)));
    let floats = |name: &str, dims: &[i64], seed| {
        tensor_of_floats(name, dims, &values(seed, dims.iter().product())).unwrap()
    };
    let shape = formats::onnx::tensor_of_integers("shape", &[4], &[EDGE; 4]).unwrap();
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![formats::onnx::OperatorSetIdProto { domain: None, version: Some(17) }],
        graph: Some(GraphProto {
            name: Some(format!("random {seed}")),
            node: nodes,
            initializer: vec![
                shape,
                floats("weight", &[N_INPUTS, EDGE.pow(4)], seed),
                floats("row", &[EDGE], seed + 1),
                floats("block", &[EDGE, 1, EDGE], seed + 2),
            ],
            input: vec![value_info("x", DataType::Float, &[Ok(1), Ok(N_INPUTS)])],
            output: vec![value_info("y", DataType::Float, &[Ok(3 * EDGE), Ok(EDGE), Ok(EDGE), Ok(EDGE)])],
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[test]
fn random_graphs_answer_the_same_with_no_more_changes_of_layout() {
    let library = Library::open(&onnx_library()).unwrap();
    let target = Target::of_name("cpu").unwrap();
    let request = Request { goal: Goal::Size, ..Request::new(Precision::Fp16, target) };
    let (dims, input) = ([1, N_INPUTS], values(5, N_INPUTS));
    let feed: Feed = [("x".to_string(), tensor_of_floats("x", &dims, &input).unwrap())].into();
    let samples = Samples { sequences: vec![vec![feed]], carried: vec![] };
    let answer = |model: &[u8]| {
        let mut session = Session::of_bytes(&library, model, &Options::default()).unwrap();
        let value = Value::floats(&dims, input.clone()).unwrap();
        session.run(&[("x", &value)]).unwrap()[0].as_floats().unwrap().to_vec()
    };
    let (mut n_before, mut n_after) = (0, 0);
    for seed in 0..20 {
        let model = random(seed);
        let original = write_model(&model).unwrap();
        let made =
            quantize(
                &library,
                &model,
                &request,
                &samples,
                &samples,
                &mut |_, _, _| ControlFlow::Continue(()),
            )
            .unwrap();
        let (expected, got) = (answer(&original), answer(&made.plain));
        let apart = expected.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart <= 1e-5, "graph {seed}: {apart}");
        n_before += made.report.cleaning.n_transposes;
        n_after += operators(&made.plain).iter().filter(|name| *name == "Transpose").count();
    }
    println!("20 random graphs: {n_before} changes of layout went, {n_after} stay");
    assert!(n_before > 10);
}
