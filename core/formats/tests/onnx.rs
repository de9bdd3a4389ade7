//! ONNX models written and read again: graphs drawn at random, any bytes, and the seeds of the fuzz target
//! (`UPDATE_SEEDS=1 cargo test -p llama-pajamas-formats --features onnx --test onnx` writes them anew). Knows the public API alone.

use llama_pajamas_formats::onnx::{
    Bytes, DataType, GraphProto, Location, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, attribute,
    element_bits, external_tensor, load_external, node, read_model, store_external, tensor_bytes,
    tensor_of_bytes, tensor_of_floats, tensor_of_integers, value_info, write_model,
};
use proptest::collection::vec;
use proptest::prelude::*;
use std::path::Path;

fn model(graph: GraphProto) -> ModelProto {
    let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(17) };
    ModelProto { ir_version: Some(8), opset_import: vec![opset], graph: Some(graph), ..Default::default() }
}

fn tensor() -> impl Strategy<Value = TensorProto> {
    use DataType::*;
    let types = [Float, Uint8, Int8, Int32, Int64, Bool, Float16, Double, Bfloat16, Uint4, Int4, Uint2];
    (prop::sample::select(types.to_vec()), vec(0i64..5, 0..4), "[a-z]{1,8}").prop_flat_map(
        |(ty, dims, name)| {
            let bits = element_bits(ty).expect("a type of numbers") * dims.iter().product::<i64>() as u64;
            vec(any::<u8>(), bits.div_ceil(8) as usize)
                .prop_map(move |data| tensor_of_bytes(name.clone(), ty, &dims, data).expect("data that fits"))
        },
    )
}

fn any_node() -> impl Strategy<Value = NodeProto> {
    let names = || vec("[a-z]{0,6}", 0..4);
    let parts = ("[A-Z][a-z]{1,8}", "[a-z0-9/]{0,12}", names(), names());
    (parts, any::<i64>(), vec(-9i64..9, 0..5), proptest::option::of(tensor())).prop_map(
        |((operator, name, inputs, outputs), number, numbers, tensor)| {
            let (inputs, outputs) = (inputs.iter().map(String::as_str), outputs.iter().map(String::as_str));
            let made = node(&operator, name, &inputs.collect::<Vec<_>>(), &outputs.collect::<Vec<_>>())
                .with(attribute::int("axis", number))
                .with(attribute::ints("pads", &numbers))
                .with(attribute::float("alpha", number as f32))
                .with(attribute::text("mode", &operator));
            tensor.into_iter().fold(made, |made, tensor| made.with(attribute::tensor("value", tensor)))
        },
    )
}

fn graph() -> impl Strategy<Value = GraphProto> {
    let flat = || (vec(any_node(), 0..5), vec(tensor(), 0..4));
    (flat(), proptest::option::of(flat())).prop_map(|((node, initializer), below)| {
        let mut graph = GraphProto { node, initializer, ..Default::default() };
        graph.input.push(value_info("x", DataType::Float, &[Ok(1), Err("n")]));
        if let Some((node, initializer)) = below {
            let below = GraphProto { node, initializer, ..Default::default() };
            graph
                .node
                .push(self::node("If", "", &["c"], &["y"]).with(attribute::graph("then_branch", below)));
        }
        graph
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(graph in graph()) {
        let model = model(graph);
        let bytes = write_model(&model).expect("a small model");
        prop_assert_eq!(&read_model(bytes.clone()).expect("a good model"), &model);
        prop_assert_eq!(write_model(&read_model(bytes.clone()).expect("a good model")).expect("small"), bytes);
    }

    #[test]
    fn data_survives_being_outside(tensors in vec(tensor(), 0..6), min in 0usize..20, align in 1u64..70) {
        let original = model(GraphProto { initializer: tensors, ..Default::default() });
        let (mut outside, mut file) = (original.clone(), Vec::new());
        let end = store_external(&mut outside, "weights/m.data", min, align, |offset, bytes| {
            assert!(offset % align == 0 && offset >= file.len() as u64);
            file.resize(offset as usize, 0);
            file.extend(bytes);
            Ok(())
        });
        prop_assert_eq!(end.expect("room"), file.len() as u64);
        let mut back = read_model(write_model(&outside).expect("small")).expect("good");
        let read = |place: &Location| {
            let start = place.offset as usize;
            Ok(Bytes::copy_from_slice(&file[start..start + place.length.expect("asked with one") as usize]))
        };
        load_external(&mut back, read).expect("all there");
        prop_assert_eq!(back, original);
    }

    #[test]
    fn broken_bytes_are_an_error_or_a_model_whose_tensors_can_be_read(
        graph in graph(), cut in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>(), bit in 0u8..8
    ) {
        let mut bytes = write_model(&model(graph)).expect("small");
        let at = flip.index(bytes.len());
        bytes[at] ^= 1 << bit;
        for bytes in [bytes[..cut.index(bytes.len())].to_vec(), bytes] {
            let Ok(model) = read_model(bytes) else { continue };
            for tensor in &model.graph.expect("checked").initializer {
                prop_assert!(tensor.is_external() || tensor_bytes(tensor).is_ok() || tensor.element_type() == DataType::String);
            }
        }
    }
}

fn check_seeds(target: &str, seeds: &[(&str, ModelProto)]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    for (name, model) in seeds {
        let (path, bytes) = (folder.join(name), write_model(model).expect("a seed"));
        read_model(bytes.clone()).expect(name);
        if std::env::var_os("UPDATE_SEEDS").is_some() {
            std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, &bytes)).expect("a seed");
        }
        let committed = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(committed == bytes, "{}: stale, run with UPDATE_SEEDS=1", path.display());
    }
}

#[test]
fn seeds_are_those_committed() {
    let weight = || tensor_of_floats("w", &[2, 2], &[1.0, -0.5, 0.25, 3.0]).expect("a seed");
    let convolution = GraphProto {
        node: vec![
            node("Conv", "first", &["x", "w"], &["y"]).with(attribute::ints("pads", &[1, 1, 1, 1])),
            node("Relu", "", &["y"], &["z"]),
        ],
        initializer: vec![weight(), tensor_of_integers("shape", &[2], &[1, -1]).expect("a seed")],
        input: vec![value_info("x", DataType::Float, &[Ok(1), Err("n")])],
        output: vec![value_info("z", DataType::Float, &[])],
        ..Default::default()
    };
    let branch = GraphProto { initializer: vec![weight()], ..convolution.clone() };
    let branches = GraphProto {
        node: vec![
            node("If", "choice", &["c"], &["y"])
                .with(attribute::graph("then_branch", branch.clone()))
                .with(attribute::graph("else_branch", branch)),
        ],
        ..Default::default()
    };
    let location = Location { file: "m.onnx_data".into(), offset: 64, length: Some(16) };
    let outside = external_tensor("w", DataType::Float, &[2, 2], &location).expect("a seed");
    let typed = TensorProto { raw_data: None, float_data: vec![1.0; 4], ..weight() };
    let texts = TensorProto {
        name: Some("t".into()),
        data_type: Some(DataType::String as i32),
        dims: vec![2],
        string_data: vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")],
        ..Default::default()
    };
    let tensors = GraphProto { initializer: vec![outside, typed, texts], ..Default::default() };
    let seeds =
        [("convolution", model(convolution)), ("branches", model(branches)), ("tensors", model(tensors))];
    check_seeds("onnx_model", &seeds);
}
