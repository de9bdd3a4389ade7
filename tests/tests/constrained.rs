//! Answers held to random schemas: each is JSON that its schema accepts, whatever the model would rather say.
//! Owns the generator of schemas, all of them bounded, so that every answer has an end.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests that print what they measure"
)]

use llama_pajamas::{
    CancelToken, Constraint, Event, GenerateSettings, LoadedModel, PlanRequest, Runtime, RuntimeSettings,
    Sampling, Session, SessionSettings, StopReason,
};
use llama_pajamas_tests::committed;
use quantizer::recipe::{FileType, Overrides};
use quantizer::source::Checkpoint;
use serde_json::{Map, Value, json};
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::time::Instant;

const SCHEMAS: u64 = 300;
const MAX_TOKENS: u32 = 600;
const PATTERNS: [&str; 6] = [
    "^[a-c]{2,4}$",
    "^\\d{3}-\\d{2}$",
    "^(yes|no)$",
    "^[A-Z][a-z]{1,5}$",
    "^#[0-9a-f]{6}$",
    "^\\d{4}-\\d{2}-\\d{2}T$",
];

/// Numbers without a pattern, the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end.max(1)
    }
}

fn schema(random: &mut Random, depth: u32) -> Value {
    let kinds = if depth == 0 { 8 } else { 11 };
    match random.below(kinds) {
        0 => json!({ "type": "boolean" }),
        1 => json!({ "type": "null" }),
        2 => {
            let least = random.below(300) as i64 - 150;
            json!({ "type": "integer", "minimum": least, "maximum": least + random.below(500) as i64 })
        }
        3 => {
            let least = random.below(100) as f64 / 4.0 - 10.0;
            json!({ "type": "number", "minimum": least, "maximum": least + 1.0 + random.below(40) as f64 / 8.0 })
        }
        4 => {
            let least = random.below(4);
            json!({ "type": "string", "minLength": least, "maxLength": least + random.below(9) })
        }
        5 => json!({ "type": "string", "pattern": PATTERNS[random.below(PATTERNS.len() as u64) as usize] }),
        6 => {
            let mut all = json!(["red", "Grün", 7, null, true, "a \"b\"\n"]);
            all.as_array_mut().unwrap().truncate(1 + random.below(6) as usize);
            json!({ "enum": all })
        }
        7 => {
            let value = ["x", "🦙", ""][random.below(3) as usize];
            json!({ "const": value })
        }
        8 => {
            let least = random.below(3);
            let items = schema(random, depth - 1);
            json!({ "type": "array", "items": items, "minItems": least, "maxItems": least + random.below(3) })
        }
        9 => json!({ "anyOf": [schema(random, depth - 1), schema(random, depth - 1)] }),
        _ => object(random, depth),
    }
}

fn object(random: &mut Random, depth: u32) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for index in 0..1 + random.below(4) {
        let name = format!("{}{index}", ["name", "größe", "a b", "x"][random.below(4) as usize]);
        properties.insert(name.clone(), schema(random, depth - 1));
        if random.below(3) > 0 {
            required.push(name);
        }
    }
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn model(folder: &std::path::Path) -> LoadedModel {
    let checkpoint = Checkpoint::open(&committed("models/pajama-7m")).unwrap();
    let f16 = FileType::ALL.iter().copied().find(|file_type| file_type.name() == "F16").unwrap();
    let job = quantizer::plan_file(&checkpoint, f16, &Overrides::default(), None, false).unwrap();
    let path = folder.join("pajama.gguf");
    let file = BufWriter::new(std::fs::File::create(&path).unwrap());
    quantizer::write_file(&job, &checkpoint, file, 2, &mut |_| ControlFlow::Continue(())).unwrap();
    let runtime = Runtime::open(&path, RuntimeSettings::default()).unwrap();
    let request = PlanRequest { n_threads: Some(1), context_tokens: Some(1024), ..PlanRequest::default() };
    runtime.load(&runtime.plan(&request), &mut |_| {}, &CancelToken::new()).unwrap()
}

/// Seconds that this thread has computed, where the system tells; else those that went by.
fn computed_s(start: Instant) -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let computed = text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok());
    computed.map_or_else(|| start.elapsed().as_secs_f64(), |ns| ns / 1e9)
}

/// The answer, its tokens and how long they took to compute, the prompt included.
fn answer(
    session: &mut Session,
    constraint: Option<Constraint>,
    seed: u64,
    max_tokens: u32,
) -> (String, usize, f64, StopReason) {
    let settings = GenerateSettings {
        // Hotter than anybody would have it: what is possible is tried.
        sampling: Sampling { temperature: 1.5, seed: Some(seed), ..Sampling::default() },
        max_tokens,
        ignore_end_of_turn: constraint.is_none(),
        constraint,
        ..GenerateSettings::default()
    };
    let mut text = String::new();
    let mut on_event = |event: Event<'_>| {
        if let Event::Text(piece) = event {
            text.push_str(piece);
        }
        ControlFlow::Continue(())
    };
    let start = Instant::now();
    let begin = computed_s(start);
    let usage = session.generate("A form:\n", &settings, &CancelToken::new(), &mut on_event).unwrap();
    (text, usage.completion_tokens, computed_s(start) - begin, usage.stop_reason)
}

#[test]
fn answers_are_accepted_by_their_schemas() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let mut session = model.session(&SessionSettings::default()).unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut n_tokens, mut seconds) = (0, 0.0);
    for nth in 0..SCHEMAS {
        let schema = object(&mut random, 3);
        let (text, tokens, took, reason) =
            answer(&mut session, Some(Constraint::JsonSchema(schema.clone())), nth, MAX_TOKENS);
        assert_eq!(reason, StopReason::EndOfTurn, "{schema}: {text}");
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let validator = jsonschema::validator_for(&schema).unwrap();
        assert!(validator.is_valid(&value), "{schema}: {text}");
        n_tokens += tokens;
        seconds += took;
    }
    let constrained_us = seconds / n_tokens as f64 * 1e6;
    // As long on average: what a token costs grows with the tokens before it.
    let length = (n_tokens as u64 / SCHEMAS) as u32;
    let (mut n_tokens, mut seconds) = (0, 0.0);
    for nth in 0..100 {
        let (_, tokens, took, _) = answer(&mut session, None, nth, length);
        n_tokens += tokens;
        seconds += took;
    }
    let free_us = seconds / n_tokens as f64 * 1e6;
    println!("{SCHEMAS} schemas; per token {constrained_us:.0} us, without constraint {free_us:.0} us");
}

#[test]
fn expressions_and_grammars_are_kept_to() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let mut session = model.session(&SessionSettings::default()).unwrap();
    let expression = Constraint::Regex("(north|south) [0-9]{2}°".into());
    let grammar = Constraint::Lark("start: greeting (\", \" name){1,2} \"!\"\ngreeting: \"hello\" | \"good day\"\nname: /[A-Z][a-z]{2,6}/".into());
    for seed in 0..10 {
        let (text, ..) = answer(&mut session, Some(expression.clone()), seed, MAX_TOKENS);
        let (word, rest) = text.split_once(' ').unwrap();
        assert!(
            ["north", "south"].contains(&word) && rest.chars().count() == 3 && rest.ends_with('°'),
            "{text}"
        );
        let (text, ..) = answer(&mut session, Some(grammar.clone()), seed, MAX_TOKENS);
        assert!(text.starts_with("hello, ") || text.starts_with("good day, "), "{text}");
        assert!(text.ends_with('!'), "{text}");
    }
    for (constraint, said) in [
        (Constraint::Regex("(".into()), "a regular expression that is understood"),
        (Constraint::Lark("begin: \"a\"".into()), "a grammar that is understood"),
        (Constraint::JsonSchema(json!({ "type": "nothing" })), "a JSON schema that is understood"),
        (Constraint::Regex("a".repeat(2 << 20)), "bytes, of which at most 1048576 are read"),
    ] {
        let error = constraint.check(model.tokenizer()).unwrap_err().to_string();
        assert!(error.starts_with("constraint: ") && error.contains(said), "{error}");
    }
}
