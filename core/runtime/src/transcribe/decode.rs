//! Whisper's two graphs: one hears a window of sound, the other writes, with a cache of what it wrote. Knows ports by their names;
//! must not know what tokens mean.

use super::Error;
use onnx::{Library, Options, Session, Value};
use std::path::Path;

const FEATURES: &str = "input_features";
const TOKENS: &str = "input_ids";
const LOGITS: &str = "logits";
const BEFORE: &str = "past_key_values";
const AFTER: &str = "present";

/// Keys and values of the sound, by the decoder's names for them.
pub(super) struct Heard(Vec<(String, Value)>);

/// Keys and values of what is written.
pub(super) struct Written(Vec<(String, Value)>);

/// Both graphs.
#[derive(Debug)]
pub(super) struct Decoder {
    encoder: Session,
    decoder: Session,
}

impl Decoder {
    /// # Errors
    /// A graph that the library refuses, or one that lacks a port.
    pub(super) fn open(
        library: &Library,
        encoder: &Path,
        decoder: &Path,
        options: &Options,
    ) -> Result<Self, Error> {
        let open = |path: &Path| {
            if !path.is_file() {
                return Err(Error::file(path, "not there: `llama-pajamas export` writes it"));
            }
            Session::open(library, path, options).map_err(|error| Error::file(path, error))
        };
        let made = Self { encoder: open(encoder)?, decoder: open(decoder)? };
        made.check(encoder, decoder)?;
        Ok(made)
    }

    fn check(&self, encoder: &Path, decoder: &Path) -> Result<(), Error> {
        let features = self.encoder.inputs().iter().find(|port| port.name == FEATURES);
        if features.is_none_or(|port| port.shape.len() != 3 || port.shape[1..].iter().any(|dim| *dim < 1)) {
            return Err(Error::file(encoder, "expected an input `input_features` of known bands and frames"));
        }
        let made = |name: &str| self.encoder.outputs().iter().any(|port| port.name == name);
        for port in self.decoder.inputs().iter().filter(|port| port.name.contains(".encoder.")) {
            let name = port.name.replacen(BEFORE, AFTER, 1);
            if !made(&name) {
                return Err(Error::file(
                    encoder,
                    format!("expected an output `{name}`, which the decoder takes"),
                ));
            }
        }
        let has = |ports: &[onnx::Port], name: &str| ports.iter().any(|port| port.name == name);
        if !has(self.decoder.inputs(), TOKENS) || !has(self.decoder.outputs(), LOGITS) {
            return Err(Error::file(decoder, "expected `input_ids` to go in and `logits` to come out"));
        }
        Ok(())
    }

    /// Bands and frames of a window.
    pub(super) fn takes(&self) -> (usize, usize) {
        let features = self.encoder.inputs().iter().find(|port| port.name == FEATURES);
        features.map_or((0, 0), |port| (port.shape[1] as usize, port.shape[2] as usize))
    }

    /// Hears a window: `[bands, frames]`.
    pub(super) fn hear(&mut self, features: Vec<f32>, n_bands: usize) -> Result<Heard, Error> {
        let frames = (features.len() / n_bands.max(1)) as i64;
        let features = Value::floats(&[1, n_bands as i64, frames], features)?;
        let made = self.encoder.run(&[(FEATURES, &features)])?;
        let names = self.encoder.outputs().iter().map(|port| port.name.replacen(AFTER, BEFORE, 1));
        let all =
            names.zip(made).filter(|(name, _)| self.decoder.inputs().iter().any(|port| port.name == *name));
        Ok(Heard(all.collect()))
    }

    /// Nothing written yet.
    pub(super) fn begin(&self, heard: &Heard) -> Result<Written, Error> {
        let mut empty = Vec::new();
        for port in self.decoder.inputs() {
            if port.name != TOKENS && heard.0.iter().all(|(name, _)| *name != port.name) {
                let dims =
                    [1, port.shape.get(1).copied().unwrap_or(1), 0, port.shape.get(3).copied().unwrap_or(1)];
                empty.push((port.name.clone(), Value::of_bytes(&port.name, port.ty, &dims, &[])?));
            }
        }
        Ok(Written(empty))
    }

    /// Writes tokens, and gives the logits of what comes behind the last.
    pub(super) fn step(
        &mut self,
        written: &mut Written,
        heard: &Heard,
        tokens: &[i64],
    ) -> Result<Vec<f32>, Error> {
        let new = Value::integers(&[1, tokens.len() as i64], tokens.to_vec())?;
        let mut inputs: Vec<(&str, &Value)> = vec![(TOKENS, &new)];
        inputs.extend(written.0.iter().chain(&heard.0).map(|(name, value)| (name.as_str(), value)));
        let made = self.decoder.run(&inputs)?;
        let mut logits = None;
        let mut after = Vec::new();
        for (port, value) in self.decoder.outputs().iter().zip(made) {
            if port.name == LOGITS {
                let all = value.as_floats()?;
                let width = all.len() / tokens.len().max(1);
                logits = Some(all[all.len() - width..].to_vec());
            } else {
                after.push((port.name.replacen(AFTER, BEFORE, 1), value));
            }
        }
        written.0 = after;
        logits.filter(|logits| !logits.is_empty()).ok_or_else(|| Error::Config {
            field: LOGITS,
            expected: "a number for each token of the vocabulary".into(),
            got: "none".into(),
        })
    }
}
