//! What the three models of the shared data are asked: faces of a photo, digits, and where somebody speaks.
//! Knows their inputs and outputs; must not know how any file of theirs was made.

use formats::onnx::{TensorProto, tensor_of_floats, tensor_of_integers};
use llama_pajamas_tests::{oracle, repository, run, shared};
use onnx::quantize::{Carried, Feed, Samples};
use onnx::{Library, Options, Session, Value};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Raw inputs, made by the outside tools from the shared data.
pub(crate) struct Inputs {
    folder: tempfile::TempDir,
}

fn floats(path: &Path) -> Vec<f32> {
    std::fs::read(path).unwrap().as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

/// Samples of a step of speech: 64 that the step before ended with, and 512 new ones.
const CONTEXT: usize = 64;
const STEP: usize = 512;

impl Inputs {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = repository().join("scripts/oracles/onnx_side.py");
        let mut command = Command::new(oracle("venv/bin/python"));
        run(command.arg(script).arg("inputs").arg(shared("data/onnx")).arg(folder.path()));
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file made by onnxruntime's own quantizer of a model.
    pub(crate) fn outside(&self, way: &str, model: &Path, kind: &str) -> Vec<u8> {
        let (script, out) = (repository().join("scripts/oracles/onnx_side.py"), self.path("outside.onnx"));
        let mut command = Command::new(oracle("venv/bin/python"));
        command.arg(script).arg(way).arg(model).arg(&out);
        if way == "static" {
            command.arg(self.folder.path()).arg(kind);
        }
        run(&mut command);
        std::fs::read(&out).unwrap()
    }

    fn picture(&self, name: &str) -> Feed {
        let tensor = tensor_of_floats("input", &[1, 3, 240, 320], &floats(&self.path(name))).unwrap();
        [("input".to_string(), tensor)].into()
    }

    pub(crate) fn photo(&self) -> Samples {
        Samples { sequences: vec![vec![self.picture("photo.f32")]], carried: Vec::new() }
    }

    /// Parts of the photo, never the photo itself.
    pub(crate) fn crops(&self) -> Samples {
        let crop = |number: usize| vec![self.picture(&format!("crop_{number:02}.f32"))];
        Samples { sequences: (0..32).map(crop).collect(), carried: Vec::new() }
    }

    pub(crate) fn digits(&self) -> Vec<(Feed, u8)> {
        let (pixels, labels) =
            (std::fs::read(self.path("digits.u8")).unwrap(), std::fs::read(self.path("labels.u8")).unwrap());
        let digit = |(pixels, &label): (&[u8], &u8)| {
            let values: Vec<f32> =
                pixels.iter().map(|&pixel| (f32::from(pixel) / 255.0 - 0.1307) / 0.3081).collect();
            let tensor = tensor_of_floats("input.1", &[1, 1, 28, 28], &values).unwrap();
            (Feed::from([("input.1".to_string(), tensor)]), label)
        };
        pixels.chunks_exact(28 * 28).zip(&labels).map(digit).collect()
    }

    /// The recording cut into steps; `part` of it, in seconds.
    pub(crate) fn speech(&self, part: std::ops::Range<f32>) -> Samples {
        let all = floats(&self.path("speech.f32"));
        let place = |seconds: f32| ((seconds * 16000.0) as usize).min(all.len());
        let sound = &all[place(part.start)..place(part.end)];
        let mut before = vec![0.0; CONTEXT];
        let mut steps = Vec::new();
        for chunk in sound.chunks_exact(STEP) {
            let values: Vec<f32> = before.iter().chain(chunk).copied().collect();
            before = chunk[STEP - CONTEXT..].to_vec();
            let input = tensor_of_floats("input", &[1, (CONTEXT + STEP) as i64], &values).unwrap();
            let rate = tensor_of_integers("sr", &[], &[16000]).unwrap();
            steps.push(Feed::from([("input".to_string(), input), ("sr".to_string(), rate)]));
        }
        let start = tensor_of_floats("state", &[2, 1, 128], &[0.0; 256]).unwrap();
        let carried = Carried { output: "stateN".into(), input: "state".into(), start };
        Samples { sequences: vec![steps], carried: vec![carried] }
    }
}

/// A session and what it is fed with.
pub(crate) struct Judged {
    session: Session,
}

impl Judged {
    pub(crate) fn new(library: &Library, model: &[u8]) -> Self {
        Self {
            session: Session::of_bytes(library, model, &Options { threads: 1, ..Options::default() })
                .unwrap(),
        }
    }

    fn run(&mut self, feed: &[(String, TensorProto)]) -> Vec<Value> {
        let names: Vec<String> = self.session.inputs().iter().map(|port| port.name.clone()).collect();
        let wanted = feed.iter().filter(|(name, _)| names.contains(name));
        let values: Vec<_> = wanted.map(|(name, tensor)| (name, Value::of_tensor(tensor).unwrap())).collect();
        self.session
            .run(&values.iter().map(|(name, value)| (name.as_str(), value)).collect::<Vec<_>>())
            .unwrap()
    }

    /// How many times as fast as `other`, on the first step of samples: the least time of each, taken in turn.
    pub(crate) fn speed(&mut self, other: &mut Self, samples: &Samples, n: usize) -> f64 {
        let mut least = (f64::INFINITY, f64::INFINITY);
        for _ in 0..5 {
            least = (least.0.min(self.time(samples, n / 5)), least.1.min(other.time(samples, n / 5)));
        }
        least.1 / least.0
    }

    fn time(&mut self, samples: &Samples, n: usize) -> f64 {
        let mut feed: Vec<_> = samples.sequences[0][0].clone().into_iter().collect();
        feed.extend(samples.carried.iter().map(|carried| (carried.input.clone(), carried.start.clone())));
        let names: Vec<String> = self.session.inputs().iter().map(|port| port.name.clone()).collect();
        let wanted = feed.iter().filter(|(name, _)| names.contains(name));
        let values: Vec<_> = wanted.map(|(name, tensor)| (name, Value::of_tensor(tensor).unwrap())).collect();
        let inputs: Vec<_> = values.iter().map(|(name, value)| (name.as_str(), value)).collect();
        let once = |session: &mut Session| {
            let start = Instant::now();
            session.run(&inputs).unwrap();
            start.elapsed().as_secs_f64() * 1e3
        };
        (0..n).map(|_| once(&mut self.session)).fold(f64::INFINITY, f64::min)
    }

    /// Part of the digits that are read right.
    pub(crate) fn accuracy(&mut self, digits: &[(Feed, u8)]) -> f64 {
        let right = digits.iter().filter(|(feed, label)| {
            let feed: Vec<_> = feed.clone().into_iter().collect();
            let outputs = self.run(&feed);
            let scores = outputs[0].as_floats().unwrap();
            let best = scores.iter().enumerate().max_by(|one, two| one.1.total_cmp(two.1)).unwrap().0;
            best == usize::from(*label)
        });
        right.count() as f64 / digits.len() as f64
    }

    /// Faces with a score above 0.7, best first, each the best of those that overlap it.
    pub(crate) fn faces(&mut self, samples: &Samples) -> Vec<[f32; 4]> {
        let feed: Vec<_> = samples.sequences[0][0].clone().into_iter().collect();
        let outputs = self.run(&feed);
        let (scores, boxes) = (outputs[0].as_floats().unwrap(), outputs[1].as_floats().unwrap());
        let mut found: Vec<(f32, [f32; 4])> = boxes
            .chunks_exact(4)
            .zip(scores.chunks_exact(2))
            .filter(|(_, score)| score[1] > 0.7)
            .map(|(place, score)| (score[1], [place[0], place[1], place[2], place[3]]))
            .collect();
        found.sort_by(|one, two| two.0.total_cmp(&one.0));
        let mut kept: Vec<[f32; 4]> = Vec::new();
        for (_, place) in found {
            if kept.iter().all(|other| overlap(other, &place) < 0.3) {
                kept.push(place);
            }
        }
        kept
    }

    /// Probability of speech at each step, the model's own state carried.
    pub(crate) fn speech(&mut self, samples: &Samples) -> Vec<f32> {
        let mut probabilities = Vec::new();
        for steps in &samples.sequences {
            let mut state = samples.carried[0].start.clone();
            for step in steps {
                let mut feed: Vec<_> = step.clone().into_iter().collect();
                feed.push(("state".into(), state.clone()));
                let outputs = self.run(&feed);
                probabilities.push(outputs[0].as_floats().unwrap()[0]);
                state = tensor_of_floats("state", &[2, 1, 128], outputs[1].as_floats().unwrap()).unwrap();
            }
        }
        probabilities
    }
}

pub(crate) fn overlap(one: &[f32; 4], two: &[f32; 4]) -> f32 {
    let side = |low: usize| (one[low + 2].min(two[low + 2]) - one[low].max(two[low])).max(0.0);
    let area = |place: &[f32; 4]| (place[2] - place[0]) * (place[3] - place[1]);
    let both = side(0) * side(1);
    both / (area(one) + area(two) - both).max(1e-9)
}

/// Recall, precision (pairs that overlap by half) and mean overlap of the pairs.
pub(crate) fn compare_faces(expected: &[[f32; 4]], got: &[[f32; 4]]) -> (f64, f64, f64) {
    let best = |place: &[f32; 4], among: &[[f32; 4]]| {
        among.iter().map(|other| overlap(place, other)).fold(0.0, f32::max)
    };
    let found: Vec<f32> =
        expected.iter().map(|place| best(place, got)).filter(|overlap| *overlap >= 0.5).collect();
    let right = got.iter().filter(|place| best(place, expected) >= 0.5).count();
    let mean = found.iter().sum::<f32>() / found.len().max(1) as f32;
    (found.len() as f64 / expected.len().max(1) as f64, right as f64 / got.len().max(1) as f64, mean.into())
}

/// Part of the steps with the same decision.
pub(crate) fn same_decisions(expected: &[f32], got: &[f32]) -> f64 {
    let same = expected.iter().zip(got).filter(|(one, two)| (**one > 0.5) == (**two > 0.5)).count();
    same as f64 / expected.len() as f64
}
