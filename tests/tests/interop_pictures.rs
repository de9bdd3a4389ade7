//! Pictures in prompts: our conversion of a model and its projector, read by our engine, gives transformers' logits behind two
//! pictures; and through the runtime, alone and beside other answers, the same answer.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use engine::gguf::{EngineOptions, GgufEngine};
use engine::{
    CancelToken, Context, ContextSettings, Engine, KvType, LoadSettings, Logits, Media, Part, Piece,
    Projector, ProjectorSettings, Token,
};
use families::OutputType;
use formats::safetensors::Header;
use llama_pajamas::{
    Event, GenerateSettings, PlanRequest, PoolSettings, Runtime, RuntimeSettings, Sampling, SessionSettings,
};
use llama_pajamas_tests::{oracle, repository, run, tiny_models_called};
use quantizer::source::{Checkpoint, TensorSource};
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// Models, and the largest difference of logits relative to the largest: half of a picture's encoder computes with a table of
/// 16-bit floats.
const MODELS: [(&str, f32); 4] = [
    ("vision-gemma3", 4e-3),
    ("vision-qwen2-vl", 4e-3),
    ("vision-qwen2.5-vl", 4e-3),
    ("vision-qwen3-vl", 4e-3),
];

fn convert(source: &dyn TensorSource, path: &Path) {
    let out = BufWriter::new(std::fs::File::create(path).unwrap());
    quantizer::convert(source, OutputType::F32, out, 2, &mut |_| ControlFlow::Continue(())).unwrap();
}

/// What transformers computed: tokens with -1 and -2 for the pictures, logits after the last ones.
fn reference(path: &Path) -> (Vec<i32>, Vec<Vec<f32>>) {
    let bytes = std::fs::read(path).unwrap();
    let header = Header::read(bytes.as_slice(), bytes.len() as u64).unwrap();
    let words = |name: &str| -> (Vec<[u8; 4]>, usize) {
        let info = header.tensors.iter().find(|info| info.name == name).unwrap();
        let words = &bytes[info.range.start as usize..info.range.end as usize];
        (words.as_chunks().0.to_vec(), *info.shape.last().unwrap() as usize)
    };
    let tokens = words("tokens").0.into_iter().map(i32::from_le_bytes).collect();
    let (values, width) = words("logits");
    let values: Vec<f32> = values.into_iter().map(f32::from_le_bytes).collect();
    (tokens, values.chunks_exact(width).map(<[f32]>::to_vec).collect())
}

fn settings() -> ContextSettings {
    ContextSettings {
        n_ctx: 256,
        n_threads: 1,
        n_threads_batch: 1,
        n_outputs_max: 64,
        type_k: KvType::F32,
        type_v: KvType::F32,
        flash_attention: Some(false),
        n_batch: 64,
        n_ubatch: 64,
        ..ContextSettings::default()
    }
}

/// What of a picture's file is the picture, without the texts around it.
fn media(projector: &Arc<dyn Projector>, file: &Path) -> Arc<dyn Media> {
    let pieces = Arc::clone(projector).read(&std::fs::read(file).unwrap()).unwrap();
    let mut media = pieces.into_iter().filter_map(|piece| match piece {
        Piece::Media(media) => Some(media),
        Piece::Tokens(_) => None,
    });
    let one = media.next().unwrap();
    assert!(media.next().is_none());
    one
}

/// The largest difference relative to the largest, and whether all top tokens are the same.
fn compare(ours: &[Vec<f32>], theirs: &[Vec<f32>]) -> (f32, bool) {
    let largest = theirs.iter().flatten().fold(0f32, |most, logit| most.max(logit.abs()));
    let top = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
    let difference =
        |(a, b): (&Vec<f32>, &Vec<f32>)| a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    let error = ours.iter().zip(theirs).map(difference).fold(0f32, f32::max) / largest;
    (error, ours.iter().zip(theirs).all(|(a, b)| top(a) == top(b)))
}

fn rows(context: &dyn Context, n: usize) -> Vec<Vec<f32>> {
    (0..n).map(|row| context.logits(row).unwrap().to_vec()).collect()
}

#[test]
fn logits_behind_pictures_are_those_of_transformers() {
    let engine = GgufEngine::start(EngineOptions::default()).unwrap();
    let work = tempfile::tempdir().unwrap();
    let cancel = CancelToken::new();
    let models = tiny_models_called(work.path(), &MODELS.map(|(name, _)| name));
    let all_pictures = work.path().join("pictures");
    let script = repository().join("scripts/oracles/pictures.py");
    run(Command::new(oracle("venv/bin/python")).arg(script).arg(&all_pictures).args(&models));
    for ((name, max_error), model) in MODELS.into_iter().zip(&models) {
        let (file, projector_file) = (work.path().join("model.gguf"), work.path().join("mmproj.gguf"));
        convert(&Checkpoint::open(model).unwrap(), &file);
        convert(&Checkpoint::open_projector(model).unwrap().unwrap(), &projector_file);
        let pictures = all_pictures.join(name);
        let (tokens, theirs) = reference(&pictures.join("pictures.st"));

        let load = LoadSettings { vocabulary: true, ..LoadSettings::default() };
        let model = engine.load(&file, &load, &mut |_| ControlFlow::Continue(())).unwrap();
        let projector = Arc::clone(&model)
            .open_projector(&projector_file, &ProjectorSettings { n_threads: 1, ..Default::default() })
            .unwrap();
        assert!(projector.sees());
        let seen: Vec<_> = (0..2).map(|n| media(&projector, &pictures.join(format!("{n}.png")))).collect();
        assert_ne!(seen[0].digest(), seen[1].digest());
        let texts: Vec<&[Token]> = tokens.split(|token| *token < 0).collect();
        let mut context = Arc::clone(&model).new_context(&settings()).unwrap();
        context.decode(texts[0], Logits::None, &cancel).unwrap();
        context.decode_media(&*seen[0], &cancel).unwrap();
        context.decode(texts[1], Logits::None, &cancel).unwrap();
        let before_second = context.n_past();
        context.decode_media(&*seen[1], &cancel).unwrap();
        context.decode(texts[2], Logits::All, &cancel).unwrap();
        let ours = rows(context.as_ref(), texts[2].len());
        let (error, same_top) = compare(&ours, &theirs);
        println!(
            "{name:20} {} tokens a picture, error {error:.1e}, same top tokens: {same_top}",
            seen[0].n_tokens()
        );
        assert!(error < max_error && same_top, "{name}: {error}");

        // Going back to before the second picture, and there again.
        let within = context.truncate(before_second + 1).unwrap_err().to_string();
        assert!(within.contains("would be cut"), "{within}");
        context.truncate(before_second).unwrap();
        context.decode_media(&*seen[1], &cancel).unwrap();
        context.decode(texts[2], Logits::All, &cancel).unwrap();
        assert_eq!(rows(context.as_ref(), texts[2].len()), ours, "{name}: again");
        assert!(context.state().unwrap_err().to_string().contains("pictures or sound are held"));

        // Beside another sequence.
        let several = ContextSettings { n_sequences: 2, ..settings() };
        let mut sequences = Arc::clone(&model).new_sequences(&several).unwrap();
        let both: Vec<Part<'_>> = (0..2)
            .map(|sequence| Part {
                sequence,
                tokens: if sequence == 0 { texts[2] } else { texts[0] },
                want: Logits::None,
            })
            .collect();
        sequences.decode(&both, &cancel).unwrap();
        sequences.decode_media(1, &*seen[0], &cancel).unwrap();
        let step = |tokens| {
            [
                Part { sequence: 0, tokens: texts[0], want: Logits::None },
                Part { sequence: 1, tokens, want: Logits::None },
            ]
        };
        sequences.decode(&step(texts[1]), &cancel).unwrap();
        sequences.decode_media(1, &*seen[1], &cancel).unwrap();
        sequences.decode(&[Part { sequence: 1, tokens: texts[2], want: Logits::All }], &cancel).unwrap();
        let beside: Vec<Vec<f32>> =
            (0..texts[2].len()).map(|row| sequences.logits(0, row).unwrap().to_vec()).collect();
        let (error, same_top) = compare(&beside, &theirs);
        assert!(error < max_error && same_top, "{name} beside another: {error}");

        refusals(&projector, &model, &engine, &file);
        through_the_runtime(&file, &projector_file, &pictures);
    }
}

fn refusals(
    projector: &Arc<dyn Projector>,
    model: &Arc<dyn engine::Model>,
    engine: &GgufEngine,
    file: &Path,
) {
    for (bytes, said) in [
        (&b"\x89PNG\r\n\x1a\nno picture"[..], "a picture that cannot be read"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "bytes of another kind"),
        (b"RIFF\0\0\0\0WAVEfmt ", "got sound"),
        (b"", "bytes of another kind"),
    ] {
        let error = Arc::clone(projector).read(bytes).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let error = Arc::clone(model).open_projector(file, &ProjectorSettings::default()).err().unwrap();
    assert!(error.to_string().contains("expected `clip`"), "{error}");
    let plain = engine.load(file, &LoadSettings::default(), &mut |_| ControlFlow::Continue(())).unwrap();
    let error = plain.open_projector(file, &ProjectorSettings::default()).err().unwrap();
    assert!(error.to_string().contains("expected `clip`"), "{error}");
}

/// The same answer of a session, of a session that saw something else before, and of a pool.
fn through_the_runtime(file: &Path, projector: &Path, pictures: &Path) {
    let settings = RuntimeSettings { projector: Some(projector.into()), ..RuntimeSettings::default() };
    let runtime = Runtime::open(file, settings).unwrap();
    let request =
        PlanRequest { n_threads: Some(1), images: true, context_tokens: Some(256), ..PlanRequest::default() };
    let cancel = CancelToken::new();
    let model = runtime.load(&runtime.plan(&request), &mut |_| {}, &cancel).unwrap();
    assert!(model.sees());
    let read = |n: usize| std::fs::read(pictures.join(format!("{n}.png"))).unwrap();
    let mut asked = Vec::new();
    for files in [vec![read(0)], vec![read(1), read(0)], vec![read(0), read(0)], vec![read(0)]] {
        let mut settings = GenerateSettings {
            sampling: Sampling::greedy(),
            max_tokens: 12,
            ignore_end_of_turn: true,
            ..GenerateSettings::default()
        };
        let prompt =
            "Look: <__media__> and ".to_owned() + &"<__media__>".repeat(files.len() - 1) + "tell me.";
        let tokens = model.media_prompt(&prompt, &files, &mut settings.media).unwrap();
        asked.push((tokens, settings));
    }
    let mut kept = model.session(&SessionSettings::default()).unwrap();
    let pool = model.pool(&PoolSettings { n_sequences: 3, ..PoolSettings::default() }).unwrap();
    let mut answers = Vec::new();
    for (tokens, settings) in &asked {
        let answer = |session: &mut llama_pajamas::Session| {
            let mut told: Vec<Token> = Vec::new();
            let mut hear = |event: Event<'_>| {
                if let Event::Token(token) = event {
                    told.push(token);
                }
                ControlFlow::Continue(())
            };
            let usage = session.generate_tokens(tokens, settings, &cancel, &mut hear).unwrap();
            assert_eq!(usage.prompt_tokens, tokens.len());
            (told, usage.reused_tokens)
        };
        let (fresh, _) = answer(&mut model.session(&SessionSettings::default()).unwrap());
        let (after_others, reused) = answer(&mut kept);
        assert_eq!(fresh, after_others);
        assert!(answers.is_empty() || reused > 0);
        let (sender, receiver) = std::sync::mpsc::channel();
        let hear = move |event: Event<'_>| {
            if let Event::Token(token) = event {
                sender.send(token).unwrap();
            }
            ControlFlow::Continue(())
        };
        pool.generate_tokens(tokens, settings, &cancel, hear).unwrap();
        assert_eq!(receiver.try_iter().collect::<Vec<Token>>(), fresh, "a pool's answer");
        answers.push(fresh);
    }
    assert!(answers[0] == answers[3] && answers[0] != answers[1], "{answers:?}");
    // Without the plan for images there is no projector.
    let request = PlanRequest { images: false, ..request };
    let blind = runtime.load(&runtime.plan(&request), &mut |_| {}, &cancel).unwrap();
    let error = blind.media_prompt("x", &[read(0)], &mut asked[0].1.media).unwrap_err().to_string();
    assert!(error.contains("without a projector"), "{error}");
}

/// What flows into weights while documents with pictures are read is summed up: of text alone as windows are, and a picture counts
/// for as many tokens as it takes.
#[test]
fn pictures_count_in_importance() {
    use llama_pajamas::evaluator::divergence::Computing;
    use llama_pajamas::evaluator::importance::Run;
    use llama_pajamas::evaluator::text::Pass;
    let engine = GgufEngine::start(EngineOptions::default()).unwrap();
    let work = tempfile::tempdir().unwrap();
    let models = tiny_models_called(work.path(), &["vision-qwen2-vl"]);
    let all_pictures = work.path().join("pictures");
    let script = repository().join("scripts/oracles/pictures.py");
    run(Command::new(oracle("venv/bin/python")).arg(script).arg(&all_pictures).args(&models));
    let (file, projector_file) = (work.path().join("model.gguf"), work.path().join("mmproj.gguf"));
    convert(&Checkpoint::open(&models[0]).unwrap(), &file);
    convert(&Checkpoint::open_projector(&models[0]).unwrap().unwrap(), &projector_file);
    let load = LoadSettings { vocabulary: true, ..LoadSettings::default() };
    let model = engine.load(&file, &load, &mut |_| ControlFlow::Continue(())).unwrap();
    let reading = ProjectorSettings { n_threads: 1, ..Default::default() };
    let projector = Arc::clone(&model).open_projector(&projector_file, &reading).unwrap();
    let seen = media(&projector, &all_pictures.join("vision-qwen2-vl/0.png"));
    let text: Vec<Token> = (0..64).map(|at| (at * 31 % 200) + 3).collect();
    let open = || Run::open(&model, 128, true, &Computing { n_threads: 1 }, "one", None).unwrap();
    let mut go_on = |_: llama_pajamas::evaluator::Progress<'_>| ControlFlow::Continue(());
    let sums = |run: &Run| run.sums().to_imatrix(Vec::new(), 1, 128).entries;

    let mut plain = open();
    let pass = Pass { text: "text".into(), n_ctx: 64, windows: vec![text.clone()] };
    plain.read(&[pass], &mut |_| Ok(()), &mut go_on).unwrap();
    let mut read = |pieces: Vec<Piece>| {
        let mut run = open();
        run.read_documents(0, 1, &mut |_| Ok(pieces.clone()), &mut |_| Ok(()), &mut go_on).map(|()| run)
    };
    let alone = read(vec![Piece::Tokens(text.clone())]).unwrap();
    assert_eq!(sums(&plain), sums(&alone));

    let with_picture = read(vec![
        Piece::Tokens(text[..8].to_vec()),
        Piece::Media(Arc::clone(&seen)),
        Piece::Tokens(text[8..].to_vec()),
    ]);
    let with_picture = sums(&with_picture.unwrap());
    let name = "blk.0.attn_q.weight";
    let (few, more) = (&sums(&plain)[name], &with_picture[name]);
    println!("{name}: {:?} tokens, with a picture of {} {:?}", few.counts, seen.n_tokens(), more.counts);
    assert_eq!(more.counts[0], few.counts[0] + seen.n_tokens() as f32);
    assert!(
        more.sums.iter().all(|sum| sum.is_finite()) && more.sums.iter().sum::<f32>() > few.sums.iter().sum()
    );
    let said = read(vec![Piece::Tokens(vec![5; 129])]).err().unwrap().to_string();
    assert!(said.contains("at most 128 tokens") && said.contains("129 in number 0"), "{said}");
}
