//! The `llama-pajamas` command. Owns the process: arguments, environment, terminal, exit code.
//! Uses the runtime's public API only.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod commands;
mod fetch;
mod interrupt;
mod isolation;
mod markdown;
#[cfg(feature = "onnx")]
mod recording;
#[cfg(all(test, feature = "serve", feature = "onnx"))]
mod reference;
mod screen;

use args::{Cli, Command};
use clap::Parser;
use screen::Screen;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = match cli.global.verbose {
        // What the engine reports comes back as an error, and is told once.
        0 => "error,llama_pajamas::engine=off",
        1 => "info",
        _ => "debug",
    };
    #[cfg(feature = "serve")]
    let (serves, level) = match (&cli.command, cli.global.verbose) {
        (Command::Serve(_), 0) => (true, "error,llama_pajamas::engine=off,llama_pajamas_server=info"),
        (command, _) => (matches!(command, Command::Serve(_)), level),
    };
    #[cfg(not(feature = "serve"))]
    let serves = false;
    let log =
        tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr).with_target(false);
    match serves && cli.global.json {
        true => log.json().flatten_event(true).init(),
        false => log.init(),
    }
    let screen = Screen::new(&cli.global);
    let outcome = match &cli.command {
        Command::Quantize(args) => commands::graphs::quantize(args, &screen),
        #[cfg(feature = "onnx")]
        Command::Export(args) => commands::export::run(args, &screen),
        Command::Requantize(args) => commands::requantize::run(args, &screen),
        Command::Moments(args) => commands::calibrate::moments(args, &screen),
        Command::Sensitivity(args) => commands::calibrate::sensitivity(args, &screen),
        Command::Info(args) => commands::info::run(args, &screen),
        Command::Hardware(args) => commands::hardware::run(args, &screen),
        Command::Plan(args) => commands::plan::run(args, &screen),
        Command::Tune(args) => commands::tune::run(args, &screen),
        Command::Profile(args) => commands::profile::run(args, &screen),
        Command::Run(args) => commands::run::run(args, &screen),
        Command::Chat(args) => commands::chat::run(args, &screen),
        #[cfg(feature = "serve")]
        Command::Serve(args) => commands::serve::run(args, &screen),
        Command::Embed(args) => commands::embed::run(args, &screen),
        #[cfg(feature = "onnx")]
        Command::Transcribe(args) => commands::transcribe::run(args, &screen),
        Command::Validate(args) => commands::validate::run(args, &screen),
        Command::Evaluate(args) => commands::evaluate::run(args, &screen),
        Command::Compare(args) => commands::evaluate::compare(args, &screen),
        Command::Iq(verb) => commands::iq::run(verb, &screen),
        Command::Bundle(args) => commands::bundle::run(args, &screen),
        Command::ServeEngine { cpu_variant } => commands::isolate::serve(cpu_variant.clone()),
        Command::Completions { shell } => {
            let mut command = <Cli as clap::CommandFactory>::command();
            clap_complete::generate(*shell, &mut command, "llama-pajamas", &mut std::io::stdout());
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", screen::one_line(error.chain()));
            ExitCode::FAILURE
        }
    }
}
