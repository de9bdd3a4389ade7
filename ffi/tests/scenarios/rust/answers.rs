//! The steps that answer: told to a listener, fetched from a stream, in several threads.
//!
//! Owns: the settings that a line asks for, and how answers are told. May know: the objects of a scenario. Must not know: other steps.

use super::*;

fn settings(line: &Line, adapter: Option<&Arc<dyn Adapter>>) -> Result<GenerateSettings, String> {
    let forms = [line.text("schema"), line.text("regex"), line.text("grammar")];
    let constraint = match forms {
        [None, None, None] => None,
        [Some(schema), None, None] => {
            Some(Constraint::JsonSchema(serde_json::from_str(schema).map_err(|_| refused())?))
        }
        [None, Some(regex), None] => Some(Constraint::Regex(regex.into())),
        [None, None, Some(grammar)] => Some(Constraint::Lark(grammar.into())),
        _ => return Err(refused()),
    };
    let scale = line.text("adapter").map(|_| line.number("adapter", 1.0) as f32);
    let applied =
        scale.map(|scale| Ok::<_, String>(Applied { adapter: adapter.ok_or_else(refused)?.clone(), scale }));
    let seed = line.number("seed", 0.0) as u64;
    let logprobs = line.number("logprobs", -1.0);
    let plain = Sampling::default();
    Ok(GenerateSettings {
        sampling: Sampling {
            temperature: line.number("temperature", 0.0) as f32,
            top_p: line.number("top_p", plain.top_p.into()) as f32,
            seed: (seed != 0).then_some(seed),
            ..plain
        },
        max_tokens: line.number("max", 512.0) as u32,
        stop: line.all("stop").map(str::to_owned).collect(),
        ignore_end_of_turn: line.number("ignore_end", 0.0) != 0.0,
        top_logprobs: (logprobs >= 0.0).then_some(logprobs as u32),
        constraint,
        adapters: applied.transpose()?.into_iter().collect(),
        ..GenerateSettings::default()
    })
}

fn messages(line: &Line) -> Vec<Message> {
    let is_role = |name: &str| ["system", "user", "assistant"].contains(&name);
    let spoken = line.arguments.iter().filter(|(name, _)| is_role(name));
    spoken.map(|(role, content)| Message::new(role.clone(), content.clone())).collect()
}

pub(super) fn generate(line: &Line, objects: &mut Objects) -> Told {
    let settings = settings(line, objects.adapter.as_ref())?;
    let session = of(&mut objects.session)?;
    let (cancel, mut all) = (CancelToken::new(), Heard::default());
    let how = line.text("cancel").unwrap_or_default();
    if how == "before" {
        cancel.cancel();
    }
    let (cancel_at, break_at) = (how.parse().unwrap_or(0), line.number("break", 0.0) as usize);
    let (first, started) = std::sync::mpsc::channel();
    let raiser = (how == "thread").then(|| {
        let cancel = cancel.clone();
        std::thread::spawn(move || started.recv().map(|()| cancel.cancel()))
    });
    let mut hear = |event: Event<'_>| {
        all.hear(&event);
        if let Event::Token(_) = event {
            if all.n_tokens == 1 {
                // Nobody waits unless another thread cancels.
                let _ = first.send(());
            }
            if all.n_tokens == cancel_at {
                cancel.cancel();
            }
            if all.n_tokens == break_at {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    };
    let usage = match line.step.as_str() {
        "chat" => session.chat(&messages(line), &settings, &cancel, &mut hear),
        _ => session.generate(&line.prompt().ok_or_else(refused)?, &settings, &cancel, &mut hear),
    };
    let in_thread = raiser.is_some();
    if let Some(raiser) = raiser {
        raiser.join().expect("no panic").expect("a first token");
    }
    let usage = usage.map_err(failed)?;
    Ok(if in_thread { format!("stop={}", reason(&usage.stop_reason)) } else { all.answer(&usage) })
}

pub(super) fn stream(line: &Line, objects: &mut Objects) -> Told {
    let settings = settings(line, objects.adapter.as_ref())?;
    let prompt = match line.step.as_str() {
        "stream_chat" => Prompt::Messages(messages(line)),
        _ => Prompt::Text(line.prompt().ok_or_else(refused)?),
    };
    let session = objects.session.take().ok_or_else(refused)?;
    let mut stream = session.stream(prompt, settings, CancelToken::new()).map_err(failed)?;
    let (cancel_at, drop_at) = (line.number("cancel", 0.0) as usize, line.number("drop", 0.0) as usize);
    let mut all = Heard::default();
    let outcome = loop {
        let step = match line.text("poll") {
            Some(_) => match stream.next_within(Duration::ZERO) {
                Ok(step) => step,
                Err(_) => continue,
            },
            None => stream.next_step(),
        };
        match step.expect("the end comes before nothing does") {
            Err(error) => break Err(failed(error)),
            Ok(StreamEvent::Done(usage)) if cancel_at > 0 => {
                break Ok(format!("stop={}", reason(&usage.stop_reason)));
            }
            Ok(StreamEvent::Done(usage)) => break Ok(all.answer(&usage)),
            Ok(event) => {
                let event = event.borrowed().expect("no end");
                all.hear(&event);
                if let Event::Token(_) = event {
                    if all.n_tokens == cancel_at {
                        stream.cancel();
                    }
                    if all.n_tokens == drop_at {
                        break Ok("dropped".into());
                    }
                }
            }
        }
    };
    objects.session = Some(stream.finish());
    outcome
}

pub(super) fn threads(line: &Line, objects: &mut Objects) -> Told {
    let model = of(&mut objects.model)?;
    let count = line.number("n", 2.0) as usize;
    let work = || {
        let mut all = Heard::default();
        let mut session = model.session(&SessionSettings::default()).map_err(failed)?;
        let prompt = line.prompt().ok_or_else(refused)?;
        let mut hear = |event: Event<'_>| {
            all.hear(&event);
            ControlFlow::Continue(())
        };
        session.generate(&prompt, &settings(line, None)?, &CancelToken::new(), &mut hear).map_err(failed)?;
        Ok::<_, String>(all.text)
    };
    let texts = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("no panic")).collect::<Result<Vec<_>, _>>()
    })?;
    let same = if texts.iter().all(|text| *text == texts[0]) { "yes" } else { "no" };
    Ok(format!("threads={count} same={same} text={}", quoted(&texts[0])))
}
