//! What guesses bring and cost: `speculation MODEL.gguf [TEXT [TURNS [PROMPTS [DRAFT.gguf]]]]`, TEXT a file of prose (lines of at
//! least 200 characters are prompts). Each prompt is answered with guesses and without, in turns (5), one thread; prints tokens
//! per second of processor time of both, their ratio, and fails where an answer differs. At the end all answers are put together by whether
//! they repeat what stood before, which the answers without guesses say. With DRAFT a small model guesses too.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use llama_pajamas::{
    CancelToken, Event, GenerateSettings, LoadedModel, PlanRequest, Runtime, RuntimeSettings, Sampling,
    Session, SessionSettings, Token,
};
use std::ops::ControlFlow;

type Failure = Box<dyn std::error::Error>;

const TOKENS: u32 = 192;
/// Texts that repeat, three times as prompts, as what is answered must not be longer than what small models were trained on.
const REPEATING: [&str; 8] = [
    "The little llama put on the red pajamas, and the big llama put on the blue pajamas. ",
    "The wheels on the bus go round and round, round and round, round and round, all day long.\n",
    "\"Are you asleep?\" said Mama. \"No, not yet,\" said the little llama, and she turned off the light.\n",
    "- wash the cup\n- dry the cup\n- put the cup back on the shelf\n- close the door\n\n",
    "{\"name\": \"Tom\", \"age\": 7, \"likes\": \"cake\"},\n",
    "for i in range(10):\n    print(\"hello\", i)\n",
    "| day | morning | evening |\n|---|---|---|\n| Monday | bread and milk | soup |\n",
    "Question: What does the cow say? Answer: The cow says moo. ",
];
const REPEATING_TOKENS: u32 = 128;

/// Seconds that this thread has computed, as Linux counts them.
fn computed_s() -> Result<f64, Failure> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().unwrap_or_default().parse::<f64>()? / 1e9)
}

fn answer(
    session: &mut Session,
    prompt: &[Token],
    sampling: &Sampling,
    max_tokens: u32,
) -> Result<(Vec<Token>, usize, f64), Failure> {
    let settings = GenerateSettings {
        sampling: sampling.clone(),
        max_tokens,
        ignore_end_of_turn: true,
        ..GenerateSettings::default()
    };
    let (mut tokens, mut begin) = (Vec::new(), 0.0);
    let mut on_event = |event: Event<'_>| {
        match event {
            Event::Prompt { .. } => begin = computed_s().unwrap_or_default(),
            Event::Token(token) => tokens.push(token),
            _ => {}
        }
        ControlFlow::Continue(())
    };
    let usage = session.generate_tokens(prompt, &settings, &CancelToken::new(), &mut on_event)?;
    Ok((tokens, usage.guessed_tokens, computed_s()? - begin))
}

/// The share of the answer's tokens that stood there before: behind the last place where the same four tokens came before them.
fn repeats(prompt: &[Token], answer: &[Token]) -> f64 {
    const BEFORE: usize = 4;
    let all = [prompt, answer].concat();
    let is_foretold = |&at: &usize| {
        let before = &all[at - BEFORE..at];
        let last = (BEFORE..at).rev().find(|&place| &all[place - BEFORE..place] == before);
        last.is_some_and(|place| all[place] == all[at])
    };
    (prompt.len().max(BEFORE)..all.len()).filter(is_foretold).count() as f64 / answer.len() as f64
}

/// One answer: what share of it repeats, its tokens, and seconds without guesses and with them.
struct Seen {
    repeats: f64,
    n_tokens: usize,
    seconds: [f64; 2],
}

/// What is compared.
struct Compared {
    model: LoadedModel,
    draft: Option<LoadedModel>,
    /// Per prompt.
    turns: usize,
    /// Of an answer.
    n_tokens: u32,
}

fn compare(
    compared: &Compared,
    name: &str,
    prompts: &[String],
    sampling: &Sampling,
) -> Result<Vec<Seen>, Failure> {
    let Compared { model, draft, turns, n_tokens: max_tokens } = compared;
    let open = |speculate| {
        model.session(&SessionSettings { speculate, draft: draft.clone(), ..SessionSettings::default() })
    };
    let (mut plain, mut guessing) = (open(false)?, open(true)?);
    let mut n_guessed = 0;
    let (mut ratios, mut all_seen) = (Vec::new(), Vec::new());
    for prompt in prompts {
        let prompt = model.tokenizer().encode(prompt, true)?;
        let mut seen = Seen { repeats: 0.0, n_tokens: 0, seconds: [0.0; 2] };
        for _ in 0..*turns {
            let (expected, _, without) = answer(&mut plain, &prompt, sampling, *max_tokens)?;
            let (tokens, guessed, with) = answer(&mut guessing, &prompt, sampling, *max_tokens)?;
            if tokens != expected {
                return Err(format!("{name}: another answer with guesses").into());
            }
            seen.seconds = [seen.seconds[0] + without, seen.seconds[1] + with];
            seen.n_tokens += tokens.len();
            seen.repeats = repeats(&prompt, &expected);
            ratios.push(without / with);
            n_guessed += guessed;
        }
        all_seen.push(seen);
    }
    ratios.sort_by(f64::total_cmp);
    let (n_tokens, seconds) = total(&all_seen);
    let speed = |index: usize| n_tokens as f64 / seconds[index];
    println!(
        "{name}: {:.0} tokens/s without, {:.0} with guesses: {:.3} times (median of pairs {:.3}); {:.0} % guessed rightly",
        speed(0),
        speed(1),
        speed(1) / speed(0),
        ratios[ratios.len() / 2],
        n_guessed as f64 / n_tokens as f64 * 100.0
    );
    Ok(all_seen)
}

/// Tokens, and seconds without guesses and with them.
fn total<'a>(all: impl IntoIterator<Item = &'a Seen>) -> (usize, [f64; 2]) {
    all.into_iter().fold((0, [0.0; 2]), |(n_tokens, [without, with]), seen| {
        (n_tokens + seen.n_tokens, [without + seen.seconds[0], with + seen.seconds[1]])
    })
}

/// All answers that repeat themselves by half or more, or the others.
fn tell_group(name: &str, group: &[&Seen]) {
    let (n_tokens, seconds) = total(group.iter().copied());
    let mut ratios: Vec<f64> = group.iter().map(|seen| seen.seconds[0] / seen.seconds[1]).collect();
    ratios.sort_by(f64::total_cmp);
    if let [least, .., most] = ratios[..] {
        println!(
            "{name}: {} answers, {n_tokens} tokens: {:.3} times; single answers {least:.3} to {most:.3}",
            ratios.len(),
            seconds[0] / seconds[1]
        );
    }
}

fn load(path: &str) -> Result<LoadedModel, Failure> {
    let runtime = Runtime::open(path.as_ref(), RuntimeSettings::default())?;
    let request = PlanRequest { n_threads: Some(1), context_tokens: Some(2048), ..PlanRequest::default() };
    Ok(runtime.load(&runtime.plan(&request), &mut |_| {}, &CancelToken::new())?)
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("expected a model file")?;
    let text = arguments.next();
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |word| word.parse());
    let (turns, n_prompts) = (number(5)?, number(8)?);
    let draft = arguments.next().map(|path| load(&path)).transpose()?;
    let mut compared = Compared { model: load(&path)?, draft, turns, n_tokens: REPEATING_TOKENS };
    let repeating = REPEATING.map(|text| text.repeat(3));
    let mut seen = Vec::new();
    for (prompt, text) in repeating.iter().zip(REPEATING) {
        let name = format!("  {}…", text.chars().take(24).collect::<String>().escape_debug());
        seen.extend(compare(&compared, &name, std::slice::from_ref(prompt), &Sampling::greedy())?);
    }
    compared.n_tokens = TOKENS;
    if let Some(text) = text {
        let text = std::fs::read_to_string(text)?;
        let long = text.lines().filter(|line| line.len() >= 200).step_by(7).take(n_prompts);
        let prompts: Vec<String> = long.map(|line| line.chars().take(400).collect()).collect();
        seen.extend(compare(&compared, "prose, greedy", &prompts, &Sampling::greedy())?);
        let random = Sampling { temperature: 1.0, seed: Some(7), ..Sampling::default() };
        seen.extend(compare(&compared, "prose, temperature 1", &prompts, &random)?);
    }
    let (repeating, others): (Vec<&Seen>, Vec<&Seen>) = seen.iter().partition(|seen| seen.repeats >= 0.5);
    tell_group("answers that repeat", &repeating);
    tell_group("others", &others);
    Ok(())
}
