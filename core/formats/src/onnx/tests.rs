//! Tensors, places beside a model and checks of the ONNX reader, on models made here.

use super::*;

fn model(tensors: Vec<TensorProto>) -> ModelProto {
    let graph = GraphProto { initializer: tensors, ..GraphProto::default() };
    ModelProto { ir_version: Some(10), graph: Some(graph), ..ModelProto::default() }
}

fn outcome(model: &ModelProto) -> String {
    read_model(write_model(model).unwrap()).map_or_else(|error| error.to_string(), |_| "accepted".into())
}

#[test]
fn elements_are_read_from_every_field() {
    let scalar = |ty: DataType| TensorProto {
        name: Some("t".into()),
        data_type: Some(ty as i32),
        ..Default::default()
    };
    let cases = [
        TensorProto { int32_data: vec![-2], ..scalar(DataType::Int8) },
        TensorProto { int32_data: vec![-2], ..scalar(DataType::Int32) },
        TensorProto { int64_data: vec![-2], ..scalar(DataType::Int64) },
        tensor_of_bytes("t", DataType::Int16, &[], vec![0xfe, 0xff]).unwrap(),
    ];
    for tensor in cases {
        assert_eq!(tensor_integers(&tensor).unwrap(), [-2], "{:?}", tensor.element_type());
    }
    let cases = [
        TensorProto { float_data: vec![1.5], ..scalar(DataType::Float) },
        TensorProto { double_data: vec![1.5], ..scalar(DataType::Double) },
        TensorProto { int32_data: vec![0x3e00], ..scalar(DataType::Float16) },
        TensorProto { int32_data: vec![0x3fc0], ..scalar(DataType::Bfloat16) },
    ];
    for tensor in cases {
        assert_eq!(tensor_floats(&tensor).unwrap(), [1.5], "{:?}", tensor.element_type());
    }
    assert!(tensor_floats(&tensor_of_integers("t", &[1], &[1]).unwrap()).is_err());
}

#[test]
fn what_does_not_fit_together_is_named() {
    let good = tensor_of_floats("w", &[2], &[1.0, 2.0]).unwrap();
    assert_eq!(outcome(&model(vec![good.clone()])), "accepted");
    let bad = |change: fn(&mut TensorProto)| {
        let mut tensor = good.clone();
        change(&mut tensor);
        outcome(&model(vec![tensor]))
    };
    assert_eq!(bad(|t| t.dims = vec![3]), "tensor `w`: raw_data: expected 12 bytes for [3], got 8 bytes");
    assert_eq!(bad(|t| t.dims = vec![-1]), "tensor `w`: dims: expected whole numbers, got [-1]");
    assert_eq!(
        bad(|t| t.data_type = Some(99)),
        "tensor `w`: data_type: expected a type of the schema, got 99"
    );
    assert_eq!(bad(|t| t.raw_data = None), "tensor `w`: float_data: expected 2 numbers for [2], got 0");
    assert_eq!(
        outcome(&ModelProto { graph: None, ir_version: Some(1), ..Default::default() }),
        "graph: expected one, got none"
    );
    assert!(read_model(&b"not a model"[..]).unwrap_err().to_string().starts_with("not an ONNX model"));
}

#[test]
fn a_place_outside_the_folder_is_refused() {
    for file in ["../w.bin", "/etc/passwd", "a//b", "", "c:w"] {
        let location = Location { file: file.into(), offset: 0, length: Some(8) };
        let error = external_tensor("w", DataType::Float, &[2], &location).unwrap_err().to_string();
        assert!(error.contains("`w`: external_data location"), "{error}");
    }
}

#[test]
fn data_goes_out_and_comes_back() {
    let tensors = [("a", 3), ("b", 20), ("c", 17)].map(|(name, n)| {
        tensor_of_bytes(name, DataType::Uint8, &[n], (0..n as u8).collect::<Vec<_>>()).unwrap()
    });
    let original = model(tensors.to_vec());
    let (mut outside, mut file) = (original.clone(), Vec::new());
    let length = store_external(&mut outside, "m.data", 16, 64, |offset, bytes| {
        file.resize(offset as usize, 0);
        file.extend(bytes);
        Ok(())
    });
    assert_eq!(length.unwrap(), 81);
    let mut back = read_model(write_model(&outside).unwrap()).unwrap();
    let place = |location: &Location| {
        let start = location.offset as usize;
        file.get(start..start + location.length.unwrap() as usize)
            .map(Bytes::copy_from_slice)
            .ok_or("too short".into())
    };
    load_external(&mut back, place).unwrap();
    assert_eq!(back, original);
    let error = load_external(&mut outside, |_| Err("no such file".into())).unwrap_err().to_string();
    assert_eq!(error, "tensor `b`: its data in `m.data`: no such file");
}

#[test]
fn attributes_are_found() {
    let node = node("Conv", "first", &["x", "w"], &["y"])
        .with(attribute::ints("pads", &[1, 1]))
        .with(attribute::text("auto_pad", "VALID"));
    assert_eq!(
        (node.ints("pads"), node.text("auto_pad"), node.int_or("group", 1)),
        (Some(&[1, 1][..]), Some("VALID"), 1)
    );
    assert_eq!(
        node.graph("body").unwrap_err().to_string(),
        "node `first` (Conv): attribute `body`: expected a graph"
    );
}
