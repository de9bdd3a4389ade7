//! The texts beside the weights: the configuration with what every module is quantized as, and the index of shards.
//! Owns MLX's keys; must not know how grids are chosen.

use super::grid::Grid;
use super::plan::{PlannedTensor, Shard};
use crate::source::mlx::MlxSource;
use crate::{Error, Result};
use formats::safetensors::TensorSpec;
use serde_json::{Map, Value, json};

/// Fields of a checkpoint's configuration that mean nothing here: where it lay, and what sees images.
const LEFT_OUT: [&str; 2] = ["_name_or_path", "vision_config"];
/// Fields that loaders read, and where transformers 5 writes them: stated where they are missing.
const RESPELLED: [(&str, &str); 4] = [
    ("num_experts", "/num_local_experts"),
    ("rope_theta", "/rope_parameters/rope_theta"),
    ("rope_theta", "/rope_parameters/full_attention/rope_theta"),
    ("rope_local_base_freq", "/rope_parameters/sliding_attention/rope_theta"),
];
/// Numbers that JSON does not have, which become tagged texts.
const TAGGED: [&str; 3] = ["Infinity", "-Infinity", "NaN"];

/// `config.json`: the checkpoint's, with `quantization` and the same as `quantization_config`: the recipe's grid, and by module
/// those that have another one.
pub(super) fn config_text(source: &MlxSource, usual: Grid, tensors: &[PlannedTensor]) -> Result<Vec<u8>> {
    let mut config = source.config.clone();
    tag_numbers(&mut config);
    let Value::Object(fields) = &mut config else {
        return Err(Error::checkpoint(&source.path().join("config.json"), "expected an object"));
    };
    LEFT_OUT.iter().for_each(|field| {
        fields.remove(*field);
    });
    if !fields.contains_key("tie_word_embeddings") {
        // Loaders and configurations disagree about what is meant where nothing is said.
        fields.insert("tie_word_embeddings".into(), source.description.tied_embeddings.into());
    }
    respell(fields);
    let mut quantization = stated(usual);
    for tensor in tensors {
        if let Some(grid) = tensor.grid().filter(|grid| *grid != usual) {
            quantization.insert(tensor.module().into(), Value::Object(stated(grid)));
        }
    }
    for key in ["quantization", "quantization_config"] {
        fields.insert(key.into(), Value::Object(quantization.clone()));
    }
    text(&config)
}

/// The index: which file holds which tensor.
pub(super) fn index_text(
    tensors: &[PlannedTensor],
    shards: &[Shard],
    specs: impl Fn(&PlannedTensor) -> Vec<TensorSpec>,
) -> Result<Vec<u8>> {
    let mut map = std::collections::BTreeMap::new();
    for shard in shards {
        let names = tensors[shard.tensors.clone()].iter().flat_map(&specs).map(|spec| spec.name);
        map.extend(names.map(|name| (name, shard.name.clone())));
    }
    let total_size: u64 = tensors.iter().map(PlannedTensor::bytes).sum();
    let total_parameters: u64 = tensors.iter().map(PlannedTensor::n_weights).sum();
    text(&json!({
        "metadata": {"total_size": total_size, "total_parameters": total_parameters},
        "weight_map": map,
    }))
}

fn stated(grid: Grid) -> Map<String, Value> {
    let entries =
        [("group_size", grid.group().into()), ("bits", grid.bits().into()), ("mode", grid.mode().into())];
    entries.into_iter().map(|(key, value): (&str, Value)| (key.to_string(), value)).collect()
}

/// States what loaders read under other names.
fn respell(fields: &mut Map<String, Value>) {
    let is_missing = |fields: &Map<String, Value>, field: &str| fields.get(field).is_none_or(Value::is_null);
    let whole = Value::Object(fields.clone());
    for (field, place) in RESPELLED {
        if let Some(value) =
            whole.pointer(place).filter(|value| !value.is_null() && is_missing(fields, field))
        {
            fields.insert(field.into(), value.clone());
        }
    }
    let kind = whole.pointer("/rope_parameters/rope_type").and_then(Value::as_str);
    if kind.is_some_and(|kind| kind != "default") && is_missing(fields, "rope_scaling") {
        fields.insert("rope_scaling".into(), whole["rope_parameters"].clone());
    }
}

/// Tags numbers that JSON does not have, as transformers does and mlx-lm reads them.
fn tag_numbers(value: &mut Value) {
    match value {
        Value::String(text) if TAGGED.contains(&text.as_str()) => *value = json!({"__float__": text}),
        Value::Array(entries) => entries.iter_mut().for_each(tag_numbers),
        Value::Object(fields) if !fields.contains_key("__float__") => {
            fields.values_mut().for_each(tag_numbers)
        }
        _ => {}
    }
}

fn text(value: &Value) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value).expect("values of JSON can be written as JSON");
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_stated_where_loaders_read_them() {
        let respelled = |value: Value| {
            let Value::Object(mut fields) = value else { panic!("an object") };
            respell(&mut fields);
            Value::Object(fields)
        };
        let rope = json!({"rope_type": "yarn", "rope_theta": 5.0, "factor": 2.0});
        let new = respelled(json!({"num_local_experts": 4, "rope_theta": null, "rope_parameters": rope}));
        assert_eq!(
            (&new["num_experts"], &new["rope_theta"], &new["rope_scaling"]),
            (&json!(4), &json!(5.0), &rope)
        );
        let layers = json!({"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}});
        let by_layer = respelled(json!({"rope_parameters": layers}));
        assert_eq!((&by_layer["rope_theta"], &by_layer["rope_local_base_freq"]), (&json!(1e6), &json!(1e4)));
        let old = json!({"rope_theta": 7.0, "rope_parameters": {"rope_type": "default", "rope_theta": 5.0}});
        assert_eq!(respelled(old.clone()), old);
    }

    #[test]
    fn numbers_that_json_lacks_are_tagged_once() {
        let mut value = json!({"limit": [0.0, "Infinity"], "told": {"__float__": "NaN"}, "word": "infinity"});
        tag_numbers(&mut value);
        let expected = json!({"limit": [0.0, {"__float__": "Infinity"}], "told": {"__float__": "NaN"}, "word": "infinity"});
        assert_eq!(value, expected);
    }
}
