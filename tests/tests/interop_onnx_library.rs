//! Sessions of the real ONNX Runtime library: its kernels compute, values flow from run to run, providers that are not there
//! are told, unknown operators and inputs are errors, and a computation ends when it is cancelled.
//! Knows the library's place; must not know how sessions are made.

#![allow(clippy::unwrap_used, reason = "a test")]

use formats::onnx::{
    DataType, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, attribute, node, tensor_of_floats,
    value_info, write_model,
};
use llama_pajamas_tests::{onnx_library, shared};
use onnx::{Error, Library, Options, Provider, Session, Value};
use std::time::Duration;

fn library() -> Library {
    Library::open(&onnx_library()).unwrap()
}

fn model(nodes: Vec<NodeProto>, edge: i64) -> Vec<u8> {
    let side = [Ok(edge), Ok(edge)];
    let graph = GraphProto {
        name: Some("graph".into()),
        node: nodes,
        initializer: vec![tensor_of_floats("one", &[1], &[1.0]).unwrap()],
        input: vec![value_info("x", DataType::Float, &side)],
        output: vec![value_info("y", DataType::Float, &side)],
        ..Default::default()
    };
    let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(17) };
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![opset],
        graph: Some(graph),
        ..Default::default()
    };
    write_model(&model).unwrap()
}

#[test]
fn a_session_computes_and_its_values_flow_on() {
    let library = library();
    assert!(library.version().starts_with("1."), "{}", library.version());
    assert!(library.compiled_providers().contains(&Provider::Cpu));
    let graph = model(vec![node("Add", "", &["x", "one"], &["y"])], 2);
    let mut session = Session::of_bytes(&library, &graph, &Options::default()).unwrap();
    assert_eq!(
        (session.inputs()[0].shape.as_slice(), session.inputs()[0].ty),
        (&[2, 2][..], DataType::Float)
    );
    let mut value = Value::floats(&[2, 2], vec![0.0, 1.0, 2.0, 3.0]).unwrap();
    for _ in 0..3 {
        value = session.run(&[("x", &value)]).unwrap().remove(0);
    }
    assert_eq!((value.as_floats().unwrap(), value.shape()), (&[3.0, 4.0, 5.0, 6.0][..], vec![2, 2]));
    let error = session.run(&[("z", &value)]).unwrap_err().to_string();
    assert_eq!(error, "input `z`: the model has x");
    assert!(matches!(session.run(&[]), Err(Error::Port { direction: "missing input", .. })));
    let narrow = Value::floats(&[1, 2], vec![0.0, 1.0]).unwrap();
    assert!(matches!(session.run(&[("x", &narrow)]), Err(Error::Run(_))));
    assert!(Value::floats(&[3], vec![0.0]).is_err());
}

#[test]
fn a_provider_that_is_not_there_is_told_and_the_processor_computes() {
    let library = library();
    let missing =
        Provider::ALL.into_iter().find(|provider| !library.compiled_providers().contains(provider)).unwrap();
    let options = Options { providers: vec![missing], ..Options::default() };
    let graph = model(vec![node("Add", "", &["x", "one"], &["y"])], 2);
    let mut session = Session::of_bytes(&library, &graph, &options).unwrap();
    assert_eq!(session.providers(), [Provider::Cpu]);
    assert_eq!(session.fallbacks().len(), 1);
    assert!(session.fallbacks()[0].provider == missing && !session.fallbacks()[0].reason.is_empty());
    let value = Value::floats(&[2, 2], vec![0.0; 4]).unwrap();
    assert_eq!(session.run(&[("x", &value)]).unwrap()[0].as_floats().unwrap(), [1.0; 4]);
}

#[test]
fn what_the_library_refuses_is_an_error_that_names_it() {
    let library = library();
    let graph = model(vec![node("Unheard", "strange", &["x"], &["y"])], 2);
    let error = Session::of_bytes(&library, &graph, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("refuses the model") && error.contains("Unheard"), "{error}");
    let error = Session::of_bytes(&library, b"no model", &Options::default()).unwrap_err();
    assert!(matches!(error, Error::Load { .. }), "{error}");
    let elsewhere = onnx_library().with_file_name("another.so");
    assert!(matches!(Library::open(&elsewhere), Err(Error::LibraryAlready { .. })));
}

#[test]
fn a_cancelled_computation_ends_and_the_next_one_runs() {
    let library = library();
    let step = |at: usize| {
        let (from, to) = (if at == 0 { "x".into() } else { format!("t{at}") }, format!("t{}", at + 1));
        node("MatMul", format!("m{at}"), &[&from, "x"], &[&to])
    };
    let mut nodes: Vec<_> = (0..4000).map(step).collect();
    nodes.push(node("Clip", "", &["t4000"], &["y"]).with(attribute::text("note", "")));
    nodes.last_mut().unwrap().attribute.clear();
    let mut session = Session::of_bytes(&library, &model(nodes, 256), &Options::default()).unwrap();
    let (cancel, value) = (session.cancel(), Value::floats(&[256, 256], vec![0.001; 256 * 256]).unwrap());
    let canceller = {
        let cancel = cancel.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            cancel.cancel();
        })
    };
    assert!(matches!(session.run(&[("x", &value)]), Err(Error::Cancelled)));
    canceller.join().unwrap();
    assert!(matches!(session.run(&[("x", &value)]), Err(Error::Cancelled)));
    cancel.reset();
    session.run(&[("x", &value)]).unwrap();
}

#[test]
fn a_real_classifier_reads_digits() {
    let options = Options::default();
    let mut session = Session::open(&library(), &shared("data/onnx/mnist.onnx"), &options).unwrap();
    let name = session.inputs()[0].name.clone();
    let shape: Vec<i64> = session.inputs()[0].shape.iter().map(|&dim| dim.max(1)).collect();
    let blank = Value::floats(&shape, vec![0.0; shape.iter().product::<i64>() as usize]).unwrap();
    let outputs = session.run(&[(&name, &blank)]).unwrap();
    assert_eq!(outputs[0].as_floats().unwrap().len(), 10);
}
