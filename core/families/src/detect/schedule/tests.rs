//! Tests of layer schedules on small tables.

use super::*;
use crate::config::Config;
use serde_json::json;

fn read(table: &str, config: &Value, n_layers: usize, is_routed: bool) -> Result<Vec<Layer>, Error> {
    let schedule: Schedule = toml::from_str(table).expect("the table parses");
    let names = ["window", "ssm_inner", "ssm_state", "ssm_groups", "conv_kernel", "leading_dense"];
    let quantities = names.iter().filter_map(|name| Some((name.to_string(), config.get(name)?.as_u64()?)));
    let common = Common {
        n_layers,
        hidden_size: 8,
        attention: Some(Attention {
            reach: Reach::Full,
            n_heads: 2,
            n_kv_heads: 1,
            key_dim: 4,
            value_dim: 4,
            own_bias: false,
            without_norm: false,
            keys_as_values: false,
            shares_cache: false,
        }),
        dense_width: Some(16),
        is_routed,
        quantities: &quantities.collect(),
    };
    schedule.layers(&Config::new(config).expect("an object"), &common)
}

/// One letter per layer: full attention, sliding, recurrent, nothing.
fn mixers(layers: &[Layer]) -> String {
    let letter = |layer: &Layer| match layer.mixer {
        Mixer::Attention(attention) if attention.reach == Reach::Full => 'F',
        Mixer::Attention(_) => 'S',
        Mixer::Recurrent(_) => 'R',
        Mixer::Parallel(..) => 'P',
        Mixer::Latent(_) => 'L',
        Mixer::None => '-',
    };
    layers.iter().map(letter).collect()
}

/// One letter per layer: dense, experts, nothing.
fn feed_forwards(layers: &[Layer]) -> String {
    let letter = |layer: &Layer| match layer.feed_forward {
        FeedForward::Dense { .. } => 'D',
        FeedForward::Routed => 'E',
        FeedForward::None => '-',
    };
    layers.iter().map(letter).collect()
}

const WORDS: &str = "words = 'layer_types'\nkind = { full = {}, local = { mixer = 'sliding_attention' } }";

#[test]
fn words_name_each_layer() {
    let config = json!({"layer_types": ["local", "full", "local"], "window": 32});
    let layers = read(WORDS, &config, 3, false).expect("sound");
    assert_eq!((mixers(&layers).as_str(), feed_forwards(&layers).as_str()), ("SFS", "DDD"));
    assert_eq!(layers[0].attention().map(|attention| attention.reach), Some(Reach::Sliding { window: 32 }));
    // Prediction layers may be listed behind the model's own.
    assert_eq!(read(WORDS, &config, 2, false).map(|layers| mixers(&layers)), Ok("SF".into()));
}

#[test]
fn letters_name_each_layer() {
    let table = "letters = { field = 'pattern', kinds = { M = 'mamba', '*' = 'attention', E = 'experts' } }
        [kind]
        mamba = { mixer = 'mamba2', feed_forward = 'none' }
        attention = { feed_forward = 'none' }
        experts = { mixer = 'none', feed_forward = 'routed' }";
    let config =
        json!({"pattern": "ME*E", "ssm_inner": 16, "ssm_state": 4, "ssm_groups": 2, "conv_kernel": 4});
    let layers = read(table, &config, 4, true).expect("sound");
    assert_eq!((mixers(&layers).as_str(), feed_forwards(&layers).as_str()), ("R-F-", "-E-E"));
    let expected =
        Recurrent { kind: Recurrence::Mamba2, convolution_len: 3 * (16 + 2 * 2 * 4), state_len: 64 };
    assert_eq!(layers[0].mixer, Mixer::Recurrent(expected));
}

#[test]
fn periods_and_lists_place_the_other_kind() {
    let kinds = "kind = { full = {}, local = { mixer = 'sliding_attention' } }";
    let config = json!({"interval": 3, "window": 1, "full_layers": [0, 4]});
    let period = |rest: &str| {
        format!("period = {{ every = 'interval', kind = 'full', others = 'local'{rest} }}\n{kinds}")
    };
    assert_eq!(read(&period(""), &config, 6, false).map(|l| mixers(&l)), Ok("SSFSSF".into()));
    assert_eq!(read(&period(", at = '0'"), &config, 4, false).map(|l| mixers(&l)), Ok("FSSF".into()));
    let listed = format!("listed = {{ field = 'full_layers', kind = 'full', others = 'local' }}\n{kinds}");
    assert_eq!(read(&listed, &config, 5, false).map(|l| mixers(&l)), Ok("FSSSF".into()));
}

#[test]
fn routing_leaves_some_layers_dense() {
    let table = "routing = { every = 'step', dense = 'dense_layers' }";
    let cases = [
        (json!({}), "EEEE"),
        (json!({"leading_dense": 2}), "DDEE"),
        (json!({"step": 2}), "DEDE"),
        (json!({"dense_layers": [3]}), "EEED"),
    ];
    for (config, expected) in cases {
        assert_eq!(read(table, &config, 4, true).map(|layers| feed_forwards(&layers)), Ok(expected.into()));
        assert_eq!(read(table, &config, 4, false).map(|layers| feed_forwards(&layers)), Ok("DDDD".into()));
    }
    let flags = "routing = { flags = 'moe_layers' }";
    let config = json!({"moe_layers": [0, 1, 1]});
    assert_eq!(read(flags, &config, 3, true).map(|layers| feed_forwards(&layers)), Ok("DEE".into()));
}

#[test]
fn what_does_not_fit_is_named() {
    let cases = [
        (
            json!({"layer_types": ["full", "odd"]}),
            "`layer_types`: expected words of full, local, got \"odd\"",
        ),
        (json!({"layer_types": ["full"]}), "one entry for each of 2 layers"),
        (json!({"layer_types": "full"}), "a list of words"),
        (json!({"layer_types": ["local", "full"]}), "`window` is missing"),
    ];
    for (config, expected) in cases {
        let error = read(WORDS, &config, 2, false).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let zero = "period = { every = 'n', kind = 'a', others = 'a' }\nkind = { a = {} }";
    assert!(read(zero, &json!({"n": 0}), 2, false).is_err());
}
