//! From checkpoint tensor names to GGUF tensors, and the order in which those are written.
//! Owns the names and their order; must not touch values.

mod pattern;

use crate::extent::Failure;
use crate::keys::decoder;
use crate::mlx::GgufName;
use crate::tensors::rule::{Condition, Presence, TensorRule, Tower};
use crate::{Description, Error, Family, Floats, Role, ValueChange, View};
use std::collections::{BTreeMap, HashMap, HashSet};

use pattern::{Numbers, layer_of};
pub(crate) use pattern::{match_name, place_numbers};

/// The output's name in GGUF.
pub(crate) const OUTPUT: &str = "output.weight";

/// One tensor of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its shape, slowest dimension first.
    pub shape: &'a [u64],
}

/// One tensor of the GGUF file, with what it is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Name in GGUF.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Extents, contiguous dimension first.
    pub dims: Vec<u64>,
    /// What happens to each value.
    pub value: ValueChange,
    /// Which floats it may be stored as.
    pub floats: Floats,
    /// Where the values come from.
    pub source: Source,
}

/// Where the values of a tensor come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Parts of stored tensors, behind each other.
    Stored(Vec<Piece>),
    /// Computed from the configuration; one dimension, F32.
    Generated(Vec<f32>),
}

/// Values of one stored tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// Its place in the list of stored tensors.
    pub tensor: usize,
    /// Which of its values, in which order.
    pub view: View,
    /// What each of them is multiplied by, one after the other.
    pub factors: Vec<f32>,
}

/// The rules that cover a stored name, and the numbers in it.
struct Found<'f> {
    rules: Vec<&'f TensorRule>,
    numbers: Numbers,
}

impl Found<'_> {
    fn tower(&self) -> Tower {
        self.rules.first().map_or(Tower::Outside, |rule| rule.tower)
    }
}

impl Family {
    /// Every tensor of the GGUF file, in the order in which llama.cpp's converter writes them: generated ones, then the
    /// checkpoint's in the order of `stored` (the names of each shard sorted, shards in the order of their file names);
    /// the expert stacks of a layer where its last expert stands.
    ///
    /// # Errors
    /// A name that no rule covers, a layer or expert beyond the model's, another shape than the description asks for, a
    /// stack with a gap, or a tensor that the description asks for and none provides.
    pub fn outputs(&self, description: &Description, stored: &[Stored<'_>]) -> Result<Vec<Output>, Error> {
        let mut outputs = Vec::with_capacity(stored.len());
        for (name, factors) in self.rope_factors(description) {
            outputs.push(Output {
                name: name.into(),
                role: Role::RopeFactors,
                dims: vec![factors.len() as u64],
                value: ValueChange::None,
                floats: Floats::Any,
                source: Source::Generated(factors),
            });
        }
        let n_experts = description.moe.map_or(0, |moe| moe.n_experts as usize);
        let mut stacks: BTreeMap<u32, HashMap<String, Stack>> = BTreeMap::new();
        let mut parts: BTreeMap<String, Stack> = BTreeMap::new();
        for (index, tensor) in stored.iter().enumerate() {
            let Some(found) = self.find(description, tensor.name)? else { continue };
            let Numbers { layer, expert, part } = found.numbers;
            let facts = match layer {
                Some(number) => description.tower(found.tower())[number as usize],
                None => description.outside_layers(),
            };
            for rule in &found.rules {
                let name = match layer {
                    Some(layer) => rule.to.replace("{layer}", &layer.to_string()),
                    None => rule.to.clone(),
                };
                let mut output = rule.output(|name| description.extent(name, &facts), name, tensor, index)?;
                rule.multiply(&mut output, description);
                if let Some(part) = part {
                    let stack = parts.entry(output.name.clone()).or_default();
                    let n_parts = output.dims.last().copied().unwrap_or(0);
                    if u64::from(part) >= n_parts || stack.insert(part, output).is_some() {
                        return Err(self.unknown(tensor.name));
                    }
                    if stack.len() as u64 == n_parts {
                        outputs.extend(stacked(std::mem::take(stack)));
                    }
                    continue;
                }
                let (Some(layer), Some(expert)) = (layer, expert) else {
                    let is_given = || outputs.iter().any(|other: &Output| other.name == output.name);
                    if rule.presence != Presence::Alternative || !is_given() {
                        outputs.push(output);
                    }
                    continue;
                };
                let in_layer = stacks.entry(layer).or_default();
                let stack = in_layer.entry(output.name.clone()).or_default();
                if stack.insert(expert, output).is_some() {
                    return Err(self.unknown(tensor.name));
                }
            }
            let Some(layer) = layer.filter(|_| expert.is_some()) else { continue };
            let in_layer = stacks.entry(layer).or_default();
            let order = self.expert_stacks(layer);
            if order.iter().all(|name| in_layer.get(name).is_some_and(|stack| stack.len() == n_experts)) {
                outputs.extend(order.iter().filter_map(|name| in_layer.remove(name)).filter_map(stacked));
                stacks.remove(&layer);
            }
        }
        if let Some((layer, stacks)) = stacks.iter().next() {
            return Err(self.gap(*layer, stacks, n_experts as u32));
        }
        if let Some((to, stack)) = parts.iter().find(|(_, stack)| !stack.is_empty()) {
            let from = self.tensors.iter().find(|rule| rule.to == *to).map_or(to, |rule| &rule.from);
            let missing = (0..).find(|part| !stack.contains_key(part)).unwrap_or(0);
            return Err(Error::MissingTensor { tensor: from.replace("{part}", &missing.to_string()) });
        }
        if description.tied_embeddings {
            output_as_embedding(&mut outputs);
        }
        let outer = |tensor: &Stored<'_>| tensor.name.starts_with(decoder().prefix.outer.as_str());
        self.check_complete(description, &outputs, stored.iter().any(outer))?;
        Ok(outputs)
    }

    /// Whether the checkpoint's tensor `name` is left out: it is computed from the configuration, or belongs to another
    /// encoder.
    pub fn skips(&self, name: &str) -> bool {
        let spelled = self.spelled(name);
        decoder().skip.matches(&spelled) || self.leaves_out(&spelled)
    }

    /// What GGUF calls what the checkpoint's tensor `name` holds, and what it does to each value; none for what is left out.
    ///
    /// # Errors
    /// A name that no rule covers, a layer or expert beyond the model's.
    pub(crate) fn gguf_names(&self, description: &Description, name: &str) -> Result<Vec<GgufName>, Error> {
        let Some(Found { rules, numbers }) = self.find(description, name)? else { return Ok(Vec::new()) };
        let named = |rule: &&TensorRule| {
            let value = rule.value.change(|| Ok::<u64, Error>(description.hidden_size))?;
            Ok(GgufName { name: place_numbers(&rule.to, &numbers), value })
        };
        rules.iter().map(named).collect()
    }

    /// The checkpoint's tensor `name` without what larger models and classes put around a decoder's names.
    pub fn plain_name(&self, name: &str) -> String {
        let prefix = &decoder().prefix;
        let inner = prefix.drop.iter().fold(name.to_string(), |name, part| name.replace(part.as_str(), ""));
        inner.strip_prefix(prefix.outer.as_str()).map(str::to_string).unwrap_or(inner)
    }

    /// Whether the checkpoint's tensor `name` is of a layer that predicts tokens beyond the next, of those that are kept.
    pub fn is_of_prediction(&self, description: &Description, name: &str) -> bool {
        let layer = layer_of(self.table.layers_prefix(), &self.inner_name(name));
        let layer = layer.and_then(|layer| description.layers.get(usize::try_from(layer).ok()?));
        layer.is_some_and(|layer| layer.predicts)
    }

    /// A tensor's name as rules have it, without what larger models put around it.
    fn inner_name(&self, name: &str) -> String {
        decoder().prefix.drop.iter().fold(self.spelled(name), |inner, part| inner.replace(part.as_str(), ""))
    }

    /// The rules for the checkpoint's tensor `name`; `None` for what is computed from the configuration or belongs to
    /// another encoder.
    fn find(&self, description: &Description, name: &str) -> Result<Option<Found<'_>>, Error> {
        let prefix = &decoder().prefix;
        if self.skips(name) {
            return Ok(None);
        }
        let inner = self.inner_name(name);
        let outer = format!("{}{inner}", prefix.outer);
        let mut found = Found { rules: Vec::new(), numbers: Numbers::default() };
        for rule in &self.tensors {
            let numbers = match_name(&rule.from, &inner).or_else(|| match_name(&rule.from, &outer));
            if let Some(numbers) = numbers {
                found.rules.push(rule);
                found.numbers = numbers;
            }
        }
        if self.table.mechanisms.leaves_out_predictions
            && (inner.starts_with("mtp.")
                || layer_of(self.table.layers_prefix(), &inner)
                    .is_some_and(|layer| layer >= description.n_layers))
        {
            return Ok(None);
        }
        let layer = match found.numbers.layer {
            Some(number) => description.tower(found.tower()).get(number as usize).copied(),
            None => Some(description.outside_layers()),
        };
        let n_experts = description.moe.map_or(0, |moe| moe.n_experts);
        let Some(layer) = layer.filter(|_| found.numbers.expert.is_none_or(|expert| expert < n_experts))
        else {
            return Err(self.unknown(name));
        };
        let left_out = |rule: &&TensorRule| {
            rule.presence == Presence::Conditional && !description.has(&rule.when, &layer)
        };
        if !found.rules.is_empty() && found.rules.iter().all(left_out) {
            return Ok(None);
        }
        found.rules.retain(|rule| !left_out(rule));
        // What is stored is written, whatever the configuration's flags say of it, unless they choose among rules.
        let several = found.rules.len() > 1;
        let counts = |condition: &&Condition| several || condition.is_of_layer();
        found.rules.retain(|rule| rule.when.iter().filter(counts).all(|c| description.holds(c, &layer)));
        if found.rules.is_empty() { Err(self.unknown(name)) } else { Ok(Some(found)) }
    }

    fn unknown(&self, tensor: &str) -> Error {
        Error::UnknownTensor { tensor: tensor.into(), family: self.id().into() }
    }

    /// GGUF names of the expert stacks of `layer`, in the order in which they are stored.
    fn expert_stacks(&self, layer: u32) -> Vec<String> {
        let stacked = self.tensors.iter().filter(|rule| rule.from.contains("{expert}"));
        stacked.map(|rule| rule.to.replace("{layer}", &layer.to_string())).collect()
    }

    /// Checks that every tensor is there; checkpoints without an `outer` part in front of their names are of the layers
    /// alone, without an output.
    fn check_complete(
        &self,
        description: &Description,
        outputs: &[Output],
        outer: bool,
    ) -> Result<(), Error> {
        let written: HashSet<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
        let mut missing = None;
        each_name(self, description, |from, to| {
            let needed = outer || to != OUTPUT;
            if needed && missing.is_none() && !written.contains(to.as_str()) {
                missing = Some(from);
            }
        });
        missing.map_or(Ok(()), |tensor| Err(Error::MissingTensor { tensor }))
    }

    /// The first expert that a layer's stacks lack.
    fn gap(&self, layer: u32, stacks: &HashMap<String, Stack>, n_experts: u32) -> Error {
        let missing = self.tensors.iter().filter(|rule| rule.from.contains("{expert}")).find_map(|rule| {
            let stack = stacks.get(&rule.to.replace("{layer}", &layer.to_string()));
            let lacks = |expert: &u32| stack.is_none_or(|stack| !stack.contains_key(expert));
            let expert = (0..n_experts).find(lacks)?;
            Some(rule.from.replace("{layer}", &layer.to_string()).replace("{expert}", &expert.to_string()))
        });
        Error::MissingTensor { tensor: missing.unwrap_or_else(|| format!("experts of layer {layer}")) }
    }
}

/// What each expert gives to a stack, by its number.
type Stack = BTreeMap<u32, Output>;

/// One output of all experts' pieces.
fn stacked(stack: Stack) -> Option<Output> {
    let mut experts = stack.into_values();
    let mut whole = experts.next()?;
    if let Source::Stored(pieces) = &mut whole.source {
        for expert in experts {
            if let Source::Stored(more) = expert.source {
                pieces.extend(more);
            }
        }
    }
    Some(whole)
}

impl TensorRule {
    /// What the rule makes of `tensor`, number `index` of the stored ones, as the tensor called `name`; `value_of` for
    /// the names of extents.
    pub(crate) fn output(
        &self,
        value_of: impl Fn(&str) -> Result<u64, Error> + Copy,
        name: String,
        tensor: &Stored<'_>,
        index: usize,
    ) -> Result<Output, Error> {
        let wrong = |expected: String| Error::Shape {
            tensor: tensor.name.into(),
            expected,
            got: tensor.shape.to_vec(),
        };
        let absurd = |failure: Failure<Error>| match failure {
            Failure::Name(error) => error,
            other => wrong(format!("a shape that can be computed, not {other:?}")),
        };
        let dims = self.extents(value_of)?;
        // An expert's or a part's own tensor has all dimensions of the stack but the last.
        let is_stacked = ["{expert}", "{part}"].iter().any(|place| self.from.contains(place));
        let own = &dims[..dims.len() - usize::from(is_stacked)];
        if !countable(own) || !countable(tensor.shape) {
            return Err(wrong("fewer than 2^64 elements".into()));
        }
        let mut views = Vec::new();
        let mut zeros = None;
        if self.views.is_empty() {
            let mut expected: Vec<u64> = own.iter().rev().copied().collect();
            if let (true, Some(rows), Some(stored)) =
                (self.padded, expected.first_mut(), tensor.shape.first())
            {
                let missing = rows.saturating_sub(*stored).min(*stored);
                *rows -= missing;
                zeros = (missing > 0).then(|| View::whole(product(&expected[1..]) * missing));
            }
            // An extent of one is no dimension: convolutions are stored with one in the middle.
            let is_some = |extent: &&u64| **extent != 1;
            if !tensor.shape.iter().filter(is_some).eq(expected.iter().filter(is_some)) {
                return Err(wrong(format!("{expected:?}")));
            }
            views.push(View::whole(product(&expected)));
        }
        let parts = self.each.as_ref().map_or(Ok(1), |each| each.evaluate(value_of)).map_err(absurd)?;
        let mut shape = tensor.shape.to_vec();
        match shape.first_mut() {
            Some(slowest) if parts > 0 && slowest.is_multiple_of(parts) => *slowest /= parts,
            Some(_) => return Err(wrong(format!("{parts} equal parts"))),
            None => {}
        }
        let size = product(&shape);
        for part in (0..parts).filter(|_| !self.views.is_empty()) {
            for arrangement in &self.views {
                let view = arrangement.view(&shape, value_of).map_err(absurd)?;
                let view = view.ok_or_else(|| wrong(format!("one that splits into `{arrangement}`")))?;
                views.push(view.behind(part * size));
            }
        }
        let shown: u64 = views.iter().chain(&zeros).map(View::n_elements).sum();
        if shown != product(own) {
            return Err(wrong(format!("{} elements for {own:?}, not {shown}", product(own))));
        }
        let piece = |view| Piece { tensor: index, view, factors: Vec::new() };
        let mut pieces: Vec<Piece> = views.into_iter().map(piece).collect();
        // What is multiplied by zero is zero.
        pieces.extend(zeros.map(|view| Piece { tensor: index, view, factors: vec![0.0] }));
        let (role, value, floats) = (self.role, self.value.change(|| value_of("hidden"))?, self.floats);
        Ok(Output { name, role, dims, value, floats, source: Source::Stored(pieces) })
    }

    /// Gives the pieces of an output of this rule what they are multiplied by in the model.
    fn multiply(&self, output: &mut Output, description: &Description) {
        let Source::Stored(pieces) = &mut output.source else { return };
        for (piece, fields) in pieces.iter_mut().zip(&self.times) {
            let factor = |field: &String| description.factors.get(field).map_or(1.0, |&factor| factor as f32);
            piece.factors = fields.iter().map(factor).collect();
        }
    }
}

/// Whether the products of all and of some extents can be computed.
fn countable(extents: &[u64]) -> bool {
    extents.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent.max(1))).is_some()
}

fn product(extents: &[u64]) -> u64 {
    extents.iter().product()
}

/// Checkpoint name and GGUF name of every tensor that `description` asks for; of a stack, its first expert's.
fn each_name(family: &Family, description: &Description, mut visit: impl FnMut(String, String)) {
    description.each_tensor(family, |rule, layer, _| {
        let layer = layer.map(|layer| layer.to_string()).unwrap_or_default();
        let from = rule.from.replace("{layer}", &layer).replace("{expert}", "0").replace("{part}", "0");
        visit(from, rule.to.replace("{layer}", &layer));
    });
}

/// A checkpoint may hold the one matrix of tied embeddings as the output alone. The engine looks for the embedding and
/// takes it for the output as well.
fn output_as_embedding(outputs: &mut [Output]) {
    let (embedding, output) = ("token_embd.weight", OUTPUT);
    if outputs.iter().any(|tensor| tensor.name == embedding) {
        return;
    }
    if let Some(tensor) = outputs.iter_mut().find(|tensor| tensor.name == output) {
        (tensor.name, tensor.role) = (embedding.into(), Role::TokenEmbedding);
    }
}

#[cfg(test)]
mod tests;
