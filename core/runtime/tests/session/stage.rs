//! A model file with a token per byte, a session on it whose engine recites a text, and what a generation told.
//! Knows the public API; must not hold a test.

use crate::fake_engine::Fake;
use llama_pajamas::formats::gguf::{Array, GgmlType, Metadata, TensorSpec, Value, Writer};
use llama_pajamas::{
    CancelToken, Error, Event, GenerateSettings, LoadedModel, PlanRequest, Runtime, RuntimeSettings,
    Sampling, Session, SessionSettings, Token, Usage,
};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Control tokens in front of the 256 bytes.
const SPECIAL: [&str; 3] = ["<unk>", "<s>", "</s>"];
/// Ends the model's turn.
pub(crate) const END: Token = 2;

/// The token of a byte.
pub(crate) fn byte(byte: u8) -> Token {
    Token::from(byte) + SPECIAL.len() as Token
}

/// One token per byte.
pub(crate) fn bytes(text: &str) -> Vec<Token> {
    text.bytes().map(byte).collect()
}

/// An engine that recites `text`, beginning of sequence included.
pub(crate) fn reciting(text: &str) -> Fake {
    let recital = std::iter::once(1).chain(bytes(text)).collect();
    Fake { recital, end: END, n_vocab: SPECIAL.len() + 256, ..Fake::default() }
}

/// Greedy, and as much as comes.
pub(crate) fn greedy() -> GenerateSettings {
    GenerateSettings { sampling: Sampling::greedy(), ..GenerateSettings::default() }
}

/// What a generation told.
#[derive(Debug)]
pub(crate) struct Told {
    /// Pieces of text as they came.
    pub(crate) texts: Vec<String>,
    /// How it ended.
    pub(crate) usage: Usage,
}

impl Told {
    /// All of the text.
    pub(crate) fn text(&self) -> String {
        self.texts.concat()
    }
}

/// Loads the model file with `fake` for an engine.
pub(crate) fn load(fake: &Fake, n_ctx: u32) -> LoadedModel {
    let request = PlanRequest { context_tokens: Some(n_ctx.into()), ..PlanRequest::default() };
    try_load(fake, &request).expect("loads")
}

/// The same, as planned for `request`.
pub(crate) fn try_load(fake: &Fake, request: &PlanRequest) -> Result<LoadedModel, Error> {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("bytes.gguf");
    std::fs::write(&path, model_file()).expect("writable");
    let settings = RuntimeSettings { engine: Some(Arc::new(fake.clone())), ..RuntimeSettings::default() };
    let runtime = Runtime::open(&path, settings)?;
    runtime.load(&runtime.plan(request), &mut |_| {}, &CancelToken::new())
}

/// Lets `test` have the model as long as its file is there.
pub(crate) fn with_runtime(fake: &Fake, test: impl FnOnce(&LoadedModel)) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("bytes.gguf");
    std::fs::write(&path, model_file()).expect("writable");
    let settings = RuntimeSettings { engine: Some(Arc::new(fake.clone())), ..RuntimeSettings::default() };
    let runtime = Runtime::open(&path, settings).expect("opens");
    let plan = runtime.plan(&PlanRequest { context_tokens: Some(256), ..PlanRequest::default() });
    test(&runtime.load(&plan, &mut |_| {}, &CancelToken::new()).expect("loads"));
}

/// A session of `n_ctx` tokens.
pub(crate) fn session(fake: &Fake, n_ctx: u32) -> Session {
    load(fake, n_ctx)
        .session(&SessionSettings { context_tokens: Some(n_ctx), ..SessionSettings::default() })
        .expect("opens")
}

/// Generates to the end.
pub(crate) fn generate(
    session: &mut Session,
    prompt: &str,
    settings: &GenerateSettings,
) -> Result<Told, Error> {
    let mut texts = Vec::new();
    let mut on_event = |event: Event<'_>| {
        if let Event::Text(text) = event {
            texts.push(text.to_owned());
        }
        ControlFlow::Continue(())
    };
    let usage = session.generate(prompt, settings, &CancelToken::new(), &mut on_event)?;
    Ok(Told { texts, usage })
}

/// The model file.
pub(crate) fn model_file() -> Vec<u8> {
    let mut metadata = Metadata::new();
    metadata.insert("general.architecture", Value::String("llama".into()));
    for (key, value) in [
        ("context_length", 512),
        ("embedding_length", 4),
        ("block_count", 1),
        ("feed_forward_length", 4),
        ("attention.head_count", 1),
        ("vocab_size", 259),
    ] {
        metadata.insert(format!("llama.{key}"), Value::U32(value));
    }
    metadata.insert("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5));
    let mut tokens: Vec<String> = SPECIAL
        .map(String::from)
        .into_iter()
        .chain((0..=255).map(|byte| format!("<0x{byte:02X}>")))
        .collect();
    let mut kinds: Vec<i32> = [2, 3, 3].into_iter().chain([6; 256]).collect();
    // SentencePiece writes a space as a character of its own.
    let space = byte(b' ') as usize;
    (tokens[space], kinds[space]) = ("\u{2581}".into(), 1);
    metadata.insert("tokenizer.ggml.model", Value::String("llama".into()));
    metadata.insert("tokenizer.ggml.scores", Value::Array(Array::F32(vec![0.0; tokens.len()])));
    metadata.insert("tokenizer.ggml.tokens", Value::Array(Array::String(tokens)));
    metadata.insert("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    metadata.insert("tokenizer.ggml.bos_token_id", Value::U32(1));
    metadata.insert("tokenizer.ggml.eos_token_id", Value::U32(2));
    metadata.insert("tokenizer.ggml.add_space_prefix", Value::Bool(false));
    let tensor = TensorSpec { name: "token_embd.weight".into(), dims: vec![4, 259], ty: GgmlType::F32 };
    let mut writer = Writer::new(Vec::new(), &metadata, &[tensor]).expect("a sound header");
    writer.write(&[0; 4 * 259 * 4]).expect("as long as the tensor");
    writer.finish().expect("all tensors are there")
}
