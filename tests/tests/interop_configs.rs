//! What is said of every real configuration at hand, held to a golden table: family, parameters, experts, layers,
//! context, cache; or why nothing is. `LLAMA_PAJAMAS_UPDATE=1` writes the table anew.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints what differs")]

use families::projector::Projector;
use families::{Description, FeedForward, Mixer, Reach, memory};
use formats::gguf::GgmlType;
use llama_pajamas_tests::{oracle, repository, run, shared};
use std::collections::BTreeMap;

const HEADING: &str = "configuration\tfamily\tparameters\tactive\texperts\tlayers\tcontext\tKV bytes per token\tstate bytes\tstored as\tbeside text";

/// One row, without a line end.
fn row(name: &str, text: &[u8]) -> String {
    let description = families::parse_config(text).map_err(|e| e.to_string()).and_then(|config| {
        let description = families::detect_config(&config).map_err(|error| error.to_string())?;
        let projector = Projector::of_config(&config).map_err(|error| error.to_string())?;
        Ok((description, projector.map(Projector::id)))
    });
    match description {
        Ok((description, projector)) => {
            format!("{name}\t{}\t{}", told(&description), beside(&description, projector))
        }
        Err(error) => format!("{name}\t-\t{}", error.split("; known: ").next().unwrap_or_default()),
    }
}

/// What the model takes besides text, and the kind of its projector where it is known.
fn beside(d: &Description, projector: Option<&str>) -> String {
    let vision =
        d.modalities.vision.then(|| format!("images by {}", projector.unwrap_or("an unknown projector")));
    let audio = d.modalities.audio.then(|| "audio".to_string());
    let all: Vec<String> = vision.into_iter().chain(audio).collect();
    if all.is_empty() { "-".into() } else { all.join(", ") }
}

fn told(d: &Description) -> String {
    let experts = d.moe.map_or("-".to_string(), |moe| format!("{} of {}", moe.n_active, moe.n_experts));
    let kv = memory::kv_bytes(d, 1, GgmlType::F16, GgmlType::F16).map_or("-".into(), |n| n.to_string());
    let native = d.native_quantization.as_ref().map_or("-", |native| native.method.as_str());
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for layer in &d.layers {
        let mixer = match layer.mixer {
            Mixer::Attention(attention) => reach(attention.reach),
            Mixer::Parallel(attention, recurrent) => {
                format!("{} beside {:?}", reach(attention.reach), recurrent.kind)
            }
            Mixer::Latent(latent) => format!("latent {}", latent.kv_rank),
            Mixer::Recurrent(recurrent) => format!("{:?}", recurrent.kind),
            Mixer::None => "no mixer".into(),
        };
        let feed_forward = match layer.feed_forward {
            FeedForward::Dense { .. } => "dense",
            FeedForward::Routed => "routed",
            FeedForward::None => "no feed-forward",
        };
        *kinds.entry(format!("{mixer} + {feed_forward}")).or_default() += 1;
    }
    let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count}x {kind}")).collect();
    format!(
        "{}\t{}\t{}\t{experts}\t{}\t{}\t{kv}\t{}\t{native}",
        d.family,
        d.parameters.total,
        d.parameters.active,
        kinds.join(", "),
        d.max_context,
        memory::state_bytes(d),
    )
}

fn reach(reach: Reach) -> String {
    match reach {
        Reach::Full => "full".into(),
        Reach::Sliding { window } => format!("sliding {window}"),
        Reach::Chunked { chunk } => format!("chunked {chunk}"),
    }
}

#[test]
fn every_real_configuration_is_told_as_in_the_golden_table() {
    let mut files: Vec<_> =
        std::fs::read_dir(shared("data/configs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|kind| kind == "json"));
    files.sort();
    let rows = files.iter().map(|path| {
        let name = path.file_stem().unwrap().to_string_lossy();
        row(name.trim_end_matches("_config"), &std::fs::read(path).unwrap())
    });
    let table: String = std::iter::once(HEADING.to_string()).chain(rows).map(|row| row + "\n").collect();
    let golden = repository().join("tests/golden/configs.tsv");
    if std::env::var_os("LLAMA_PAJAMAS_UPDATE").is_some() {
        std::fs::write(&golden, &table).unwrap();
    }
    let expected = std::fs::read_to_string(&golden).unwrap();
    let differing = table.lines().zip(expected.lines()).filter(|(ours, golden)| ours != golden);
    let differing: Vec<_> = differing.inspect(|(ours, golden)| println!("- {golden}\n+ {ours}")).collect();
    let described = table.lines().skip(1).filter(|row| row.split('\t').nth(1) != Some("-")).count();
    println!("{described} of {} configurations are described, the others refused", files.len());
    assert!(differing.is_empty() && table.lines().count() == expected.lines().count());
}

/// The text part of a larger model is written as what differs from its class's defaults.
#[test]
fn a_part_that_states_nothing_means_its_class_s_defaults() {
    let types: Vec<&str> = families::Family::all().iter().flat_map(families::Family::model_types).collect();
    let mut command = std::process::Command::new(oracle("venv/bin/python"));
    command.arg(repository().join("scripts/oracles/class_defaults.py")).args(&types);
    let stated: serde_json::Value = serde_json::from_str(&run(&mut command)).unwrap();
    let detect = |config: &serde_json::Value| {
        families::detect_config(config).map(|mut description| {
            description.warnings.clear();
            // Some classes give their part a type of its own.
            description.model_type.clear();
            description
        })
    };
    let (mut n_equal, mut differing) = (0, Vec::new());
    // Of these no larger model's text part is made; some share a table with others whose sizes are another class's.
    let alone = ["roberta", "xlm-roberta", "modernbert", "nomic_bert", "mt5"];
    for kind in types.into_iter().filter(|kind| !alone.contains(kind)) {
        let Ok(full) = detect(&stated[kind]) else { continue };
        match detect(&serde_json::json!({"text_config": {"model_type": kind}})) {
            Ok(bare) if bare == full => n_equal += 1,
            Ok(bare) => {
                let (bare, full) = (serde_json::to_value(bare).unwrap(), serde_json::to_value(full).unwrap());
                let differs = |(field, value): &(&String, &serde_json::Value)| full[*field] != **value;
                let fields = bare.as_object().unwrap().iter().filter(differs).map(|(field, value)| {
                    let shown = |v: &serde_json::Value| v.to_string().chars().take(90).collect::<String>();
                    format!("{field} {} for {}", shown(value), shown(&full[field]))
                });
                differing.push(format!("{kind}: {}", fields.collect::<Vec<_>>().join("; ")));
            }
            Err(error) => differing.push(format!("{kind}: {error}")),
        }
    }
    println!("{n_equal} classes' defaults are known");
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// The shapes that plans for machines elsewhere are made of say of their models what the whole files say.
#[test]
fn shapes_for_plans_describe_what_whole_configurations_describe() {
    let described = |path: &std::path::Path| {
        let config = families::parse_config(&std::fs::read(path).unwrap()).unwrap();
        let mut description = families::detect_config(&config).unwrap();
        (description.name, description.warnings) = (None, Vec::new());
        description
    };
    for (shape, whole) in [
        ("Qwen3-0.6B", "Qwen--Qwen3-0.6B"),
        ("Qwen3-1.7B", "Qwen--Qwen3-1.7B"),
        ("Qwen3-8B", "Qwen--Qwen3-8B"),
        ("Qwen3-30B-A3B", "Qwen--Qwen3-30B-A3B"),
        ("gpt-oss-20b", "openai--gpt-oss-20b"),
    ] {
        let shape = repository().join(format!("cli/tests/planning/configs/{shape}.json"));
        let whole = shared(&format!("data/configs/{whole}_config.json"));
        assert_eq!(described(&shape), described(&whole), "{}", shape.display());
    }
}
