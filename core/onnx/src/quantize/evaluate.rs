//! The library as the judge of what a graph computes: any tensor's value for given inputs, one node after the other or
//! optimised. Owns models with other outputs than their own; must not know why somebody wants to see a tensor.

use crate::quantize::graph::graph;
use crate::{Error, Library, Optimization, Options, Port, Session, Value};
use formats::onnx::{ModelProto, TensorProto, ValueInfoProto, tensor_of_bytes, write_model};
use std::collections::{BTreeMap, HashSet};

/// Inputs of one run, by name.
pub type Feed = BTreeMap<String, TensorProto>;

/// Runs models of one piece of work.
pub(crate) struct Evaluator<'a> {
    pub(crate) library: &'a Library,
    /// Threads of a run.
    pub(crate) threads: usize,
}

/// A model that gives some of its tensors.
pub(crate) struct Runner {
    session: Session,
}

impl Evaluator<'_> {
    /// A model whose outputs are the tensors of `names`, or its own.
    pub(crate) fn runner(
        &self,
        model: &ModelProto,
        names: Option<&[String]>,
        optimization: Optimization,
    ) -> Result<Runner, Error> {
        let options = Options { threads: self.threads, optimization, ..Options::default() };
        let bytes = match names {
            None => write_model(model)?,
            Some(names) => write_model(&with_outputs(model, names)?)?,
        };
        Ok(Runner { session: Session::of_bytes(self.library, &bytes, &options)? })
    }

    /// The values of tensors, of whatever kind: constants and inputs as they are, others computed node by node.
    pub(crate) fn values(
        &self,
        model: &ModelProto,
        names: &[String],
        feed: &Feed,
    ) -> Result<BTreeMap<String, TensorProto>, Error> {
        let constants = graph(model)?.initializer.iter();
        let mut values: BTreeMap<String, TensorProto> = constants
            .filter(|tensor| names.iter().any(|name| name == tensor.name()))
            .map(|tensor| (tensor.name().to_string(), tensor.clone()))
            .collect();
        values.extend(
            feed.iter()
                .filter(|(name, _)| names.contains(name))
                .map(|(name, tensor)| (name.clone(), tensor.clone())),
        );
        let mut seen = HashSet::new();
        let computed: Vec<String> = names
            .iter()
            .filter(|name| !values.contains_key(*name) && seen.insert((*name).clone()))
            .cloned()
            .collect();
        if computed.is_empty() {
            return Ok(values);
        }
        let outputs = self.runner(model, Some(&computed), Optimization::Off)?.run(feed)?;
        for (name, value) in computed.into_iter().zip(outputs) {
            let tensor =
                tensor_of_bytes(name.clone(), value.element_type(), &value.shape(), value.to_bytes()?)?;
            values.insert(name, tensor);
        }
        Ok(values)
    }
}

impl Runner {
    /// The outputs, in order.
    pub(crate) fn run(&mut self, feed: &Feed) -> Result<Vec<Value>, Error> {
        let values = self.values(feed)?;
        let inputs: Vec<(&str, &Value)> = values.iter().map(|(name, value)| (name.as_str(), value)).collect();
        self.session.run(&inputs)
    }

    fn values(&self, feed: &Feed) -> Result<Vec<(String, Value)>, Error> {
        let names = self.session.inputs().iter().map(|port| &port.name);
        let value = |name: &String| feed.get(name).ok_or_else(|| missing(name)).and_then(Value::of_tensor);
        names.map(|name| Ok((name.clone(), value(name)?))).collect()
    }

    /// The time of one run.
    pub(crate) fn time(&mut self, feed: &Feed) -> Result<std::time::Duration, Error> {
        let values = self.values(feed)?;
        let inputs: Vec<(&str, &Value)> = values.iter().map(|(name, value)| (name.as_str(), value)).collect();
        let start = std::time::Instant::now();
        self.session.run(&inputs)?;
        Ok(start.elapsed())
    }

    /// The outputs, whose element types are floating point numbers of 32 bits, as such; others are left out.
    pub(crate) fn floats(&mut self, feed: &Feed) -> Result<Vec<Vec<f32>>, Error> {
        let outputs = self.run(feed)?;
        Ok(outputs.iter().filter_map(|value| value.as_floats().ok()).map(<[f32]>::to_vec).collect())
    }

    /// Inputs and outputs.
    pub(crate) fn ports(&self) -> (&[Port], &[Port]) {
        (self.session.inputs(), self.session.outputs())
    }

    /// Names of the outputs, in order.
    pub(crate) fn outputs(&self) -> Vec<String> {
        self.session.outputs().iter().map(|port| port.name.clone()).collect()
    }
}

fn missing(name: &str) -> Error {
    Error::Value { name: name.into(), expected: "a value for this input".into(), got: "none".into() }
}

/// The model with other outputs; the library finds their types.
fn with_outputs(model: &ModelProto, names: &[String]) -> Result<ModelProto, Error> {
    let mut model = model.clone();
    let graph = crate::quantize::graph::graph_mut(&mut model)?;
    graph.output =
        names.iter().map(|name| ValueInfoProto { name: Some(name.clone()), ..Default::default() }).collect();
    graph.value_info.clear();
    Ok(model)
}
