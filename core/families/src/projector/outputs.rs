//! From a checkpoint's tensors to a projector's, in the order in which llama.cpp's converter writes them.
//! Owns the choice of names; must not touch values.

use super::{Group, Layers, ModelProjector};
use crate::keys::decoder;
use crate::tensors::mapping::match_name;
use crate::tensors::rule::{Condition, TensorRule};
use crate::{Error, Output, Stored};
use std::collections::HashSet;

/// A rule for a stored tensor, and the layer that it stands for.
pub(super) struct Found<'p> {
    pub(super) rule: &'p TensorRule,
    layer: Option<u64>,
}

impl ModelProjector {
    /// Whether the stored tensor `name` is the projector's, or should be.
    pub fn covers(&self, name: &str) -> bool {
        let left_out = &self.projector.table.projector.left_out;
        let skip = &decoder().skip;
        let is_left_out = skip.is_computed(name) || left_out.iter().any(|part| name.contains(part.as_str()));
        !is_left_out && (skip.matches(name) || self.rules(name).next().is_some())
    }

    /// Every tensor of the projector's file, in the order of `stored`; of these, the decoder's are passed over.
    ///
    /// # Errors
    /// A name of another encoder that no rule covers, another shape than the configuration asks for, or a tensor that
    /// it asks for and none provides.
    pub fn outputs(&self, stored: &[Stored<'_>]) -> Result<Vec<Output>, Error> {
        let mut outputs = Vec::new();
        for (index, tensor) in stored.iter().enumerate().filter(|(_, tensor)| self.covers(tensor.name)) {
            let before = outputs.len();
            for found in self.found(tensor.name)? {
                let name = in_layer(&found.rule.to, found.layer);
                outputs.push(found.rule.output(|name| self.number(name), name, tensor, index)?);
            }
            if outputs.len() == before {
                let family = self.projector.id().into();
                return Err(Error::UnknownTensor { tensor: tensor.name.into(), family });
            }
        }
        self.check_complete(&outputs)?;
        Ok(outputs)
    }

    /// The rules whose pattern `name` has, with its group and the number in it.
    fn rules(&self, name: &str) -> impl Iterator<Item = (&Group, &TensorRule, Option<u32>)> {
        let spellings = spellings(name, &self.projector.table.projector.dropped);
        self.projector.groups.iter().flat_map(move |group| {
            let matching = |rule: &&TensorRule| {
                spellings
                    .iter()
                    .find_map(|spelling| match_name(&rule.from, spelling))
                    .map(|numbers| numbers.layer)
            };
            let found: Vec<_> =
                group.rules.iter().filter_map(|rule| Some((rule, matching(&rule)?))).collect();
            found.into_iter().map(move |(rule, layer)| (group, rule, layer))
        })
    }

    /// The rules that make something of `name` in this model.
    pub(super) fn found(&self, name: &str) -> Result<Vec<Found<'_>>, Error> {
        let mut found = Vec::new();
        for (group, rule, number) in self.rules(name).filter(|(_, rule, _)| self.holds_all(&rule.when)) {
            let layers = self.layers(group)?;
            let layer = match number {
                None => None,
                Some(number) => match layers.get(number as usize) {
                    Some(layer) => *layer,
                    None => continue,
                },
            };
            found.push(Found { rule, layer });
        }
        Ok(found)
    }

    /// The layers that a group's tensors stand for, in the order of the numbers in stored names.
    fn layers(&self, group: &Group) -> Result<Vec<Option<u64>>, Error> {
        let field = match &group.layers {
            Layers::Outside => return Ok(vec![None]),
            Layers::Counted { when, .. } if !self.holds_all(when) => return Ok(Vec::new()),
            Layers::Counted { number, .. } => return Ok((0..self.number(number)?).map(Some).collect()),
            Layers::Listed(field) => field,
        };
        let value = self.config().get(field).ok_or_else(|| Error::Missing { field: field.clone() })?;
        let numbers =
            value.as_array().and_then(|items| items.iter().map(serde_json::Value::as_u64).collect());
        let numbers: Vec<u64> =
            numbers.ok_or_else(|| crate::config::wrong(field, "a list of layer numbers", value))?;
        Ok(numbers.into_iter().map(Some).collect())
    }

    fn check_complete(&self, outputs: &[Output]) -> Result<(), Error> {
        let written: HashSet<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
        for group in &self.projector.groups {
            for (number, layer) in self.layers(group)?.into_iter().enumerate() {
                let lacks = |rule: &&TensorRule| !written.contains(in_layer(&rule.to, layer).as_str());
                let wanted = group.rules.iter().filter(|rule| self.holds_all(&rule.when));
                if let Some(rule) = wanted.into_iter().find(lacks) {
                    let tensor = rule.from.replace("{layer}", &number.to_string());
                    return Err(Error::MissingTensor { tensor });
                }
            }
        }
        Ok(())
    }

    pub(super) fn number(&self, name: &str) -> Result<u64, Error> {
        match self.config().extent(name)? {
            Some(value) => Ok(value),
            None => self.description.extent(name, &self.description.outside_layers()),
        }
    }

    fn holds_all(&self, conditions: &[Condition]) -> bool {
        conditions.iter().all(|condition| self.holds(condition))
    }

    /// Fields that are true, or there at all where they are no truth values.
    pub(super) fn holds(&self, condition: &Condition) -> bool {
        match condition {
            Condition::Flag(field) => match self.config().get(field) {
                Some(value) => value.as_bool().unwrap_or(true),
                None => false,
            },
            Condition::Not(other) => !self.holds(other),
            _ => false,
        }
    }
}

/// A tensor's name in checkpoints of different ages: with the larger model's part in front or without.
fn spellings(name: &str, dropped: &[String]) -> Vec<String> {
    let prefix = &decoder().prefix;
    let name = dropped.iter().fold(name.to_string(), |name, part| name.replacen(part.as_str(), "", 1));
    let name = name.as_str();
    let mut spellings = vec![name.to_string()];
    spellings.extend(name.strip_prefix(prefix.outer.as_str()).map(str::to_string));
    let decoders = prefix.drop.iter().fold(name.to_string(), |name, part| name.replace(part.as_str(), ""));
    spellings.push(format!("{}{decoders}", prefix.outer));
    spellings.push(decoders);
    spellings
}

fn in_layer(pattern: &str, layer: Option<u64>) -> String {
    layer.map_or(pattern.into(), |layer| pattern.replace("{layer}", &layer.to_string()))
}
