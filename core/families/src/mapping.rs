//! From checkpoint tensor names to GGUF tensors, and the order in which those are written.
//! Owns the names and their order; must not touch values.

use crate::family::{Family, Transform};
use crate::keys::decoder;
use crate::rope::llama3_factors;
use crate::{Description, Error, Role};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What becomes of one tensor of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapping {
    /// It is written.
    Tensor {
        /// Name in GGUF.
        name: String,
        /// What it does.
        role: Role,
        /// What happens to its values.
        transform: Transform,
        /// Layer it belongs to.
        layer: Option<u32>,
        /// Place in the stack, for experts that are stored stacked.
        expert: Option<u32>,
    },
    /// It is left out: it can be computed from the configuration, or belongs to another encoder.
    Skip,
}

/// One tensor of the GGUF file, with what it is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Name in GGUF.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// What happens to the values of each source, before stacking.
    pub transform: Transform,
    /// Where the values come from.
    pub source: Source,
}

/// Where the values of a tensor come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// One tensor of the checkpoint.
    Tensor(String),
    /// Tensors of the checkpoint, stacked along a new slowest dimension, place 0 first.
    Stack(Vec<String>),
    /// Computed from the configuration; one dimension, F32.
    Generated(Vec<f32>),
}

impl Family {
    /// What becomes of the checkpoint's tensor `name`.
    ///
    /// # Errors
    /// A name that no rule of the family covers.
    pub fn map_tensor(&self, name: &str) -> Result<Mapping, Error> {
        let prefix = &decoder().prefix;
        if decoder().skip.matches(name) {
            return Ok(Mapping::Skip);
        }
        let mut inner = name.to_string();
        for part in &prefix.drop {
            inner = inner.replace(part.as_str(), "");
        }
        let outer = format!("{}{inner}", prefix.outer);
        for rule in &self.tensors {
            let found = match_name(&rule.from, &inner).or_else(|| match_name(&rule.from, &outer));
            if let Some((layer, expert)) = found {
                let name = match layer {
                    Some(layer) => rule.to.replace("{layer}", &layer.to_string()),
                    None => rule.to.clone(),
                };
                let (role, transform) = (rule.role, rule.transform);
                return Ok(Mapping::Tensor { name, role, transform, layer, expert });
            }
        }
        Err(Error::UnknownTensor { tensor: name.into(), family: self.id().into() })
    }

    /// GGUF names of the expert stacks of `layer`, in the order in which they are stored.
    pub fn expert_stacks(&self, layer: u32) -> Vec<String> {
        let stacked = self.tensors.iter().filter(|rule| rule.from.contains("{expert}"));
        stacked.map(|rule| rule.to.replace("{layer}", &layer.to_string())).collect()
    }

    /// Every tensor of the GGUF file, in the order in which llama.cpp's converter writes them: generated ones, then the
    /// checkpoint's in the order of `names` (the names of each shard sorted, shards in the order of their file names);
    /// the expert stacks of a layer where its last expert stands.
    ///
    /// # Errors
    /// A name that no rule covers, a layer or expert beyond the model's, a stack with a gap, or a tensor that the
    /// description asks for and no name provides.
    pub fn outputs(&self, description: &Description, names: &[&str]) -> Result<Vec<Output>, Error> {
        let mut outputs = Vec::with_capacity(names.len());
        if self.mechanisms.llama3_rope_factors
            && let Some(factors) = llama3_factors(&description.rope, description.head_dim)
        {
            outputs.push(Output {
                name: "rope_freqs.weight".into(),
                role: Role::RopeFactors,
                transform: Transform::None,
                source: Source::Generated(factors),
            });
        }
        let n_experts = description.moe.map_or(0, |moe| moe.n_experts as usize);
        let mut stacks: BTreeMap<u32, HashMap<String, Stack>> = BTreeMap::new();
        for name in names {
            let Mapping::Tensor { name: to, role, transform, layer, expert } = self.map_tensor(name)? else {
                continue;
            };
            let beyond = layer.is_some_and(|layer| layer >= description.n_layers)
                || expert.is_some_and(|expert| expert as usize >= n_experts);
            if beyond {
                return Err(Error::UnknownTensor { tensor: (*name).into(), family: self.id().into() });
            }
            let (Some(layer), Some(expert)) = (layer, expert) else {
                outputs.push(Output { name: to, role, transform, source: Source::Tensor((*name).into()) });
                continue;
            };
            let in_layer = stacks.entry(layer).or_default();
            let stack =
                in_layer.entry(to).or_insert_with(|| Stack { role, transform, places: BTreeMap::new() });
            stack.places.insert(expert, (*name).into());
            let order = self.expert_stacks(layer);
            let full = |name: &String| in_layer.get(name).is_some_and(|s| s.places.len() == n_experts);
            if order.iter().all(full) {
                for to in order {
                    if let Some(Stack { role, transform, places }) = in_layer.remove(&to) {
                        let source = Source::Stack(places.into_values().collect());
                        outputs.push(Output { name: to, role, transform, source });
                    }
                }
                stacks.remove(&layer);
            }
        }
        if let Some((layer, stacks)) = stacks.iter().next() {
            return Err(self.gap(*layer, stacks, n_experts as u32));
        }
        self.check_complete(description, &outputs)?;
        Ok(outputs)
    }

    fn check_complete(&self, description: &Description, outputs: &[Output]) -> Result<(), Error> {
        let written: HashSet<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
        // Tied embeddings may be stored under either name.
        let has_output = outputs.iter().any(|output| output.role == Role::Output);
        let mut missing = None;
        each_name(self, description, |from, to, role| {
            let shared = role == Role::TokenEmbedding && description.tied_embeddings && has_output;
            if missing.is_none() && !shared && !written.contains(to.as_str()) {
                missing = Some(from);
            }
        });
        missing.map_or(Ok(()), |tensor| Err(Error::MissingTensor { tensor }))
    }

    /// The first expert that a layer's stacks lack.
    fn gap(&self, layer: u32, stacks: &HashMap<String, Stack>, n_experts: u32) -> Error {
        let missing = self.tensors.iter().filter(|rule| rule.from.contains("{expert}")).find_map(|rule| {
            let places = stacks.get(&rule.to.replace("{layer}", &layer.to_string())).map(|s| &s.places);
            let expert = (0..n_experts).find(|expert| places.is_none_or(|p| !p.contains_key(expert)))?;
            Some(rule.from.replace("{layer}", &layer.to_string()).replace("{expert}", &expert.to_string()))
        });
        Error::MissingTensor { tensor: missing.unwrap_or_else(|| format!("experts of layer {layer}")) }
    }
}

/// Checkpoint name, GGUF name and role of every tensor that `description` asks for; of a stack, its first expert's.
fn each_name(family: &Family, description: &Description, mut visit: impl FnMut(String, String, Role)) {
    description.each_tensor(family, |rule, layer, _| {
        let layer = layer.map(|layer| layer.to_string()).unwrap_or_default();
        let from = rule.from.replace("{layer}", &layer).replace("{expert}", "0");
        visit(from, rule.to.replace("{layer}", &layer), rule.role);
    });
}

struct Stack {
    role: Role,
    transform: Transform,
    places: BTreeMap<u32, String>,
}

/// Matches `name` against a pattern with `{layer}` and `{expert}` places.
fn match_name(pattern: &str, name: &str) -> Option<(Option<u32>, Option<u32>)> {
    let (mut layer, mut expert) = (None, None);
    let mut rest = name;
    let mut pattern = pattern;
    while let Some(open) = pattern.find('{') {
        rest = rest.strip_prefix(&pattern[..open])?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u32 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let close = open + pattern[open..].find('}')?;
        match &pattern[open + 1..close] {
            "layer" => layer = Some(number),
            "expert" => expert = Some(number),
            _ => return None,
        }
        pattern = &pattern[close + 1..];
    }
    (rest == pattern).then_some((layer, expert))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn family(model_type: &str) -> &'static Family {
        Family::for_model_type(model_type).expect("built in")
    }

    fn tiny_moe() -> Description {
        let config = json!({"model_type": "qwen3_moe", "hidden_size": 8, "intermediate_size": 8,
            "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4,
            "vocab_size": 10, "max_position_embeddings": 16, "num_experts": 2, "num_experts_per_tok": 1,
            "moe_intermediate_size": 4});
        crate::detect_config(&config).expect("a whole configuration")
    }

    #[test]
    fn every_rule_maps_its_own_name() {
        for family in Family::all() {
            for rule in &family.tensors {
                let name = rule.from.replace("{layer}", "3").replace("{expert}", "5");
                let Ok(Mapping::Tensor { name: gguf, role, .. }) = family.map_tensor(&name) else {
                    panic!("{name}")
                };
                assert_eq!(gguf, rule.to.replace("{layer}", "3"));
                assert_eq!(family.role_of(&gguf), role, "{gguf}");
            }
        }
    }

    #[test]
    fn names_of_bare_and_enclosed_decoders_map_alike() {
        for name in [
            "model.layers.2.mlp.up_proj.weight",
            "layers.2.mlp.up_proj.weight",
            "language_model.model.layers.2.mlp.up_proj.weight",
            "model.language_model.layers.2.mlp.up_proj.weight",
        ] {
            let Ok(Mapping::Tensor { name: gguf, layer, .. }) = family("qwen3").map_tensor(name) else {
                panic!("{name}")
            };
            assert_eq!((gguf.as_str(), layer), ("blk.2.ffn_up.weight", Some(2)));
        }
    }

    #[test]
    fn unknown_tensors_are_named_and_computed_ones_skipped() {
        let family = family("llama");
        for name in ["model.layers.0.self_attn.rotary_emb.inv_freq", "vision_tower.layers.0.weight"] {
            assert_eq!(family.map_tensor(name), Ok(Mapping::Skip));
        }
        for name in ["model.layers.0.mystery", "model.layers.99999999999.mlp.up_proj.weight", ""] {
            let error = family.map_tensor(name).expect_err(name).to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    /// Every tensor of the one layer, experts interleaved as sorted names are, the second one first.
    fn tiny_names() -> Vec<String> {
        let mut names = Vec::new();
        each_name(family("qwen3_moe"), &tiny_moe(), |from, _, _| {
            if !from.contains(".experts.") {
                names.push(from);
            }
        });
        for expert in [1, 0] {
            let name = |part| format!("model.layers.0.mlp.experts.{expert}.{part}_proj.weight");
            names.extend(["up", "gate", "down"].map(name));
        }
        names
    }

    fn outputs(names: &[String]) -> Result<Vec<Output>, Error> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        family("qwen3_moe").outputs(&tiny_moe(), &names)
    }

    #[test]
    fn stacks_stand_where_their_last_expert_does() {
        let mut names = tiny_names();
        names.push("model.layers.0.self_attn.q_proj.bias".into());
        let outputs = outputs(&names).expect("a whole checkpoint");
        let written: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
        let stacks = ["blk.0.ffn_down_exps.weight", "blk.0.ffn_gate_exps.weight", "blk.0.ffn_up_exps.weight"];
        assert_eq!(written[names.len() - 7..], [&stacks[..], &["blk.0.attn_q.bias"]].concat());
        let down = |expert: u32| format!("model.layers.0.mlp.experts.{expert}.down_proj.weight");
        assert_eq!(outputs[names.len() - 7].source, Source::Stack(vec![down(0), down(1)]));
    }

    #[test]
    fn every_missing_tensor_is_named() {
        let names = tiny_names();
        for left_out in &names {
            let rest: Vec<String> = names.iter().filter(|name| *name != left_out).cloned().collect();
            assert_eq!(outputs(&rest), Err(Error::MissingTensor { tensor: left_out.clone() }));
        }
    }

    #[test]
    fn surplus_layers_and_experts_are_named() {
        for name in ["model.layers.0.mlp.experts.2.down_proj.weight", "model.layers.1.input_layernorm.weight"]
        {
            let names = [tiny_names(), vec![name.to_string()]].concat();
            assert!(matches!(outputs(&names), Err(Error::UnknownTensor { tensor, .. }) if tensor == name));
        }
    }
}
