//! `export`: a checkpoint's folder → graphs of ONNX and what is read beside them.
//! Knows what is printed; must not know how a graph is built.

use crate::args::{Export, ExportPrecision};
use crate::interrupt;
use crate::screen::{Screen, bytes};
use anyhow::Result;
use llama_pajamas::onnx::export::{Floats, Request, export};
use std::ops::ControlFlow;

pub(crate) fn run(args: &Export, screen: &Screen) -> Result<()> {
    let floats = match args.precision {
        ExportPrecision::Fp32 => Floats::Fp32,
        ExportPrecision::Fp16 => Floats::Fp16,
    };
    let request = Request { floats, opset: args.opset, inline_bytes: args.max_inline };
    let cancel = interrupt::token();
    let mut bar = None;
    let mut progress = |done: u64, total: u64| {
        bar.get_or_insert_with(|| screen.bytes_bar(total, "writing weights")).set_position(done);
        if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let report = export(&args.model, &args.output, &request, &mut progress);
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let report = report?;
    if screen.json {
        return screen.print_json(&report);
    }
    for graph in &report.graphs {
        let beside = match graph.bytes_beside {
            0 => String::new(),
            beside => format!(" and {} beside it", bytes(beside)),
        };
        println!(
            "{} {}{beside}: {} nodes, {} weights",
            screen.green(&args.output.join(&graph.file).display().to_string()),
            bytes(graph.bytes),
            graph.n_nodes,
            graph.n_weights
        );
    }
    println!("{} {}", screen.bold("beside"), report.companions.join(", "));
    Ok(())
}
