//! Tests of key rules on a small hybrid model.

use super::*;
use serde_json::json;

fn config() -> serde_json::Value {
    json!({"model_type": "llama", "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 3,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 6, "vocab_size": 10,
        "max_position_embeddings": 16, "scale": 0.5, "kind": "sigmoid", "flag": false,
        "rope_parameters": {"partial_rotary_factor": 0.5}})
}

fn value(rule: &str) -> Result<Option<Value>, Error> {
    let config = config();
    let mut description = crate::detect_config(&config).expect("a whole configuration");
    description.layers[1].mixer = crate::Mixer::None;
    description.layers[2].feed_forward = crate::FeedForward::None;
    description.quantities.insert("window".into(), 4);
    let config = Config::new(&config).expect("an object");
    let rule: KeyRule = toml::from_str(&format!("name = 'x'\n{rule}")).expect(rule);
    rule.value(Model { config: &config, description: &description })
}

#[test]
fn numbers_come_from_fields_expressions_and_words() {
    let number = |n| Ok(Some(Value::U32(n)));
    assert_eq!(value("u32 = 'vocab_size'"), number(10));
    assert_eq!(value("u32 = 'window*head_dim'"), number(24));
    assert_eq!(value("u32 = 'nothing'"), Ok(None));
    assert_eq!(value("u32 = { from = 'nothing', else = 'hidden' }"), number(8));
    assert_eq!(value("u32 = '7'"), number(7));
    assert_eq!(value("u32 = { from = 'head_dim', times = ['partial_rotary_factor', 1.0] }"), number(3));
    assert_eq!(value("u32 = { from = 'head_dim', times = ['missing', 0.34] }"), number(2));
    assert_eq!(value("u32 = { from = 'kind', words = { sigmoid = 2 } }"), number(2));
    assert_eq!(value("u32 = { inverse = 'scale' }"), number(2));
    assert!(value("u32 = { inverse = 'vocab_size' }").is_err() && value("u32 = { inverse = 'no' }").is_err());
    let error =
        value("u32 = { from = 'kind', words = { softmax = 1 } }").expect_err("another word").to_string();
    assert!(error.contains("`kind`: expected softmax"), "{error}");
}

#[test]
fn other_types_come_from_fields_and_constants() {
    assert_eq!(value("f32 = 'scale'"), Ok(Some(Value::F32(0.5))));
    assert_eq!(value("f32 = { constant = 1.0 }"), Ok(Some(Value::F32(1.0))));
    assert_eq!(value("f32 = { from = 'nothing', else = 2.0 }"), Ok(Some(Value::F32(2.0))));
    assert_eq!(value("bool = 'flag'"), Ok(Some(Value::Bool(false))));
    assert_eq!(value("bool = { from = 'flag', only = true }"), Ok(None));
    assert_eq!(value("string = 'kind'"), Ok(Some(Value::String("sigmoid".into()))));
    assert!(value("f32 = 'kind'").is_err());
}

#[test]
fn facts_of_layers_become_lists() {
    let bools = |flags: [bool; 3]| Ok(Some(Value::Array(Array::Bool(flags.to_vec()))));
    assert_eq!(value("bools = 'attention'"), bools([true, false, true]));
    assert_eq!(value("bools = '!attention dense'"), bools([false, true, false]));
    assert_eq!(value("i32s = 'kv_heads'"), Ok(Some(Value::Array(Array::I32(vec![1, 0, 1])))));
    assert_eq!(value("u32s = 'ffn'"), Ok(Some(Value::Array(Array::I32(vec![16, 16, 0])))));
    assert_eq!(value("u32s = 'hidden'"), Ok(Some(Value::U32(8))));
}

#[test]
fn conditions_and_names_decide_what_is_written() {
    assert_eq!(value("u32 = 'window'\nwhen = 'window'"), Ok(Some(Value::U32(4))));
    assert_eq!(value("u32 = 'window'\nwhen = '!window'"), Ok(None));
    let alone: KeyRule = toml::from_str("name = 'b.c'\nu32 = '1'\nalone = true").expect("sound");
    assert_eq!(alone.key("a"), "b.c");
    let key = |name: &str| {
        toml::from_str::<KeyRule>(&format!("name = '{name}'\nu32 = '1'")).expect("sound").key("a")
    };
    assert_eq!((key("b.c"), key("general.d")), ("a.b.c".into(), "general.d".into()));
    assert!(toml::from_str::<KeyRule>("name = 'x'\nu33 = '1'").is_err());
    assert!(toml::from_str::<KeyRule>("name = 'x'\nu32 = '1'\nif = 'y'").is_err());
}
