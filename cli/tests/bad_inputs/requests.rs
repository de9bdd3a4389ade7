//! Good inputs with wishes that cannot be met.
//! Knows the options' names; what the options do is the product's.

use super::stage::{Door, text};
use super::{Case, case};
use llama_pajamas::formats::imatrix::{self, Entry, Imatrix};
use llama_pajamas::quantizer::recipe::FileType;
use llama_pajamas::quantizer::{BuildRequest, build_bundle};
use llama_pajamas::{
    CancelToken, Event, GenerateSettings, PlanRequest, Runtime, RuntimeSettings, Sampling, SessionSettings,
};
use std::fs;
use std::ops::ControlFlow;

pub(crate) fn cases() -> Vec<Case> {
    [quantizing(), importance(), generating(), cancelling()].into_iter().flatten().collect()
}

/// A row that quantizes the good checkpoint with these options.
fn quantize(name: &'static str, words: &'static [&'static str], options: &'static [&'static str]) -> Case {
    case(name, words, move |stage| {
        stage.checkpoint();
        vec![stage.quantize(options)]
    })
}

fn quantizing() -> Vec<Case> {
    vec![
        quantize("quantize: unknown precision", &["--precision", "Q9_K", "Q4_K_M"], &["--precision", "Q9_K"]),
        quantize("quantize: unknown tensor type", &["Q9_9"], &["--token-embedding-type", "Q9_9"]),
        quantize("quantize: a type for activations alone", &["Q8_K"], &["--output-tensor-type", "Q8_K"]),
        quantize("quantize: a rule without a type", &["REGEX=TYPE", "ffn"], &["--tensor-type", "ffn"]),
        quantize("quantize: a rule that is no regex", &["regex", "("], &["--tensor-type", "(=Q4_0"]),
        quantize(
            "quantize: no experts to take out",
            &["prune experts", "with experts", "none"],
            &["--prune-experts", "2"],
        ),
        quantize(
            "quantize: a layer that is not there",
            &["prune layers", "layers 0 to 3", "layer 8"],
            &["--prune-layers", "2,8"],
        ),
        quantize(
            "quantize: metadata of another kind",
            &["metadata qwen3.block_count", "whole number", "`many`"],
            &["--override-kv", "qwen3.block_count=str:many"],
        ),
        quantize(
            "quantize: metadata without a type",
            &["KEY=TYPE:VALUE", "general.name=x"],
            &["--override-kv", "general.name=x"],
        ),
        quantize(
            "quantize: metadata that describes no model",
            &["embedding_length"],
            &["--override-kv", "qwen3.embedding_length=int:0"],
        ),
        quantize(
            "quantize: bits that embeddings cannot have",
            &["--embedding-bits", "2, 3, 4, 5, 6 or 8", "got 7"],
            &["--embedding-bits", "7"],
        ),
        quantize("quantize: groups of GGUF", &["--group-size", "mlx"], &["--group-size", "32"]),
        quantize(
            "quantize: such groups are not",
            &["--group-size", "32, 64, 128", "got 48"],
            &["--formats", "mlx", "--precision", "4bit", "--group-size", "48"],
        ),
        quantize(
            "quantize: no such machine",
            &["--fit-device", "pocket-watch"],
            &["--fit-device", "pocket-watch"],
        ),
        quantize("quantize: no context", &["--context", "0"], &["--fit-device", "this", "--context", "0"]),
        quantize("quantize: no memory", &["memory", "need", "have", "1024"], &["--memory-budget", "1KiB"]),
        quantize("quantize: not here and not fetched", &["`no/such`", "offline"], &["--offline"]).of_a_hub(),
    ]
}

impl Case {
    /// The same options for a hub id.
    fn of_a_hub(self) -> Case {
        case(self.name, self.words, |stage| {
            let out = stage.text("out");
            vec![
                Door::command(&["quantize", "no/such", "--output", &out, "--offline"]),
                Door::command(&["run", "no/such", "--prompt", "Once", "--offline"]),
                Door::command(&["info", "no/such", "--offline"]),
            ]
        })
    }
}

fn importance() -> Vec<Case> {
    /// A row that quantizes with the bytes of an importance matrix.
    fn with(
        name: &'static str,
        words: &'static [&'static str],
        bytes: impl Fn() -> Vec<u8> + Send + Sync + 'static,
    ) -> Case {
        case(name, words, move |stage| {
            stage.checkpoint();
            fs::write(stage.path("importance"), bytes()).unwrap();
            let file = stage.text("importance");
            vec![stage.quantize(&["--precision", "Q4_K_M", "--imatrix", &file])]
        })
    }
    /// The GGUF form for one tensor.
    fn matrix(name: &str, n_columns: usize, value: f32) -> Imatrix {
        let entry = Entry {
            n_columns,
            n_matrices: 1,
            sums: vec![value; n_columns],
            counts: vec![7.0],
            legacy: false,
        };
        Imatrix {
            entries: [(name.to_string(), entry)].into(),
            datasets: vec!["x".into()],
            chunk_count: 1,
            chunk_size: 512,
        }
    }
    let written = |matrix: Imatrix| imatrix::write_gguf(Vec::new(), &matrix).unwrap();
    const UP: &str = "blk.0.ffn_up.weight";
    vec![
        quantize(
            "imatrix: needed and not given",
            &["IQ2_XXS", "needs an importance matrix", "`blk.0."],
            &["--precision", "IQ2_XXS"],
        ),
        quantize("imatrix: not there", &["nowhere.gguf"], &["--imatrix", "/nowhere.gguf"]),
        with(
            "imatrix: of a wider model",
            &["`blk.0.ffn_up.weight`", "importance matrix", "expected 256", "got 512"],
            move || written(matrix(UP, 512, 1.0)),
        ),
        with("imatrix: cut", &["importance", "ends at byte"], move || {
            let bytes = written(matrix(UP, 256, 1.0));
            bytes[..bytes.len() - 600].to_vec()
        }),
        with("imatrix: NaN", &["importance", "blk.0.ffn_up.weight", "finite", "NaN"], move || {
            let mut bytes = written(matrix(UP, 256, 1.0));
            let at = bytes.len() - 1056;
            bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
            bytes
        }),
        with("imatrix: a model instead", &["importance", "imatrix", "general.type"], || {
            let metadata = [("general.type", llama_pajamas::formats::gguf::Value::String("model".into()))];
            let writer =
                llama_pajamas::formats::gguf::Writer::new(Vec::new(), &metadata.into_iter().collect(), &[]);
            writer.unwrap().finish().unwrap()
        }),
        with("imatrix: legacy with a negative count", &["importance", "number of entries", "-5"], || {
            (-5i32).to_le_bytes().to_vec()
        }),
    ]
}

fn generating() -> Vec<Case> {
    /// A row that runs the good bundle with these options.
    fn run(name: &'static str, words: &'static [&'static str], options: &'static [&'static str]) -> Case {
        case(name, words, move |stage| {
            stage.bundle();
            vec![stage.run("bundle", options)]
        })
    }
    vec![
        run("run: an empty prompt", &["prompt", "expected 1 to", "got 0"], &["--prompt", ""])
            .with_prompt(String::new),
        run("run: a prompt longer than the context", &["prompt", "expected 1 to 256 tokens", "got"], &[])
            .with_prompt(|| "Once upon a time. ".repeat(100)),
        run("run: no context", &["--context", "expected", "got 0"], &["--context", "0"]),
        run("run: unknown CPU kernels", &["abacus", "it has"], &["--cpu-variant", "abacus"]),
        run("run: a temperature that is no number", &["temperature", "NaN"], &["--temperature", "NaN"]),
        run("run: a negative temperature", &["temperature", "-1"], &["--temperature=-1"]),
        run("run: a share above 1", &["top_p", "1.5"], &["--top-p", "1.5"]),
        run("run: a repeat penalty of 0", &["repeat_penalty", "got 0"], &["--repeat-penalty", "0"]),
        case("run: threads beyond belief", &["threads", "4000000000"], |stage| {
            let bundle = {
                stage.bundle();
                stage.text("bundle")
            };
            vec![Door::command(&["run", &bundle, "--prompt", "x", "--threads", "4000000000"])]
        }),
        case("session: settings out of range", &["top_p", "expected", "got NaN"], |stage| {
            let bundle = stage.bundle();
            vec![Door::library(move || {
                let runtime = Runtime::open(&bundle, RuntimeSettings::default()).unwrap();
                let request =
                    PlanRequest { context_tokens: Some(64), n_threads: Some(2), ..PlanRequest::default() };
                let cancel = CancelToken::new();
                let model = runtime.load(&runtime.plan(&request), &mut |_| {}, &cancel).unwrap();
                let mut session = model.session(&SessionSettings::default()).unwrap();
                let sampling = Sampling { top_p: f32::NAN, ..Sampling::default() };
                let settings = GenerateSettings { sampling, ..GenerateSettings::default() };
                let mut heard = |_: Event<'_>| panic!("nothing is generated");
                session.generate("Once", &settings, &cancel, &mut heard).unwrap_err().to_string()
            })]
        }),
    ]
}

impl Case {
    /// The same row in a context of 256 tokens with another prompt.
    fn with_prompt(self, prompt: impl Fn() -> String + Send + Sync + 'static) -> Case {
        case(self.name, self.words, move |stage| {
            stage.bundle();
            let bundle = stage.text("bundle");
            vec![Door::command(&[
                "run",
                &bundle,
                "--prompt",
                &prompt(),
                "--context",
                "256",
                "--threads",
                "2",
            ])]
        })
    }
}

fn cancelling() -> Vec<Case> {
    /// A row that stops quantizing when this share of the bytes is done.
    fn stopped(name: &'static str, share: f64, existing: bool) -> Case {
        case(name, &["cancelled"], move |stage| {
            let (model, output) = (stage.checkpoint(), stage.path("out"));
            if existing {
                super::stage::copy_all(&stage.bundle(), &output);
            }
            let id = if existing { "pajama-stories-4m" } else { "model" };
            vec![Door::library(move || stop(build_request(&text(&model), id, &text(&output)), share))]
        })
    }
    vec![
        stopped("quantize: cancelled at once", 0.0, false),
        stopped("quantize: cancelled half-way", 0.5, false),
        stopped("quantize: cancelled at the end", 1.0, false),
        stopped("quantize: cancelled beside a variant", 0.5, true),
        case("load: cancelled", &["cancelled"], |stage| {
            let bundle = stage.bundle();
            vec![Door::library(move || {
                let runtime = Runtime::open(&bundle, RuntimeSettings::default()).unwrap();
                let cancel = CancelToken::new();
                cancel.cancel();
                let plan = runtime.plan(&PlanRequest::default());
                runtime.load(&plan, &mut |_| {}, &cancel).err().unwrap().to_string()
            })]
        }),
        case("verify: cancelled", &["cancelled"], |stage| {
            let bundle = stage.bundle();
            vec![Door::library(move || {
                let bundle = llama_pajamas::bundle::Bundle::open(&bundle).unwrap();
                bundle.verify(&mut |_| ControlFlow::Break(())).unwrap_err().to_string()
            })]
        }),
    ]
}

fn build_request(model: &str, id: &str, output: &str) -> BuildRequest {
    BuildRequest {
        model: model.into(),
        model_id: id.into(),
        output: output.into(),
        precisions: vec![FileType::Q4_0.into(), FileType::Q5_0.into()],
        threads: 1,
        ..BuildRequest::default()
    }
}

fn stop(request: BuildRequest, share: f64) -> String {
    let output = request.output.clone();
    let result = build_bundle(&request, &mut |_| {}, &mut |progress| {
        assert!(output.exists(), "the work has begun");
        let done = progress.done_bytes as f64 / progress.total_bytes as f64;
        if done >= share { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    result.unwrap_err().to_string()
}
