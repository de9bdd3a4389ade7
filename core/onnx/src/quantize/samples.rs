//! What a model is shown to be calibrated and judged: sets of inputs, one by one or as sequences that carry a state.
//! Knows inputs by name; must not know pictures and sounds.

use crate::Error;
use crate::quantize::evaluate::{Feed, Runner};
use formats::onnx::{TensorProto, tensor_of_bytes};

/// Sequences of inputs; a picture is a sequence of one.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    /// Inputs of each step, without those that are carried.
    pub sequences: Vec<Vec<Feed>>,
    /// Outputs that become inputs of the next step, with their value at the start.
    pub carried: Vec<Carried>,
}

/// A state that flows from step to step.
#[derive(Debug, Clone)]
pub struct Carried {
    /// The output that has it after a step.
    pub output: String,
    /// The input that takes it at the next one.
    pub input: String,
    /// What it is before the first step.
    pub start: TensorProto,
}

/// What a model did with samples: inputs as they were, states included, and outputs.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) feeds: Vec<Feed>,
    /// By step: each output that is a tensor of 32-bit floats.
    pub(crate) outputs: Vec<Vec<Vec<f32>>>,
}

impl Samples {
    /// Steps in all.
    pub fn n_steps(&self) -> usize {
        self.sequences.iter().map(Vec::len).sum()
    }

    /// The first step's inputs, states included.
    pub(crate) fn first(&self) -> Result<Feed, Error> {
        let mut feed =
            self.sequences.first().and_then(|steps| steps.first()).cloned().ok_or(Error::NoSamples)?;
        feed.extend(self.carried.iter().map(|carried| (carried.input.clone(), carried.start.clone())));
        Ok(feed)
    }

    /// Runs every sequence, each with its own state from the start.
    pub(crate) fn trace(&self, runner: &mut Runner) -> Result<Trace, Error> {
        let mut trace = Trace::default();
        let names = runner.outputs();
        for steps in &self.sequences {
            let mut states: Vec<TensorProto> =
                self.carried.iter().map(|carried| carried.start.clone()).collect();
            for step in steps {
                let mut feed = step.clone();
                for (carried, state) in self.carried.iter().zip(&states) {
                    feed.insert(carried.input.clone(), state.clone());
                }
                let values = runner.run(&feed)?;
                for (carried, state) in self.carried.iter().zip(&mut states) {
                    let at = names.iter().position(|name| *name == carried.output);
                    let value = at.and_then(|at| values.get(at)).ok_or_else(|| Error::Port {
                        direction: "output",
                        name: carried.output.clone(),
                        known: names.clone(),
                    })?;
                    *state = tensor_of_bytes(
                        &carried.input,
                        value.element_type(),
                        &value.shape(),
                        value.to_bytes()?,
                    )?;
                }
                let floats = values.iter().filter_map(|value| value.as_floats().ok());
                trace.outputs.push(floats.map(<[f32]>::to_vec).collect());
                trace.feeds.push(feed);
            }
        }
        Ok(trace)
    }
}
