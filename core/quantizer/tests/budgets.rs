//! Sizes that are asked for: never exceeded, and used to a thousandth.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

use formats::gguf::GgmlType;
use formats::imatrix::{Entry, Imatrix, write_gguf};
use llama_pajamas_quantizer::sensitivity::{CANDIDATES, Sensitivity, TensorSensitivity};
use llama_pajamas_quantizer::{BuildRequest, Target, build_bundle, open_source};
use serde_json::{Map, Value, json};
use std::io::Write as _;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

/// Numbers below a bound, evenly spread.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((u128::from(self.0) * u128::from(bound)) >> 64) as u64
    }
}

/// Errors that fall as types grow, unlike from tensor to tensor; no weight is read.
fn sensitivity(model: &Path, random: &mut Random) -> Sensitivity {
    let source = open_source(model, &[]).unwrap();
    let mut sensitivity = Sensitivity { model: "made up".into(), ..Sensitivity::default() };
    for tensor in source.tensors() {
        if tensor.dims.len() < 2 {
            continue;
        }
        let scale = 1.0 + random.below(100) as f64 / 50.0;
        let fits = |ty: &GgmlType| tensor.dims[0].is_multiple_of(ty.block_len());
        let error = |ty: GgmlType| (ty.name().to_string(), scale * 4f64.powf(-ty.bits_per_weight()));
        let errors = CANDIDATES.into_iter().filter(fits).map(error).collect();
        sensitivity.tensors.insert(tensor.name.clone(), TensorSensitivity { kappa: None, errors });
    }
    sensitivity
}

/// Importance of every column of every matrix, with a long text's name, as a file tells of it.
fn importance(model: &Path) -> Vec<u8> {
    let source = open_source(model, &[]).unwrap();
    let mut imatrix =
        Imatrix { datasets: vec!["a-folder/".repeat(30)], chunk_size: 256, ..Imatrix::default() };
    for tensor in source.tensors().iter().filter(|tensor| tensor.dims.len() > 1) {
        let n_columns = tensor.dims[0] as usize;
        let (sums, counts) = (vec![1.0; n_columns], vec![1.0]);
        let entry = Entry { n_columns, n_matrices: 1, sums, counts, legacy: false };
        imatrix.entries.insert(tensor.name.clone(), entry);
    }
    write_gguf(Vec::new(), &imatrix).unwrap()
}

/// Made-up figures for a model that comes with the repository.
fn check_made_up(name: &str, range: Range<u64>) {
    let model: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../models", name].iter().collect();
    let folder = tempfile::tempdir().unwrap();
    let figures = folder.path().join("sensitivity.json");
    let made_up = sensitivity(&model, &mut Random(5));
    std::fs::write(&figures, serde_json::to_vec(&made_up).unwrap()).unwrap();
    check(name, &model, &figures, range, 40);
}

/// Random sizes within `range`.
fn check(name: &str, model: &Path, figures: &Path, range: Range<u64>, n_budgets: usize) {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(5);
    let budgets = (0..n_budgets).map(|_| range.start + random.below(range.end - range.start));
    let budgets: Vec<u64> = budgets.collect();
    let request = |budgets: &[u64], dry_run| BuildRequest {
        model: model.into(),
        model_id: name.into(),
        output: folder.path().join("bundle"),
        targets: budgets.iter().map(|bytes| Target::FileBytes(*bytes)).collect(),
        sensitivity: Some(figures.into()),
        threads: 2,
        dry_run,
        ..BuildRequest::default()
    };
    let mut go_on = |_: llama_pajamas_quantizer::Progress<'_>| ControlFlow::Continue(());
    let mut least_used = 1.0f64;
    for budget in &budgets {
        // One at a time: sizes that agree to the kilobyte would have one name.
        let report = build_bundle(&request(&[*budget], true), &mut |_| {}, &mut go_on).unwrap();
        let bytes = report.variants[0].file_bytes;
        let used = bytes as f64 / *budget as f64;
        least_used = least_used.min(used);
        assert!((0.999..=1.0).contains(&used), "{name}: {bytes} of {budget} bytes");
    }
    // What a file tells of its importance matrix takes bytes as well.
    let imatrix = folder.path().join("imatrix.gguf");
    std::fs::write(&imatrix, importance(model)).unwrap();
    for budget in &budgets[..4] {
        let request = BuildRequest { imatrix: Some(imatrix.clone()), ..request(&[*budget], true) };
        let report = build_bundle(&request, &mut |_| {}, &mut go_on).unwrap();
        let used = report.variants[0].file_bytes as f64 / *budget as f64;
        assert!((0.999..=1.0).contains(&used), "{name} with importance: {used} of {budget} bytes");
    }
    println!("{name}: {n_budgets} budgets, at least {:.3}% used", 100.0 * least_used);
    // What is written is as long as was foretold.
    let report = build_bundle(&request(&budgets[..2], false), &mut |_| {}, &mut go_on).unwrap();
    for variant in &report.variants {
        let path = folder.path().join("bundle").join(&variant.id).join("model.gguf");
        assert_eq!(std::fs::metadata(path).unwrap().len(), variant.file_bytes, "{}", variant.id);
    }
    // Below the smallest file nothing is planned.
    let error = build_bundle(&request(&[range.start / 2], true), &mut |_| {}, &mut go_on).unwrap_err();
    assert!(error.to_string().contains("target size: expected at least"), "{error}");
}

/// A checkpoint of pajama-moe-21m's shape whose weights are all 0.
fn mixture_of_experts(folder: &Path) {
    let models: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../models/pajama-7m"].iter().collect();
    std::fs::copy(models.join("tokenizer.json"), folder.join("tokenizer.json")).unwrap();
    let config = std::fs::read_to_string(models.join("config.json")).unwrap();
    let mut config: Map<String, Value> = serde_json::from_str(&config).unwrap();
    let experts = json!({
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_hidden_layers": 6,
        "num_experts": 16, "num_experts_per_tok": 2, "moe_intermediate_size": 256, "norm_topk_prob": true,
        "decoder_sparse_step": 1, "mlp_only_layers": []
    });
    config.extend(experts.as_object().unwrap().clone());
    std::fs::write(folder.join("config.json"), serde_json::to_vec(&config).unwrap()).unwrap();

    let mut tensors: Vec<(String, Vec<u64>)> =
        vec![("model.embed_tokens.weight".into(), vec![4096, 256]), ("model.norm.weight".into(), vec![256])];
    for layer in 0..6 {
        let mut add = |name: &str, dims: &[u64]| {
            tensors.push((format!("model.layers.{layer}.{name}.weight"), dims.to_vec()));
        };
        add("input_layernorm", &[256]);
        add("post_attention_layernorm", &[256]);
        for (name, rows) in [("q", 256), ("k", 128), ("v", 128), ("o", 256)] {
            add(&format!("self_attn.{name}_proj"), &[rows, 256]);
        }
        add("self_attn.q_norm", &[64]);
        add("self_attn.k_norm", &[64]);
        add("mlp.gate", &[16, 256]);
        for expert in 0..16 {
            for name in ["gate", "up", "down"] {
                add(&format!("mlp.experts.{expert}.{name}_proj"), &[256, 256]);
            }
        }
    }
    let (mut header, mut end) = (Map::new(), 0);
    for (name, shape) in tensors {
        let begin = end;
        end += 2 * shape.iter().product::<u64>();
        header.insert(name, json!({"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}));
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = std::fs::File::create(folder.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    file.set_len(8 + header.len() as u64 + end).unwrap();
}

/// From about 3 bits per weight to sizes at which single steps of made-up figures are too large.
#[test]
fn a_dense_model_fits_forty_sizes() {
    check_made_up("pajama-7m", 2_700_000..7_900_000);
}

#[test]
fn the_stories_model_fits_forty_sizes() {
    check_made_up("pajama-stories-4m", 1_650_000..3_300_000);
}

/// With the model's own figures, as `sensitivity` wrote them: single tensors are a twentieth of the file, and at
/// 8 bits few types larger are left.
#[test]
fn a_mixture_of_experts_fits_two_hundred_sizes() {
    let model = tempfile::tempdir().unwrap();
    mixture_of_experts(model.path());
    let figures: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "tests/data/pajama-moe-21m.sensitivity.json"].iter().collect();
    check("pajama-moe-21m", model.path(), &figures, 7_100_000..22_000_000, 200);
}
